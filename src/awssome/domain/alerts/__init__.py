"""What operators have to be told of: rules as data, judged over a plain picture of the platform.

A rule finds what is wrong, each finding about a subject that keeps its name. An alert opens when its rule finds the
subject, and clears when it no longer does. What goes up and down has two limits: what has opened stays open until the
figure is well below, so that no alert comes and goes with every look.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from uuid import UUID

from awssome.domain.alerts.picture import Picture, TenantRef
from awssome.domain.alerts.rules import RULES, Rule, Severity

__all__ = ["RULES", "Finding", "Picture", "Rule", "Severity", "judge"]


@dataclass(frozen=True)
class Finding:
    """Something that a rule has found.

    :ivar subject: what it is about, always by the same name.
    :ivar message: what is the matter, in one or two sentences.
    :ivar about: what people call the subject; `path` is its page in the management portal.
    """

    rule: str
    subject: str
    severity: Severity
    message: str
    about: str
    path: str
    server_id: UUID | None = None
    tenant: TenantRef | None = None


def judge(picture: Picture, opened: Mapping[str, Set[str]]) -> list[Finding]:
    """Everything that is wrong now.

    :param opened: rule -> subjects whose alerts are open.
    """
    return [
        Finding(
            rule.name,
            found.subject,
            rule.severity,
            found.message,
            found.about,
            found.path,
            found.server.id if found.server else None,
            found.tenant,
        )
        for rule in RULES
        for found in rule.check(picture, opened.get(rule.name, frozenset()))
    ]
