"""Rows of the registry as bodies of the central API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from awssome.control import messages as m
from awssome.database import Connection
from awssome.database.registry import entitlements, moves, placements, servers, usage
from awssome.database.registry.tenants import Tenant
from awssome.domain.addresses import Addresses
from awssome.domain.instances import MAKING
from awssome.domain.moves import CANCELLABLE, STEPS, UNDER_WAY, Phase, expected_seconds
from awssome.domain.secrets import Keys
from awssome.domain.servers import free_places
from awssome.domain.tenants import EngineName, Role, ServerKind, TenantState, Tier
from awssome.domain.times import now
from awssome.workflows.services import Services


def tenant_row(row: Any) -> m.TenantRow:
    """A row of `registry.tenants.page`."""
    return m.TenantRow(
        id=row.id,
        slug=row.slug,
        company=row.company,
        tier=Tier(row.tier),
        state=TenantState.MOVING if row.moving and row.state == TenantState.ACTIVE else TenantState(row.state),
        server=row.server,
        engine=EngineName(row.engine) if row.engine else None,
        hubspot=row.hubspot_state,
        owner=row.owner,
        upgrade_requested_at=row.upgrade_requested_at,
        problem=row.problem,
        created_at=row.created_at,
        seen_at=row.seen_at,
        retain_until=row.retain_until,
    )


def tenant(services: Services, connection: Connection, found: Tenant) -> m.TenantOut:
    """A tenant as its own people see it."""
    server = None
    if found.placement_id is not None:
        server = servers.of_placement(connection, found.placement_id)
    newest = next(iter(moves.page(connection, tenant_id=found.id, limit=1).rows), None)
    return m.TenantOut(
        id=found.id,
        slug=found.slug,
        company=found.company,
        tier=found.tier,
        state=found.state,
        host=services.addresses.of(found.tier, found.slug),
        external_id=found.external_id,
        role_arn=found.role_arn,
        role_verified_at=found.role_verified_at,
        aws_choice="linked" if found.role_arn else "later" if found.aws_choice == "later" else "open",
        quick_create_url=services.roles.quick_create_url(found.external_id, found.slug),
        hubspot=m.HubSpotOut.model_validate(
            {"state": found.hubspot_state, "portal_id": found.hubspot_portal_id, "hub_domain": found.hubspot_domain}
        ),
        server=server.name if server else None,
        server_kind=ServerKind(server.kind) if server else None,
        upgrade_requested_at=found.upgrade_requested_at,
        problem=found.problem,
        created_at=found.created_at,
        retain_until=found.retain_until,
        move=_for_its_people(move(connection, newest)) if newest else None,
        subscribed=services.marketplace is not None and entitlements.active(connection, found.id),
        way_back=_way_back(connection, newest) if newest else None,
    )


def membership(addresses: Addresses, row: Any) -> m.MembershipOut:
    """A row of `accounts.memberships_of`."""
    return m.MembershipOut(
        tenant_id=row.tenant_id,
        company=row.company,
        slug=row.slug,
        tier=Tier(row.tier),
        state=TenantState(row.state),
        role=Role(row.role),
        host=addresses.of(Tier(row.tier), row.slug),
    )


def member(row: Any) -> m.MemberOut:
    """A row of `accounts.members`."""
    return m.MemberOut(
        account_id=row.account_id,
        # Until they come, an invitation tells nothing of people but the address that was typed.
        name=row.name if row.accepted_at else row.email.partition("@")[0],
        email=row.email,
        role=Role(row.role),
        confirmed=row.accepted_at is not None,
    )


def placement(connection: Connection, keys: Keys, tenant_id: UUID) -> m.PlacementOut:
    """Where the tenant's data is now, with the login's derived password."""
    found = placements.current(connection, keys, tenant_id)
    server = servers.of_placement(connection, found.placement_id)
    return m.PlacementOut(
        placement_id=found.placement_id,
        engine=found.engine,
        server=server.name,
        host=found.host,
        port=found.port,
        database=found.database,
        schema_name=found.schema,
        epoch=found.epoch,
        secret_version=found.secret_version,
        password=found.password,
    )


def server(row: Any) -> m.ServerRow:
    """A row of `registry.servers`."""
    free = free_places(row.capacity, row.tenants, row.retained)
    drain = None
    if row.drain_to_count is not None:
        drain = m.DrainOut(
            keep=row.drain_to_count,
            to=row.drain_server,
            requested_by=row.drain_by,
            since=row.drain_since,
            problem=row.drain_problem,
        )
    return m.ServerRow(
        id=row.id,
        name=row.name,
        kind=ServerKind(row.kind),
        engine=EngineName(row.engine),
        host=row.host,
        port=row.port,
        database=row.database,
        open=row.open,
        problem=row.problem,
        capacity=row.capacity,
        tenants=row.tenants,
        retained=row.retained,
        free=free,
        fill_percent=round(100 * (row.capacity - free) / row.capacity, 1),
        takes_tenants=row.open and drain is None and free > 0,
        drain=drain,
        drain_problem=None if drain else row.drain_problem,
        tenant=row.tenant,
        created_at=row.created_at,
        silent_since=row.silent_since,
        instance=row.instance,
        instance_since=row.instance_since,
    )


def move(connection: Connection, row: Any) -> m.MoveOut:
    """A row of `registry.moves.rows_query`, with its steps and what may be done now."""
    tables = [{"name": name, **told} for name, told in sorted(row.evidence["tables"].items())]
    return m.MoveOut(
        id=row.id,
        tenant_id=row.tenant_id,
        company=row.company,
        kind=row.kind,
        phase=row.phase,
        source=row.source,
        source_kind=ServerKind(row.source_kind),
        target=row.target,
        target_kind=ServerKind(row.target_kind),
        requested_by=row.requested_by,
        requested_at=row.requested_at,
        switched_at=row.switched_at,
        finished_at=row.finished_at,
        retain_until=row.retain_until,
        write_pause_ms=row.write_pause_ms,
        verified=bool(tables) and all(table["equal"] for table in tables),
        steps=_steps(row),
        tables=tables,
        rows=sum(table["rows"] for table in tables),
        problem=row.problem,
        actions=_actions(row),
        cancel_requested=row.cancel_requested,
        confirmed=_confirmed(row),
        making=_making(row),
        **_expected(connection, row),
    )


def _steps(row: Any) -> list[dict[str, Any]]:
    done = row.evidence["steps"]
    steps, phase = [], Phase(row.phase)
    reached = max((i for i, (key, _) in enumerate(STEPS) if key in done), default=-1)
    for i, (key, label) in enumerate(STEPS):
        step = done.get(key) or {}
        state = "todo"
        if "seconds" in step:
            state = "done"
        elif i == reached:
            state = "failed" if phase in (Phase.FAILED, Phase.CANCELLED) else "now"
        if key == "retain" and phase is Phase.RETAINING:
            state = "now"
        noted = {"seconds": None, "at": None, **step}
        if key == "retain":
            noted["seconds"] = None
        steps.append({"key": key, "label": label, "state": state, **noted})
    return steps


def _actions(row: Any) -> list[str]:
    phase = Phase(row.phase)
    actions = []
    if phase in CANCELLABLE and not row.cancel_requested:
        actions.append("cancel")
    if phase is Phase.FAILED or (phase in UNDER_WAY and row.problem):
        actions.append("retry")
    kept = row.retain_until is not None and row.retain_until > now()
    has_a_right = row.tier == Tier.PAID or row.source_kind == ServerKind.POOL
    if phase is Phase.RETAINING and kept and row.current_id == row.target_id and has_a_right:
        actions.append("rollback")
    if phase is Phase.RETAINING and _confirmed(row) is False and row.current_id != row.source_id:
        actions.append("release")
    return actions


def _confirmed(row: Any) -> bool | None:
    """Whether the closed source holds what was carried over; None when that is not known."""
    equal: bool | None = row.evidence["steps"].get("confirm", {}).get("equal")
    return equal


def _for_its_people(told: m.MoveOut) -> m.MoveOut:
    """Without what AWS says to operators."""
    if told.making is None:
        return told
    return told.model_copy(update={"making": told.making.model_copy(update={"problem": None})})


def _way_back(connection: Connection, newest: Any) -> m.WayBack | None:
    """Of the newest move; of the one before, where that one has come to nothing."""
    rows: Sequence[Any] = [newest]
    if newest.phase in (Phase.FAILED, Phase.CANCELLED):
        rows = moves.page(connection, tenant_id=newest.tenant_id, phases=(Phase.RETAINING,), limit=1).rows
    for row in rows:
        if "rollback" in _actions(row):
            return m.WayBack(
                kind=row.kind,
                source=row.source,
                source_kind=ServerKind(row.source_kind),
                target=row.target,
                target_kind=ServerKind(row.target_kind),
                until=row.retain_until,
            )
    return None


def _making(row: Any) -> m.Making | None:
    if row.instance_state not in MAKING or row.phase not in UNDER_WAY:
        return None
    return m.Making(
        state=row.instance_state,
        since=row.instance_since,
        stuck=row.target_problem is not None,
        problem=row.target_problem,
    )


def _expected(connection: Connection, row: Any) -> dict[str, Any]:
    """How much there is to do and how long it takes; only what is under way is worth the queries."""
    if row.phase not in UNDER_WAY:
        return {}
    used = usage.of_tenant(connection, row.tenant_id)
    if used is None:
        return {}
    seconds = expected_seconds(used.rows, moves.past(connection))
    return {"expected_rows": used.rows, "expected_seconds": round(seconds, 1)}
