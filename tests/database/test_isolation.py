"""Alice runs any SQL she likes in a session of her own tenant: nothing of Bob's is read, changed or held up.

Both tenants lie on one server. Alice is connected as her placement's own login, exactly as the portal connects, and
then she is malicious. The last part, `TestExposed`, is what PostgreSQL shows or lends to everybody who is connected.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import insert

from awssome.database.embedded import Cluster
from awssome.database.engine import FenceBusy
from awssome.database.postgresql.entrance import connect_as_tenant
from awssome.database.postgresql.server import LOGIN_CONNECTIONS, PostgreSQL, scram_verifier
from awssome.database.registry import Registry
from awssome.database.schema import deal_events, deal_registrations
from awssome.database.servers import CONTROL_DATABASE, CONTROL_ROLE, PROVISIONER_ROLE, TENANTS_DATABASE
from awssome.database.sessions import Sessions
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import FenceMode
from awssome.domain.secrets import Keys
from awssome.domain.tenants import Placement, ServerKind
from awssome.domain.times import new_id, now
from awssome.hubspot.oauth import app_for
from tests.conftest import active_tenant, cloned_registry, register_server, superuser, worker_services
from tests.database.attacks import (
    DENIED,
    FENCE,
    FENCED,
    IDENTITY,
    OWN_SCHEMA,
    READ,
    READ_BOB,
    SERVER,
    UNKNOWN,
    WRITE,
    Attack,
)
from tests.engines import only_postgresql

pytestmark = only_postgresql

SECRET = "bobs-secret-deal"

PASSWORD_WRONG = "password authentication failed"
NOT_ALLOWED = "permission denied for database"


@dataclass(frozen=True)
class Neighbours:
    """Two tenants on one server, and that server with its administrator's rights."""

    alice: Placement
    bob: Placement
    server: PostgreSQL
    url: str

    def named(self, text: str) -> str:
        """SQL with the schemas' names filled in."""
        return text.replace("{alice}", self.alice.schema).replace("{bob}", self.bob.schema)


@pytest.fixture(scope="module")
def neighbours(cluster: Cluster, registry_template: str, pool_url: str, keys: Keys) -> Iterator[Neighbours]:
    with cloned_registry(cluster, registry_template) as url, closing(Registry(url)) as registry:
        sessions = Sessions(budget=8)
        services = worker_services(registry, keys, sessions, app_for("http://127.0.0.1:9", "id", "secret", "http://x/"))
        register_server(services, "pool-1", ServerKind.POOL, pool_url)
        alice = active_tenant(services, "Northwind", "alice@northwind.example").placement
        bob = active_tenant(services, "Fabrikam", "bob@fabrikam.example").placement
        for placement, title in ((alice, "alices-deal"), (bob, SECRET)):
            with sessions.open(placement) as connection:
                _write_a_deal(connection, title)
        sessions.close()
        yield Neighbours(alice, bob, PostgreSQL(pool_url), pool_url)


@pytest.fixture
def alice(neighbours: Neighbours) -> Iterator[psycopg.Connection[Any]]:
    """A session of Alice's. Each statement is a transaction of its own, unless she begins one."""
    with closing(connect_as_tenant(neighbours.alice)) as connection:
        yield connection


@pytest.fixture
def bob(neighbours: Neighbours) -> Iterator[psycopg.Connection[Any]]:
    """A session of Bob's, like Alice's."""
    with closing(connect_as_tenant(neighbours.bob)) as connection:
        yield connection


@pytest.fixture(scope="module")
def onlooker(cluster: Cluster) -> Iterator[psycopg.Connection[Any]]:
    """The superuser, who sees everything."""
    with closing(superuser(cluster, TENANTS_DATABASE)) as connection:
        yield connection


@pytest.fixture(autouse=True)
def bob_is_unharmed(neighbours: Neighbours, onlooker: psycopg.Connection[Any]) -> Iterator[None]:
    """Whatever a test does, Bob's rows, tables, rights and login are afterwards what they were before."""
    before = _everything_of(neighbours.bob, onlooker)
    assert SECRET in str(before)
    yield
    assert _everything_of(neighbours.bob, onlooker) == before


def _by_name(attacks: tuple[Attack, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("attempt", attacks, ids=[attempt.name for attempt in attacks])


@_by_name(READ)
def test_alice_cannot_read(attempt: Attack, alice: psycopg.Connection[Any], neighbours: Neighbours) -> None:
    _refused(attempt, alice, neighbours)


@_by_name(WRITE)
def test_alice_cannot_change(attempt: Attack, alice: psycopg.Connection[Any], neighbours: Neighbours) -> None:
    _refused(attempt, alice, neighbours)


@_by_name(IDENTITY)
def test_alice_cannot_be_anybody_else(attempt: Attack, alice: psycopg.Connection[Any], neighbours: Neighbours) -> None:
    _refused(attempt, alice, neighbours)
    with suppress(psycopg.Error):
        alice.rollback()
    assert alice.execute("SELECT session_user, current_user").fetchone() == (neighbours.alice.login,) * 2


@_by_name(OWN_SCHEMA)
def test_alice_cannot_exceed_her_rights_at_home(
    attempt: Attack, alice: psycopg.Connection[Any], neighbours: Neighbours
) -> None:
    _refused(attempt, alice, neighbours)


@_by_name(SERVER)
def test_alice_cannot_use_the_server(attempt: Attack, alice: psycopg.Connection[Any], neighbours: Neighbours) -> None:
    _refused(attempt, alice, neighbours)


@_by_name(FENCE)
def test_alice_writes_only_under_read_committed(
    attempt: Attack, alice: psycopg.Connection[Any], neighbours: Neighbours
) -> None:
    _refused(attempt, alice, neighbours)


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("work", ["nothing", "a read"])
def test_a_transaction_that_began_before_the_fence_closed_writes_nothing_after(
    level: str, work: str, alice: psycopg.Connection[Any], neighbours: Neighbours
) -> None:
    alice.execute(f"BEGIN ISOLATION LEVEL {level}")
    if work == "a read":
        alice.execute(neighbours.named("SELECT count(*) FROM {alice}.field_mappings"))
    schema = neighbours.alice.schema
    neighbours.server.set_fence(schema, 0, mode=FenceMode.MOVED, epoch=1)
    try:
        with pytest.raises(psycopg.Error) as refused:
            alice.execute(neighbours.named("INSERT INTO {alice}.field_mappings VALUES ('f', 'p', 'd', now())"))
        assert refused.value.sqlstate == FENCED
    finally:
        alice.execute("ROLLBACK")
        neighbours.server.set_fence(schema, 0, mode=FenceMode.RW, epoch=1)


@pytest.mark.parametrize(
    "write",
    [
        "INSERT INTO {alice}.field_mappings VALUES ('f', 'p', 'd', now())",
        "UPDATE {alice}.deal_registrations SET title = 'x' WHERE false",
        "DELETE FROM {alice}.sync_issues",
        "WITH x AS (DELETE FROM {alice}.sync_history RETURNING 1) SELECT * FROM x",
        "MERGE INTO {alice}.stage_mappings USING (SELECT 1) s ON false "
        "WHEN NOT MATCHED THEN INSERT VALUES ('p', 's', 'Qualified', now())",
    ],
    ids=["insert", "update of no row", "delete", "delete in a query", "merge"],
)
def test_the_fence_waits_for_a_writer_and_the_writer_commits(
    write: str, alice: psycopg.Connection[Any], neighbours: Neighbours
) -> None:
    schema = neighbours.alice.schema
    alice.execute("BEGIN")
    alice.execute(neighbours.named(write))
    with pytest.raises(FenceBusy):
        neighbours.server.set_fence(schema, 0, mode=FenceMode.MOVED, epoch=1, timeout_ms=50)
    alice.execute("COMMIT")
    neighbours.server.set_fence(schema, 0, mode=FenceMode.MOVED, epoch=1, timeout_ms=50)
    try:
        with pytest.raises(psycopg.Error) as refused:
            alice.execute(neighbours.named(write))
        assert refused.value.sqlstate == FENCED
    finally:
        neighbours.server.set_fence(schema, 0, mode=FenceMode.RW, epoch=1)


def test_a_role_set_for_later_sessions_is_not_taken_on(alice: psycopg.Connection[Any], neighbours: Neighbours) -> None:
    alice.execute(neighbours.named("ALTER ROLE {alice} SET role = '{bob}'"))
    try:
        with closing(connect_as_tenant(neighbours.alice)) as later:
            assert later.execute("SELECT current_user").fetchone() == (neighbours.alice.login,)
    finally:
        alice.execute(neighbours.named("ALTER ROLE {alice} RESET role"))


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
    "view",
    ["pg_stats", "pg_stats_ext", "information_schema.tables", "information_schema.columns", "pg_stat_statements"],
)
def test_views_that_show_data_or_columns_show_nothing_of_bob(
    view: str, alice: psycopg.Connection[Any], bob: psycopg.Connection[Any], neighbours: Neighbours
) -> None:
    bob.execute(neighbours.named("SELECT title AS remembered FROM {bob}.deal_registrations"))
    try:
        rows = alice.execute(f"SELECT * FROM {view} AS v WHERE v::text LIKE '%{neighbours.bob.schema}%'").fetchall()
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


@pytest.mark.parametrize("database", [CONTROL_DATABASE, "postgres", "template1"])
def test_alices_login_opens_no_other_database(database: str, neighbours: Neighbours) -> None:
    _no_connection(replace(neighbours.alice, database=database), NOT_ALLOWED)


def test_alices_password_opens_nobody_elses_login(neighbours: Neighbours, keys: Keys) -> None:
    _no_connection(replace(neighbours.alice, schema=neighbours.bob.schema), PASSWORD_WRONG)
    for login in (PROVISIONER_ROLE, CONTROL_ROLE, "postgres"):
        with pytest.raises(psycopg.OperationalError, match=PASSWORD_WRONG):
            _connect(neighbours.alice, user=login)
    for other in (
        keys.login_password(neighbours.alice.tenant_id, "pool-1", neighbours.bob.schema, 1),
        keys.login_password(neighbours.bob.tenant_id, "pool-2", neighbours.bob.schema, 1),
        keys.login_password(neighbours.bob.tenant_id, "pool-1", neighbours.bob.schema, 2),
    ):
        _no_connection(replace(neighbours.bob, password=other), PASSWORD_WRONG)


def test_no_login_without_its_password_and_none_for_replication(neighbours: Neighbours) -> None:
    _no_connection(replace(neighbours.alice, password=""), "no password supplied")
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba.conf entry|permission denied|must be superuser"):
        _connect(neighbours.alice, replication="true")


def test_a_login_keeps_to_its_limit_of_connections(neighbours: Neighbours) -> None:
    opened: list[psycopg.Connection[Any]] = []
    try:
        with pytest.raises(Refused) as refused:
            while len(opened) <= LOGIN_CONNECTIONS:
                opened.append(connect_as_tenant(neighbours.alice))
        assert len(opened) == LOGIN_CONNECTIONS
        assert refused.value.code is Code.UNAVAILABLE
        connect_as_tenant(neighbours.bob).close()
    finally:
        for connection in opened:
            connection.close()


def test_holding_what_she_may_hold_does_not_keep_a_mover_from_closing_the_fence(
    alice: psycopg.Connection[Any], neighbours: Neighbours
) -> None:
    alice.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")
    alice.execute(neighbours.named("LOCK TABLE {alice}._fence IN ACCESS SHARE MODE"))
    alice.execute(neighbours.named("DECLARE c CURSOR FOR SELECT * FROM {alice}._fence"))
    alice.execute("FETCH c")
    schema = neighbours.alice.schema
    neighbours.server.set_fence(schema, 0, mode=FenceMode.MOVED, epoch=1, timeout_ms=500)
    neighbours.server.set_fence(schema, 0, mode=FenceMode.RW, epoch=1, timeout_ms=500)


def test_a_mover_does_not_wait_for_ever_for_tables_that_alice_has_locked(
    alice: psycopg.Connection[Any], neighbours: Neighbours
) -> None:
    """She may lock her own tables, since whoever may write may lock; the mover gives up and says so."""
    alice.execute("SET idle_in_transaction_session_timeout = 0")
    alice.execute("BEGIN")
    alice.execute(neighbours.named("LOCK TABLE {alice}.deal_registrations IN ACCESS EXCLUSIVE MODE"))
    with pytest.raises(Refused) as refused:
        PostgreSQL(neighbours.url, lock_timeout_ms=100).sums(neighbours.alice.schema)
    assert refused.value.code is Code.UNAVAILABLE


def test_nothing_that_alice_can_do_keeps_her_workspace_from_being_dropped(
    neighbours: Neighbours,
) -> None:
    """Her login's own settings would keep the role alive, an open transaction the tables."""
    schema, password = "user_0000000000000bad", "Aa1-bad"
    neighbours.server.provision(schema, password, epoch=1, mode=FenceMode.RW)
    placement = replace(neighbours.alice, schema=schema, password=password)
    with closing(connect_as_tenant(placement)) as mallory:
        mallory.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC")
        mallory.execute(f"ALTER ROLE {schema} SET work_mem = '64kB'")
        mallory.execute("BEGIN")
        mallory.execute(f"LOCK TABLE {schema}.deal_registrations IN ACCESS EXCLUSIVE MODE")
        neighbours.server.drop(schema, 0)
    assert neighbours.server.fence(schema) is None
    with psycopg.connect(neighbours.url.replace("+psycopg", "")) as admin:
        assert admin.execute("SELECT FROM pg_roles WHERE rolname = %s", (schema,)).fetchone() is None
    neighbours.server.drop(schema, 0)  # and doing it again is nothing


class TestExposed:
    """What cannot be closed while tenants share one PostgreSQL. docs/security.md quotes this list."""

    def test_names_of_schemas_roles_tables_and_columns(
        self, alice: psycopg.Connection[Any], neighbours: Neighbours
    ) -> None:
        """Hence the names are opaque: 16 random hex digits, and the same tables for everybody."""
        bob = (neighbours.bob.schema,)
        assert alice.execute("SELECT FROM pg_namespace WHERE nspname = %s", bob).fetchone() == ()
        assert alice.execute("SELECT FROM pg_roles WHERE rolname = %s", bob).fetchone() == ()
        assert alice.execute(
            "SELECT attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND attname = 'title'",
            bob,
        ).fetchone()

    def test_sizes_and_counts_of_rows(self, alice: psycopg.Connection[Any], neighbours: Neighbours) -> None:
        """How much an opaque name holds, and how busy it is."""
        found = alice.execute(
            "SELECT pg_total_relation_size(relid) > 0, n_live_tup >= 0, n_tup_upd >= 0 FROM pg_stat_user_tables "
            "WHERE schemaname = %s AND relname = 'deal_registrations'",
            (neighbours.bob.schema,),
        ).fetchone()
        assert found == (True, True, True)

    def test_who_is_connected_and_what_they_lock(
        self, alice: psycopg.Connection[Any], bob: psycopg.Connection[Any], neighbours: Neighbours
    ) -> None:
        """Logins and locks, by opaque name; neither the statements nor the addresses."""
        bob.execute("BEGIN")
        bob.execute(neighbours.named(READ_BOB))
        found = alice.execute(
            "SELECT l.mode FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
            "WHERE a.usename = %s AND l.relation IS NOT NULL",
            (neighbours.bob.login,),
        ).fetchall()
        assert ("AccessShareLock",) in found

    def test_notifications(self, alice: psycopg.Connection[Any], bob: psycopg.Connection[Any]) -> None:
        """NOTIFY cannot be revoked. Hence nobody listens in this database, and no data is ever sent that way."""
        bob.execute("LISTEN channel")
        alice.execute("NOTIFY channel, 'noise'")
        assert [note.payload for note in bob.notifies(timeout=5, stop_after=1)] == ["noise"]

    def test_time_and_memory(self, alice: psycopg.Connection[Any]) -> None:
        """Timeouts and memory of a session are settings that its user may change. What stays: the limit of
        connections, and an operator who closes the login."""
        alice.execute("SET statement_timeout = 0")
        alice.execute("SET idle_in_transaction_session_timeout = 0")
        alice.execute("SET work_mem = '1GB'")
        assert alice.execute("SHOW statement_timeout").fetchone() == ("0",)

    def test_her_own_password_and_defaults(self, alice: psycopg.Connection[Any], neighbours: Neighbours) -> None:
        """She can lock the platform out of her own workspace, nobody else's; `set_password` lets it in again."""
        try:
            alice.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                    sql.Identifier(neighbours.alice.login), sql.Literal(scram_verifier("mine"))
                )
            )
            alice.execute(neighbours.named("ALTER ROLE {alice} SET default_transaction_isolation = 'serializable'"))
            with pytest.raises(Refused) as refused:
                connect_as_tenant(neighbours.alice)
            assert refused.value.code is Code.FENCED
        finally:
            neighbours.server.set_password(neighbours.alice.schema, neighbours.alice.password)
        with closing(connect_as_tenant(neighbours.alice)) as again:
            again.execute(neighbours.named("UPDATE {alice}.deal_registrations SET title = title"))


def _refused(attempt: Attack, connection: psycopg.Connection[Any], neighbours: Neighbours) -> None:
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
    assert refused.value.sqlstate in attempt.refused_with, refused.value
    assert SECRET not in str(refused.value)


def _no_connection(placement: Placement, why: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=why):
        _connect(placement)


def _connect(placement: Placement, **changed: Any) -> psycopg.Connection[Any]:
    parameters: dict[str, Any] = {
        "host": placement.host,
        "port": placement.port,
        "dbname": placement.database,
        "user": placement.login,
        "password": placement.password,
    }
    return psycopg.connect(**(parameters | changed))


def _everything_of(placement: Placement, onlooker: psycopg.Connection[Any]) -> list[Any]:
    """Rows, columns, triggers, functions, rights and login of a tenant, as the superuser sees them."""
    schema = placement.schema
    queries = (
        f"SELECT to_jsonb(t) FROM {schema}.deal_registrations t",
        f"SELECT to_jsonb(t) FROM {schema}.deal_events t",
        f"SELECT to_jsonb(t) FROM {schema}.field_mappings t",
        f"SELECT to_jsonb(t) FROM {schema}._fence t",
        "SELECT c.relname, c.relacl::text, c.relowner::regrole::text, array_agg(a.attname ORDER BY a.attnum)::text "
        "FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid "
        f"WHERE c.relnamespace = '{schema}'::regnamespace GROUP BY c.oid ORDER BY c.relname",
        "SELECT t.tgname, t.tgenabled, t.tgrelid::regclass::text FROM pg_trigger t "
        f"JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = '{schema}'::regnamespace ORDER BY 3, 1",
        f"SELECT proname, prosecdef, prosrc, proowner FROM pg_proc WHERE pronamespace = '{schema}'::regnamespace",
        f"SELECT to_jsonb(n) FROM pg_namespace n WHERE nspname = '{schema}'",
        f"SELECT to_jsonb(r) FROM pg_authid r WHERE rolname = '{schema}'",
        f"SELECT setconfig FROM pg_db_role_setting WHERE setrole = '{schema}'::regrole",
        f"SELECT member::regrole::text FROM pg_auth_members WHERE roleid = '{schema}'::regrole "
        f"OR member = '{schema}'::regrole",
        f"SELECT defaclrole::regrole::text FROM pg_default_acl WHERE defaclrole = '{schema}'::regrole",
    )
    return [onlooker.execute(query).fetchall() for query in queries]


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
