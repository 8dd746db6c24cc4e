"""`awssome migrate`: the registry's tables and every tenant's, brought to the newest revision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from awssome import main
from awssome.cli.output import Json, print_json, print_table, status
from awssome.domain.errors import Code, Refused

if TYPE_CHECKING:
    from awssome.database.migrator import Behind, Outcome

LISTED = 20
"""Failures that are printed; `--json` lists all."""


def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what is behind, and change nothing.")] = False,
    sql: Annotated[bool, typer.Option("--sql", help="With --dry-run: print the statements, too.")] = False,
    only: Annotated[
        str | None,
        typer.Option(metavar="TENANT", help="This tenant only: one goes first.", show_default=False),
    ] = None,
    server: Annotated[
        str | None, typer.Option(metavar="SERVER", help="Tenants on this server only.", show_default=False)
    ] = None,
    connections: Annotated[int, typer.Option(min=1, max=16, help="Connections to each server.")] = 4,
    as_json: Json = False,
) -> None:
    """Bring the registry and every tenant that is behind to the newest revision; goes on where it was interrupted."""
    from awssome.database import migrator, template
    from awssome.database.migrate import registry_head
    from awssome.database.registry import servers, tenants

    if sql and not dry_run:
        raise typer.BadParameter("Statements are printed with --dry-run only.", param_hint="--sql")
    settings = main.load()
    registry = main.registry_revision(settings) if dry_run else main.migrate_registry(settings)
    with main.control_plane(settings, any_revision=dry_run) as plane:
        if registry == registry_head():
            with plane.registry.begin() as connection:  # who is not behind and who does not exist look alike below
                if only is not None:
                    tenants.by_ref(connection, only)
                if server is not None:
                    servers.by_name(connection, server)
        behind = migrator.find_behind(plane.registry, server=server, tenant=only) if registry else []
        if dry_run:
            _tell(registry, behind, _statements(behind) if sql else {}, as_json)
            return
        outcomes = migrator.migrate(plane.registry, plane.open_server, behind, connections=connections)
        with closing(outcomes):
            told = list(_watched(outcomes, len(behind)))
    failed = [outcome for outcome in told if outcome.problem is not None]
    done = len(told) - len(failed)
    if as_json:
        print_json(
            {
                "registry": registry,
                "revision": template.head(),
                "behind": len(behind),
                "migrated": done,
                "failed": {one.of.schema: _failure(one) for one in failed},
            }
        )
    else:
        reached = (
            f"{done:,} of {_count(len(behind))} brought to {template.head()}." if behind else "No tenant is behind."
        )
        typer.echo(f"The registry is at {registry}. {reached}")
    _refuse(failed, as_json)


def _tell(registry: str | None, behind: Sequence[Behind], statements: dict[str, str], as_json: bool) -> None:
    """Print what a run would do."""
    from awssome.database import template
    from awssome.database.migrate import registry_head

    counts = Counter((place.server, str(place.engine), place.revision) for place in behind)
    rows = [(*key, count) for key, count in sorted(counts.items())]
    if as_json:
        names = ("server", "engine", "revision", "behind")
        print_json(
            {
                "registry": registry,
                "registry_newest": registry_head(),
                "revision": template.head(),
                "behind": len(behind),
                "servers": [dict(zip(names, row, strict=True)) for row in rows],
                "sql": statements,
            }
        )
        return
    newest = registry_head()
    typer.echo(
        f"The registry is at {registry}." if registry == newest else f"The registry goes from {registry} to {newest}."
    )
    typer.echo(f"{_count(len(behind))} behind {template.head()}.")
    if rows:
        print_table(("Server", "Engine", "At revision", "Behind"), rows, empty="")
    for what, script in statements.items():
        typer.echo(f"\n-- {what}; {template.TENANT} stands for the schema and its login\n{script.strip()}")


def _statements(behind: Iterable[Behind]) -> dict[str, str]:
    """The SQL that a run would replay for each tenant, by engine and revision."""
    from awssome.database import template

    kinds = sorted({(place.engine, place.revision) for place in behind})
    return {
        f"{engine} from {revision} to {template.head()}": template.statements(engine, revision)
        for engine, revision in kinds
    }


def _watched(outcomes: Iterable[Outcome], total: int) -> Iterable[Outcome]:
    """Outcomes, with a bar on a terminal."""
    to = status()
    columns: list[ProgressColumn] = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=to, disable=not to.is_terminal) as progress:
        task = progress.add_task("Tenants", total=total)
        for outcome in outcomes:
            progress.advance(task)
            yield outcome


class _Rate(ProgressColumn):
    """Tenants a second since it began: they come by the batch."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.completed / (task.elapsed or 1):,.0f}/s", style="progress.data.speed")


def _failure(outcome: Outcome) -> dict[str, Any]:
    return {"tenant": outcome.of.tenant, "server": outcome.of.server, "problem": outcome.problem}


def _refuse(failed: Sequence[Outcome], as_json: bool) -> None:
    """:raises Refused: CONFLICT when some failed, after they have been listed."""
    if not failed:
        return
    if not as_json:
        rows = [(one.of.tenant, one.of.server, one.of.schema, one.problem) for one in failed[:LISTED]]
        print_table(("Tenant", "Server", "Schema", "Still behind, because"), rows, empty="")
        if len(failed) > LISTED:
            typer.echo(f"and {len(failed) - LISTED:,} more, which --json lists.")
    first = failed[0]
    raise Refused(
        Code.CONFLICT,
        f"{_count(len(failed))} still behind. {first.of.tenant}: {first.problem}",
        "Remove the cause and run `awssome migrate` again: it goes on with those.",
    )


def _count(count: int) -> str:
    return f"{count:,} tenant schema{'' if count == 1 else 's'}"
