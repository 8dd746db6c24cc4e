"""What is open to every tenant's login while tenants share one PostgreSQL, and what looks open and does nothing."""

from __future__ import annotations

from awssome.database.servers import TENANTS_DATABASE
from tests.database.exposed import Exposed

_HIS = "(SELECT oid FROM pg_namespace WHERE nspname = '{bob}')"

EXPOSED = (
    Exposed("names", "schemas", ("SELECT nspname FROM pg_namespace",)),
    Exposed("names", "logins", ("SELECT rolname FROM pg_roles", "SELECT usename FROM pg_user")),
    Exposed("names", "tables and columns", (f"SELECT relname FROM pg_class WHERE relnamespace = {_HIS}",)),
    Exposed("names", "text of the guard", (f"SELECT prosrc FROM pg_proc WHERE pronamespace = {_HIS}",)),
    Exposed(
        "names", "constraints", (f"SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = {_HIS}",)
    ),
    Exposed("names", "members of roles", ("SELECT * FROM pg_auth_members", "SELECT * FROM pg_db_role_setting")),
    Exposed("names", "databases", ("SELECT datname FROM pg_database",)),
    Exposed("names", "numbers of names", ("SELECT * FROM pg_get_object_address('role', '{\"{bob}\"}', '{}')",)),
    Exposed(
        "names",
        "rights of others",
        ("SELECT relname, relacl::text FROM pg_class WHERE relname = 'deal_registrations'",),
    ),
    Exposed(
        "sizes",
        "of tables",
        (f"SELECT pg_total_relation_size(oid) FROM pg_class WHERE relnamespace = {_HIS} AND relkind = 'r'",),
    ),
    Exposed(
        "sizes",
        "rows, counted",
        ("SELECT n_live_tup, n_tup_upd, seq_scan FROM pg_stat_all_tables WHERE schemaname = '{bob}'",),
    ),
    Exposed(
        "sizes", "blocks, counted", ("SELECT heap_blks_read FROM pg_statio_all_tables WHERE schemaname = '{bob}'",)
    ),
    Exposed(
        "sizes", "of the database", ("SELECT pg_database_size(current_database()), pg_tablespace_size('pg_default')",)
    ),
    Exposed("sizes", "work of the database", ("SELECT * FROM pg_stat_database", "SELECT * FROM pg_stat_io LIMIT 1")),
    Exposed("activity", "who is connected", ("SELECT usename, application_name FROM pg_stat_activity",)),
    Exposed("activity", "who locks what", ("SELECT pid, relation, mode FROM pg_locks",)),
    Exposed("activity", "who waits for whom", ("SELECT pg_blocking_pids(pid) FROM pg_stat_activity",)),
    Exposed(
        "activity", "transactions", ("SELECT pg_current_snapshot(), txid_current()", "SELECT pg_current_wal_lsn()")
    ),
    Exposed("server", "version and settings", ("SELECT version()", "SELECT name, setting FROM pg_settings")),
    Exposed("server", "address", ("SELECT inet_server_addr(), inet_server_port()",)),
    Exposed("server", "what could be installed", ("SELECT name FROM pg_available_extensions",)),
    Exposed(
        "server", "state of its files", ("SELECT * FROM pg_control_system()", "SELECT * FROM pg_control_checkpoint()")
    ),
    Exposed("notify", "listen", ("LISTEN channel", "UNLISTEN channel")),
    Exposed("notify", "notify", ("NOTIFY channel, 'noise'",)),
    Exposed("time", "statements without limit", ("SET statement_timeout = 0", "SET transaction_timeout = 0")),
    Exposed("time", "waiting", ("SET lock_timeout = 0", "SELECT pg_sleep(0.01)")),
    Exposed(
        "time", "idle without limit", ("SET idle_in_transaction_session_timeout = 0", "SET idle_session_timeout = 0")
    ),
    Exposed(
        "transactions",
        "one that stays open",
        ("BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT txid_current()", "ROLLBACK"),
    ),
    Exposed("transactions", "a snapshot for others", ("BEGIN", "SELECT pg_export_snapshot()", "ROLLBACK")),
    Exposed(
        "transactions",
        "many numbers",
        (
            "DO $$BEGIN FOR i IN 1..20 LOOP BEGIN UPDATE {alice}.sync_issues SET kind = kind; "
            "EXCEPTION WHEN OTHERS THEN END; END LOOP; END$$",
        ),
    ),
    Exposed(
        "memory",
        "for sorting",
        ("SET work_mem = '1GB'", "SET hash_mem_multiplier = 1000", "SET maintenance_work_mem = '2GB'"),
    ),
    Exposed("memory", "for temporary tables", ("SET temp_buffers = '1GB'",)),
    Exposed(
        "memory", "for several processes", ("SET max_parallel_workers_per_gather = 64", "SET parallel_setup_cost = 0")
    ),
    Exposed(
        "disk",
        "rows of her own",
        ("BEGIN", "INSERT INTO {alice}.sync_history SELECT * FROM {alice}.sync_history", "ROLLBACK"),
    ),
    Exposed(
        "locks",
        "her own tables",
        ("BEGIN", "LOCK TABLE {alice}.deal_registrations IN ACCESS EXCLUSIVE MODE", "ROLLBACK"),
    ),
    Exposed("locks", "her fence, by a write", ("BEGIN", "DELETE FROM {alice}.sync_issues", "SELECT 1", "ROLLBACK")),
    Exposed("locks", "a catalog, as a reader", ("BEGIN", "LOCK TABLE pg_class IN ACCESS SHARE MODE", "ROLLBACK")),
    Exposed("locks", "her login's row", ("BEGIN", "ALTER ROLE {alice} SET work_mem = '64kB'", "ROLLBACK")),
    Exposed(
        "login",
        "settings for later",
        ("ALTER ROLE {alice} SET search_path = '{bob}'",),
        "ALTER ROLE {alice} RESET search_path",
    ),
    Exposed(
        "login",
        "settings for one database",
        (f"ALTER ROLE {{alice}} IN DATABASE {TENANTS_DATABASE} SET work_mem = '64kB'",),
        f"ALTER ROLE {{alice}} IN DATABASE {TENANTS_DATABASE} RESET ALL",
    ),
    Exposed("log", "text of her own", ("DO $$BEGIN RAISE LOG 'mine'; RAISE WARNING 'mine'; END$$",)),
    Exposed("log", "plans of her statements", ("SET debug_print_plan = on", "SELECT 1")),
    Exposed("log", "parameters that fail", ("SET log_parameter_max_length_on_error = -1",)),
)

HARMLESS = (
    (
        "grants without the right to grant",
        "GRANT ALL ON {alice}.deal_registrations TO PUBLIC",
        "GRANT USAGE ON SCHEMA {alice} TO {bob}",
    ),
    (
        "rights of objects that she does not make",
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
        "ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM PUBLIC",
    ),
    ("what she owns, which is nothing", "DROP OWNED BY CURRENT_USER"),
    ("vacuum of what is not hers", "VACUUM", "VACUUM pg_class"),
    ("analyze of what is not hers", "ANALYZE", "ANALYZE pg_authid"),
    ("cluster of what is not hers", "CLUSTER"),
    ("a role of nobody", "SET ROLE NONE", "RESET ROLE", "RESET SESSION AUTHORIZATION"),
    ("settings of nobody", "SET mine.role = '{bob}'", "SET row_security = off", "SET createrole_self_grant = 'set'"),
    ("a library for later", "SET local_preload_libraries = 'mine'"),
    ("a tablespace of the system", "SET default_tablespace = 'pg_global'", "SET temp_tablespaces = 'pg_default'"),
    ("everything back", "DISCARD ALL"),
    (
        "cursors and statements of her own",
        "PREPARE mine AS SELECT title FROM {alice}.deal_registrations",
        "EXECUTE mine",
        "DEALLOCATE ALL",
    ),
)
"""Accepted without an error, and nothing has changed: neither what others have nor what they may."""
