"""The WSGI application in front of moto: AssumeRole and disabled keys are judged here, the rest goes through."""

from __future__ import annotations

import io
import re
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from werkzeug.wrappers import Request, Response

from awssome_sandbox.aws import keys
from awssome_sandbox.aws.accounts import caller_of, find_role
from awssome_sandbox.aws.console import Console
from awssome_sandbox.aws.trust import admits

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_ACCESS_KEY = re.compile(r"Credential=([^/]+)/")
_MIN_SECONDS = 900


class Gateway:
    """moto with a strict AssumeRole and the sandbox's own pages under `/_sandbox/`."""

    def __init__(self, moto: WSGIApplication) -> None:
        self._moto = moto
        self._console = Console()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path.startswith("/_sandbox/"):
            return self._console(environ, start_response)
        if path == "/" and (refusal := _judge(environ) or keys.judge(environ)):
            return refusal(environ, start_response)
        return self._moto(environ, start_response)


def _judge(environ: WSGIEnvironment) -> Response | None:
    """The refusal of an AssumeRole that AWS would refuse; None for all other requests."""
    form = _form(environ)
    if form.get("Action") != "AssumeRole":
        return None
    arn = form.get("RoleArn", "")
    role = find_role(arn)
    caller = caller_of(_access_key(environ))
    if role is None or not admits(role.trust, caller, form.get("ExternalId")):
        told = f"User: {caller.arn} is not authorized to perform: sts:AssumeRole on resource: {arn}"
        return _error(403, "AccessDenied", told)
    seconds = form.get("DurationSeconds", str(_MIN_SECONDS))
    if not seconds.isdigit() or int(seconds) < _MIN_SECONDS:
        told = f"1 validation error detected: Value '{seconds}' at 'durationSeconds' failed to satisfy constraint:"
        return _error(400, "ValidationError", f"{told} Member must have value greater than or equal to {_MIN_SECONDS}")
    if int(seconds) > role.max_seconds:
        told = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        return _error(400, "ValidationError", told)
    return None


def _form(environ: WSGIEnvironment) -> dict[str, str]:
    """The fields of a query-protocol request; its body is put back for moto."""
    if environ.get("REQUEST_METHOD") != "POST":
        return _fields(environ.get("QUERY_STRING", ""))
    if not environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        return {}
    body = Request(environ).get_data()
    environ["wsgi.input"] = io.BytesIO(body)
    return _fields(body.decode("utf-8", "replace"))


def _fields(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text, keep_blank_values=True).items()}


def _access_key(environ: dict[str, Any]) -> str:
    found = _ACCESS_KEY.search(environ.get("HTTP_AUTHORIZATION", ""))
    return found[1] if found else ""


def _error(status: int, code: str, message: str) -> Response:
    body = (
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
        f"<Code>{code}</Code><Message>{escape(message)}</Message></Error>"
        f"<RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
    )
    return Response(body, status, content_type="text/xml")
