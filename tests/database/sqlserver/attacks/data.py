"""Attacks on Bob's data: to read it, and to change it, his tables and the rights on them."""

from __future__ import annotations

from tests.database.sqlserver.attacks import READ_BOB, at_home, attack, by_rights

INSERT_FOR_BOB = "INSERT INTO {bob}.field_mappings (field, updated_at) VALUES ('x', SYSUTCDATETIME())"
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
        "INSERT INTO {alice}.stage_mappings (pipeline, hubspot_stage, stage, updated_at) "
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
        "INSERT INTO {bob}.field_mappings (field, updated_at) SELECT 'x', updated_at FROM {alice}.field_mappings",
    ),
    at_home("insert of nothing", "INSERT INTO {bob}.field_mappings SELECT * FROM {alice}.field_mappings WHERE 1 = 0"),
    at_home(
        "insert that shows",
        "DECLARE @x TABLE (t nvarchar(40)); INSERT INTO {bob}.field_mappings (field, updated_at) "
        "OUTPUT inserted.field INTO @x "
        "VALUES ('x', SYSUTCDATETIME()); SELECT * FROM @x",
    ),
    at_home(
        "insert by exec",
        "EXEC(N'INSERT INTO {bob}.field_mappings (field, updated_at) VALUES (''x'', SYSUTCDATETIME())')",
    ),
    attack("insert under another setting", "SET XACT_ABORT OFF", "INSERT INTO {bob}.field_mappings DEFAULT VALUES"),
    at_home(
        "timeline",
        "INSERT INTO {bob}.deal_events (id, registration_id, at, kind, actor, changes) "
        "SELECT NEWID(), id, updated_at, 'x', 'y', '{}' FROM {alice}.deal_registrations",
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
