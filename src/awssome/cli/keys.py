"""`awssome keys`: what wraps the tenants' data keys, and the data keys themselves."""

from __future__ import annotations

from typing import Annotated

import typer

from awssome.cli.central import central
from awssome.cli.output import Json, console, print_json
from awssome.cli.rotations import ask_in_batches, until_rotated
from awssome.domain.errors import Code, Refused

app = typer.Typer(no_args_is_help=True, help="Data keys: the keys that seal tenants' HubSpot tokens.")


@app.callback()
def _keys() -> None:
    """Data keys: the keys that seal tenants' HubSpot tokens."""


@app.command()
def rotate(
    data: Annotated[bool, typer.Option("--data", help="Give every tenant another data key, too.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait until it is done.")] = False,
    as_json: Json = False,
) -> None:
    """Have data keys wrapped by what the settings name now: the secret key, or a key of KMS. Only those behind."""
    with central() as api:
        asked = ask_in_batches(lambda after: api.rotate_data_keys(after, renew=data))
        failed = 0 if no_wait or not asked else until_rotated(api.data_key_rotations, asked, "data keys")
    if as_json:
        print_json({"asked": asked, "failed": failed})
    elif no_wait:
        console().print(f"{asked:,} data keys are rotated.")
    else:
        console().print(f"{asked - failed:,} of {asked:,} data keys are rotated.")
    if failed:
        raise Refused(Code.CONFLICT, f"{failed:,} data keys could not be rotated.", "The page Jobs says why.")
