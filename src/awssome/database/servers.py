"""Opening servers of the data plane, and preparing embedded clusters to be such servers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import LiteralString
from uuid import UUID

import psycopg
from psycopg import sql
from sqlalchemy.engine import URL, make_url

from awssome.database.embedded import Cluster
from awssome.database.engine import Server
from awssome.database.postgresql.driver import trusted
from awssome.database.postgresql.exposure import SHARED_FUNCTIONS
from awssome.database.postgresql.server import PostgreSQL
from awssome.database.registry import Registry, placements, tenants
from awssome.database.registry import servers as registered
from awssome.database.sqlserver.server import SQLServer
from awssome.database.template import Beyond
from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import Keys
from awssome.domain.tenants import EngineName, Placement, ServerKind, TenantState

Opener = Callable[[UUID], Server]
"""Opens a registered server by its id, with its administrator's rights."""

CONTROL_ROLE, CONTROL_DATABASE = "awssome_control", "awssome_control"
PROVISIONER_ROLE, TENANTS_DATABASE = "awssome_provisioner", "awssome_tenants"


def open_server(engine: EngineName, url: str, beyond: Beyond = ()) -> Server:
    """The server behind an administrator's URL. :raises Refused: INVALID for a URL that cannot be one."""
    return _SERVERS[engine](url, beyond=beyond)


_SERVERS: dict[EngineName, type[PostgreSQL] | type[SQLServer]] = {
    EngineName.POSTGRESQL: PostgreSQL,
    EngineName.SQLSERVER: SQLServer,
}


def opener(registry: Registry, keys: Keys, beyond: Beyond = ()) -> Opener:
    """Opens servers by looking up their administrators' URLs in the registry. For workers only.

    A server stays the same one, with the connections that it keeps, for all jobs and until its URL changes.
    """
    known: dict[UUID, tuple[str, Server]] = {}
    lock = threading.Lock()

    def opened(server_id: UUID) -> Server:
        with registry.begin() as connection:
            engine, url = registered.admin_url(connection, keys, server_id)
        with lock:
            if server_id not in known or known[server_id][0] != url:
                known[server_id] = url, open_server(engine, url, beyond)
            return known[server_id][1]

    return opened


def match_login(registry: Registry, keys: Keys, open_server: Opener, tenant_id: UUID) -> None:
    """Open or close the tenant's database login as its state says; closing ends its sessions. Safe to repeat.

    What was decided is read again afterwards: the tenant may have moved, or been resumed, while a server was slow.
    """
    done = None
    while (found := _login(registry, keys, tenant_id)) != done:
        if done is not None and (found is None or found[1].schema != done[1].schema):
            open_server(done[0]).close_login(done[1].schema)  # nobody lives there any more
        if found is not None:
            server_id, placement, state = found
            server = open_server(server_id)
            if state is TenantState.ACTIVE:
                server.open_login(placement.schema)
            elif state is not TenantState.PENDING:
                server.close_login(placement.schema)
        done = found


def prepare_control_plane(cluster: Cluster, password: str) -> str:
    """Make the control plane's role and database in an embedded cluster; its URL. Safe to repeat.

    No other role may connect to that database.
    """
    with _superuser(cluster) as connection:
        _role(connection, CONTROL_ROLE, password, "LOGIN")
        _database(connection, CONTROL_DATABASE, CONTROL_ROLE)
        connection.execute(sql.SQL("ALTER ROLE {} SET search_path = public").format(sql.Identifier(CONTROL_ROLE)))
        _reserve(connection, CONTROL_ROLE)
    return _url(cluster, CONTROL_ROLE, password, CONTROL_DATABASE)


def prepare_data_plane(cluster: Cluster, password: str) -> str:
    """Make an embedded cluster a server for tenants; its provisioner's URL. Safe to repeat.

    The provisioner has CREATEROLE and is no superuser, as on RDS; it may read the server's statistics. Tenants get no
    TEMP, no large objects, no notifications and no session-wide locks of the advisory kind.
    """
    with _superuser(cluster) as connection:
        _role(connection, PROVISIONER_ROLE, password, "LOGIN CREATEROLE")
        connection.execute(
            sql.SQL("GRANT pg_signal_backend, pg_read_all_stats TO {}").format(sql.Identifier(PROVISIONER_ROLE))
        )
        _reserve(connection, PROVISIONER_ROLE)
        _database(connection, TENANTS_DATABASE, PROVISIONER_ROLE, open_to_all=True)
    with _superuser(cluster, TENANTS_DATABASE) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        connection.execute("REVOKE ALL ON pg_stat_statements, pg_stat_statements_info FROM PUBLIC")
        for function in ("pg_stat_statements(boolean)", "pg_stat_statements_info()"):
            connection.execute(sql.SQL("REVOKE ALL ON FUNCTION {} FROM PUBLIC").format(sql.SQL(function)))
            connection.execute(
                sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(
                    sql.SQL(function), sql.Identifier(PROVISIONER_ROLE)
                )
            )
        connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        connection.execute(trusted(CLOSE_FUNCTIONS))
    return _url(cluster, PROVISIONER_ROLE, password, TENANTS_DATABASE)


def prepare_instance(cluster: Cluster, user: str, password: str, database: str) -> None:
    """Make an embedded cluster what a fresh instance of RDS for PostgreSQL is, with its master user.

    The master user is no superuser: it makes roles and databases, is in `rds_superuser`, and owns the databases that
    are there. Nothing is closed to other logins, save what PostgreSQL closes itself.

    Source: the user guide of RDS, *Understanding the rds_superuser role*.

    :param user: the master user; `postgres` is taken by the cluster's own superuser.
    :param database: one that is made beside `postgres`, which is always there; none when empty.
    :raises Refused: INVALID for a user that is taken.
    """
    if user == cluster.superuser:
        raise Refused(Code.INVALID, f"The user {user} is the embedded PostgreSQL's own.", "Choose another name.")
    master, names = sql.Identifier(user), ["template1", "postgres"]
    with _superuser(cluster) as connection:
        connection.execute("CREATE ROLE rds_superuser NOLOGIN")
        connection.execute(
            "GRANT pg_monitor, pg_read_all_stats, pg_signal_backend, pg_checkpoint, pg_use_reserved_connections "
            "TO rds_superuser WITH ADMIN OPTION"
        )
        _role(connection, user, password, "LOGIN CREATEROLE CREATEDB")
        connection.execute(sql.SQL("GRANT rds_superuser TO {} WITH ADMIN OPTION").format(master))
        if database:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
            names.append(database)
        for name in names:
            connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(name), master))
    for name in names:
        with _superuser(cluster, name) as connection:
            # There the master user may make it; here only a superuser may.
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")


def change_password(cluster: Cluster, user: str, password: str) -> None:
    """Give a user of an embedded cluster another password."""
    with _superuser(cluster) as connection:
        _role(connection, user, password, "LOGIN")


CLOSE_FUNCTIONS = f"""
DO $$
DECLARE f regprocedure;
BEGIN
    FOR f IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND {SHARED_FUNCTIONS}
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);
    END LOOP;
END $$
"""


def register_embedded(registry: Registry, keys: Keys, name: str, kind: ServerKind, admin_url: str) -> None:
    """Make an embedded server known, or known under the port that it has since its last start."""
    url = make_url(admin_url)
    host, port, database = url.host or "", url.port or 0, url.database or ""
    try:
        with registry.begin() as connection:
            registered.register(
                connection,
                keys,
                name=name,
                kind=kind,
                engine=EngineName.POSTGRESQL,
                host=host,
                port=port,
                database=database,
                admin_url=admin_url,
                open_now=True,
            )
    except Refused as refused:
        if refused.code is not Code.CONFLICT:
            raise
        with registry.begin() as connection:
            registered.relocate(connection, keys, name, host=host, port=port, admin_url=admin_url)


def _login(registry: Registry, keys: Keys, tenant_id: UUID) -> tuple[UUID, Placement, TenantState] | None:
    with registry.begin() as connection:
        tenant = tenants.find(connection, tenant_id)
        if tenant.placement_id is None:
            return None
        placement = placements.find(connection, keys, tenant.placement_id)
        return placements.server_of(connection, tenant.placement_id), placement, tenant.state


def _superuser(cluster: Cluster, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
    """A session of the superuser; several processes may prepare a cluster at once, and do so one after the other."""
    connection = psycopg.connect(
        host=cluster.host,
        port=cluster.port,
        user=cluster.superuser,
        password=cluster.password,
        dbname=database,
        autocommit=True,
        connect_timeout=10,
    )
    connection.execute("SELECT pg_advisory_lock(hashtextextended('awssome-prepare', 0))")
    return connection


def _role(connection: psycopg.Connection[tuple[object, ...]], name: str, password: str, options: LiteralString) -> None:
    there = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (name,)).fetchone() is not None
    connection.execute(
        sql.SQL("{} ROLE {} {} PASSWORD {}").format(
            sql.SQL("ALTER" if there else "CREATE"), sql.Identifier(name), sql.SQL(options), sql.Literal(password)
        )
    )


def _reserve(connection: psycopg.Connection[tuple[object, ...]], role: str) -> None:
    """Connections are kept free for the role, whatever tenants take."""
    connection.execute(sql.SQL("GRANT pg_use_reserved_connections TO {}").format(sql.Identifier(role)))


def _database(
    connection: psycopg.Connection[tuple[object, ...]], name: str, owner: str, *, open_to_all: bool = False
) -> None:
    known, database = sql.Identifier(owner), sql.Identifier(name)
    if connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, known))
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    if open_to_all:
        connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO PUBLIC").format(database))
    for other in ("postgres", "template1"):
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(other)))


def _url(cluster: Cluster, user: str, password: str, database: str) -> str:
    url = URL.create("postgresql+psycopg", user, password, cluster.host, cluster.port, database)
    return url.render_as_string(hide_password=False)
