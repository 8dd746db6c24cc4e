"""The search's view of a portal: sorted columns that agree with a plain scan, whatever happened to the deals."""

from __future__ import annotations

import random
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awssome_sandbox.hubspot.definitions import PROPERTIES
from awssome_sandbox.hubspot.errors import HubSpotError
from awssome_sandbox.hubspot.index import Index
from awssome_sandbox.hubspot.portals import Portal
from awssome_sandbox.hubspot.search import Searches
from awssome_sandbox.hubspot.seed import seed_portals

TODAY = date(2026, 11, 22)


def portal(deals: int = 120, seed: int = 5) -> Portal:
    return seed_portals(deals, seed, TODAY)[0]


def shake(of: Portal, rng: random.Random, times: int) -> None:
    """Edit, archive, restore, merge and create deals at random."""
    for _ in range(times):
        live, archived = of.live_ids, of.archived_ids
        match rng.randrange(6):
            case 0:
                of.create({"dealname": f"New {rng.random()}", "amount": str(rng.randrange(9_000))})
            case 1 if live:
                of.archive(rng.choice(live))
            case 2 if archived:
                of.restore(rng.choice(archived))
            case 3 if len(live) > 1:
                of.merge(*rng.sample(live, 2))
            case _ if live:
                amount = rng.choice([None, "1000.5", str(rng.randrange(9_000))])
                stage = rng.choice(["closedwon", "closedlost", "contractsent"])
                of.edit(rng.choice(live), {"amount": amount, "dealstage": stage, "pipeline": "default"})


def test_every_operator_agrees_with_a_scan() -> None:
    of = portal()
    searches = Searches([of])
    rng = random.Random(1)
    for round_ in range(6):
        shake(of, rng, 25 * (round_ > 0))
        for name in PROPERTIES:
            values = [value for id_ in of.live_ids if (value := of.value(of.deals[id_], name)) is not None]
            for operand in rng.sample(values, min(3, len(values))):
                for operator in ("EQ", "NEQ", "GT", "GTE", "LT", "LTE", "IN", "NOT_IN", "BETWEEN"):
                    more = {"values": [operand]} if "IN" in operator else {"value": operand, "highValue": operand}
                    filter_ = {"propertyName": name, "operator": operator, **more}
                    assert found(searches, of, filter_) == scanned(of, name, operator, operand), filter_


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1_000_000), times=st.integers(0, 40))
def test_what_the_index_learned_is_what_a_new_one_would_know(seed: int, times: int) -> None:
    of = portal(25)
    index = Index(of)
    for name in PROPERTIES:
        index.column(name)
    shake(of, random.Random(seed), times)
    index.catch_up(0)
    fresh = Index(of)
    assert index.deals == fresh.deals == {id_: of.deals[id_] for id_ in of.live_ids}
    for name in PROPERTIES:
        assert (index.column(name).values, index.column(name).ids) == (
            fresh.column(name).values,
            fresh.column(name).ids,
        )
    assert index.with_words(["new"]) == fresh.with_words(["new"])


def test_until_the_lag_has_passed_the_index_sees_what_was() -> None:
    of = portal(30)
    index = Index(of)
    before = dict(index.deals)
    shake(of, random.Random(3), 40)
    index.catch_up(3600)
    assert index.deals == before
    index.catch_up(0)
    assert index.deals == {id_: of.deals[id_] for id_ in of.live_ids}


def test_tokens_are_words_and_a_star_stands_for_letters() -> None:
    of = portal(0)
    names = ("Contoso data platform", "Contoso-Ost: platforms", "data, plat", "Crème & Co. (data)")
    ids = [of.create({"dealname": name}).id for name in names]
    searches = Searches([of])

    def with_token(value: str, operator: str = "CONTAINS_TOKEN") -> list[int]:
        found_ids = found(searches, of, {"propertyName": "dealname", "operator": operator, "value": value})
        return [place for place, id_ in enumerate(ids) if id_ in found_ids]

    assert with_token("contoso") == [0, 1]
    assert with_token("platform") == [0]
    assert with_token("plat*") == [0, 1, 2]
    assert with_token("DATA plat*") == [0, 2]
    assert with_token("*form") == [0]
    assert with_token("crème") == [3]
    assert with_token("ata") == []
    assert with_token("data", "NOT_CONTAINS_TOKEN") == [1]


def test_an_unreliable_order_moves_results_to_other_pages_and_loses_none() -> None:
    of = portal(900)
    searches = Searches([of])
    sort = {"sorts": [{"propertyName": "createdate", "direction": "ASCENDING"}], "limit": 200}

    def ids(jumbled: bool) -> list[int]:
        read, after = [], "0"
        while after:
            page = searches.page(of, {**sort, "after": after}, lag=0, jumbled=jumbled)
            read += [deal.id for deal in page.deals]
            after = page.after
        return read

    right, wrong = ids(False), ids(True)
    assert sorted(right) == sorted(wrong)
    assert max(abs(wrong.index(id_) - place) for place, id_ in enumerate(right)) > 200
    assert ids(True) == wrong


@pytest.mark.parametrize("value", ["NaN", "Infinity", "much", "", "1e"])
def test_a_number_that_is_none_is_refused(value: str) -> None:
    of = portal(3)
    with pytest.raises(HubSpotError):
        found(Searches([of]), of, {"propertyName": "amount", "operator": "GT", "value": value})
    if value:
        with pytest.raises(HubSpotError):
            of.create({"amount": value})


def found(searches: Searches, of: Portal, *filters: dict[str, Any]) -> set[int]:
    return {deal.id for deal in searches.page(of, {"filters": list(filters), "limit": 200}, lag=0).deals}


def scanned(of: Portal, name: str, operator: str, operand: str) -> set[int]:
    def key(text: str) -> Decimal | str:
        return Decimal(text) if PROPERTIES[name].type == "number" else text.lower() if name != "dealstage" else text

    wanted = key(operand)
    tests = {
        "EQ": lambda value: value == wanted,
        "IN": lambda value: value == wanted,
        "BETWEEN": lambda value: value == wanted,
        "NEQ": lambda value: value != wanted,
        "NOT_IN": lambda value: value != wanted,
        "GT": lambda value: value > wanted,
        "GTE": lambda value: value >= wanted,
        "LT": lambda value: value < wanted,
        "LTE": lambda value: value <= wanted,
    }
    values = {id_: of.value(of.deals[id_], name) for id_ in of.live_ids}
    return {id_ for id_, value in values.items() if value is not None and tests[operator](key(value))}
