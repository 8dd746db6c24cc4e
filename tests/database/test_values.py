"""A value is the same on both engines: what is stored comes back, sums agree, and what cannot be kept is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from awssome.database.embedded import Cluster
from awssome.database.engine import Server
from awssome.database.postgresql.server import PostgreSQL
from awssome.database.schema import deal_events, deal_registrations, hubspot_tokens
from awssome.database.servers import prepare_data_plane
from awssome.database.sessions import Sessions
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import EngineName, Placement, new_schema_name
from awssome.domain.times import new_id
from tests.conftest import PROVISIONER_PASSWORD
from tests.engines import only_sqlserver

AT = datetime(2026, 11, 26, 12, 0, 0, 123456, tzinfo=UTC)

TEXTS = (
    "",
    " ",
    "trailing   ",
    "Zoë’s Ünïcode – 日本語 العربية 🚀",
    "cafe\u0301 beside café",
    "quote ' \" [x] 100% a_b \\N ; -- ~,3:abc,",
    "tab\tnewline\nreturn\r",
    "a" * 255,
)
AMOUNTS = tuple(map(Decimal, ("0", "0.0001", "-0.0001", "999999999999999.9999", "-999999999999999.9999", "12.5")))
STORABLE = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
DAYS = (date(1753, 1, 1), date(2028, 2, 29), date(9999, 12, 31))
TIMES = (datetime(1753, 1, 1, tzinfo=UTC), AT, datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC))


def deal(deal_id: UUID, **values: Any) -> dict[str, Any]:
    """A registration with these values."""
    return {
        "id": deal_id,
        "source": "manual",
        "title": "A deal",
        "stage": "Prospect",
        "edited_fields": [],
        "ready": False,
        "version": 1,
        "created_at": AT,
        "updated_at": AT,
        "updated_by": "alice@northwind.example",
    } | values


def deals() -> list[dict[str, Any]]:
    """Awkward values in every kind of column; in one array there are plain texts and others, values and NULLs."""
    made = [deal(new_id(), title=text, customer_company=text[:120], edited_fields=["title", text]) for text in TEXTS]
    made += [deal(new_id(), deal_amount=amount, expected_aws_spend=amount, ready=True) for amount in AMOUNTS]
    made += [deal(new_id(), target_close_date=day) for day in DAYS]
    made += [deal(new_id(), created_at=at, updated_at=at, archived_at=at) for at in TIMES]
    made += [deal(new_id(), business_problem="ü" * 2000, next_steps=None)]
    names = {name for one in made for name in one}
    return [dict.fromkeys(names) | one for one in made]


def event(deal_id: UUID, changes: Any) -> dict[str, Any]:
    """A line of a deal's timeline."""
    return {"id": new_id(), "registration_id": deal_id, "at": AT, "kind": "edited", "actor": "a", "changes": changes}


def write(sessions: Sessions, placement: Placement, rows: list[dict[str, Any]], events: list[dict[str, Any]]) -> None:
    """The rows in one array, and one by one what is long; then the tokens."""
    with sessions.open(placement) as connection:
        connection.execute(insert(deal_registrations), rows)
        connection.execute(insert(deal_events), events)
        connection.execute(
            insert(hubspot_tokens).values(
                id=1,
                state="connected",
                portal_id=2**62,
                hub_domain="bücher.example",
                scopes="",
                access_token=bytes(range(256)) * 64,
                refresh_token=b"",
                connected_at=AT,
                connected_by="",
                imports=0,
            )
        )


def test_what_is_stored_comes_back(sessions: Sessions, make_workspace: Callable[[], Placement]) -> None:
    placement, rows = make_workspace(), deals()
    long = {"title": [None, "日本" * 4000], "n": 1}
    events = [event(rows[0]["id"], {}), event(rows[0]["id"], long), event(rows[1]["id"], {"a": ["x", None]})]
    write(sessions, placement, rows, events)
    with sessions.open(placement) as connection:
        found = {row.id: row._mapping for row in connection.execute(select(deal_registrations))}
        for row in rows:
            assert {name: found[row["id"]][name] for name in row} == row
        changes = {row.id: row.changes for row in connection.execute(select(deal_events))}
        assert changes == {one["id"]: one["changes"] for one in events}
        tokens = connection.execute(select(hubspot_tokens)).one()
        assert (tokens.access_token, tokens.refresh_token) == (bytes(range(256)) * 64, b"")
        assert (tokens.expires_at, tokens.portal_id) == (None, 2**62)


@pytest.mark.parametrize(
    "values",
    [
        {"title": "x" * 256},
        {"title": "🚀" * 128},
        {"title": "nul \x00"},
        {"title": "half \ud83d"},
        {"edited_fields": ["half \ud83d"]},
        {"deal_amount": Decimal("0.00001")},
        {"deal_amount": Decimal(10) ** 15},
        {"deal_amount": Decimal("NaN")},
        {"target_close_date": date(1752, 12, 31)},
    ],
    ids=["long", "units", "nul", "half-a-character", "half-in-json", "fifth-decimal", "large", "no-number", "early"],
)
def test_what_cannot_be_kept_is_refused_before_the_database_rounds_or_cuts_it(
    values: dict[str, Any], sessions: Sessions, make_workspace: Callable[[], Placement]
) -> None:
    placement = make_workspace()
    with pytest.raises(Refused) as refused, sessions.open(placement) as connection:
        connection.execute(insert(deal_registrations).values(**deal(new_id(), **values)))
    assert refused.value.code is Code.INVALID
    assert "Nothing was changed." in refused.value.message
    with sessions.open(placement) as connection:
        assert connection.execute(select(deal_registrations.c.id)).all() == []


def test_of_an_array_with_a_row_that_is_refused_nothing_stays(
    sessions: Sessions, make_workspace: Callable[[], Placement]
) -> None:
    placement, twice = make_workspace(), deal(new_id())
    with pytest.raises(IntegrityError), sessions.open(placement) as connection:
        connection.execute(insert(deal_registrations), [deal(new_id()), twice, twice, deal(new_id())])
    with sessions.open(placement) as connection:
        assert connection.execute(select(deal_registrations.c.id)).all() == []


def test_an_array_meets_the_fence_as_one_row_does(
    pool: Server, sessions: Sessions, make_workspace: Callable[[], Placement]
) -> None:
    placement = make_workspace()
    pool.set_fence(placement.schema, 0, mode=FenceMode.MOVED, epoch=1)
    with pytest.raises(Refused) as refused, sessions.open(placement) as connection:
        connection.execute(insert(deal_registrations), [deal(new_id()), deal(new_id())])
    assert refused.value.code is Code.FENCED


@pytest.fixture
def on_postgresql(cluster: Cluster) -> Iterator[tuple[Server, Placement]]:
    """A workspace on PostgreSQL, whatever the engine of the test."""
    url = prepare_data_plane(cluster, PROVISIONER_PASSWORD)
    server, schema, password = PostgreSQL(url), new_schema_name(), "Aa1-twin-of-the-other"
    server.provision(schema, password, epoch=1, mode=FenceMode.RW)
    placement = Placement(
        new_id(), new_id(), EngineName.POSTGRESQL, cluster.host, cluster.port, "awssome_tenants", schema, 1, 1, password
    )
    yield server, placement
    server.drop(schema, 0)


@only_sqlserver
def test_the_sums_of_both_engines_agree(
    sessions: Sessions,
    pool: Server,
    make_workspace: Callable[[], Placement],
    on_postgresql: tuple[Server, Placement],
) -> None:
    server, there = on_postgresql
    here, rows = make_workspace(), deals()
    events = [event(row["id"], {"title": [None, row["title"]]}) for row in rows]
    for placement in (here, there):
        write(sessions, placement, rows, events)
    assert pool.sums(here.schema) == server.sums(there.schema)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.builds(
            lambda title, amount, at, day, words: deal(
                new_id(), title=title, deal_amount=amount, updated_at=at, target_close_date=day, edited_fields=words
            ),
            st.text(STORABLE, max_size=100),
            st.none() | st.decimals(min_value=-(10**15) + 1, max_value=10**15 - 1, places=4),
            st.datetimes(datetime(1753, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)),
            st.none() | st.dates(date(1753, 1, 1)),
            st.lists(st.text(STORABLE, max_size=20), max_size=3),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_any_values_survive_an_array(
    rows: list[dict[str, Any]], sessions: Sessions, placement_of_values: Placement
) -> None:
    with sessions.open(placement_of_values) as connection:
        connection.execute(insert(deal_registrations), rows)
        found = {row.id: row._mapping for row in connection.execute(select(deal_registrations))}
        for row in rows:
            assert {name: found[row["id"]][name] for name in row} == row
        connection.execute(delete(deal_registrations))


@pytest.fixture(scope="module")
def placement_of_values(make_workspace: Callable[[], Placement]) -> Placement:
    """A workspace for many examples."""
    return make_workspace()
