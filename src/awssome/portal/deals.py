"""Deals: the list, one deal, and the forms that change them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, Request
from starlette.responses import Response, StreamingResponse

from awssome.database import Connection
from awssome.database.keyset import Page
from awssome.database.tenant import deals
from awssome.database.tenant.deals import SORTS, Deal, Event, Filters
from awssome.domain.ace import COUNTRIES
from awssome.domain.deals import FIELD, FIELDS, Field, Source, Stage, as_text, parse_form, parse_value
from awssome.domain.errors import Code, Refused
from awssome.domain.readiness import Need, readiness
from awssome.domain.syncs import MappingState
from awssome.portal.deal_csv import csv_lines
from awssome.portal.deal_form import Sent, Submitted, as_shown, as_typed, groups
from awssome.portal.deal_rows import rows
from awssome.portal.guard import ActingMember, Member, Viewer, parts, today
from awssome.web.formats import NOTHING, plural
from awssome.web.formats import day as as_day
from awssome.web.formats import money as as_money
from awssome.web.security import local_path
from awssome.web.tables import Listing, Order

router = APIRouter()

PAGE = 50

_EVENTS = {
    "created": ("Written by hand", "plus", "good"),
    "imported": ("Imported from HubSpot", "download", "good"),
    "edited": ("Changed", "edit", "neutral"),
    "updated": ("Brought up to date from HubSpot", "sync", "accent"),
    "archived": ("Archived", "archive", "neutral"),
    "restored": ("Restored", "back", "neutral"),
}
_LONGEST_CHANGE = 80

CURRENCY_OF = {"deal_amount": "deal_currency", "expected_aws_spend": "aws_spend_currency"}


@router.get("/deals")
def list_deals(request: Request, me: Viewer) -> Response:
    """The deals that the address asks for."""
    query, day = request.query_params, today(request)
    filters, order = _filters(request), Order.of(request, SORTS, "-updated_at")
    after, before = query.get("after", ""), query.get("before", "")

    def read(connection: Connection) -> tuple[Page[Deal], int]:
        page = deals.list_deals(connection, filters, today=day, sort=str(order), after=after, before=before, limit=PAGE)
        return page, deals.count(connection, filters, today=day)

    page, total = me.read(read)
    listing = Listing.of(request, rows(page.rows), order=order, total=total, after=page.after, before=page.before)
    return parts(request).pages.render(
        request,
        "deals.html",
        listing=listing,
        filters=filters,
        stage_options=[(str(stage), str(stage)) for stage in Stage],
        export_url=listing.address(sort=None).replace("/deals", "/deals.csv", 1),
        export_rows=parts(request).limits[me.tenant.tier].export_rows,
    )


@router.get("/deals.csv")
def export(request: Request, me: Viewer) -> Response:
    """The deals of the list, of all its pages, as a file for a spreadsheet; where they are many, as several files."""

    def next_file(after: str) -> str:
        return str(request.url.replace(scheme=parts(request).addresses.scheme).include_query_params(after=after))

    after, most = request.query_params.get("after", ""), parts(request).limits[me.tenant.tier].export_rows
    lines = csv_lines(me, _filters(request), today(request), after=after, most=most, next_file=next_file)
    headers = {"Content-Disposition": 'attachment; filename="deals.csv"'}
    return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=headers)


Selected = Annotated[list[UUID] | None, Form()]
Back = Annotated[str, Form()]


@router.post("/deals/archive")
def archive_many(request: Request, me: ActingMember, selected: Selected = None, back: Back = "") -> Response:
    """Put the selected deals away."""
    done = me.write(lambda connection: deals.archive(connection, selected or [], me.person.email))
    text = f"{plural(done, 'deal')} archived."
    return parts(request).pages.redirect(request, local_path(back, "/deals"), "success", text)


@router.post("/deals/restore")
def restore_many(request: Request, me: ActingMember, selected: Selected = None, back: Back = "") -> Response:
    """Bring the selected deals back."""
    done = me.write(lambda connection: deals.restore(connection, selected or [], me.person.email))
    text = f"{plural(done, 'deal')} restored."
    return parts(request).pages.redirect(request, local_path(back, "/deals"), "success", text)


@router.get("/deals/new")
def show_new(request: Request, me: Member) -> Response:
    """An empty form."""
    return _form_page(request, None, {"stage": Stage.QUALIFIED})


@router.post("/deals/new")
def create(request: Request, me: ActingMember, sent: Sent) -> Response:
    """Write a deal that is not in HubSpot."""
    try:
        values = parse_form({"title": "", "stage": "", **sent.typed})
        deal_id = me.write(lambda connection: deals.create(connection, values, me.person.email))
    except Refused as refused:
        return _form_page(request, None, sent.typed, refused=refused)
    return parts(request).pages.redirect(request, f"/deals/{deal_id}", "success", "The deal is saved.")


@router.get("/deals/{deal_id}")
def show(request: Request, me: Viewer, deal_id: UUID) -> Response:
    """What AWS will see of the deal, field by field, and what happened to it."""
    day = today(request)

    def read(connection: Connection) -> tuple[Deal, list[Event]]:
        return deals.find(connection, deal_id, today=day), deals.timeline(connection, deal_id)

    deal, events = me.read(read)
    lost = deal.values["stage"] == Stage.CLOSED_LOST
    needs = [] if lost or deal.archived_at else readiness(deal.values, day)
    return parts(request).pages.render(
        request,
        "deal.html",
        deal=deal,
        lost=lost,
        unfollowed=deal.hubspot is not None and deal.hubspot.state == MappingState.UNFOLLOWED,
        lines=[_line(field, deal, needs) for field in FIELDS],
        needs=needs,
        told=_told_needs(deal, needs),
        events=[_told(event) for event in events],
        hubspot_url=_hubspot_url(request, deal),
    )


@router.get("/deals/{deal_id}/edit")
def show_edit(request: Request, me: Member, deal_id: UUID) -> Response:
    """The deal in a form."""
    deal = me.read(lambda connection: deals.find(connection, deal_id))
    return _form_page(request, deal, as_typed(deal))


@router.post("/deals/{deal_id}/edit")
def edit(
    request: Request, me: ActingMember, deal_id: UUID, sent: Sent, version: Annotated[int, Form()] = 0
) -> Response:
    """Save the form, unless somebody else has changed the deal since it was opened; what was typed is kept."""
    deal = me.read(lambda connection: deals.find(connection, deal_id))
    altered = sent.altered(as_typed(deal))
    try:
        values = parse_form(altered)
        changed = me.write(lambda connection: deals.edit(connection, deal_id, version, values, me.person.email))
    except Refused as refused:
        if refused.code is Code.CONFLICT:
            return _conflict_page(request, me.read(lambda connection: deals.find(connection, deal_id)), sent, refused)
        return _form_page(request, deal, {**as_typed(deal), **sent.typed}, sent=sent, version=version, refused=refused)
    text = "The deal is saved." if changed else "Nothing was different, so nothing was changed."
    return parts(request).pages.redirect(request, f"/deals/{deal_id}", "success" if changed else "info", text)


@router.post("/deals/{deal_id}/use-hubspot")
def use_hubspot(
    request: Request,
    me: ActingMember,
    deal_id: UUID,
    field: Annotated[str, Form()] = "",
    version: Annotated[int, Form()] = 0,
) -> Response:
    """Take HubSpot's value of a field in place of what a person has set."""
    if field not in FIELD:
        raise Refused(Code.INVALID, "There is no such field. Nothing was changed.", "Open the deal and try again.")
    me.write(lambda connection: deals.use_hubspot(connection, deal_id, version, field, me.person.email))
    text = f"{FIELD[field].label} is as HubSpot has it, and follows HubSpot again."
    return parts(request).pages.redirect(request, f"/deals/{deal_id}", "success", text)


@router.post("/deals/{deal_id}/archive")
def archive(request: Request, me: ActingMember, deal_id: UUID) -> Response:
    """Put the deal away."""
    me.write(lambda connection: deals.archive(connection, [deals.find(connection, deal_id).id], me.person.email))
    return parts(request).pages.redirect(request, f"/deals/{deal_id}", "success", "The deal is archived.")


@router.post("/deals/{deal_id}/restore")
def restore(request: Request, me: ActingMember, deal_id: UUID) -> Response:
    """Bring the deal back."""
    me.write(lambda connection: deals.restore(connection, [deals.find(connection, deal_id).id], me.person.email))
    return parts(request).pages.redirect(request, f"/deals/{deal_id}", "success", "The deal is restored.")


def _filters(request: Request) -> Filters:
    query = request.query_params
    stage, source = None, None
    with suppress(ValueError):
        stage = Stage(query.get("stage", ""))
    with suppress(ValueError):
        source = Source(query.get("source", ""))
    ready = {"ready": True, "incomplete": False}.get(query.get("readiness", ""))
    return Filters(query.get("q", "").strip(), stage, source, ready, query.get("archived") == "yes")


def _form_page(
    request: Request,
    deal: Deal | None,
    texts: Mapping[str, str],
    *,
    sent: Submitted | None = None,
    version: int | None = None,
    notes: Mapping[str, str] | None = None,
    refused: Refused | None = None,
) -> Response:
    shown = sent.shown if sent else texts
    return parts(request).pages.render(
        request,
        "deal_form.html",
        refused.status if refused else 200,
        deal=deal,
        groups=groups(texts, refused.fields if refused else {}, notes or {}),
        labels={field.name: field.label for field in FIELDS},
        version=version if version is not None else deal.version if deal else 0,
        shown=as_shown(shown) if deal else "",
        refused=refused,
    )


def _conflict_page(request: Request, deal: Deal, sent: Submitted, refused: Refused) -> Response:
    """What the person altered stays as typed, beside what the deal says now; all else is as it is now."""
    now = as_typed(deal)
    kept = sent.altered(now)
    notes = {name: f"Now: {short(now[name])}" for name, text in kept.items() if text.strip() != now[name]}
    return _form_page(request, deal, {**now, **kept}, sent=Submitted({}, now), notes=notes, refused=refused)


def _told_needs(deal: Deal, needs: Sequence[Need]) -> str:
    """What AWS still asks for, in words: the empty fields by name, then what is wrong with others."""
    empty = [FIELD[need.field].label for need in needs if deal.values[need.field] in (None, "", [])]
    others = [need.text for need in needs if deal.values[need.field] not in (None, "", [])]
    return " ".join([*([f"Missing: {', '.join(empty)}."] if empty else []), *others])


def _line(field: Field, deal: Deal, needs: Sequence[Need]) -> dict[str, Any]:
    origin, hidden = deal.origin(field.name), deal.hidden(field.name)
    return {
        "key": field.name,
        "kind": field.kind,
        "label": field.label,
        "value": shown(field, deal.values[field.name], deal.values),
        "origin": {"you": "You", "hubspot": "HubSpot", "default": "Default"}.get(origin or "", ""),
        "need": next((need for need in needs if need.field == field.name), None),
        "hidden": short(_readable(field, hidden.text, deal)) if hidden else "",
        "hidden_default": hidden is not None and hidden.default,
    }


def _readable(field: Field, text: str | None, deal: Deal) -> str:
    """HubSpot's value, which is kept as text, as people read it."""
    try:
        return (text and shown(field, parse_value(field, text), deal.values)) or "nothing"
    except ValueError:
        return text or "nothing"


def shown(field: Field, value: Any, beside: Mapping[str, Any]) -> str | None:
    """A field's value as people read it; None where it is empty. :param beside: the deal's other fields."""
    if value in (None, "", []):
        return None
    if field.kind == "money":
        return as_money(value, beside[CURRENCY_OF[field.name]] or "")
    if field.kind == "date":
        return as_day(value)
    if field.kind == "country":
        return COUNTRIES.get(value) or str(value)
    return as_text(value)


def in_words(changes: Mapping[str, Sequence[str | None]]) -> list[tuple[str, str, str]]:
    """The fields that differ, in the order of the page and short: (label, before, after).

    :param changes: as a timeline or a preview keeps them, see `database.tenant.deals.changes`.
    """
    before = {name: texts[0] for name, texts in changes.items()}
    after = {name: texts[1] for name, texts in changes.items()}
    names = [field.name for field in FIELDS if field.name in changes] + [name for name in changes if name not in FIELD]
    return [(label_of(name), short(_said(name, before)), short(_said(name, after))) for name in names]


def short(text: str | None) -> str:
    """The text in one line of bearable length."""
    line = " ".join((text or NOTHING).split())
    return line if len(line) <= _LONGEST_CHANGE else f"{line[: _LONGEST_CHANGE - 1]}…"


def label_of(name: str) -> str:
    """What a field is called on pages; its own name, if it is no field any more."""
    return FIELD[name].label if name in FIELD else name


def _said(name: str, texts: Mapping[str, str | None]) -> str | None:
    """A field that was kept as text. :param texts: with the fields beside it."""
    text = texts[name]
    if text is None or name not in FIELD:
        return text
    with suppress(ValueError):  # what was kept under older rules is shown as it is
        return shown(FIELD[name], parse_value(FIELD[name], text), dict.fromkeys(CURRENCY_OF.values(), "") | dict(texts))
    return text


def _told(event: Event) -> dict[str, Any]:
    title, icon, tone = _EVENTS.get(event.kind, (event.kind.capitalize(), "dot", "neutral"))
    changed = [] if event.kind in ("created", "imported") else in_words(event.changes)
    told = "; ".join(f"{label}: {before} → {after}" for label, before, after in changed)
    run = f"/hubspot/syncs/{event.sync_id}" if event.sync_id else ""
    return {
        "at": event.at,
        "title": title,
        "who": event.actor,
        "icon": icon,
        "tone": tone,
        "detail": told,
        "href": run,
        "link": "Sync",
    }


def _hubspot_url(request: Request, deal: Deal) -> str:
    if deal.hubspot is None:
        return ""
    return f"{parts(request).hubspot_origin}/contacts/{deal.hubspot.portal_id}/record/0-3/{deal.hubspot.deal_id}"
