"""A workspace that was moved away takes no writes; and nobody holds up another tenant, or a mover for ever."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress

import mssql_python
import pytest

from awssome.database.engine import FenceBusy
from awssome.database.schema import field_mappings
from awssome.database.sessions import Sessions
from awssome.database.sqlserver import driver
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import Placement
from tests.database.sqlserver.attacks import Attack
from tests.database.sqlserver.attacks.fence import LEVELS, MOVED, NEW_ROW
from tests.database.sqlserver.neighbours import (
    Neighbours,
    a_mapping,
    bob_stays_unharmed,
    by_name,
    content_of,
    has_ended,
    rows,
    session_of,
    tried,
)
from tests.engines import eventually, only_sqlserver

pytestmark = [only_sqlserver, bob_stays_unharmed]


@by_name(LEVELS)
def test_alice_writes_only_under_read_committed(
    attempt: Attack, alice: driver.Connection, neighbours: Neighbours
) -> None:
    *before, write = attempt.statements
    for statement in before:
        _, refusal = tried(alice, statement)
        if refusal is not None:
            return  # this server knows no such level
    _, refusal = tried(alice, neighbours.named(write))
    assert _is_fenced(refusal)


@pytest.mark.parametrize("level", ["READ COMMITTED", "SNAPSHOT"])
@pytest.mark.parametrize("work", ["nothing", "a read"])
def test_a_transaction_that_began_before_the_fence_closed_writes_nothing_after(
    level: str, work: str, alice: driver.Connection, neighbours: Neighbours
) -> None:
    driver.run(alice, f"SET TRANSACTION ISOLATION LEVEL {level}")
    driver.run(alice, "BEGIN TRANSACTION")
    if work == "a read":
        driver.run(alice, neighbours.named("SELECT COUNT(*) FROM {alice}.field_mappings"))
    with _moved(neighbours):
        _, refusal = tried(alice, neighbours.named(NEW_ROW))
        tried(alice, "COMMIT")
    assert _is_fenced(refusal)


@pytest.mark.parametrize(
    "write",
    [
        "INSERT INTO {alice}.stage_mappings (pipeline, hubspot_stage, stage, updated_at) "
        "VALUES (CAST(NEWID() AS nvarchar(64)), 's', 't', SYSUTCDATETIME())",
        "UPDATE {alice}.deal_registrations SET title = N'x' WHERE 1 = 0",
        "DELETE FROM {alice}.sync_issues",
        "EXEC(N'DELETE FROM {alice}.sync_history')",
    ],
    ids=["insert", "update of no row", "delete", "delete by exec"],
)
def test_the_fence_waits_for_a_writer_and_the_writer_commits(
    write: str, alice: driver.Connection, neighbours: Neighbours, onlooker: driver.Connection
) -> None:
    schema = neighbours.alice.schema
    driver.run(alice, "BEGIN TRANSACTION")
    driver.run(alice, neighbours.named(write))
    with pytest.raises(FenceBusy):
        neighbours.server.set_fence(schema, 0, mode=FenceMode.MOVED, epoch=1, timeout_ms=50)
    driver.run(alice, "COMMIT")
    with _moved(neighbours):
        _, refusal = tried(alice, neighbours.named(write))
    driver.run(onlooker, neighbours.named("DELETE FROM {alice}.stage_mappings"))
    assert _is_fenced(refusal)


def test_under_another_name_alice_writes_nothing_either(
    throwaway: Placement, neighbours: Neighbours, onlooker: driver.Connection
) -> None:
    """Only an administrator may rename a user, by the book."""
    schema = throwaway.schema
    neighbours.server.set_fence(schema, 0, mode=FenceMode.MOVED, epoch=1)
    with closing(session_of(throwaway)) as mallory:
        _, renamed = tried(mallory, f"ALTER USER {schema} WITH NAME = {schema}_x")
        _, refusal = tried(mallory, NEW_ROW.replace("{alice}", schema))
    if renamed is None:
        driver.run(onlooker, f"ALTER USER {schema}_x WITH NAME = {schema}")
    assert refusal is not None


@pytest.fixture(scope="class")
def moved(neighbours: Neighbours) -> Iterator[None]:
    with _moved(neighbours):
        yield


@pytest.mark.usefixtures("moved")
class TestElsewhere:
    """Alice's workspace has been moved; this is the place where it was."""

    @by_name(MOVED)
    def test_alice_writes_nothing(
        self, attempt: Attack, alice: driver.Connection, neighbours: Neighbours, onlooker: driver.Connection
    ) -> None:
        before = content_of(neighbours.alice, onlooker)
        for statement in attempt.statements:
            _, refusal = tried(alice, neighbours.named(statement))
        tried(alice, "COMMIT")
        assert refusal is not None
        assert content_of(neighbours.alice, onlooker) == before

    def test_alice_may_still_read(self, alice: driver.Connection, neighbours: Neighbours) -> None:
        assert rows(alice, neighbours.named("SELECT title FROM {alice}.deal_registrations")) == [("alices-deal",)]


class TestLocks:
    """Locks with names are open to every login. Those that matter have names that only their tenant can read."""

    @pytest.mark.parametrize("lock", ["{bob}", "{bob}._fence", "awssome-fence-{bob}", "awssome-provision-{bob}"])
    @pytest.mark.parametrize("owner", ["Session", "Transaction"])
    def test_locks_whose_names_can_be_guessed_hold_nobody_up(
        self, lock: str, owner: str, alice: driver.Connection, neighbours: Neighbours, sessions: Sessions
    ) -> None:
        driver.run(alice, "BEGIN TRANSACTION")
        assert _lock(alice, neighbours.named(lock), owner) >= 0
        with suppress(ZeroDivisionError), sessions.open(neighbours.bob) as connection:  # held up, it would be refused
            assert connection.execute(field_mappings.insert().values(a_mapping())).rowcount == 1
            raise ZeroDivisionError
        driver.run(alice, "ROLLBACK")

    def test_the_secret_name_is_what_matters(
        self, alice: driver.Connection, neighbours: Neighbours, onlooker: driver.Connection, sessions: Sessions
    ) -> None:
        """Who knew it could keep Bob from writing: every fence has a name of its own, drawn at random."""
        names = [
            rows(onlooker, f"SELECT lock_name FROM {placement.schema}._fence")[0][0]
            for placement in (neighbours.alice, neighbours.bob)
        ]
        assert len(set(names)) == 2
        assert all(len(name) == 32 for name in names)
        driver.run(alice, "BEGIN TRANSACTION")
        assert _lock(alice, names[1], "Transaction") >= 0
        with pytest.raises(Refused) as refused, sessions.open(neighbours.bob) as connection:
            connection.execute(field_mappings.insert().values(a_mapping()))
        assert refused.value.code is Code.FENCED
        driver.run(alice, "ROLLBACK")

    def test_alice_can_hold_her_own_fence_until_her_login_is_closed(
        self, throwaway: Placement, neighbours: Neighbours, sessions: Sessions
    ) -> None:
        """A mover gives up and says so; an operator ends her sessions."""
        server, schema = neighbours.server, throwaway.schema
        with closing(session_of(throwaway)) as mallory:
            name = rows(mallory, f"SELECT lock_name FROM {schema}._fence")[0][0]
            assert _lock(mallory, name, "Session", "Shared") >= 0
            with pytest.raises(FenceBusy):
                server.set_fence(schema, 0, mode=FenceMode.MOVED, epoch=1, timeout_ms=50)
            with sessions.open(neighbours.bob) as connection:
                connection.execute(field_mappings.update().values(updated_at=field_mappings.c.updated_at))
            server.close_login(schema)
            eventually(lambda: has_ended(mallory))
        server.set_fence(schema, 0, mode=FenceMode.MOVED, epoch=1, timeout_ms=1000)

    def test_nobody_can_keep_an_administrator_from_dropping_a_workspace(
        self, alice: driver.Connection, neighbours: Neighbours, throwaway: Placement
    ) -> None:
        assert _lock(alice, f"awssome-provision-{throwaway.schema}", "Session") >= 0
        with ThreadPoolExecutor(1) as thread:
            dropped = thread.submit(neighbours.server.drop, throwaway.schema, 0)
            try:
                dropped.result(timeout=60)
            finally:
                alice.close()

    def test_what_another_session_has_locked_cannot_be_let_go(
        self, alice: driver.Connection, bob: driver.Connection
    ) -> None:
        assert _lock(bob, "bobs", "Session") >= 0
        tried(alice, "EXEC sp_releaseapplock @Resource = N'bobs', @LockOwner = N'Session'")
        assert _lock(alice, "bobs", "Session") < 0


def _lock(connection: driver.Connection, name: str, owner: str, mode: str = "Exclusive") -> int:
    given = rows(
        connection,
        f"DECLARE @result int; EXEC @result = sp_getapplock @Resource = N'{name}', @LockMode = N'{mode}', "
        f"@LockOwner = N'{owner}', @LockTimeout = 0; SELECT @result",
    )
    return int(given[-1][0])


@contextmanager
def _moved(neighbours: Neighbours) -> Iterator[None]:
    """Alice's workspace is elsewhere while the block lasts."""
    schema = neighbours.alice.schema
    neighbours.server.set_fence(schema, 0, mode=FenceMode.MOVED, epoch=1)
    try:
        yield
    finally:
        neighbours.server.set_fence(schema, 0, mode=FenceMode.RW, epoch=1)


def _is_fenced(refusal: mssql_python.Error | None) -> bool:
    return refusal is not None and driver.number_of(refusal) == driver.FENCED
