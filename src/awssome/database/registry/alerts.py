"""Alerts: what the rules find now, when it began, what it was, and who was told."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection

from awssome.database.keyset import Page, newest_first
from awssome.database.registry import in_turn, watch
from awssome.database.registry.tables import alerts, servers, tenants
from awssome.domain.alerts import RULES, Finding, judge
from awssome.domain.figures import Figure
from awssome.domain.times import new_id

_KEPT = ("about", "path")


@dataclass(frozen=True)
class Standing:
    """An alert that is open.

    :ivar opened_at: when it was found first; None when no worker has written it down yet.
    :ivar mailed_at: when operators were told by mail; None when they were not.
    """

    finding: Finding
    opened_at: datetime | None
    mailed_at: datetime | None


def standing(connection: Connection, at: datetime) -> list[Standing]:
    """What is wrong now, errors first, then the oldest. It is judged anew, so that it is true although no worker runs;
    nothing is written."""
    known = {(row.rule, row.subject): row for row in connection.execute(_open())}
    found = []
    for finding in _judged(connection, at):
        row = known.get((finding.rule, finding.subject))
        found.append(Standing(finding, row.opened_at if row else None, row.mailed_at if row else None))
    return sorted(found, key=lambda alert: (alert.finding.severity != "error", alert.opened_at or at))


def settle(connection: Connection, at: datetime) -> list[UUID]:
    """Write down what is wrong now: open what is new, clear what is over. Safe to repeat; one after the other.

    :returns: the alerts that were opened.
    """
    in_turn(connection, "alerts")
    known = {(row.rule, row.subject): row.id for row in connection.execute(_open())}
    findings = {(finding.rule, finding.subject): finding for finding in _judged(connection, at)}
    over = [known[key] for key in known.keys() - findings.keys()]
    if over:
        connection.execute(update(alerts).where(alerts.c.id.in_(over)).values(cleared_at=at))
    opened = []
    for key, finding in findings.items():
        values: dict[str, Any] = {
            "severity": finding.severity,
            "server_id": finding.server_id,
            "tenant_id": finding.tenant.id if finding.tenant else None,
            "message": finding.message[:500],
            "detail": {name: getattr(finding, name) for name in _KEPT},
            "seen_at": at,
        }
        if key in known:
            connection.execute(update(alerts).where(alerts.c.id == known[key]).values(values))
            continue
        alert_id = new_id()
        opened.append(alert_id)
        values |= {"id": alert_id, "rule": finding.rule, "subject": finding.subject[:120], "opened_at": at}
        connection.execute(insert(alerts).values(values))
    return opened


def cleared(connection: Connection, *, after: str = "", before: str = "", limit: int = 50) -> Page[Any]:
    """Alerts that are over, newest first, with the names of server and tenant."""
    return newest_first(
        connection,
        _rows().where(alerts.c.cleared_at.is_not(None)),
        alerts.c.id,
        UUID,
        after=after,
        before=before,
        limit=limit,
    )


def to_be_mailed(connection: Connection, alert_ids: Sequence[UUID]) -> list[Any]:
    """Those of the alerts that nobody was told of, held until the transaction ends: who comes second waits, and finds
    them told of, or still to be."""
    return list(
        connection.execute(
            _rows()
            .where(alerts.c.id.in_(alert_ids), alerts.c.mailed_at.is_(None))
            .order_by(alerts.c.severity, alerts.c.id)
            .with_for_update(of=alerts)
        )
    )


def note_mailed(connection: Connection, alert_ids: Sequence[UUID], at: datetime) -> None:
    """Operators were told."""
    connection.execute(update(alerts).where(alerts.c.id.in_(alert_ids)).values(mailed_at=at))


def figures(connection: Connection, at: datetime) -> Iterator[Figure]:
    """Open alerts by rule, none as well."""
    count = Counter(finding.rule for finding in _judged(connection, at))
    for rule in RULES:
        labels = {"rule": rule.name, "severity": str(rule.severity)}
        yield Figure("alerts_open", "Alerts that are open", count[rule.name], labels=labels)


def _judged(connection: Connection, at: datetime) -> list[Finding]:
    opened: defaultdict[str, set[str]] = defaultdict(set)
    for row in connection.execute(_open()):
        opened[row.rule].add(row.subject)
    return judge(watch.picture(connection, at), opened)


def _open() -> Any:
    return select(alerts).where(alerts.c.cleared_at.is_(None))


def _rows() -> Any:
    return (
        select(
            alerts,
            servers.c.name.label("server"),
            tenants.c.company,
            tenants.c.slug,
        )
        .outerjoin(servers, servers.c.id == alerts.c.server_id)
        .outerjoin(tenants, tenants.c.id == alerts.c.tenant_id)
    )
