"""The paid tier by a subscription in AWS Marketplace, in place of an operator's grant.

A buyer's browser arrives with a token, which is resolved at once, and not kept: who it comes from waits, sealed, in the
browser itself until somebody who is signed in says which workspace it is for. What the account is entitled to is asked
of AWS then, and again each day; no message is believed. A subscription is one tenant's. One that has ended, or was
bought by another AWS account than the workspace's role is in, or goes on after a downgrade, is told to operators, who
decide: no tenant is ever downgraded by itself, nor upgraded by the daily look.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from awssome.aws.entitlements import Entitlement, Marketplace
from awssome.database import Connection
from awssome.database.registry import audit, tenants
from awssome.database.registry import entitlements as registered
from awssome.database.registry.audit import Actor
from awssome.database.registry.entitlements import Bound
from awssome.database.registry.tenants import Tenant
from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import Unopenable
from awssome.domain.tenants import TenantState, Tier, role_account
from awssome.domain.times import now
from awssome.workflows import moves
from awssome.workflows.services import Services

ARRIVAL_LIFE = timedelta(hours=1)
"""How long somebody may take to sign in, or up, who comes from AWS Marketplace."""

ASKED_EACH = timedelta(hours=24)
"""How often AWS is asked what a subscription is worth."""

AT_ONCE = 20
"""Subscriptions that one sweep asks about; the next one goes on."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Arrival:
    """Somebody who comes from AWS Marketplace.

    :ivar account: the AWS account that has subscribed.
    """

    account: str
    license: str


def arrive(services: Services, token: str) -> str:
    """Who comes with this registration token, sealed, for the browser to bring back.

    :raises Refused: NOT_FOUND where nothing is sold in AWS Marketplace; what `Marketplace.resolve` raises.
    """
    customer = _marketplace(services).resolve(token)
    until = now() + ARRIVAL_LIFE
    told = {"account": customer.account, "license": customer.license, "until": until.isoformat()}
    return services.keys.seal_arrival(json.dumps(told | {"product": customer.product}))


def look(services: Services, sealed: str) -> Arrival:
    """Who it is; nothing is changed. :raises Refused: GONE for one that is not ours, or too old."""
    try:
        told = json.loads(services.keys.unseal_arrival(sealed))
    except Unopenable:
        raise _gone() from None
    if datetime.fromisoformat(told["until"]) <= now() or told["product"] != _marketplace(services).product:
        raise _gone()
    return Arrival(told["account"], told["license"])


def claim(services: Services, actor: Actor, tenant_id: UUID, account_id: UUID, sealed: str) -> str:
    """Use the subscription for this tenant, as its owner has said: the paid tier at once, and the move that follows.

    :param account_id: the owner's.
    :returns: what came of it, for the owner.
    :raises Refused: GONE as `look`; CONFLICT when the subscription is not active, or another workspace uses it.
    """
    arrival = look(services, sealed)
    best = _best(_marketplace(services).entitlements(arrival.account))
    if best is None:
        raise Refused(
            Code.CONFLICT,
            "AWS says that this account has no active subscription. Nothing was changed.",
            "Just subscribed? AWS may take some minutes: try again. Otherwise look at your subscriptions in AWS.",
        )
    bound = Bound(_marketplace(services).product, arrival.account, tenant_id, best.expires_at)
    with services.registry.begin() as connection:
        tenant = tenants.find(connection, tenant_id, lock=True)
        if tenant.state is not TenantState.ACTIVE:
            raise Refused(Code.CONFLICT, f"This workspace is {tenant.state}. Nothing was changed.")
        license = best.license or arrival.license
        if not registered.bind(connection, bound.product, bound.customer, license, tenant_id, actor.name):
            raise Refused(
                Code.CONFLICT,
                "Another workspace uses this subscription. Nothing was changed.",
                "Subscribe from another AWS account, or ask the operators.",
            )
        problem = _mismatch(tenant, arrival.account)
        _settle(connection, bound, best, problem)
        audit.record(connection, actor, "entitlement.bound", tenant_id, customer=arrival.account, problem=problem)
        if problem is not None:
            if tenant.tier is Tier.FREE and tenant.upgrade_requested_at is None:
                tenants.change(connection, tenant_id, upgrade_requested_at=now(), upgrade_requested_by=account_id)
            return (
                "Your subscription is kept. It was bought by another AWS account than your workspace's role is in, so "
                "an operator looks at it before your plan changes."
            )
        return _granted(services, connection, actor, tenant)


def verify(services: Services) -> None:
    """Ask AWS again about subscriptions that it was not asked about for a day. What changed is for operators."""
    if services.marketplace is None:
        return
    with services.registry.begin() as connection:
        waiting = registered.due(connection, services.marketplace.product, now() - ASKED_EACH, AT_ONCE)
    for bound in waiting:
        try:
            best = _best(services.marketplace.entitlements(bound.customer))
        except Refused as refused:
            _log.warning("entitlement.not_verified", customer=bound.customer, reason=refused.message)
            return  # AWS does not answer: the next sweep asks
        with services.registry.begin() as connection:
            tenant = tenants.find(connection, bound.tenant_id)
            problem = _doubt(tenant, bound.customer) if best else _ended(bound)
            if _settle(connection, bound, best, problem):
                word = "entitlement.changed" if best else "entitlement.ended"
                audit.record(connection, audit.SYSTEM, word, tenant.id, customer=bound.customer, problem=problem)


def _granted(services: Services, connection: Connection, actor: Actor, tenant: Tenant) -> str:
    if not moves.grant(connection, actor, str(tenant.id)):
        return "Your workspace is on the paid plan already, and your subscription is kept with it."
    try:
        with connection.begin_nested():
            moves.upgrade(connection, services.queue, actor, str(tenant.id), blueprint=services.blueprint)
    except Refused as refused:
        _log.warning("entitlement.not_moved", tenant=str(tenant.id), reason=refused.message)
        return (
            "You are on the paid plan. Your data stays where it is for now; the operators see to a server of its own."
        )
    return "You are on the paid plan. Your data is moved to a server of its own, while you work."


def _settle(connection: Connection, bound: Bound, best: Entitlement | None, problem: str | None) -> bool:
    return registered.settle(
        connection,
        bound,
        active=best is not None,
        dimension=best.dimension if best else None,
        expires_at=best.expires_at if best else bound.expires_at,
        problem=problem,
    )


def _best(found: list[Entitlement]) -> Entitlement | None:
    """The one that lasts longest of those that have not ended."""
    at = now()
    active = [one for one in found if one.expires_at is None or one.expires_at > at]
    return max(active, key=lambda one: (one.expires_at is None, one.expires_at or at), default=None)


def _doubt(tenant: Tenant, account: str) -> str | None:
    if tenant.tier is Tier.FREE and tenant.upgrade_requested_at is None:
        return (
            f"AWS account {account} still pays in AWS Marketplace, and the workspace is on the free tier. No tier is "
            "granted by itself: ask its owner."
        )
    return _mismatch(tenant, account)


def _mismatch(tenant: Tenant, account: str) -> str | None:
    if tenant.role_arn is None or role_account(tenant.role_arn) == account:
        return None
    return (
        f"AWS account {account} has subscribed in AWS Marketplace, and the workspace's role is in "
        f"{role_account(tenant.role_arn)}."
    )


def _ended(bound: Bound) -> str:
    return f"The subscription of AWS account {bound.customer} in AWS Marketplace has ended. The tier was not changed."


def _marketplace(services: Services) -> Marketplace:
    if services.marketplace is None:
        raise Refused(
            Code.NOT_FOUND, "Nothing is sold in AWS Marketplace here.", "Ask for an upgrade on the plan page."
        )
    return services.marketplace


def _gone() -> Refused:
    return Refused(
        Code.GONE,
        "This has taken too long since you came from AWS Marketplace. Nothing was changed.",
        "Go to your subscription in AWS Marketplace and choose Set up your account again.",
    )
