"""What is open to every tenant's login while tenants share one SQL Server."""

from __future__ import annotations

from tests.database.exposed import Exposed
from tests.database.sqlserver.attacks import READ_BOB

EXPOSED = (
    Exposed("names", "names of schemas", ("SELECT name FROM sys.schemas",)),
    Exposed(
        "names", "names of constraints", ("SELECT name, type FROM sys.objects WHERE schema_id = SCHEMA_ID(N'{bob}')",)
    ),
    Exposed("names", "names of databases", ("SELECT name FROM sys.databases",)),
    Exposed("names", "names of logins", ("SELECT name FROM sys.server_principals", "SELECT name FROM sys.syslogins")),
    Exposed("names", "names of users", ("SELECT name FROM sys.database_principals", "EXEC sp_helpuser")),
    Exposed("names", "numbers of names", ("SELECT SUSER_ID(N'{bob}'), USER_ID(N'{bob}'), SCHEMA_ID(N'{bob}')",)),
    Exposed(
        "server",
        "version and settings",
        ("SELECT @@VERSION, @@SERVERNAME", "SELECT name, value FROM sys.configurations"),
    ),
    Exposed(
        "defaults",
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
        "defaults",
        "her language and database",
        ("ALTER LOGIN {alice} WITH DEFAULT_LANGUAGE = French", "ALTER LOGIN {alice} WITH DEFAULT_DATABASE = tempdb"),
        "ALTER LOGIN {alice} WITH DEFAULT_DATABASE = master, DEFAULT_LANGUAGE = us_english",
    ),
    Exposed(
        "tempdb",
        "temporary table",
        ("CREATE TABLE #mine (x int)", "INSERT INTO #mine VALUES (1)", "SELECT * FROM #mine"),
    ),
    Exposed("tempdb", "shared temporary table", ("CREATE TABLE ##{alice} (x int)", "SELECT * FROM ##{alice}")),
    Exposed(
        "tempdb", "table in tempdb", ("USE tempdb", "CREATE TABLE {alice}_mine (x int)", "DROP TABLE {alice}_mine")
    ),
    Exposed("tempdb", "temporary procedure", (f"CREATE PROCEDURE #mine AS {READ_BOB}", "EXEC #mine")),
    Exposed("time", "waiting", ("WAITFOR DELAY '00:00:00.100'",)),
    Exposed("time", "waiting for locks without end", ("SET LOCK_TIMEOUT -1",)),
    Exposed(
        "session",
        "context of her session",
        ("EXEC sp_set_session_context N'tenant', N'{bob}'", "SET CONTEXT_INFO 0x01"),
    ),
    Exposed("session", "messages", ("PRINT N'mine'", "RAISERROR (N'mine', 10, 1)")),
    Exposed("files", "list of files", ("EXEC master..xp_dirtree '/', 1, 1", "EXEC master..xp_fileexist '/etc/passwd'")),
    Exposed("files", "registry", ("EXEC master..xp_regread N'HKEY_LOCAL_MACHINE', N'SOFTWARE\\mine', N'x'",)),
    Exposed("files", "bulk load", ("BULK INSERT {alice}.field_mappings FROM '/etc/passwd'",)),
    Exposed("server", "checkpoint", ("CHECKPOINT",)),
)
