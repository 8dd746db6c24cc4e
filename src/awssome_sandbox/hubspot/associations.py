"""What deals hang together with: companies and contacts, in the three shapes in which the API tells it.

Version 3 tells ids with the type's name, version 4 and the dated versions tell type ids and labels. A deal's first
company is its primary one, and has both the primary type and the plain one. The companies and contacts themselves are
not there: an app that reads deals only has no scope for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from awssome_sandbox.hubspot import times
from awssome_sandbox.hubspot.errors import invalid, not_found
from awssome_sandbox.hubspot.gate import admit
from awssome_sandbox.hubspot.portals import Deal
from awssome_sandbox.hubspot.wire import Call, Handler, Sandbox

READ = ("crm.objects.deals.read",)
BATCH_MAX = 1_000


@dataclass(frozen=True, slots=True)
class _Type:
    id: int
    name: str
    label: str | None = None


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of object that deals are associated with.

    :ivar primary: the further type that a deal's first association of this kind has.
    """

    singular: str
    plural: str
    type: _Type
    primary: _Type | None = None

    def of(self, deal: Deal) -> list[tuple[int, list[_Type]]]:
        """What a deal is associated with, and by which types."""
        linked = deal.companies if self.singular == "company" else deal.contacts
        return [
            (id_, [self.primary, self.type] if self.primary and place == 0 else [self.type])
            for place, id_ in enumerate(linked)
        ]


_COMPANY = _Kind(
    "company", "companies", _Type(341, "deal_to_company_unlabeled"), _Type(5, "deal_to_company", "Primary")
)
_CONTACT = _Kind("contact", "contacts", _Type(3, "deal_to_contact"))
_KINDS = {
    **dict.fromkeys(("company", "companies", "0-2"), _COMPANY),
    **dict.fromkeys(("contact", "contacts", "0-1"), _CONTACT),
}
_LINKED_TO_NOTHING = ("line_item", "line_items", "ticket", "tickets", "product", "products", "quote", "quotes", "notes")


def beside(deal: Deal, names: Iterable[str]) -> dict[str, Any]:
    """The `associations` of a deal's answer; kinds with which it has none are left out."""
    found = {}
    for kind in dict.fromkeys(kind for name in names if (kind := _kind(name))):
        if linked := kind.of(deal):
            found[kind.plural] = {"results": _by_name(linked)}
    return found


def of_one(objects: str) -> Handler:
    """The handler of `GET .../{id}/associations/{other}`: by name in version 3, by type ids in the others."""

    def get(sandbox: Sandbox, call: Call) -> Response:
        caller = admit(sandbox, call, READ)
        kind = _kind(call.path["other"])
        deal = caller.portal.find(int(call.path["id"]), archived=False) if call.path["id"].isdigit() else None
        if deal is None:
            raise not_found()
        linked = kind.of(deal) if kind else []
        return caller.answer({"results": _by_name(linked) if "/v3/" in objects else _by_type_id(linked)})

    return get


def of_many(address: str) -> Handler:
    """The handler of `POST .../{kind}/{other}/batch/read`; 207 when some deals have no such association."""

    def read(sandbox: Sandbox, call: Call) -> Response:
        caller = admit(sandbox, call, READ)
        started = times.now()
        kind, ids = _kind(call.path["other"]), call.inputs()
        if len(ids) > BATCH_MAX:
            raise invalid(f"A batch has {BATCH_MAX} inputs at most.")
        results, errors = [], []
        for id_ in dict.fromkeys(ids):
            deal = caller.portal.find(int(id_), archived=False) if id_.isdigit() else None
            linked = kind.of(deal) if deal and kind else []
            if linked:
                told = _by_name(linked) if "/v3/" in address else _by_type_id(linked)
                results.append({"from": {"id": id_}, "to": told})
            else:
                errors.append(_nothing(id_, call.path["other"]))
        body: dict[str, Any] = {"status": "COMPLETE", "results": results}
        if errors:
            body |= {"numErrors": len(errors), "errors": errors}
        return caller.answer({**body, "startedAt": started, "completedAt": times.now()}, 207 if errors else 200)

    return read


def labels(sandbox: Sandbox, call: Call) -> Response:
    """The types by which deals can be associated with another kind of object."""
    caller = admit(sandbox, call, READ)
    kind = _kind(call.path["other"])
    types = [type_ for type_ in (kind.primary, kind.type) if type_] if kind else []
    return caller.answer({"results": [_type_answer(type_) for type_ in types]})


V4: list[tuple[str, str, str, Handler]] = [
    ("associations", "GET", "/crm/v4/objects/{kind:deals}/{id}/associations/{other}", of_one("/crm/v4/objects")),
    ("associations", "POST", "/crm/v4/associations/{kind:deals}/{other}/batch/read", of_many("/crm/v4/associations")),
    ("associations", "GET", "/crm/v4/associations/{kind:deals}/{other}/labels", labels),
]
"""The addresses of version 4, which has associations only."""


def _kind(name: str) -> _Kind | None:
    if name not in _KINDS and name not in _LINKED_TO_NOTHING:
        raise invalid(f"Unable to infer object type from: {name}")
    return _KINDS.get(name)


def _by_name(linked: list[tuple[int, list[_Type]]]) -> list[dict[str, Any]]:
    return [{"id": str(id_), "type": type_.name} for id_, types in linked for type_ in types]


def _by_type_id(linked: list[tuple[int, list[_Type]]]) -> list[dict[str, Any]]:
    return [{"toObjectId": id_, "associationTypes": [_type_answer(type_) for type_ in types]} for id_, types in linked]


def _type_answer(type_: _Type) -> dict[str, Any]:
    return {"category": "HUBSPOT_DEFINED", "typeId": type_.id, "label": type_.label}


def _nothing(id_: str, other: str) -> dict[str, Any]:
    return {
        "status": "error",
        "category": "OBJECT_NOT_FOUND",
        "subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND",
        "message": f"No {other} is associated with deal {id_}.",
        "context": {"fromObjectId": [id_], "fromObjectType": ["deal"], "toObjectType": [other]},
        "links": {},
        "errors": [],
    }
