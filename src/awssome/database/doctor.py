"""Comparing the registry with what the servers hold. Slow and thorough; nothing is changed unless asked for.

An orphaned schema is never dropped by a repair: it may be somebody's only copy. An operator looks at it, and names it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from awssome.database import template
from awssome.database.differences import REPAIRED, TOLD, Check, Difference, differences
from awssome.database.engine import FenceBusy, MoverLost, Server
from awssome.database.registry import Registry, audit, placements, servers, tenants
from awssome.database.registry.audit import Actor
from awssome.database.servers import Opener, match_login
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import FenceMode
from awssome.domain.secrets import Keys
from awssome.domain.tenants import PlacementState, is_schema_name
from awssome.domain.vault import Vault


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


def examine(registry: Registry, vault: Vault, open_server: Opener, *, repair: bool = False) -> Iterator[Finding]:
    """Check the audit log's seals, the keys and every server, one after the other.

    :param repair: mend what can be mended without a doubt (`differences.REPAIRED`); each is written to the audit log.
    """
    keys = vault.keys
    with registry.begin() as connection:
        verified = audit.verify(connection)
        rows = servers.there(connection)
        waiting = placements.under_other_keys(connection, keys.present_ids)
        data_keys = tenants.count_data_keys(connection, but=vault.present)
    told = "Every seal fits." if verified.ok else f"Lines from {verified.first_bad} on are not as they were sealed."
    yield Finding("audit log", "registry", verified.ok, told)
    told = "Every login's password follows from the present one."
    if waiting:
        told = f"{waiting:,} logins still need an earlier one: `awssome tenant rotate --all`."
    yield Finding("secret key", "registry", not waiting, told)
    yield _data_keys(vault, data_keys)
    doctor = _Doctor(registry, keys, open_server)
    for row in rows:
        try:
            server = open_server(row.id)
            found = server.check()
            told = ", ".join(f"{name} {value}" for name, value in found.items())
            yield Finding("server", row.name, row.problem is None, row.problem or f"It answers: {told}.")
            yield from doctor.examine(server, row, repair)
        except Refused as refused:
            yield Finding("server", row.name, False, refused.message)


def drop_orphan(registry: Registry, open_server: Opener, actor: Actor, schema: str) -> str:
    """Drop a schema that no placement names; returns the server that it was on. Nothing can bring it back.

    :raises Refused: INVALID for what is no tenant's schema; NOT_FOUND when no server has it; CONFLICT when a placement
        names it; UNAVAILABLE when it may be on a server that does not answer.
    """
    if not is_schema_name(schema):
        raise Refused(Code.INVALID, "This is not the name of a tenant's schema. Nothing was dropped.")
    with registry.begin() as connection:
        if placements.known(connection, [schema]):
            raise Refused(Code.CONFLICT, f"A placement names {schema}. Nothing was dropped.", "It is no orphan.")
        rows = servers.there(connection)
    silent = []
    for row in rows:
        try:
            server = open_server(row.id)
            fence = server.fence(schema)
            if fence is None:
                continue
            server.drop(schema, fence.mover)
        except Refused:
            silent.append(row.name)
            continue
        with registry.begin() as connection:
            audit.record(connection, actor, "orphan.dropped", server=row.name, schema=schema, epoch=fence.epoch)
        return str(row.name)
    if silent:
        raise Refused(
            Code.UNAVAILABLE,
            f"No server that answers has a schema {schema}; {', '.join(silent)} did not. Nothing was dropped.",
            "Try again when it does.",
        )
    raise Refused(Code.NOT_FOUND, f"No server has a schema {schema}.", "`awssome doctor` lists orphaned ones.")


@dataclass(frozen=True)
class _Doctor:
    registry: Registry
    keys: Keys
    open_server: Opener

    def examine(self, server: Server, row: Any, repair: bool) -> Iterator[Finding]:
        """What differs on one server."""
        found, places = self._differences(server, row)
        if found:
            # Much happens meanwhile on a busy platform: only what is wrong both times is.
            again, places = self._differences(server, row)
            still = {(each.check, each.schema) for each in found}
            found = [each for each in again if (each.check, each.schema) in still]
        for check in Check:
            concerned = [each for each in found if each.check is check]
            mended = bool(concerned) and repair and check in REPAIRED
            if mended:
                done = [self._mended(server, each) for each in concerned]
                mended = all(done)
            yield _listing(check, row.name, [each.name for each in concerned], TOLD[check], mended)
        older = template.older()
        late = [f"{place.schema_name} ({place.slug})" for place in places if placements.is_behind(place, older)]
        yield _listing("behind", row.name, late, "The tables of {} are older than the template: `awssome migrate`.")

    def _differences(self, server: Server, row: Any) -> tuple[list[Difference], list[Any]]:
        # What the server holds first: see `differences`.
        held = server.holdings()
        with self.registry.begin() as connection:
            places = placements.on_server(connection, row.id)
            names = {holding.schema for holding in held} - {place.schema_name for place in places}
            known = placements.known(connection, names)
        return list(differences(held, places, known)), places

    def _mended(self, server: Server, found: Difference) -> bool:
        try:
            self._mend(server, found)
        except (MoverLost, FenceBusy):
            return False  # somebody is at work there: the next look finds what is left of it
        return True

    def _mend(self, server: Server, found: Difference) -> None:
        check, schema = found.check, found.schema
        mover = found.fence.mover if found.fence else 0
        if check in (Check.LEFT, Check.ABANDONED):
            server.drop(schema, mover)
        elif check is Check.OPEN_FENCES and found.fence is not None:
            server.set_fence(schema, mover, mode=FenceMode.MOVED, epoch=found.fence.epoch)
        elif check is Check.CAPTURES:
            server.capture(schema, mover, on=False)
        elif check in (Check.SHUT, Check.OPEN):
            self._match_login(server, found)
        with self.registry.begin() as connection:
            if check is Check.ABANDONED and found.placement_id is not None:
                placements.mark(connection, found.placement_id, PlacementState.DROPPED)
                servers.release(connection, found.placement_id)
            if check is Check.REVISIONS and found.placement_id is not None and found.fence is not None:
                placements.note_revision(connection, found.placement_id, found.fence.revision)
            audit.record(connection, audit.SYSTEM, "doctor.repaired", found.tenant_id, check=check, schema=schema)

    def _match_login(self, server: Server, found: Difference) -> None:
        assert found.tenant_id is not None  # noqa: S101 - a login of a placement
        with self.registry.begin() as connection:
            current = tenants.find(connection, found.tenant_id).placement_id == found.placement_id
        if current:
            match_login(self.registry, self.keys, self.open_server, found.tenant_id)
        else:
            server.close_login(found.schema)


def _listing(check: str, about: str, names: list[str], problem: str, repaired: bool = False) -> Finding:
    if not names:
        return Finding(check, about, True, "None.")
    few = ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
    return Finding(check, about, repaired, problem.format(few), tuple(names), repaired)


def _data_keys(vault: Vault, waiting: int) -> Finding:
    """Whether what wraps data keys works, and wraps them all."""
    about, ok, told = "registry", True, "The secret key wraps every tenant's data key."
    if vault.kms and vault.kms.key:
        about, told = "KMS", "The key of KMS is enabled, and wraps every tenant's data key."
        try:
            state = vault.kms.state()
            if state != "Enabled":
                ok, told = False, f"The key of KMS is {state}: no connection to HubSpot can be used."
        except Refused as refused:
            ok, told = False, refused.message
    if ok and waiting:
        ok, told = False, f"{waiting:,} data keys are wrapped by what was used before: `awssome keys rotate`."
    return Finding("data keys", about, ok, told)
