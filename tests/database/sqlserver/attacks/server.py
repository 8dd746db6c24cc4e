"""Attacks on the server that both share: to use it, and to learn of Bob from what it knows."""

from __future__ import annotations

from typing import NamedTuple

from tests.database.sqlserver.attacks import attack

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
