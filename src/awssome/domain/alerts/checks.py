"""The checks behind the rules, and their limits. Each is given the subjects for which its alert is open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from datetime import timedelta
from typing import NamedTuple

from awssome.domain.alerts.picture import MoveNow, Picture, ServerNow, TenantRef
from awssome.domain.tenants import ServerKind


class Limit(NamedTuple):
    """Where an alert opens, and where it clears again."""

    opens: float
    clears: float


POOL_SHARE = Limit(0.80, 0.75)
"""Of a pool's places, how many are taken."""

POOL_DAYS = Limit(14, 21)
"""Days until a pool is full."""

CONNECTION_SHARE = Limit(0.80, 0.60)
"""Of a server's connections."""

STATEMENT_SECONDS = Limit(120, 60)
"""Of a tenant's statement; `workflows.long_sessions` ends what is over its tier's limit before."""

BLOCKED_SESSIONS = Limit(3, 1)
"""Sessions that have waited long for a lock."""

QUEUE_SECONDS = Limit(300, 60)
"""How long a job waits that could run."""

UNSEALED_SECONDS = Limit(900, 300)
"""How old a line of the audit log is that no seal covers; seals come each minute."""

UNWATCHED_SECONDS = Limit(900, 600)
"""How long ago figures were collected; that happens each five minutes."""

MOVE_TIME = timedelta(hours=1)
"""A move that takes longer has met something."""


class Found(NamedTuple):
    """What a rule's check gives: a finding without the rule's own words."""

    subject: str
    message: str
    about: str
    path: str
    server: ServerNow | None = None
    tenant: TenantRef | None = None


Check = Callable[[Picture, Set[str]], Iterator[Found]]


def pool_near_limit(picture: Picture, opened: Set[str]) -> Iterator[Found]:
    for server in picture.servers:
        if server.kind is not ServerKind.POOL or not server.open:
            continue
        known = str(server.id) in opened
        days = (server.full_on - picture.at.date()).days if server.full_on else None
        soon = days is not None and (days <= POOL_DAYS.opens or (known and days < POOL_DAYS.clears))
        if not soon and not _over(server.taken / server.capacity, POOL_SHARE, known):
            continue
        left = max(0, server.capacity - server.taken)
        message = f"Free places: {left:,} of {server.capacity:,}."
        if left and days is not None:
            message += f" At this rate it is full {_in_days(days)}."
        yield _about_server(server, str(server.id), message)


def no_open_pool(picture: Picture, opened: Set[str]) -> Iterator[Found]:
    pools = [server for server in picture.servers if server.kind is ServerKind.POOL and server.open]
    if not any(server.taken < server.capacity for server in pools):
        yield Found("pools", "Nobody can sign up until a pool is open.", "Servers", "/servers")


def server_unreachable(picture: Picture, opened: Set[str]) -> Iterator[Found]:
    for server in picture.servers:
        if server.silent_since and server.there:
            told = server.silence or "It does not answer."
            yield _about_server(server, str(server.id), f"{told} Its tenants cannot work." if server.taken else told)


def server_refused(picture: Picture, opened: Set[str]) -> Iterator[Found]:
    for server in picture.servers:
        if server.problem and server.there and not server.silent_since:
            yield _about_server(server, str(server.id), server.problem)


def instance_stuck(picture: Picture, opened: Set[str]) -> Iterator[Found]:
    for server in picture.servers:
        if server.problem and not server.there:
            yield _about_server(server, str(server.id), server.problem)


def connections_short(picture: Picture, opened: Set[str]) -> Iterator[Found]:
    for server in picture.servers:
        if not server.connection_limit:
            continue
        known = str(server.id) in opened
        if _over(server.connections / server.connection_limit, CONNECTION_SHARE, known):
            message = f"{server.connections:,} of {server.connection_limit:,} connections are in use."
            behind = None
            if server.busiest:
                behind, count = server.busiest
                message += f" {behind.company} has the most: {count:,}."
            yield _about_server(server, str(server.id), message, behind)


def statement_too_long(picture: Picture, opened: Set[str]) -> Iterator[Found]:
    for server in picture.servers:
        known = str(server.id) in opened
        if server.longest_s is not None and _over(server.longest_s, STATEMENT_SECONDS, known):
            who = server.longest_by.company if server.longest_by else "A tenant that has moved"
            message = f"{who} has had one statement running for {_minutes(server.longest_s)}."
            yield _about_server(server, str(server.id), message, server.longest_by)


def sessions_blocked(picture: Picture, opened: Set[str]) -> Iterator[Found]:
    for server in picture.servers:
        if _over(server.blocked, BLOCKED_SESSIONS, str(server.id) in opened):
            who = f" {server.blocked_by.company} holds what they wait for." if server.blocked_by else ""
            sessions = "1 session waits" if server.blocked == 1 else f"{server.blocked:,} sessions wait"
            yield _about_server(server, str(server.id), f"{sessions} for a lock.{who}", server.blocked_by)


def hubspot_token_stale(picture: Picture, opened: Set[str]) -> Iterator[Found]:
    for tenant in picture.reconnects:
        message = "HubSpot no longer takes its tokens. Its deals here are safe; none come in."
        yield _about_tenant(tenant, str(tenant.id), message)


def sign_up_stuck(picture: Picture, opened: Set[str]) -> Iterator[Found]:
    for tenant, problem in picture.stuck:
        yield _about_tenant(tenant, str(tenant.id), problem)


def move_failed(picture: Picture, opened: Set[str]) -> Iterator[Found]:
    for move in picture.moves:
        if move.failed:
            yield _about_move(move, move.problem or "It ended without a word.")


def move_late(picture: Picture, opened: Set[str]) -> Iterator[Found]:
    for move in picture.moves:
        if not move.failed and picture.at - move.requested_at > MOVE_TIME:
            told = f" {move.problem}" if move.problem else ""
            yield _about_move(move, f"It has been under way for over an hour.{told}")


def subscription_in_doubt(picture: Picture, opened: Set[str]) -> Iterator[Found]:
    for tenant, problem in picture.subscriptions:
        yield _about_tenant(tenant, str(tenant.id), problem)


def source_kept(picture: Picture, opened: Set[str]) -> Iterator[Found]:
    for move in picture.kept:
        yield _about_move(move, move.problem or "It held something else than was carried over.")


def jobs_failed(picture: Picture, opened: Set[str]) -> Iterator[Found]:
    for queue in picture.queues:
        if queue.failed:
            jobs = "1 job has" if queue.failed == 1 else f"{queue.failed:,} jobs have"
            yield Found(queue.name, f"{jobs} failed within a day.", f"Queue {queue.name}", "/jobs?state=failed")


def queue_late(picture: Picture, opened: Set[str]) -> Iterator[Found]:
    for queue in picture.queues:
        if _over(queue.waiting_s, QUEUE_SECONDS, queue.name in opened):
            message = f"A job that could run has been waiting for {_minutes(queue.waiting_s)}."
            yield Found(queue.name, message, f"Queue {queue.name}", "/jobs?state=todo")


def audit_unsealed(picture: Picture, opened: Set[str]) -> Iterator[Found]:
    if _over(picture.unsealed_s, UNSEALED_SECONDS, "audit log" in opened):
        message = f"Its oldest line without a seal is {_minutes(picture.unsealed_s)} old."
        yield Found("audit log", message, "Audit log", "/audit")


def unwatched(picture: Picture, opened: Set[str]) -> Iterator[Found]:
    """A server that is silent was looked at; one that is new will be."""
    for server in picture.servers:
        if server.silent_since or not server.there:
            continue
        since = (picture.at - (server.seen_at or server.created_at)).total_seconds()
        if _over(since, UNWATCHED_SECONDS, str(server.id) in opened):
            yield _about_server(server, str(server.id), f"Nobody has looked at it for {_minutes(since)}.")


def _over(value: float, limit: Limit, open_now: bool) -> bool:
    return value >= limit.opens or (open_now and value > limit.clears)


def _about_server(server: ServerNow, subject: str, message: str, behind: TenantRef | None = None) -> Found:
    return Found(subject, message, server.name, f"/servers/{server.name}", server, behind)


def _about_tenant(tenant: TenantRef, subject: str, message: str) -> Found:
    return Found(subject, message, tenant.company, f"/tenants/{tenant.slug}", None, tenant)


def _about_move(move: MoveNow, message: str) -> Found:
    return Found(str(move.id), message, f"{move.tenant.company}: {move.route}", f"/moves/{move.id}", None, move.tenant)


def _in_days(days: int) -> str:
    return "today" if days <= 0 else "tomorrow" if days == 1 else f"in {days} days"


def _minutes(seconds: float) -> str:
    minutes = int(seconds // 60)
    return "a minute" if minutes <= 1 else f"{minutes:,} minutes"
