"""What a server holds beside what the registry says of it, and what each difference means. No input, no output."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from awssome.database.engine import Fence, Holding
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import PlacementState, TenantState


class Check(StrEnum):
    """What may differ, as the doctor lists it."""

    ORPHANED = "orphaned schemas"
    ORPHANED_LOGINS = "orphaned logins"
    LEFT = "schemas left behind"
    ABANDONED = "abandoned placements"
    MISSING = "missing schemas"
    MISSING_LOGINS = "missing logins"
    SHUT = "logins that are closed"
    OPEN = "logins that are open"
    FENCES = "fences"
    OPEN_FENCES = "fences of kept copies"
    CAPTURES = "captures"
    REVISIONS = "revisions"


TOLD: dict[Check, str] = {
    Check.ORPHANED: "No placement names {}: look at it, then `awssome doctor --drop SCHEMA`.",
    Check.ORPHANED_LOGINS: "{} can be signed in with, and belongs to nothing here: close it, unless it is another "
    "platform’s on this instance.",
    Check.LEFT: "The registry counts {} as dropped, and it is still there.",
    Check.ABANDONED: "{} was begun, and nobody will ever live there.",
    Check.MISSING: "The registry places data in {}, which is not there.",
    Check.MISSING_LOGINS: "{} has no login: move the tenant to another server, which makes one.",
    Check.SHUT: "The tenant of {} is active, and its login is closed.",
    Check.OPEN: "Nobody is to come in to {}, and its login is open.",
    Check.FENCES: "The fence of {} is not the registry’s, and no move is under way: its tenant is locked out. "
    "Find out which is right; a registry from a backup is older than its servers.",
    Check.OPEN_FENCES: "{} is a kept copy, and takes writes.",
    Check.CAPTURES: "{} notes what is written, which costs time, and no move is under way.",
    Check.REVISIONS: "The registry has another revision than the tables of {}.",
}

REPAIRED = frozenset(
    {
        Check.LEFT,
        Check.ABANDONED,
        Check.SHUT,
        Check.OPEN,
        Check.OPEN_FENCES,
        Check.CAPTURES,
        Check.REVISIONS,
    }
)
"""What can be mended without a doubt. The rest may be somebody's only copy, or a matter of which side is right."""


@dataclass(frozen=True)
class Difference:
    """One difference.

    :ivar placement_id: None when no placement on this server names the schema.
    :ivar fence: as it was found.
    """

    check: Check
    schema: str
    slug: str = ""
    tenant_id: UUID | None = None
    placement_id: UUID | None = None
    fence: Fence | None = None

    @property
    def name(self) -> str:
        """The schema, and whose it is."""
        return f"{self.schema} ({self.slug})" if self.slug else self.schema


def differences(holdings: Iterable[Holding], places: Iterable[Any], known: Collection[str]) -> Iterator[Difference]:
    """What is not as it should be.

    :param places: rows of `registry.placements.on_server`, read after the holdings: what was made in between is known
        then, since its row is written before it.
    :param known: schemas that a placement on any server names: logins are of a whole instance.
    """
    here = {place.schema_name: place for place in places}
    held = {holding.schema: holding for holding in holdings}
    for schema, holding in held.items():
        place = here.get(schema)
        if place is None and holding.fence is not None:
            yield Difference(Check.ORPHANED, schema, fence=holding.fence)
        elif holding.fence is None and holding.login_open and schema not in known:
            yield Difference(Check.ORPHANED_LOGINS, schema)
    for schema, place in here.items():
        holding = held.get(schema, Holding(schema, None, None))
        for check in _of_place(place, holding):
            yield Difference(check, schema, place.slug, place.tenant_id, place.id, holding.fence)


def _of_place(place: Any, holding: Holding) -> Iterator[Check]:
    fence = holding.fence
    if place.state == PlacementState.DROPPED:
        if fence is not None:
            yield Check.LEFT
        return
    if place.state == PlacementState.NEW or place.carried:
        if place.abandoned:
            yield Check.ABANDONED
        return
    if fence is None:
        yield Check.MISSING
        return
    if fence.revision != place.revision:
        yield Check.REVISIONS
    if fence.capture:
        yield Check.CAPTURES
    if place.current and place.tenant_state == TenantState.ACTIVE:
        if holding.login_open is None:
            yield Check.MISSING_LOGINS
        elif not holding.login_open:
            yield Check.SHUT
        if (fence.mode, fence.epoch) != (FenceMode.RW, place.epoch):
            yield Check.FENCES
    elif place.current:
        if holding.login_open:
            yield Check.OPEN
    else:
        # One that was restored beside the tenant has never been open.
        if holding.login_open and fence.mode is not FenceMode.STANDBY:
            yield Check.OPEN
        if fence.mode is FenceMode.RW:
            yield Check.OPEN_FENCES
