"""The mapping: where registration fields come from, what HubSpot's stages become, and trying it on a deal."""

from __future__ import annotations

import re
from collections.abc import Mapping as AnyMapping
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from awssome.control import messages as m
from awssome.database import Connection
from awssome.database.tenant import deals, hubspot, mappings
from awssome.database.tenant.deals import Deal, Filters
from awssome.database.tenant.hubspot import HubSpotConnection
from awssome.database.tenant.mappings import Chosen, Definitions
from awssome.domain.choices import DEFAULT_FIELDS, FieldMapping, StageMapping, checked
from awssome.domain.deals import FIELD, FIELDS, Source, Stage
from awssome.domain.definitions import Account
from awssome.domain.errors import Code, Refused
from awssome.domain.mapping import Mapped, Mapping, map_deal
from awssome.domain.readiness import Need, readiness
from awssome.domain.syncs import ConnectionState
from awssome.portal import mapping_form
from awssome.portal.context import TenantContext
from awssome.portal.deals import shown
from awssome.portal.guard import ActingAdmin, ActingMember, Viewer, parts, today
from awssome.portal.mapping_form import SKIP, Fields, SentFields, Stages
from awssome.web.formats import plural
from awssome.web.security import local_path

router = APIRouter()

_FRESH = timedelta(days=1)
_PICKED_FROM = 25
_LONGEST = 160
_DEAL_ID = re.compile("[0-9]{1,20}")


@router.get("/hubspot/mapping")
def show_fields(request: Request, me: Viewer) -> Response:
    """Where each field of a registration comes from."""
    return _fields_page(request, me, _known(request, me))


@router.post("/hubspot/mapping")
def save_fields(request: Request, me: ActingAdmin, sent: Fields, action: Annotated[str, Form()] = "") -> Response:
    """Save the fields; or only show the form again, with the values of the properties that were chosen in it."""
    known = _known(request, me)
    if action == "show":
        return _fields_page(request, me, known, sent=sent)
    try:
        _check(sent, known)
        body = m.SaveFields(version=sent.version[:64], fields=[_field(*one) for one in sent.fields.items()])
        saved = parts(request).control.save_fields(me.person.caller, body)
    except Refused as refused:
        if refused.code not in (Code.INVALID, Code.CONFLICT):
            raise
        return _fields_page(request, me, _known(request, me), sent=sent, refused=refused)
    return _saved(request, "/hubspot/mapping", len(saved.changed), "field")


@router.get("/hubspot/mapping/stages")
def show_stages(request: Request, me: Viewer) -> Response:
    """What each stage of HubSpot's pipelines becomes."""
    return _stages_page(request, me, _known(request, me))


@router.post("/hubspot/mapping/stages")
def save_stages(request: Request, me: ActingAdmin, sent: Stages) -> Response:
    """Save the stages."""
    known = _known(request, me)
    there = {(pipeline.id, stage.id) for pipeline in known.account.pipelines for stage in pipeline.stages}
    chosen = mapping_form.as_choices(sent.stages)
    stages = [_stage(key, chosen.get(key)) for key in sent.stages if key in there]
    try:
        body = m.SaveStages(version=sent.version[:64], stages=stages)
        saved = parts(request).control.save_stages(me.person.caller, body)
    except Refused as refused:
        if refused.code not in (Code.INVALID, Code.CONFLICT):
            raise
        return _stages_page(request, me, _known(request, me), chosen=chosen, refused=refused)
    return _saved(request, "/hubspot/mapping/stages", len(saved.changed), "stage")


@router.post("/hubspot/mapping/refresh")
def refresh(request: Request, me: ActingMember, back: Annotated[str, Form()] = "") -> Response:
    """Ask HubSpot now for its properties and pipelines."""
    parts(request).control.refresh_definitions(me.person.caller)
    text = "Properties and pipelines are as HubSpot has them now."
    return parts(request).pages.redirect(request, local_path(back, "/hubspot/mapping"), "success", text)


@router.post("/hubspot/mapping/try")
def try_it(request: Request, me: ActingMember, sent: Fields) -> Response:
    """What a sync would make of one deal by the form as it stands, or by what is saved. Nothing is written."""
    known = _known(request, me)
    mapping = known.mapping(request, sent.fields)
    try:
        _check(sent, known)
        if not _DEAL_ID.fullmatch(sent.deal_id):
            problem = "Choose a deal, or paste its number: the digits at the end of its address in HubSpot."
            raise Refused(Code.INVALID, "No deal was tried.", fields={"deal": problem})
        asked = m.ReadDeal(deal_id=sent.deal_id, properties=list(mapping.properties))
        deal = parts(request).control.read_deal(me.person.caller, asked)
    except Refused as refused:
        return _fields_page(request, me, known, sent=sent, refused=refused)
    ids = (deal.deal_id, sent.deal_id)  # not the same where it was merged since the last sync
    found = [me.read(partial(deals.find_by_hubspot, portal_id=known.portal_id, deal_id=each)) for each in ids]
    here = next((each for each in found if each), None)
    mapped = map_deal(deal.properties, mapping)
    same = all(each == known.fields.get(name, FieldMapping()) for name, each in sent.fields.items())
    return _tried_page(request, deal, mapping, mapped, here, sent if not same else None)


@dataclass(frozen=True)
class _Known:
    """Everything that the pages show, of one instant. :ivar stale: what HubSpot could not be asked for, in words."""

    connection: HubSpotConnection | None
    definitions: Definitions | None
    chosen: Chosen
    recent: Sequence[Deal]
    stale: str = ""

    @property
    def portal_id(self) -> int:
        """HubSpot's number of the account; 0 where there never was one."""
        return self.connection.portal_id if self.connection else 0

    @property
    def account(self) -> Account:
        """What is known of the account."""
        return self.definitions.account if self.definitions else Account()

    @property
    def fields(self) -> AnyMapping[str, FieldMapping]:
        """Where fields come from, the defaults included."""
        return {**DEFAULT_FIELDS, **self.chosen.fields}

    def mapping(self, request: Request, fields: AnyMapping[str, FieldMapping]) -> Mapping:
        """The saved mapping, but with these fields."""
        day = parts(request).clock().astimezone(self.account.zone).date()
        return Mapping.of({**self.chosen.fields, **fields}, self.chosen.stages, self.account, day)


def _known(request: Request, me: TenantContext) -> _Known:
    """What is known; HubSpot is asked first where that is nothing, or a day old. If it does not answer, so be it."""
    day = today(request)

    def read(connection: Connection) -> _Known:
        connected = hubspot.connection(connection)
        portal_id = connected.portal_id if connected else 0
        recent = deals.list_deals(connection, Filters(source=Source.HUBSPOT), today=day, limit=_PICKED_FROM).rows
        return _Known(connected, mappings.definitions(connection, portal_id), mappings.chosen(connection), recent)

    found = me.read(read)
    if found.connection is None or found.connection.state is not ConnectionState.CONNECTED or not me.may("member"):
        return found
    defined_at = found.definitions.defined_at if found.definitions else None
    if defined_at is not None and defined_at + _FRESH > parts(request).clock():
        return found
    try:
        parts(request).control.refresh_definitions(me.person.caller)
    except Refused as refused:
        return _Known(found.connection, found.definitions, found.chosen, found.recent, stale=refused.message)
    return me.read(read)


def _check(sent: SentFields, known: _Known) -> None:
    """:raises Refused: INVALID with every field whose mapping cannot be."""
    problems: dict[str, str] = {}
    for name, mapping in sent.fields.items():
        try:
            checked(name, mapping)
        except Refused as refused:
            problems |= refused.fields
    properties = known.definitions.properties if known.definitions else ()
    if properties:
        problems |= mapping_form.unknown_properties(sent.fields, known.fields, properties)
    if problems:
        raise Refused(Code.INVALID, "The mapping was not saved. Some fields need another choice.", fields=problems)


def _field(name: str, mapping: FieldMapping) -> m.FieldIn:
    return m.FieldIn(field=name, property=mapping.property, default=mapping.default, values=dict(mapping.values))


def _stage(key: tuple[str, str], mapping: StageMapping | None) -> m.StageIn:
    becomes = None if mapping is None else mapping.stage or SKIP
    return m.StageIn.model_validate({"pipeline": key[0], "stage": key[1], "becomes": becomes})


def _saved(request: Request, path: str, changed: int, what: str) -> Response:
    if not changed:
        return parts(request).pages.redirect(request, path, "info", "Nothing was different, so nothing was changed.")
    text = f"{plural(changed, what)} mapped anew. The next sync looks at every deal again."
    return parts(request).pages.redirect(request, path, "success", text)


def _fields_page(
    request: Request,
    me: TenantContext,
    known: _Known,
    *,
    sent: SentFields | None = None,
    refused: Refused | None = None,
) -> Response:
    fields = {**known.fields, **(sent.fields if sent else {})}
    properties = known.definitions.properties if known.definitions else ()
    errors = refused.fields if refused else {}
    return parts(request).pages.render(
        request,
        "mapping.html",
        refused.status if refused else 200,
        groups=mapping_form.groups(fields, properties, errors),
        properties=properties,
        labels={**{field.name: field.label for field in FIELDS}, "deal": "Deal"},
        version=sent.version if sent and not _outdated(refused) else known.chosen.version,
        picks=[(deal.hubspot.deal_id, deal.title[:80]) for deal in known.recent if deal.hubspot],
        deal_id=sent.deal_id if sent else "",
        refused=refused,
        **_around(me, known),
    )


def _stages_page(
    request: Request,
    me: TenantContext,
    known: _Known,
    *,
    chosen: AnyMapping[tuple[str, str], StageMapping] | None = None,
    refused: Refused | None = None,
) -> Response:
    shown_as = known.chosen.stages if chosen is None else chosen
    return parts(request).pages.render(
        request,
        "mapping_stages.html",
        refused.status if refused else 200,
        pipelines=mapping_form.pipelines(known.account.pipelines, shown_as),
        version=known.chosen.version,
        refused=refused,
        **_around(me, known),
    )


def _tried_page(
    request: Request, deal: m.DealOut, mapping: Mapping, mapped: Mapped, here: Deal | None, unsaved: SentFields | None
) -> Response:
    """:param unsaved: the form, if what was tried is not what is saved."""
    edited = here.edited_fields if here else ()
    before = here.values if here else {}
    after = {name: before[name] if name in edited else value for name, value in mapped.values.items()}
    needs = readiness(after, mapping.today)
    lines = [_tried(one.name, deal, mapping, mapped, before, after, edited, needs) for one in FIELDS]
    return parts(request).pages.render(
        request,
        "mapping_try.html",
        deal_id=deal.deal_id,
        title=after["title"],
        here=here,
        unsaved=unsaved,
        skipped=mapped.skipped,
        changed=sum(after[name] != before.get(name) for name in after),
        lost=after["stage"] == Stage.CLOSED_LOST,
        needs=needs,
        issues=mapped.issues,
        lines=[line for line in lines if not _bare(line)],
        bare=[line["label"] for line in lines if _bare(line)],
    )


def _tried(
    name: str,
    deal: m.DealOut,
    mapping: Mapping,
    mapped: Mapped,
    before: AnyMapping[str, Any],
    after: AnyMapping[str, Any],
    edited: Sequence[str],
    needs: Sequence[Need],
) -> dict[str, Any]:
    """One field: HubSpot's value, the registration's now, what it would be, and what is to be said about it."""
    field, source = FIELD[name], mapping.fields.get(name, FieldMapping()).property
    there = deal.properties.get(source or "") or ""
    if name == "stage":
        source, there = "dealstage", _stage_there(deal, mapping.account)
    hidden = name in edited and mapped.values[name] is not None and mapped.values[name] != after[name]
    return {
        "label": field.label,
        "hubspot": _short(there),
        "source": source,
        "before": _short(shown(field, before.get(name), before) or ""),
        "after": _short(shown(field, after[name], after) or ""),
        "changed": after[name] != before.get(name),
        "origin": "You" if name in edited else "Default" if name in mapped.defaulted else "",
        "hidden": hidden,
        "issues": [issue for issue in mapped.issues if issue.field == name],
        "need": next((need for need in needs if need.field == name), None),
    }


def _bare(line: AnyMapping[str, Any]) -> bool:
    """Whether there is nothing to tell of a field: it is empty everywhere, and nobody asks for it."""
    told = ("hubspot", "source", "before", "after", "changed", "hidden", "issues", "need")
    return not any(line[part] for part in told)


def _stage_there(deal: m.DealOut, account: Account) -> str:
    """The deal's stage as people call it in HubSpot; its id where HubSpot's pipelines do not have it."""
    key = (deal.properties.get("pipeline") or "", deal.properties.get("dealstage") or "")
    names = {
        (pipeline.id, stage.id): f"{stage.label} ({pipeline.label})"
        for pipeline in account.pipelines
        for stage in pipeline.stages
    }
    return names.get(key, key[1])


def _around(me: TenantContext, known: _Known) -> dict[str, Any]:
    """What both pages of the mapping show around their form."""
    connected = known.connection is not None and known.connection.state is ConnectionState.CONNECTED
    return {
        "connection": known.connection,
        "connected": connected,
        "defined_at": known.definitions.defined_at if known.definitions else None,
        "account": known.account,
        "stale": known.stale,
        "editable": me.may("admin") and known.definitions is not None,
    }


def _outdated(refused: Refused | None) -> bool:
    """Whether the form goes on from what is saved now, because somebody else has changed it meanwhile."""
    return refused is not None and refused.code is Code.CONFLICT


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
