"""The tables of a tenant as they were at each revision of the template: what an archive of that revision holds.

The revisions are replayed onto plain table objects; no database is asked.
"""

from __future__ import annotations

import io
from functools import cache
from typing import Any

from alembic.ddl.impl import DefaultImpl
from alembic.migration import MigrationContext
from sqlalchemy import Column, MetaData, Table
from sqlalchemy.types import TypeEngine

from awssome.database import template
from awssome.database.dialects import dialect
from awssome.database.expand import AddColumns
from awssome.domain.tenants import EngineName


@cache
def tables(revision: str) -> tuple[Table, ...]:
    """The data tables at a revision, parents before children, columns in the order in which they were added.

    :raises Refused: CONFLICT for a revision that this version does not know.
    """
    steps = template.revisions(None, revision)
    context = MigrationContext.configure(
        dialect=dialect(EngineName.POSTGRESQL), opts={"as_sql": True, "output_buffer": io.StringIO()}
    )
    context.impl = recorder = _Recorder(context.dialect, None, True, None, io.StringIO(), {})
    template.replay(steps, context)
    return tuple(
        Table(name, MetaData(), *(Column(column, kind) for column, kind in columns.items()))
        for name, columns in recorder.tables.items()
        if not name.startswith("_")
    )


class _Recorder(DefaultImpl):
    """Takes down what revisions do to tables, in place of writing SQL."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.tables: dict[str, dict[str, TypeEngine[Any]]] = {}

    def create_table(self, table: Table, **options: Any) -> None:
        """With its columns in declared order."""
        self.tables[table.name] = {column.name: column.type for column in table.columns}

    def drop_table(self, table: Table, **options: Any) -> None:
        """Is gone."""
        del self.tables[table.name]

    def rename_table(self, old_table_name: str, new_table_name: Any, schema: Any = None) -> None:
        """Keeps its columns."""
        self.tables[str(new_table_name)] = self.tables.pop(old_table_name)

    def add_column(self, table_name: str, column: Column[Any], **options: Any) -> None:
        """Comes last."""
        self.tables[table_name][column.name] = column.type

    def drop_column(self, table_name: str, column: Column[Any], **options: Any) -> None:
        """Is gone."""
        del self.tables[table_name][column.name]

    def alter_column(
        self, table_name: str, column_name: str, *, name: str | None = None, type_: Any = None, **options: Any
    ) -> None:
        """Another type or name, in the same place."""
        columns = self.tables[table_name]
        self.tables[table_name] = {
            (name or column_name) if column == column_name else column: (type_ or kind)
            if column == column_name
            else kind
            for column, kind in columns.items()
        }

    def _exec(self, construct: Any, *arguments: Any, **options: Any) -> None:
        """Indexes, constraints, triggers and rights change no column."""
        if isinstance(construct, AddColumns):
            for column in construct.columns:
                self.add_column(construct.table_name, column)
