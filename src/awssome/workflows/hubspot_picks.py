"""Choosing the deals that come in: HubSpot's deals by page, as they are now, and what somebody picks of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from awssome.database import Connection
from awssome.database.tenant import imports, mappings, picks
from awssome.domain.definitions import Account
from awssome.domain.errors import Code, Refused
from awssome.domain.texts import fitting
from awssome.hubspot.errors import HubSpotError
from awssome.hubspot.models import Deal, Search
from awssome.workflows import hubspot_definitions
from awssome.workflows.hubspot_access import HubSpotAccess
from awssome.workflows.hubspot_calls import client_of
from awssome.workflows.hubspot_definitions import PAGE_PATIENCE
from awssome.workflows.services import Services
from awssome.workflows.workspace import Workspace

PAGE = 25

_SHOWN = ("dealname", "amount", "deal_currency_code", "dealstage", "pipeline", "createdate", "hs_is_closed")
_LONGEST_TITLE = 255


@dataclass(frozen=True)
class Shown:
    """A page of HubSpot's deals, oldest first.

    :ivar stages: stage id -> what the account calls it.
    :ivar currency: of amounts that name none.
    :ivar mapped: those that are here already.
    :ivar picked: those that are chosen.
    :ivar after: continues the list; None: this is its end.
    """

    deals: tuple[Deal, ...]
    stages: dict[str, str]
    currency: str | None
    mapped: set[str]
    picked: set[str]
    total: int
    after: str | None


def show(services: Services, tenant_id: UUID, words: str, after: str) -> Shown:
    """Deals of the account that is connected.

    :param words: what they have to hold; HubSpot looks into titles and descriptions.
    :raises Refused: CONFLICT when HubSpot is not connected; what the client raises.
    """
    workspace = Workspace(services, tenant_id, patience=5.0)
    access = HubSpotAccess(services, workspace)
    search = Search(words=words, properties=_SHOWN, sort="createdate", limit=PAGE, after=after or None)
    with client_of(services, access, patience=PAGE_PATIENCE, urgent=True) as client:
        found = client.search_deals(search)
        with suppress(HubSpotError):  # without names of stages and the account's currency the list is still of use
            hubspot_definitions.keep_fresh(client, workspace, access.portal_id)

    def read(connection: Connection) -> Shown:
        known = mappings.definitions(connection, access.portal_id)
        account = known.account if known else Account()
        stages = {stage.id: stage.label for pipeline in account.pipelines for stage in pipeline.stages}
        mapped = imports.mapped(connection, access.portal_id, [deal.id for deal in found.results])
        picked = {one.deal_id for one in picks.find(connection, access.portal_id)}
        return Shown(found.results, stages, account.currency, mapped, picked, found.total, found.next)

    return workspace.do(read)


def change(
    services: Services, tenant_id: UUID, add: Sequence[str], remove: Sequence[str], *, limit: int, by: str
) -> None:
    """Choose some deals, after those that are chosen already, and some no longer.

    :param limit: how many deals the plan imports in all.
    :raises Refused: INVALID when there are not as many places, or HubSpot has a deal no more; CONFLICT when it is not
        connected; what the client raises.
    """
    workspace = Workspace(services, tenant_id, patience=5.0)
    access = HubSpotAccess(services, workspace)
    titles = _titles(services, access, list(dict.fromkeys(add))) if add else {}
    workspace.do(lambda connection: picks.change(connection, access.portal_id, titles, remove, limit=limit, by=by))


def clear(services: Services, tenant_id: UUID) -> None:
    """Nothing is chosen any more. :raises Refused: CONFLICT when HubSpot is not connected."""
    workspace = Workspace(services, tenant_id, patience=5.0)
    access = HubSpotAccess(services, workspace)
    workspace.do(lambda connection: picks.forget(connection, access.portal_id))


def _titles(services: Services, access: HubSpotAccess, wanted: list[str]) -> dict[str, str]:
    """What the deals are called now, by the id that they have now."""
    with client_of(services, access, patience=PAGE_PATIENCE, urgent=True) as client:
        answer = client.batch_read_deals(wanted, ("dealname",))
    if answer.missing:
        raise Refused(
            Code.INVALID,
            f"HubSpot has deleted {len(answer.missing)} of the deals that you picked. Nothing was changed.",
            "Look at the list again.",
        )
    names = {deal.id: deal.properties.get("dealname") for deal in answer.results}
    found = [answer.merged.get(deal_id, deal_id) for deal_id in wanted]
    return {deal_id: fitting(names.get(deal_id) or f"Deal {deal_id}", _LONGEST_TITLE) for deal_id in found}
