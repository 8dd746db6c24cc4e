"""What Alice tries on SQL Server in a session of her own.

`{alice}`, `{bob}` and `{database}` stand for the two schemas, which are also logins and users, and for the database.
Whether a refusal means anything shows an attack's control: where, or for whom, the same statements do run.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Control(StrEnum):
    """For whom the statements of an attack run, which shows that they are not refused for being ill-formed."""

    AT_HOME = "Alice, in her own schema"
    ADMINISTRATOR = "the administrator"
    NONE = "nobody that a test can be"


class Attack(NamedTuple):
    """Statements in one session, each a batch: the last one must be refused, those before it may be."""

    name: str
    statements: tuple[str, ...]
    control: Control = Control.NONE


def attack(name: str, *statements: str) -> Attack:
    """An attack that runs nowhere in the tests, or harms too much where it runs."""
    return Attack(name, statements)


def at_home(name: str, *statements: str) -> Attack:
    """An attack on Bob's schema that is Alice's good right in her own."""
    return Attack(name, statements, Control.AT_HOME)


def by_rights(name: str, *statements: str) -> Attack:
    """An attack that does what it says when an administrator runs it."""
    return Attack(name, statements, Control.ADMINISTRATOR)


READ_BOB = "SELECT title FROM {bob}.deal_registrations"
INSERT_FOR_BOB = "INSERT INTO {bob}.field_mappings VALUES ('x', 'y', 'z', SYSUTCDATETIME())"
ONE_OF_BOB = "SELECT TOP 1 title FROM {bob}.deal_registrations ORDER BY id"

READ = (
    at_home("his table", READ_BOB),
    at_home("his fence", "SELECT * FROM {bob}._fence"),
    at_home("the name of his lock", "SELECT lock_name FROM {bob}._fence WHERE id = 1"),
    by_rights("his outbox", "SELECT * FROM {bob}._outbox"),
    at_home("his timeline", "SELECT changes FROM {bob}.deal_events"),
    at_home("his tokens", "SELECT access_token, refresh_token FROM {bob}.hubspot_tokens"),
    at_home("his data key", "SELECT wrapped_key FROM {bob}.tenant_keys"),
    at_home("quoted names", "SELECT [title] FROM [{bob}].[deal_registrations]"),
    at_home("names in double quotes", 'SET QUOTED_IDENTIFIER ON; SELECT "title" FROM "{bob}"."deal_registrations"'),
    at_home("three-part name", "SELECT title FROM {database}.{bob}.deal_registrations"),
    attack("four-part name", "SELECT title FROM [mine].{database}.{bob}.deal_registrations"),
    attack("from another database", "USE tempdb", "SELECT title FROM {database}.{bob}.deal_registrations"),
    at_home("no row at all", "SELECT * FROM {bob}.deal_registrations WHERE 1 = 0"),
    at_home("how many rows", "SELECT COUNT(*) FROM {bob}.deal_registrations"),
    at_home("without locks", "SELECT title FROM {bob}.deal_registrations WITH (NOLOCK)"),
    at_home("with locks", "SELECT title FROM {bob}.deal_registrations WITH (UPDLOCK, HOLDLOCK)"),
    at_home("lock his table", "SELECT TOP 0 id FROM {bob}.deal_registrations WITH (TABLOCKX, HOLDLOCK)"),
    at_home("join", "SELECT b.title FROM {alice}.deal_registrations a JOIN {bob}.deal_registrations b ON 1 = 1"),
    at_home("apply", f"SELECT x.title FROM {{alice}}.field_mappings a CROSS APPLY ({ONE_OF_BOB}) x"),
    at_home("union", f"SELECT title FROM {{alice}}.deal_registrations UNION ALL {READ_BOB}"),
    at_home("except", f"{READ_BOB} EXCEPT SELECT N'nothing'"),
    at_home("common table expression", f"WITH x AS ({READ_BOB}) SELECT * FROM x"),
    at_home("derived table", f"SELECT MAX(x.title) FROM ({READ_BOB}) x"),
    at_home("window", "SELECT title, ROW_NUMBER() OVER (ORDER BY title) FROM {bob}.deal_registrations"),
    at_home("sub-select among the columns", f"SELECT ({ONE_OF_BOB}) FROM {{alice}}.field_mappings"),
    at_home("yes or no", f"SELECT 1 FROM {{alice}}.field_mappings WHERE EXISTS ({READ_BOB} WHERE title LIKE N'b%')"),
    at_home("yes or no by IF", f"IF EXISTS ({READ_BOB}) SELECT 1 ELSE SELECT 0"),
    attack("yes or no by time", f"IF EXISTS ({READ_BOB}) WAITFOR DELAY '00:00:00'; SELECT 1"),
    at_home("sub-select in an update", f"UPDATE {{alice}}.field_mappings SET default_value = ({ONE_OF_BOB})"),
    at_home(
        "update from a join",
        "UPDATE a SET default_value = b.title FROM {alice}.field_mappings a, {bob}.deal_registrations b",
    ),
    at_home(
        "sub-select in an insert",
        "INSERT INTO {alice}.stage_mappings "
        "SELECT TOP 1 'x', title, 'y', SYSUTCDATETIME() FROM {bob}.deal_registrations",
    ),
    at_home("delete that asks", f"DELETE FROM {{alice}}.sync_issues WHERE EXISTS ({READ_BOB})"),
    at_home("variable", "DECLARE @x nvarchar(255); SELECT @x = title FROM {bob}.deal_registrations; SELECT @x"),
    at_home("variable by SET", f"DECLARE @x nvarchar(255); SET @x = ({ONE_OF_BOB}); SELECT @x"),
    at_home("table variable", f"DECLARE @x TABLE (t nvarchar(255)); INSERT INTO @x {READ_BOB}; SELECT * FROM @x"),
    at_home("temporary table", "SELECT title INTO #mine FROM {bob}.deal_registrations; SELECT * FROM #mine"),
    at_home("exec", f"EXEC(N'{READ_BOB}')"),
    at_home("exec in exec", f"EXEC(N'EXEC(N''{READ_BOB}'')')"),
    at_home(
        "exec of pieces",
        "DECLARE @s nvarchar(400) = N'SELECT title FROM {bob}' + N'.deal_' + N'registrations'; EXEC(@s)",
    ),
    at_home("sp_executesql", f"EXEC sp_executesql N'{READ_BOB}'"),
    at_home(
        "sp_executesql that gives back",
        "DECLARE @x nvarchar(255); EXEC sp_executesql N'SELECT @y = title FROM {bob}.deal_registrations', "
        "N'@y nvarchar(255) OUTPUT', @y = @x OUTPUT; SELECT @x",
    ),
    attack("insert of what exec gives", f"CREATE TABLE #mine (t nvarchar(255)); INSERT INTO #mine EXEC('{READ_BOB}')"),
    at_home("sp_prepexec", f"DECLARE @h int; EXEC sp_prepexec @h OUTPUT, NULL, N'{READ_BOB}'"),
    at_home("cursor", f"DECLARE c CURSOR FOR {READ_BOB}; OPEN c; FETCH NEXT FROM c"),
    at_home("cursor variable", f"DECLARE @c CURSOR; SET @c = CURSOR FOR {READ_BOB}; OPEN @c; FETCH NEXT FROM @c"),
    at_home("sp_cursoropen", f"DECLARE @c int; EXEC sp_cursoropen @c OUTPUT, N'{READ_BOB}', 1, 1, 1"),
    at_home("json", f"{READ_BOB} FOR JSON PATH"),
    at_home("xml", f"{READ_BOB} FOR XML RAW"),
    at_home("text in an error", "SELECT CAST((SELECT COUNT(*) FROM {bob}.deal_registrations) AS int)"),
    attack("text in a failing conversion", "SELECT CONVERT(int, title) FROM {bob}.deal_registrations"),
    attack("text in an error of her own", f"DECLARE @x nvarchar(255) = ({ONE_OF_BOB}); THROW 50001, @x, 1"),
    attack("again after a refusal", f"BEGIN TRY {READ_BOB} END TRY BEGIN CATCH {READ_BOB} END CATCH"),
    attack("again after a rollback", "BEGIN TRANSACTION", "ROLLBACK", READ_BOB),
    attack("form only", "SET FMTONLY ON", READ_BOB),
    attack("plan as text", "SET SHOWPLAN_ALL ON", READ_BOB),
    attack("plan as XML", "SET SHOWPLAN_XML ON", READ_BOB),
    attack("statistics as XML", "SET STATISTICS XML ON", READ_BOB),
    attack("histogram", "DBCC SHOW_STATISTICS ('{bob}.deal_registrations', 'deal_registrations_updated')"),
    attack("pages", "DBCC PAGE ({database}, 1, 1, 3)"),
    attack("log", "SELECT * FROM sys.fn_dblog(NULL, NULL)"),
    attack("changes", "SELECT * FROM CHANGETABLE(CHANGES {bob}.deal_registrations, 0) AS c"),
    attack("full text", "SELECT * FROM CONTAINSTABLE({bob}.deal_registrations, title, N'deal')"),
    attack("synonym", "CREATE SYNONYM {alice}.mine FOR {bob}.deal_registrations"),
    by_rights("view over it", f"CREATE VIEW {{alice}}.mine AS {READ_BOB}"),
    by_rights("view over it in the standard schema", f"CREATE VIEW dbo.mine AS {READ_BOB}"),
    by_rights("procedure over it", f"CREATE PROCEDURE {{alice}}.mine AS {READ_BOB}"),
    attack("procedure as its owner", f"CREATE PROCEDURE {{alice}}.mine WITH EXECUTE AS OWNER AS {READ_BOB}"),
    attack("procedure as him", f"CREATE PROCEDURE {{alice}}.mine WITH EXECUTE AS N'{{bob}}' AS {READ_BOB}"),
    by_rights("function over it", f"CREATE FUNCTION {{alice}}.mine() RETURNS TABLE AS RETURN ({READ_BOB})"),
    by_rights("table made of it", "SELECT title INTO {alice}.mine FROM {bob}.deal_registrations"),
    by_rights("table made of it elsewhere", "SELECT title INTO dbo.mine FROM {bob}.deal_registrations"),
    attack("through another server", f"SELECT * FROM OPENQUERY([mine], N'{READ_BOB}')"),
    attack(
        "through this server again",
        f"SELECT * FROM OPENROWSET(N'MSOLEDBSQL', N'Server=.;Trusted_Connection=yes', N'{READ_BOB}')",
    ),
    attack(
        "through a data source",
        "SELECT * FROM OPENDATASOURCE(N'MSOLEDBSQL', N'Server=.;Trusted_Connection=yes')"
        ".{database}.{bob}.deal_registrations",
    ),
)

WRITE = (
    at_home("insert", INSERT_FOR_BOB),
    at_home(
        "insert of her own rows",
        "INSERT INTO {bob}.field_mappings SELECT 'x', property, 'z', updated_at FROM {alice}.field_mappings",
    ),
    at_home("insert of nothing", "INSERT INTO {bob}.field_mappings SELECT * FROM {alice}.field_mappings WHERE 1 = 0"),
    at_home(
        "insert that shows",
        "DECLARE @x TABLE (t nvarchar(40)); INSERT INTO {bob}.field_mappings OUTPUT inserted.field INTO @x "
        "VALUES ('x', 'y', 'z', SYSUTCDATETIME()); SELECT * FROM @x",
    ),
    at_home(
        "insert by exec", "EXEC(N'INSERT INTO {bob}.field_mappings VALUES (''x'', ''y'', ''z'', SYSUTCDATETIME())')"
    ),
    attack("insert under another setting", "SET XACT_ABORT OFF", "INSERT INTO {bob}.field_mappings DEFAULT VALUES"),
    at_home(
        "timeline",
        "INSERT INTO {bob}.deal_events SELECT NEWID(), id, updated_at, 'x', 'y', '{}' FROM {alice}.deal_registrations",
    ),
    at_home("update", "UPDATE {bob}.deal_registrations SET title = N'mine'"),
    at_home("update of no row", "UPDATE {bob}.deal_registrations SET title = N'mine' WHERE 1 = 0"),
    at_home(
        "update that shows",
        "DECLARE @x TABLE (t nvarchar(255)); UPDATE {bob}.deal_registrations SET stage = N'x' "
        "OUTPUT deleted.title INTO @x; SELECT * FROM @x",
    ),
    attack(
        "update by expression", "WITH x AS (SELECT title FROM {bob}.deal_registrations) UPDATE x SET title = N'mine'"
    ),
    at_home(
        "update by join",
        "UPDATE b SET title = a.title FROM {bob}.deal_registrations b CROSS JOIN {alice}.deal_registrations a",
    ),
    attack(
        "update by cursor",
        "DECLARE c CURSOR FOR SELECT title FROM {bob}.deal_registrations FOR UPDATE; OPEN c; FETCH NEXT FROM c; "
        "UPDATE {bob}.deal_registrations SET title = N'mine' WHERE CURRENT OF c",
    ),
    at_home("delete", "DELETE FROM {bob}.field_mappings"),
    at_home("delete of some", "DELETE TOP (1) FROM {bob}.field_mappings"),
    at_home(
        "delete that shows",
        "DECLARE @x TABLE (t nvarchar(100)); DELETE FROM {bob}.field_mappings OUTPUT deleted.property INTO @x; "
        "SELECT * FROM @x",
    ),
    at_home(
        "delete by join", "DELETE b FROM {bob}.field_mappings b JOIN {alice}.field_mappings a ON a.field = b.field"
    ),
    attack(
        "merge",
        "MERGE INTO {bob}.field_mappings b USING {alice}.field_mappings a ON a.field = b.field "
        "WHEN MATCHED THEN DELETE;",
    ),
    attack("bulk insert", "BULK INSERT {bob}.field_mappings FROM '/etc/passwd'", INSERT_FOR_BOB),
    attack("bulk insert by the wire", "INSERT BULK {bob}.field_mappings (field nvarchar(40))", INSERT_FOR_BOB),
    by_rights("truncate", "TRUNCATE TABLE {bob}.sync_issues"),
    by_rights("open his fence", "UPDATE {bob}._fence SET mode = N'rw'"),
    by_rights("close his fence", "UPDATE {bob}._fence SET mode = N'moved', epoch = 99"),
    by_rights("drop his fence's row", "DELETE FROM {bob}._fence"),
    by_rights("write his outbox", "INSERT INTO {bob}._outbox (table_name, row_key) VALUES ('x', 'y')"),
    attack(
        "number his outbox",
        "SET IDENTITY_INSERT {bob}._outbox ON",
        "INSERT INTO {bob}._outbox (seq, table_name, row_key) VALUES (1, 'x', 'y')",
    ),
    attack("count his outbox anew", "DBCC CHECKIDENT ('{bob}._outbox', RESEED, 1)"),
    by_rights("drop table", "DROP TABLE {bob}.sync_issues"),
    by_rights("drop table if there", "DROP TABLE IF EXISTS {bob}.deal_events"),
    attack("drop schema", "DROP SCHEMA {bob}"),
    by_rights("add a column", "ALTER TABLE {bob}.field_mappings ADD mine nvarchar(10)"),
    by_rights("drop a column", "ALTER TABLE {bob}.field_mappings DROP COLUMN default_value"),
    by_rights("widen a column", "ALTER TABLE {bob}.field_mappings ALTER COLUMN property nvarchar(200)"),
    by_rights("add a constraint", "ALTER TABLE {bob}.sync_issues ADD CONSTRAINT mine CHECK (kind <> N'x')"),
    by_rights("drop a constraint", "ALTER TABLE {bob}.deal_events DROP CONSTRAINT deal_events_registration_fk"),
    attack("rebuild", "ALTER TABLE {bob}.deal_events REBUILD"),
    attack("switch his rows over", "ALTER TABLE {bob}.field_mappings SWITCH TO {alice}.field_mappings"),
    attack("switch tracking on", "ALTER TABLE {bob}.field_mappings ENABLE CHANGE_TRACKING"),
    by_rights("create table", "CREATE TABLE {bob}.mine (x int)"),
    by_rights("create view", "CREATE VIEW {bob}.mine AS SELECT 1 AS x"),
    by_rights("create procedure", "CREATE PROCEDURE {bob}.mine AS SELECT 1"),
    by_rights("create function", "CREATE FUNCTION {bob}.mine() RETURNS int AS BEGIN RETURN 1 END"),
    by_rights(
        "create trigger",
        "CREATE TRIGGER {bob}.mine ON {bob}.field_mappings AFTER INSERT AS BEGIN DELETE FROM {alice}.sync_issues END",
    ),
    attack("trigger on the database", "CREATE TRIGGER mine ON DATABASE FOR DDL_DATABASE_LEVEL_EVENTS AS ROLLBACK"),
    attack("trigger on logins", "CREATE TRIGGER mine ON ALL SERVER FOR LOGON AS ROLLBACK"),
    by_rights("create type", "CREATE TYPE {bob}.mine FROM int"),
    attack("create synonym", "CREATE SYNONYM {bob}.mine FOR {alice}.field_mappings"),
    by_rights("create sequence", "CREATE SEQUENCE {bob}.mine AS int START WITH 1"),
    by_rights("create index", "CREATE INDEX mine ON {bob}.field_mappings (property)"),
    attack("create statistics", "CREATE STATISTICS mine ON {bob}.field_mappings (property)"),
    attack("update statistics", "UPDATE STATISTICS {bob}.field_mappings"),
    by_rights("drop index", "DROP INDEX deal_events_registration ON {bob}.deal_events"),
    attack("disable index", "ALTER INDEX deal_events_registration ON {bob}.deal_events DISABLE"),
    attack("rename table", "EXEC sp_rename N'{bob}.field_mappings', N'mine'"),
    attack("recompile", "EXEC sp_recompile N'{bob}.field_mappings'"),
    attack("describe", "EXEC sp_addextendedproperty N'x', N'y', N'SCHEMA', N'{bob}', N'TABLE', N'field_mappings'"),
    by_rights("drop his guard", "DROP TRIGGER {bob}._guard_field_mappings"),
    attack(
        "replace his guard",
        "ALTER TRIGGER {bob}._guard_field_mappings ON {bob}.field_mappings AFTER INSERT AS BEGIN SET NOCOUNT ON END",
    ),
    attack("disable his guard", "DISABLE TRIGGER {bob}._guard_field_mappings ON {bob}.field_mappings"),
    attack("disable all his guards", "ALTER TABLE {bob}.field_mappings DISABLE TRIGGER ALL"),
    attack("carry his table to her schema", "ALTER SCHEMA {alice} TRANSFER {bob}.field_mappings"),
    attack("carry her table to his schema", "ALTER SCHEMA {bob} TRANSFER {alice}.field_mappings"),
    attack("own his table", "ALTER AUTHORIZATION ON OBJECT::{bob}.field_mappings TO {alice}"),
    attack("own his schema", "ALTER AUTHORIZATION ON SCHEMA::{bob} TO {alice}"),
    attack("own his role", "ALTER AUTHORIZATION ON ROLE::{bob}_own TO {alice}"),
    attack("own the database", "ALTER AUTHORIZATION ON DATABASE::{database} TO {alice}"),
    by_rights("grant herself a table", "GRANT SELECT ON {bob}.field_mappings TO {alice}"),
    by_rights("grant herself the fence", "GRANT UPDATE ON {bob}._fence TO {alice}"),
    by_rights("grant herself the schema", "GRANT SELECT ON SCHEMA::{bob} TO {alice}"),
    attack("grant herself control of the schema", "GRANT CONTROL ON SCHEMA::{bob} TO {alice}"),
    attack("grant herself the database", "GRANT CONTROL ON DATABASE::{database} TO {alice}"),
    by_rights("grant everybody", "GRANT SELECT ON {bob}.field_mappings TO public"),
    by_rights("revoke his rights", "REVOKE INSERT ON {bob}.field_mappings FROM {bob}"),
    attack("deny him his rights", "DENY INSERT ON {bob}.field_mappings TO {bob}"),
)

IDENTITY = (
    attack("as his user", "EXECUTE AS USER = N'{bob}'", READ_BOB),
    attack("as his login", "EXECUTE AS LOGIN = N'{bob}'", READ_BOB),
    attack("as his role", "EXECUTE AS USER = N'{bob}_own'", READ_BOB),
    attack("as the owner of the database", "EXECUTE AS USER = N'dbo'", READ_BOB),
    attack("as a guest", "EXECUTE AS USER = N'guest'", READ_BOB),
    attack("as the administrator", "EXECUTE AS LOGIN = N'sa'", READ_BOB),
    attack("as herself and back", "EXECUTE AS CALLER", "REVERT", READ_BOB),
    attack("back to nobody", "REVERT", READ_BOB),
    attack("in the words of old", "SETUSER N'{bob}'", READ_BOB),
    attack("exec as his user", f"EXEC (N'{READ_BOB}') AS USER = N'{{bob}}'"),
    attack("exec as his login", f"EXEC (N'{READ_BOB}') AS LOGIN = N'{{bob}}'"),
    attack("exec elsewhere", f"EXEC (N'{READ_BOB}') AT [mine]"),
    attack("application role", "EXEC sp_setapprole N'{bob}', N'mine'"),
    attack("application role of no use", "EXEC sp_unsetapprole 0x00"),
    attack("make an application role", "CREATE APPLICATION ROLE mine WITH PASSWORD = N'Mine-12345678'"),
    attack("context of the session", "EXEC sp_set_session_context N'user', N'{bob}'", READ_BOB),
    attack("context of the session, bytes", "SET CONTEXT_INFO 0x01", READ_BOB),
    attack("setting by name", "SELECT set_config('role', '{bob}', false)", READ_BOB),
    attack("setting by name, the login", "SELECT set_config('session_authorization', '{bob}', false)", READ_BOB),
    attack("login of her user", "ALTER USER {alice} WITH LOGIN = {bob}"),
    attack("login of his user", "ALTER USER {bob} WITH LOGIN = {alice}"),
    by_rights("his standard schema", "ALTER USER {bob} WITH DEFAULT_SCHEMA = {alice}"),
    by_rights("name of his user", "ALTER USER {bob} WITH NAME = mine"),
    attack("his login's password", "ALTER LOGIN {bob} WITH PASSWORD = N'Mine-12345678'"),
    attack("his login's password by the old one", "ALTER LOGIN {bob} WITH PASSWORD = N'x' OLD_PASSWORD = N'y'"),
    attack("his login's password in the words of old", "EXEC sp_password N'y', N'Mine-12345678', N'{bob}'"),
    attack("his login's name", "ALTER LOGIN {bob} WITH NAME = mine"),
    attack("his login's database", "ALTER LOGIN {bob} WITH DEFAULT_DATABASE = tempdb"),
    attack("disable his login", "ALTER LOGIN {bob} DISABLE"),
    attack("disable her login", "ALTER LOGIN {alice} DISABLE"),
    attack("drop his login", "DROP LOGIN {bob}"),
    attack("drop her login", "DROP LOGIN {alice}"),
    attack("drop his user", "DROP USER {bob}"),
    attack("drop her user", "DROP USER {alice}"),
    attack("drop his role", "DROP ROLE {bob}_own"),
    attack("administrator's password", "ALTER LOGIN sa WITH PASSWORD = N'Mine-12345678'"),
    by_rights("make a login", "CREATE LOGIN mine WITH PASSWORD = N'Mine-12345678'"),
    attack("make a user without a login", "CREATE USER mine WITHOUT LOGIN"),
    attack("make a user for her login", "CREATE USER mine FOR LOGIN {alice}"),
    by_rights("make a role", "CREATE ROLE mine"),
    attack("make a role of the server's", "CREATE SERVER ROLE mine"),
    by_rights("become a member of his schema's owner", "ALTER ROLE {bob}_own ADD MEMBER {alice}"),
    by_rights("become a member of her schema's owner", "ALTER ROLE {alice}_own ADD MEMBER {alice}"),
    attack("the same in the words of old", "EXEC sp_addrolemember N'{bob}_own', N'{alice}'"),
    attack("the same at home", "EXEC sp_addrolemember N'{alice}_own', N'{alice}'"),
    attack("become an owner of the database", "ALTER ROLE db_owner ADD MEMBER {alice}"),
    attack("become one in the words of old", "EXEC sp_addrolemember N'db_owner', N'{alice}'"),
    attack("read all data", "ALTER ROLE db_datareader ADD MEMBER {alice}"),
    attack("write all data", "ALTER ROLE db_datawriter ADD MEMBER {alice}"),
    attack("define all data", "ALTER ROLE db_ddladmin ADD MEMBER {alice}"),
    attack("become the administrator", "ALTER SERVER ROLE sysadmin ADD MEMBER {alice}"),
    attack("become the administrator in the words of old", "EXEC sp_addsrvrolemember N'{alice}', N'sysadmin'"),
    attack("administer logins", "ALTER SERVER ROLE securityadmin ADD MEMBER {alice}"),
    attack("impersonate him", "GRANT IMPERSONATE ON USER::{bob} TO {alice}"),
    attack("impersonate his login", "GRANT IMPERSONATE ON LOGIN::{bob} TO {alice}"),
    attack("control of the server", "GRANT CONTROL SERVER TO {alice}"),
    attack("sight of the server", "GRANT VIEW SERVER STATE TO {alice}"),
    attack("sight of all definitions", "GRANT VIEW ANY DEFINITION TO {alice}"),
    attack("shut him out", "DENY CONNECT SQL TO {bob}"),
    attack("shut his user out", "REVOKE CONNECT FROM {bob}"),
    attack("let guests in", "GRANT CONNECT TO guest"),
    attack("make a credential", "CREATE CREDENTIAL mine WITH IDENTITY = N'x', SECRET = N'y'"),
    attack(
        "make a certificate", "CREATE CERTIFICATE mine ENCRYPTION BY PASSWORD = N'Mine-12345678' WITH SUBJECT = N'x'"
    ),
    attack("make a master key", "CREATE MASTER KEY ENCRYPTION BY PASSWORD = N'Mine-12345678'"),
    attack("sign her own code", "ADD SIGNATURE TO {alice}._guard_field_mappings BY CERTIFICATE mine"),
)

OWN_SCHEMA = (
    by_rights("open the fence", "UPDATE {alice}._fence SET mode = N'rw'"),
    by_rights("raise the epoch", "UPDATE {alice}._fence SET epoch = epoch + 1"),
    by_rights("choose the lock", "UPDATE {alice}._fence SET lock_name = N'mine'"),
    by_rights(
        "another fence",
        "INSERT INTO {alice}._fence SELECT 2, epoch, mode, mover, capture, revision, lock_name FROM {alice}._fence",
    ),
    by_rights("no fence", "DELETE FROM {alice}._fence"),
    by_rights("no fence at all", "DROP TABLE {alice}._fence"),
    by_rights("read the outbox", "SELECT * FROM {alice}._outbox"),
    by_rights("write the outbox", "INSERT INTO {alice}._outbox (table_name, row_key) VALUES ('x', 'y')"),
    by_rights("empty the outbox", "DELETE FROM {alice}._outbox"),
    by_rights("change the timeline", "UPDATE {alice}.deal_events SET actor = N'bob'"),
    by_rights("change nothing in the timeline", "UPDATE {alice}.deal_events SET actor = actor WHERE 1 = 0"),
    by_rights("shorten the timeline", "DELETE FROM {alice}.deal_events"),
    attack("shorten it by an expression", "WITH x AS (SELECT * FROM {alice}.deal_events) DELETE FROM x"),
    attack(
        "merge the timeline",
        "MERGE INTO {alice}.deal_events e USING {alice}.deal_registrations d ON d.id = e.registration_id "
        "WHEN MATCHED THEN DELETE;",
    ),
    attack(
        "cascade into the timeline",
        "DELETE FROM {alice}.deal_registrations WHERE id IN (SELECT registration_id FROM {alice}.deal_events)",
    ),
    attack("empty the timeline", "TRUNCATE TABLE {alice}.deal_events"),
    by_rights("truncate", "TRUNCATE TABLE {alice}.sync_issues"),
    by_rights("drop the guard", "DROP TRIGGER {alice}._guard_field_mappings"),
    attack(
        "replace the guard",
        "ALTER TRIGGER {alice}._guard_field_mappings ON {alice}.field_mappings AFTER INSERT AS "
        "BEGIN SET NOCOUNT ON END",
    ),
    attack("disable the guard", "DISABLE TRIGGER {alice}._guard_field_mappings ON {alice}.field_mappings"),
    attack("disable all guards", "ALTER TABLE {alice}.field_mappings DISABLE TRIGGER ALL"),
    attack("disable all triggers there are", "DISABLE TRIGGER ALL ON DATABASE"),
    attack("the guard last of many", "EXEC sp_settriggerorder N'{alice}._guard_field_mappings', N'Last', N'INSERT'"),
    attack("rename the guard", "EXEC sp_rename N'{alice}._guard_field_mappings', N'mine', N'OBJECT'"),
    attack("call the guard", "EXEC {alice}._guard_field_mappings"),
    by_rights(
        "a trigger instead",
        "CREATE TRIGGER {alice}.mine ON {alice}.field_mappings INSTEAD OF INSERT AS BEGIN SET NOCOUNT ON END",
    ),
    attack(
        "number the outbox",
        "SET IDENTITY_INSERT {alice}._outbox ON",
        "INSERT INTO {alice}._outbox (seq, table_name, row_key) VALUES (1, 'x', 'y')",
    ),
    by_rights("alter table", "ALTER TABLE {alice}.field_mappings ADD mine nvarchar(10)"),
    by_rights("drop a constraint", "ALTER TABLE {alice}.deal_events DROP CONSTRAINT deal_events_pk"),
    attack(
        "switch a constraint off",
        "ALTER TABLE {alice}.deal_events NOCHECK CONSTRAINT ALL",
        "INSERT INTO {alice}.deal_events VALUES (NEWID(), NEWID(), SYSUTCDATETIME(), 'x', 'y', '{}')",
    ),
    attack(
        "refer to his rows",
        "ALTER TABLE {alice}.field_mappings "
        "ADD CONSTRAINT mine FOREIGN KEY (field) REFERENCES {bob}.field_mappings (field)",
    ),
    attack("own table", "ALTER AUTHORIZATION ON OBJECT::{alice}.field_mappings TO {alice}"),
    attack("own schema", "ALTER AUTHORIZATION ON SCHEMA::{alice} TO {alice}"),
    attack(
        "grant herself the timeline",
        "GRANT UPDATE ON {alice}.deal_events TO {alice}",
        "UPDATE {alice}.deal_events SET actor = N'bob'",
    ),
    attack(
        "grant herself her fence",
        "GRANT UPDATE ON {alice}._fence TO {alice}",
        "UPDATE {alice}._fence SET mode = N'rw'",
    ),
    attack("grant herself her schema", "GRANT CONTROL ON SCHEMA::{alice} TO {alice}"),
    by_rights("drop table", "DROP TABLE {alice}.sync_issues"),
    attack("drop schema", "DROP SCHEMA {alice}"),
    by_rights("create table", "CREATE TABLE {alice}.mine (x int)"),
    by_rights("create table without a schema", "CREATE TABLE mine (x int)"),
    by_rights("create view", "CREATE VIEW {alice}.mine AS SELECT 1 AS x"),
    by_rights("create procedure", "CREATE PROCEDURE {alice}.mine AS SELECT 1"),
    by_rights("create function", "CREATE FUNCTION {alice}.mine() RETURNS int AS BEGIN RETURN 1 END"),
    by_rights("create type", "CREATE TYPE {alice}.mine FROM int"),
    by_rights("create table type", "CREATE TYPE {alice}.mine AS TABLE (x int)"),
    attack("create synonym", "CREATE SYNONYM {alice}.mine FOR {alice}.field_mappings"),
    by_rights("create sequence", "CREATE SEQUENCE {alice}.mine AS int START WITH 1"),
    by_rights("index", "CREATE INDEX mine ON {alice}.field_mappings (property)"),
    attack("statistics", "CREATE STATISTICS mine ON {alice}.field_mappings (property)"),
    by_rights("select into", "SELECT 1 AS x INTO {alice}.mine"),
    by_rights("table in the standard schema", "CREATE TABLE dbo.mine (x int)"),
    by_rights("view in the standard schema", "CREATE VIEW dbo.mine AS SELECT 1 AS x"),
    by_rights("procedure in the standard schema", "CREATE PROCEDURE dbo.mine AS SELECT 1"),
    attack("table among the guests", "CREATE TABLE guest.mine (x int)"),
    attack("table in the system's schema", "CREATE TABLE sys.mine (x int)"),
    attack("table in another database", "CREATE TABLE tempdb.dbo.mine (x int)"),
    attack("procedure in the main database", "USE master", "CREATE PROCEDURE dbo.sp_mine AS SELECT 1"),
    attack("schema", "CREATE SCHEMA mine"),
    attack("schema of his", "CREATE SCHEMA mine AUTHORIZATION {bob}"),
)

SERVER = (
    attack("run a program", "EXEC xp_cmdshell 'id'"),
    attack("run a program from afar", "EXEC master..xp_cmdshell 'id'"),
    attack("show what can be set", "EXEC sp_configure 'show advanced options', 1"),
    attack("let programs run", "EXEC sp_configure 'xp_cmdshell', 1"),
    attack("switch triggers off", "EXEC sp_configure 'nested triggers', 0"),
    attack("reconfigure", "RECONFIGURE WITH OVERRIDE"),
    attack("backup", "BACKUP DATABASE {database} TO DISK = N'/tmp/mine.bak'"),
    attack("backup of the log", "BACKUP LOG {database} TO DISK = N'/tmp/mine.trn'"),
    attack("restore", "RESTORE DATABASE mine FROM DISK = N'/tmp/mine.bak'"),
    attack("look into a backup", "RESTORE HEADERONLY FROM DISK = N'/tmp/mine.bak'"),
    attack("read a file", "SELECT * FROM OPENROWSET(BULK '/etc/passwd', SINGLE_CLOB) AS x"),
    attack("load a file past the guard", "BULK INSERT {alice}.field_mappings FROM '/etc/passwd' WITH (KEEPNULLS)"),
    attack("shut down", "SHUTDOWN WITH NOWAIT"),
    attack("object", "DECLARE @o int; EXEC sp_OACreate 'WScript.Shell', @o OUT"),
    attack("registry", "EXEC xp_regwrite N'HKEY_LOCAL_MACHINE', N'SOFTWARE', N'mine', N'REG_SZ', N'x'"),
    attack("log of errors", "EXEC sp_readerrorlog"),
    attack("new log of errors", "EXEC sp_cycle_errorlog"),
    attack("write into the log of errors", "RAISERROR (N'mine', 16, 1) WITH LOG"),
    attack("end the connection by a grave error", "RAISERROR (N'mine', 20, 1) WITH LOG"),
    attack("linked server", "EXEC sp_addlinkedserver N'mine'"),
    attack("login of a linked server", "EXEC sp_addlinkedsrvlogin N'mine', N'false', NULL, N'x', N'y'"),
    attack("message", "EXEC sp_addmessage 50001, 16, N'mine'"),
    attack("library", "EXEC sp_addextendedproc N'xp_mine', N'mine.dll'"),
    attack("assembly", "CREATE ASSEMBLY mine FROM 0x4D5A WITH PERMISSION_SET = UNSAFE"),
    attack(
        "script in another language", "EXEC sp_execute_external_script @language = N'Python', @script = N'print(1)'"
    ),
    attack("web request", "EXEC sp_invoke_external_rest_endpoint @url = N'https://example.com'"),
    attack("job", "EXEC msdb.dbo.sp_add_job @job_name = N'mine'"),
    attack("mail", "EXEC msdb.dbo.sp_send_dbmail @recipients = N'x@example.com', @query = N'SELECT 1'"),
    attack("trace", "DECLARE @t int; EXEC sp_trace_create @t OUTPUT, 0, N'/tmp/mine'"),
    attack("event session", "CREATE EVENT SESSION mine ON SERVER ADD EVENT sqlserver.sql_statement_completed"),
    attack("audit", "CREATE SERVER AUDIT mine TO FILE (FILEPATH = N'/tmp')"),
    attack("endpoint", "CREATE ENDPOINT mine STATE = STARTED AS TCP (LISTENER_PORT = 5022) FOR TSQL ()"),
    attack("queue", "CREATE QUEUE {alice}.mine"),
    attack("event notification", "CREATE EVENT NOTIFICATION mine ON DATABASE FOR CREATE_TABLE TO SERVICE N'x', N'y'"),
    attack("database", "CREATE DATABASE mine"),
    attack("another database's end", "DROP DATABASE tempdb"),
    attack("setting of the database", "ALTER DATABASE {database} SET ALLOW_SNAPSHOT_ISOLATION OFF"),
    attack("read-only database", "ALTER DATABASE {database} SET READ_ONLY WITH NO_WAIT"),
    attack("throw the others out", "ALTER DATABASE {database} SET SINGLE_USER WITH ROLLBACK IMMEDIATE"),
    attack("trust the database", "ALTER DATABASE {database} SET TRUSTWORTHY ON"),
    attack("chain over databases", "ALTER DATABASE {database} SET DB_CHAINING ON"),
    attack("setting in one database", "ALTER DATABASE SCOPED CONFIGURATION SET MAXDOP = 1"),
    attack("setting of the server", "ALTER SERVER CONFIGURATION SET PROCESS AFFINITY CPU = 0"),
    attack("share of the server", "ALTER RESOURCE GOVERNOR DISABLE"),
    attack("detach", "EXEC sp_detach_db N'{database}'"),
    attack("trace flag", "DBCC TRACEON (3604, -1)"),
    attack("forget plans", "DBCC FREEPROCCACHE"),
    attack("forget pages", "DBCC DROPCLEANBUFFERS"),
    attack("check the database", "DBCC CHECKDB"),
    attack("shrink the database", "DBCC SHRINKDATABASE ({database})"),
    attack("statement of another session", "DBCC INPUTBUFFER (1)"),
    attack("end a session", "KILL 1"),
    attack("look at a session that ends", "KILL 1 WITH STATUSONLY"),
    attack("history of jobs", "USE msdb", "DELETE FROM dbo.sysjobhistory"),
    attack("master key", "OPEN MASTER KEY DECRYPTION BY PASSWORD = N'mine'"),
    attack("statements of others", "SELECT * FROM sys.dm_exec_query_stats"),
    attack("locks of others", "SELECT resource_description FROM sys.dm_tran_locks"),
    attack("addresses of others", "SELECT client_net_address FROM sys.dm_exec_connections"),
)

ALIASES = (
    by_rights("open the fence by an alias", "UPDATE f SET mode = N'rw' FROM {alice}._fence f"),
    by_rights("no fence, by an alias", "DELETE f FROM {alice}._fence f"),
    by_rights("change the timeline by an alias", "UPDATE e SET actor = N'bob' FROM {alice}.deal_events e"),
    by_rights("shorten the timeline by an alias", "DELETE e FROM {alice}.deal_events e"),
    by_rights(
        "shorten the timeline by a join",
        "DELETE e FROM {alice}.deal_events e JOIN {alice}.deal_registrations d ON d.id = e.registration_id",
    ),
)
"""Writes to tables of her own schema that she may only read, which stand behind FROM."""

NEW_ROW = "INSERT INTO {alice}.stage_mappings VALUES ('p', 's', 't', SYSUTCDATETIME())"

LEVELS = (
    attack("snapshot", "SET TRANSACTION ISOLATION LEVEL SNAPSHOT", NEW_ROW),
    attack("snapshot in a transaction", "SET TRANSACTION ISOLATION LEVEL SNAPSHOT", "BEGIN TRANSACTION", NEW_ROW),
    attack(
        "read uncommitted", "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED", "DELETE FROM {alice}.field_mappings"
    ),
    attack("repeatable read", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "DELETE FROM {alice}.sync_issues"),
    attack("serializable", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "DELETE FROM {alice}.field_mappings"),
)
"""Writes under another isolation level than READ COMMITTED."""

MOVED = (
    at_home("insert", NEW_ROW),
    at_home("insert of nothing", "INSERT INTO {alice}.stage_mappings SELECT * FROM {alice}.stage_mappings WHERE 1 = 0"),
    at_home(
        "insert by exec",
        "EXEC(N'INSERT INTO {alice}.stage_mappings VALUES (''p'', ''s'', ''t'', SYSUTCDATETIME())')",
    ),
    at_home(
        "timeline",
        "INSERT INTO {alice}.deal_events "
        "SELECT NEWID(), id, updated_at, 'x', 'y', '{}' FROM {alice}.deal_registrations",
    ),
    at_home("update", "UPDATE {alice}.deal_registrations SET title = N'moved'"),
    at_home("update of no row", "UPDATE {alice}.deal_registrations SET title = N'moved' WHERE 1 = 0"),
    at_home("update by an alias", "UPDATE d SET title = N'moved' FROM {alice}.deal_registrations d"),
    at_home("delete", "DELETE FROM {alice}.field_mappings"),
    at_home("delete of no row", "DELETE FROM {alice}.hubspot_tokens"),
    at_home("delete by a join", "DELETE m FROM {alice}.field_mappings m CROSS JOIN {alice}.deal_registrations d"),
    attack(
        "merge",
        "MERGE INTO {alice}.stage_mappings s USING {alice}.field_mappings f ON 1 = 0 "
        "WHEN NOT MATCHED THEN INSERT VALUES ('p', 's', 't', SYSUTCDATETIME());",
    ),
    at_home("in a transaction of several", "BEGIN TRANSACTION", "SELECT 1", NEW_ROW),
    at_home("in a transaction that goes on after errors", "SET XACT_ABORT OFF", "BEGIN TRANSACTION", NEW_ROW),
    at_home("in a transaction that nobody began", "SET IMPLICIT_TRANSACTIONS ON", NEW_ROW),
    at_home("with no rows counted", "SET NOCOUNT ON", NEW_ROW),
    at_home("with time to wait", "SET LOCK_TIMEOUT -1", NEW_ROW),
    attack(
        "committed when it is refused",
        f"BEGIN TRANSACTION; BEGIN TRY {NEW_ROW} END TRY BEGIN CATCH SELECT 1 END CATCH; COMMIT",
    ),
    attack(
        "back to a savepoint when it is refused",
        f"BEGIN TRANSACTION; SAVE TRANSACTION s; BEGIN TRY {NEW_ROW} END TRY "
        f"BEGIN CATCH ROLLBACK TRANSACTION s END CATCH; {NEW_ROW}; COMMIT",
    ),
    attack("holding the fence's row", "BEGIN TRANSACTION", "SELECT * FROM {alice}._fence WITH (HOLDLOCK)", NEW_ROW),
    attack(
        "under a snapshot that has ended",
        "SET TRANSACTION ISOLATION LEVEL SNAPSHOT",
        "BEGIN TRANSACTION",
        "SELECT 1 FROM {alice}.field_mappings",
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
        NEW_ROW,
    ),
    attack("as a guest", "EXECUTE AS USER = N'guest'", NEW_ROW),
    attack("with a word for the mover", "EXEC sp_set_session_context N'mover', 1", NEW_ROW),
)
"""Writes to her own tables while her workspace is somewhere else."""


class Look(NamedTuple):
    """A query of what the server knows: it is refused, or finds nothing but NULL and zero."""

    name: str
    query: str


_HIS = "OBJECT_ID(N'{bob}.deal_registrations')"

LOOKS = (
    Look("names of his tables", "SELECT name FROM sys.tables WHERE schema_id = SCHEMA_ID(N'{bob}')"),
    Look("names by the standard", "SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = N'{bob}'"),
    Look("columns by the standard", "SELECT COLUMN_NAME FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = N'{bob}'"),
    Look("names by a procedure", "EXEC sp_tables N'%', N'{bob}'"),
    Look("columns by a procedure", "EXEC sp_columns N'deal_registrations', N'{bob}'"),
    Look("number of his table", f"SELECT {_HIS}"),
    Look("his columns", f"SELECT name FROM sys.columns WHERE object_id = {_HIS}"),
    Look("length of a column", "SELECT COL_LENGTH(N'{bob}.deal_registrations', N'title')"),
    Look("his indexes", f"SELECT name FROM sys.indexes WHERE object_id = {_HIS}"),
    Look("his statistics", f"SELECT name FROM sys.stats WHERE object_id = {_HIS}"),
    Look("his histogram", f"SELECT range_high_key FROM sys.dm_db_stats_histogram({_HIS}, 1)"),
    Look("his rows, counted", f"SELECT rows FROM sys.partitions WHERE object_id = {_HIS}"),
    Look("his pages", f"SELECT row_count FROM sys.dm_db_partition_stats WHERE object_id = {_HIS}"),
    Look("his space", "EXEC sp_spaceused N'{bob}.deal_registrations'"),
    Look("his last number", "SELECT IDENT_CURRENT(N'{bob}._outbox')"),
    Look("his guard", "SELECT OBJECT_DEFINITION(OBJECT_ID(N'{bob}._guard_deal_events'))"),
    Look("his modules", "SELECT definition FROM sys.sql_modules WHERE definition LIKE N'%{bob}%'"),
    Look("text of his guard", "EXEC sp_helptext N'{bob}._guard_deal_events'"),
    Look("description of a query", "EXEC sp_describe_first_result_set N'SELECT * FROM {bob}.deal_registrations'"),
    Look("her rights on his table", "SELECT HAS_PERMS_BY_NAME(N'{bob}.deal_registrations', N'OBJECT', N'SELECT')"),
    Look("her rights to be him", "SELECT HAS_PERMS_BY_NAME(N'{bob}', N'USER', N'IMPERSONATE')"),
    Look("her membership of his role", "SELECT IS_MEMBER(N'{bob}_own')"),
    Look("her membership of her schema's owner", "SELECT IS_MEMBER(N'{alice}_own')"),
    Look("her place among administrators", "SELECT IS_SRVROLEMEMBER(N'sysadmin')"),
    Look("passwords", "SELECT password_hash FROM sys.sql_logins WHERE password_hash IS NOT NULL"),
    Look("passwords from afar", "SELECT password_hash FROM master.sys.sql_logins WHERE password_hash IS NOT NULL"),
    Look("passwords in the views of old", "SELECT name FROM sys.syslogins WHERE password IS NOT NULL"),
    Look("his password by name", "SELECT LOGINPROPERTY(N'{bob}', N'PasswordHash')"),
    Look("her password by name", "SELECT LOGINPROPERTY(N'{alice}', N'PasswordHash')"),
    Look(
        "a password, guessed", "SELECT name FROM sys.sql_logins WHERE PWDCOMPARE(N'Mine-12345678', password_hash) = 1"
    ),
    Look("his sessions", "SELECT session_id FROM sys.dm_exec_sessions WHERE login_name = N'{bob}'"),
    Look("his requests", "SELECT session_id FROM sys.dm_exec_requests WHERE user_id = USER_ID(N'{bob}')"),
    Look("his temporary tables", "SELECT name FROM tempdb.sys.tables WHERE name LIKE N'%bobs%'"),
)


class Exposed(NamedTuple):
    """What a tenant's login may do, on one server or another; it gives nothing of Bob's."""

    name: str
    statements: tuple[str, ...]
    undone_by: str = ""


EXPOSED = (
    Exposed("names of schemas", ("SELECT name FROM sys.schemas",)),
    Exposed("names of constraints", ("SELECT name, type FROM sys.objects WHERE schema_id = SCHEMA_ID(N'{bob}')",)),
    Exposed("names of databases", ("SELECT name FROM sys.databases",)),
    Exposed("names of logins", ("SELECT name FROM sys.server_principals", "SELECT name FROM sys.syslogins")),
    Exposed("names of users", ("SELECT name FROM sys.database_principals", "EXEC sp_helpuser")),
    Exposed("numbers of names", ("SELECT SUSER_ID(N'{bob}'), USER_ID(N'{bob}'), SCHEMA_ID(N'{bob}')",)),
    Exposed("version and settings", ("SELECT @@VERSION, @@SERVERNAME", "SELECT name, value FROM sys.configurations")),
    Exposed(
        "her standard schema",
        (
            "ALTER USER {alice} WITH DEFAULT_SCHEMA = {bob}",
            "SELECT title FROM deal_registrations",
            "SELECT lock_name FROM _fence WHERE lock_name NOT IN (SELECT lock_name FROM {alice}._fence)",
            "UPDATE deal_registrations SET stage = stage",
        ),
        "ALTER USER {alice} WITH DEFAULT_SCHEMA = {alice}",
    ),
    Exposed(
        "her language and database",
        ("ALTER LOGIN {alice} WITH DEFAULT_LANGUAGE = French", "ALTER LOGIN {alice} WITH DEFAULT_DATABASE = tempdb"),
        "ALTER LOGIN {alice} WITH DEFAULT_DATABASE = master, DEFAULT_LANGUAGE = us_english",
    ),
    Exposed("temporary table", ("CREATE TABLE #mine (x int)", "INSERT INTO #mine VALUES (1)", "SELECT * FROM #mine")),
    Exposed("shared temporary table", ("CREATE TABLE ##{alice} (x int)", "SELECT * FROM ##{alice}")),
    Exposed("table in tempdb", ("USE tempdb", "CREATE TABLE {alice}_mine (x int)", "DROP TABLE {alice}_mine")),
    Exposed("temporary procedure", (f"CREATE PROCEDURE #mine AS {READ_BOB}", "EXEC #mine")),
    Exposed("waiting", ("WAITFOR DELAY '00:00:00.100'",)),
    Exposed("waiting for locks without end", ("SET LOCK_TIMEOUT -1",)),
    Exposed("context of her session", ("EXEC sp_set_session_context N'tenant', N'{bob}'", "SET CONTEXT_INFO 0x01")),
    Exposed("messages", ("PRINT N'mine'", "RAISERROR (N'mine', 10, 1)")),
    Exposed("list of files", ("EXEC master..xp_dirtree '/', 1, 1", "EXEC master..xp_fileexist '/etc/passwd'")),
    Exposed("registry", ("EXEC master..xp_regread N'HKEY_LOCAL_MACHINE', N'SOFTWARE\\mine', N'x'",)),
    Exposed("bulk load", ("BULK INSERT {alice}.field_mappings FROM '/etc/passwd'",)),
    Exposed("checkpoint", ("CHECKPOINT",)),
)
