"""What does a request's session as a tenant cost, beside a plain pooled connection?"""

from __future__ import annotations

from contextlib import ExitStack

from sqlalchemy import create_engine, func, select
from sqlalchemy.engine import Connection

from awssome.database.schema import SYMBOL, deal_registrations
from awssome.database.sessions import Sessions
from benchmarks import platform

ROUNDS, TENANTS = 400, 40


def main() -> None:
    """Hits on one tenant and over many, each with a connection of its own, and misses."""
    query = select(func.count()).select_from(deal_registrations)
    with platform.pool() as (server, url):
        every = [platform.new_tenant(server, url) for _ in range(TENANTS)]
        sessions = Sessions(budget=TENANTS + 10)
        plain = create_engine(url, pool_size=TENANTS)
        in_turn = create_engine(url, pool_size=TENANTS, pool_use_lifo=False)
        tenants = every
        turn = {"n": 0}

        def next_tenant() -> platform.Placement:
            turn["n"] += 1
            return tenants[turn["n"] % len(tenants)]

        def as_tenant() -> None:
            with sessions.open(next_tenant()) as connection:
                connection.execute(query).scalar()

        def pooled() -> None:
            names = {SYMBOL: next_tenant().schema}
            with plain.connect().execution_options(schema_translate_map=names) as connection:
                _query(connection, query)

        def other_each_time() -> None:
            names = {SYMBOL: next_tenant().schema}
            with in_turn.connect().execution_options(schema_translate_map=names) as connection:
                _query(connection, query)

        def missed() -> None:
            cold = Sessions(budget=2)
            with cold.open(next_tenant()) as connection:
                connection.execute(query).scalar()
            cold.close()

        for tenant in every:
            with sessions.open(tenant) as connection:
                connection.execute(query).scalar()
        pooled()
        with ExitStack() as stack:  # so that the pool has them all
            for _ in every:
                stack.enter_context(in_turn.connect())
        hit = {
            "plain pooled connection": pooled,
            f"plain, {TENANTS} connections in turn": other_each_time,
            "session as a tenant, fence checked (hit)": as_tenant,
        }
        for tenants in (every[:1], every):
            platform.report(
                f"A request's session, {len(tenants)} tenant(s) in turn",
                platform.interleaved(ROUNDS, hit),
                "plain pooled connection",
            )
        variants = {"plain pooled connection": pooled, "session as a tenant (miss)": missed}
        platform.report("A pool miss", platform.interleaved(60, variants), "plain pooled connection")
        sessions.close()
        plain.dispose()
        in_turn.dispose()


def _query(connection: Connection, query: object) -> None:
    with connection.begin():
        connection.execute(query).scalar()  # type: ignore[call-overload]


if __name__ == "__main__":
    main()
