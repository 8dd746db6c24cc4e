"""What does a new tenant cost, beside the raw DDL in one transaction, and does it grow with the number of tenants?"""

from __future__ import annotations

import psycopg

from awssome.database import template
from awssome.database.postgresql.driver import connection_parameters
from awssome.database.postgresql.server import scram_verifier
from awssome.domain.tenants import EngineName, new_schema_name
from benchmarks import platform

ROUNDS, STEPS = 25, (0, 200)


def main() -> None:
    """Interleaved, with few and with more tenants there."""
    with platform.pool() as (server, url), psycopg.connect(**connection_parameters(url)) as raw:
        made = 0
        for there in STEPS:
            while made < there:
                platform.new_tenant(server, url)
                made += 1

            def provision() -> None:
                platform.new_tenant(server, url)

            def ddl() -> None:
                name = new_schema_name()
                verifier = scram_verifier(platform.PASSWORD)
                script = template.for_schema(template.statements(EngineName.POSTGRESQL), name)
                raw.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{verifier}'; CREATE SCHEMA {name}; {script}")  # type: ignore[arg-type]
                raw.commit()

            times = platform.interleaved(ROUNDS, {"raw DDL, open connection": ddl, "provision": provision})
            made += 2 * ROUNDS
            platform.report(f"A new tenant, {there} there", times, "raw DDL, open connection")


if __name__ == "__main__":
    main()
