"""The product's queries as a version to come has them: each table is declared with a column more. A process of its own.

Standard input: the placement and the secret key, as JSON. The queries are imported after the columns are declared.
"""

from __future__ import annotations

import json
import sys
from uuid import UUID

from sqlalchemy import Column, Unicode

from awssome.database.schema import DATA_TABLES
from awssome.domain.secrets import Keys
from awssome.domain.tenants import EngineName, Placement


def main() -> None:
    """Use every query on the workspace."""
    given = json.load(sys.stdin)
    for table in DATA_TABLES:
        table.append_column(Column("to_come", Unicode(20)))
    from awssome.database.sessions import Sessions
    from tests.database.test_expand import use_everything

    named = {name: UUID(given["placement"].pop(name)) for name in ("tenant_id", "placement_id")}
    engine = EngineName(given["placement"].pop("engine"))
    placement = Placement(**named, engine=engine, **given["placement"])
    sessions = Sessions(budget=2)
    use_everything(sessions, placement, Keys.from_text(given["secret_key"]))
    sessions.close()


if __name__ == "__main__":
    main()
