"""Deals as a file for a spreadsheet (RFC 4180, UTF-8 with a byte order mark, which Excel asks for)."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Any

from awssome.database.keyset import Page
from awssome.database.tenant import deals
from awssome.database.tenant.deals import Deal, Filters
from awssome.domain.deals import FIELDS, as_text
from awssome.portal.context import TenantContext
from awssome.web.formats import plural

_PAGE = 500
_DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_lines(
    me: TenantContext, filters: Filters, day: date, *, after: str, most: int, next_file: Callable[[str], str]
) -> Iterator[str]:
    """The file in pieces, each a page of deals in a transaction of its own, oldest first.

    The first page is read before anything is sent, so that a refusal is still a page. Where more deals are left than
    the file may hold, its last line says so, and where the next file is.

    :param after: the key behind which the file begins; "" for the first deal.
    :param most: deals in one file.
    :param next_file: the address of the file that begins behind a key.
    """
    first = _page(me, filters, day, after, min(_PAGE, most))
    return _pieces(me, filters, day, first, most, next_file)


def guarded(text: str) -> str:
    """The text, such that no spreadsheet takes it for a formula (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(_DANGEROUS) else text


def _pieces(
    me: TenantContext, filters: Filters, day: date, page: Page[Deal], most: int, next_file: Callable[[str], str]
) -> Iterator[str]:
    heading = [*(field.label for field in FIELDS), "Ready for AWS", "Source", "HubSpot deal", "Created", "Changed"]
    yield "\ufeff" + _lines([heading])
    sent = 0
    while True:
        yield _lines([_cells(deal) for deal in page.rows])
        sent += len(page.rows)
        if page.after is None:
            return
        if sent >= most:
            yield _lines([[f"{plural(sent, 'deal')} are in this file, more are left. Next: {next_file(page.after)}"]])
            return
        page = _page(me, filters, day, page.after, min(_PAGE, most - sent))


def _page(me: TenantContext, filters: Filters, day: date, after: str, limit: int) -> Page[Deal]:
    return me.read(
        lambda connection: deals.list_deals(connection, filters, today=day, sort="created_at", after=after, limit=limit)
    )


def _cells(deal: Deal) -> list[str]:
    # An amount is made of digits here, its minus is no formula; every other text came from a person.
    values = [
        as_text(deal.values[field.name]) or ""
        if field.kind == "money"
        else guarded(as_text(deal.values[field.name]) or "")
        for field in FIELDS
    ]
    linked = deal.hubspot.deal_id if deal.hubspot else ""
    times = [f"{at:%Y-%m-%d %H:%M:%S}" for at in (deal.created_at, deal.updated_at)]
    return [*values, "yes" if deal.ready else "no", str(deal.source), linked, *times]


def _lines(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
