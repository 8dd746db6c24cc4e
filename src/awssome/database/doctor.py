"""Comparing the registry with what the servers hold. Slow and thorough; nothing is changed unless asked for.

Dropping is never a repair: an orphaned schema may be somebody's only copy. An operator looks at it first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from awssome.database import template
from awssome.database.engine import Server
from awssome.database.registry import Registry, audit, placements, servers
from awssome.database.servers import Opener
from awssome.domain.errors import Refused
from awssome.domain.tenants import PlacementState


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    :ivar about: what was looked at, as a server's name.
    :ivar told: what was found, in words.
    :ivar names: the schemas concerned, if any.
    :ivar repaired: it was not well, and is now.
    """

    check: str
    about: str
    ok: bool
    told: str
    names: tuple[str, ...] = ()
    repaired: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def examine(registry: Registry, open_server: Opener, *, repair: bool = False) -> Iterator[Finding]:
    """Check the audit log's seals and every server, one after the other.

    :param repair: write the true revisions of schemas into the registry's column.
    """
    with registry.begin() as connection:
        verified = audit.verify(connection)
        rows = servers.every(connection)
    told = "Every seal fits." if verified.ok else f"Lines from {verified.first_bad} on are not as they were sealed."
    yield Finding("audit log", "registry", verified.ok, told)
    for row in rows:
        try:
            server = open_server(row.id)
            found = server.check()
        except Refused as refused:
            yield Finding("server", row.name, False, refused.message)
            continue
        told = ", ".join(f"{name} {value}" for name, value in found.items())
        yield Finding("server", row.name, row.problem is None, row.problem or f"It answers: {told}.")
        yield from _examine_schemas(registry, server, row, repair)


def _examine_schemas(registry: Registry, server: Server, row: Any, repair: bool) -> Iterator[Finding]:
    # The schemas first: one that is made meanwhile is in the registry by then, because its row is written before it.
    there = {use.schema for use in server.use()}
    with registry.begin() as connection:
        known = placements.on_server(connection, row.id)
    orphans = there - {place.schema_name for place in known}
    if orphans:
        orphans &= {use.schema for use in server.use()}  # without those that were dropped in between
    yield _listing(
        "orphaned schemas", row.name, sorted(orphans), "No placement names {}: look at it before you drop it."
    )
    missing, behind, repaired = [], [], []
    for place in known:
        fence = server.fence(place.schema_name)
        if place.state == PlacementState.NEW:
            continue
        if fence is None:
            missing.append(f"{place.schema_name} ({place.slug})")
        elif fence.revision != place.revision:
            behind.append(place.schema_name)
            if repair:
                with registry.begin() as connection:
                    placements.note_revision(connection, place.id, fence.revision)
                repaired.append(place.schema_name)
    yield _listing("missing schemas", row.name, missing, "The registry places data in {}, which is not there.")
    late = [f"{place.schema_name} ({place.slug})" for place in known if placements.is_behind(place, template.older())]
    yield _listing("behind", row.name, late, "The tables of {} are older than the template: `awssome migrate`.")
    yield _listing(
        "revisions", row.name, behind, "The registry has another revision than the tables of {}.", bool(repaired)
    )


def _listing(check: str, about: str, names: list[str], problem: str, repaired: bool = False) -> Finding:
    if not names:
        return Finding(check, about, True, "None." if check != "revisions" else "The registry knows them all.")
    few = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return Finding(check, about, repaired, problem.format(few), tuple(names), repaired)
