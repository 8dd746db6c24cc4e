"""Alice runs any T-SQL she likes in a session of her own tenant: nothing of Bob's is read, changed or held up.

Both tenants lie in one database of one SQL Server. Alice is connected as her placement's own login, exactly as the
portal connects, and then she is malicious; each of her statements commits by itself, unless she begins a transaction.
What is asserted holds on every server that speaks T-SQL: that a statement is refused, that it gave nothing of Bob's
before, and that Bob's rows, tables, rights and login are what they were. `TestExposed` is what is open to everybody
who is connected.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import mssql_python
import pytest
from sqlalchemy import insert, select, text

from awssome.database.engine import FenceBusy, MoverLost, Server
from awssome.database.schema import DATA_TABLES, deal_events, deal_registrations, field_mappings
from awssome.database.sessions import Sessions
from awssome.database.sqlserver import driver
from awssome.database.sqlserver.entrance import LOCK_WAIT_MS, connect_as_tenant
from awssome.database.sqlserver.server import SQLServer
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import Placement, new_schema_name
from awssome.domain.times import new_id, now
from tests.database.attacks_sqlserver import (
    ALIASES,
    EXPOSED,
    IDENTITY,
    LEVELS,
    LOOKS,
    MOVED,
    NEW_ROW,
    OWN_SCHEMA,
    READ,
    READ_BOB,
    SERVER,
    WRITE,
    Attack,
    Control,
    Exposed,
    Look,
)
from tests.engines import eventually, only_sqlserver

pytestmark = only_sqlserver

SECRET = "bobs-secret-deal"
PASSWORD = "Aa1-of-the-tests"


@dataclass(frozen=True)
class Neighbours:
    """Two tenants in one database, and their server with its administrator's rights."""

    alice: Placement
    bob: Placement
    server: Server
    url: str

    def named(self, statement: str) -> str:
        """T-SQL with the names filled in."""
        names = {"{alice}": self.alice.schema, "{bob}": self.bob.schema, "{database}": f"[{self.alice.database}]"}
        for mark, name in names.items():
            statement = statement.replace(mark, name)
        return statement


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
def neighbours(make_workspace: Callable[[], Placement], pool: Server, pool_url: str) -> Iterator[Neighbours]:
    alice, bob = make_workspace(), make_workspace()
    sessions = Sessions(budget=2)
    for placement, title in ((alice, "alices-deal"), (bob, SECRET)):
        with sessions.open(placement) as connection:
            _write_a_deal(connection, title)
    sessions.close()
    yield Neighbours(alice, bob, pool, pool_url)


@pytest.fixture(scope="module")
def onlooker(pool_url: str) -> Iterator[driver.Connection]:
    """The administrator, who sees everything."""
    with closing(_administrator(pool_url)) as connection:
        yield connection


@pytest.fixture(scope="module")
def kept(neighbours: Neighbours) -> Iterator[Kept]:
    """Alice's session, for statements that are refused."""
    session = Kept(lambda: _session(neighbours.alice))
    yield session
    session.close()


@pytest.fixture(scope="module")
def kept_at_home(neighbours: Neighbours) -> Iterator[Kept]:
    """Alice's session, for statements that are rolled back."""
    session = Kept(lambda: _session(neighbours.alice, autocommit=False))
    yield session
    session.close()


@pytest.fixture(scope="module")
def kept_by_administrator(neighbours: Neighbours) -> Iterator[Kept]:
    """The administrator's session, for statements that are rolled back."""
    session = Kept(lambda: _administrator(neighbours.url, autocommit=False))
    yield session
    session.close()


@pytest.fixture
def alice(neighbours: Neighbours) -> Iterator[driver.Connection]:
    """A fresh session of Alice's."""
    with closing(_session(neighbours.alice)) as connection:
        yield connection


@pytest.fixture
def bob(neighbours: Neighbours) -> Iterator[driver.Connection]:
    """A session of Bob's, like Alice's."""
    with closing(_session(neighbours.bob)) as connection:
        yield connection


@pytest.fixture(scope="module")
def bobs_rows(neighbours: Neighbours, onlooker: driver.Connection) -> list[Any]:
    before = _content_of(neighbours.bob, onlooker)
    assert SECRET in str(before)
    return before


@pytest.fixture(scope="module")
def bobs_structure(neighbours: Neighbours, onlooker: driver.Connection) -> list[Any]:
    return _structure_of(neighbours.bob, onlooker)


@pytest.fixture(autouse=True, scope="module")
def bob_is_unharmed_in_the_end(
    neighbours: Neighbours, onlooker: driver.Connection, bobs_structure: list[Any]
) -> Iterator[None]:
    """Bob's tables, rights and login are what they were, and his password still opens it."""
    yield
    assert _structure_of(neighbours.bob, onlooker) == bobs_structure
    _session(neighbours.bob).close()


@pytest.fixture(autouse=True)
def bobs_rows_are_unharmed(neighbours: Neighbours, onlooker: driver.Connection, bobs_rows: list[Any]) -> Iterator[None]:
    """Whatever a test does, Bob's rows are afterwards what they were before."""
    yield
    assert _content_of(neighbours.bob, onlooker) == bobs_rows


@pytest.fixture
def bob_is_unharmed(neighbours: Neighbours, onlooker: driver.Connection, bobs_structure: list[Any]) -> Iterator[None]:
    """So are his tables, rights and login."""
    yield
    assert _structure_of(neighbours.bob, onlooker) == bobs_structure


@pytest.fixture
def throwaway(make_workspace: Callable[[], Placement], pool: Server) -> Iterator[Placement]:
    """A workspace that a test may spoil."""
    placement = make_workspace()
    yield placement
    pool.drop(placement.schema, 99)


def _by_name(attacks: tuple[Any, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("attempt", attacks, ids=[attempt.name for attempt in attacks])


def _with_control(control: Control, *lists: tuple[Attack, ...]) -> pytest.MarkDecorator:
    return _by_name(tuple(attempt for attacks in lists for attempt in attacks if attempt.control is control))


@_by_name(READ)
def test_alice_cannot_read(attempt: Attack, kept: Kept, neighbours: Neighbours) -> None:
    _refused(attempt, kept, neighbours)


@pytest.mark.usefixtures("bob_is_unharmed")
@_by_name(WRITE)
def test_alice_cannot_change(attempt: Attack, kept: Kept, neighbours: Neighbours) -> None:
    _refused(attempt, kept, neighbours)


@pytest.mark.usefixtures("bob_is_unharmed")
@_by_name(IDENTITY)
def test_alice_cannot_be_anybody_else(attempt: Attack, kept: Kept, neighbours: Neighbours) -> None:
    connection = _refused(attempt, kept, neighbours)
    assert _rows(connection, "SELECT SUSER_SNAME(), USER_NAME()") == [(neighbours.alice.login,) * 2]
    _session(neighbours.bob).close()  # his password is still his


@_by_name(OWN_SCHEMA + ALIASES)
def test_alice_cannot_exceed_her_rights_at_home(
    attempt: Attack, kept: Kept, neighbours: Neighbours, onlooker: driver.Connection
) -> None:
    before = _structure_of(neighbours.alice, onlooker)
    _refused(attempt, kept, neighbours)
    assert _structure_of(neighbours.alice, onlooker) == before


@_by_name(SERVER)
def test_alice_cannot_use_the_server(attempt: Attack, kept: Kept, neighbours: Neighbours) -> None:
    _refused(attempt, kept, neighbours)


@_by_name(LOOKS)
def test_alice_learns_nothing_of_bob_from_the_catalogs(attempt: Look, kept: Kept, neighbours: Neighbours) -> None:
    given, refusal = _tried(kept.get(), neighbours.named(attempt.query))
    assert refusal is not None or not any(value for row in given for value in row), given


@_with_control(Control.AT_HOME, READ, WRITE, MOVED)
def test_in_her_own_schema_alice_may_do_the_same(attempt: Attack, kept_at_home: Kept, neighbours: Neighbours) -> None:
    """No attack is refused for being ill-formed."""
    _allowed(attempt, kept_at_home, lambda statement: neighbours.named(statement.replace("{bob}", "{alice}")))


@_with_control(Control.ADMINISTRATOR, READ, WRITE, IDENTITY, OWN_SCHEMA, ALIASES)
def test_an_administrator_may_do_the_same(attempt: Attack, kept_by_administrator: Kept, neighbours: Neighbours) -> None:
    """No attack is refused for being ill-formed."""
    _allowed(attempt, kept_by_administrator, neighbours.named)


def test_alice_reads_and_writes_what_is_hers(alice: driver.Connection, neighbours: Neighbours) -> None:
    read = neighbours.named("SELECT title FROM {alice}.deal_registrations")
    assert _rows(alice, read) == [("alices-deal",)]
    for statement in (
        NEW_ROW,
        "UPDATE {alice}.stage_mappings SET stage = N'Qualified'",
        "INSERT INTO {alice}.deal_events SELECT NEWID(), id, updated_at, 'x', 'y', '{}' "
        "FROM {alice}.deal_registrations",
    ):
        driver.run(alice, neighbours.named(statement))
    assert _rows(alice, neighbours.named("SELECT stage FROM {alice}.stage_mappings")) == [("Qualified",)]
    driver.run(alice, neighbours.named("DELETE FROM {alice}.stage_mappings"))
    assert _rows(alice, neighbours.named("SELECT stage FROM {alice}.stage_mappings")) == []
    assert _rows(alice, neighbours.named("SELECT COUNT(*) FROM {alice}.deal_events WHERE kind = N'x'")) == [(1,)]


@_by_name(LEVELS)
def test_alice_writes_only_under_read_committed(
    attempt: Attack, alice: driver.Connection, neighbours: Neighbours
) -> None:
    *before, write = attempt.statements
    for statement in before:
        _, refusal = _tried(alice, statement)
        if refusal is not None:
            return  # this server knows no such level
    _, refusal = _tried(alice, neighbours.named(write))
    assert driver.number_of(refusal) == driver.FENCED if refusal else pytest.fail("it was written")


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
        _, refusal = _tried(alice, neighbours.named(NEW_ROW))
        _tried(alice, "COMMIT")
    assert driver.number_of(refusal) == driver.FENCED if refusal else pytest.fail("it was written")


@pytest.mark.parametrize(
    "write",
    [
        "INSERT INTO {alice}.stage_mappings VALUES (CAST(NEWID() AS nvarchar(64)), 's', 't', SYSUTCDATETIME())",
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
        _, refusal = _tried(alice, neighbours.named(write))
    driver.run(onlooker, neighbours.named("DELETE FROM {alice}.stage_mappings"))
    assert driver.number_of(refusal) == driver.FENCED if refusal else pytest.fail("it was written")


def test_under_another_name_alice_writes_nothing_either(throwaway: Placement, neighbours: Neighbours) -> None:
    """Only an administrator may rename a user, by the book."""
    schema = throwaway.schema
    neighbours.server.set_fence(schema, 0, mode=FenceMode.MOVED, epoch=1)
    with closing(_session(throwaway)) as mallory:
        _, renamed = _tried(mallory, f"ALTER USER {schema} WITH NAME = {schema}_x")
        _, refusal = _tried(mallory, NEW_ROW.replace("{alice}", schema))
    if renamed is None:
        with closing(_administrator(neighbours.url)) as administrator:
            driver.run(administrator, f"ALTER USER {schema}_x WITH NAME = {schema}")
    assert refusal is not None


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("{schema}_x", id="plain"),
        pytest.param("{schema}]; CREATE ROLE [{role}", id="bracket"),
        pytest.param("{schema}'; CREATE ROLE {role}; --", id="quote"),
        pytest.param('{schema}"; CREATE ROLE {role}; --', id="double quote"),
    ],
)
def test_the_name_that_alice_chose_is_nothing_but_a_name_when_her_workspace_is_dropped(
    name: str, throwaway: Placement, neighbours: Neighbours, onlooker: driver.Connection
) -> None:
    """On a server that lets her rename her user."""
    schema = throwaway.schema
    role = schema.replace("user_", "mine_")
    chosen = name.replace("{schema}", schema).replace("{role}", role).replace('"', '""')
    with closing(_session(throwaway)) as mallory:
        _tried(mallory, f'ALTER USER {schema} WITH NAME = "{chosen}"')
    try:
        neighbours.server.drop(schema, 0)
    except mssql_python.Error:
        _tried(onlooker, f'ALTER USER "{chosen}" WITH NAME = {schema}')
        raise
    made = _rows(onlooker, f"SELECT DATABASE_PRINCIPAL_ID(N'{role}')")
    _tried(onlooker, f"DROP ROLE {role}")
    assert made == [(None,)]
    assert neighbours.server.fence(schema) is None
    _not_let_in(throwaway)


def test_what_is_granted_without_the_right_to_grant_is_not_granted(
    alice: driver.Connection, bob: driver.Connection, neighbours: Neighbours
) -> None:
    for grantee in ("{bob}", "public", "guest"):
        _tried(alice, neighbours.named(f"GRANT SELECT ON {{alice}}.deal_registrations TO {grantee}"))
    _, refusal = _tried(bob, neighbours.named("SELECT title FROM {alice}.deal_registrations"))
    assert refusal is not None


@pytest.fixture(scope="class")
def moved(neighbours: Neighbours) -> Iterator[None]:
    with _moved(neighbours):
        yield


@pytest.mark.usefixtures("moved")
class TestElsewhere:
    """Alice's workspace has been moved; this is the place where it was."""

    @_by_name(MOVED)
    def test_alice_writes_nothing(
        self, attempt: Attack, alice: driver.Connection, neighbours: Neighbours, onlooker: driver.Connection
    ) -> None:
        before = _content_of(neighbours.alice, onlooker)
        *first, write = (neighbours.named(statement) for statement in attempt.statements)
        for statement in first:
            _tried(alice, statement)
        _, refusal = _tried(alice, write)
        _tried(alice, "COMMIT")
        assert refusal is not None
        assert _content_of(neighbours.alice, onlooker) == before

    def test_alice_may_still_read(self, alice: driver.Connection, neighbours: Neighbours) -> None:
        assert _rows(alice, neighbours.named("SELECT title FROM {alice}.deal_registrations")) == [("alices-deal",)]


class TestLocks:
    """Locks with names are open to every login. Those that matter have names that only their tenant can read."""

    @pytest.mark.parametrize("lock", ["{bob}", "{bob}._fence", "awssome-fence-{bob}", "awssome-provision-{bob}"])
    @pytest.mark.parametrize("owner", ["Session", "Transaction"])
    def test_locks_whose_names_can_be_guessed_hold_nobody_up(
        self, lock: str, owner: str, alice: driver.Connection, neighbours: Neighbours, sessions: Sessions
    ) -> None:
        driver.run(alice, "BEGIN TRANSACTION")
        assert _lock(alice, neighbours.named(lock), owner) >= 0
        began = time.monotonic()
        with suppress(ZeroDivisionError), sessions.open(neighbours.bob) as connection:
            assert connection.execute(field_mappings.insert().values(_a_mapping())).rowcount == 1
            raise ZeroDivisionError
        assert time.monotonic() - began < 1.5
        driver.run(alice, "ROLLBACK")

    def test_the_secret_name_is_what_matters(
        self, alice: driver.Connection, neighbours: Neighbours, onlooker: driver.Connection, sessions: Sessions
    ) -> None:
        """Who knew it could keep Bob from writing: every fence has a name of its own, drawn at random."""
        names = [
            _rows(onlooker, f"SELECT lock_name FROM {placement.schema}._fence")[0][0]
            for placement in (neighbours.alice, neighbours.bob)
        ]
        assert len(set(names)) == 2
        assert all(len(name) == 32 for name in names)
        driver.run(alice, "BEGIN TRANSACTION")
        assert _lock(alice, names[1], "Transaction") >= 0
        with pytest.raises(Refused) as refused, sessions.open(neighbours.bob) as connection:
            connection.execute(field_mappings.insert().values(_a_mapping()))
        assert refused.value.code is Code.FENCED
        driver.run(alice, "ROLLBACK")

    def test_alice_can_hold_her_own_fence_until_her_login_is_closed(
        self, throwaway: Placement, neighbours: Neighbours, sessions: Sessions
    ) -> None:
        """A mover gives up and says so; an operator ends her sessions."""
        server, schema = neighbours.server, throwaway.schema
        with closing(_session(throwaway)) as mallory:
            name = _rows(mallory, f"SELECT lock_name FROM {schema}._fence")[0][0]
            assert _lock(mallory, name, "Session", "Shared") >= 0
            with pytest.raises(FenceBusy):
                server.set_fence(schema, 0, mode=FenceMode.MOVED, epoch=1, timeout_ms=50)
            with sessions.open(neighbours.bob) as connection:
                connection.execute(field_mappings.update().values(updated_at=field_mappings.c.updated_at))
            server.close_login(schema)
            eventually(lambda: _ended(mallory))
        server.set_fence(schema, 0, mode=FenceMode.MOVED, epoch=1, timeout_ms=1000)

    def test_nobody_can_keep_an_administrator_from_dropping_a_workspace(
        self, alice: driver.Connection, neighbours: Neighbours, throwaway: Placement
    ) -> None:
        assert _lock(alice, f"awssome-provision-{throwaway.schema}", "Session") >= 0
        with ThreadPoolExecutor(1) as thread:
            dropped = thread.submit(neighbours.server.drop, throwaway.schema, 0)
            try:
                dropped.result(timeout=3)
            finally:
                alice.close()

    def test_what_another_session_has_locked_cannot_be_let_go(
        self, alice: driver.Connection, bob: driver.Connection
    ) -> None:
        assert _lock(bob, "bobs", "Session") >= 0
        _tried(alice, "EXEC sp_releaseapplock @Resource = N'bobs', @LockOwner = N'Session'")
        assert _lock(alice, "bobs", "Session") < 0


class TestSessions:
    """What is left in a session stays with its tenant, and a session ends when it must."""

    @pytest.mark.parametrize("budget", [1, 4], ids=["one after the other", "side by side"])
    def test_settings_do_not_reach_another_tenant(self, budget: int, neighbours: Neighbours) -> None:
        sessions = Sessions(budget=budget)
        try:
            with sessions.open(neighbours.alice) as connection:
                for statement in (
                    "SET NOCOUNT ON",
                    "SET LOCK_TIMEOUT 7",
                    "SET XACT_ABORT ON",
                    "SET DATEFIRST 3",
                    "SET LANGUAGE French",
                    "SET CONTEXT_INFO 0x616c696365",
                    "EXEC sp_set_session_context N'whose', N'alices'",
                    "CREATE TABLE #alices (x int)",
                    "SET ROWCOUNT 1",
                ):
                    with suppress(Exception):
                        connection.exec_driver_sql(statement)
                alices = _state_of(connection)
            with sessions.open(neighbours.bob) as connection:
                bobs = _state_of(connection)
            assert alices.session != bobs.session
            assert tuple(bobs[1:]) == (neighbours.bob.login, LOCK_WAIT_MS, 0, None, None, None)
        finally:
            sessions.close()

    def test_closing_a_login_ends_its_sessions_and_lets_nobody_in(self, throwaway: Placement, pool: Server) -> None:
        with closing(_session(throwaway)) as session:
            pool.close_login(throwaway.schema)
            eventually(lambda: _ended(session))
            _not_let_in(throwaway)
        pool.close_login(throwaway.schema)  # and doing it again is nothing
        pool.open_login(throwaway.schema)
        _session(throwaway).close()

    def test_dropping_a_workspace_ends_its_sessions(self, throwaway: Placement, pool: Server) -> None:
        """Whatever it holds: an open transaction, a lock, a cursor."""
        with closing(_session(throwaway)) as mallory:
            driver.run(mallory, "BEGIN TRANSACTION")
            driver.run(mallory, f"UPDATE {throwaway.schema}.deal_registrations SET title = title")
            driver.run(mallory, f"DECLARE c CURSOR FOR SELECT * FROM {throwaway.schema}._fence; OPEN c")
            pool.drop(throwaway.schema, 0)
            eventually(lambda: _ended(mallory))
        assert pool.fence(throwaway.schema) is None
        _not_let_in(throwaway)
        pool.drop(throwaway.schema, 0)  # and doing it again is nothing

    def test_a_new_password_makes_the_old_one_useless(self, throwaway: Placement, pool: Server) -> None:
        with closing(_session(throwaway)) as session:
            pool.set_password(throwaway.schema, PASSWORD)
            _not_let_in(throwaway)
            _session(replace(throwaway, password=PASSWORD)).close()
            assert driver.run(session, "SELECT 1")  # what is open goes on

    def test_alices_password_opens_nobody_elses_login(self, neighbours: Neighbours) -> None:
        _not_let_in(replace(neighbours.alice, schema=neighbours.bob.schema))
        _not_let_in(replace(neighbours.alice, password=" "))
        _not_let_in(replace(neighbours.bob, password=neighbours.bob.password.swapcase()))

    @pytest.mark.parametrize("kill", ["KILL {session}", "EXEC(N'KILL {session}')"])
    def test_bobs_sessions_cannot_be_ended(self, kill: str, alice: driver.Connection, bob: driver.Connection) -> None:
        session = _rows(bob, "SELECT @@SPID")[0][0]
        _, refusal = _tried(alice, kill.replace("{session}", str(session)))
        assert refusal is not None
        assert _rows(bob, "SELECT @@SPID") == [(session,)]


class TestMaking:
    """Workspaces are made and dropped once, whoever else is at it."""

    def test_four_at_once_make_one(self, neighbours: Neighbours, onlooker: driver.Connection) -> None:
        schema = new_schema_name()
        together = threading.Barrier(4)

        def make(_: int) -> None:
            server = SQLServer(neighbours.url)
            with server.connected():
                together.wait()
                server.provision(schema, PASSWORD, epoch=1, mode=FenceMode.RW)

        try:
            with ThreadPoolExecutor(4) as threads:
                list(threads.map(make, range(4)))
            made = replace(neighbours.alice, schema=schema, password=PASSWORD)
            assert _rows(onlooker, f"SELECT COUNT(*) FROM {schema}._fence") == [(1,)]
            assert _shape(_structure_of(made, onlooker), made) == _shape(
                _structure_of(neighbours.alice, onlooker), neighbours.alice
            )
            with closing(_session(made)) as session:
                driver.run(session, NEW_ROW.replace("{alice}", schema))
        finally:
            neighbours.server.drop(schema, 0)

    def test_making_again_changes_nothing(
        self, throwaway: Placement, pool: Server, onlooker: driver.Connection
    ) -> None:
        with closing(_session(throwaway)) as session:
            driver.run(session, NEW_ROW.replace("{alice}", throwaway.schema))
        before = _everything_of(throwaway, onlooker)
        pool.provision(throwaway.schema, PASSWORD, epoch=7, mode=FenceMode.MOVED, mover=3)
        assert _everything_of(throwaway, onlooker) == before
        _not_let_in(replace(throwaway, password=PASSWORD))
        _session(throwaway).close()

    def test_an_older_mover_drops_nothing(
        self, throwaway: Placement, pool: Server, onlooker: driver.Connection
    ) -> None:
        pool.claim(throwaway.schema, 5)
        before = _everything_of(throwaway, onlooker)
        with pytest.raises(MoverLost):
            pool.drop(throwaway.schema, 4)
        assert _everything_of(throwaway, onlooker) == before
        _session(throwaway).close()
        pool.drop(throwaway.schema, 5)
        assert pool.fence(throwaway.schema) is None


class TestExposed:
    """What cannot be closed while tenants share one SQL Server. docs/security.md quotes this list."""

    @pytest.mark.usefixtures("bob_is_unharmed")
    @_by_name(EXPOSED)
    def test_what_is_open_gives_nothing_of_bobs(
        self, attempt: Exposed, alice: driver.Connection, neighbours: Neighbours, onlooker: driver.Connection
    ) -> None:
        """Whether a server allows it or not: neither data nor secrets, and no right that she had not before."""
        lock = _rows(onlooker, neighbours.named("SELECT lock_name FROM {bob}._fence"))[0][0]
        secrets = (SECRET, neighbours.bob.password, lock)
        before = _content_of(neighbours.alice, onlooker)
        try:
            for statement in attempt.statements:
                given, refusal = _tried(alice, neighbours.named(statement))
                assert not any(secret in f"{given} {refusal}" for secret in secrets)
            given, refusal = _tried(alice, neighbours.named(READ_BOB))
            assert refusal is not None
        finally:
            if attempt.undone_by:
                with closing(_session(neighbours.alice)) as again:
                    _tried(again, neighbours.named(attempt.undone_by))
        assert _content_of(neighbours.alice, onlooker) == before

    def test_her_own_password(self, throwaway: Placement, pool: Server) -> None:
        """She can lock the platform out of her own workspace, nobody else's; `set_password` lets it in again."""
        change = f"ALTER LOGIN {throwaway.schema} WITH PASSWORD = N'{PASSWORD}' OLD_PASSWORD = N'{throwaway.password}'"
        with closing(_session(throwaway)) as mallory:
            _, refusal = _tried(mallory, change)
        if refusal is not None:  # this server does not know how: then nothing has changed
            _session(throwaway).close()
            return
        _not_let_in(throwaway)
        pool.set_password(throwaway.schema, throwaway.password)
        _session(throwaway).close()

    def test_names_say_nothing(self, neighbours: Neighbours) -> None:
        """Everybody may list them: 16 random hex digits, and the same tables for everybody."""
        assert neighbours.bob.schema == neighbours.bob.login
        assert len(neighbours.bob.schema.removeprefix("user_")) == 16
        assert set(neighbours.bob.schema.removeprefix("user_")) <= set("0123456789abcdef")


def _session(placement: Placement, *, autocommit: bool = True) -> driver.Connection:
    """A tenant's own session."""
    connection = connect_as_tenant(placement)
    connection.autocommit = autocommit
    return connection


def _administrator(url: str, *, autocommit: bool = True) -> driver.Connection:
    return driver.connect(driver.connection_string(url), autocommit=autocommit)


def _tried(connection: driver.Connection, statement: str) -> tuple[list[Any], mssql_python.Error | None]:
    """Everything that a batch gave, rows and messages, and the error that ended it."""
    given: list[Any] = []
    cursor = connection.cursor()
    try:
        cursor.execute(statement)
        while True:
            given += cursor.messages
            if cursor.description:
                given += [tuple(row) for row in cursor.fetchall()]
            if not cursor.nextset():
                return given, None
    except mssql_python.Error as error:
        return given, error
    finally:
        with suppress(mssql_python.Error):
            cursor.close()


def _refused(attempt: Attack, kept: Kept, neighbours: Neighbours) -> driver.Connection:
    several = len(attempt.statements) > 1
    connection = kept.get(fresh=several)
    *before, last = (neighbours.named(statement) for statement in attempt.statements)
    given = [_tried(connection, statement) for statement in before]
    given.append(_tried(connection, last))
    assert given[-1][1] is not None, f"it was not refused, and gave {given[-1][0]}"
    assert SECRET not in str(given)
    if several:
        _tried(connection, "COMMIT")
    return kept.get(fresh=several)


def _allowed(attempt: Attack, kept: Kept, named: Callable[[str], str]) -> None:
    connection = kept.get(fresh=len(attempt.statements) > 1)
    try:
        for statement in attempt.statements:
            driver.run(connection, named(statement))
        connection.rollback()
    finally:
        if len(attempt.statements) > 1:
            kept.close()


def _rows(connection: driver.Connection, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in driver.run(connection, query)]


def _lock(connection: driver.Connection, name: str, owner: str, mode: str = "Exclusive") -> int:
    rows = driver.run(
        connection,
        f"DECLARE @result int; EXEC @result = sp_getapplock @Resource = N'{name}', @LockMode = N'{mode}', "
        f"@LockOwner = N'{owner}', @LockTimeout = 0; SELECT @result",
    )
    return int(rows[-1][0])


@contextmanager
def _moved(neighbours: Neighbours) -> Iterator[None]:
    """Alice's workspace is elsewhere while the block lasts."""
    schema = neighbours.alice.schema
    neighbours.server.set_fence(schema, 0, mode=FenceMode.MOVED, epoch=1)
    try:
        yield
    finally:
        neighbours.server.set_fence(schema, 0, mode=FenceMode.RW, epoch=1)


def _ended(connection: driver.Connection) -> bool:
    return _tried(connection, "SELECT 1")[1] is not None


def _not_let_in(placement: Placement) -> None:
    with pytest.raises(Refused) as refused:
        _session(placement).close()
    assert refused.value.code is Code.FENCED


def _state_of(connection: Any) -> Any:
    return connection.execute(
        text(
            "SELECT @@SPID AS session, USER_NAME(), @@LOCK_TIMEOUT, @@OPTIONS & 512, SESSION_CONTEXT(N'whose'), "
            "OBJECT_ID(N'tempdb..#alices'), CONTEXT_INFO()"
        )
    ).one()


def _content_of(placement: Placement, onlooker: driver.Connection) -> list[Any]:
    return [
        sorted(map(str, driver.run(onlooker, f"SELECT * FROM {placement.schema}.{name}")))
        for name in [*(table.name for table in DATA_TABLES), "_fence", "_outbox"]
    ]


def _structure_of(placement: Placement, onlooker: driver.Connection) -> list[Any]:
    """Objects, columns, triggers, rights, members, owner and login of a tenant, as the administrator sees them."""
    schema = placement.schema
    queries = (
        f"SELECT name, type FROM sys.objects WHERE schema_id = SCHEMA_ID(N'{schema}')",
        "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, CHARACTER_MAXIMUM_LENGTH, IS_NULLABLE "
        f"FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = N'{schema}'",
        f"SELECT name, is_disabled FROM sys.triggers WHERE OBJECT_SCHEMA_NAME(object_id) = N'{schema}'",
        "SELECT OBJECT_NAME(major_id), permission_name, state_desc, USER_NAME(grantee_principal_id) "
        f"FROM sys.database_permissions WHERE OBJECT_SCHEMA_NAME(major_id) = N'{schema}'",
        f"SELECT name, USER_NAME(principal_id) FROM sys.schemas WHERE name = N'{schema}'",
        f"SELECT name, type, default_schema_name FROM sys.database_principals WHERE name LIKE N'{schema}%'",
        "SELECT USER_NAME(role_principal_id), USER_NAME(member_principal_id) FROM sys.database_role_members "
        f"WHERE USER_NAME(role_principal_id) LIKE N'{schema}%' OR USER_NAME(member_principal_id) LIKE N'{schema}%'",
        f"SELECT name, is_disabled, default_database_name FROM sys.server_principals WHERE name = N'{schema}'",
    )
    return [sorted(map(str, _rows(onlooker, query))) for query in queries]


def _everything_of(placement: Placement, onlooker: driver.Connection) -> list[Any]:
    return _content_of(placement, onlooker) + _structure_of(placement, onlooker)


def _shape(structure: list[Any], placement: Placement) -> list[Any]:
    """A structure without the names that are the tenant's own."""
    return [[line.replace(placement.schema, "schema") for line in lines] for lines in structure]


def _a_mapping() -> dict[str, Any]:
    return {"field": "x", "property": "y", "default_value": "z", "updated_at": now()}


def _write_a_deal(connection: Any, title: str) -> None:
    deal_id = new_id()
    connection.execute(
        insert(deal_registrations).values(
            id=deal_id,
            source="manual",
            title=title,
            stage="Prospect",
            edited_fields=[],
            ready=False,
            version=1,
            created_at=now(),
            updated_at=now(),
            updated_by="a test",
        )
    )
    connection.execute(
        insert(deal_events).values(
            id=new_id(), registration_id=deal_id, at=now(), kind="created", actor="a test", changes={"title": title}
        )
    )
    connection.execute(field_mappings.insert().values(_a_mapping() | {"field": "f", "property": title}))
    assert connection.execute(select(deal_registrations.c.title)).scalars().all() == [title]
