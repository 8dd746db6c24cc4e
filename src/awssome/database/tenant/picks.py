"""The deals that the people of a free tenant have chosen: they come in, in their order, and no others do.

A pick stays when its deal has come in; then it can no longer be taken back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, delete, func, insert, select, update
from sqlalchemy.engine import Connection

from awssome.database.schema import hubspot_mappings, hubspot_picks
from awssome.database.tenant import hubspot as stored
from awssome.domain.errors import Code, Refused
from awssome.domain.times import now

_p, _m = hubspot_picks.c, hubspot_mappings.c


@dataclass(frozen=True)
class Pick:
    """A deal that was chosen.

    :ivar imported: whether it has come in; it is settled then.
    """

    deal_id: str
    place: int
    title: str
    picked_by: str
    picked_at: datetime
    imported: bool


def find(connection: Connection, portal_id: int) -> list[Pick]:
    """What was chosen of this HubSpot account's deals, in order."""
    here = and_(_m.portal_id == _p.portal_id, _m.deal_id == _p.deal_id)
    query = (
        select(_p.deal_id, _p.place, _p.title, _p.picked_by, _p.picked_at, _m.deal_id.label("mapped"))
        .outerjoin_from(hubspot_picks, hubspot_mappings, here)
        .where(_p.portal_id == portal_id)
        .order_by(_p.place, _p.deal_id)
    )
    return [
        Pick(row.deal_id, row.place, row.title, row.picked_by, row.picked_at, row.mapped is not None)
        for row in connection.execute(query)
    ]


def change(
    connection: Connection, portal_id: int, add: Mapping[str, str], remove: Sequence[str], *, limit: int, by: str
) -> None:
    """Choose some deals, after those that are chosen already, and some no longer.

    :param add: deal id -> title. One that has come in, or is chosen already, changes nothing.
    :param remove: deal ids; those that have come in stay.
    :param limit: how many deals the plan imports in all.
    :raises Refused: INVALID when there are not as many places left.
    """
    stored.lock(connection)
    settled = [one.deal_id for one in find(connection, portal_id) if one.imported]
    drop(connection, portal_id, [deal_id for deal_id in remove if deal_id not in settled])
    chosen = find(connection, portal_id)
    known = {one.deal_id for one in chosen}
    mapped = set(connection.scalars(select(_m.deal_id).where(_m.portal_id == portal_id, _m.deal_id.in_(list(add)))))
    fresh = {deal_id: title for deal_id, title in add.items() if deal_id not in known | mapped}
    free = max(0, limit - stored.imports(connection) - sum(not one.imported for one in chosen))
    if len(fresh) > free:
        left = f"{free} of {limit} places are left" if free else f"all {limit} places are taken"
        raise Refused(
            Code.INVALID,
            f"You picked {len(fresh)} {'deal' if len(fresh) == 1 else 'deals'}, and {left}. Nothing was changed.",
            "Pick fewer, or upgrade to import all of your deals.",
        )
    if fresh:
        first, at = max((one.place for one in chosen), default=0) + 1, now()
        rows = [
            {"deal_id": deal_id, "place": first + number, "title": title}
            for number, (deal_id, title) in enumerate(fresh.items())
        ]
        same = {"portal_id": portal_id, "picked_by": by, "picked_at": at}
        connection.execute(insert(hubspot_picks), [row | same for row in rows])


def forget(connection: Connection, portal_id: int) -> None:
    """Nothing is chosen any more: the rule decides. What has come in stays."""
    connection.execute(delete(hubspot_picks).where(_p.portal_id == portal_id))


def follow(connection: Connection, portal_id: int, deal_id: str, survivor: str) -> None:
    """A chosen deal became part of another: that one is chosen in its place, unless it is chosen already."""
    here = select(func.count()).select_from(hubspot_picks).where(_p.portal_id == portal_id, _p.deal_id == survivor)
    if connection.execute(here).scalar_one():
        drop(connection, portal_id, [deal_id])
        return
    mine = (_p.portal_id == portal_id, _p.deal_id == deal_id)
    connection.execute(update(hubspot_picks).where(*mine).values(deal_id=survivor))


def drop(connection: Connection, portal_id: int, deal_ids: Sequence[str]) -> None:
    """These are no longer chosen: HubSpot has deleted them."""
    connection.execute(delete(hubspot_picks).where(_p.portal_id == portal_id, _p.deal_id.in_(list(deal_ids))))
