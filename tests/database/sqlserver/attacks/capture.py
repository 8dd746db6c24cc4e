"""Attacks on the capture: writes that nobody shall notice while her workspace is moved, and hands on the outbox."""

from __future__ import annotations

from tests.database.sqlserver.attacks import attack, by_rights

ROWS = (
    "INSERT INTO {alice}.stage_mappings (pipeline, hubspot_stage, stage, updated_at) VALUES "
    "(N'p', N'1', N't', SYSUTCDATETIME()), (N'p', N'2', N't', SYSUTCDATETIME()), (N'p|', N'\\', N't', SYSUTCDATETIME())"
)
RENAMED = "UPDATE {alice}.stage_mappings SET hubspot_stage = hubspot_stage + N'x'"
GONE = "DELETE FROM {alice}.stage_mappings"
ALL = (ROWS, RENAMED, GONE)
"""Three rows come, get other keys, and go."""

SETTINGS = (
    "SET ROWCOUNT 1",
    "SET NOCOUNT ON",
    "SET NOEXEC OFF",
    "SET XACT_ABORT OFF",
    "SET XACT_ABORT ON",
    "SET ANSI_DEFAULTS OFF",
    "SET ANSI_NULLS OFF",
    "SET ANSI_PADDING OFF",
    "SET ANSI_WARNINGS OFF",
    "SET ANSI_NULL_DFLT_OFF ON",
    "SET ARITHABORT OFF",
    "SET ARITHIGNORE ON",
    "SET NUMERIC_ROUNDABORT ON",
    "SET CONCAT_NULL_YIELDS_NULL OFF",
    "SET QUOTED_IDENTIFIER OFF",
    "SET CURSOR_CLOSE_ON_COMMIT ON",
    "SET IMPLICIT_TRANSACTIONS ON",
    "SET LOCK_TIMEOUT 0",
    "SET DEADLOCK_PRIORITY HIGH",
    "SET LANGUAGE Deutsch",
    "SET DATEFORMAT dmy",
    "SET TEXTSIZE 1",
    "SET CONTEXT_INFO 0x01",
    "SET TRANSACTION ISOLATION LEVEL SNAPSHOT",
    "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
)
"""Options of her session. A server need not know one."""

_NESTED = "EXEC sp_executesql N'UPDATE {alice}.stage_mappings SET stage = N''n'''"
for _ in range(4):
    _NESTED = "EXEC sp_executesql N'" + _NESTED.replace("'", "''") + "'"

PAST = (
    attack("plain", *ALL),
    attack("in one batch", "; ".join(ALL)),
    attack("in a transaction", "BEGIN TRANSACTION", *ALL, ROWS, "COMMIT"),
    attack("in a transaction in a transaction", "BEGIN TRANSACTION", "BEGIN TRANSACTION", ROWS, "COMMIT", "COMMIT"),
    attack("after a savepoint", "BEGIN TRANSACTION; SAVE TRANSACTION s; " + ROWS + "; COMMIT"),
    attack(
        "back to a savepoint and forward",
        "BEGIN TRANSACTION; SAVE TRANSACTION s; " + ROWS + "; ROLLBACK TRANSACTION s; " + ROWS + "; COMMIT",
    ),
    attack("errors caught", f"BEGIN TRY {ROWS}; SELECT 1 / 0 END TRY BEGIN CATCH SELECT 1 END CATCH"),
    attack(
        "errors caught, and committed all the same",
        f"BEGIN TRANSACTION; BEGIN TRY {ROWS}; {ROWS} END TRY BEGIN CATCH SELECT 1 END CATCH; COMMIT",
    ),
    attack("by exec", "EXEC(N'" + ROWS.replace("'", "''") + "')"),
    attack("deep down", ROWS, _NESTED),
    attack("by an alias", ROWS, "UPDATE s SET hubspot_stage = N'y' + hubspot_stage FROM {alice}.stage_mappings s"),
    attack("by an expression", ROWS, "WITH x AS (SELECT * FROM {alice}.stage_mappings) DELETE FROM x"),
    attack(
        "keys exchanged", ROWS, "UPDATE {alice}.stage_mappings SET pipeline = hubspot_stage, hubspot_stage = pipeline"
    ),
    attack("the same again", ROWS, "UPDATE {alice}.stage_mappings SET stage = stage"),
    attack("only blanks", ROWS, "UPDATE {alice}.stage_mappings SET hubspot_stage = hubspot_stage + N'  '"),
    attack(
        "merge",
        ROWS,
        "MERGE INTO {alice}.stage_mappings s USING {alice}.stage_mappings f ON 1 = 0 "
        "WHEN NOT MATCHED THEN INSERT (pipeline, hubspot_stage, stage, updated_at) "
        "VALUES (f.pipeline + N'm', f.hubspot_stage, 't', SYSUTCDATETIME()) WHEN NOT MATCHED BY SOURCE THEN DELETE;",
    ),
    attack(
        "what is written given to another table",
        ROWS,
        "DELETE FROM {alice}.stage_mappings OUTPUT deleted.pipeline + deleted.hubspot_stage, N'y', NULL, "
        "SYSUTCDATETIME() INTO {alice}.field_mappings (field, property, default_value, updated_at)",
    ),
    attack(
        "triggers off for her session",
        "DISABLE TRIGGER {alice}._guard_stage_mappings ON {alice}.stage_mappings",
        "ALTER TABLE {alice}.stage_mappings DISABLE TRIGGER ALL",
        ROWS,
    ),
    attack(
        "in bulk",
        "BULK INSERT {alice}.stage_mappings FROM '/etc/hostname'",
        "INSERT INTO {alice}.stage_mappings WITH (IGNORE_TRIGGERS) SELECT N'b', N'b', N'b', SYSUTCDATETIME() "
        "FROM OPENROWSET(BULK '/etc/hostname', SINGLE_CLOB) x",
        ROWS,
    ),
    attack("nested triggers off", "EXEC sp_configure 'nested triggers', 0", "RECONFIGURE", *ALL),
    attack("the database's options", "ALTER DATABASE {database} SET RECURSIVE_TRIGGERS ON", *ALL),
    attack("called off half way", "BEGIN TRANSACTION", ROWS, "IF @@TRANCOUNT > 0 ROLLBACK", ROWS),
    attack(
        "the lock given back",
        "BEGIN TRANSACTION",
        ROWS,
        "DECLARE @lock nvarchar(64) = (SELECT lock_name FROM {alice}._fence); "
        "EXEC sp_releaseapplock @Resource = @lock, @LockOwner = N'Transaction'",
        RENAMED,
        "COMMIT",
    ),
    attack(
        "many rows",
        "DECLARE @n int = 0; WHILE @n < 300 BEGIN INSERT INTO {alice}.stage_mappings (pipeline, "
        "hubspot_stage, stage, updated_at) VALUES (N'm', CAST(@n AS nvarchar(9)), N't', SYSUTCDATETIME()); "
        "SET @n = @n + 1 END",
        RENAMED,
        GONE,
    ),
)
"""Writes to a table of hers while her workspace is moved. They may be refused, not missed."""

OUTBOX = (
    by_rights("read", "SELECT * FROM {alice}._outbox"),
    by_rights("count", "SELECT COUNT(*) FROM {alice}._outbox"),
    by_rights("fill", "INSERT INTO {alice}._outbox (table_name, row_key) VALUES (N'field_mappings', N'x')"),
    by_rights(
        "fill with a lot",
        "INSERT INTO {alice}._outbox (table_name, row_key) SELECT N'deal_events', CAST(id AS nvarchar(36)) "
        "FROM {alice}.deal_registrations",
    ),
    attack(
        "fill what is to come",
        "SET IDENTITY_INSERT {alice}._outbox ON",
        "INSERT INTO {alice}._outbox (seq, table_name, row_key) VALUES (9000000000000000000, N'x', N'y')",
    ),
    by_rights("fill by exec", "EXEC(N'INSERT INTO {alice}._outbox (table_name, row_key) VALUES (N''x'', N''y'')')"),
    by_rights(
        "fill with what a write gives",
        "UPDATE {alice}.deal_registrations SET title = title OUTPUT N'x', N'y' "
        "INTO {alice}._outbox (table_name, row_key)",
    ),
    by_rights("change", "UPDATE {alice}._outbox SET row_key = N'x'"),
    by_rights("change nothing", "UPDATE {alice}._outbox SET row_key = row_key WHERE 1 = 0"),
    by_rights("empty", "DELETE FROM {alice}._outbox"),
    by_rights("empty by an alias", "DELETE o FROM {alice}._outbox o"),
    by_rights("truncate", "TRUNCATE TABLE {alice}._outbox"),
    by_rights("begin again", "DBCC CHECKIDENT (N'{alice}._outbox', RESEED, 1)"),
    by_rights("drop", "DROP TABLE {alice}._outbox"),
    by_rights("end the capture", "UPDATE {alice}._fence SET capture = 0"),
    attack("call the guard", "EXEC {alice}._guard_stage_mappings"),
    attack(
        "another guard", "CREATE TRIGGER {alice}.mine ON {alice}.stage_mappings AFTER INSERT AS DELETE {alice}._outbox"
    ),
    attack(
        "her own right",
        "GRANT SELECT, INSERT, DELETE ON {alice}._outbox TO {alice}",
        "DELETE FROM {alice}._outbox",
    ),
)
"""Hands on the outbox itself: each has to be refused."""
