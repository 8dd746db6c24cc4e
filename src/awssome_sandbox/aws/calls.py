"""A call as the judges see it: which operation, asked by whom, with which fields. And refusals on the wire."""

from __future__ import annotations

import io
import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from werkzeug.wrappers import Request, Response

from awssome_sandbox.aws.accounts import caller_of
from awssome_sandbox.aws.trust import Caller

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_ACCESS_KEY = re.compile(r"Credential=([^/]+)/")


@dataclass(frozen=True, slots=True)
class Call:
    """A call of AWS's query or JSON protocol.

    `operation` is `AssumeRole` in the query protocol and `TrentService.Encrypt`, with the target's prefix, in JSON;
    empty for what is neither.
    """

    operation: str
    fields: Mapping[str, Any]
    access_key: str

    @property
    def caller(self) -> Caller:
        """Who signed it."""
        return caller_of(self.access_key)


Judge = Callable[[Call], Response | None]
"""Refuses or answers a call by itself; None lets moto answer."""


def read(environ: WSGIEnvironment) -> Call:
    """What is asked; the body is put back for moto."""
    found = _ACCESS_KEY.search(environ.get("HTTP_AUTHORIZATION", ""))
    access_key = found[1] if found else ""
    if target := environ.get("HTTP_X_AMZ_TARGET", ""):
        return Call(target, _json(_body(environ)), access_key)
    if environ.get("REQUEST_METHOD") != "POST":
        fields = _form(environ.get("QUERY_STRING", ""))
    elif environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        fields = _form(_body(environ).decode("utf-8", "replace"))
    else:
        fields = {}
    return Call(fields.get("Action", ""), fields, access_key)


def json_answer(body: object, status: int = 200) -> Response:
    """An answer of the JSON protocol."""
    return Response(json.dumps(body), status, content_type="application/x-amz-json-1.1")


def json_refusal(code: str, message: str, status: int = 400) -> Response:
    """A refusal of the JSON protocol."""
    answer = json_answer({"__type": code, "message": message}, status)
    answer.headers["x-amzn-ErrorType"] = code
    return answer


def plain_json(body: object, status: int = 200) -> Response:
    """An answer of the sandbox's own pages."""
    return Response(json.dumps(body), status, content_type="application/json")


def query_refusal(code: str, message: str, status: int, namespace: str) -> Response:
    """A refusal of the query protocol, in the service's XML namespace."""
    body = (
        f'<ErrorResponse xmlns="{namespace}"><Error><Type>Sender</Type>'
        f"<Code>{code}</Code><Message>{escape(message)}</Message></Error>"
        f"<RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
    )
    return Response(body, status, content_type="text/xml")


def _body(environ: WSGIEnvironment) -> bytes:
    body = Request(environ).get_data()
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def _json(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body or b"{}")
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _form(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text, keep_blank_values=True).items()}
