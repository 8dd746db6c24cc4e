"""Do the central API and the operators' pages cost more with more tenants?"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import ExitStack

import httpx2
from sqlalchemy import func, select

from awssome.database.registry import accounts, sessions
from awssome.database.registry.tables import memberships, tenants
from awssome.domain.addresses import SHARED_HOST
from awssome.domain.tenants import TenantState
from benchmarks.platform import interleaved
from benchmarks.running import Platform

ROUNDS = 40
OPERATOR = "olga@awssome.example"
COOKIE = "awssome_management"

PAGES = {
    "home": "/",
    "tenants": "/tenants",
    "tenants, by company": "/tenants?sort=company",
    "tenants, by state": "/tenants?sort=state",
    "tenants, paid": "/tenants?tier=paid",
    "tenants, searched": "/tenants?q={company}",
    "tenants, searched in vain": "/tenants?q=nobody-has-this",
    "tenants, one by its address": "/tenants?q={slug}",
    "a tenant": "/tenants/{slug}",
    "servers": "/servers",
    "a server": "/servers/pool-1",
    "palette": "/palette?q={slug}",
    "jobs": "/jobs",
    "audit log": "/audit",
}


def measure(platform: Platform) -> dict[str, list[float]]:
    """Seconds of each page and of the one question, with as many tenants as there are."""
    with platform.plane.registry.begin() as connection:
        found = connection.execute(
            select(tenants.c.slug, tenants.c.company, memberships.c.account_id)
            .join(memberships, memberships.c.tenant_id == tenants.c.id)
            .where(tenants.c.state == TenantState.ACTIVE)
            .order_by(func.md5(tenants.c.slug))
            .limit(1)
        ).one()
        olga = accounts.by_email(connection, OPERATOR) or accounts.create(
            connection, OPERATOR, "Olga", None, operator=True, confirmed=True
        )
        desk = sessions.create(connection, olga.id, "management")
        person = sessions.create(connection, found.account_id, "portal")
    with ExitStack() as stack:
        stack.enter_context(platform.serve("management"))
        http = stack.enter_context(httpx2.Client(base_url=platform.management, trust_env=False, timeout=60))
        portal = {
            "Authorization": f"Bearer {platform.settings.service_secret()}",
            "X-Awssome-Session": person,
            "X-Awssome-Host": SHARED_HOST + ".localhost",
        }
        operator = {"Authorization": f"Bearer {platform.settings.operator_secret()}"}
        variants: dict[str, Callable[[], object]] = {
            "the one question (/context)": lambda: http.get("/api/v1/context", headers=portal).raise_for_status(),
            "API: tenants": lambda: http.get("/api/v1/tenants", headers=operator).raise_for_status(),
            "API: servers": lambda: http.get("/api/v1/servers", headers=operator).raise_for_status(),
        }
        for name, path in PAGES.items():
            address = path.format(slug=found.slug, company=found.company)
            variants[name] = lambda address=address: http.get(  # type: ignore[misc]
                address, headers={"Cookie": f"{COOKIE}={desk}"}
            ).raise_for_status()
        interleaved(2, variants)
        return interleaved(ROUNDS, variants)


def compare(few: dict[str, list[float]], few_there: int, many: dict[str, list[float]], many_there: int) -> None:
    """Print medians with few and with many tenants, and their ratio."""
    print(f"\nManagement, {few_there:,} and {many_there:,} tenants (median; worst)")
    for name, values in many.items():
        before, after = statistics.median(few[name]) * 1e3, statistics.median(values) * 1e3
        print(
            f"  {name:44} {before:8.2f} ms {after:8.2f} ms  worst {max(values) * 1e3:7.1f} ms  {after / before:5.2f} x"
        )
