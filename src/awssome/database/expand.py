"""Adding columns to a table that is there: all of them in one statement, so that it is one change to the table."""

from __future__ import annotations

from typing import Any

from alembic.ddl.base import AlterTable, alter_table
from sqlalchemy import Column, MetaData, Table
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import DDLCompiler


class AddColumns(AlterTable):
    """For `op.execute` in a revision: what `op.add_column` says of one column, for several.

    :param schema: the table's schema, or its symbol.
    """

    def __init__(self, table: str, *columns: Column[Any], schema: str) -> None:
        super().__init__(table, schema=schema)
        self.columns = columns
        Table(table, MetaData(), *columns, schema=schema)  # a column has to be of a table to be written


@compiles(AddColumns)
def _add_columns(element: AddColumns, compiler: DDLCompiler, **_: Any) -> str:
    """One column a line. PostgreSQL says ADD COLUMN before each, SQL Server ADD before the first."""
    first, further = ("ADD", "") if compiler.dialect.name == "mssql" else ("ADD COLUMN", "ADD COLUMN ")
    specifications = [compiler.get_column_specification(column) for column in element.columns]
    table = alter_table(compiler, element.table_name, element.schema)
    return f"{table} {first} " + f",\n\t{further}".join(specifications)
