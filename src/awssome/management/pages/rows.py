"""What the tables show of tenants, servers and moves: the rows of `control.messages`, and where each leads."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from awssome.control.messages import MoveOut, ServerRow, TenantRow
from awssome.database.tenant.syncs import Sync
from awssome.domain.alerts.checks import POOL_SHARE
from awssome.domain.errors import Code, Refused
from awssome.domain.instances import InstanceState
from awssome.domain.moves import UNDER_WAY, MoveKind, Phase
from awssome.domain.tenants import EngineName, ServerKind, TenantState
from awssome.domain.times import now
from awssome.web.formats import day, duration, number, plural

KINDS = {
    MoveKind.UPGRADE: "Upgrade",
    MoveKind.ROLLBACK: "Rollback",
    MoveKind.DOWNGRADE: "Downgrade",
    MoveKind.REBALANCE: "Move",
}

ENGINES = {EngineName.POSTGRESQL: "PostgreSQL", EngineName.SQLSERVER: "SQL Server"}

_STEP_STATES = {"done": "done", "now": "now", "todo": "waiting", "failed": "failed"}


def tenant_row(tenant: TenantRow) -> dict[str, Any]:
    """A tenant's line in a table."""
    return {
        **tenant.model_dump(),
        "state": "deleted_kept" if tenant.state is TenantState.RETAINED else tenant.state,
        "href": tenant_address(tenant.slug),
        "server_href": server_address(tenant.server) if tenant.server else None,
        "created": tenant.created_at,
    }


def move_row(move: MoveOut) -> dict[str, Any]:
    """A move's line in a table."""
    return {
        "href": move_address(move),
        "route": f"{move.source} → {move.target}",
        "company": move.company,
        "tenant_href": tenant_address(str(move.tenant_id)),
        "kind": KINDS[move.kind],
        "phase": move.phase if move.making is None else f"instance_{move.making.state}",
        "requested_at": move.requested_at,
        "requested_by": move.requested_by,
        "pause": None if move.write_pause_ms is None else move.write_pause_ms / 1000,
        "rows": move.rows if move.tables else None,
        "problem": move.problem,
    }


def move_view(move: MoveOut) -> dict[str, Any]:
    """What a move's page and its live progress show beside the row.

    It waits while AWS makes its target server. Who waits has nothing to try again.
    """
    under_way = is_under_way(move)
    checked = [table for table in move.tables if table["equal"] is not None]
    equal = sum(1 for table in checked if table["equal"])
    ended = move.switched_at or move.finished_at
    return {
        **move_row(move),
        "under_way": under_way,
        "failed": move.phase is Phase.FAILED,
        "steps": steps(move),
        "waits": move.problem if move.making and not move.making.stuck else None,
        "hindered": move.making.problem if move.making else None,
        "retry": "retry" in move.actions and not (move.making and not move.making.stuck),
        "cut_over": _cut_over(move),
        "confirmed": _confirmed(move),
        "expected": move.expected_seconds,
        "source_href": server_address(move.source),
        "target_href": server_address(move.target),
        "equal": f"{equal} of {plural(len(checked), 'table')} equal" if checked else "not compared yet",
        "taken": (ended or now()) - move.requested_at if ended or under_way else None,
        "kept": _kept(move),
    }


def sync_row(sync: Sync) -> dict[str, Any]:
    """A sync's line in a table."""
    ended = sync.finished_at or now()
    return {**asdict(sync), "seconds": (ended - sync.started_at).total_seconds() if sync.started_at else None}


def server_row(server: ServerRow) -> dict[str, Any]:
    """A server's line in a table."""
    return {
        **server.model_dump(),
        "href": server_address(server.name),
        "state": server_state(server),
        "nearly_full": nearly_full(server),
        "engine_name": ENGINES[server.engine],
        "option": (server.name, f"{server.name} ({_room(server)})"),
    }


def server_state(server: ServerRow) -> str:
    """A word of the states: not being there outweighs silence, that a problem, and that being closed or drained."""
    if server.instance not in (None, InstanceState.AVAILABLE):
        return f"instance_{server.instance}"
    if server.silent_since:
        return "down"
    if server.problem:
        return "degraded"
    if server.drain:
        return "draining"
    return "open" if server.open else "closed"


def nearly_full(server: ServerRow) -> bool:
    """Whether so few of a pool's places are free that an alert says so."""
    return server.kind is ServerKind.POOL and server.fill_percent >= POOL_SHARE.opens * 100


def takes_tenants(server: ServerRow) -> bool:
    """Whether sign-ups find a place there."""
    return server.kind is ServerKind.POOL and server.takes_tenants


def can_take(server: ServerRow, company: str) -> bool:
    """Whether a move can bring the tenant there; a dedicated server may be held for one that left it."""
    if server.kind is ServerKind.POOL:
        return takes_tenants(server)
    return server.open and server.tenants == 0 and server.tenant in (None, company)


def is_under_way(move: MoveOut) -> bool:
    """Whether a mover works on it."""
    return move.phase in UNDER_WAY


def steps(move: MoveOut) -> list[dict[str, Any]]:
    """The steps of a move with their times, for `ui.steps`."""
    return [
        {
            "name": step["label"],
            "state": _STEP_STATES[step["state"]],
            "time": _step_time(move, step),
            "detail": _noted(move, step),
        }
        for step in move.steps
    ]


def require_name(given: str, name: str) -> None:
    """The check behind a dialog that asks for a name. :raises Refused: INVALID when it is not that name."""
    if given.strip() != name:
        raise Refused(
            Code.INVALID, "The name was not typed as it stands. Nothing was changed.", f"Type “{name}” to go on."
        )


def tenant_address(ref: str) -> str:
    """Where a tenant's page is, by slug or id."""
    return f"/tenants/{ref}"


def server_address(name: str) -> str:
    """Where a server's page is."""
    return f"/servers/{name}"


def move_address(move: MoveOut) -> str:
    """Where a move's page is."""
    return f"/moves/{move.id}"


def _step_time(move: MoveOut, step: dict[str, Any]) -> str:
    if step["seconds"] is not None:
        return duration(step["seconds"])
    if step["key"] == "retain" and step["state"] == "now" and move.retain_until:
        return f"{duration(max(move.retain_until - now(), timedelta()))} left"
    if step["key"] == "drop" and step["state"] == "todo" and move.retain_until:
        return day(move.retain_until)
    return ""


def _noted(move: MoveOut, step: dict[str, Any]) -> str:
    """What the step has noted beside its time."""
    rows = step.get("rows")
    match step["key"]:
        case "server" if move.making is not None and not move.making.stuck:
            return f"AWS is making it: {duration(now() - move.making.since)} so far"
        case "copy" if rows is not None:
            more = move.expected_rows is not None and step["state"] == "now"
            return f"{number(rows)} of about {number(move.expected_rows)} rows" if more else plural(rows, "row")
        case "catch_up" if rows is not None:
            return f"{plural(rows, 'key')} in {plural(step.get('cycles', 0), 'cycle')}"
        case "cut_over" if "tries" in step:
            return _cut_over(move) or ""
        case "confirm" if step["state"] == "done":
            return _confirmed(move)
        case "verify" if step.get("keys"):
            differing = (f"{table}: {', '.join(keys)}" for table, keys in step["keys"].items())
            return f"Rows that differ, by key: {'; '.join(differing)}"
    return ""


def _cut_over(move: MoveOut) -> str | None:
    """How often the cut-over was tried, and for how long each try in vain kept writers waiting."""
    step = next(step for step in move.steps if step["key"] == "cut_over")
    if "tries" not in step:
        return None
    vain = step.get("pauses_ms", [])
    tries = f"{plural(step['tries'], 'try', 'tries')}"
    waited = f"; given up after {', '.join(duration(ms / 1000) for ms in vain)}" if vain else ""
    return f"{tries}{waited}; {plural(step.get('rows', 0), 'key')} carried over in all"


def _confirmed(move: MoveOut) -> str:
    if move.confirmed is None:
        done = any(step["key"] == "confirm" and step["state"] == "done" for step in move.steps)
        return "could not be told: the source was migrated meanwhile" if done else "not yet"
    return (
        "equal: nothing slipped past" if move.confirmed else "different: the source holds what the target did not get"
    )


def _kept(move: MoveOut) -> str:
    if move.phase is Phase.RETAINING:
        return f"safety copy on {move.source}"
    if move.phase in (Phase.DROPPING, Phase.DROPPED):
        return "an archive of the source is kept for 30 days"
    return "not switched yet" if is_under_way(move) else "nothing was switched"


def _room(server: ServerRow) -> str:
    if server.kind is ServerKind.DEDICATED:
        return "dedicated"
    return f"pool, {plural(server.free, 'free place')}"
