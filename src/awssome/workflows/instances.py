"""Servers that AWS makes for one tenant each: ordered with an upgrade, made before its data is copied, taken away when
nothing of the tenant is left on it.

Every step can be done again, by any worker, also after a kill -9 between asking AWS and writing down what it said: the
name is the same each time, and AWS has at most one instance of a name. Nobody waits for AWS in a thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from uuid import UUID

import structlog

from awssome.aws import databases
from awssome.aws.databases import Databases
from awssome.aws.secrets import administrator
from awssome.aws.troubles import SOON
from awssome.database import Connection, made
from awssome.database.registry import Registry, audit, instances, servers
from awssome.database.registry.audit import Actor
from awssome.database.registry.instances import Instance
from awssome.domain.errors import Code, Refused
from awssome.domain.instances import MAKING, Blueprint, InstanceState, Trouble, final_snapshot, look_again, told
from awssome.domain.moves import NotYet
from awssome.domain.secrets import new_token
from awssome.domain.tenants import EngineName
from awssome.domain.times import now
from awssome.workflows.services import WorkerServices

MOST = 3
"""Instances that one tenant may have at once: who orders and calls off again and again takes what AWS lets all have."""

UNANSWERED = timedelta(seconds=10)
"""When to ask a server again that AWS calls available and that does not answer yet."""

IN_HAND = timedelta(seconds=2)
"""When to look again at one that another worker has in hand."""

_log = structlog.get_logger(__name__)


def order(connection: Connection, blueprint: Blueprint, actor: Actor, tenant_id: UUID) -> UUID:
    """A dedicated server for the tenant that AWS is to make; `ensure` has it made. The caller has locked the tenant.

    :raises Refused: UNAVAILABLE when too many that were made for it are not gone yet.
    """
    if instances.count(connection, tenant_id) >= MOST:
        raise Refused(
            Code.UNAVAILABLE,
            "Database servers that were made for this workspace before are still being taken away.",
            "Try again when they are gone, or add a dedicated server.",
        )
    server_id = instances.order(connection, blueprint, tenant_id)
    audit.record(connection, actor, "instance.ordered", tenant_id, server=server_id, engine=blueprint.engine)
    return server_id


def again(connection: Connection, server_id: UUID) -> None:
    """Somebody has mended what was in the way: `ensure` tries once more."""
    instance = instances.find(connection, server_id, lock=True)
    if instance is not None and instance.state is InstanceState.FAILED:
        instances.turn(connection, instance, InstanceState.WANTED, requested_at=now())
        instances.tell(connection, server_id, None)


def ensure(services: WorkerServices, server_id: UUID) -> None:
    """Return when the server is there, registered and open; at once for one that AWS does not make.

    :raises NotYet: while AWS makes it, or has no room for it right now: it is to be called again then.
    :raises Refused: CONFLICT when somebody has to act first; the server's page says how. `again`, then call it anew.
    """
    with _alone(services, server_id) as instance:
        if instance is None:
            return
        if instance.state is InstanceState.AVAILABLE:
            renew(services, server_id)
            return
        if instance.state is InstanceState.FAILED:
            raise _not_made(instance)
        if instance.state not in MAKING:
            raise Refused(Code.CONFLICT, "The database server is being taken away.", "Start another upgrade.")
        try:
            _prepare(services, instance, _made(services, instance))
        except Trouble as trouble:
            raise _told(services, instance, trouble) from None


def renew(services: WorkerServices, server_id: UUID) -> None:
    """Take over the administrator's password, if RDS has rotated it. Nothing for a server that AWS does not make.

    :raises Refused: UNAVAILABLE when AWS does not tell it.
    """
    with services.registry.begin() as connection:
        instance = instances.find(connection, server_id)
        if instance is None or instance.secret is None or instance.engine is EngineName.POSTGRESQL:
            return  # on PostgreSQL a provisioner of ours administers it
        _, known = servers.admin_url(connection, services.keys, server_id)
    try:
        user = administrator(instance.secret)
    except Trouble as trouble:
        raise Refused(Code.UNAVAILABLE, trouble.message, trouble.advice) from None
    url = made.address(instance.engine, instance.host, instance.port, user, "").render_as_string(hide_password=False)
    if url != known:
        with services.registry.begin() as connection:
            servers.change(connection, server_id, admin_url=services.keys.seal_admin(url))
            audit.record(connection, audit.SYSTEM, "instance.secret_renewed", instance.tenant_id, server=instance.name)


def clear(services: WorkerServices) -> None:
    """Take away the instances on which nothing of their tenant is left, one step of each further.

    What is in AWS's way is written on the server, and tried again with the next call.
    """
    with services.registry.begin() as connection:
        for instance in instances.needless(connection):
            instances.turn(connection, instance, InstanceState.RETIRING)
            servers.change(connection, instance.server_id, open=False)
            audit.record(connection, audit.SYSTEM, "instance.retiring", instance.tenant_id, server=instance.name)
        going = instances.leaving(connection)
    for instance in going:
        try:
            with _alone(services, instance.server_id) as there:
                if there is not None and there.state is not InstanceState.DELETED:
                    _take_away(services, there)
        except Trouble as trouble:
            _note(services, instance, trouble)
        except NotYet:
            continue  # another worker has it in hand


def erase(services: WorkerServices) -> None:
    """Delete the last snapshots of servers whose tenants are erased: nothing of those is kept anywhere.

    What is in AWS's way is tried again with the next call.
    """
    with services.registry.begin() as connection:
        left = instances.of_the_erased(connection)
    for instance in left:
        assert instance.snapshot is not None  # noqa: S101 - they are asked for by it
        try:
            services.databases.delete_snapshot(instance.snapshot)
        except Trouble as trouble:
            _note(services, instance, trouble)
            continue
        with services.registry.begin() as connection:
            if instances.turn(connection, instance, InstanceState.DELETED, snapshot=None):
                instances.tell(connection, instance.server_id, None)
                audit.record(
                    connection,
                    audit.SYSTEM,
                    "instance.snapshot_deleted",
                    instance.tenant_id,
                    server=instance.name,
                    snapshot=instance.snapshot,
                )


def orphans(registry: Registry, databases: Databases, platform: str) -> list[str]:
    """Instances that carry the platform's tag, cost money, and that the registry does not know: as behind a registry
    that was restored from a backup. They are looked at by operators, and never deleted by us.

    :raises Trouble: when AWS does not tell.
    """
    there = databases.of_platform(platform)  # first: one that is ordered meanwhile is known before it is made
    with registry.begin() as connection:
        known = instances.identifiers(connection)
    return [name for name in there if name not in known]


@contextmanager
def _alone(services: WorkerServices, server_id: UUID) -> Iterator[Instance | None]:
    """The instance as it is now, with nobody else at work on it: what one asks AWS to make, none takes away meanwhile.

    :raises NotYet: when another worker has it in hand.
    """
    with services.registry.holding(f"instance:{server_id}") as held:
        with services.registry.begin() as connection:
            instance = instances.find(connection, server_id)
        if not held and instance is not None:
            waited = now() - instance.requested_at
            raise NotYet(now() + IN_HAND, told(waited))
        yield instance


def _made(services: WorkerServices, instance: Instance) -> databases.Instance:
    """The instance, available and with an endpoint. :raises NotYet: while it is not. :raises Trouble:"""
    found = None
    if instance.state is not InstanceState.WANTED:
        found = services.databases.find(instance.name, instance.tags)
    if found is None:
        found = _create(services, instance)
    if (broken := found.broken) is not None:
        raise broken
    if found.status != "available" or not found.host or found.secret is None:
        waited = now() - instance.requested_at
        raise NotYet(now() + look_again(waited), told(waited))
    return found


def _create(services: WorkerServices, instance: Instance) -> databases.Instance:
    if services.blueprint is None or services.blueprint.runs is not instance.engine:
        raise Trouble(
            f"The workers' settings do not say which {instance.engine} servers AWS is to make.",
            "Set AWSSOME_RDS_ENGINE and what goes with it for the workers, too, then try the move again.",
        )
    fresh = services.databases.create(instance.name, services.blueprint, instance.tags)
    found = fresh or services.databases.find(instance.name, instance.tags)
    if found is None:
        raise Trouble("The instance of an earlier try was deleted a moment ago.", again=SOON)
    if fresh is None and found.status in databases.NO_SNAPSHOT:
        # Of an earlier try: it was never available, and nobody's data is there.
        services.databases.delete(instance.name, None)
        raise Trouble("RDS had failed to make the instance. It is deleted, and made anew.", again=SOON)
    if found.status == "deleting":
        raise Trouble("The instance of an earlier try is being deleted; then it is made anew.", again=SOON)
    with services.registry.begin() as connection:
        if instances.turn(connection, instance, InstanceState.CREATING, ordered=asdict(services.blueprint)):
            instances.tell(connection, instance.server_id, None)
            audit.record(connection, audit.SYSTEM, "instance.creating", instance.tenant_id, server=instance.name)
    return found


def _prepare(services: WorkerServices, instance: Instance, found: databases.Instance) -> None:
    """The tenants' database, its administrator, the check; then the server is open.

    :raises NotYet: while the server does not answer.
    """
    assert found.secret is not None  # noqa: S101 - `_made` has seen it
    user = administrator(found.secret)
    url = _address(services, instance, found, user)
    try:
        made.prepare(instance.engine, url, user)
        checked = services.open_server(instance.server_id).check()
        if not found.protected:
            services.databases.protect(instance.name)
    except Refused as refused:
        trouble = Trouble(refused.message, refused.advice)
        if refused.code is Code.UNAVAILABLE:
            trouble.again = UNANSWERED
        raise trouble from None
    with services.registry.begin() as connection:
        there = instances.find(connection, instance.server_id, lock=True)
        if there is None or there.state is not InstanceState.PREPARING:
            return  # another worker was faster, or it is being taken away
        instances.turn(connection, there, InstanceState.AVAILABLE, available_at=now())
        servers.change(connection, instance.server_id, open=True, problem=None)
        audit.record(
            connection, audit.SYSTEM, "instance.available", instance.tenant_id, server=instance.name, found=checked
        )


def _address(services: WorkerServices, instance: Instance, found: databases.Instance, user: tuple[str, str]) -> str:
    """The administrator's URL, written down before the provisioner gets its password; of several workers one draws it.

    :raises NotYet: when it was turned since: the next look finds to what.
    """
    with services.registry.begin() as connection:
        there = instances.find(connection, instance.server_id, lock=True)
        if there is None or there.state not in MAKING:
            raise NotYet(now() + IN_HAND, told(now() - instance.requested_at))
        if there.state is InstanceState.PREPARING and instance.engine is EngineName.POSTGRESQL:
            return servers.admin_url(connection, services.keys, instance.server_id)[1]
        url = made.address(instance.engine, found.host, found.port, user, new_token())
        text = url.render_as_string(hide_password=False)
        servers.change(
            connection,
            instance.server_id,
            host=found.host,
            port=found.port,
            database=url.database,
            admin_url=services.keys.seal_admin(text),
        )
        instances.turn(connection, there, InstanceState.PREPARING, secret=found.secret)
        return text


def _take_away(services: WorkerServices, instance: Instance) -> None:
    """Ask for the last snapshot and the deletion; when both are done, the server's row says deleted."""
    found = services.databases.find(instance.name, instance.tags)
    if found is not None and found.status == "deleting":
        return
    if found is None:
        _gone(services, instance)
        return
    snapshot = final_snapshot(instance.name) if instance.available_at else None
    if snapshot and (broken := found.broken) is not None:
        raise Trouble(f"{broken.message} No last snapshot can be taken.", f"{broken.advice} Or delete it by hand.")
    if snapshot and found.status != "available":
        return  # it is being backed up or modified; the next look is soon
    with services.registry.begin() as connection:
        instances.turn(connection, instance, InstanceState.DELETING, snapshot=snapshot)
    services.databases.delete(instance.name, snapshot, protected=found.protected)


def _gone(services: WorkerServices, instance: Instance) -> None:
    status = services.databases.snapshot_status(instance.snapshot) if instance.snapshot else None
    if status == "creating":
        return
    with services.registry.begin() as connection:
        kept = instance.snapshot if status is not None else None
        if not instances.turn(connection, instance, InstanceState.DELETED, deleted_at=now(), snapshot=kept):
            return
        servers.change(connection, instance.server_id, open=False, tenant_id=None, admin_url=b"", problem=None)
        audit.record(
            connection, audit.SYSTEM, "instance.deleted", instance.tenant_id, server=instance.name, snapshot=kept
        )


def _told(services: WorkerServices, instance: Instance, trouble: Trouble) -> Exception:
    """What the move is told: when to come again, or that somebody has to act. The server has the operators' words."""
    _note(services, instance, trouble)
    if trouble.again is not None:
        return NotYet(now() + trouble.again, told(now() - instance.requested_at))
    with services.registry.begin() as connection:
        there = instances.find(connection, instance.server_id, lock=True)
        if there is not None and there.state in MAKING:
            instances.turn(connection, there, InstanceState.FAILED)
            audit.record(
                connection,
                audit.SYSTEM,
                "instance.failed",
                instance.tenant_id,
                server=instance.name,
                problem=trouble.message,
            )
    return _not_made(instance)


def _note(services: WorkerServices, instance: Instance, trouble: Trouble) -> None:
    _log.warning("instance.trouble", server=instance.name, problem=trouble.message)
    with services.registry.begin() as connection:
        instances.tell(connection, instance.server_id, trouble.whole)


def _not_made(instance: Instance) -> Refused:
    return Refused(
        Code.CONFLICT,
        "AWS has not made the database server yet. The workspace goes on where it is; nothing has changed for it.",
        f"The page of server {instance.name} says why, and what to do. Then try the move again.",
    )
