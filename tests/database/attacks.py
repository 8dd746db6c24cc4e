"""What Alice tries in a session of her own. `{alice}` and `{bob}` stand for the two schemas."""

from __future__ import annotations

from typing import NamedTuple

from awssome.database.servers import CONTROL_ROLE, PROVISIONER_ROLE, TENANTS_DATABASE

DENIED = "42501"  # insufficient_privilege
UNKNOWN = "42P01"  # undefined_table: what may not be used is not even found
FENCED = "AW001"
UNSUPPORTED = "0A000"


class Attack(NamedTuple):
    """Statements in one session; the last one must fail with one of the SQLSTATEs, the others must not matter."""

    name: str
    statements: tuple[str, ...]
    refused_with: tuple[str, ...] = (DENIED,)


def attack(name: str, *statements: str, refused_with: tuple[str, ...] = (DENIED,)) -> Attack:
    return Attack(name, statements, refused_with)


READ_BOB = "SELECT title FROM {bob}.deal_registrations"

READ = (
    attack("his table", READ_BOB),
    attack("his fence", "SELECT * FROM {bob}._fence"),
    attack("his outbox", "SELECT * FROM {bob}._outbox"),
    attack("his tokens", "SELECT access_token FROM {bob}.hubspot_tokens"),
    attack("his data key", "SELECT wrapped_key FROM {bob}.tenant_keys"),
    attack("join", "SELECT * FROM {alice}.deal_registrations a JOIN {bob}.deal_registrations b ON true"),
    attack("search_path", "SET search_path = {bob}", "SELECT * FROM deal_registrations", refused_with=(UNKNOWN,)),
    attack(
        "search_path in one SELECT",
        "SELECT set_config('search_path', '{bob}', false)",
        "SELECT * FROM hubspot_tokens",
        refused_with=(UNKNOWN,),
    ),
    attack("name of the table", "SELECT '{bob}.deal_registrations'::regclass"),
    attack("row type", "SELECT NULL::{bob}.deal_registrations"),
    attack("explain", "EXPLAIN " + READ_BOB),
    attack("copy", "COPY {bob}.deal_registrations TO STDOUT"),
    attack("copy of a query", f"COPY ({READ_BOB}) TO STDOUT"),
    attack("cursor", f"DECLARE c CURSOR WITH HOLD FOR {READ_BOB}"),
    attack("prepared statement", f"PREPARE p AS {READ_BOB}"),
    attack("sub-select in a write", f"UPDATE {{alice}}.deal_registrations SET title = ({READ_BOB} LIMIT 1)"),
    attack("do block", f"DO $$BEGIN PERFORM title FROM ({READ_BOB}) x; END$$"),
    attack("dynamic sql", f"DO $$BEGIN EXECUTE '{READ_BOB}'; END$$"),
    attack("ts_stat", "SELECT * FROM ts_stat('SELECT to_tsvector(title) FROM {bob}.deal_registrations')"),
    attack(
        "query_to_xml",
        f"SELECT query_to_xml('{READ_BOB}', true, false, '')",
        refused_with=(DENIED, UNSUPPORTED),  # our build has no XML; one that has refuses the query
    ),
    attack("lock his table", "BEGIN", "LOCK TABLE {bob}.deal_registrations IN ACCESS SHARE MODE"),
    attack("lock his rows", READ_BOB + " FOR UPDATE"),
    attack("his outbox's sequence", "SELECT nextval('{bob}._outbox_seq_seq')"),
    attack("analyze", "ANALYZE {bob}.deal_registrations"),
    attack("vacuum", "VACUUM FULL {bob}.deal_registrations"),
    attack("planner statistics", "SELECT * FROM pg_statistic"),
    attack("passwords", "SELECT rolname, rolpassword FROM pg_authid"),
    attack("passwords by another name", "SELECT * FROM pg_shadow"),
    attack("statements of others", "SELECT query FROM public.pg_stat_statements"),
    attack("statements of others, the function", "SELECT * FROM public.pg_stat_statements(true)"),
    attack("access rules", "SELECT * FROM pg_hba_file_rules"),
    attack("large objects", "SELECT data FROM pg_largeobject"),
)

WRITE = (
    attack("insert", "INSERT INTO {bob}.field_mappings VALUES ('x', 'y', 'z', now())"),
    attack("update", "UPDATE {bob}.deal_registrations SET title = 'mine'"),
    attack("delete", "DELETE FROM {bob}.deal_registrations"),
    attack(
        "merge",
        "MERGE INTO {bob}.deal_registrations b USING {alice}.deal_registrations a ON true WHEN MATCHED THEN DELETE",
    ),
    attack("copy in", "COPY {bob}.field_mappings FROM STDIN"),
    attack("truncate", "TRUNCATE {bob}.deal_events"),
    attack("drop table", "DROP TABLE {bob}.deal_events CASCADE"),
    attack("drop schema", "DROP SCHEMA {bob} CASCADE"),
    attack("alter table", "ALTER TABLE {bob}.deal_events ADD COLUMN mine text"),
    attack("rename schema", "ALTER SCHEMA {bob} RENAME TO taken"),
    attack("create table", "CREATE TABLE {bob}.mine (x int)"),
    attack("index", "CREATE INDEX ON {bob}.deal_events (kind)"),
    attack("trigger", "CREATE TRIGGER t BEFORE INSERT ON {bob}.deal_events EXECUTE FUNCTION {alice}._guard()"),
    attack("comment", "COMMENT ON TABLE {bob}.deal_events IS 'mine'"),
    attack("grant to herself", "GRANT SELECT ON {bob}.deal_events TO {alice}"),
    attack("his defaults", "ALTER DEFAULT PRIVILEGES FOR ROLE {bob} GRANT SELECT ON TABLES TO {alice}"),
    attack(
        "planner statistics",
        "SELECT pg_restore_relation_stats('schemaname', '{bob}', 'relname', 'deal_events', 'relpages', 1::integer)",
        refused_with=(DENIED, "42883"),  # PostgreSQL 18 brought the function
    ),
    attack("open his fence", "UPDATE {bob}._fence SET mode = 'rw'"),
    attack("his guard", "ALTER FUNCTION {bob}._guard() SECURITY INVOKER"),
)

IDENTITY = (
    attack("set role", "SET ROLE {bob}"),
    attack("set role in a transaction", "BEGIN", "SET LOCAL ROLE {bob}"),
    attack("set role to the provisioner", f"SET ROLE {PROVISIONER_ROLE}"),
    attack("set role to the control plane", f"SET ROLE {CONTROL_ROLE}"),
    attack("set role to the superuser", "SET ROLE postgres"),
    attack("reset role", "RESET ROLE", READ_BOB),
    attack("commit, then set role", "BEGIN", "COMMIT", "SET ROLE {bob}"),
    attack("set_config role", "SELECT set_config('role', '{bob}', true)"),
    attack(
        "set_config and read in one SELECT",
        f"SELECT set_config('role', '{{bob}}', true), * FROM ts_stat('{READ_BOB}')",
    ),
    attack("set session authorization", "SET SESSION AUTHORIZATION {bob}"),
    attack("reset session authorization", "RESET SESSION AUTHORIZATION", READ_BOB),
    attack("set_config session_authorization", "SELECT set_config('session_authorization', '{bob}', false)"),
    attack("discard all", "DISCARD ALL", READ_BOB),
    attack("do block", "DO $$BEGIN EXECUTE 'SET ROLE {bob}'; END$$"),
    attack("his password", "ALTER ROLE {bob} PASSWORD 'mine'"),
    attack("his name", "ALTER ROLE {bob} RENAME TO taken"),
    attack("his login", "ALTER ROLE {bob} NOLOGIN"),
    attack("his settings", "ALTER ROLE {bob} SET default_transaction_read_only = on"),
    attack("drop his role", "DROP ROLE {bob}"),
    attack("drop what he owns", "DROP OWNED BY {bob}"),
    attack("reassign what he owns", "REASSIGN OWNED BY {bob} TO {alice}"),
    attack("become a member of his role", "GRANT {bob} TO {alice}"),
    attack("make him a member of hers", "GRANT {alice} TO {bob}"),
    attack("become the provisioner", f"GRANT {PROVISIONER_ROLE} TO {{alice}}"),
    attack("read all data", "GRANT pg_read_all_data TO {alice}"),
    attack("run programs", "GRANT pg_execute_server_program TO {alice}"),
    attack("superuser", "ALTER ROLE {alice} SUPERUSER"),
    attack("createrole", "ALTER ROLE {alice} CREATEROLE"),
    attack("bypassrls", "ALTER ROLE {alice} BYPASSRLS"),
    attack("replication", "ALTER ROLE {alice} REPLICATION"),
    attack("her own connection limit", "ALTER ROLE {alice} CONNECTION LIMIT -1"),
    attack("make a role", "CREATE ROLE mine SUPERUSER"),
)

OWN_SCHEMA = (
    attack("open the fence", "UPDATE {alice}._fence SET mode = 'rw'"),
    attack("another fence", "INSERT INTO {alice}._fence VALUES (2, 1, 'rw', 0, false, '0001')"),
    attack("no fence", "DELETE FROM {alice}._fence"),
    attack("hold the fence's row", "SELECT * FROM {alice}._fence FOR KEY SHARE"),
    attack("hold the fence, row share", "BEGIN", "LOCK TABLE {alice}._fence IN ROW SHARE MODE"),
    attack("hold the fence, exclusive", "BEGIN", "LOCK TABLE {alice}._fence IN EXCLUSIVE MODE"),
    attack("hold the fence, access exclusive", "BEGIN", "LOCK TABLE {alice}._fence IN ACCESS EXCLUSIVE MODE"),
    attack("read the outbox", "SELECT * FROM {alice}._outbox"),
    attack("write the outbox", "INSERT INTO {alice}._outbox (table_name, row_key) VALUES ('x', 'y')"),
    attack("the outbox's sequence", "SELECT setval('{alice}._outbox_seq_seq', 1)"),
    attack("change the timeline", "UPDATE {alice}.deal_events SET actor = 'bob'"),
    attack("shorten the timeline", "DELETE FROM {alice}.deal_events"),
    attack("empty the timeline", "TRUNCATE {alice}.deal_events"),
    attack(
        "overwrite the timeline",
        "INSERT INTO {alice}.deal_events SELECT * FROM {alice}.deal_events ON CONFLICT (id) DO UPDATE SET actor = 'x'",
    ),
    attack("truncate", "TRUNCATE {alice}.sync_issues"),
    attack("drop the guard", "DROP TRIGGER _guard ON {alice}.deal_registrations"),
    attack("disable the guard", "ALTER TABLE {alice}.deal_registrations DISABLE TRIGGER _guard"),
    attack("disable the guard as a replica", "SET session_replication_role = 'replica'"),
    attack("disable the guard by configuration", "SELECT set_config('session_replication_role', 'replica', false)"),
    attack("replace the guard", "CREATE OR REPLACE FUNCTION {alice}._guard() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    attack("call the guard", "SELECT {alice}._guard()", refused_with=(UNSUPPORTED,)),
    attack("rename the guard", "ALTER FUNCTION {alice}._guard() RENAME TO mine"),
    attack("alter table", "ALTER TABLE {alice}.deal_registrations ADD COLUMN mine text"),
    attack("drop constraint", "ALTER TABLE {alice}.deal_events DROP CONSTRAINT deal_events_pk"),
    attack("own table", "ALTER TABLE {alice}.deal_registrations OWNER TO {alice}"),
    attack("drop table", "DROP TABLE {alice}.sync_issues"),
    attack("create table", "CREATE TABLE {alice}.mine (x int)"),
    attack("create view", "CREATE VIEW {alice}.mine AS SELECT 1"),
    attack("create function", "CREATE FUNCTION {alice}.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    attack("create type", "CREATE TYPE {alice}.mine AS (x int)"),
    attack("index", "CREATE INDEX ON {alice}.deal_events (kind)"),
    attack("select into", "SELECT 1 AS x INTO {alice}.mine"),
    attack("temporary table", "CREATE TEMP TABLE mine (x int)"),
    attack("temporary function", "CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    attack("table in public", "CREATE TABLE public.mine (x int)"),
)

SERVER = (
    attack("read a file", "SELECT pg_read_file('/etc/passwd')"),
    attack("read a binary file", "SELECT pg_read_binary_file('pg_hba.conf')"),
    attack("list a directory", "SELECT pg_ls_dir('.')"),
    attack("look at a file", "SELECT * FROM pg_stat_file('/etc/passwd')"),
    attack("copy from a file", "COPY {alice}.field_mappings FROM '/etc/passwd'"),
    attack("copy to a file", "COPY {alice}.field_mappings TO '/tmp/mine'"),
    attack("copy from a program", "COPY {alice}.field_mappings FROM PROGRAM 'id'"),
    attack("copy to a program", "COPY {alice}.field_mappings TO PROGRAM 'cat'"),
    attack("import a file", "SELECT lo_import('/etc/passwd')"),
    attack("make a large object", "SELECT lo_create(0)"),
    attack("fill a large object", "SELECT lo_from_bytea(0, 'x')"),
    attack("load a library", "LOAD 'auto_explain'"),
    attack("c function", "CREATE FUNCTION {alice}.mine() RETURNS int LANGUAGE c AS 'libc', 'system'"),
    attack("dblink", "CREATE EXTENSION dblink"),
    attack("file_fdw", "CREATE EXTENSION file_fdw"),
    attack("postgres_fdw", "CREATE EXTENSION postgres_fdw"),
    attack("trusted extension", "CREATE EXTENSION pg_trgm"),
    attack("schema", "CREATE SCHEMA mine"),
    attack("database", "CREATE DATABASE mine"),
    attack("publication", "CREATE PUBLICATION mine FOR ALL TABLES"),
    attack("replication slot", "SELECT pg_create_logical_replication_slot('mine', 'pgoutput')"),
    attack("event trigger", "CREATE EVENT TRIGGER mine ON ddl_command_start EXECUTE FUNCTION {alice}._guard()"),
    attack("alter system", "ALTER SYSTEM SET fsync = off"),
    attack("alter database", f"ALTER DATABASE {TENANTS_DATABASE} SET role = 'postgres'"),
    attack("reload", "SELECT pg_reload_conf()"),
    attack("checkpoint", "CHECKPOINT"),
    attack("switch the log", "SELECT pg_switch_wal()"),
    attack("forget statistics", "SELECT pg_stat_reset()"),
    attack("superuser's settings", "SET log_min_messages = 'panic'"),
    attack("preload", "SET session_preload_libraries = 'auto_explain'"),
    attack("advisory lock", "SELECT pg_advisory_lock(1)"),
    attack("advisory lock, transaction", "SELECT pg_advisory_xact_lock(1)"),
    attack("advisory lock, tried", "SELECT pg_try_advisory_lock_shared(1)"),
    attack("notify by function", "SELECT pg_notify('channel', 'payload')"),
    attack("write into the log of changes", "SELECT pg_logical_emit_message(false, 'x', 'y')"),
    attack("prepared transaction", "BEGIN", "SELECT 1", "PREPARE TRANSACTION 'x'", refused_with=("55000",)),
    attack("serialise the database", "REINDEX SYSTEM " + TENANTS_DATABASE),
)

FENCE = (
    attack(
        "repeatable read",
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
        "UPDATE {alice}.deal_registrations SET title = title",
        refused_with=(FENCED,),
    ),
    attack(
        "serializable",
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
        "INSERT INTO {alice}.field_mappings VALUES ('x', 'y', 'z', now())",
        refused_with=(FENCED,),
    ),
)
