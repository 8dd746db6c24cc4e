"""One tenant floods the portal: what do the others notice, with the limits and without?

A real portal process in front of a real central API and PostgreSQL. Quiet tenants open the list of their deals, each
every other second; meanwhile one tenant asks for its own list from many clients, each as fast as it is answered.
Without the limits means that requests are not counted; connections are limited by tier as ever, so that what is seen is
what the gate does and nothing else. The flood comes from a process that the machine serves last (nice 19), since in
earnest it has a machine of its own.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path

from awssome import main as awssome
from awssome.domain.limits import LIMITS, Limits, Pace
from awssome.domain.tenants import Tier

QUIET, EVERY_SECONDS, DEALS = 20, 2.0, 60
CLIENTS = (64,)
SECONDS, ROUNDS = 4.0, 12

LIFTED: Mapping[Tier, Limits] = {
    tier: replace(limits, requests=Pace(10**6, 10**6, 10**6)) for tier, limits in LIMITS.items()
}


def main() -> None:
    with ExitStack() as stack:
        tenants, url = stack.enter_context(_platform())
        on, off = stack.enter_context(_portal("limited", url)), stack.enter_context(_portal("lifted", url))
        flooding, quiet = tenants[0], tenants[1:]
        variants = {"nobody floods": (on, 0)} | {
            f"{clients} clients flood, {name}": (port, clients)
            for clients in CLIENTS
            for name, port in (("with the limits", on), ("without", off))
        }
        times: dict[str, list[float]] = {name: [] for name in variants}
        answers: dict[str, Counter[int]] = {name: Counter() for name in variants}
        for port, tenant in product((on, off), tenants):
            _quiet(port, [tenant], EVERY_SECONDS / 10)
        for _ in range(ROUNDS):
            for name, (port, clients) in variants.items():
                with _flood(port, flooding, clients, answers[name]):
                    times[name] += _quiet(port, quiet, SECONDS)
        _report(times, answers)


def _report(times: Mapping[str, list[float]], answers: Mapping[str, Counter[int]]) -> None:
    print(f"\nThe list of deals: {QUIET} quiet tenants, each every {EVERY_SECONDS:.0f} s, while one floods")
    base = statistics.quantiles(times["nobody floods"], n=100)[98]
    for name, values in times.items():
        median, p99 = statistics.median(values), statistics.quantiles(values, n=100)[98]
        flood = ", ".join(
            f"{count / ROUNDS / SECONDS:.0f}/s {status}" for status, count in sorted(answers[name].items())
        )
        print(
            f"  {name:36} {median * 1e3:7.1f} ms  p99 {p99 * 1e3:8.1f} ms  worst {max(values) * 1e3:8.1f} ms  "
            f"{p99 / base:6.2f} x  {flood}"
        )


def _quiet(port: int, tenants: list[tuple[str, str]], seconds: float) -> list[float]:
    """Seconds that each request of the quiet tenants took."""
    times: list[float] = []

    def opens_pages(number: int, host: str, session: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Host": host, "Cookie": f"awssome_portal={session}"}
        due = time.perf_counter() + EVERY_SECONDS * number / len(tenants)
        ends = time.perf_counter() + seconds
        while due < ends:
            time.sleep(max(0.0, due - time.perf_counter()))
            began = time.perf_counter()
            connection.request("GET", "/deals", headers=headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"a quiet tenant got {answer.status}")
            times.append(time.perf_counter() - began)
            due = max(due + EVERY_SECONDS, time.perf_counter())
        connection.close()

    threads = [threading.Thread(target=opens_pages, args=(place, *each)) for place, each in enumerate(tenants)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


@contextmanager
def _flood(port: int, tenant: tuple[str, str], clients: int, answers: Counter[int]) -> Iterator[None]:
    """A process that floods for as long as the block lasts."""
    if not clients:
        yield
        return
    with _running("flood", str(port), *tenant, str(clients)) as process:
        _told(process)  # it has begun
        yield
        told, _ = process.communicate("stop\n", timeout=60)
    answers.update({int(status): count for status, count in json.loads(told).items()})


async def _flooding(port: int, host: str, session: str, clients: int) -> Counter[int]:
    answers: Counter[int] = Counter()
    request = f"GET /deals HTTP/1.1\r\nHost: {host}\r\nCookie: awssome_portal={session}\r\n\r\n".encode()

    async def one() -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                while True:
                    writer.write(request)
                    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                    length = int(head.partition("content-length:")[2].partition("\r\n")[0])
                    await reader.readexactly(length)
                    answers[int(head.split(" ", 2)[1])] += 1
                    if answers.total() == clients:
                        print("flooding", flush=True)
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.1)

    asked = [asyncio.create_task(one()) for _ in range(clients)]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    for task in asked:
        task.cancel()
    return answers


@contextmanager
def _platform() -> Iterator[tuple[list[tuple[str, str]], str]]:
    """(host, session) of tenants with deals, and the URL of the central API; the flooding tenant is the first."""
    from awssome.database.registry import accounts, placements, sessions, tenants
    from awssome.database.tenant import deals
    from awssome.domain.deals import Stage
    from awssome.domain.tenants import Role
    from awssome.workflows import provisioning

    with tempfile.TemporaryDirectory(prefix="awssome-bench-") as folder, ExitStack() as stack:
        Path(folder).chmod(0o755)
        os.environ |= {"AWSSOME_HOME": folder, "AWSSOME_MANAGEMENT_PORT": "0", "AWSSOME_LOG_LEVEL": "WARNING"}
        settings = awssome.load()
        plane = stack.enter_context(awssome.control_plane(settings))
        services = awssome.worker_services(plane)
        made = []
        for number in range(QUIET + 1):
            with plane.registry.begin() as connection:
                tenant = tenants.create(connection, f"Tenant {number}")
                owner = accounts.create(connection, f"owner-{number}@example.com", "Owner", None, confirmed=True)
                accounts.add_member(connection, owner.id, tenant.id, Role.OWNER)
                session = sessions.create(connection, owner.id, "portal", tenant_id=tenant.id)
            provisioning.provision(services, tenant.id)
            with plane.registry.begin() as connection:
                placement = placements.current(connection, plane.keys, tenant.id)
            with services.sessions.open(placement) as connection:
                for deal in range(DEALS):
                    deals.create(connection, {"title": f"Deal {deal}", "stage": Stage.QUALIFIED}, "owner@example.com")
            made.append((settings.addresses.shared(), session))
        services.sessions.close()
        process = stack.enter_context(_running("management"))
        yield made, _told(process)


@contextmanager
def _portal(limits: str, url: str) -> Iterator[int]:
    """The port of a portal process."""
    os.environ["AWSSOME_CONTROL_URL"] = url
    with _running("portal", limits) as process:
        yield int(_told(process).rpartition(":")[2])


@contextmanager
def _running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.neighbours", *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _told(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _serve_management() -> None:
    from awssome.web import logs, serving

    settings = awssome.load()
    serving.end_on_signals()
    logs.configure(json=False, level=settings.log_level)
    bound = serving.bind("127.0.0.1", 0)
    with awssome.control_plane(settings) as plane:
        awssome._register_tokens(plane.registry, settings)
        print(serving.url_of(bound), flush=True)
        serving.serve(awssome.build_management(plane), bound, threads=settings.threads)


def _serve_portal(limits: Mapping[Tier, Limits]) -> None:
    from awssome.control.client import Control
    from awssome.database.sessions import Sessions
    from awssome.portal import app
    from awssome.web import logs, serving

    settings = awssome.load()
    serving.end_on_signals()
    logs.configure(json=False, level=settings.log_level)
    bound = serving.bind("127.0.0.1", 0)
    portal = app.create(
        app.Options(
            control=Control(settings.central_api, settings.service_secret()),
            sessions=Sessions(budget=settings.connection_budget),
            addresses=settings.addresses,
            limits=limits,
        )
    )
    print(serving.url_of(bound), flush=True)
    serving.serve(portal, bound, threads=settings.threads)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["management"]:
            _serve_management()
        case ["portal", limits]:
            _serve_portal(LIMITS if limits == "limited" else LIFTED)
        case ["flood", port, host, session, clients]:
            os.nice(19)
            print(json.dumps(asyncio.run(_flooding(int(port), host, session, int(clients)))))
        case _:
            main()
