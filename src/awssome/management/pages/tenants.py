"""Tenants, and a tenant with what operators may do to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from awssome.control.messages import Accepted, MoveOut, StartRestore, TenantDetail
from awssome.database import Connection
from awssome.domain.errors import Refused
from awssome.domain.instances import USUAL
from awssome.domain.tenants import ServerKind, TenantState, Tier
from awssome.management import archives as managed_archives
from awssome.management import operations, watching
from awssome.management.pages.archives import chosen, section
from awssome.management.pages.guard import AtDesk, Desk
from awssome.management.pages.rows import (
    can_take,
    is_under_way,
    move_row,
    move_view,
    require_name,
    server_address,
    server_row,
    sync_row,
    tenant_address,
    tenant_row,
)
from awssome.management.pages.use import tenant_use_view
from awssome.web.tables import Listing, Order
from awssome.workflows import moves

PAGE = 50
TIERS = [("", "All tiers"), (Tier.FREE, "Free"), (Tier.PAID, "Paid")]
STATES = [
    ("", "All states"),
    (TenantState.PENDING, "Pending"),
    (TenantState.ACTIVE, "Active"),
    (TenantState.MOVING, "Moving"),
    (TenantState.SUSPENDED, "Suspended"),
    (TenantState.ARCHIVED, "Archived"),
    (TenantState.RETAINED, "Deleted, kept"),
    (TenantState.DELETED, "Deleted"),
]

router = APIRouter()


@router.get("/tenants")
def tenants(request: Request, desk: AtDesk) -> Response:
    """Every tenant; search, filters, order and page are in the address."""
    with desk.registry.begin() as connection:
        listing = tenants_listing(request, connection)
    return desk.pages.render(request, "tenants.html", listing=listing, tiers=TIERS, states=STATES)


@router.get("/tenants/{ref}")
def tenant(request: Request, desk: AtDesk, ref: str) -> Response:
    """One tenant, by slug or id."""
    return show_tenant(request, desk, ref)


@router.post("/tenants/{ref}/upgrade")
def upgrade(request: Request, desk: AtDesk, ref: str, dedicated: Annotated[str, Form()] = "") -> Response:
    """Grant the paid tier at once; the move to a dedicated server follows."""
    return _move(
        request,
        desk,
        ref,
        lambda connection: operations.start_upgrade(desk.services, connection, desk.actor, ref, dedicated or None),
    )


@router.post("/tenants/{ref}/move")
def move(request: Request, desk: AtDesk, ref: str, server: Annotated[str, Form()] = "") -> Response:
    """Move the tenant to a server; the tier stays."""
    return _move(
        request,
        desk,
        ref,
        lambda connection: operations.start_move(desk.services, connection, desk.actor, ref, server or None),
    )


@router.post("/tenants/{ref}/rollback")
def roll_back(request: Request, desk: AtDesk, ref: str, confirm: Annotated[str, Form()] = "") -> Response:
    """Move the tenant back to where it was, with all that was written since."""

    def start(connection: Connection) -> MoveOut:
        require_name(confirm, operations.tenant_detail(connection, ref).company)
        return operations.start_rollback(desk.services, connection, desk.actor, ref)

    return _move(request, desk, ref, start)


@router.post("/tenants/{ref}/downgrade")
def downgrade(request: Request, desk: AtDesk, ref: str, confirm: Annotated[str, Form()] = "") -> Response:
    """Give the paid tier up, and move the tenant to a pool."""

    def start(connection: Connection) -> MoveOut | Accepted:
        require_name(confirm, operations.tenant_detail(connection, ref).company)
        return operations.start_downgrade(desk.services, connection, desk.actor, ref)

    return _move(request, desk, ref, start)


@router.post("/tenants/{ref}/decline")
def decline(request: Request, desk: AtDesk, ref: str) -> Response:
    """Decline the paid tier that the owner asks for."""
    try:
        with desk.registry.begin() as connection:
            moves.withdraw(connection, desk.actor, ref)
    except Refused as refused:
        return show_tenant(request, desk, ref, refused)
    return desk.pages.redirect(request, tenant_address(ref), "success", "The request is declined. The tier stays free.")


@router.post("/tenants/{ref}/suspend")
def suspend(request: Request, desk: AtDesk, ref: str, confirm: Annotated[str, Form()] = "") -> Response:
    """Close the tenant's pages and its database login."""
    try:
        with desk.registry.begin() as connection:
            company = operations.tenant_detail(connection, ref).company
            require_name(confirm, company)
            operations.suspend(desk.services, connection, desk.actor, ref)
    except Refused as refused:
        return show_tenant(request, desk, ref, refused)
    return desk.pages.redirect(request, tenant_address(ref), "success", f"{company} is suspended.")


@router.post("/tenants/{ref}/resume")
def resume(request: Request, desk: AtDesk, ref: str) -> Response:
    """Open a suspended tenant."""
    try:
        with desk.registry.begin() as connection:
            operations.resume(desk.services, connection, desk.actor, ref)
    except Refused as refused:
        return show_tenant(request, desk, ref, refused)
    return desk.pages.redirect(request, tenant_address(ref), "success", "The tenant is open again.")


@router.post("/tenants/{ref}/export")
def export(request: Request, desk: AtDesk, ref: str) -> Response:
    """Ask for an archive of the tenant."""
    try:
        with desk.registry.begin() as connection:
            managed_archives.export(desk.services, connection, desk.actor, ref)
    except Refused as refused:
        return show_tenant(request, desk, ref, refused)
    text = "The export is under way. The archive is listed under “Archives”."
    return desk.pages.redirect(request, f"{tenant_address(ref)}#archives", "success", text)


@router.post("/tenants/{ref}/restore")
def restore(
    request: Request,
    desk: AtDesk,
    ref: str,
    archive: Annotated[str, Form()] = "",
    server: Annotated[str, Form()] = "",
    how: Annotated[str, Form()] = "",
    confirm: Annotated[str, Form()] = "",
) -> Response:
    """Bring the tenant back from one of its archives, in place of what it has or beside it."""
    try:
        with desk.registry.begin() as connection:
            require_name(confirm, operations.tenant_detail(connection, ref).company)
            body = StartRestore(archive_id=chosen(archive), server=server or None, beside=how != "replace")
            started = managed_archives.restore(desk.services, connection, desk.actor, ref, body)
    except Refused as refused:
        return show_tenant(request, desk, ref, refused)
    return desk.pages.redirect(request, f"/restores/{started.id}", "success", "The restore has begun.")


def tenants_listing(request: Request, connection: Connection, server: str = "") -> Listing:
    """The page of tenants that the address asks for (q, tier, state, sort, after, before), of one server if given."""
    asked = request.query_params
    order = Order.of(request, {"created", "company", "tier", "state"}, "-created")
    page = operations.tenants_page(
        connection,
        search=asked.get("q", ""),
        sort=str(order),
        after=asked.get("after", ""),
        before=asked.get("before", ""),
        limit=PAGE,
        tier=asked.get("tier", ""),
        state=asked.get("state", ""),
        server=server,
    )
    rows = [tenant_row(tenant) for tenant in page.tenants]
    return Listing.of(request, rows, order=order, total=page.total, after=page.next, before=page.previous)


def _move(request: Request, desk: Desk, ref: str, start: Callable[[Connection], MoveOut | Accepted]) -> Response:
    try:
        with desk.registry.begin() as connection:
            started = start(connection)
    except Refused as refused:
        return show_tenant(request, desk, ref, refused)
    if isinstance(started, Accepted):
        return desk.pages.redirect(request, tenant_address(ref), "info", started.message)
    text = f"The move from {started.source} to {started.target} has begun."
    return desk.pages.redirect(request, tenant_address(ref), "success", text)


def show_tenant(request: Request, desk: Desk, ref: str, problem: Refused | None = None) -> Response:
    """The tenant's page, with what was refused on it."""
    with desk.registry.begin() as connection:
        detail = operations.tenant_detail(connection, ref)
        use = tenant_use_view(watching.tenant_use(connection, ref))
        servers = operations.servers_with_load(connection)
        of_archives = section(connection, str(detail.id))
    others = [server for server in servers if server.name != detail.server]
    here = next((server for server in servers if server.name == detail.server), None)
    blueprint = desk.services.blueprint
    under_way = next((move for move in detail.moves if is_under_way(move)), None)
    return desk.pages.render(
        request,
        "tenant.html",
        problem.status if problem else 200,
        tenant=detail,
        row=tenant_row(detail),
        use=use,
        problem=problem,
        placements=[{**row.model_dump(), "href": server_address(row.server)} for row in detail.placements],
        moves=[move_row(move) for move in detail.moves],
        view=move_view(under_way) if under_way else None,
        fragment=False,
        rollback=next((move for move in detail.moves if "rollback" in move.actions), None),
        shared=here is not None and here.kind is ServerKind.POOL,
        aws_makes=blueprint is not None and here is not None and blueprint.runs is here.engine,
        usual=USUAL,
        targets=[server_row(server) for server in others if can_take(server, detail.company)],
        **of_archives,
        **_syncs(desk, detail),
    )


def _syncs(desk: Desk, detail: TenantDetail) -> dict[str, Any]:
    """The tenant's last syncs, read as the tenant; its server may be down, and the page must still come."""
    if detail.server is None or detail.state not in (TenantState.ACTIVE, TenantState.MOVING):
        return {"syncs": [], "syncs_problem": None}
    try:
        with desk.registry.begin() as connection:
            rows = [sync_row(sync) for sync in operations.tenant_syncs(desk.services, connection, str(detail.id))]
            return {"syncs": rows, "syncs_problem": None}
    except Refused as refused:
        return {"syncs": [], "syncs_problem": refused}
