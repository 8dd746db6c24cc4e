"""What STS refuses and moto does not: a role that is not there, or that does not trust the caller."""

from __future__ import annotations

from werkzeug.wrappers import Response

from awssome_sandbox.aws.accounts import find_role
from awssome_sandbox.aws.calls import Call, query_refusal
from awssome_sandbox.aws.trust import admits

_MIN_SECONDS = 900


def judge(call: Call) -> Response | None:
    """The refusal of an AssumeRole that AWS would refuse."""
    arn = call.fields.get("RoleArn", "")
    role = find_role(arn)
    if role is None or not admits(role.trust, call.caller, call.fields.get("ExternalId")):
        told = f"User: {call.caller.arn} is not authorized to perform: sts:AssumeRole on resource: {arn}"
        return _refusal("AccessDenied", told, 403)
    seconds = call.fields.get("DurationSeconds", str(_MIN_SECONDS))
    if not seconds.isdigit() or int(seconds) < _MIN_SECONDS:
        told = f"1 validation error detected: Value '{seconds}' at 'durationSeconds' failed to satisfy constraint:"
        return _refusal("ValidationError", f"{told} Member must have value greater than or equal to {_MIN_SECONDS}")
    if int(seconds) > role.max_seconds:
        told = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        return _refusal("ValidationError", told)
    return None


def _refusal(code: str, message: str, status: int = 400) -> Response:
    return query_refusal(code, message, status, "https://sts.amazonaws.com/doc/2011-06-15/")
