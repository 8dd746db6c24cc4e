"""The life of a tenant, along its transitions and no other way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awssome.domain.errors import Code, Refused
from awssome.domain.servers import spread
from awssome.domain.tenants import AWAY, TRANSITIONS, TenantState, check_transition

STATES = st.sampled_from(list(TenantState))


@given(st.lists(STATES, max_size=30))
def test_whatever_is_asked_of_a_tenant_its_life_goes_along_the_transitions_only(asked: list[TenantState]) -> None:
    state, lived = TenantState.PENDING, [TenantState.PENDING]
    for wanted in asked:
        try:
            check_transition(state, wanted)
        except Refused as refused:
            assert refused.code is Code.CONFLICT
            continue
        assert wanted in TRANSITIONS[state]
        state = wanted
        lived.append(state)
    assert TenantState.MOVING not in lived, "nobody is stored as moving"
    assert lived.count(TenantState.PENDING) == 1, "nobody is set up twice"
    if TenantState.DELETED in lived:
        assert lived.index(TenantState.DELETED) == len(lived) - 1, "nothing follows the end"
        assert lived[-2] in (TenantState.PENDING, TenantState.RETAINED), "who had data is kept for a while first"


def test_every_state_has_its_transitions_and_all_but_the_last_lead_on() -> None:
    assert set(TRANSITIONS) == set(TenantState) - {TenantState.MOVING}
    assert [state for state, after in TRANSITIONS.items() if not after] == [TenantState.DELETED]
    assert {state for state in AWAY if TenantState.ACTIVE not in TRANSITIONS[state]} == set()


@pytest.mark.parametrize("state", list(TRANSITIONS))
def test_no_state_follows_itself(state: TenantState) -> None:
    with pytest.raises(Refused):
        check_transition(state, state)


@given(
    st.dictionaries(st.sampled_from("abcd"), st.tuples(st.integers(0, 20), st.integers(0, 10)), max_size=4),
    st.integers(0, 60),
)
def test_tenants_are_spread_over_pools_without_overfilling_one(pools: dict[str, tuple[int, int]], count: int) -> None:
    went = spread([(name, *load) for name, load in pools.items()], count)
    assert len(went) == count
    for name, (_, free) in pools.items():
        assert went.count(name) <= free
    assert went.count(None) == max(0, count - sum(free for _, free in pools.values()))
    ends = {name: pools[name][0] + went.count(name) for name in pools}
    for name in set(went) - {None}:
        assert name is not None
        with_room = [other for other, (_, free) in pools.items() if went.count(other) < free]
        assert all(ends[name] <= max(ends[other] + 1, pools[name][0] + 1) for other in with_room)
