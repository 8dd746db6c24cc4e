"""What operators settle on the pages of a tenant and of a server: secrets, capacity, drains."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from awssome.control.messages import ChangeServer, StartDrain
from awssome.domain.errors import Refused
from awssome.management import lifecycle, operations
from awssome.management.pages.guard import AtDesk
from awssome.management.pages.rows import require_name, server_address, tenant_address
from awssome.management.pages.servers import number_of_tenants, show_server
from awssome.management.pages.tenants import show_tenant

router = APIRouter()


@router.post("/tenants/{ref}/rotate")
def rotate(request: Request, desk: AtDesk, ref: str) -> Response:
    """Another password for the tenant's login."""
    try:
        with desk.registry.begin() as connection:
            lifecycle.rotate(desk.services, connection, desk.actor, ref)
    except Refused as refused:
        return show_tenant(request, desk, ref, refused)
    return desk.pages.redirect(request, tenant_address(ref), "success", "The secret is being rotated.")


@router.post("/tenants/{ref}/delete")
def delete(request: Request, desk: AtDesk, ref: str, confirm: Annotated[str, Form()] = "") -> Response:
    """Close the tenant at once; its data is archived."""
    try:
        with desk.registry.begin() as connection:
            company = operations.tenant_detail(connection, ref).company
            require_name(confirm, company)
            deleted = lifecycle.delete_tenant(desk.services, connection, desk.actor, ref)
    except Refused as refused:
        return show_tenant(request, desk, ref, refused)
    return desk.pages.redirect(request, tenant_address(str(deleted.id)), "success", f"{company} is deleted.")


@router.post("/tenants/{ref}/return")
def bring_back(request: Request, desk: AtDesk, ref: str) -> Response:
    """Bring an archived or deleted tenant back."""
    try:
        with desk.registry.begin() as connection:
            lifecycle.bring_back(desk.services, connection, desk.actor, ref)
    except Refused as refused:
        return show_tenant(request, desk, ref, refused)
    return desk.pages.redirect(request, tenant_address(ref), "success", "The tenant is being brought back.")


@router.post("/servers/{name}/capacity")
def change_capacity(request: Request, desk: AtDesk, name: str, capacity: Annotated[str, Form()] = "") -> Response:
    """How many tenants the server may hold."""
    try:
        body = ChangeServer(capacity=number_of_tenants(capacity, "capacity", least=1))
        with desk.registry.begin() as connection:
            lifecycle.change_server(connection, desk.actor, name, body)
    except Refused as refused:
        return show_server(request, desk, name, refused)
    return desk.pages.redirect(request, server_address(name), "success", f"{name} has a capacity of {body.capacity:,}.")


@router.post("/servers/{name}/drain")
def drain(
    request: Request, desk: AtDesk, name: str, keep: Annotated[str, Form()] = "", to: Annotated[str, Form()] = ""
) -> Response:
    """Move tenants off a pool."""
    try:
        body = StartDrain(keep=number_of_tenants(keep, "keep", least=0), to=to or None)
        with desk.registry.begin() as connection:
            lifecycle.start_drain(desk.services, connection, desk.actor, name, body)
    except Refused as refused:
        return show_server(request, desk, name, refused)
    return desk.pages.redirect(request, server_address(name), "success", f"Tenants are being moved off {name}.")


@router.post("/servers/{name}/drain/stop")
def stop_drain(request: Request, desk: AtDesk, name: str) -> Response:
    """Start no more moves off the server."""
    try:
        with desk.registry.begin() as connection:
            lifecycle.stop_drain(connection, desk.actor, name)
    except Refused as refused:
        return show_server(request, desk, name, refused)
    text = f"No more tenants leave {name}. Moves under way come to their end."
    return desk.pages.redirect(request, server_address(name), "success", text)
