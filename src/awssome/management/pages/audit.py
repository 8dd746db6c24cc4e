"""The audit log: who did what, from where, when, and whether the log is as it was sealed."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from awssome.management import operations
from awssome.management.pages.guard import AtDesk
from awssome.web.formats import number
from awssome.web.tables import Listing

router = APIRouter()


@router.get("/audit")
def audit(request: Request, desk: AtDesk, q: str = "", tenant: str = "", after: str = "", before: str = "") -> Response:
    """The log, newest first, of all tenants or of one."""
    with desk.registry.begin() as connection:
        page = operations.audit_page(connection, search=q, tenant=tenant or None, after=after, before=before)
        only = operations.tenant_detail(connection, tenant) if tenant else None
    listing = Listing.of(request, page.entries, after=page.next, before=page.previous)
    return desk.pages.render(request, "audit.html", listing=listing, only=only)


@router.post("/audit/verification")
def verify(request: Request, desk: AtDesk) -> Response:
    """Recompute every seal from the lines."""
    with desk.registry.begin() as connection:
        result = operations.verify_audit(connection)
    if result.ok and not result.sealed_until:
        return desk.pages.redirect(request, "/audit", "info", "Nothing is sealed yet; a job seals once a minute.")
    if result.ok:
        text = f"Every seal holds, up to line {number(result.sealed_until)}."
        return desk.pages.redirect(request, "/audit", "success", text)
    text = f"The lines from {number(result.first_bad)} on are not what was sealed. Lines before them hold."
    return desk.pages.redirect(request, "/audit", "error", text)
