"""Servers, and a server with its tenants."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response
from pydantic import SecretStr

from awssome.control.messages import AddServer
from awssome.domain.errors import Code, Refused
from awssome.domain.instances import USUAL
from awssome.domain.servers import checked_name, location
from awssome.domain.tenants import EngineName, ServerKind
from awssome.management import operations, watching
from awssome.management.pages import use
from awssome.management.pages.alerts import alert_row
from awssome.management.pages.guard import AtDesk, Desk
from awssome.management.pages.rows import ENGINES, server_address, server_row
from awssome.management.pages.tenants import tenants_listing

T = TypeVar("T")
Choice = TypeVar("Choice", ServerKind, EngineName)

MOST_TENANTS = 100_000

HEAVIEST = 10
"""So many of a server's tenants are shown with their use at first."""

KINDS = [(ServerKind.POOL, "Pool, for many tenants"), (ServerKind.DEDICATED, "Dedicated, for one paid tenant")]

router = APIRouter()


@router.get("/servers")
def servers(request: Request, desk: AtDesk) -> Response:
    """Every server with its load."""
    with desk.registry.begin() as connection:
        rows = [server_row(server) for server in operations.servers_with_load(connection)]
    return desk.pages.render(request, "servers.html", rows=rows)


@router.get("/servers/new")
def new_server(request: Request, desk: AtDesk) -> Response:
    """The form for another server."""
    return _form(request, desk, {})


@router.post("/servers/new")
def add_server(
    request: Request,
    desk: AtDesk,
    name: Annotated[str, Form()] = "",
    kind: Annotated[str, Form()] = "",
    engine: Annotated[str, Form()] = "",
    url: Annotated[str, Form()] = "",
    capacity: Annotated[str, Form()] = "",
) -> Response:
    """Register a server; a worker checks it and opens it."""
    values = {"name": name, "kind": kind, "engine": engine, "capacity": capacity}
    try:
        body = _read(values, url)
        with desk.registry.begin() as connection:
            added = operations.add_server(desk.services, connection, desk.actor, body)
    except Refused as refused:
        return _form(request, desk, values, refused)
    text = f"{added.name} is registered. A worker checks it now and opens it."
    return desk.pages.redirect(request, server_address(added.name), "success", text)


@router.get("/servers/{name}")
def server(request: Request, desk: AtDesk, name: str) -> Response:
    """One server: its load, its heaviest tenants, when it is full, and its tenants."""
    return show_server(request, desk, name)


@router.post("/servers/{name}/close")
def close(request: Request, desk: AtDesk, name: str) -> Response:
    """No new tenants on this server; those on it stay."""
    with desk.registry.begin() as connection:
        operations.close_server(desk.services, connection, desk.actor, name)
    return desk.pages.redirect(request, server_address(name), "success", f"{name} takes no new tenants.")


@router.post("/servers/{name}/open")
def open_again(request: Request, desk: AtDesk, name: str) -> Response:
    """Have a worker check the server and open it."""
    with desk.registry.begin() as connection:
        operations.open_server(desk.services, connection, desk.actor, name)
    return desk.pages.redirect(request, server_address(name), "success", f"A worker checks {name} now and opens it.")


def show_server(request: Request, desk: Desk, name: str, problem: Refused | None = None) -> Response:
    """The server's page, with what was refused on it."""
    with desk.registry.begin() as connection:
        found = watching.server_detail(connection, name)
        listing = tenants_listing(request, connection, server=name)
        move = operations.move_to_server(connection, found.id) if found.instance else None
        behind, failing = operations.tables_behind(connection, name)
        pools = [
            (each.name, each.name)
            for each in operations.servers_with_load(connection)
            if each.takes_tenants and each.kind is ServerKind.POOL and each.engine is found.engine and each.name != name
        ]
    return desk.pages.render(
        request,
        "server.html",
        problem.status if problem else 200,
        server=found,
        row=server_row(found),
        listing=listing,
        move=move,
        usual=USUAL,
        behind=behind,
        failing=failing,
        pools=pools,
        problem=problem,
        alerts=[alert_row(alert) for alert in found.alerts],
        consumers=[use.consumer_row(consumer) for consumer in found.consumers[:HEAVIEST]],
        seen=use.seen(found),
        full=use.full_in_words(found),
        connections=use.connections_in_words(found),
        growth=use.server_growth(found),
    )


def number_of_tenants(given: str, field: str, *, least: int) -> int:
    """What a form says. :raises Refused: INVALID, naming the field."""
    digits = given.strip().replace(",", "")
    if not re.fullmatch("[0-9]{1,6}", digits) or not least <= int(digits) <= MOST_TENANTS:
        wrong = f"Enter a whole number from {least} to {MOST_TENANTS:,}."
        raise Refused(Code.INVALID, f"This is not a number of tenants. {wrong}", fields={field: wrong})
    return int(digits)


def _form(request: Request, desk: Desk, values: dict[str, str], problem: Refused | None = None) -> Response:
    return desk.pages.render(
        request,
        "server_form.html",
        problem.status if problem else 200,
        values={"name": "", "kind": ServerKind.POOL, "engine": EngineName.POSTGRESQL, "capacity": ""} | values,
        kinds=KINDS,
        engine_options=list(ENGINES.items()),
        problem=problem,
        errors=problem.fields if problem else {},
    )


def _read(values: dict[str, str], url: str) -> AddServer:
    """The form as a body. :raises Refused: INVALID, naming every field that needs an answer."""
    wrong: dict[str, str] = {}

    def read(check: Callable[[], T]) -> T | None:
        try:
            return check()
        except Refused as refused:
            wrong.update(refused.fields)
            return None

    name = read(lambda: checked_name(values["name"].strip()))
    kind = read(lambda: _one_of(ServerKind, values["kind"], "kind"))
    engine = read(lambda: _one_of(EngineName, values["engine"], "engine"))
    read(lambda: location(url, engine or EngineName.POSTGRESQL))
    capacity = (
        read(lambda: number_of_tenants(given, "capacity", least=1)) if (given := values["capacity"].strip()) else None
    )
    if wrong or name is None or kind is None or engine is None:
        raise Refused(Code.INVALID, "The server cannot be added as it is. Nothing was changed.", fields=wrong)
    return AddServer(name=name, kind=kind, engine=engine, url=SecretStr(url.strip()), capacity=capacity)


def _one_of(kind: type[Choice], given: str, field: str) -> Choice:
    try:
        return kind(given)
    except ValueError:
        raise Refused(Code.INVALID, "A choice is missing.", fields={field: "Choose one."}) from None
