"""`awssome operator` and `awssome audit`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from pydantic import SecretStr

from awssome.cli.central import central
from awssome.cli.output import Json, print_facts, print_json, print_table
from awssome.control.messages import AuditRow, CreateOperator
from awssome.domain.secrets import new_token

operator = typer.Typer(no_args_is_help=True, help="Operators: people who may sign in to the management portal.")


@operator.callback()
def _operator() -> None:
    """Keeps `create` a command of its own while it is the only one."""


@operator.command()
def create(
    email: Annotated[str, typer.Option(help="To sign in with.", show_default=False)],
    name: Annotated[str, typer.Option(help="As pages show it.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Make an operator. On a terminal the password is asked for; otherwise one is made and printed once."""
    made = ""
    if sys.stdin.isatty() and not as_json:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        password = made = new_token()
    with central() as api:
        account = api.create_operator(CreateOperator(email=email, name=name, password=SecretStr(password)))
    shown = {"id": str(account.id), "email": account.email, "name": account.name}
    if made:
        shown["password"] = made
    if as_json:
        print_json(shown)
    else:
        print_facts((label.capitalize(), value) for label, value in shown.items())


def audit(
    limit: Annotated[int, typer.Option(min=1, help="How many lines at most.")] = 50, as_json: Json = False
) -> None:
    """Show the audit log, newest first."""
    found: list[AuditRow] = []
    with central() as api:
        after: str | None = ""
        while after is not None and len(found) < limit:
            page = api.audit(after)
            found += page.entries
            after = page.next
    found = found[:limit]
    if as_json:
        print_json(found)
        return
    print_table(
        ("At", "Who", "Action", "Tenant", "From", "Detail"),
        [
            (
                f"{line.at:%Y-%m-%d %H:%M:%S}",
                line.actor,
                line.action,
                line.company,
                line.address,
                ", ".join(f"{key} {value}" for key, value in line.detail.items()),
            )
            for line in found
        ],
        empty="Nothing was logged yet.",
    )
