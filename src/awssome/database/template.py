"""The tenant template as SQL: Alembic's revisions, rendered once per engine, replayed for each tenant.

Revisions are written under the symbolic schema `TENANT`, which is also the symbolic login. Rendering runs no database:
it is Alembic's offline mode without its version table, since a tenant's revision is kept in its `_fence` row, changed
in the transaction that changes the tables.
"""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError

from awssome.database.dialects import dialect
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import EngineName, checked_schema_name

TENANT = "__tenant__"
"""Stands for a tenant's schema and for its login in rendered SQL."""

_REVISIONS = Path(__file__).parent / "tenant" / "revisions"


@cache
def head() -> str:
    """The newest revision of the template."""
    newest = _script().get_current_head()
    if newest is None:
        raise LookupError("the template has no revision")
    return newest


def revisions(after: str | None = None, until: str | None = None) -> list[Script]:
    """The revisions from the one behind `after` (None: the first) to `until` (None: `head()`), oldest first.

    :raises Refused: CONFLICT for a revision that this version does not know.
    """
    try:
        found = list(_script().walk_revisions(base=after or "base", head=until or "head"))
    except CommandError:
        found = []
    if not found or (until and found[0].revision != until):  # Alembic also takes the first letters of a revision
        raise Refused(
            Code.CONFLICT,
            f"Revision {str(until or after)[:32]} of the workspace's tables is not known here; the newest is {head()}.",
            "Use a version of Awssome that is as new as the one that made them.",
        )
    return [step for step in reversed(found) if step.revision != after]


@cache
def statements(engine: EngineName, after: str | None = None, until: str | None = None) -> str:
    """The SQL that brings a tenant from revision `after` (None: nothing there) to `until` (None: `head()`), under
    `TENANT`. :raises Refused: CONFLICT for a revision that this version does not know."""
    buffer = io.StringIO()
    context = MigrationContext.configure(
        dialect=dialect(engine),
        opts={"as_sql": True, "output_buffer": buffer, "literal_binds": True, "mssql_batch_separator": ""},
    )
    steps = revisions(after, until)
    with Operations.context(context):
        for step in steps:
            step.module.upgrade()
    return buffer.getvalue()


def for_schema(sql: str, schema: str) -> str:
    """Rendered SQL with the real schema and login in place of the symbol."""
    return sql.replace(TENANT, checked_schema_name(schema))


def _script() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(_REVISIONS.parent))
    config.set_main_option("version_locations", str(_REVISIONS))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)
