"""`awssome server`: the servers of the data plane."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from pydantic import SecretStr

from awssome.cli.central import central
from awssome.cli.output import Json, console, poll, print_facts, print_json, print_table, size, status, waiting
from awssome.control.client import Control
from awssome.control.messages import AddServer, ServerDetail, ServerRow
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
        ("Name", "Kind", "Engine", "Address", "Open", "Tenants", "Kept copies", "Capacity", "Of tenant", "Problem"),
        [
            (
                s.name,
                s.kind,
                s.engine,
                f"{s.host}:{s.port}",
                s.open,
                s.tenants,
                s.retained,
                s.capacity,
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


def _until_checked(api: Control, name: str) -> ServerRow:
    with waiting("Waiting for a worker to check the server"):
        found = poll(
            lambda: _named(api, name), lambda server: server.open or bool(server.problem), seconds=_CHECK_SECONDS
        )
    if found is None or not found.open:
        problem = found.problem if found else f"No worker has checked it within {_CHECK_SECONDS:.0f} s."
        raise Refused(
            Code.CONFLICT, f"Server “{name}” is registered but not open. {problem}", "It opens when a check succeeds."
        )
    return found


def _named(api: Control, name: str) -> ServerRow:
    found = next((server for server in api.servers() if server.name == name), None)
    if found is None:
        raise Refused(Code.NOT_FOUND, f"There is no server “{name}”.", "`awssome server list` names them.")
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
            ("Tenants", server.tenants),
            ("Kept copies", server.retained),
            ("Capacity", server.capacity),
            ("Of tenant", server.tenant),
            ("Since", server.created_at),
            ("Silent since", server.silent_since),
        ]
    )


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
