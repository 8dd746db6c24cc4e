"""Alice runs any T-SQL she likes in a session of her own tenant: nothing of Bob's is read, changed or held up.

Both tenants lie in one database of one SQL Server. Alice is connected as her placement's own login, exactly as the
portal connects, and then she is malicious; each of her statements commits by itself, unless she begins a transaction.
What is asserted holds on every server that speaks T-SQL: that a statement is refused, that it gave nothing of Bob's
before, and that Bob's rows, tables, rights and login are what they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import mssql_python
import pytest

from awssome.database.sqlserver import driver
from tests.database.sqlserver.attacks import Attack, Control
from tests.database.sqlserver.attacks.data import READ, WRITE
from tests.database.sqlserver.attacks.fence import MOVED, NEW_ROW
from tests.database.sqlserver.attacks.rights import ALIASES, IDENTITY, OWN_SCHEMA
from tests.database.sqlserver.attacks.server import LOOKS, SERVER, Look
from tests.database.sqlserver.neighbours import (
    SECRET,
    Neighbours,
    administrator_of,
    bob_stays_unharmed,
    by_name,
    is_let_in,
    rows,
    session_of,
    structure_of,
    tried,
)
from tests.engines import only_sqlserver

pytestmark = [only_sqlserver, bob_stays_unharmed]


class Kept:
    """A session that is used again for as long as it can have kept nothing from the test before."""

    def __init__(self, opened: Callable[[], driver.Connection]) -> None:
        self._opened = opened
        self._connection: driver.Connection | None = None

    def get(self, *, fresh: bool = False) -> driver.Connection:
        """The session; a new one when the old one has ended, or when a fresh one is asked for."""
        if fresh or not self._lives():
            self.close()
            self._connection = self._opened()
        assert self._connection is not None
        return self._connection

    def close(self) -> None:
        """End it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _lives(self) -> bool:
        try:
            return self._connection is not None and bool(driver.run(self._connection, "SELECT 1"))
        except mssql_python.Error:
            return False


@pytest.fixture(scope="module")
def kept(neighbours: Neighbours) -> Iterator[Kept]:
    """Alice's session, for statements that are refused."""
    session = Kept(lambda: session_of(neighbours.alice))
    yield session
    session.close()


@pytest.fixture(scope="module")
def kept_at_home(neighbours: Neighbours) -> Iterator[Kept]:
    """Alice's session, for statements that are rolled back."""
    session = Kept(lambda: session_of(neighbours.alice, autocommit=False))
    yield session
    session.close()


@pytest.fixture(scope="module")
def kept_by_administrator(neighbours: Neighbours) -> Iterator[Kept]:
    """The administrator's session, for statements that are rolled back."""
    session = Kept(lambda: administrator_of(neighbours.url, autocommit=False))
    yield session
    session.close()


def _with_control(control: Control, *lists: tuple[Attack, ...]) -> pytest.MarkDecorator:
    return by_name(tuple(attempt for attacks in lists for attempt in attacks if attempt.control is control))


@by_name(READ)
def test_alice_cannot_read(attempt: Attack, kept: Kept, neighbours: Neighbours) -> None:
    given, refusal = _met(attempt, kept, neighbours)
    assert refusal is not None, "it was not refused"
    assert SECRET not in given


@pytest.mark.usefixtures("bob_is_unharmed")
@by_name(WRITE)
def test_alice_cannot_change(attempt: Attack, kept: Kept, neighbours: Neighbours) -> None:
    given, refusal = _met(attempt, kept, neighbours)
    assert refusal is not None, "it was not refused"
    assert SECRET not in given


@pytest.mark.usefixtures("bob_is_unharmed")
@by_name(IDENTITY)
def test_alice_cannot_be_anybody_else(attempt: Attack, kept: Kept, neighbours: Neighbours) -> None:
    given, refusal = _met(attempt, kept, neighbours)
    assert refusal is not None, "it was not refused"
    assert SECRET not in given
    assert rows(kept.get(fresh=_several(attempt)), "SELECT SUSER_SNAME(), USER_NAME()") == [
        (neighbours.alice.login,) * 2
    ]
    assert is_let_in(neighbours.bob)  # his password is still his


@by_name(OWN_SCHEMA + ALIASES)
def test_alice_cannot_exceed_her_rights_at_home(
    attempt: Attack, kept: Kept, neighbours: Neighbours, onlooker: driver.Connection
) -> None:
    before = structure_of(neighbours.alice, onlooker)
    given, refusal = _met(attempt, kept, neighbours)
    assert refusal is not None, "it was not refused"
    assert SECRET not in given
    assert structure_of(neighbours.alice, onlooker) == before


@by_name(SERVER)
def test_alice_cannot_use_the_server(attempt: Attack, kept: Kept, neighbours: Neighbours) -> None:
    given, refusal = _met(attempt, kept, neighbours)
    assert refusal is not None, "it was not refused"
    assert SECRET not in given


@by_name(LOOKS)
def test_alice_learns_nothing_of_bob_from_the_catalogs(attempt: Look, kept: Kept, neighbours: Neighbours) -> None:
    given, refusal = tried(kept.get(), neighbours.named(attempt.query))
    assert refusal is not None or not any(value for row in given for value in row), given


@_with_control(Control.AT_HOME, READ, WRITE, MOVED)
def test_in_her_own_schema_alice_may_do_the_same(attempt: Attack, kept_at_home: Kept, neighbours: Neighbours) -> None:
    """No attack is refused for being ill-formed."""
    at_home = [statement.replace("{bob}", "{alice}") for statement in attempt.statements]
    assert _refusals(at_home, kept_at_home, neighbours) == []


@_with_control(Control.ADMINISTRATOR, READ, WRITE, IDENTITY, OWN_SCHEMA, ALIASES)
def test_an_administrator_may_do_the_same(attempt: Attack, kept_by_administrator: Kept, neighbours: Neighbours) -> None:
    """No attack is refused for being ill-formed."""
    assert _refusals(attempt.statements, kept_by_administrator, neighbours) == []


def test_alice_reads_and_writes_what_is_hers(alice: driver.Connection, neighbours: Neighbours) -> None:
    def run(query: str) -> list[tuple[Any, ...]]:
        return rows(alice, neighbours.named(query))

    assert run("SELECT title FROM {alice}.deal_registrations") == [("alices-deal",)]
    for statement in (
        NEW_ROW,
        "UPDATE {alice}.stage_mappings SET stage = N'Qualified'",
        "INSERT INTO {alice}.deal_events (id, registration_id, at, kind, actor, changes) "
        "SELECT NEWID(), id, updated_at, 'x', 'y', '{}' "
        "FROM {alice}.deal_registrations",
    ):
        run(statement)
    assert run("SELECT stage FROM {alice}.stage_mappings") == [("Qualified",)]
    run("DELETE FROM {alice}.stage_mappings")
    assert run("SELECT stage FROM {alice}.stage_mappings") == []
    assert run("SELECT COUNT(*) FROM {alice}.deal_events WHERE kind = N'x'") == [(1,)]


def test_what_is_granted_without_the_right_to_grant_is_not_granted(
    alice: driver.Connection, bob: driver.Connection, neighbours: Neighbours
) -> None:
    for grantee in ("{bob}", "public", "guest"):
        tried(alice, neighbours.named(f"GRANT SELECT ON {{alice}}.deal_registrations TO {grantee}"))
    _, refusal = tried(bob, neighbours.named("SELECT title FROM {alice}.deal_registrations"))
    assert refusal is not None


def _met(attempt: Attack, kept: Kept, neighbours: Neighbours) -> tuple[str, mssql_python.Error | None]:
    """All that the statements gave, as text, and what the last one was refused with."""
    connection = kept.get(fresh=_several(attempt))
    met = [tried(connection, neighbours.named(statement)) for statement in attempt.statements]
    if _several(attempt):
        tried(connection, "COMMIT")
    return str(met), met[-1][1]


def _several(attempt: Attack) -> bool:
    """Statements that may leave something in the session: it is used for nothing else."""
    return len(attempt.statements) > 1


def _refusals(statements: Sequence[str], kept: Kept, neighbours: Neighbours) -> list[mssql_python.Error]:
    """What statements are refused with that are rolled back in the end."""
    connection = kept.get(fresh=len(statements) > 1)
    met = [tried(connection, neighbours.named(statement))[1] for statement in statements]
    if len(statements) > 1 or any(met):
        kept.close()
    else:
        connection.rollback()
    return [refusal for refusal in met if refusal is not None]
