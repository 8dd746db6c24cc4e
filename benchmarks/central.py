"""Do the central API and the operators' pages cost more with more tenants?"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import httpx2
from sqlalchemy import func, select

from awssome.database.registry import accounts, sessions
from awssome.database.registry.tables import memberships, tenants
from awssome.domain.addresses import SHARED_HOST
from awssome.domain.tenants import TenantState
from benchmarks.platform import interleaved
from benchmarks.running import Platform

ROUNDS = 30
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


def compare(few: Platform, many: Platform) -> None:
    """Each page and the one question with few tenants and with many, in turn."""
    with few.serve("management"), many.serve("management"), ExitStack() as stack:
        small, large = (_asked(platform, stack) for platform in (few, many))
        variants = {
            f"{name} {size}": ask for name in large for size, ask in (("few", small[name]), ("many", large[name]))
        }
        interleaved(2, variants)
        times = interleaved(ROUNDS, variants)
    print(f"\nManagement, {few.active():,} and {many.active():,} tenants (median; worst)")
    for name in large:
        before, after = (statistics.median(times[f"{name} {size}"]) * 1e3 for size in ("few", "many"))
        worst = max(times[f"{name} many"]) * 1e3
        print(f"  {name:32} {before:8.2f} ms {after:8.2f} ms  worst {worst:7.1f} ms  {after / before:5.2f} x")


def _asked(platform: Platform, stack: ExitStack) -> dict[str, Callable[[], object]]:
    """What is asked of a platform, by name."""
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
    http = stack.enter_context(httpx2.Client(base_url=platform.management, trust_env=False, timeout=60))
    operator = {"Authorization": f"Bearer {platform.settings.operator_secret()}"}
    portal = {
        "Authorization": f"Bearer {platform.settings.service_secret()}",
        "X-Awssome-Session": person,
        "X-Awssome-Host": SHARED_HOST + ".localhost",
    }
    asked: dict[str, tuple[str, dict[str, str]]] = {
        "the one question (/context)": ("/api/v1/context", portal),
        "API: tenants": ("/api/v1/tenants", operator),
        "API: servers": ("/api/v1/servers", operator),
    }
    for name, path in PAGES.items():
        asked[name] = path.format(slug=found.slug, company=found.company), {"Cookie": f"{COOKIE}={desk}"}
    return {name: partial(_get, http, path, headers) for name, (path, headers) in asked.items()}


def _get(http: httpx2.Client, path: str, headers: dict[str, str]) -> None:
    http.get(path, headers=headers).raise_for_status()
