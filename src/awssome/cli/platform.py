"""`awssome serve`, `doctor`, `sandbox` and `demo`: what runs the platform, or looks below it."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from awssome import main
from awssome.cli.output import Json, print_json, print_table, status, waiting
from awssome.domain.errors import Code, Refused

if TYPE_CHECKING:
    from awssome.database.doctor import Finding

serve = typer.Typer(no_args_is_help=True, help="Serve a part of the platform until Ctrl-C or SIGTERM.")
sandbox = typer.Typer(no_args_is_help=True, help="Stand-ins for HubSpot, AWS and a mail server.")

_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


class Queue(StrEnum):
    """Queues of background jobs."""

    SIGN_UP = "sign-up"
    SYNC = "sync"
    MOVE = "move"
    SWEEP = "sweep"


@serve.command()
def management() -> None:
    """Serve the management portal and the central API."""
    main.serve_management(_to_serve())


@serve.command()
def portal() -> None:
    """Serve the tenants' portal; it needs the central API, and neither the secret key nor a database."""
    main.serve_portal(_to_serve())


@serve.command()
def worker(
    queue: Annotated[list[Queue] | None, typer.Option(help="Work on this queue only (repeatable).")] = None,
    unsupervised: Annotated[bool, typer.Option("--unsupervised", help="Without the supervisor.")] = False,
) -> None:
    """Work on background jobs. A supervisor starts the worker again when it ends."""
    if unsupervised:
        main.serve_worker(main.load(), queue or ())
    else:
        main.supervise_worker(_to_serve(), queue or ())


@serve.command(hidden=True)
def database(
    directory: Annotated[Path, typer.Option(envvar="SANDBOX_DIRECTORY", help="Where its data is kept.")],
    username: Annotated[str, typer.Option(envvar="SANDBOX_USERNAME", help="The master user.")],
    password: Annotated[str, typer.Option(envvar="SANDBOX_PASSWORD", help="The master user's password.")],
    engine: Annotated[str, typer.Option(envvar="SANDBOX_ENGINE", help="RDS's name of the engine.")] = "postgres",
    name: Annotated[str, typer.Option("--database", envvar="SANDBOX_DATABASE", help="A database to make.")] = "",
) -> None:
    """Serve a fresh PostgreSQL as RDS would, for `awssome sandbox aws --database-command "awssome serve database"`."""
    if engine != "postgres":
        raise Refused(Code.INVALID, f"There is no embedded server for the engine {engine}.")
    main.serve_database(main.load(), directory, user=username, password=password, database=name)


def doctor(
    server: Annotated[
        str | None,
        typer.Option(
            metavar="SERVER",
            help="Verify this server instead: isolation, fence, values, speed, in scratch workspaces of its own.",
            show_default=False,
        ),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what can be mended without a doubt; no orphaned schema is dropped.")
    ] = False,
    drop: Annotated[
        str | None,
        typer.Option(
            metavar="SCHEMA",
            help="Drop this orphaned schema, which no placement names; nothing brings it back.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare the registry with the servers: schemas, logins, fences, revisions, seals. Drops nothing by itself."""
    from awssome.database.doctor import Finding, examine

    if drop is not None:
        if server is not None or repair:
            raise typer.BadParameter("It goes with no other option.", param_hint="--drop")
        _drop(drop, as_json)
        return
    if server is not None:
        if repair:
            raise typer.BadParameter("There is nothing to repair when one server is verified.", param_hint="--repair")
        _verify(server, as_json)
        return
    settings = main.load()
    findings: list[Finding] = []
    try:
        with main.control_plane(settings) as plane:
            findings.append(Finding("registry", "registry", True, "It answers and is at the newest revision."))
            findings += examine(plane.registry, plane.vault, plane.open_server, repair=repair)
            if settings.blueprint is not None:
                findings.append(_instances(plane, settings.blueprint.platform))
    except Refused as refused:
        findings.append(Finding("registry", "registry", False, refused.whole))
    if as_json:
        print_json([finding.as_dict() for finding in findings])
    else:
        print_table(
            ("", "Check", "Of", "Found"),
            [("repaired" if f.repaired else "ok" if f.ok else "BAD", f.check, f.about, f.told) for f in findings],
            empty="",
        )
    bad = sum(not finding.ok for finding in findings)
    if bad:
        raise Refused(Code.CONFLICT, f"{bad} of {len(findings)} checks found something.")


def _instances(plane: main.Plane, platform: str) -> Finding:
    """Whether RDS has instances of ours that the registry does not know."""
    from awssome.aws.databases import Databases
    from awssome.database.doctor import Finding
    from awssome.domain.instances import Trouble
    from awssome.workflows.instances import orphans

    try:
        names = tuple(orphans(plane.registry, Databases(), platform))
    except Trouble as trouble:
        return Finding("instances", "RDS", False, trouble.whole)
    told = "The registry knows every instance that carries the platform's tag."
    if names:
        told = f"No server is behind {', '.join(names)}: they cost money. Look at each, then delete it in RDS."
    return Finding("instances", "RDS", not names, told, names)


def _drop(schema: str, as_json: bool) -> None:
    from awssome.database.doctor import drop_orphan
    from awssome.database.registry.audit import Actor

    with main.control_plane(main.load()) as plane:
        server = drop_orphan(plane.registry, plane.open_server, Actor("command line"), schema)
    if as_json:
        print_json({"dropped": schema, "server": server})
    else:
        typer.echo(f"{schema} is dropped from {server}.")


def _verify(name: str, as_json: bool) -> None:
    """Print what the verification of one server finds. :raises Refused: CONFLICT when a check failed."""
    from awssome.database.registry import servers
    from awssome.database.verification import Address, verify

    with main.control_plane(main.load()) as plane:
        with plane.registry.begin() as connection:
            row = servers.by_name(connection, name)
        address = Address(row.host, row.port, row.database)
        with closing(verify(plane.open_server(row.id), address)) as steps, waiting(f"Verifying server “{name}”"):
            findings = list(steps)
    if as_json:
        print_json([finding.as_dict() for finding in findings])
    else:
        print_table(("", "Check", "Of", "Found"), [(f.outcome, f.check, f.about, f.told) for f in findings], empty="")
    bad = sum(not finding.ok for finding in findings)
    if bad:
        raise Refused(Code.CONFLICT, f"{bad} of {len(findings)} checks failed.", "`--json` lists what was tried.")


@sandbox.command(context_settings=_PASSED_ON)
def hubspot(context: typer.Context) -> None:
    """Stand in for HubSpot; `--help` lists its options."""
    _become("hubspot", context.args)


@sandbox.command(context_settings=_PASSED_ON)
def aws(context: typer.Context) -> None:
    """Stand in for AWS; `--help` lists its options."""
    _become("aws", context.args)


@sandbox.command(context_settings=_PASSED_ON)
def mail(context: typer.Context) -> None:
    """Stand in for a mail server; `--help` lists its options."""
    _become("mail", context.args)


def demo(
    deals: Annotated[int, typer.Option(min=1, max=20_000, help="Deals in the HubSpot sandbox.")] = 250,
    pool_url: Annotated[
        str | None,
        typer.Option(
            envvar="AWSSOME_DEMO_POOL_URL",
            help="A server to use as the pool, by its administrator's URL.",
            show_default="embedded PostgreSQL",
        ),
    ] = None,
    dedicated_url: Annotated[
        str | None,
        typer.Option(
            envvar="AWSSOME_DEMO_DEDICATED_URL",
            help="Likewise, as the dedicated server.",
            show_default="embedded PostgreSQL",
        ),
    ] = None,
    leave: Annotated[bool, typer.Option("--exit", help="End after the story instead of serving on.")] = False,
    as_json: Json = False,
) -> None:
    """Start everything on this machine with fresh data, play the whole story once, and serve on until Ctrl-C."""
    from awssome import demo as playing

    settings = main.load()
    playing.play(
        playing.Options(
            home=settings.home,
            clusters=[directory for directory, _, _ in main.EMBEDDED],
            operator_token=settings.operator_secret,
            deals=deals,
            pool_url=pool_url,
            dedicated_url=dedicated_url,
            leave=leave,
            as_json=as_json,
        )
    )


def _to_serve() -> main.Settings:
    """The settings, with a warning to who is about to work on data that the next demo wipes."""
    from awssome.demo.ensemble import SERVED_BY_DEMO
    from awssome.demo.home import MARK

    settings = main.load()
    if (settings.home / MARK).exists() and SERVED_BY_DEMO not in os.environ:
        status().print(
            f"Warning: {settings.home} holds the data of a demo. The next `awssome demo` wipes it, unless you remove "
            f"the file {settings.home / MARK}."
        )
    return settings


def _become(name: str, options: list[str]) -> None:
    """Go on as the sandbox's own program: it shares no code with us."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", f"awssome_sandbox.{name}", *options])  # noqa: S606 - no shell is wanted
