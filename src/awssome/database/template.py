"""The tenant template as SQL: Alembic's revisions, rendered once per engine, replayed for each tenant.

Revisions are written under the symbolic schema `TENANT`, which is also the symbolic login. Rendering runs no database:
it is Alembic's offline mode without its version table, since a tenant's revision is kept in its `_fence` row, changed
in the transaction that changes the tables.

Functions take further directories of revisions, beyond the product's own: that is how a version to come is tried.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import Script, ScriptDirectory

from awssome.database.dialects import dialect
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import EngineName, checked_schema_name

TENANT = "__tenant__"
"""Stands for a tenant's schema and for its login in rendered SQL."""

Beyond = tuple[Path, ...]
"""Directories of revisions that follow the product's own; none, but in tests."""

_REPLAYING = threading.Lock()
"""Alembic's `op` is one for the whole process."""

_REVISIONS = Path(__file__).parent / "tenant" / "revisions"


@cache
def head(beyond: Beyond = ()) -> str:
    """The newest revision of the template."""
    return str(_steps(beyond)[-1].revision)


def revisions(after: str | None = None, until: str | None = None, beyond: Beyond = ()) -> Sequence[Script]:
    """The revisions from the one behind `after` (None: the first) to `until` (None: `head()`), oldest first.

    :raises Refused: CONFLICT for a revision that this version does not know.
    """
    steps = _steps(beyond)
    known = [str(step.revision) for step in steps]
    for revision in (after, until):
        if revision is not None and revision not in known:
            raise Refused(
                Code.CONFLICT,
                f"Revision {revision[:32]} of the workspace's tables is not known here; the newest is {known[-1]}.",
                "Use a version of Awssome that is as new as the one that made them.",
            )
    first = 0 if after is None else known.index(after) + 1
    return steps[first : known.index(until or known[-1]) + 1]


@cache
def older(beyond: Beyond = ()) -> tuple[str, ...]:
    """The revisions before the newest, oldest first. What is neither belongs to a version that is newer than this."""
    return tuple(str(step.revision) for step in _steps(beyond)[:-1])


@cache
def statements(engine: EngineName, after: str | None = None, until: str | None = None, beyond: Beyond = ()) -> str:
    """The SQL that brings a tenant from revision `after` (None: nothing there) to `until` (None: `head()`), under
    `TENANT`. :raises Refused: CONFLICT for a revision that this version does not know."""
    return _rendered(engine, revisions(after, until, beyond), existing=after is not None)


def for_schema(sql: str, schema: str) -> str:
    """Rendered SQL with the real schema and login in place of the symbol."""
    return sql.replace(TENANT, checked_schema_name(schema))


def replay(steps: Sequence[Script], context: MigrationContext) -> None:
    """Have the revisions told to a context, one after the other."""
    with _REPLAYING, Operations.context(context):
        for step in steps:
            step.module.upgrade()


@cache
def _steps(beyond: Beyond) -> tuple[Script, ...]:
    """The revisions, oldest first. :raises LookupError: when there is none."""
    config = Config()
    config.set_main_option("script_location", str(_REVISIONS.parent))
    config.set_main_option("version_locations", os.pathsep.join(map(str, (_REVISIONS, *beyond))))
    config.set_main_option("path_separator", "os")
    steps = tuple(ScriptDirectory.from_config(config).walk_revisions())[::-1]
    if not steps:
        raise LookupError("the template has no revision")
    return steps


def _rendered(engine: EngineName, steps: Sequence[Script], *, existing: bool) -> str:
    buffer = _Statements()
    context = MigrationContext.configure(
        dialect=dialect(engine),
        opts={"as_sql": True, "output_buffer": buffer, "literal_binds": True, "mssql_batch_separator": ""},
    )
    replay(steps, context)
    if engine is EngineName.SQLSERVER and existing:
        # SQL Server compiles a batch before it runs it, and knows no column of a table yet that the batch is to add.
        return "".join("EXEC(N'{}');\n".format(statement.strip().replace("'", "''")) for statement in buffer)
    return "".join(buffer)


class _Statements(list[str]):
    """Takes what Alembic writes, one statement at a time."""

    def write(self, text: str) -> None:
        if text.strip():
            self.append(text)

    def flush(self) -> None:
        """Nothing to do."""
