"""`awssome alerts`: what is wrong."""

from __future__ import annotations

from typing import Annotated

import typer

from awssome.cli.central import central
from awssome.cli.output import Json, print_json, print_table
from awssome.control.messages import AlertOut


def alerts(
    every: Annotated[bool, typer.Option("--all", help="Also those that are over, newest first.")] = False,
    as_json: Json = False,
) -> None:
    """List what is wrong now, errors first."""
    with central() as api:
        page = api.alerts()
        found = page.open + (page.cleared if every else [])
        while every and page.next:
            page = api.alerts(page.next)
            found += page.cleared
    if as_json:
        print_json(found)
        return
    columns = ["Severity", "Alert", "About", "Tenant", "Since", "What is the matter", "What to do"]
    if every:
        columns.insert(5, "Until")
    print_table(columns, [_line(alert, every) for alert in found], empty="Nothing is wrong.")


def _line(alert: AlertOut, every: bool) -> list[object]:
    line: list[object] = [alert.severity, alert.title, alert.about, alert.tenant, alert.opened_at or "just now"]
    if every:
        line.append(alert.cleared_at)
    return [*line, alert.message, "" if alert.cleared_at else alert.advice]
