"""What operators can see and do; the central API and the pages both call these. Changes are audited here."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from awssome.control import messages as m
from awssome.database import Connection, template
from awssome.database.keyset import Page
from awssome.database.registry import (
    accounts,
    audit,
    entitlements,
    figures,
    hosts,
    jobs,
    last_syncs,
    placements,
    servers,
    tenants,
)
from awssome.database.registry import moves as registered_moves
from awssome.database.registry.audit import Actor, Verification
from awssome.database.tenant import syncs
from awssome.database.tenant.syncs import Sync
from awssome.domain.errors import Code, Refused
from awssome.domain.instances import InstanceState
from awssome.domain.moves import OWNERS, UNDER_WAY, MoveKind, MoveState, Phase
from awssome.domain.servers import checked_name, location
from awssome.domain.syncs import SyncState
from awssome.domain.tenants import PlacementState, Role, TenantState, checked_email, checked_password, checked_text
from awssome.management import people, views
from awssome.workflows import moves, retention
from awssome.workflows.services import Services
from awssome.workflows.workspace import Workspace

PAGE = 50


@dataclass(frozen=True)
class JobRow:
    """A background job."""

    id: int
    queue: str
    task: str
    state: str
    attempts: int
    scheduled_at: datetime | None
    arguments: dict[str, str]


@dataclass(frozen=True)
class JobPage:
    """One page of jobs, newest first."""

    jobs: list[JobRow]
    next: str | None
    previous: str | None


# --- tenants


def tenants_page(
    connection: Connection,
    *,
    search: str = "",
    sort: str = "-created",
    after: str = "",
    limit: int = PAGE,
    before: str = "",
    tier: str = "",
    state: str = "",
    server: str = "",
) -> m.TenantPage:
    """Tenants by page."""
    page, total = tenants.page(
        connection,
        search=search,
        sort=sort,
        after=after,
        before=before,
        limit=max(1, min(limit, 500)),
        tier=tier,
        state=state,
        server=server,
    )
    rows = [views.tenant_row(row) for row in page.rows]
    return m.TenantPage(tenants=rows, total=total, next=page.after, previous=page.before)


def tenant_detail(connection: Connection, ref: str) -> m.TenantDetail:
    """One tenant with where it is and was. :raises Refused: NOT_FOUND."""
    found = tenants.by_ref(connection, ref)
    row = connection.execute(tenants.rows_query().where(tenants.identified(found.id))).one()
    host = hosts.of_tenant(connection, found.id)
    return m.TenantDetail(
        **views.tenant_row(row).model_dump(),
        role_arn=found.role_arn,
        hubspot_portal_id=found.hubspot_portal_id,
        hubspot_domain=found.hubspot_domain,
        epoch=found.epoch,
        placements=[
            m.PlacementRow(
                id=place.id,
                server=place.server,
                schema_name=place.schema_name,
                state=place.state,
                revision=place.revision,
                behind=placements.is_behind(place, template.older()),
                problem=place.problem,
                created_at=place.created_at,
                retain_until=place.retain_until,
                current=place.id == found.placement_id,
            )
            for place in placements.of_tenant(connection, found.id)
        ],
        moves=[views.move(connection, move) for move in registered_moves.page(connection, tenant_id=found.id).rows],
        subscribed=entitlements.active(connection, found.id),
        address_problem=host.problem if host else None,
        members=[views.member(member) for member in accounts.members(connection, found.id)],
    )


def create_tenant(services: Services, connection: Connection, actor: Actor, email: str, company: str) -> UUID:
    """A free tenant and its owner, an operator vouching: no confirmation, no AWS role; the workspace follows."""
    email = checked_email(email)
    company = checked_text(company, "company", "Company", limit=120)
    tenant = tenants.create(connection, company)
    people.join(services, connection, tenant.id, email, Role.OWNER)
    tenants.change(connection, tenant.id, aws_choice="later")
    audit.record(connection, actor, "tenant.created", tenant.id, owner=email)
    services.queue.provision(connection, tenant.id)
    return tenant.id


def credentials(
    services: Services, connection: Connection, actor: Actor, ref: str, placement_id: UUID | None = None
) -> m.Credentials:
    """The tenant's database login. Audited.

    :param placement_id: of another of its placements, such as one that was restored beside; None: where it is.
    :raises Refused: UNAVAILABLE while there is none; NOT_FOUND for a placement that is none of its, or was dropped.
    """
    tenant = tenants.by_ref(connection, ref)
    if placement_id is None:
        found = placements.current(connection, services.keys, tenant.id)
    else:
        kept = [row.id for row in placements.of_tenant(connection, tenant.id) if row.state != PlacementState.DROPPED]
        if placement_id not in kept:
            raise Refused(
                Code.NOT_FOUND, "The tenant has no such placement.", "`awssome tenant show --json` names them."
            )
        found = placements.find(connection, services.keys, placement_id)
    audit.record(connection, actor, "tenant.credentials_shown", tenant.id, schema=found.schema)
    return m.Credentials(
        engine=found.engine,
        host=found.host,
        port=found.port,
        database=found.database,
        schema_name=found.schema,
        user=found.login,
        password=found.password,
    )


def suspend(services: Services, connection: Connection, actor: Actor, ref: str) -> None:
    """Close the tenant's pages and its login. :raises Refused: CONFLICT when it is not active."""
    _turn(services, connection, actor, ref, TenantState.ACTIVE, TenantState.SUSPENDED, "tenant.suspended")


def resume(services: Services, connection: Connection, actor: Actor, ref: str) -> None:
    """Open a suspended tenant. :raises Refused: CONFLICT when it is not suspended."""
    _turn(services, connection, actor, ref, TenantState.SUSPENDED, TenantState.ACTIVE, "tenant.resumed")


def last_syncs_page(
    connection: Connection, after: str = "", before: str = "", *, state: SyncState | None = None
) -> Page[Any]:
    """The newest run of each tenant, newest first, as the workers have told."""
    return last_syncs.page(connection, state=state, after=after, before=before, limit=PAGE)


def tenant_syncs(services: Services, connection: Connection, ref: str) -> list[Sync]:
    """The tenant's last syncs, read as the tenant, also while it is being moved."""
    tenant = tenants.by_ref(connection, ref)
    return Workspace(services, tenant.id).do(lambda own: syncs.history(own, limit=10))


# --- moves


def start_upgrade(
    services: Services, connection: Connection, actor: Actor, ref: str, server: str | None
) -> m.MoveOut | m.Accepted:
    """Grant the paid tier at once, and move to a dedicated server; why no move has begun, if there is none.

    :raises Refused: when nothing was changed: no move is possible, and the tier is paid already or a server was named.
    """
    granted = moves.grant(connection, actor, ref)
    try:
        with connection.begin_nested():
            started = moves.upgrade(connection, services.queue, actor, ref, server, services.blueprint)
            return _move(connection, started)
    except Refused as refused:
        if server or not granted:
            raise
        return m.Accepted(message=f"The paid tier is granted, and the data stays where it is. {refused.message}")


def start_rollback(services: Services, connection: Connection, actor: Actor, ref: str) -> m.MoveOut:
    """Move back to where the last move came from."""
    return _move(connection, moves.rollback(connection, services.queue, actor, ref))


def start_downgrade(services: Services, connection: Connection, actor: Actor, ref: str) -> m.MoveOut | m.Accepted:
    """Give the paid tier up: the move to a pool, with which the tier changes; a message where nothing has to move."""
    move_id = moves.downgrade(connection, services.queue, actor, ref)
    if move_id is not None:
        return _move(connection, move_id)
    return m.Accepted(message="The tenant is on the free tier now. Its data stays where it is.")


def start_move(services: Services, connection: Connection, actor: Actor, ref: str, server: str | None) -> m.MoveOut:
    """Move to another server."""
    return _move(connection, moves.move_to(connection, services.queue, actor, ref, server))


def cancel_move(services: Services, connection: Connection, actor: Actor, move_id: UUID) -> m.MoveOut:
    """Call a move off before the switch."""
    moves.cancel(connection, services.queue, actor, move_id)
    return _move(connection, move_id)


def retry_move(services: Services, connection: Connection, actor: Actor, move_id: UUID) -> m.MoveOut:
    """Try a failed move again."""
    moves.retry(connection, services.queue, actor, move_id)
    return _move(connection, move_id)


def release_source(services: Services, connection: Connection, actor: Actor, move_id: UUID) -> m.MoveOut:
    """Have the source of a move archived and dropped that is kept because it differed."""
    retention.release(connection, services.queue, actor, move_id)
    return _move(connection, move_id)


def cancel_own_move(services: Services, connection: Connection, actor: Actor, tenant_id: UUID, move_id: UUID) -> None:
    """A tenant's owner calls its move off. :raises Refused: NOT_FOUND for another's, or one of the operators' own."""
    found = registered_moves.find(connection, move_id)
    if found.tenant_id != tenant_id or found.kind not in OWNERS:
        raise Refused(Code.NOT_FOUND, "There is no such move.")
    moves.cancel(connection, services.queue, actor, move_id)


def moves_page(
    connection: Connection,
    after: str = "",
    before: str = "",
    *,
    kind: MoveKind | None = None,
    state: MoveState | None = None,
) -> m.MovePage:
    """Moves, newest first; of one kind, or in one state."""
    phases = state.phases if state else ()
    page = registered_moves.page(connection, kind=kind, phases=phases, after=after, before=before, limit=PAGE)
    return m.MovePage(moves=[views.move(connection, row) for row in page.rows], next=page.after, previous=page.before)


def move(connection: Connection, move_id: UUID) -> m.MoveOut:
    """One move. :raises Refused: NOT_FOUND."""
    return _move(connection, move_id)


def move_to_server(connection: Connection, server_id: UUID) -> m.MoveOut | None:
    """The newest move that leads to a server, if it is not settled yet: it waits for the server to be there."""
    move_id = registered_moves.newest_to(connection, server_id, (*UNDER_WAY, Phase.FAILED))
    return _move(connection, move_id) if move_id else None


# --- servers


def servers_with_load(connection: Connection) -> list[m.ServerRow]:
    """Every server with its load."""
    return [views.server(row) for row in servers.every(connection)]


def server(connection: Connection, name: str) -> m.ServerRow:
    """One server. :raises Refused: NOT_FOUND."""
    return views.server(servers.by_name(connection, name))


def tables_behind(connection: Connection, name: str) -> tuple[int, int]:
    """How many placements on the server have tables older than the template, and how many of them cannot be migrated.

    :raises Refused: NOT_FOUND.
    """
    return placements.count_behind(connection, template.older(), servers.by_name(connection, name).id)


def add_server(services: Services, connection: Connection, actor: Actor, body: m.AddServer) -> m.ServerRow:
    """Register a server; a worker checks and opens it. :raises Refused: INVALID, CONFLICT."""
    name = checked_name(body.name)
    url = body.url.get_secret_value()
    host, port, database = location(url, body.engine)
    server_id = servers.register(
        connection,
        services.keys,
        name=name,
        kind=body.kind,
        engine=body.engine,
        host=host,
        port=port,
        database=database,
        admin_url=url,
        capacity=body.capacity,
    )
    audit.record(connection, actor, "server.added", server=name, host=host, port=port)
    services.queue.check_server(connection, server_id)
    return server(connection, name)


def close_server(services: Services, connection: Connection, actor: Actor, name: str) -> m.ServerRow:
    """No new tenants on this server; those that are there stay."""
    servers.change(connection, servers.by_name(connection, name).id, open=False)
    audit.record(connection, actor, "server.closed", server=name)
    return server(connection, name)


def open_server(services: Services, connection: Connection, actor: Actor, name: str) -> m.ServerRow:
    """Have a worker check the server and open it. :raises Refused: CONFLICT while AWS makes it, or takes it away."""
    row = servers.by_name(connection, name)
    if row.instance not in (None, InstanceState.AVAILABLE):
        raise Refused(
            Code.CONFLICT, f"Server “{name}” is not there.", "While AWS makes it, try its tenant's move again."
        )
    services.queue.check_server(connection, row.id)
    audit.record(connection, actor, "server.opening", server=name)
    return server(connection, name)


# --- operators


def create_operator(services: Services, actor: Actor, body: m.CreateOperator) -> m.AccountOut:
    """Somebody who runs the platform. :raises Refused: INVALID; CONFLICT when the address has an account."""
    email = checked_email(body.email)
    name = checked_text(body.name, "name", "Name", limit=120)
    password_hash = accounts.hash_password(checked_password(body.password.get_secret_value()))
    with services.registry.begin() as connection:
        made = accounts.create(connection, email, name, password_hash, operator=True, confirmed=True)
        audit.record(connection, actor, "operator.created", email=email)
    return m.AccountOut(id=made.id, name=made.name, email=made.email)


# --- the platform


def overview(connection: Connection) -> dict[str, Any]:
    """The figures of the home page: tenants by tier and state, sign-ups of 30 days, servers, moves, jobs."""
    by_tier: dict[str, dict[str, int]] = defaultdict(dict)
    for row in figures.tenants_by_tier(connection):
        by_tier[row.tier][row.state] = row.count
    queues: dict[str, dict[str, int]] = {}
    for row in jobs.counts(connection):
        waiting, failed = (row.count if row.status == status else 0 for status in ("todo", "failed"))
        entry = queues.setdefault(row.queue, {"waiting": 0, "failed": 0})
        entry["waiting"] += waiting
        entry["failed"] += failed
    days: list[tuple[date, int]] = [(row.day, row.count) for row in figures.sign_ups_by_day(connection, days=30)]
    return {
        "tenants": by_tier,
        "signups": days,
        "servers": servers_with_load(connection),
        "moves_under_way": [views.move(connection, row) for row in figures.moves_in(connection, "under_way")],
        "moves_failed": [views.move(connection, row) for row in figures.moves_in(connection, "failed")],
        "jobs": queues,
        "upgrade_requests": [views.tenant_row(row) for row in figures.upgrade_requests(connection)],
    }


def audit_page(
    connection: Connection, *, search: str = "", tenant: str | None = None, after: str = "", before: str = ""
) -> m.AuditPage:
    """The audit log, newest first."""
    tenant_id = tenants.by_ref(connection, tenant).id if tenant else None
    page = audit.page(connection, search=search, tenant_id=tenant_id, after=after, before=before, limit=PAGE)
    return m.AuditPage(
        entries=[
            m.AuditRow(
                id=row.id,
                at=row.at,
                actor=row.actor,
                action=row.action,
                tenant_id=row.tenant_id,
                company=row.company,
                address=str(row.address) if row.address else None,
                reference=row.reference,
                detail=row.detail,
            )
            for row in page.rows
        ],
        next=page.after,
        previous=page.before,
    )


def verify_audit(connection: Connection) -> Verification:
    """Recompute every seal of the audit log."""
    return audit.verify(connection)


def jobs_page(connection: Connection, state: str = "", after: str = "", before: str = "") -> JobPage:
    """Background jobs, newest first."""
    page = jobs.page(connection, status=state, after=after, before=before, limit=PAGE)
    return JobPage(
        [
            JobRow(
                id=row.id,
                queue=row.queue,
                task=row.task.removeprefix("awssome."),
                state=row.status,
                attempts=row.attempts,
                scheduled_at=row.scheduled_at,
                arguments={key: str(value) for key, value in row.args.items() if value is not None},
            )
            for row in page.rows
        ],
        page.after,
        page.before,
    )


def retry_job(connection: Connection, actor: Actor, job_id: int) -> None:
    """Put a failed job back into the queue. :raises Refused: CONFLICT when it has not failed."""
    jobs.retry(connection, job_id)
    audit.record(connection, actor, "job.retried", job=job_id)


def find(connection: Connection, query: str) -> list[dict[str, str]]:
    """What the command palette finds: tenants, servers, moves."""
    rows = tenants.page(connection, search=query, sort="company", limit=6)[0].rows
    found = [{"kind": "tenant", "label": row.company, "url": f"/tenants/{row.slug}"} for row in rows]
    words = query.lower()
    found += [
        {"kind": "server", "label": row.name, "url": f"/servers/{row.name}"}
        for row in servers.every(connection)
        if words in row.name.lower()
    ][:6]
    found += [
        {"kind": "move", "label": f"{row.company}: {row.source} → {row.target}", "url": f"/moves/{row.id}"}
        for tenant_row in rows[:3]
        for row in registered_moves.page(connection, tenant_id=tenant_row.id, limit=2).rows
    ]
    return found


def _turn(
    services: Services,
    connection: Connection,
    actor: Actor,
    ref: str,
    before: TenantState,
    after: TenantState,
    action: str,
) -> None:
    tenant = tenants.by_ref(connection, ref, lock=True)
    if tenant.state is not before:
        raise Refused(Code.CONFLICT, f"This tenant is {tenant.state}, not {before}.")
    tenants.change(connection, tenant.id, state=after)
    audit.record(connection, actor, action, tenant.id)
    services.queue.set_login(connection, tenant.id)


def _move(connection: Connection, move_id: UUID) -> m.MoveOut:
    return views.move(connection, registered_moves.row(connection, move_id))
