"""Alice runs any SQL she likes in a session of her own tenant: nothing of Bob's is read, changed or held up.

Both tenants lie on one server. Alice is connected as her placement's own login, exactly as the portal connects, and
then she is malicious.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psycopg
import pytest

from tests.database.postgresql.attacks import DENIED, READ_BOB, UNKNOWN, Attack
from tests.database.postgresql.attacks.data import READ, WRITE
from tests.database.postgresql.attacks.rights import FENCE, IDENTITY, OWN_SCHEMA
from tests.database.postgresql.attacks.server import SERVER
from tests.database.postgresql.neighbours import SECRET, Neighbours, bob_stays_unharmed, by_name
from tests.engines import only_postgresql

pytestmark = [only_postgresql, bob_stays_unharmed]


@by_name(READ)
def test_alice_cannot_read(attempt: Attack, alice: psycopg.Connection[Any], neighbours: Neighbours) -> None:
    assert _met(attempt, alice, neighbours).sqlstate in attempt.refused_with


@by_name(WRITE)
def test_alice_cannot_change(attempt: Attack, alice: psycopg.Connection[Any], neighbours: Neighbours) -> None:
    assert _met(attempt, alice, neighbours).sqlstate in attempt.refused_with


@by_name(IDENTITY)
def test_alice_cannot_be_anybody_else(attempt: Attack, alice: psycopg.Connection[Any], neighbours: Neighbours) -> None:
    assert _met(attempt, alice, neighbours).sqlstate in attempt.refused_with
    with suppress(psycopg.Error):
        alice.rollback()
    assert alice.execute("SELECT session_user, current_user").fetchone() == (neighbours.alice.login,) * 2


@by_name(OWN_SCHEMA)
def test_alice_cannot_exceed_her_rights_at_home(
    attempt: Attack, alice: psycopg.Connection[Any], neighbours: Neighbours
) -> None:
    assert _met(attempt, alice, neighbours).sqlstate in attempt.refused_with


@by_name(SERVER)
def test_alice_cannot_use_the_server(attempt: Attack, alice: psycopg.Connection[Any], neighbours: Neighbours) -> None:
    assert _met(attempt, alice, neighbours).sqlstate in attempt.refused_with


@by_name(FENCE)
def test_alice_writes_only_under_read_committed(
    attempt: Attack, alice: psycopg.Connection[Any], neighbours: Neighbours
) -> None:
    assert _met(attempt, alice, neighbours).sqlstate in attempt.refused_with


def test_what_is_granted_without_the_right_to_grant_is_not_granted(
    alice: psycopg.Connection[Any], bob: psycopg.Connection[Any], neighbours: Neighbours
) -> None:
    alice.execute(neighbours.named("GRANT ALL ON {alice}.deal_registrations TO PUBLIC"))  # a warning, no error
    alice.execute(neighbours.named("GRANT SELECT ON {alice}.deal_registrations TO {bob}"))
    alice.execute("DROP OWNED BY CURRENT_USER")  # nor does she lose her own rights
    assert alice.execute(neighbours.named("SELECT title FROM {alice}.deal_registrations")).fetchall()
    with pytest.raises(psycopg.Error) as refused:
        bob.execute(neighbours.named("SELECT title FROM {alice}.deal_registrations"))
    assert refused.value.sqlstate == DENIED


@pytest.mark.parametrize(
    ("view", "his"),
    [
        # Those of the catalogs show names, which are open to all.
        ("pg_stats", "schemaname = '{bob}'"),
        ("pg_stats_ext", "schemaname = '{bob}'"),
        ("information_schema.tables", "table_schema = '{bob}'"),
        ("information_schema.columns", "table_schema = '{bob}'"),
        ("pg_stat_statements", "query LIKE '%{bob}%'"),
    ],
)
def test_views_that_show_data_or_columns_show_nothing_of_bob(
    view: str, his: str, alice: psycopg.Connection[Any], bob: psycopg.Connection[Any], neighbours: Neighbours
) -> None:
    bob.execute(neighbours.named("SELECT title AS remembered FROM {bob}.deal_registrations"))
    try:
        rows = alice.execute(neighbours.named(f"SELECT * FROM {view} WHERE {his}")).fetchall()
    except psycopg.Error as refused:
        assert refused.sqlstate == UNKNOWN  # she has no right on the schema it lies in
    else:
        assert rows == []


def test_bobs_statements_are_hidden_while_they_run(
    alice: psycopg.Connection[Any], bob: psycopg.Connection[Any], neighbours: Neighbours
) -> None:
    bob.execute("BEGIN")
    bob.execute(neighbours.named(READ_BOB + f" WHERE title = '{SECRET}'"))
    found = alice.execute(
        "SELECT query, state, client_addr FROM pg_stat_activity WHERE usename = %s", (neighbours.bob.login,)
    ).fetchall()
    assert found == [("<insufficient privilege>", None, None)]


@pytest.mark.parametrize("function", ["pg_terminate_backend", "pg_cancel_backend"])
def test_bobs_sessions_cannot_be_ended(
    function: str, alice: psycopg.Connection[Any], bob: psycopg.Connection[Any]
) -> None:
    with pytest.raises(psycopg.Error) as refused:
        alice.execute(f"SELECT {function}({bob.info.backend_pid})")
    assert refused.value.sqlstate == DENIED
    assert bob.execute("SELECT 1").fetchone() == (1,)


def test_nothing_is_left_on_the_server_by_what_was_refused(
    onlooker: psycopg.Connection[Any], neighbours: Neighbours
) -> None:
    """Runs last: roles, databases, slots, large objects and settings that the attacks tried to make are not there."""
    for query in (
        "SELECT rolname FROM pg_roles WHERE rolname = 'mine'",
        "SELECT datname FROM pg_database WHERE datname = 'mine'",
        "SELECT slot_name FROM pg_replication_slots",
        "SELECT oid FROM pg_largeobject_metadata",
        "SELECT nspname FROM pg_namespace WHERE nspname = 'mine'",
        "SELECT pubname FROM pg_publication",
        "SELECT evtname FROM pg_event_trigger",
        "SELECT srvname FROM pg_foreign_server",
        "SELECT relname FROM pg_class WHERE relname = 'mine'",
    ):
        assert onlooker.execute(query).fetchall() == []


def _met(attempt: Attack, connection: psycopg.Connection[Any], neighbours: Neighbours) -> psycopg.Error:
    """The error that the attempt met; that it met one, and without Bob's secret in it, is seen to here."""
    *before, last = (neighbours.named(statement) for statement in attempt.statements)
    for statement in before:
        connection.execute(statement)
    with pytest.raises(psycopg.Error) as refused:
        if last.startswith("COPY") and "STDOUT" in last:
            with connection.cursor() as cursor, cursor.copy(last) as copy:
                assert SECRET not in b"".join(copy).decode()
        elif last.startswith("COPY") and "STDIN" in last:
            with connection.cursor() as cursor, cursor.copy(last) as copy:
                copy.write("x\ty\tz\t2020-01-01\n")
        else:
            connection.execute(last)
    assert SECRET not in str(refused.value)
    return refused.value
