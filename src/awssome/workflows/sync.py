"""A sync: brings a tenant's HubSpot deals in, page by page, and can be interrupted anywhere.

Its state is its row in `sync_history`: whoever takes it up raises the attempt number, which every transaction checks,
and each page commits deals, counts and the next cursor together. A job that is run twice, or after a kill, goes on
where the last page ended.

A free tenant gets its first deals, open ones first, by creation date, and keeps the same ones. A paid tenant gets all:
the list is followed to its end, then deals that are here but were not in it are looked up one batch at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from awssome.database import Connection
from awssome.database.registry import tenants
from awssome.database.tenant import hubspot as stored
from awssome.database.tenant import imports, syncs
from awssome.database.tenant.syncs import Sync
from awssome.domain.errors import Code, Refused
from awssome.domain.imports import DealIssue, Plan, SourceDeal, plan
from awssome.domain.mapping import PROPERTIES
from awssome.domain.syncs import IssueKind, MappingState, Superseded
from awssome.domain.tenants import AWAY, TenantState, imports_allowed
from awssome.domain.times import now
from awssome.hubspot.client import Client
from awssome.hubspot.errors import Cancelled, HubSpotDown, HubSpotError, NeedsReconnect
from awssome.hubspot.limits import LIST_PAGE, SEARCH_PAGE
from awssome.hubspot.models import Deal, Filter, Page, Search
from awssome.hubspot.transport import Patience
from awssome.workflows.hubspot_access import JOB_PATIENCE, HubSpotAccess
from awssome.workflows.services import Services
from awssome.workflows.workspace import Workspace

ATTEMPTS = 12
"""A sync that still meets an error at this attempt fails; interruptions alone never make it fail."""

_MERGED_IDS = "hs_merged_object_ids"
_READ = (*PROPERTIES, _MERGED_IDS)
_LISTED = "-"
"""Stands in `next_page` for: the list was followed to its end."""


class NotNow(Refused):
    """The sync has to wait, or another worker is on it: the job is to be tried again."""

    def __init__(self) -> None:
        super().__init__(Code.UNAVAILABLE, "The sync goes on in a moment.", retry_after=2)


def run(
    services: Services,
    tenant_id: UUID,
    sync_id: UUID,
    should_abort: Callable[[], bool],
    *,
    patience: Patience = JOB_PATIENCE,
) -> None:
    """Carry a sync on to its end; nothing if it has ended.

    :param should_abort: asked between pages and while waiting.
    :param patience: what one call to HubSpot may spend on retries.
    :raises NotNow: when it was interrupted, or another worker is on it.
    """
    with services.registry.holding(f"sync:{tenant_id}") as held:
        if not held:
            raise NotNow
        workspace = Workspace(services, tenant_id, should_stop=should_abort)
        with services.registry.begin() as connection:
            tenant = tenants.find(connection, tenant_id)
        if tenant.state in AWAY or tenant.state is TenantState.DELETED:
            return  # should it come back, its next sync goes on from here
        deal_limit = imports_allowed(tenant.tier)
        sync = workspace.do(lambda connection: _claim(connection, sync_id, deal_limit))
        if sync is not None:
            _carry_on(services, workspace, sync, should_abort, patience)


def _claim(connection: Connection, sync_id: UUID, deal_limit: int | None) -> Sync | None:
    known = stored.connection(connection)
    here = imports.count_live(connection, known.portal_id) if known else 0
    return syncs.claim(connection, sync_id, deal_limit=deal_limit, imported=here)


def _carry_on(
    services: Services, workspace: Workspace, sync: Sync, should_abort: Callable[[], bool], patience: Patience
) -> None:
    access = None
    try:
        access = HubSpotAccess(services, workspace)
        _Run(workspace, access, sync, should_abort, patience).go()
    except (Superseded, Cancelled):
        raise NotNow from None
    except HubSpotError as error:
        if access is not None and isinstance(error, NeedsReconnect):
            access.lost()
        _fail(workspace, sync, error)
    except Refused as refused:
        ours = refused.code in (Code.FENCED, Code.UNAVAILABLE, Code.LIMITED)  # a database of ours, not HubSpot
        if ours and sync.attempt < ATTEMPTS:
            raise NotNow from refused
        _fail(workspace, sync, refused)
    except Exception:
        if sync.attempt >= ATTEMPTS:
            broken = Refused(
                Code.UNAVAILABLE,
                "The sync stopped because of a defect in Awssome. What came in until then is here and safe.",
                "Sync again. If it stops again, ask support.",
            )
            _fail(workspace, sync, broken)
        raise


def _fail(workspace: Workspace, sync: Sync, error: Refused) -> None:
    def fail(connection: Connection) -> None:
        syncs.hold(connection, sync)
        message, advice = error.message, error.advice
        so_far = syncs.find(connection, sync.id)
        if isinstance(error, HubSpotDown) and so_far is not None and so_far.created + so_far.updated:
            message = "HubSpot stopped answering. What came in until then is here and safe."
            advice = "Sync again in a few minutes. No deal comes in twice."
        syncs.fail(connection, sync, message, advice)

    try:
        workspace.do(fail)
    except Superseded:
        raise NotNow from None


class _Run:
    """One attempt at a sync."""

    def __init__(
        self,
        workspace: Workspace,
        access: HubSpotAccess,
        sync: Sync,
        should_abort: Callable[[], bool],
        patience: Patience,
    ) -> None:
        self._workspace = workspace
        self._access = access
        self._portal_id = access.portal_id
        self._sync = sync
        self._should_abort = should_abort
        self._patience = patience
        self._stages = workspace.do(imports.stages)

    def go(self) -> None:
        """To the end. The client's thread ends with it."""
        stopping = threading.Event()
        client = self._access.client(
            should_stop=lambda: stopping.is_set() or self._should_abort(), patience=self._patience
        )
        with client:
            if self._sync.deal_limit is None:
                self._import_all(client, stopping)
            else:
                self._import_some(client, self._sync.deal_limit)

    def _import_all(self, client: Client, stopping: threading.Event) -> None:
        if self._sync.available is None:
            self._note(client, available=client.search_deals(_search(limit=1)).total)
        if self._sync.next_page != _LISTED:
            pages = client.iter_deals(self._sync.next_page, LIST_PAGE, _READ)
            with closing(_one_ahead(pages, stopping)) as ahead:
                for page in ahead:
                    self._write(client, _sources(page.results), next_page=page.next or _LISTED)
        self._reconcile(client, (MappingState.LIVE,))
        self._finish(client, None)

    def _import_some(self, client: Client, limit: int) -> None:
        self._reconcile(client, (MappingState.LIVE, MappingState.ARCHIVED))
        room = max(0, limit - self._workspace.do(stored.imports))
        if room:
            fresh, available = self._first_deals(client, limit, room)
            self._write(client, fresh, limit=limit, available=available)
        else:
            available = client.search_deals(_search(limit=1)).total
        self._finish(client, available)

    def _first_deals(self, client: Client, limit: int, room: int) -> tuple[list[SourceDeal], int]:
        """The deals that come in next, as many as there is room for, and how many HubSpot has.

        A search asks for `limit` deals: those that are mapped already may be among its first.
        """
        fresh: list[SourceDeal] = []
        available = 0
        for closed in ("false", "true"):
            wanted = limit if len(fresh) < room else 1
            query = _search(Filter("hs_is_closed", "EQ", closed), limit=wanted, sort="createdate")
            found, total = _searched(client, query, wanted)
            available += total
            fresh += _sources(self._unmapped(found)[: room - len(fresh)])
        return fresh, available

    def _unmapped(self, deals: list[Deal]) -> list[Deal]:
        ids = [deal.id for deal in deals]
        mapped = self._workspace.do(lambda connection: imports.mapped(connection, self._portal_id, ids))
        return [deal for deal in deals if deal.id not in mapped]

    def _reconcile(self, client: Client, states: Sequence[MappingState]) -> None:
        """Look at the mapped deals that this sync has not come across: changed, deleted, merged or back again."""

        def unseen(connection: Connection) -> list[str]:
            return imports.unseen(connection, self._portal_id, self._sync.id, states)

        while deal_ids := self._workspace.do(unseen):
            answer = client.batch_read_deals(deal_ids, _READ)
            asked = set(deal_ids)
            deals = [one for one in _sources(answer.results) if one.id in asked or asked.intersection(one.merged_ids)]
            told = {one.id for one in deals} | {old for one in deals for old in one.merged_ids} | set(answer.missing)
            self._settle(client, deals, list(answer.missing), sorted(asked - told), deal_ids)

    def _settle(
        self, client: Client, deals: list[SourceDeal], missing: list[str], untold: list[str], asked: list[str]
    ) -> None:
        def work(connection: Connection) -> None:
            syncs.hold(connection, self._sync)
            made = self._apply(connection, deals, room=0)
            at = now()
            gone = imports.archive(connection, self._portal_id, missing, sync_id=self._sync.id, at=at)
            imports.report(connection, self._sync.id, [_untold(deal_id) for deal_id in untold])
            imports.touch(connection, self._portal_id, asked, sync_id=self._sync.id)
            counts = syncs.added(
                seen=len(deals) + len(untold),
                updated=made.updated + gone,
                unchanged=made.unchanged,
                failed=made.failed + len(untold),
                imported=made.gained - gone,
            )
            syncs.progress(connection, self._sync, **counts, calls=self._sync.calls + client.calls)

        self._workspace.do(work)

    def _write(self, client: Client, deals: list[SourceDeal], *, limit: int | None = None, **position: Any) -> None:
        """One page: deals, counts and position in one transaction."""

        def work(connection: Connection) -> None:
            syncs.hold(connection, self._sync)
            room = None
            if limit is not None:
                stored.lock(connection)
                room = max(0, limit - stored.imports(connection))
            made = self._apply(connection, deals, room)
            if made.created:
                stored.add_imports(connection, len(made.created))
            counts = syncs.added(
                seen=len(deals) - len(made.no_room),
                created=len(made.created),
                updated=made.updated,
                unchanged=made.unchanged,
                failed=made.failed,
                imported=made.gained,
            )
            syncs.progress(connection, self._sync, **counts, **position, calls=self._sync.calls + client.calls)

        self._workspace.do(work)

    def _apply(self, connection: Connection, deals: list[SourceDeal], room: int | None) -> Plan:
        at = now()
        ids = {deal.id for deal in deals} | {old for deal in deals for old in deal.merged_ids}
        known = imports.known(connection, self._portal_id, ids)
        made = plan(deals, known, self._stages, room, at.date())
        imports.write(connection, made, portal_id=self._portal_id, sync_id=self._sync.id, at=at)
        return made

    def _note(self, client: Client, **values: Any) -> None:
        calls = self._sync.calls + client.calls
        self._workspace.do(lambda connection: syncs.progress(connection, self._sync, **values, calls=calls))

    def _finish(self, client: Client, available: int | None) -> None:
        """:param available: what HubSpot has; None: what was listed, which is exact where a search lags behind."""

        def work(connection: Connection) -> None:
            syncs.hold(connection, self._sync)
            here = imports.count_live(connection, self._portal_id)
            seen = syncs.find(connection, self._sync.id)
            there = max(here, available if available is not None else seen.seen if seen else 0)
            left_out = there - here if self._sync.deal_limit is not None else 0
            if left_out and self._sync.deal_limit is not None:
                imports.report(connection, self._sync.id, [_no_room(left_out, there, self._sync.deal_limit)])
            syncs.finish(
                connection,
                self._sync,
                available=there,
                imported=here,
                left_out=left_out,
                calls=self._sync.calls + client.calls,
            )

        self._workspace.do(work)


def _one_ahead(pages: Iterator[Page], stopping: threading.Event) -> Generator[Page, None, None]:
    """The same pages; each is fetched by a thread while the one before it is being written.

    :param stopping: set when it is closed early, so that the fetch that is under way ends at once.
    """
    with ThreadPoolExecutor(1) as fetcher:
        try:
            coming = fetcher.submit(next, pages, None)
            while (page := coming.result()) is not None:
                coming = fetcher.submit(next, pages, None)
                yield page
        except GeneratorExit:
            stopping.set()
            raise


def _search(*filters: Filter, limit: int, sort: str | None = None) -> Search:
    return Search(filters=filters, properties=_READ, sort=sort, limit=min(limit, SEARCH_PAGE))


def _searched(client: Client, query: Search, wanted: int) -> tuple[list[Deal], int]:
    """The first deals of a search by creation date, and how many match. Pages may be short, or empty."""
    found: list[Deal] = []
    total = 0
    for page in client.iter_searched_deals(query):
        found += page.results
        total = page.total
        if len(found) >= wanted:
            break
    return sorted(found, key=_age)[:wanted], total


def _age(deal: Deal) -> tuple[datetime, int, str]:
    """Orders by creation date, then by number: HubSpot's own order is not to be relied on."""
    try:
        created = datetime.fromisoformat(deal.properties.get("createdate") or "")
    except ValueError:
        created = deal.created_at
    return created if created.tzinfo else created.replace(tzinfo=UTC), len(deal.id), deal.id


def _sources(deals: Sequence[Deal]) -> list[SourceDeal]:
    return [
        SourceDeal(
            deal.id,
            deal.properties,
            tuple(old for old in (deal.properties.get(_MERGED_IDS) or "").split(";") if old),
        )
        for deal in deals
    ]


def _untold(deal_id: str) -> DealIssue:
    return DealIssue(
        kind=IssueKind.FAILED,
        deal_id=deal_id,
        registration_id=None,
        title=f"Deal {deal_id}",
        field="",
        reason="HubSpot was asked for this deal and said nothing about it. It is unchanged here.",
        advice="Look at the deal in HubSpot, then sync again.",
    )


def _no_room(left_out: int, available: int, limit: int) -> DealIssue:
    return DealIssue(
        kind=IssueKind.LEFT_OUT,
        deal_id="",
        registration_id=None,
        title="Free tier",
        field="",
        reason=f"{left_out:,} of {available:,} deals were left out: the free tier imports {limit} deals.",
        advice="Upgrade to import all of them.",
    )
