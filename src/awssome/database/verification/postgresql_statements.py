"""What is tried on PostgreSQL."""

from __future__ import annotations

from typing import Any

import psycopg

from awssome.database.postgresql.driver import run as execute
from awssome.database.postgresql.entrance import FENCED, connect_as_tenant
from awssome.database.verification.statements import READ, OldTransaction, Statements, attempt

_READING = (
    attempt("a table", READ),
    attempt("the fence", "SELECT epoch FROM {other}._fence"),
    attempt("the outbox", "SELECT seq FROM {other}._outbox"),
    attempt("tokens", "SELECT access_token FROM {other}.hubspot_tokens"),
    attempt("data keys", "SELECT wrapped_key FROM {other}.tenant_keys"),
    attempt("a join", "SELECT 1 FROM {own}.deal_registrations a JOIN {other}.deal_registrations b ON true"),
    attempt("search_path", "SET search_path = {other}", "SELECT wrapped_key FROM tenant_keys"),
    attempt("the name of a table", "SELECT '{other}.deal_registrations'::regclass"),
    attempt("a row type", "SELECT NULL::{other}.deal_registrations"),
    attempt("a plan", "EXPLAIN " + READ),
    attempt("a cursor", f"DECLARE c CURSOR FOR {READ}"),
    attempt("a prepared statement", f"PREPARE p AS {READ}"),
    attempt("a sub-select in a write", f"UPDATE {{own}}.deal_registrations SET title = ({READ} LIMIT 1)"),
    attempt("a block", f"DO $$BEGIN PERFORM title FROM ({READ}) x; END$$"),
    attempt("a dynamic statement", f"DO $$BEGIN EXECUTE '{READ}'; END$$"),
    attempt(
        "a function that runs a query", "SELECT * FROM ts_stat('SELECT to_tsvector(title) FROM {other}.deal_events')"
    ),
    attempt("a lock on a table", "LOCK TABLE {other}.deal_registrations IN ACCESS SHARE MODE"),
    attempt("a lock on rows", READ + " FOR UPDATE"),
    attempt("the planner's statistics", "SELECT 1 FROM pg_statistic"),
    attempt(
        "the planner's statistics, the view", "SELECT 1 FROM pg_stats WHERE schemaname = '{other}'", may_be_empty=True
    ),
    attempt("passwords", "SELECT rolpassword FROM pg_authid"),
    attempt("passwords by another name", "SELECT passwd FROM pg_shadow"),
    attempt(
        "statements of others",
        "SELECT 1 FROM pg_stat_activity WHERE usename = '{other}' AND query <> '<insufficient privilege>'",
        may_be_empty=True,
    ),
    attempt("who may connect how", "SELECT 1 FROM pg_hba_file_rules"),
    attempt("large objects", "SELECT data FROM pg_largeobject"),
    attempt("user mappings", "SELECT umoptions FROM pg_user_mapping"),
)

_WRITING = (
    attempt("insert", "INSERT INTO {other}.field_mappings (field, updated_at) VALUES ('x', CURRENT_TIMESTAMP)"),
    attempt("update", "UPDATE {other}.deal_registrations SET title = 'mine'"),
    attempt("delete", "DELETE FROM {other}.deal_registrations"),
    attempt(
        "merge",
        "MERGE INTO {other}.deal_registrations b USING {own}.deal_registrations a ON true WHEN MATCHED THEN DELETE",
    ),
    attempt("truncate", "TRUNCATE {other}.deal_events"),
    attempt("drop a table", "DROP TABLE {other}.deal_events"),
    attempt("drop the schema", "DROP SCHEMA {other} CASCADE"),
    attempt("alter a table", "ALTER TABLE {other}.deal_events ADD COLUMN mine text"),
    attempt("rename the schema", "ALTER SCHEMA {other} RENAME TO {other}_taken"),
    attempt("create a table", "CREATE TABLE {other}.mine (x int)"),
    attempt("create an index", "CREATE INDEX ON {other}.deal_events (kind)"),
    attempt(
        "create a trigger", "CREATE TRIGGER t BEFORE INSERT ON {other}.deal_events EXECUTE FUNCTION {own}._guard()"
    ),
    attempt("comment", "COMMENT ON TABLE {other}.deal_events IS 'mine'"),
    attempt("grant to oneself", "GRANT SELECT ON {other}.deal_events TO {own}"),
    attempt("default rights", "ALTER DEFAULT PRIVILEGES FOR ROLE {other} GRANT SELECT ON TABLES TO {own}"),
    attempt("close the fence", "UPDATE {other}._fence SET mode = 'moved'"),
    attempt("the outbox", "INSERT INTO {other}._outbox (table_name, row_key) VALUES ('x', 'y')"),
    attempt("the outbox's sequence", "SELECT nextval('{other}._outbox_seq_seq')"),
    attempt("change the guard", "ALTER FUNCTION {other}._guard() SECURITY INVOKER"),
)

_OWNER = "(SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = '{other}')"

_IDENTITY = (
    attempt("set role", "SET ROLE {other}"),
    attempt("set local role", "SET LOCAL ROLE {other}"),
    attempt("set_config", "SELECT set_config('role', '{other}', true)"),
    attempt("set session authorization", "SET SESSION AUTHORIZATION {other}"),
    attempt("session authorization by set_config", "SELECT set_config('session_authorization', '{other}', true)"),
    attempt("set role to the administrator", f"DO $$BEGIN EXECUTE format('SET ROLE %I', {_OWNER}); END$$"),
    attempt("reset role", "RESET ROLE", READ),
    attempt("reset session authorization", "RESET SESSION AUTHORIZATION", READ),
    attempt("discard everything", "DISCARD ALL", READ, alone=True),
    attempt("set role in a block", "DO $$BEGIN EXECUTE 'SET ROLE {other}'; END$$"),
    attempt("the other's password", "ALTER ROLE {other} PASSWORD 'mine'"),
    attempt("the other's name", "ALTER ROLE {other} RENAME TO {other}_taken"),
    attempt("the other's login", "ALTER ROLE {other} NOLOGIN"),
    attempt("the other's settings", "ALTER ROLE {other} SET default_transaction_read_only = on"),
    attempt("drop the other's role", "DROP ROLE {other}"),
    attempt("take what the other owns", "REASSIGN OWNED BY {other} TO {own}"),
    attempt("become a member of the other's role", "GRANT {other} TO {own}"),
    attempt("make the other a member", "GRANT {own} TO {other}"),
    attempt("become the administrator", f"DO $$BEGIN EXECUTE format('GRANT %I TO {{own}}', {_OWNER}); END$$"),
    attempt("read all data", "GRANT pg_read_all_data TO {own}"),
    attempt("run programs", "GRANT pg_execute_server_program TO {own}"),
    attempt("superuser", "ALTER ROLE {own} SUPERUSER"),
    attempt("createrole", "ALTER ROLE {own} CREATEROLE"),
    attempt("bypass row security", "ALTER ROLE {own} BYPASSRLS"),
    attempt("replication", "ALTER ROLE {own} REPLICATION"),
    attempt("more connections", "ALTER ROLE {own} CONNECTION LIMIT -1"),
    attempt("create a role", "CREATE ROLE {own}_mine"),
    attempt("end a session of the other", "SELECT pg_terminate_backend({session})"),
    attempt("cancel a statement of the other", "SELECT pg_cancel_backend({session})"),
)

_OWN_SCHEMA = (
    attempt("open the fence", "UPDATE {own}._fence SET mode = 'rw'"),
    attempt("another fence", "INSERT INTO {own}._fence VALUES (2, 1, 'rw', 0, false, '0001')"),
    attempt("no fence", "DELETE FROM {own}._fence"),
    attempt("hold the fence's row", "SELECT 1 FROM {own}._fence FOR KEY SHARE"),
    attempt("hold the fence", "LOCK TABLE {own}._fence IN ROW SHARE MODE"),
    attempt("hold the fence alone", "LOCK TABLE {own}._fence IN EXCLUSIVE MODE"),
    attempt("read the outbox", "SELECT seq FROM {own}._outbox"),
    attempt("write the outbox", "INSERT INTO {own}._outbox (table_name, row_key) VALUES ('x', 'y')"),
    attempt("the outbox's sequence", "SELECT setval('{own}._outbox_seq_seq', 1)"),
    attempt("change the timeline", "UPDATE {own}.deal_events SET actor = 'x'"),
    attempt("shorten the timeline", "DELETE FROM {own}.deal_events"),
    attempt("truncate", "TRUNCATE {own}.sync_issues"),
    attempt("write in a snapshot", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "DELETE FROM {own}.sync_issues"),
    attempt("write in a serial order", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "DELETE FROM {own}.sync_issues"),
    attempt("drop the guard", "DROP TRIGGER _guard ON {own}.deal_registrations"),
    attempt("disable the guard", "ALTER TABLE {own}.deal_registrations DISABLE TRIGGER _guard"),
    attempt("disable the guard as a replica", "SET session_replication_role = 'replica'"),
    attempt("replace the guard", "CREATE OR REPLACE FUNCTION {own}._guard() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    attempt("alter a table", "ALTER TABLE {own}.deal_registrations ADD COLUMN mine text"),
    attempt("own a table", "ALTER TABLE {own}.deal_registrations OWNER TO {own}"),
    attempt("drop a table", "DROP TABLE {own}.sync_issues"),
    attempt("create a table", "CREATE TABLE {own}.mine (x int)"),
    attempt("create a view", "CREATE VIEW {own}.mine AS SELECT 1"),
    attempt("create a function", "CREATE FUNCTION {own}.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    attempt("create an index", "CREATE INDEX ON {own}.deal_events (kind)"),
    attempt("create a temporary table", "CREATE TEMP TABLE mine (x int)"),
    attempt("create a table in public", "CREATE TABLE public.{own}_mine (x int)"),
)

_SERVER = (
    attempt("read a file", "SELECT pg_read_file('PG_VERSION')"),
    attempt("list a directory", "SELECT pg_ls_dir('.')"),
    attempt("copy from a file", "COPY {own}.field_mappings FROM '/dev/null'"),
    attempt("copy to a file", "COPY {own}.field_mappings TO '/dev/null'"),
    attempt("copy from a program", "COPY {own}.field_mappings FROM PROGRAM 'true'"),
    attempt("import a file", "SELECT lo_import('/dev/null')"),
    attempt("a function in C", "CREATE FUNCTION {own}.mine() RETURNS int LANGUAGE c AS 'libc', 'getpid'"),
    attempt("connect to other databases", "CREATE EXTENSION dblink"),
    attempt("read files as tables", "CREATE EXTENSION file_fdw"),
    attempt("a trusted extension", "CREATE EXTENSION pg_trgm"),
    attempt("create a schema", "CREATE SCHEMA {own}_mine"),
    attempt("publish changes", "CREATE PUBLICATION {own}_mine FOR ALL TABLES"),
    attempt("keep changes", "SELECT pg_create_physical_replication_slot('{own}', false, true)"),
    attempt("an event trigger", "CREATE EVENT TRIGGER mine ON ddl_command_start EXECUTE FUNCTION {own}._guard()"),
    attempt("settings of the server", "SET log_min_messages = 'panic'"),
    attempt("libraries of the server", "SET session_preload_libraries = 'auto_explain'"),
)

_EXPOSED = (
    attempt("names of schemas", "SELECT 1 FROM pg_namespace WHERE nspname = '{other}'", may_be_empty=True),
    attempt("names of logins", "SELECT 1 FROM pg_roles WHERE rolname = '{other}'", may_be_empty=True),
    attempt("who is connected", "SELECT 1 FROM pg_stat_activity WHERE usename = '{other}'", may_be_empty=True),
    attempt(
        "sizes of others' tables", "SELECT 1 FROM pg_stat_user_tables WHERE schemaname = '{other}'", may_be_empty=True
    ),
    attempt("listen to a channel", "LISTEN {own}"),
    attempt("notify by statement", "NOTIFY {own}"),
    attempt("notify by function", "SELECT pg_notify('{own}', 'x')"),
    attempt("locks by number", "SELECT pg_try_advisory_xact_lock_shared(hashtext('{own}'))"),
    attempt("large objects of one's own", "SELECT lo_create(0)"),
    attempt("no time limit", "SET statement_timeout = 0"),
    attempt("a password of one's own choice", "ALTER ROLE {own} PASSWORD 'mine'"),
    attempt("settings of one's own login", "ALTER ROLE {own} SET work_mem = '64kB'"),
)


def _begin_by_itself(connection: psycopg.Connection[Any], on: bool) -> None:
    connection.autocommit = not on


def _run(connection: psycopg.Connection[Any], text: str) -> list[Any]:
    cursor = execute(connection, text)
    return cursor.fetchall() if cursor.description else []


def _code(error: BaseException) -> str | None:
    return getattr(error, "sqlstate", None)


POSTGRESQL = Statements(
    connect=connect_as_tenant,
    begin_by_itself=_begin_by_itself,
    run=_run,
    error=psycopg.Error,
    code=_code,
    # Not allowed; a name that may not be looked up is not found; the guard's own.
    denials=frozenset({"42501", "42P01", FENCED}),
    session="SELECT pg_backend_pid()",
    hostile={
        "reading another workspace": _READING,
        "writing into another workspace": _WRITING,
        "being somebody else": _IDENTITY,
        "more rights in its own schema": _OWN_SCHEMA,
        "using the server": _SERVER,
    },
    exposed=_EXPOSED,
    old_transactions=(
        OldTransaction("READ COMMITTED", "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED"),
        OldTransaction("REPEATABLE READ", "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ"),
        OldTransaction("SERIALIZABLE", "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
    ),
)
"""What is tried on PostgreSQL, and how."""
