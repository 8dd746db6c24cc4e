"""Sign-up, links in mails, sign-in, and whose pages a host shows: the control plane's side of it.

Nothing that is answered tells whether an e-mail address is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from awssome.control import messages as m
from awssome.database import Connection
from awssome.database.registry import accounts, audit, erasure, sessions, tenants
from awssome.database.registry.accounts import Account, Link
from awssome.database.registry.audit import Actor
from awssome.database.registry.sessions import Session
from awssome.database.registry.tenants import Tenant
from awssome.domain.addresses import SHARED_HOST, neighbourhood
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import Role, TenantState, Tier, checked_email, checked_password, checked_text
from awssome.domain.times import now
from awssome.management import denials, views
from awssome.workflows import returning
from awssome.workflows.services import Services

HOUR = 3600
SIGN_UPS_AN_HOUR, MAILS_AN_HOUR, INVITATIONS_AN_HOUR = 10, 10, 50
"""Of one network address (of IPv6 the /64, which one customer has whole), to one e-mail address, of one tenant."""

_SENT = m.Accepted(message="Look into your mailbox: we have sent you a link.")


@dataclass(frozen=True)
class Present:
    """Who asks, at which tenant, in which role. `tenant` and `role` are None when the host leaves a choice."""

    session: Session
    tenant: Tenant | None
    role: Role | None


def sign_up(services: Services, actor: Actor, body: m.SignUp) -> m.Accepted:
    """An account and a tenant, both unconfirmed; whoever opens the mailed link confirms them and sets the password.

    The form itself sets nothing on an account that exists: anybody can fill it in with anybody's address. A confirmed
    account gets a mail that says so.
    """
    email = checked_email(body.email)
    name = checked_text(body.name, "name", "Your name", limit=120)
    company = checked_text(body.company, "company", "Company", limit=120)
    _throttle(services, f"sign-up:{neighbourhood(actor.address or '')}", SIGN_UPS_AN_HOUR)
    _throttle(services, f"mail:{email}", MAILS_AN_HOUR)
    with services.registry.begin() as connection:
        account = accounts.by_email(connection, email)
        if account is not None and account.confirmed_at is not None:
            services.queue.send_link(connection, account.id, None, "known")
            return _SENT
        if account is None:
            account = accounts.create(connection, email, name, None)
        tenant = _pending_tenant(connection, account, company)
        audit.record(connection, actor, "account.signed_up", tenant.id, email=email)
        services.queue.send_link(connection, account.id, tenant.id, "confirm")
    return _SENT


def resend(services: Services, actor: Actor, email: str) -> m.Accepted:
    """The confirmation mail once more, if there is something to confirm."""
    email = checked_email(email)
    _throttle(services, f"mail:{email}", MAILS_AN_HOUR)
    with services.registry.begin() as connection:
        account = accounts.by_email(connection, email)
        if account is not None and account.confirmed_at is None:
            mine = accounts.memberships_of(connection, account.id)
            services.queue.send_link(connection, account.id, mine[0].tenant_id if mine else None, "confirm")
    return _SENT


def reset_password(services: Services, actor: Actor, email: str) -> m.Accepted:
    """A link to set another password, if there is such an account."""
    email = checked_email(email)
    _throttle(services, f"mail:{email}", MAILS_AN_HOUR)
    with services.registry.begin() as connection:
        account = accounts.by_email(connection, email)
        if account is not None and account.confirmed_at is not None:
            services.queue.send_link(connection, account.id, None, "reset")
            audit.record(connection, actor, "password.reset_requested", email=email)
    return _SENT


def look_at_link(services: Services, token: str) -> m.LinkInfo:
    """What a link is for. :raises Refused: GONE."""
    with services.registry.begin() as connection:
        link = accounts.look_at_link(connection, token)
        account = accounts.find(connection, link.account_id)
        company = tenants.find(connection, link.tenant_id).company if link.tenant_id else None
    if account is None:
        raise Refused(Code.GONE, "This link does not work any more.")
    return m.LinkInfo.model_validate(
        {
            "purpose": link.purpose,
            "email": account.email,
            "company": company,
            "needs_password": _sets_password(link, account),
        }
    )


def use_link(services: Services, actor: Actor, agent: str, body: m.UseLink) -> m.SessionOut:
    """Confirm the address, set the password, and sign in.

    Whoever confirms an address chooses the password: it is the mailbox that proves who somebody is.

    :raises Refused: GONE for a link that is used, too old or forged; INVALID for a password that cannot be used.
    """
    with services.registry.begin() as connection:
        link = accounts.use_link(connection, body.token)
        account = accounts.find(connection, link.account_id)
        if account is None or account.disabled_at is not None or not _sets_password(link, account):
            raise Refused(Code.GONE, "This link does not work any more.", "Sign in.")
        password = checked_password(body.password.get_secret_value() if body.password else "")
        changes: dict[str, object] = {"password_hash": accounts.hash_password(password)}
        if account.confirmed_at is None:
            changes["confirmed_at"] = now()
            if body.name:
                changes["name"] = checked_text(body.name, "name", "Your name", limit=120)
        accounts.update_account(connection, account.id, **changes)
        sessions.revoke_all(connection, account.id)
        if link.purpose == "confirm" and link.tenant_id is not None:
            erasure.forget_unconfirmed(connection, account.id, but=link.tenant_id)
        audit.record(connection, actor, f"link.used.{link.purpose}", link.tenant_id, email=account.email)
        token = sessions.create(
            connection, account.id, "portal", address=actor.address or "", agent=agent, tenant_id=link.tenant_id
        )
    return m.SessionOut(token=token, account_id=account.id, tenant_id=link.tenant_id)


def sign_in(services: Services, actor: Actor, agent: str, body: m.SignIn) -> m.SessionOut:
    """A portal session. :raises Refused: UNAUTHENTICATED, or LIMITED after many tries; both are in the audit log."""
    email = body.email.strip().lower()[:254]
    denials.count_sign_in(services, "sign-in", email, actor)
    with services.registry.begin() as connection:
        account = accounts.by_email(connection, email)
    fits = accounts.password_fits(account, body.password.get_secret_value())
    if account is None or not fits or account.confirmed_at is None or account.disabled_at is not None:
        denials.deny(services, actor, "sign-in", email=email)
        raise Refused(
            Code.UNAUTHENTICATED,
            "E-mail address and password do not fit together, or the address is not confirmed yet.",
            "Check both, look for our mail, or set a new password.",
        )
    with services.registry.begin() as connection:
        denials.forget_sign_in(connection, "sign-in", email, actor)
        audit.record(connection, Actor(email, actor.address, actor.reference), "session.created")
        token = sessions.create(connection, account.id, "portal", address=actor.address or "", agent=agent)
    return m.SessionOut(token=token, account_id=account.id)


def change_password(
    services: Services, actor: Actor, account_id: UUID, session_id: UUID, current: str, new: str
) -> None:
    """Set another password; every session of the account ends, except the one that asks.

    :raises Refused: INVALID, naming the field `current` or `password`; LIMITED after many tries.
    """
    _throttle(services, f"password:{account_id}", denials.SIGN_INS)
    with services.registry.begin() as connection:
        if not accounts.password_fits(accounts.find(connection, account_id), current):
            raise Refused(
                Code.INVALID,
                "The present password is wrong. Nothing was changed.",
                fields={"current": "This is not your present password."},
            )
        password_hash = accounts.hash_password(checked_password(new))
        accounts.update_account(connection, account_id, password_hash=password_hash)
        sessions.revoke_all(connection, account_id, but=session_id)
        accounts.clear_attempts(connection, f"password:{account_id}")
        audit.record(connection, actor, "password.changed")


def present(services: Services, connection: Connection, session: Session, host: str) -> Present:
    """Whose pages this host shows to this session.

    :raises Refused: FORBIDDEN when the session does not belong to the host's tenant; NOT_FOUND for a foreign host.
    """
    label = services.addresses.label(host)
    mine = accounts.memberships_of(connection, session.account_id)
    if label is None:
        raise Refused(Code.NOT_FOUND, "There is nothing at this address.")
    if label in ("", SHARED_HOST):
        chosen = next((row for row in mine if row.tenant_id == session.tenant_id), None)
        if chosen is None and len(mine) == 1:
            chosen = mine[0]
        if chosen is None:
            return Present(session, None, None)
        if chosen.accepted_at is None:
            accounts.accept(connection, session.account_id, chosen.tenant_id)
        return Present(session, tenants.find(connection, chosen.tenant_id), Role(chosen.role))
    tenant = tenants.by_slug(connection, label)
    row = next((row for row in mine if tenant is not None and row.tenant_id == tenant.id), None)
    if tenant is None or row is None:
        # The same answer whether the workspace exists or not.
        raise Refused(
            Code.FORBIDDEN,
            "Your account does not belong to this workspace.",
            "Open your own workspace, or ask an owner of this one to invite you.",
        )
    if row.accepted_at is None:
        accounts.accept(connection, session.account_id, tenant.id)
    return Present(session, tenant, Role(row.role))


def context(services: Services, connection: Connection, actor: Actor, found: Present, host: str) -> m.ContextOut:
    """The answer to the one question of each request. An archived tenant begins to come back with it."""
    memberships = [
        views.membership(services.addresses, row)
        for row in accounts.memberships_of(connection, found.session.account_id)
    ]
    placement, move_to, tenant = None, None, None
    if found.tenant is not None:
        tenants.note_seen(connection, found.tenant)
        tenant = views.tenant(services, connection, found.tenant)
        at_home = services.addresses.label(host) in (
            ("", SHARED_HOST) if found.tenant.tier is Tier.FREE else (found.tenant.slug,)
        )
        if not at_home:
            move_to = tenant.host
        else:
            there = found.tenant
            if there.state is TenantState.ARCHIVED:
                returning.wake(connection, services.queue, actor, there.id)
                there = tenants.find(connection, there.id)  # it may be back by now
                tenant = views.tenant(services, connection, there)
            if there.state is TenantState.ACTIVE:
                placement = views.placement(connection, services.keys, there.id)
    return m.ContextOut(
        account=m.AccountOut(id=found.session.account_id, name=found.session.name, email=found.session.email),
        session_id=found.session.id,
        memberships=memberships,
        role=found.role,
        tenant=tenant,
        placement=placement,
        move_to=move_to,
    )


def invite(services: Services, actor: Actor, tenant: Tenant, email: str, role: Role) -> None:
    """Put somebody into the tenant and mail them: a link that sets a password, or just where to sign in.

    :raises Refused: LIMITED after many invitations; CONFLICT for a member.
    """
    _throttle(services, f"invite:{tenant.id}", INVITATIONS_AN_HOUR)
    _throttle(services, f"mail:{email}", MAILS_AN_HOUR)
    with services.registry.begin() as connection:
        if any(row.email == email for row in accounts.members(connection, tenant.id)):
            raise Refused(
                Code.CONFLICT,
                "This person belongs to your workspace already.",
                fields={"email": "Belongs to your workspace already."},
            )
        join(services, connection, tenant.id, email, role)
        audit.record(connection, actor, "member.invited", tenant.id, email=email, role=role)


def join(services: Services, connection: Connection, tenant_id: UUID, email: str, role: Role) -> None:
    """Make the owner of the address a member, with an account if there is none, and send a mail about it."""
    account = accounts.by_email(connection, email)
    if account is None:
        account = accounts.create(connection, email, email.partition("@")[0], None)
    accounts.add_member(connection, account.id, tenant_id, role, accepted=False)
    purpose = "joined" if account.confirmed_at else "invite"
    services.queue.send_link(connection, account.id, tenant_id, purpose)


def _sets_password(link: Link, account: Account) -> bool:
    return link.purpose == "reset" or account.confirmed_at is None


def _throttle(services: Services, subject: str, limit: int) -> None:
    # A transaction of its own: the count stays, also when the request is refused later.
    with services.registry.begin() as connection:
        accounts.count_attempt(connection, subject, limit=limit, seconds=HOUR)


def _pending_tenant(connection: Connection, account: Account, company: str) -> Tenant:
    for row in accounts.memberships_of(connection, account.id):
        if row.role == Role.OWNER and row.state == TenantState.PENDING and row.company == company:
            return tenants.find(connection, row.tenant_id)
    tenant = tenants.create(connection, company)
    accounts.add_member(connection, account.id, tenant.id, Role.OWNER)
    return tenant
