"""The rules, as data: what each means, and what to do. docs/runbook.md says more under the same name."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from awssome.domain.alerts import checks
from awssome.domain.alerts.checks import Check


class Severity(StrEnum):
    """`error`: somebody is harmed now. `warning`: somebody will be."""

    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Rule:
    """A rule. `check` is given the subjects for which its alert is open."""

    name: str
    severity: Severity
    title: str
    meaning: str
    advice: str
    check: Check = field(repr=False)

    @property
    def anchor(self) -> str:
        """Its heading in docs/runbook.md."""
        return self.name.replace("_", "-")


RULES: tuple[Rule, ...] = (
    Rule(
        "pool_near_limit",
        Severity.WARNING,
        "Pool near its limit",
        "Four fifths of a pool's places are taken, or it will be full within two weeks.",
        "Add a pool, or move tenants to one that has room.",
        checks.pool_near_limit,
    ),
    Rule(
        "no_open_pool",
        Severity.ERROR,
        "No open pool",
        "No open pool has a place, so that sign-ups wait.",
        "Open a pool, or add one. Sign-ups that wait go on by themselves.",
        checks.no_open_pool,
    ),
    Rule(
        "server_unreachable",
        Severity.ERROR,
        "Server does not answer",
        "A worker asked twice and got no answer. Tenants on it see that their database is away; nothing is lost.",
        "Start the server, or mend the network between it and the workers.",
        checks.server_unreachable,
    ),
    Rule(
        "server_refused",
        Severity.ERROR,
        "Server cannot hold tenants",
        "A check found that something is missing on a server. It takes no new tenants.",
        "Do what the message says, then open the server again.",
        checks.server_refused,
    ),
    Rule(
        "instance_stuck",
        Severity.WARNING,
        "AWS does not make a server",
        "Something is in the way of a server that AWS is to make, or to take away. Tenants work on where they are.",
        "Do what the message says, then try the tenant's move again. What passes is tried again by itself.",
        checks.instance_stuck,
    ),
    Rule(
        "connections_short",
        Severity.WARNING,
        "Connections run short",
        "Four fifths of a server's connections are in use. At the limit tenants are refused.",
        "Look at the tenant that has the most. Lower the budgets of processes, raise the limit, or move a tenant.",
        checks.connections_short,
    ),
    Rule(
        "statement_too_long",
        Severity.WARNING,
        "Statement runs on",
        "A tenant's statement runs for longer than the platform lets its own run. Somebody else may be at work there.",
        "Suspend the tenant: that ends its sessions. Find out who has its login before you resume it.",
        checks.statement_too_long,
    ),
    Rule(
        "sessions_blocked",
        Severity.ERROR,
        "Sessions are blocked",
        "Writers wait for a lock that somebody does not give back.",
        "A move pauses writes for seconds. If it is none, suspend the tenant that holds the lock, and resume it.",
        checks.sessions_blocked,
    ),
    Rule(
        "hubspot_token_stale",
        Severity.WARNING,
        "HubSpot token is stale",
        "HubSpot has ended a tenant's connection. Syncs do not run until its owner reconnects.",
        "Tell the owner to press Reconnect on the HubSpot page.",
        checks.hubspot_token_stale,
    ),
    Rule(
        "sign_up_stuck",
        Severity.ERROR,
        "Workspace was not made",
        "A company has signed up and cannot begin.",
        "Mend what the message names. The job is tried again, and the owner has a button for it.",
        checks.sign_up_stuck,
    ),
    Rule(
        "move_failed",
        Severity.ERROR,
        "Failed move",
        "A move has ended without a switch. The tenant works on where it was.",
        "Read the move's evidence, then try it again or cancel it.",
        checks.move_failed,
    ),
    Rule(
        "move_late",
        Severity.WARNING,
        "Move takes long",
        "A move has been under way for over an hour.",
        "Look at its steps. It can be cancelled until it switches.",
        checks.move_late,
    ),
    Rule(
        "subscription_in_doubt",
        Severity.WARNING,
        "Subscription in doubt",
        "A tenant's subscription in AWS Marketplace has ended, or another AWS account has bought it.",
        "Talk to the tenant's owner. Then grant the paid tier, or have the tenant downgraded.",
        checks.subscription_in_doubt,
    ),
    Rule(
        "source_kept",
        Severity.ERROR,
        "Source of a move is kept",
        "It held something else than was carried over, or it could not be archived or dropped. It is still there.",
        "Read the move's evidence. Once you know what differed, `awssome move release` lets the source go.",
        checks.source_kept,
    ),
    Rule(
        "jobs_failed",
        Severity.WARNING,
        "Jobs have failed",
        "Jobs were given up within the last day, after all their tries.",
        "Look at them on the page Jobs, mend the cause, and try them again.",
        checks.jobs_failed,
    ),
    Rule(
        "queue_late",
        Severity.ERROR,
        "Queue is late",
        "A job could run, but no worker takes it.",
        "Look whether workers run that serve this queue, and start more of them.",
        checks.queue_late,
    ),
    Rule(
        "audit_unsealed",
        Severity.WARNING,
        "Audit log is not sealed",
        "Lines of the audit log are old and not sealed yet. What is not sealed could be changed unnoticed.",
        "Look whether a worker serves the queue sweep, and at its log.",
        checks.audit_unsealed,
    ),
    Rule(
        "unwatched",
        Severity.ERROR,
        "Nobody watches a server",
        "No worker has collected figures for a while, so that no other rule can be trusted.",
        "Start a worker, or one more that serves the queue watch.",
        checks.unwatched,
    ),
)

RULE: dict[str, Rule] = {rule.name: rule for rule in RULES}
