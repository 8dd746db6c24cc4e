"""What a page of HubSpot deals is read and written with, at its limits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest

from awssome.database import Connection
from awssome.database.sessions import Sessions
from awssome.database.tenant import imports, mappings, syncs
from awssome.domain.imports import SourceDeal, plan
from awssome.domain.syncs import MappingState
from awssome.domain.tenants import Placement
from awssome.domain.times import now

PORTAL, TODAY = 77, date(2026, 3, 1)


def test_any_number_of_deals_is_looked_up(make_workspace: Callable[[], Placement], sessions: Sessions) -> None:
    """HubSpot lets 250 deals become one: ten of those on a page lead to more than SQL Server takes parameters."""
    with sessions.open(make_workspace()) as connection:
        assert imports.known(connection, PORTAL, map(str, range(2_500))) == {}


def test_deals_that_many_others_became_part_of_are_taken_over(
    make_workspace: Callable[[], Placement], sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "NAMED", 4)
    placement, at = make_workspace(), now()
    gone = {one: tuple(f"{one}{number}" for number in range(10, 20)) for one in ("1", "2", "3")}
    every = [one for survivor, old in gone.items() for one in (survivor, *old)]

    def write(connection: Connection, deals: list[SourceDeal]) -> None:
        known = imports.known(connection, PORTAL, every)
        made = plan(deals, known, mappings.load(connection, PORTAL, TODAY), None, TODAY)
        sync_id = syncs.create(connection, "alice@northwind.example").id
        imports.write(connection, made, portal_id=PORTAL, sync_id=sync_id, at=at)

    with sessions.open(placement) as connection:
        write(connection, [SourceDeal(one, {"dealname": one}) for old in gone.values() for one in old])
        write(connection, [SourceDeal(one, {"dealname": one}, old) for one, old in gone.items()])
        known = imports.known(connection, PORTAL, every)
    assert {one.deal_id for one in known.values() if one.state is MappingState.LIVE} == set(gone)
    merged = [one for one in known.values() if one.state is MappingState.MERGED]
    assert len(merged) == 27  # one of each ten takes the survivor's place
    assert all(one.archived and one.put_away for one in merged)
