"""Objects other than deals. The account has none, and an app that reads deals has no scope for them: it is refused.
A private app, which may everything, finds nothing.
"""

from __future__ import annotations

from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import Response

from awssome_sandbox.hubspot import times
from awssome_sandbox.hubspot.definitions import PROPERTIES, old_definition, property_answer
from awssome_sandbox.hubspot.errors import not_found
from awssome_sandbox.hubspot.gate import admit
from awssome_sandbox.hubspot.wire import Call, Handler, Sandbox


class _Others(Convertor[str]):
    """The names of the objects of which there are none."""

    regex = (
        "contacts?|compan(?:y|ies)|tickets?|products?|line_items?|quotes?|leads?|calls?|emails?|meetings?|notes?|tasks?"
        "|communications?|postal_mail|goal_targets|feedback_submissions?|deal_splits?|forms?|0-[12]"
    )

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("others", _Others())

_IN_SCOPES = {"contact": "contacts", "0-1": "contacts", "company": "companies", "0-2": "companies"}
_RECORD_ID = property_answer(PROPERTIES["hs_object_id"], 0)


def addresses(objects: str, pipelines: str, properties: str) -> list[tuple[str, str, str, Handler]]:
    """The addresses of a version: where it keeps objects, pipelines and the definitions of properties."""
    kept = f"{objects}/{{kind:others}}"
    return [
        ("others", "GET", kept, listed),
        ("others", "POST", f"{kept}/search", searched),
        ("others", "POST", f"{kept}/batch/read", read),
        ("others", "GET", f"{kept}/{{id}}", missing),
        ("others", "GET", f"{pipelines}/{{kind:others}}", listed),
        ("others", "GET", f"{properties}/{{kind:others}}", defined),
    ]


def listed(sandbox: Sandbox, call: Call) -> Response:
    """A page of nothing."""
    return admit(sandbox, call, _scope(call)).answer({"results": []})


def searched(sandbox: Sandbox, call: Call) -> Response:
    """Nothing is found."""
    return admit(sandbox, call, _scope(call), search=True).answer({"total": 0, "results": []})


def read(sandbox: Sandbox, call: Call) -> Response:
    """None of them is there."""
    caller, now = admit(sandbox, call, _scope(call)), times.now()
    return caller.answer({"status": "COMPLETE", "results": [], "startedAt": now, "completedAt": now})


def missing(sandbox: Sandbox, call: Call) -> Response:
    """It is not there."""
    admit(sandbox, call, _scope(call))
    raise not_found()


def defined(sandbox: Sandbox, call: Call) -> Response:
    """The one property that objects of every kind have."""
    return admit(sandbox, call, _scope(call)).answer({"results": [_RECORD_ID]})


def defined_of_old(sandbox: Sandbox, call: Call) -> Response:
    """The same as a bare list."""
    return admit(sandbox, call, _scope(call)).answer([old_definition(_RECORD_ID)])


def custom(sandbox: Sandbox, call: Call) -> Response:
    """The schemas of objects that customers define."""
    return admit(sandbox, call, ("crm.schemas.custom.read",)).answer({"results": []})


OLD: list[tuple[str, str, str, Handler]] = [
    ("others", "GET", "/properties/v1/{kind:others}/properties", defined_of_old),
    ("others", "GET", "/properties/v2/{kind:others}/properties", defined_of_old),
    ("others", "GET", "/crm/v3/schemas", custom),
]


def _scope(call: Call) -> tuple[str]:
    kind = call.path["kind"]
    return (f"crm.objects.{_IN_SCOPES.get(kind, kind)}.read",)
