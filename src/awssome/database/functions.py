"""SQL functions that mean the same on every engine, where the engines spell them differently."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Integer, Unicode, Uuid
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from awssome.database.types import BINARY_ORDER

_CASE_RULES = "Latin1_General_CI_AS"


class age(FunctionElement[UUID]):  # noqa: N801 - reads as a function of SQL
    """`age(key)`: orders UUIDv7 keys by when they were made. SQL Server compares the last bytes of a key first."""

    name = "age"
    type = Uuid()
    inherit_cache = True


class lowered(FunctionElement[str]):  # noqa: N801
    """`lowered(text)`: in small letters, of the scripts that the engine knows them of, compared by code."""

    name = "lowered"
    type = Unicode()
    inherit_cache = True


class position(FunctionElement[int]):  # noqa: N801
    """`position(text, part)`: where a text holds another one, from 1 on; 0: nowhere. No character of it is special."""

    name = "position"
    type = Integer()
    inherit_cache = True


@compiles(age)
def _age(element: age, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(age, "mssql")
def _age_as_text(element: age, compiler: SQLCompiler, **options: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **options)} AS CHAR(36)) COLLATE {BINARY_ORDER}"


@compiles(lowered)
def _lowered(element: lowered, compiler: SQLCompiler, **options: Any) -> str:
    return f"lower({compiler.process(element.clauses, **options)})"


@compiles(lowered, "mssql")
def _lowered_by_rules(element: lowered, compiler: SQLCompiler, **options: Any) -> str:
    return f"LOWER({compiler.process(element.clauses, **options)} COLLATE {_CASE_RULES}) COLLATE {BINARY_ORDER}"


@compiles(position)
def _position(element: position, compiler: SQLCompiler, **options: Any) -> str:
    text, part = (compiler.process(clause, **options) for clause in element.clauses)
    return f"strpos({text}, {part})"


@compiles(position, "mssql")
def _position_by_index(element: position, compiler: SQLCompiler, **options: Any) -> str:
    text, part = (compiler.process(clause, **options) for clause in element.clauses)
    return f"CHARINDEX({part}, {text})"
