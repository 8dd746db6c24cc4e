"""What HubSpot deals change in registrations: decided without a database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from awssome.domain.choices import StageMapping
from awssome.domain.deals import FIELD, Stage
from awssome.domain.definitions import Account
from awssome.domain.imports import Known, Plan, SourceDeal, joined, plan
from awssome.domain.mapping import Mapping, map_deal
from awssome.domain.syncs import IssueKind, MappingState
from awssome.domain.times import new_id

TODAY = date(2026, 11, 22)
MADE = datetime(2026, 11, 1, tzinfo=UTC)
BY_DEFAULT = Mapping.of({}, {}, Account(), TODAY)


def test_deals_that_are_new_are_made_until_there_is_no_room() -> None:
    made = plan([_deal("1"), _deal("2"), _deal("3")], {}, BY_DEFAULT, 2, TODAY)
    assert [one.deal_id for one in made.created] == made.touched == ["1", "2"]
    assert made.no_room == ["3"]
    assert made.gained == 2
    assert made.created[0].values["deal_amount"] == Decimal("1250.5")


def test_without_news_nothing_is_changed() -> None:
    deal = _deal("1")
    made = plan([deal], _known(deal), BY_DEFAULT, 0, TODAY)
    assert (made.unchanged, made.touched) == (1, ["1"])
    assert not (made.changed or made.created or made.reread or made.no_room)


def test_news_change_only_what_no_user_has_set() -> None:
    known = _known(_deal("1"), edited={"title"}, title="Mine")
    made = plan([_deal("1", dealname="Theirs", amount="7")], known, BY_DEFAULT, 0, TODAY)
    change = made.changed[0]
    assert (change.after["title"], change.after["deal_amount"]) == ("Mine", Decimal(7))
    assert change.before["deal_amount"] == Decimal("1250.5")
    assert [one.deal_id for one in made.reread] == ["1"]


def test_news_about_fields_that_a_user_has_set_change_nothing_but_are_noted() -> None:
    known = _known(_deal("1"), edited={"title"}, title="Mine")
    made = plan([_deal("1", dealname="Theirs")], known, BY_DEFAULT, 0, TODAY)
    assert (made.changed, made.unchanged) == ([], 1)
    assert [one.deal_id for one in made.reread] == ["1"]


def test_a_merged_deal_hands_its_registration_on_and_the_others_end() -> None:
    known = _known(_deal("1")) | _known(_deal("2"))
    made = plan([_deal("9", merged_ids=("1", "2"))], known, BY_DEFAULT, 0, TODAY)
    assert made.renamed == [("1", "9")]
    assert made.merged == [(known["2"], "9")]
    assert (made.created, made.gained, made.touched) == ([], -1, ["9"])
    assert [one.deal_id for one in made.reread] == ["9"]


def test_a_live_registration_is_handed_on_before_an_archived_one() -> None:
    known = _known(_deal("1"), state=MappingState.ARCHIVED, archived=True) | _known(_deal("2"))
    made = plan([_deal("9", merged_ids=("1", "2"))], known, BY_DEFAULT, 0, TODAY)
    assert made.renamed == [("2", "9")]
    assert (made.merged, made.gained) == ([(known["1"], "9")], 0)


def test_a_deal_that_is_here_already_takes_nothing_over() -> None:
    known = _known(_deal("1")) | _known(_deal("9")) | _known(_deal("3"), state=MappingState.MERGED)
    made = plan([_deal("9", merged_ids=("1", "3"))], known, BY_DEFAULT, 0, TODAY)
    assert (made.renamed, made.merged) == ([], [(known["1"], "9")])


def test_a_deal_that_is_back_brings_back_what_a_sync_put_away() -> None:
    known = _known(_deal("1"), state=MappingState.ARCHIVED, archived=True, put_away=True)
    made = plan([_deal("1")], known, BY_DEFAULT, 0, TODAY)
    assert (made.revived, made.gained) == (["1"], 1)
    assert [one.restored for one in made.changed] == [True]


def test_what_a_user_archived_stays_archived() -> None:
    known = _known(_deal("1"), state=MappingState.ARCHIVED, archived=True, put_away=False)
    made = plan([_deal("1")], known, BY_DEFAULT, 0, TODAY)
    assert (made.revived, made.changed, made.unchanged) == (["1"], [], 1)


def test_a_deal_that_cannot_be_read_fails_alone() -> None:
    made = plan([_deal("9" * 40), _deal("2")], {}, BY_DEFAULT, None, TODAY)
    assert (made.failed, [one.deal_id for one in made.created]) == (["9" * 40], ["2"])
    failed = made.issues[0]
    assert (failed.kind, len(failed.deal_id), failed.title) == (IssueKind.FAILED, 32, "Deal of Contoso")


def test_an_issue_is_told_once_and_again_when_it_changes() -> None:
    odd = _deal("1", amount="a lot")
    told = plan([odd], {}, BY_DEFAULT, None, TODAY)
    assert [(issue.field, issue.code, issue.value) for issue in told.issues] == [("deal_amount", "unreadable", "a lot")]
    assert plan([odd], _known(odd), BY_DEFAULT, 0, TODAY).issues == []
    odder = _deal("1", amount="a lot", closedate="soon")
    fields = [issue.field for issue in plan([odder], _known(_deal("1")), BY_DEFAULT, 0, TODAY).issues]
    assert sorted(fields) == ["deal_amount", "target_close_date"]
    otherwise = plan([_deal("1", amount="very much")], _known(odd), BY_DEFAULT, 0, TODAY).issues
    assert [(issue.field, issue.value) for issue in otherwise] == [("deal_amount", "very much")]
    settled = _known(_deal("1"), edited={"deal_amount"}, deal_amount=Decimal(5))
    assert plan([odd], settled, BY_DEFAULT, 0, TODAY).issues == []


def test_an_older_state_never_wins_over_a_newer_one() -> None:
    before, after = "2026-11-20T10:00:00.000Z", "2026-11-20T10:00:00.001Z"
    known = _known(_deal("1", amount="7", hs_lastmodifieddate=after))
    stale = plan([_deal("1", amount="6", hs_lastmodifieddate=before)], known, BY_DEFAULT, 0, TODAY)
    assert (stale.changed, stale.reread, stale.unchanged, stale.touched) == ([], [], 1, ["1"])
    same = plan([_deal("1", amount="6", hs_lastmodifieddate=after)], known, BY_DEFAULT, 0, TODAY)
    assert [one.after["deal_amount"] for one in same.changed] == [Decimal(6)]  # the mapping has changed, say


def test_that_a_deal_was_changed_is_noted_though_no_field_of_ours_was() -> None:
    known = _known(_deal("1", hs_lastmodifieddate="2026-11-20T10:00:00.000Z"))
    made = plan([_deal("1", hs_lastmodifieddate="2026-11-21T10:00:00.000Z")], known, BY_DEFAULT, 0, TODAY)
    assert (made.changed, made.unchanged) == ([], 1)
    assert [one.modified_at for one in made.reread] == [datetime(2026, 11, 21, 10, tzinfo=UTC)]


def test_what_an_edit_hides_is_kept_beside_it() -> None:
    known = _known(_deal("1"), edited={"title", "deal_amount"}, title="Mine", deal_amount=Decimal(7))
    made = plan([_deal("1", dealname="Theirs", amount="7")], known, BY_DEFAULT, 0, TODAY)
    assert [one.held_back for one in made.reread] == [{"title": "Theirs"}]


def test_a_deal_that_came_in_before_its_merge_was_told_gives_way_to_the_older_registration() -> None:
    older = _known(_deal("1"), edited={"title"}, title="Mine")
    newer = _known(_deal("9"), made_at=MADE + timedelta(hours=1))
    made = plan([_deal("9", merged_ids=("1",))], older | newer, BY_DEFAULT, 0, TODAY)
    assert made.renamed == [("9", "-"), ("1", "9"), ("-", "1")]
    assert [(one.deal_id, one.registration_id, into) for one, into in made.merged] == [
        ("1", newer["9"].registration_id, "9")
    ]
    assert (made.gained, made.created, made.changed) == (-1, [], [])
    edited = _known(_deal("9"), edited={"title"}, title="Mine, too", made_at=MADE + timedelta(hours=1))
    kept = plan([_deal("9", merged_ids=("1",))], older | edited, BY_DEFAULT, 0, TODAY)
    assert (kept.renamed, kept.merged) == ([], [(older["1"], "9")])


def test_what_the_mapping_leaves_out_is_named_and_what_is_here_stays() -> None:
    mapping = Mapping.of({}, {("default", "qualifiedtobuy"): StageMapping(None)}, Account(), TODAY)
    made = plan([_deal("1"), _deal("2")], _known(_deal("2"), made_at=MADE), mapping, None, TODAY)
    assert (made.skipped, made.created, made.changed, made.unchanged) == (["1"], [], [], 1)
    assert [(issue.kind, issue.deal_id, issue.field) for issue in made.issues] == [
        (IssueKind.SKIPPED, "1", "stage"),
        (IssueKind.SKIPPED, "2", "stage"),
    ]
    told = replace(_known(_deal("2"))["2"], source_hash=map_deal(_deal("2").properties, mapping).digest)
    assert plan([_deal("2")], {"2": told}, mapping, None, TODAY).issues == []


def test_plans_are_joined_as_they_come() -> None:
    one = plan([_deal("1"), _deal("9" * 40)], {}, BY_DEFAULT, None, TODAY)
    two = plan([_deal("2")], _known(_deal("2")), BY_DEFAULT, None, TODAY)
    both = joined([one, two])
    assert ([each.deal_id for each in both.created], both.unchanged, len(both.failed)) == (["1"], 1, 1)
    assert both.touched == ["1", "2"]
    assert joined([]) == Plan()


@given(st.data())
def test_whatever_is_merged_and_however_it_is_told_each_deal_has_one_registration(data: st.DataObject) -> None:
    """Deals become parts of others, in chains, and HubSpot names all, some or none of them."""
    live: dict[str, Known] = {}
    rows: dict[str, Known] = {}
    ids = iter(range(1, 1_000))
    for _ in range(data.draw(st.integers(1, 4))):
        new = [str(next(ids)) for _ in range(data.draw(st.integers(0, 3)))]
        told = {}
        if len(live) > 1 and data.draw(st.booleans()):
            parts = data.draw(st.lists(st.sampled_from(sorted(live)), min_size=2, max_size=3, unique=True))
            told = {str(next(ids)): tuple(part for part in parts if data.draw(st.booleans()))}
        made = plan(
            [_deal(one) for one in new] + [_deal(one, merged_ids=old) for one, old in told.items()],
            rows,
            BY_DEFAULT,
            None,
            TODAY,
        )
        rows = _after(rows, made)
        live = {deal_id: one for deal_id, one in rows.items() if one.state is MappingState.LIVE}
        assert len({one.registration_id for one in rows.values()}) == len(rows)
        assert {one.deal_id for one in rows.values()} == set(rows)
        for survivor, old in told.items():
            assert survivor in live
            assert not live.keys() & set(old)


def _after(rows: dict[str, Known], made: Plan) -> dict[str, Known]:
    """The mappings once a plan is written."""
    rows = dict(rows)
    for old, new in made.renamed:
        rows[new] = replace(rows.pop(old), deal_id=new)
    for ended, _ in made.merged:
        assert rows[ended.deal_id].registration_id == ended.registration_id
        rows[ended.deal_id] = replace(rows[ended.deal_id], state=MappingState.MERGED)
    for one in made.created:
        assert one.deal_id not in rows
        rows |= _known(_deal(one.deal_id))
    return rows


def test_the_tenants_stages_come_before_the_default_ones() -> None:
    mapping = Mapping.of({}, {("default", "qualifiedtobuy"): StageMapping(Stage.COMMITTED)}, Account(), TODAY)
    made = plan([_deal("1")], {}, mapping, None, TODAY)
    assert made.created[0].values["stage"] is Stage.COMMITTED


def test_nothing_comes_through_that_a_database_cannot_store() -> None:
    made = plan([_deal("1", dealname="a\x00b \ud800 🚀", description="ü\x00" * 3)], {}, BY_DEFAULT, None, TODAY)
    assert made.created[0].values["title"] == "ab ? 🚀"
    assert made.created[0].values["business_problem"] == "üüü"


def _deal(deal_id: str, merged_ids: tuple[str, ...] = (), **properties: str) -> SourceDeal:
    usual = {
        "hs_object_id": deal_id,
        "dealname": "Deal of Contoso",
        "amount": "1250.50",
        "dealstage": "qualifiedtobuy",
        "pipeline": "default",
    }
    return SourceDeal(deal_id, usual | properties, merged_ids)


def _known(
    deal: SourceDeal,
    *,
    state: MappingState = MappingState.LIVE,
    edited: frozenset[str] | set[str] = frozenset(),
    archived: bool = False,
    put_away: bool = False,
    made_at: datetime = MADE,
    **values: Any,
) -> dict[str, Known]:
    mapped = map_deal(deal.properties, BY_DEFAULT)
    created = plan([deal], {}, BY_DEFAULT, None, TODAY).created[0]
    known = Known(
        deal_id=deal.id,
        registration_id=new_id(),
        state=state,
        source_hash=created.source_hash,
        modified_at=created.modified_at,
        made_at=made_at,
        edited=frozenset(edited),
        values=dict.fromkeys(FIELD) | mapped.values | values,
        held_back={},
        defaulted=mapped.defaulted,
        archived=archived,
        put_away=put_away,
    )
    return {deal.id: known}
