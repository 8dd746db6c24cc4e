"""What cannot be closed while tenants share one PostgreSQL gives nothing of Bob's; docs/security.md has the list."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg
import pytest
from psycopg import sql

from awssome.database.engine import Server
from awssome.database.postgresql.entrance import connect_as_tenant
from awssome.database.postgresql.logins import scram_verifier
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import Placement
from tests.database.exposed import Exposed
from tests.database.postgresql.attacks import DENIED, READ_BOB
from tests.database.postgresql.attacks.exposed import EXPOSED, HARMLESS
from tests.database.postgresql.neighbours import SECRET, Neighbours, bob_stays_unharmed, everything_of
from tests.engines import only_postgresql

pytestmark = [only_postgresql, bob_stays_unharmed]


@pytest.mark.parametrize("attempt", EXPOSED, ids=[f"{each.row}: {each.name}" for each in EXPOSED])
def test_what_is_open_gives_nothing_of_bobs(
    attempt: Exposed, alice: psycopg.Connection[Any], neighbours: Neighbours, onlooker: psycopg.Connection[Any]
) -> None:
    """It is open, as the table says: else its row would be untrue. Neither data nor secrets, and no new right."""
    before = everything_of(neighbours.alice, onlooker)
    try:
        for statement in attempt.statements:
            cursor = alice.execute(neighbours.named(statement))
            given = cursor.fetchall() if cursor.description else []
            assert SECRET not in str(given)
            assert neighbours.bob.password not in str(given)
    finally:
        if attempt.undone_by:
            alice.execute(neighbours.named(attempt.undone_by))
    _still_closed(alice, neighbours)
    assert everything_of(neighbours.alice, onlooker) == before


@pytest.mark.parametrize(("name", "statements"), [(name, statements) for name, *statements in HARMLESS])
def test_what_looks_open_changes_nothing(
    name: str,
    statements: list[str],
    alice: psycopg.Connection[Any],
    neighbours: Neighbours,
    onlooker: psycopg.Connection[Any],
) -> None:
    before = everything_of(neighbours.alice, onlooker)
    for statement in statements:
        alice.execute(neighbours.named(statement))
    _still_closed(alice, neighbours)
    assert everything_of(neighbours.alice, onlooker) == before
    assert alice.execute(neighbours.named("SELECT title FROM {alice}.deal_registrations")).fetchall()


def test_names_say_nothing(neighbours: Neighbours) -> None:
    """Everybody may list them: 16 random hex digits, and the same tables for everybody."""
    assert neighbours.bob.schema == neighbours.bob.login
    assert len(neighbours.bob.schema.removeprefix("user_")) == 16
    assert set(neighbours.bob.schema.removeprefix("user_")) <= set("0123456789abcdef")


def test_who_is_connected_shows_neither_statements_nor_addresses(
    alice: psycopg.Connection[Any], bob: psycopg.Connection[Any], neighbours: Neighbours
) -> None:
    bob.execute("BEGIN")
    bob.execute(neighbours.named(READ_BOB))
    seen = alice.execute(
        "SELECT a.query, a.client_addr, a.backend_start, l.mode FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
        "WHERE a.usename = %s AND l.relation IS NOT NULL",
        (neighbours.bob.login,),
    ).fetchall()
    assert ("<insufficient privilege>", None, None, "AccessShareLock") in seen


def test_notifications_go_to_everybody_and_so_nothing_is_sent_that_way(
    alice: psycopg.Connection[Any], bob: psycopg.Connection[Any]
) -> None:
    bob.execute("LISTEN channel")
    alice.execute("NOTIFY channel, 'noise'")
    assert [note.payload for note in bob.notifies(timeout=5, stop_after=1)] == ["noise"]


def test_her_own_password_and_defaults_go_with_the_next_rotation(throwaway: Placement, pool: Server) -> None:
    """She can lock the platform out of her own workspace, nobody else's."""
    with closing(connect_as_tenant(throwaway)) as mallory:
        for setting in ("local_preload_libraries = 'mine'", "default_transaction_isolation = 'serializable'"):
            mallory.execute(f"ALTER ROLE {throwaway.schema} SET {setting}")
            mallory.execute(f"ALTER ROLE {throwaway.schema} IN DATABASE {throwaway.database} SET {setting}")
        password = sql.Literal(scram_verifier("mine"))
        mallory.execute(sql.SQL("ALTER ROLE CURRENT_USER PASSWORD {}").format(password))
    with pytest.raises(Refused) as refused:
        connect_as_tenant(throwaway)
    assert refused.value.code is Code.FENCED
    pool.set_password(throwaway.schema, throwaway.password)
    with psycopg.connect(
        host=throwaway.host,
        port=throwaway.port,
        dbname=throwaway.database,
        user=throwaway.login,
        password=throwaway.password,
    ) as again:  # without the options by which the product's own sessions override such settings
        assert again.execute("SHOW default_transaction_isolation").fetchone() == ("read committed",)
        assert again.execute("SHOW statement_timeout").fetchone() == ("30s",)


def _still_closed(alice: psycopg.Connection[Any], neighbours: Neighbours) -> None:
    with pytest.raises(psycopg.Error) as refused:
        alice.execute(neighbours.named(READ_BOB))
    assert refused.value.sqlstate == DENIED
