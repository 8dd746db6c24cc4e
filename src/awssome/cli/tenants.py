"""`awssome tenant`: find, make, move, suspend tenants."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from awssome.cli import archives
from awssome.cli.central import central, until_active, until_moved
from awssome.cli.moves import show_move
from awssome.cli.output import Json, Ref, console, print_facts, print_json, print_table, status
from awssome.cli.rotations import ask_for_rotations, until_rotated
from awssome.cli.tenant_facts import print_tenant
from awssome.control.client import Control
from awssome.control.messages import Accepted, CreateTenant, MoveOut, TenantRow
from awssome.domain.errors import Code, Refused

app = typer.Typer(no_args_is_help=True, help="Tenants: find, make, move, suspend.")

app.command()(archives.export)
app.command("archives")(archives.list_archives)
app.command()(archives.restore)

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait for the move to end.")]

_PAGE = 200


@app.command("list")
def list_tenants(
    search: Annotated[str, typer.Option(help="Part of company, slug or a member's address.")] = "",
    sort: Annotated[str, typer.Option(help="created, company, tier or state; - in front: the other way.")] = "-created",
    limit: Annotated[int, typer.Option(min=0, help="How many at most; 0: all.")] = 0,
    as_json: Json = False,
) -> None:
    """List tenants."""
    found: list[TenantRow] = []
    with central() as api:
        after: str | None = ""
        while after is not None and (not limit or len(found) < limit):
            page = api.tenants(search, sort, after, min(_PAGE, limit - len(found)) if limit else _PAGE)
            found += page.tenants
            after = page.next
    if as_json:
        print_json(found)
        return
    print_table(
        ("Slug", "Company", "Tier", "State", "Server", "HubSpot", "Owner", "Since"),
        [(t.slug, t.company, t.tier, t.state, t.server, t.hubspot, t.owner, t.created_at) for t in found],
        empty="There are no tenants.",
    )


@app.command()
def show(ref: Ref, as_json: Json = False) -> None:
    """Show one tenant: where it is and was, its moves and members."""
    with central() as api:
        tenant = api.tenant(ref)
    print_tenant(tenant, as_json)


@app.command()
def create(
    email: Annotated[str, typer.Option(help="Of the owner, who gets an invitation.", show_default=False)],
    company: Annotated[str, typer.Option(help="The company's name.", show_default=False)],
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait for the workspace.")] = False,
    as_json: Json = False,
) -> None:
    """Make an active free tenant at once; you vouch for it."""
    with central() as api:
        tenant = api.create_tenant(CreateTenant(email=email, company=company))
        if not no_wait:
            tenant = until_active(api, str(tenant.id))
    print_tenant(tenant, as_json)


@app.command()
def credentials(
    ref: Ref,
    placement: Annotated[
        UUID | None, typer.Option(help="Another of its placements, such as one that was restored beside.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the tenant's database login; this is written to the audit log."""
    with central() as api:
        found = api.credentials(ref, placement)
    if as_json:
        print_json(found)
    else:
        print_facts((label, str(value)) for label, value in found.items())


@app.command()
def upgrade(
    ref: Ref,
    server: Annotated[str | None, typer.Option(help="A dedicated server; any free one if not given.")] = None,
    no_wait: NoWait = False,
    as_json: Json = False,
) -> None:
    """Grant the paid tier, and move the tenant to a dedicated server."""
    with central() as api:
        _follow(api, api.start_upgrade(ref, server), no_wait, as_json)


@app.command()
def decline(ref: Ref, as_json: Json = False) -> None:
    """Decline the paid tier that the tenant's owner asks for."""
    with central() as api:
        api.decline_upgrade(ref)
        print_tenant(api.tenant(ref), as_json)


@app.command()
def downgrade(
    ref: Ref,
    yes: Yes = False,
    no_wait: NoWait = False,
    as_json: Json = False,
) -> None:
    """Give the paid tier up: the tenant moves to the emptiest pool, and is on the free tier when it is there."""
    with central() as api:
        tenant = api.tenant(ref)
        if not yes:
            status().print(
                "The ten HubSpot deals that came in first stay in step with HubSpot. "
                "The others stay, and no longer follow it."
            )
            _have_typed(tenant, "downgrade")
        _follow(api, api.start_downgrade(str(tenant.id)), no_wait, as_json)


@app.command()
def rollback(ref: Ref, no_wait: NoWait = False, as_json: Json = False) -> None:
    """Move the tenant back to where its last move came from; what was written since comes along."""
    _move(ref, "rollback", None, no_wait, as_json)


@app.command()
def move(
    ref: Ref,
    server: Annotated[str | None, typer.Option(help="Where to; the emptiest pool if not given.")] = None,
    no_wait: NoWait = False,
    as_json: Json = False,
) -> None:
    """Move the tenant to another server."""
    _move(ref, "move", server, no_wait, as_json)


@app.command()
def suspend(ref: Ref, as_json: Json = False) -> None:
    """Close the tenant's pages and database login, and end its sessions."""
    with central() as api:
        api.suspend(ref)
        print_tenant(api.tenant(ref), as_json)


@app.command()
def resume(ref: Ref, as_json: Json = False) -> None:
    """Open a suspended tenant."""
    with central() as api:
        api.resume(ref)
        print_tenant(api.tenant(ref), as_json)


@app.command()
def delete(
    ref: Ref,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Delete a tenant: closed at once, its data archived and dropped; for 30 days `restore` brings it back."""
    with central() as api:
        tenant = api.tenant(ref)
        if not yes:
            _have_typed(tenant, "delete")
        print_tenant(api.delete_tenant(str(tenant.id)), as_json)


@app.command()
def rotate(
    ref: Annotated[str | None, typer.Argument(metavar="[TENANT]", help="Id or slug.", show_default=False)] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Every active tenant, behind all other work.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait until it is done.")] = False,
    as_json: Json = False,
) -> None:
    """Give database logins another password, from the present secret key, and end the sessions of the old one."""
    if (ref is None) is not everybody:
        raise typer.BadParameter("Name a tenant, or use --all.")
    with central() as api:
        asked = ask_for_rotations(api, ref)
        failed = 0 if no_wait else until_rotated(api.rotations, asked, "logins")
    if as_json:
        print_json({"asked": asked, "failed": failed})
    elif no_wait:
        console().print(f"{asked:,} logins get another password.")
    else:
        console().print(f"{asked - failed:,} of {asked:,} logins have another password.")
    if failed:
        raise Refused(
            Code.CONFLICT, f"{failed:,} logins could not be given another password.", "The page Jobs says why."
        )


def _have_typed(tenant: TenantRow, what: str) -> None:
    """:raises Refused: INVALID when another name is typed than the tenant's."""
    if typer.prompt(f"Type {tenant.slug} to {what} {tenant.company}", err=True) != tenant.slug:
        raise Refused(Code.INVALID, "This is not the tenant's slug. Nothing was changed.")


def _follow(api: Control, started: MoveOut | Accepted, no_wait: bool, as_json: bool) -> None:
    """The move to its end; only the message where none has begun."""
    if isinstance(started, MoveOut):
        show_move(started if no_wait else until_moved(api, started.id), as_json)
    elif as_json:
        print_json(started)
    else:
        console().print(started.message)


def _move(ref: str, kind: str, server: str | None, no_wait: bool, as_json: bool) -> None:
    with central() as api:
        started: MoveOut = api.start_move(ref, kind, server)
        show_move(started if no_wait else until_moved(api, started.id), as_json)
