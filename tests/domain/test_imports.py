"""What HubSpot deals change in registrations: decided without a database."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from awssome.domain.deals import FIELD, Stage
from awssome.domain.definitions import Account
from awssome.domain.imports import Known, SourceDeal, plan
from awssome.domain.mapping import Mapping, StageMapping, map_deal
from awssome.domain.syncs import IssueKind, MappingState
from awssome.domain.times import new_id

TODAY = date(2026, 11, 22)
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
    assert made.merged == [known["2"]]
    assert (made.created, made.gained, made.touched) == ([], -1, ["9"])
    assert [one.deal_id for one in made.reread] == ["9"]


def test_a_live_registration_is_handed_on_before_an_archived_one() -> None:
    known = _known(_deal("1"), state=MappingState.ARCHIVED, archived=True) | _known(_deal("2"))
    made = plan([_deal("9", merged_ids=("1", "2"))], known, BY_DEFAULT, 0, TODAY)
    assert made.renamed == [("2", "9")]
    assert (made.merged, made.gained) == ([known["1"]], 0)


def test_a_deal_that_is_here_already_takes_nothing_over() -> None:
    known = _known(_deal("1")) | _known(_deal("9")) | _known(_deal("3"), state=MappingState.MERGED)
    made = plan([_deal("9", merged_ids=("1", "3"))], known, BY_DEFAULT, 0, TODAY)
    assert (made.renamed, made.merged) == ([], [known["1"]])


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
    assert (made.failed, [one.deal_id for one in made.created]) == (1, ["2"])
    failed = made.issues[0]
    assert (failed.kind, len(failed.deal_id), failed.title) == (IssueKind.FAILED, 32, "Deal of Contoso")


def test_an_issue_is_told_until_a_user_settles_it() -> None:
    odd = _deal("1", amount="a lot")
    assert [issue.field for issue in plan([odd], {}, BY_DEFAULT, None, TODAY).issues] == ["deal_amount"]
    assert [issue.field for issue in plan([odd], _known(odd), BY_DEFAULT, 0, TODAY).issues] == ["deal_amount"]
    settled = _known(odd, edited={"deal_amount"}, deal_amount=Decimal(5))
    assert plan([odd], settled, BY_DEFAULT, 0, TODAY).issues == []


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
    **values: Any,
) -> dict[str, Known]:
    mapped = map_deal(deal.properties, BY_DEFAULT)
    known = Known(
        deal_id=deal.id,
        registration_id=new_id(),
        state=state,
        source_hash=mapped.digest,
        edited=frozenset(edited),
        values=dict.fromkeys(FIELD) | mapped.values | values,
        archived=archived,
        put_away=put_away,
    )
    return {deal.id: known}
