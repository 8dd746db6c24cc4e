"""Sign-up, links, sessions, and the one question of each request."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter

from awssome.control import messages as m
from awssome.database.registry import accounts, audit, sessions, tenants
from awssome.database.registry.audit import Actor
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import Tier
from awssome.management import people
from awssome.management.api.guard import ServiceCall, at_tenant, session_of
from awssome.management.denials import deny

router = APIRouter(tags=["people"])


@router.post("/signups", status_code=202)
def sign_up(call: ServiceCall, body: m.SignUp) -> m.Accepted:
    """Ask for a workspace; a confirmation goes to the address."""
    return people.sign_up(call.services, call.actor, body)


@router.post("/signups/resend", status_code=202)
def resend(call: ServiceCall, body: m.Resend) -> m.Accepted:
    """The confirmation once more."""
    return people.resend(call.services, call.actor, body.email)


@router.post("/password-resets", status_code=202)
def reset_password(call: ServiceCall, body: m.Resend) -> m.Accepted:
    """A link to set another password."""
    return people.reset_password(call.services, call.actor, body.email)


@router.post("/links/look")
def look_at_link(call: ServiceCall, body: m.LinkToken) -> m.LinkInfo:
    """What a link is for, without using it."""
    return people.look_at_link(call.services, body.token)


@router.post("/links")
def use_link(call: ServiceCall, body: m.UseLink) -> m.SessionOut:
    """Use a link, once."""
    return people.use_link(call.services, call.actor, call.agent, body)


@router.post("/sessions", status_code=201)
def sign_in(call: ServiceCall, body: m.SignIn) -> m.SessionOut:
    """A session for e-mail and password."""
    return people.sign_in(call.services, call.actor, call.agent, body)


@router.get("/sessions")
def own_sessions(call: ServiceCall) -> list[m.SessionInfo]:
    """The caller's sessions."""
    mine, call = session_of(call)
    with call.registry.begin() as connection:
        rows = sessions.of_account(connection, mine.account_id, "portal")
    return [
        m.SessionInfo(
            id=row.id,
            agent=row.agent,
            address=str(row.address) if row.address else None,
            created_at=row.created_at,
            seen_at=row.seen_at,
            current=row.id == mine.id,
        )
        for row in rows
    ]


@router.delete("/sessions/current", status_code=204)
def sign_out(call: ServiceCall) -> None:
    """End the caller's session; there being none is no error."""
    with call.registry.begin() as connection:
        mine = sessions.find(connection, call.session_token, "portal")
        if mine is not None:
            sessions.revoke(connection, mine.account_id, mine.id)
            audit.record(connection, Actor(mine.email, call.actor.address, call.actor.reference), "session.ended")


@router.delete("/sessions/{session_id}", status_code=204)
def end_session(call: ServiceCall, session_id: UUID) -> None:
    """End one of the caller's sessions."""
    mine, call = session_of(call)
    with call.registry.begin() as connection:
        sessions.revoke(connection, mine.account_id, session_id)
        audit.record(connection, call.actor, "session.ended", session=session_id)


@router.delete("/sessions", status_code=204)
def sign_out_everywhere(call: ServiceCall) -> None:
    """End all of the caller's sessions."""
    mine, call = session_of(call)
    with call.registry.begin() as connection:
        sessions.revoke_all(connection, mine.account_id)
        audit.record(connection, call.actor, "session.ended_all")


@router.put("/account/password", status_code=204)
def change_password(call: ServiceCall, body: m.ChangePassword) -> None:
    """Set another password; all other sessions end."""
    mine, call = session_of(call)
    current, new = body.current.get_secret_value(), body.new.get_secret_value()
    people.change_password(call.services, call.actor, mine.account_id, mine.id, current, new)


@router.get("/context")
def context(call: ServiceCall) -> m.ContextOut:
    """Who is this, in which role, which tier, where is the data, with which login."""
    found, call = at_tenant(call)
    with call.registry.begin() as connection:
        return people.context(call.services, connection, call.actor, found, call.host)


@router.put("/context/tenant", status_code=204)
def switch_tenant(call: ServiceCall, body: m.SwitchTenant) -> None:
    """Choose among the caller's tenants."""
    mine, call = session_of(call)
    with call.registry.begin() as connection:
        if all(row.tenant_id != body.tenant_id for row in accounts.memberships_of(connection, mine.account_id)):
            raise Refused(Code.NOT_FOUND, "You do not belong to this workspace.")
        sessions.choose_tenant(connection, mine.id, body.tenant_id)


@router.post("/handovers", status_code=201)
def hand_over(call: ServiceCall, body: m.SwitchTenant) -> m.HandoverOut:
    """A one-time link to the tenant's own host."""
    mine, call = session_of(call)
    with call.registry.begin() as connection:
        rows = accounts.memberships_of(connection, mine.account_id)
        row = next((row for row in rows if row.tenant_id == body.tenant_id), None)
        if row is None:
            raise Refused(Code.NOT_FOUND, "You do not belong to this workspace.")
        ticket = sessions.new_ticket(connection, mine.account_id, body.tenant_id)
        audit.record(connection, call.actor, "session.handed_over", body.tenant_id)
    host = call.services.addresses.of(Tier(row.tier), row.slug)
    return m.HandoverOut(url=call.services.addresses.url(host, f"/handover?ticket={ticket}"))


@router.post("/handovers/redeem", status_code=201)
def redeem(call: ServiceCall, body: m.TicketIn) -> m.SessionOut:
    """A session on this host for a ticket.

    Who is led here by a link of somebody else's must not find themselves in that person's account: what is typed then
    would be theirs.

    :raises Refused: GONE, also on another host than the tenant's own; CONFLICT, and the ticket stays good, when the
        browser is signed in with another account and nobody has confirmed the change.
    """
    with call.registry.begin() as connection:
        account_id, tenant_id = sessions.redeem_ticket(connection, body.ticket)
        tenant = tenants.find(connection, tenant_id)
        addresses = call.services.addresses
        if addresses.label(call.host) != addresses.label(addresses.of(tenant.tier, tenant.slug)):
            raise Refused(Code.GONE, "This link is for another address.", "Sign in.")
        before = sessions.find(connection, call.session_token, "portal")
        if before is not None and before.account_id != account_id and not body.confirmed:
            account = accounts.find(connection, account_id)
            raise Refused(
                Code.CONFLICT,
                f"You are signed in as {before.email}. This link signs you in as {account.email if account else ''}.",
                "Go on only if you asked for that.",
            )
        token = sessions.create(
            connection,
            account_id,
            "portal",
            address=call.actor.address or "",
            agent=call.agent,
            tenant_id=tenant_id,
        )
    return m.SessionOut(token=token, account_id=account_id, tenant_id=tenant_id)


@router.post("/denials", status_code=204)
def report_denial(call: ServiceCall, body: m.Denial) -> None:
    """The portal has refused something: it belongs into the audit log."""
    actor, tenant = call.actor, None
    with call.registry.begin() as connection:
        session = sessions.find(connection, call.session_token, "portal")
        if session is not None:
            actor = Actor(session.email, actor.address, actor.reference)
            try:
                tenant = people.present(call.services, connection, session, call.host).tenant
            except Refused:
                tenant = None
    deny(call.services, actor, body.action[:120], tenant)
