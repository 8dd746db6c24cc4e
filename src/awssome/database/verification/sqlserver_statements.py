"""What is tried on SQL Server."""

from __future__ import annotations

from typing import Any

import mssql_python

from awssome.database.sqlserver import driver
from awssome.database.sqlserver.entrance import connect_as_tenant
from awssome.database.verification.statements import READ, OldTransaction, Statements, attempt

_READING = (
    attempt("a table", READ),
    attempt("the fence", "SELECT epoch FROM {other}._fence"),
    attempt("the fence's lock", "SELECT lock_name FROM {other}._fence"),
    attempt("the outbox", "SELECT seq FROM {other}._outbox"),
    attempt("tokens", "SELECT access_token FROM {other}.hubspot_tokens"),
    attempt("data keys", "SELECT wrapped_key FROM {other}.tenant_keys"),
    attempt("a count", "SELECT COUNT(*) FROM {other}.deal_registrations"),
    attempt("by its full name", "SELECT title FROM {database}.{other}.deal_registrations"),
    attempt("without locks", READ + " WITH (NOLOCK)"),
    attempt("a join", "SELECT 1 FROM {own}.deal_registrations a CROSS JOIN {other}.deal_registrations b"),
    attempt("a common table expression", f"WITH x AS ({READ}) SELECT title FROM x"),
    attempt("a dynamic statement", f"EXEC(N'{READ}')"),
    attempt("a dynamic statement, the other way", f"EXEC sp_executesql N'{READ}'"),
    attempt("a caught error", f"BEGIN TRY EXEC(N'{READ}'); END TRY BEGIN CATCH THROW; END CATCH"),
    attempt("a cursor", f"DECLARE c CURSOR FOR {READ}; OPEN c; FETCH NEXT FROM c"),
    attempt(
        "a sub-select in a write",
        "UPDATE {own}.deal_registrations SET title = (SELECT MAX(title) FROM {other}.deal_registrations)",
    ),
    attempt("into a temporary table", "SELECT title INTO #mine FROM {other}.deal_registrations"),
    attempt(
        "into one's own table",
        "INSERT INTO {own}.field_mappings (field, updated_at) SELECT 'x', created_at FROM {other}.deal_registrations",
    ),
    attempt("histograms", "DBCC SHOW_STATISTICS (N'{other}.deal_registrations', N'deal_registrations_updated')"),
    attempt("the log of changes", "SELECT TOP 1 1 FROM sys.fn_dblog(NULL, NULL)"),
    attempt(
        "passwords",
        "SELECT 1 FROM sys.sql_logins WHERE name <> SUSER_SNAME() AND password_hash IS NOT NULL",
        may_be_empty=True,
    ),
    attempt("statements of others", "SELECT TOP 1 1 FROM sys.dm_exec_query_stats"),
    attempt("plans of others", "SELECT TOP 1 1 FROM sys.dm_exec_cached_plans"),
    attempt("what another session runs", "DBCC INPUTBUFFER ({session})"),
    attempt("a file", "SELECT 1 FROM OPENROWSET(BULK N'/dev/null', SINGLE_CLOB) AS x"),
)

_WRITING = (
    attempt("insert", "INSERT INTO {other}.field_mappings (field, updated_at) VALUES ('x', CURRENT_TIMESTAMP)"),
    attempt("update", "UPDATE {other}.deal_registrations SET title = 'mine'"),
    attempt("delete", "DELETE FROM {other}.deal_events"),
    attempt("delete by a join", "DELETE b FROM {other}.deal_events b CROSS JOIN {own}.deal_registrations a"),
    attempt(
        "merge",
        "MERGE {other}.deal_events AS b USING {own}.deal_events AS a ON 1 = 1 WHEN MATCHED THEN DELETE;",
    ),
    attempt("a dynamic statement", "EXEC(N'DELETE FROM {other}.deal_events')"),
    attempt("truncate", "TRUNCATE TABLE {other}.deal_events"),
    attempt("drop a table", "DROP TABLE {other}.deal_events"),
    attempt("drop the schema", "DROP SCHEMA {other}"),
    attempt("alter a table", "ALTER TABLE {other}.deal_events ADD mine int"),
    attempt("rename a table", "EXEC sp_rename N'{other}.deal_events', N'taken'"),
    attempt("create a table", "CREATE TABLE {other}.mine (x int)"),
    attempt("create an index", "CREATE INDEX mine ON {other}.deal_events (kind)"),
    attempt("create a trigger", "CREATE TRIGGER {other}.mine ON {other}.deal_events AFTER INSERT AS RETURN"),
    attempt("create a view", f"CREATE VIEW {{other}}.mine AS {READ}"),
    attempt("grant to oneself", "GRANT SELECT ON {other}.deal_events TO {own}"),
    attempt("grant the schema to oneself", "GRANT SELECT ON SCHEMA::{other} TO {own}"),
    attempt("take a table over", "ALTER SCHEMA {own} TRANSFER {other}.deal_events"),
    attempt("take the schema over", "ALTER AUTHORIZATION ON SCHEMA::{other} TO {own}"),
    attempt("a synonym", "CREATE SYNONYM {own}.mine FOR {other}.deal_events"),
    attempt("statistics", "UPDATE STATISTICS {other}.deal_events"),
    attempt("close the fence", "UPDATE {other}._fence SET mode = 'moved'"),
    attempt("the outbox", "INSERT INTO {other}._outbox (table_name, row_key) VALUES ('x', 'y')"),
    attempt("disable the guard", "DISABLE TRIGGER {other}._guard_deal_events ON {other}.deal_events"),
    attempt("drop the guard", "DROP TRIGGER {other}._guard_deal_events"),
)

_IDENTITY = (
    attempt("execute as the other user", "EXECUTE AS USER = N'{other}'", READ),
    attempt("execute as the other login", "EXECUTE AS LOGIN = N'{other}'", READ),
    attempt("execute as the owner", "EXECUTE AS USER = N'dbo'", READ),
    attempt("execute as the administrator", "EXECUTE AS LOGIN = N'sa'", READ),
    attempt("a string as the other user", f"EXECUTE (N'{READ}') AS USER = N'{{other}}'"),
    attempt("set user", "SETUSER N'{other}'", READ),
    attempt("member of the owners", "ALTER ROLE db_owner ADD MEMBER {own}"),
    attempt("member of the readers", "ALTER ROLE db_datareader ADD MEMBER {own}"),
    attempt("member of the readers, the old way", "EXEC sp_addrolemember N'db_datareader', N'{own}'"),
    attempt("member of the other's owner", "ALTER ROLE {other}_own ADD MEMBER {own}"),
    attempt("member of one's own owner", "ALTER ROLE {own}_own ADD MEMBER {own}"),
    attempt("member of the administrators", "ALTER SERVER ROLE sysadmin ADD MEMBER {own}"),
    attempt("member of the administrators, the old way", "EXEC sp_addsrvrolemember N'{own}', N'sysadmin'"),
    attempt("impersonate", "GRANT IMPERSONATE ON USER::{other} TO {own}"),
    attempt("control", "GRANT CONTROL TO {own}"),
    attempt("the state of the server", "GRANT VIEW SERVER STATE TO {own}"),
    attempt("the other's password", "ALTER LOGIN {other} WITH PASSWORD = N'Aa1-mine-mine-mine'"),
    attempt("the other's login", "ALTER LOGIN {other} DISABLE"),
    attempt("the other's name", "ALTER LOGIN {other} WITH NAME = {other}_taken"),
    attempt("the other's user", "ALTER USER {other} WITH LOGIN = {own}"),
    attempt("drop the other's user", "DROP USER {other}"),
    attempt("drop the other's login", "DROP LOGIN {other}"),
    attempt("create a login", "CREATE LOGIN {own}_mine WITH PASSWORD = N'Aa1-mine-mine-mine'"),
    attempt("create a user", "CREATE USER {own}_mine WITHOUT LOGIN"),
    attempt("create a role", "CREATE ROLE {own}_mine"),
    attempt("end a session of the other", "KILL {session}", alone=True),
)

_OWN_SCHEMA = (
    attempt("open the fence", "UPDATE {own}._fence SET mode = 'rw'"),
    attempt("another lock", "UPDATE {own}._fence SET lock_name = 'x'"),
    attempt("no fence", "DELETE FROM {own}._fence"),
    attempt("drop the fence", "DROP TABLE {own}._fence"),
    attempt("read the outbox", "SELECT seq FROM {own}._outbox"),
    attempt("write the outbox", "INSERT INTO {own}._outbox (table_name, row_key) VALUES ('x', 'y')"),
    attempt("change the timeline", "UPDATE {own}.deal_events SET actor = 'x'"),
    attempt("shorten the timeline", "DELETE FROM {own}.deal_events"),
    attempt("truncate", "TRUNCATE TABLE {own}.sync_issues"),
    attempt("write in a snapshot", "SET TRANSACTION ISOLATION LEVEL SNAPSHOT", "DELETE FROM {own}.sync_issues"),
    attempt("write in a serial order", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "DELETE FROM {own}.sync_issues"),
    attempt("disable the guard", "DISABLE TRIGGER {own}._guard_deal_registrations ON {own}.deal_registrations"),
    attempt("disable every guard", "ALTER TABLE {own}.deal_registrations DISABLE TRIGGER ALL"),
    attempt("drop the guard", "DROP TRIGGER {own}._guard_deal_registrations"),
    attempt(
        "change the guard",
        "ALTER TRIGGER {own}._guard_deal_registrations ON {own}.deal_registrations AFTER INSERT AS RETURN",
    ),
    attempt("another trigger", "CREATE TRIGGER {own}.mine ON {own}.deal_events AFTER INSERT AS RETURN"),
    attempt("alter a table", "ALTER TABLE {own}.deal_registrations ADD mine int"),
    attempt("own a table", "ALTER AUTHORIZATION ON OBJECT::{own}.deal_registrations TO {own}"),
    attempt("own the schema", "ALTER AUTHORIZATION ON SCHEMA::{own} TO {own}"),
    attempt("drop a table", "DROP TABLE {own}.sync_issues"),
    attempt("create a table", "CREATE TABLE {own}.mine (x int)"),
    attempt("create a view", "CREATE VIEW {own}.mine AS SELECT 1 AS x"),
    attempt("create a procedure", "CREATE PROCEDURE {own}.mine AS SELECT 1"),
    attempt("create a function", "CREATE FUNCTION {own}.mine() RETURNS int AS BEGIN RETURN 1 END"),
    attempt("create an index", "CREATE INDEX mine ON {own}.deal_events (kind)"),
    attempt("select into", "SELECT 1 AS x INTO {own}.mine"),
    attempt("create a table in dbo", "CREATE TABLE dbo.{own}_mine (x int)"),
    attempt(
        "set keys of the outbox",
        "SET IDENTITY_INSERT {own}._outbox ON",
        "INSERT INTO {own}._outbox (seq, table_name, row_key) VALUES (1, 'x', 'y')",
    ),
)

_SERVER = (
    attempt("run a program", "EXEC master..xp_cmdshell N'exit'"),
    attempt("settings of the server", "EXEC sp_configure N'show advanced options', 0"),
    attempt("take settings into use", "RECONFIGURE", alone=True),
    attempt("create a schema", "CREATE SCHEMA {own}_mine"),
    attempt("make an object of the server", "DECLARE @x int; EXEC sp_OACreate N'Scripting.Dictionary', @x OUT"),
    attempt("link a server", "EXEC sp_addlinkedserver N'{own}'"),
    attempt(
        "query another server",
        "SELECT 1 FROM OPENROWSET(N'MSOLEDBSQL', N'Server=(local);Trusted_Connection=yes', N'SELECT 1 AS x') AS x",
    ),
    attempt("load code", "CREATE ASSEMBLY mine FROM 0x4D5A"),
    attempt("a credential", "CREATE CREDENTIAL {own} WITH IDENTITY = N'x', SECRET = N'x'"),
    attempt("a trigger on the database", "CREATE TRIGGER mine ON DATABASE FOR DROP_TABLE AS RETURN"),
    attempt("the server's log", "EXEC xp_readerrorlog"),
    attempt("trace flags", "DBCC TRACEON (3604, -1)"),
    attempt("watch the server", "CREATE EVENT SESSION {own} ON SERVER ADD EVENT sqlserver.rpc_completed"),
)

_EXPOSED = (
    attempt("names of schemas", "SELECT 1 FROM sys.schemas WHERE name = N'{other}'", may_be_empty=True),
    attempt("names of logins", "SELECT 1 FROM sys.server_principals WHERE name = N'{other}'", may_be_empty=True),
    attempt("names of users", "SELECT 1 FROM sys.database_principals WHERE name = N'{other}'", may_be_empty=True),
    attempt(
        "names of tables",
        "SELECT 1 FROM sys.tables t JOIN sys.schemas s ON s.schema_id = t.schema_id WHERE s.name = N'{other}'",
        may_be_empty=True,
    ),
    attempt("names of databases", "SELECT 1 FROM sys.databases WHERE name = N'model'", may_be_empty=True),
    attempt("who is connected", "SELECT 1 FROM sys.dm_exec_sessions WHERE session_id = {session}", may_be_empty=True),
    attempt("temporary tables", "CREATE TABLE #mine (x int)"),
    attempt("temporary tables for all", "CREATE TABLE ##{own} (x int)"),
    attempt("wait", "WAITFOR DELAY '00:00:00.010'"),
    attempt("no limit on waiting for locks", "SET LOCK_TIMEOUT -1"),
    attempt("another name of one's own user", "ALTER USER {own} WITH NAME = {own}_mine"),
    attempt(
        "a password of one's own choice",
        "ALTER LOGIN {own} WITH PASSWORD = N'Aa1-mine-mine-mine' OLD_PASSWORD = N'{password}'",
    ),
    attempt("another default schema", "ALTER USER {own} WITH DEFAULT_SCHEMA = dbo"),
    attempt(
        "hold its own fence, which keeps its own moves off", "SELECT epoch FROM {own}._fence WITH (XLOCK, HOLDLOCK)"
    ),
    attempt(
        "locks by name",
        "DECLARE @x int; EXEC @x = sp_getapplock @Resource = N'{own}', @LockMode = N'Shared', "
        "@LockOwner = N'Session', @LockTimeout = 0; SELECT 1 WHERE @x >= 0",
        may_be_empty=True,
    ),
    attempt("whether a file is there", "EXEC master..xp_fileexist N'/dev/null'"),
)


def _begin_by_itself(connection: driver.Connection, on: bool) -> None:
    connection.autocommit = not on


def _run(connection: driver.Connection, text: str) -> list[Any]:
    return driver.run(connection, text)


def _code(error: BaseException) -> str | None:
    number = driver.number_of(error)
    return None if number is None else str(number)


# Microsoft's "Database Engine events and errors". Several say in one number: it does not exist, or is not for you.
_NOT_ALLOWED = frozenset(
    {
        229,  # on an object
        230,  # on a column
        262,  # in the database
        297,  # for the action
        300,  # on the server
        916,  # database
        1088,  # object not found, or no permission (index, trigger)
        2104,  # trigger
        2557,  # DBCC
        2571,  # DBCC
        2760,  # schema
        3701,  # DROP
        3704,  # owner only
        4613,  # grantor
        4701,  # TRUNCATE
        4834,  # bulk load
        4902,  # ALTER TABLE
        5011,  # ALTER DATABASE
        5812,  # RECONFIGURE
        6102,  # KILL
        7415,  # OPENROWSET
        8104,  # IDENTITY_INSERT
        8189,  # traces
        9010,  # log
        15151,  # principal or object not found, or no permission
        15165,  # object not found, or no permission
        15247,  # action
        15281,  # turned off on the server
        15406,  # EXECUTE AS LOGIN
        15517,  # EXECUTE AS USER
        15225,  # sp_rename
        15248,  # sp_rename
        51003,  # the trigger of a table that a tenant may only read
    }
)

SQLSERVER = Statements(
    connect=connect_as_tenant,
    begin_by_itself=_begin_by_itself,
    run=_run,
    error=mssql_python.Error,
    code=_code,
    denials=frozenset(str(number) for number in _NOT_ALLOWED | driver.DENIED | {driver.FENCED}),
    session="SELECT @@SPID",
    hostile={
        "reading another workspace": _READING,
        "writing into another workspace": _WRITING,
        "being somebody else": _IDENTITY,
        "more rights in its own schema": _OWN_SCHEMA,
        "using the server": _SERVER,
    },
    exposed=_EXPOSED,
    old_transactions=(
        OldTransaction("READ COMMITTED", "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"),
        OldTransaction("REPEATABLE READ", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"),
        OldTransaction("SERIALIZABLE", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
        OldTransaction("SNAPSHOT", "SET TRANSACTION ISOLATION LEVEL SNAPSHOT"),
        OldTransaction(
            "SNAPSHOT that calls itself READ COMMITTED",
            "SET TRANSACTION ISOLATION LEVEL SNAPSHOT",
            between="SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
        ),
        OldTransaction(
            "READ COMMITTED of a user that has another name",
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
            between="ALTER USER {own} WITH NAME = {own}_mine",
        ),
    ),
)
"""What is tried on SQL Server, and how."""
