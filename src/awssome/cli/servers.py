"""`awssome server`: the servers of the data plane."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from pydantic import SecretStr

from awssome.cli.central import central
from awssome.cli.output import (
    Json,
    console,
    poll,
    print_facts,
    print_json,
    print_table,
    progress,
    size,
    status,
    waiting,
)
from awssome.control.client import Control
from awssome.control.messages import AddServer, ChangeServer, DrainPlan, ServerDetail, ServerRow, StartDrain
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import EngineName, ServerKind

app = typer.Typer(no_args_is_help=True, help="Servers: pools of many tenants, and dedicated ones.")

Name = Annotated[str, typer.Argument(metavar="SERVER", help="The server's name.", show_default=False)]

_CHECK_SECONDS = 30.0


class Sort(StrEnum):
    """What tenants can be sorted by."""

    BYTES = "bytes"
    ROWS = "rows"
    CONNECTIONS = "connections"
    STATEMENTS = "statements"
    STATEMENT_SECONDS = "statement_seconds"


@app.command("list")
def list_servers(as_json: Json = False) -> None:
    """List servers with their load."""
    with central() as api:
        found = api.servers()
    if as_json:
        print_json(found)
        return
    print_table(
        (
            "Name",
            "Kind",
            "Engine",
            "Address",
            "Open",
            "Tenants",
            "Kept copies",
            "Capacity",
            "In use",
            "Of tenant",
            "Problem",
        ),
        [
            (
                s.name,
                s.kind,
                s.engine,
                f"{s.host}:{s.port}" if s.host else s.instance,
                s.open,
                s.tenants,
                s.retained,
                s.capacity,
                f"{s.fill_percent:.0f} %",
                s.tenant,
                s.problem,
            )
            for s in found
        ],
        empty="There are no servers.",
    )


@app.command()
def show(
    name: Name,
    sort: Annotated[Sort, typer.Option(help="By what the heaviest tenants are sorted.")] = Sort.BYTES,
    as_json: Json = False,
) -> None:
    """Show one server: its load, its heaviest tenants, and when it is full."""
    with central() as api:
        server = api.server(name, f"-{sort}")
    _show(server, as_json)
    if not as_json:
        _show_use(server)


@app.command()
def add(
    name: Annotated[str, typer.Option(help="What to call it.", show_default=False)],
    url: Annotated[
        str,
        typer.Option(
            envvar="AWSSOME_SERVER_URL",
            show_envvar=True,
            help="URL of its administrator, as in postgresql://admin:password@host:5432/tenants "
            "or mssql://admin:password@host:1433/tenants. Kept encrypted.",
            show_default=False,
        ),
    ],
    kind: Annotated[ServerKind, typer.Option(help="pool: many tenants; dedicated: one.")] = ServerKind.POOL,
    engine: Annotated[EngineName, typer.Option(help="Its database engine.")] = EngineName.POSTGRESQL,
    capacity: Annotated[int | None, typer.Option(min=1, help="Tenants at most.", show_default="by engine")] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait until a worker has checked it.")] = False,
    as_json: Json = False,
) -> None:
    """Register a server; a worker checks and opens it."""
    with central() as api:
        server = api.add_server(AddServer(name=name, kind=kind, engine=engine, url=SecretStr(url), capacity=capacity))
        if not no_wait:
            server = _until_checked(api, name)
    _show(server, as_json)


@app.command()
def close(name: Name, as_json: Json = False) -> None:
    """Take no new tenants on this server; those that are there stay."""
    with central() as api:
        _show(api.close_server(name), as_json)


@app.command("open")
def open_server(
    name: Name,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait until a worker has checked it.")] = False,
    as_json: Json = False,
) -> None:
    """Have a worker check the server and open it to new tenants."""
    with central() as api:
        server = api.open_server(name)
        if not no_wait:
            server = _until_checked(api, name)
    _show(server, as_json)


@app.command("set")
def set_server(
    name: Name,
    capacity: Annotated[int, typer.Option(min=1, max=100_000, help="Tenants at most, kept copies included.")],
    as_json: Json = False,
) -> None:
    """Change the server's capacity; below what is there, it takes no tenants until there is room again."""
    with central() as api:
        _show(api.change_server(name, ChangeServer(capacity=capacity)), as_json)


@app.command()
def drain(
    name: Name,
    to: Annotated[str | None, typer.Option(help="The pool that takes them; the emptiest if not given.")] = None,
    tenants: Annotated[int | None, typer.Option(min=1, help="Move so many tenants.", show_default=False)] = None,
    until_below: Annotated[
        int | None, typer.Option(min=1, help="Move tenants until fewer than so many live there.", show_default=False)
    ] = None,
    stop: Annotated[bool, typer.Option("--stop", help="Start no more moves; those under way end.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell who would go where, and move nobody.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait until it has ended.")] = False,
    as_json: Json = False,
) -> None:
    """Move tenants off a pool, two at a time, those first at which nobody has looked for longest.

    It takes no new tenants meanwhile. Ctrl-C ends the waiting, not the drain.
    """
    if (tenants is not None) + (until_below is not None) + stop != 1:
        raise typer.BadParameter("Use one of --tenants, --until-below and --stop.")
    with central() as api:
        if stop:
            _show(api.stop_drain(name), as_json)
            return
        keep = until_below - 1 if until_below is not None else max(0, api.server(name).tenants - (tenants or 0))
        body = StartDrain(keep=keep, to=to)
        if dry_run:
            _show_plan(api.plan_drain(name, body), as_json)
            return
        server = api.start_drain(name, body)
        if not no_wait:
            server = _until_drained(api, name, server)
    _show(server, as_json)


def _until_drained(api: Control, name: str, began: ServerRow) -> ServerRow:
    """Wait for the end of a drain. :raises Refused: CONFLICT when it ended before its goal."""
    keep = began.drain.keep if began.drain else began.tenants
    with progress() as bar:
        task = bar.add_task(f"Tenants off {name}", total=max(0, began.tenants - keep))
        told = ""

        def look() -> ServerRow:
            nonlocal told
            now = api.server(name)
            bar.update(task, completed=max(0, began.tenants - now.tenants))
            problem = (now.drain.problem if now.drain else None) or ""
            if problem and problem != told:
                status().print(f"Waiting: {problem}")
            told = problem
            return now

        server = poll(look, lambda now: now.drain is None, seconds=float("inf"), every=1.0)
    assert server is not None  # noqa: S101 - it is waited for without end
    if server.drain_problem:
        raise Refused(
            Code.CONFLICT,
            f"The drain of {name} has ended. {server.drain_problem if server else ''}",
            "`awssome move list`",
        )
    return server


def _show_plan(plan: DrainPlan, as_json: bool) -> None:
    if as_json:
        print_json(plan)
        return
    print_table(
        ("Tenant", "Company", "Last seen", "To"),
        [(move.slug, move.company, move.last_seen, move.to or "no pool has room") for move in plan.moves],
        empty=f"Nobody has to go: no more than {plan.keep:,} tenants live there.",
    )


def _until_checked(api: Control, name: str) -> ServerRow:
    with waiting("Waiting for a worker to check the server"):
        found = poll(
            lambda: api.server(name), lambda server: server.open or bool(server.problem), seconds=_CHECK_SECONDS
        )
    if found is None or not found.open:
        problem = found.problem if found else f"No worker has checked it within {_CHECK_SECONDS:.0f} s."
        raise Refused(
            Code.CONFLICT, f"Server “{name}” is registered but not open. {problem}", "It opens when a check succeeds."
        )
    return found


def _show(server: ServerRow, as_json: bool) -> None:
    if as_json:
        print_json(server)
        return
    print_facts(
        [
            ("Server", server.name),
            ("Kind", server.kind),
            ("Engine", server.engine),
            ("Address", f"{server.host}:{server.port}/{server.database}"),
            ("Open", server.open),
            ("Problem", server.problem),
            ("Takes tenants", server.takes_tenants),
            ("Tenants", server.tenants),
            ("Kept copies", server.retained),
            ("Capacity", server.capacity),
            ("Free places", server.free),
            ("In use", f"{server.fill_percent:.1f} %"),
            ("Drain", _told(server)),
            ("Of tenant", server.tenant),
            ("Since", server.created_at),
            ("Silent since", server.silent_since),
        ]
    )


def _told(server: ServerRow) -> str | None:
    if server.drain is None:
        return server.drain_problem
    where = f" to {server.drain.to}" if server.drain.to else ""
    problem = f" Waiting: {server.drain.problem}" if server.drain.problem else ""
    asked = f", asked for by {server.drain.requested_by}."
    return f"until at most {server.drain.keep:,} tenants live here{where}{asked}{problem}"


def _show_use(server: ServerDetail) -> None:
    if server.load is None:
        console().print("\nNo figures yet. A worker looks at each server every five minutes.")
        return
    load, forecast = server.load, server.forecast
    console().print("")
    print_facts(
        [
            ("Looked at", load.at),
            ("Data", size(load.bytes)),
            ("Rows", load.rows),
            (
                "Connections",
                f"{load.connections:,}" + (f" of {load.connection_limit:,}" if load.connection_limit else ""),
            ),
            ("Blocked", load.blocked),
            ("Growth", f"{forecast.a_day:+.1f} places a day" if forecast else None),
            ("Full on", (forecast.full_on or "not in sight") if forecast else None),
        ]
    )
    console().print("")
    print_table(
        ("Tenant", "Tier", "Data", "Rows", "Connections", "Statements today", "Their time"),
        [
            (
                consumer.company,
                consumer.tier,
                size(consumer.bytes),
                consumer.rows,
                consumer.connections,
                consumer.statements,
                None if consumer.statement_seconds is None else f"{consumer.statement_seconds:,.1f} s",
            )
            for consumer in server.consumers
        ],
        empty="No tenant has been seen here.",
    )
    for alert in server.alerts:
        status().print(f"{alert.severity}: {alert.message} {alert.advice}")
