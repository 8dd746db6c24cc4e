"""What stands in front of every table of a tenant: its login's rights, and the fence.

Revisions of the template call these for the tables that they make. What they say is history and stays as it is: another
guard is another function, and a revision that puts it in place of this one.
"""

from __future__ import annotations

from alembic import op

from awssome.database.template import TENANT


def protect(table: str, *, append_only: bool = False) -> None:
    """Grant the tenant's login what it needs of a new table, and put the fence in front of every write.

    :param append_only: rows are read and added, never changed.
    """
    rights = "SELECT, INSERT" if append_only else "SELECT, INSERT, UPDATE, DELETE"
    op.execute(f"GRANT {rights} ON {TENANT}.{table} TO {TENANT}")
    if op.get_context().dialect.name == "postgresql":
        op.execute(
            f"CREATE TRIGGER _guard BEFORE INSERT OR UPDATE OR DELETE ON {TENANT}.{table} "
            f"EXECUTE FUNCTION {TENANT}._guard()"
        )
        return
    # There is no trigger before a write; this one undoes it. It belongs to the schema's owner, as the fence does.
    # Whoever else can write here is an administrator, the mover. Only READ COMMITTED sees the fence as it is now: an
    # older snapshot could write past a cut-over. The hint is for snapshots that began before the level was changed.
    # The lock can be given back by hand; the row that REPEATABLEREAD holds cannot, and a mover waits for it, too.
    # SQL Server always lists a session to itself. A server that stands in for it may not: its level is not known then.
    after_write(
        table,
        f"""
            {"IF EXISTS (SELECT 1 FROM deleted) THROW 51003, N'denied', 1;" if append_only else ""}
            DECLARE @level int, @lock nvarchar(64), @result int = -1;
            SELECT @level = transaction_isolation_level FROM sys.dm_exec_sessions WHERE session_id = @@SPID;
            SELECT @lock = lock_name FROM {TENANT}._fence WITH (READCOMMITTEDLOCK) WHERE id = 1;
            IF @level IS NULL OR @level = 2
                EXEC @result = sp_getapplock @Resource = @lock, @LockMode = N'Shared',
                    @LockOwner = N'Transaction', @LockTimeout = 2000;
            IF @result < 0 OR NOT EXISTS (
                SELECT 1 FROM {TENANT}._fence WITH (REPEATABLEREAD) WHERE id = 1 AND mode = N'rw'
            )
                THROW 51001, N'fenced', 1;
            """,
    )


def note_writes(table: str, *keys: str) -> None:
    """Have the keys of rows that are written to a table noted in `_outbox`, for as long as the fence says so.

    A function for each table, so that its statements are planned once a session: in one for all they would be text that
    is planned at each write, at the double price.

    :param keys: SQL of the columns of the primary key as text, as `database.dirty` writes them.
    """
    # Inside the function current_user is its owner, who alone may write to _outbox. Nobody begins a capture under a
    # writer: the guard holds the fence. What a session may make for itself (pg_temp) is looked at last.
    key = f"SELECT '{table}', " + " || '|' || ".join(keys)
    noting = f"INSERT INTO {TENANT}._outbox (table_name, row_key) {key}"
    op.execute(
        f"""
        CREATE FUNCTION {TENANT}._capture_{table}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
        SET search_path = pg_catalog, pg_temp AS $$
        BEGIN
            IF NOT EXISTS (SELECT FROM {TENANT}._fence WHERE id = 1 AND capture) THEN
                RETURN NULL;
            END IF;
            IF TG_OP = 'INSERT' THEN
                {noting} FROM new_rows;
            ELSIF TG_OP = 'DELETE' THEN
                {noting} FROM old_rows;
            ELSE
                {noting} FROM old_rows UNION {key} FROM new_rows;
            END IF;
            RETURN NULL;
        END $$
        """
    )
    # Whoever may execute it could have it run for a table of their own, whose columns' casts are code of theirs.
    op.execute(f"REVOKE ALL ON FUNCTION {TENANT}._capture_{table}() FROM PUBLIC")
    for event, rows in (
        ("INSERT", "NEW TABLE AS new_rows"),
        ("UPDATE", "OLD TABLE AS old_rows NEW TABLE AS new_rows"),
        ("DELETE", "OLD TABLE AS old_rows"),
    ):
        op.execute(
            f"CREATE TRIGGER _capture_{event.lower()} AFTER {event} ON {TENANT}.{table} REFERENCING {rows} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {TENANT}._capture_{table}()"
        )


def guard_and_note(table: str, *keys: str, append_only: bool = False) -> None:
    """On SQL Server: the guard of `protect` anew, which also notes the keys of rows that are written in `_outbox`.

    One trigger does both: of two, nobody knows which runs first, and what is noted before the lock is held may be noted
    too late. An administrator's writes pass and are noted, too. The fence's row is held to the end of the transaction,
    so nobody begins or ends a capture under a writer. `_outbox` is the same owner's as the trigger, so that the tenant
    needs no right to it.

    :param keys: SQL of the columns of the primary key as text, as `database.dirty` writes them.
    """
    key = " + N'|' + ".join(keys)
    # SET ROWCOUNT is the session's until here, and would leave keys out. SQL Server restores it behind the trigger.
    _replace_guard(
        table,
        f"""
            SET ROWCOUNT 0;
            DECLARE @mode nvarchar(16), @capture bit, @tenant bit = 0;
            IF SUSER_SNAME() = N'{TENANT}'
            BEGIN
                SET @tenant = 1;
                {"IF EXISTS (SELECT 1 FROM deleted) THROW 51003, N'denied', 1;" if append_only else ""}
                DECLARE @level int, @lock nvarchar(64), @result int = -1;
                SELECT @level = transaction_isolation_level FROM sys.dm_exec_sessions WHERE session_id = @@SPID;
                SELECT @lock = lock_name FROM {TENANT}._fence WITH (READCOMMITTEDLOCK) WHERE id = 1;
                IF @level IS NULL OR @level = 2
                    EXEC @result = sp_getapplock @Resource = @lock, @LockMode = N'Shared',
                        @LockOwner = N'Transaction', @LockTimeout = 2000;
                IF @result < 0 THROW 51001, N'fenced', 1;
            END
            SELECT @mode = mode, @capture = capture FROM {TENANT}._fence WITH (REPEATABLEREAD) WHERE id = 1;
            IF @tenant = 1 AND (@mode IS NULL OR @mode <> N'rw') THROW 51001, N'fenced', 1;
            IF @capture = 1
                INSERT INTO {TENANT}._outbox (table_name, row_key)
                SELECT N'{table}', {key} FROM inserted UNION SELECT N'{table}', {key} FROM deleted;
            """,
    )


def guard_outbox() -> None:
    """On SQL Server: let in what the other guards note, and nothing else that comes from the tenant's login."""
    _replace_guard(
        "_outbox",
        f"""
            IF SUSER_SNAME() = N'{TENANT}' AND (TRIGGER_NESTLEVEL() < 2 OR EXISTS (SELECT 1 FROM deleted))
                THROW 51003, N'denied', 1;
            """,
    )


def after_write(table: str, what: str) -> None:
    """On SQL Server: after a write by the tenant's login; an administrator's passes. CREATE TRIGGER has to be alone in
    its batch."""
    _create_guard(table, f"IF SUSER_SNAME() <> N'{TENANT}' RETURN;\n            {what}")


def _replace_guard(table: str, what: str) -> None:
    op.execute(f"DROP TRIGGER {TENANT}._guard_{table}")
    _create_guard(table, what)


def _create_guard(table: str, what: str) -> None:
    text = f"""
        CREATE TRIGGER {TENANT}._guard_{table} ON {TENANT}.{table} AFTER INSERT, UPDATE, DELETE AS
        BEGIN
            SET NOCOUNT ON;
            {what}
        END
    """
    quoted = text.replace("'", "''")
    op.execute(f"EXEC(N'{quoted}')")
