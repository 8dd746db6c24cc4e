"""Whether a role's trust policy lets a caller assume the role.

Evaluated as IAM does for what occurs in such policies: Allow and Deny, the AWS principal, and conditions on
sts:ExternalId. What is not understood never helps: an Allow with it does not apply, a Deny with it does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

_ACTION = "sts:assumerole"
_SESSION = re.compile(r"arn:(?P<partition>[\w-]+):sts::(?P<account>\d{12}):assumed-role/(?P<role>[^/]+)/[^/]+")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who wants to assume a role."""

    account: str
    arn: str


def trust_policy(principal: str, external_id: str | None) -> dict[str, Any]:
    """The trust policy that a customer's stack gives its role.

    :param principal: an account id, an ARN, or "*".
    :param external_id: None leaves the condition out, as a careless customer would.
    """
    statement: dict[str, Any] = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"}
    if external_id is not None:
        statement["Condition"] = {"StringEquals": {"sts:ExternalId": external_id}}
    return {"Version": "2012-10-17", "Statement": [statement]}


def admits(policy: Mapping[str, Any], caller: Caller, external_id: str | None) -> bool:
    """Whether a trust policy admits a caller with the ExternalId it sends, or with none."""
    applying = [s for s in _list(policy.get("Statement")) if _applies(s, caller, external_id)]
    effects = {statement.get("Effect") for statement in applying}
    return "Allow" in effects and "Deny" not in effects


def _applies(statement: Mapping[str, Any], caller: Caller, external_id: str | None) -> bool:
    actions = [str(action).lower() for action in _list(statement.get("Action"))]
    if not any(fnmatchcase(_ACTION, action) for action in actions):
        return False
    if not _is_principal(statement.get("Principal"), caller):
        return False
    unclear = statement.get("Effect") == "Deny"
    return all(
        _holds(operator, key, _list(values), external_id, unclear)
        for operator, keys in (statement.get("Condition") or {}).items()
        for key, values in keys.items()
    )


def _is_principal(principal: Any, caller: Caller) -> bool:
    if principal == "*":
        return True
    if not isinstance(principal, Mapping):
        return False
    names = {"*", caller.account, caller.arn, f"arn:aws:iam::{caller.account}:root"}
    if session := _SESSION.fullmatch(caller.arn):
        names.add(f"arn:{session['partition']}:iam::{session['account']}:role/{session['role']}")
    return any(name in names for name in _list(principal.get("AWS")))


def _holds(operator: str, key: str, wanted: list[Any], external_id: str | None, unclear: bool) -> bool:
    base = operator.removesuffix("IfExists")
    if key.lower() != "sts:externalid":
        return unclear
    if external_id is None:
        return base != operator or base == "StringNotEquals"
    match base:
        case "StringEquals":
            return external_id in wanted
        case "StringEqualsIgnoreCase":
            return external_id.lower() in [str(value).lower() for value in wanted]
        case "StringLike":
            return any(fnmatchcase(external_id, str(value)) for value in wanted)
        case "StringNotEquals":
            return external_id not in wanted
    return unclear


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
