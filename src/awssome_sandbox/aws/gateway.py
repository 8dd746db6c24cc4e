"""The WSGI application in front of moto: some calls are judged or answered here, the rest goes through."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from awssome_sandbox.aws import calls, keys, marketplace, roles, secrets
from awssome_sandbox.aws.console import Console

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_JUDGES: dict[str, calls.Judge] = {
    "AssumeRole": roles.judge,
    **dict.fromkeys(keys.WORK, keys.judge),
    **dict.fromkeys((marketplace.RESOLVE, marketplace.GET), marketplace.judge),
    **dict.fromkeys(secrets.CHANGES, secrets.judge),
}
"""Who judges a call, by its operation."""


class Gateway:
    """moto with judges before it, and the sandbox's own pages under `/_sandbox/`."""

    def __init__(self, moto: WSGIApplication) -> None:
        self._moto = moto
        self._console = Console()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path.startswith("/_sandbox/"):
            return self._console(environ, start_response)
        if path == "/":
            call = calls.read(environ)
            judge = _JUDGES.get(call.operation)
            if judge and (answer := judge(call)):
                return answer(environ, start_response)
        return self._moto(environ, start_response)
