"""Adding columns to a table that is there: all of them in one statement, where an engine pays for each."""

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
    """One column a line. On SQL Server each is a statement: all are one batch, and a server that stands in for it knows
    no list of columns here."""
    table = alter_table(compiler, element.table_name, element.schema)
    columns = [compiler.get_column_specification(column) for column in element.columns]
    if compiler.dialect.name == "mssql":
        return ";\n".join(f"{table} ADD {column}" for column in columns)
    return f"{table} ADD COLUMN " + ",\n\tADD COLUMN ".join(columns)
