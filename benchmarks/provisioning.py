"""What does a new tenant cost, beside the same DDL on an open connection and beside django-tenants, as tenants grow?"""

from __future__ import annotations

import psycopg

from awssome.database import template
from awssome.database.engine import Server
from awssome.database.postgresql.driver import connection_parameters
from awssome.database.postgresql.logins import scram_verifier
from awssome.database.postgresql.server import LOGIN_CONNECTIONS
from awssome.database.servers import prepare_data_plane
from awssome.domain.limits import LONGEST_STATEMENT
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import EngineName, new_schema_name
from benchmarks import peers, platform

ROUNDS = 40
FLOOR = "raw DDL, open connection"
PEER_ROUNDS, PEER_STEPS = 10, (0, 200, 1_000)


def measure(server: Server, url: str, there: int) -> None:
    """Provision and raw DDL in turn, on a pool with so many tenants; what they made is dropped again."""
    made: list[str] = []
    with psycopg.connect(**connection_parameters(url)) as raw:

        def provision() -> None:
            made.append(new_schema_name())
            server.provision(made[-1], platform.PASSWORD, epoch=1, mode=FenceMode.RW)

        def ddl() -> None:
            made.append(new_schema_name())
            raw.execute(script(made[-1]))  # type: ignore[arg-type]
            raw.commit()

        variants = {FLOOR: ddl, "provision": provision}
        platform.interleaved(3, variants)  # the first uses read catalogs
        times = platform.interleaved(ROUNDS, variants)
    platform.report(f"A new tenant, {there:,} there", times, FLOOR)
    for schema in made:
        server.drop(schema, 0)


def script(name: str) -> str:
    """The same DDL, rights and first row as `provision`, by hand."""
    return (
        f"CREATE ROLE {name} LOGIN CONNECTION LIMIT {LOGIN_CONNECTIONS} "
        f"PASSWORD '{scram_verifier(platform.PASSWORD)}'; "
        f"ALTER ROLE {name} SET statement_timeout = '{LONGEST_STATEMENT}s'; CREATE SCHEMA {name}; "
        + template.for_schema(template.statements(EngineName.POSTGRESQL), name)
        + f"INSERT INTO {name}._fence (id, epoch, mode, mover, capture, revision) "
        f"VALUES (1, 1, 'rw', 0, false, '{template.head()}')"
    )


def beside_django_tenants(limit: int) -> None:
    """django-tenants with 0, 200 and 1,000 tenants of its own, beside the raw DDL in the same cluster.

    Its tenants have no login, no rights and no guard: it does less.
    """
    if not peers.available():
        return
    with platform.cluster() as cluster, peers.django_tenants(cluster) as peer:
        url = prepare_data_plane(cluster, platform.PASSWORD)
        there = 0
        with psycopg.connect(**connection_parameters(url)) as raw:
            for step in (step for step in PEER_STEPS if step <= limit):
                there += len(peer.create(step - there))
                times: dict[str, list[float]] = {}
                for _ in range(PEER_ROUNDS):
                    for name, seconds in platform.interleaved(1, {FLOOR: lambda: _raw(raw)}).items():
                        times.setdefault(name, []).extend(seconds)
                    times.setdefault("django-tenants", []).extend(peer.create(1))
                there += PEER_ROUNDS
                platform.report(f"django-tenants: a new tenant, {step:,} there", times, FLOOR)


def _raw(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    connection.execute(script(new_schema_name()))  # type: ignore[arg-type]
    connection.commit()
