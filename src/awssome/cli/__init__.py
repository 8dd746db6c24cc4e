"""The operators' commands. They talk to the central API; only serve, migrate and doctor touch databases themselves.

Status 0: done; 1: refused or failed, with the reason on standard error; 2: wrong usage.
"""

from __future__ import annotations

import sys

import typer

from awssome.cli import alerts, desk, keys, migrate, moves, platform, servers, tenants
from awssome.cli.output import fail
from awssome.domain.errors import Refused

app = typer.Typer(
    name="awssome",
    help="HubSpot deals become AWS deal registrations, each customer in a schema of its own.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(platform.demo)
app.add_typer(platform.serve, name="serve")
app.add_typer(tenants.app, name="tenant")
app.add_typer(servers.app, name="server")
app.add_typer(moves.app, name="move")
app.add_typer(keys.app, name="keys")
app.add_typer(desk.operator, name="operator")
app.command()(alerts.alerts)
app.command()(desk.audit)
app.command()(migrate.migrate)
app.command()(platform.doctor)
app.add_typer(platform.sandbox, name="sandbox")


def main() -> None:
    """The program `awssome`."""
    try:
        app()
    except Refused as refused:
        fail(refused)
        sys.exit(1)
