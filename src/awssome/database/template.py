"""The tenant template as SQL: Alembic's revisions, rendered once per engine, replayed for each tenant.

Revisions are written under the symbolic schema `TENANT`, which is also the symbolic login. Rendering runs no database:
it is Alembic's offline mode without its version table, since a tenant's revision is kept in its `_fence` row, changed
in the transaction that changes the tables.
"""

from __future__ import annotations

import io
import threading
from functools import cache
from pathlib import Path

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory

from awssome.database.dialects import dialect
from awssome.domain.tenants import EngineName, checked_schema_name

TENANT = "__tenant__"
"""Stands for a tenant's schema and for its login in rendered SQL."""

_RENDERING = threading.Lock()
_REVISIONS = Path(__file__).parent / "tenant" / "revisions"


@cache
def head() -> str:
    """The newest revision of the template."""
    newest = _script().get_current_head()
    if newest is None:
        raise LookupError("the template has no revision")
    return newest


@cache
def statements(engine: EngineName, after: str | None = None) -> str:
    """The SQL that brings a tenant from revision `after` (None: nothing there) to `head()`, under `TENANT`."""
    script = _script()
    buffer = io.StringIO()
    context = MigrationContext.configure(
        dialect=dialect(engine),
        opts={"as_sql": True, "output_buffer": buffer, "literal_binds": True, "mssql_batch_separator": ""},
    )
    steps = list(reversed(list(script.walk_revisions(base=after or "base", head="head"))))
    # Revisions speak to Alembic's operations of the whole process: two threads would write into each other's script.
    with _RENDERING, Operations.context(context):
        for step in steps:
            if step.revision != after:
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
