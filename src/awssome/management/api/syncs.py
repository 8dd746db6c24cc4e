"""Syncs: what brings a tenant's HubSpot deals in, shows what would come in, or tries again what could not."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from awssome.control import messages as m
from awssome.database import Connection
from awssome.database.registry import audit, last_syncs
from awssome.database.tenant import failures, syncs
from awssome.database.tenant import hubspot as stored
from awssome.database.tenant.syncs import Sync
from awssome.domain.errors import Code, Refused
from awssome.domain.syncs import SyncKind
from awssome.domain.tenants import Role, imports_allowed
from awssome.hubspot.models import Deal
from awssome.management.api.guard import TenantCall, tenant_call
from awssome.workflows import hubspot_picks
from awssome.workflows.hubspot_access import Lost, not_connected
from awssome.workflows.hubspot_picks import Shown
from awssome.workflows.workspace import Workspace

router = APIRouter(tags=["syncs"])

Member = Annotated[TenantCall, Depends(tenant_call(Role.MEMBER))]

_PATIENCE = 5.0
"""Seconds that a page may wait for a move's cut-over."""


@router.post("/syncs", status_code=202)
def start_sync(caller: Member, body: m.StartSync | None = None) -> m.SyncOut:
    """Start a sync, a preview or a retry, or name the run that is open.

    :raises Refused: CONFLICT when HubSpot is not connected, or when a retry is at work already or has nothing to try.
    """
    asked = body or m.StartSync()
    if caller.tenant.hubspot_state == "reconnect":
        raise Lost
    if caller.tenant.hubspot_state != "connected":
        raise not_connected()
    sync = _workspace(caller).do(lambda connection: _create(connection, caller.session.email, asked))
    # The job is enqueued also for a sync that was open before: should its job be lost, this brings it back.
    with caller.registry.begin() as connection:
        caller.services.queue.sync(connection, caller.tenant.id, sync.id)
        audit.record(connection, caller.actor, "sync.requested", caller.tenant.id, sync=sync.id, kind=sync.kind)
    return m.SyncOut(sync_id=sync.id, kind=sync.kind)


@router.post("/syncs/{sync_id}/cancel", status_code=204)
def cancel_sync(caller: Member, sync_id: UUID) -> None:
    """End a run that waits or is at work; its worker stops at its next page.

    :raises Refused: NOT_FOUND when there is none; CONFLICT when it has ended already.
    """
    ended = _workspace(caller).do(lambda connection: syncs.cancel(connection, sync_id, caller.session.email))
    with caller.registry.begin() as connection:
        last_syncs.tell(connection, caller.tenant.id, ended)  # no worker may have it in hand, who would tell
        audit.record(connection, caller.actor, "sync.cancelled", caller.tenant.id, sync=sync_id)


@router.get("/hubspot/deals")
def hubspot_deals(
    caller: Member,
    search: Annotated[str, Query(max_length=200)] = "",
    after: Annotated[str, Query(max_length=255)] = "",
) -> m.DealPage:
    """Deals as HubSpot has them now. :raises Refused: CONFLICT when HubSpot is not connected."""
    shown = hubspot_picks.show(caller.services, caller.tenant.id, search, after)
    return m.DealPage(
        deals=[_deal(deal, shown) for deal in shown.deals],
        total=shown.total,
        after=shown.after,
    )


@router.post("/hubspot/picks", status_code=204)
def pick_deals(caller: Member, body: m.Picks) -> None:
    """Choose deals that come in, as many as there are places, or choose some no longer.

    :raises Refused: INVALID when they are more, or HubSpot has deleted one; CONFLICT without a connection or a limit.
    """
    limit = imports_allowed(caller.tenant.tier)
    if limit is None:
        raise Refused(Code.CONFLICT, "Your plan imports all of your deals: there is nothing to pick.", "Sync them.")
    if body.clear:
        hubspot_picks.clear(caller.services, caller.tenant.id)
    else:
        by = caller.session.email
        hubspot_picks.change(caller.services, caller.tenant.id, body.add, body.remove, limit=limit, by=by)
    with caller.registry.begin() as connection:
        changed = {"add": body.add, "remove": body.remove, "clear": body.clear}
        audit.record(connection, caller.actor, "deals.picked", caller.tenant.id, **changed)


def _create(connection: Connection, by: str, asked: m.StartSync) -> Sync:
    before = syncs.latest(connection)
    sync = syncs.create(connection, by, asked.kind)
    if asked.kind is SyncKind.RETRY and sync.kind is SyncKind.RETRY:
        if sync.attempt:
            raise Refused(Code.CONFLICT, "Deals are being tried again already.", "Try these when that has ended.")
        known = stored.connection(connection)
        if known is not None and (before is None or before.id != sync.id):
            failures.reopen(connection, known.portal_id)  # of a retry that did not come to its end
        if known is None or not failures.try_again(connection, known.portal_id, asked.deal_ids):
            raise Refused(Code.CONFLICT, "No deal waits to be tried again.", "Look into the inbox.")
    return sync


def _workspace(caller: TenantCall) -> Workspace:
    return Workspace(caller.services, caller.tenant.id, patience=_PATIENCE)


def _deal(deal: Deal, shown: Shown) -> m.DealRow:
    properties = deal.properties
    stage = properties.get("dealstage") or ""
    return m.DealRow(
        deal_id=deal.id,
        title=properties.get("dealname") or f"Deal {deal.id}",
        stage=shown.stages.get(stage, stage),
        amount=properties.get("amount"),
        currency=properties.get("deal_currency_code") or shown.currency,
        created_at=_moment(properties.get("createdate")) or deal.created_at,
        closed=properties.get("hs_is_closed") == "true",
        imported=deal.id in shown.mapped,
        picked=deal.id in shown.picked,
    )


def _moment(text: str | None) -> datetime | None:
    try:
        at = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return at if at.tzinfo else None
