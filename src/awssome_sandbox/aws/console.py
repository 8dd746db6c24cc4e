"""The sandbox's own pages: a customer's CloudFormation console, and a way to make a role without it."""

from __future__ import annotations

import json
import secrets
import string
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from werkzeug.wrappers import Request, Response

from awssome_sandbox.aws import marketplace
from awssome_sandbox.aws.accounts import PLATFORM_PRINCIPAL, NoSuchRole, account_for, make_role
from awssome_sandbox.aws.calls import plain_json
from awssome_sandbox.aws.rds import pages
from awssome_sandbox.pages import render

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_CALLBACK_SECONDS = 10
_SUFFIX = string.ascii_uppercase + string.digits


class Console:
    """Everything under `/_sandbox/`, by method and path."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        page = _PAGES.get((request.method, request.path))
        response = page(request) if page else plain_json({"message": "There is no such page."}, 404)
        return response(environ, start_response)


def _make_role(request: Request) -> Response:
    """`{"account", "name", "external_id", "principal"}` -> `{"role_arn"}`; without external_id no condition is made."""
    wanted = request.get_json(force=True, silent=True)
    if not isinstance(wanted, dict):
        return plain_json({"message": "The body must be a JSON object."}, 400)
    try:
        arn = make_role(
            str(wanted.get("account", "")),
            str(wanted.get("name", "")),
            str(wanted.get("principal", PLATFORM_PRINCIPAL)),
            None if wanted.get("external_id") is None else str(wanted["external_id"]),
        )
    except NoSuchRole as error:
        return plain_json({"message": str(error)}, 400)
    return plain_json({"role_arn": arn}, 201)


def _quick_create(request: Request) -> Response:
    return _show(request.args.to_dict())


def _show(given: dict[str, str], error: str = "") -> Response:
    parameters = {name.removeprefix("param_"): value for name, value in given.items() if name.startswith("param_")}
    page = render(
        "aws/quick_create.html",
        stack=given.get("stackName", ""),
        template=given.get("templateURL", ""),
        parameters=parameters,
        account=given.get("account") or account_for(parameters.get("ExternalId", "")),
        error=error,
    )
    return Response(page, 400 if error else 200, content_type="text/html; charset=utf-8")


def _create_stack(request: Request) -> Response:
    """Make the role that the stack would make, and call back as its custom resource would."""
    given = request.form.to_dict()
    external_id = given.get("param_ExternalId", "")
    if not external_id:
        return _show(given, "The parameter ExternalId is required.")
    suffix = "".join(secrets.choice(_SUFFIX) for _ in range(12))
    name = f"{given.get('stackName', 'stack')[:44]}-Role-{suffix}"
    try:
        principal = given.get("param_PrincipalArn") or PLATFORM_PRINCIPAL
        arn = make_role(given.get("account", ""), name, principal, external_id)
    except NoSuchRole as error:
        return _show(given, str(error))
    callback = given.get("param_CallbackUrl", "")
    told = _call_back(callback, arn, given.get("param_CallbackToken", "")) if callback else ""
    page = render("aws/stack.html", stack=given.get("stackName", ""), arn=arn, callback=callback, told=told)
    return Response(page, content_type="text/html; charset=utf-8")


def _call_back(url: str, arn: str, token: str) -> str:
    """Tell the platform of the role; what came of it, in words."""
    if urlsplit(url).scheme not in ("http", "https"):
        return "was not called: it is no http(s) address"
    body = json.dumps({"role_arn": arn, "token": token}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310, checked above
    try:
        with urllib.request.urlopen(request, timeout=_CALLBACK_SECONDS) as answer:  # noqa: S310
            return f"answered {answer.status}"
    except urllib.error.HTTPError as error:
        return f"answered {error.code}"
    except OSError as error:
        return f"could not be reached: {getattr(error, 'reason', error)}"


_PAGES: dict[tuple[str, str], Callable[[Request], Response]] = {
    ("POST", "/_sandbox/roles"): _make_role,
    ("GET", "/_sandbox/quick-create"): _quick_create,
    ("POST", "/_sandbox/quick-create"): _create_stack,
    ("GET", "/_sandbox/rds"): pages.show,
    ("POST", "/_sandbox/rds"): pages.order,
    ("DELETE", "/_sandbox/rds"): pages.forget,
    ("GET", "/_sandbox/marketplace"): marketplace.show,
    ("POST", "/_sandbox/marketplace"): marketplace.order,
}
