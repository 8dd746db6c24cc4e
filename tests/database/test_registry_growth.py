"""What the registry does for one tenant does not grow with the number of the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event

from awssome.database.registry import Registry, tenants


def test_the_hundredth_company_of_a_name_costs_no_more_than_the_twentieth(registry: Registry) -> None:
    slugs, asked = [], []
    for _ in range(100):
        with registry.begin() as connection, _counted(registry) as statements:
            slugs.append(tenants.create(connection, "Northwind Cloud").slug)
        asked.append(len(statements))
    assert slugs[:3] == ["northwind-cloud", "northwind-cloud-2", "northwind-cloud-3"]
    assert len(set(slugs)) == 100
    assert all(slug.startswith("northwind-cloud-") and len(slug) <= 40 for slug in slugs[1:])
    assert max(asked) <= asked[19] + 1  # once in a million two random endings are the same


@contextmanager
def _counted(registry: Registry) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_c: object, _cursor: object, statement: str, _p: object, _context: object, _many: bool) -> None:
        statements.append(statement)

    event.listen(registry._engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(registry._engine, "before_cursor_execute", note)
