"""Reads deals and what describes them from one HubSpot account."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import quote

import httpx2

from awssome.domain.budgets import Told
from awssome.hubspot.errors import MALFORMED_TOKEN, HubSpotDown, Rejected, failure
from awssome.hubspot.limits import BATCH, LIST_PAGE, LONGEST_URL, Kind, told_by
from awssome.hubspot.models import (
    Account,
    BatchResult,
    Deal,
    ModelT,
    Page,
    Pipeline,
    Property,
    Search,
    SearchPage,
    Unreadable,
    parse,
    parse_deals,
)
from awssome.hubspot.transport import Outcome, Patience, object_of, open_http, rest_of, retry_delay, send
from awssome.hubspot.version import API_VERSION

_DEALS = f"/crm/objects/{API_VERSION}/deals"
_MERGED_IDS = "hs_merged_object_ids"
_REQUEST_ID = "X-HubSpot-Correlation-Id"
_LONGEST_REQUEST_ID = 64

PageT = TypeVar("PageT", bound=Page)


class AccessToken(Protocol):
    """Gives the access token to use; with `force` a new one, because HubSpot called the last one expired."""

    def __call__(self, *, force: bool = False) -> str: ...


Answered = Callable[[Told | None, float | None], None]
"""Called when a call is over, with what the answer tells of the limit, and with the seconds for which nobody may call
if it was refused for the limit."""


class Budget(Protocol):
    """The account's budget of calls."""

    def take(self, kind: Kind) -> Answered:
        """Wait until one call may be made; may raise to give up."""
        ...

    def close(self) -> None:
        """Give back what was taken ahead and not used."""
        ...


JUDGED, BEARABLE = 200, 10
"""Of each 200 calls 10 may fail (5 %). An app that goes on in spite of more loses HubSpot's certification."""

_BREATHER = 30.0
"""Seconds for which a run that met more failures should leave HubSpot alone."""


class Client:
    """The account's deals over one pool of connections; close it, or use it in a `with`.

    Every method retries what is worth a retry, within `patience` for each call, and raises:

    - `HubSpotDown` and `RateLimited` when the retries are used up, and `HubSpotDown` when more than 5 % of the last 200
      calls failed, however well the retries went,
    - `TokenRefused` when HubSpot refuses the access token and then the one that replaced it,
    - `NeedsReconnect` when HubSpot no longer accepts the connection (`access_token` raises it),
    - `MissingScopes` when the connection lacks a permission,
    - `Rejected` when HubSpot refuses the request or gives an answer that does not fit,
    - `Cancelled` within a fifth of a second of `should_stop`, except that an answer is waited for until it begins.

    :param base_url: where HubSpot's API, or its sandbox, is.
    :param access_token: see `AccessToken`.
    :param budget: see `Budget`; asked for a call before each request, retries included. It ends with the client.
    :param should_stop: whether the work shall end; asked before each request and while waiting.
    :param patience: what each call may spend on retries. A background job can afford the default, a page cannot.
    :ivar calls: requests made so far, retries included.
    :ivar failed: those of them that a retry was worth.
    :ivar rate_limited: those of them that met the limit.
    """

    def __init__(
        self,
        base_url: str,
        *,
        access_token: AccessToken,
        budget: Budget,
        should_stop: Callable[[], bool],
        patience: Patience = Patience(retries=6, seconds=75.0),
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._http = open_http(base_url, transport)
        self._access_token = access_token
        self._budget = budget
        self._should_stop = should_stop
        self._patience = patience
        self._sleep = sleep
        self._judged = _Judged()
        self.calls = 0
        self.failed = 0
        self.rate_limited = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, and give back what was reserved and not used."""
        self._http.close()
        self._budget.close()

    def list_deals(
        self, after: str | None = None, limit: int = LIST_PAGE, properties: Sequence[str] = (), archived: bool = False
    ) -> Page:
        """One page of all deals, or of all archived ones (HubSpot keeps those for 90 days).

        :param after: the cursor `Page.next` of the page before; None: the first page.
        :param limit: deals on the page, 1 to 100.
        :param properties: which properties the deals shall hold; none: HubSpot's default few. More of them than an
            address holds cost a second call for each page.
        """
        if not 1 <= limit <= LIST_PAGE:
            raise ValueError(f"a page of the list has 1 to {LIST_PAGE} deals")
        params = {"limit": str(limit), "archived": "true" if archived else "false"}
        if after is not None:
            params["after"] = after
        named = {**params, "properties": ",".join(properties)} if properties else params
        if self._fits(_DEALS, named):
            return _page(Page, self._call("general", "GET", _DEALS, params=named))
        return self._filled(_page(Page, self._call("general", "GET", _DEALS, params=params)), properties, archived)

    def get_deal(self, deal_id: str, properties: Sequence[str] = ()) -> Deal | None:
        """One deal that is not archived; for the id of one that was merged the survivor, under its own id.

        :returns: None when there is none (any more).
        """
        path = f"{_DEALS}/{quote(deal_id, safe='')}"
        params = {"properties": ",".join(properties)} if properties else {}
        if not self._fits(path, params):
            found = self.batch_read_deals([deal_id], properties)
            if found.unreadable:
                raise Rejected(found.unreadable[0].reason)
            return found.results[0] if found.results else None
        try:
            return parse(Deal, self._call("general", "GET", path, params=params))
        except Rejected as refused:
            if refused.problem is not None and refused.problem.status == 404 and refused.problem.told:
                return None
            raise

    def iter_deals(
        self, after: str | None = None, limit: int = LIST_PAGE, properties: Sequence[str] = (), archived: bool = False
    ) -> Iterator[Page]:
        """All pages from a cursor on. Keep `Page.next` with a page's deals: an interrupted run goes on from there."""
        return _follow(lambda cursor: self.list_deals(cursor, limit, properties, archived), after)

    def search_deals(self, query: Search) -> SearchPage:
        """One page of a search. HubSpot's order is not to be relied on, not even when sorted."""
        body = self._call("search", "POST", f"{_DEALS}/search", json=query.body())
        return _page(SearchPage, body)

    def iter_searched_deals(self, query: Search) -> Iterator[SearchPage]:
        """All pages of a search from `query.after` on; HubSpot refuses to go beyond `limits.SEARCH_RESULTS` deals."""
        return _follow(lambda cursor: self.search_deals(query.starting(cursor)), query.after)

    def batch_read_deals(
        self, ids: Sequence[str], properties: Sequence[str] = (), archived: bool = False
    ) -> BatchResult:
        """Deals by id, in as many calls as there are hundreds of ids."""
        wanted = dict.fromkeys((*properties, _MERGED_IDS))
        params = {"archived": "true"} if archived else None
        results: list[Deal] = []
        unreadable: list[Unreadable] = []
        missing: list[str] = []
        request_id = ""
        for start in range(0, len(ids), BATCH):
            batch = {"inputs": [{"id": deal_id} for deal_id in ids[start : start + BATCH]], "properties": list(wanted)}
            body = self._call("general", "POST", f"{_DEALS}/batch/read", params=params, json=batch)
            page = _page(Page, body)
            results += page.results
            unreadable += page.unreadable
            request_id = page.request_id
            _sort_errors(body, missing, unreadable)
        asked = set(ids)
        merged = {
            old: deal.id
            for deal in results
            for old in (deal.properties.get(_MERGED_IDS) or "").split(";")
            if old in asked and old != deal.id
        }
        return BatchResult(
            results=tuple(results),
            unreadable=tuple(unreadable),
            missing=tuple(missing),
            merged=merged,
            request_id=request_id,
        )

    def pipelines(self) -> list[Pipeline]:
        """The deal pipelines with their stages; without those that do not fit, which a mapping can do without."""
        return _fitting(Pipeline, self._call("general", "GET", f"/crm/pipelines/{API_VERSION}/deals"))

    def properties(self) -> list[Property]:
        """The definitions of the properties that deals have in this account; without those that do not fit."""
        return _fitting(Property, self._call("general", "GET", f"/crm/properties/{API_VERSION}/deals"))

    def account(self) -> Account:
        """The account itself. Needs the scope `oauth`."""
        return parse(Account, self._call("general", "GET", f"/account-info/{API_VERSION}/details"))

    def _fits(self, path: str, params: dict[str, str]) -> bool:
        return len(str(self._http.build_request("GET", path, params=params).url)) <= LONGEST_URL

    def _filled(self, page: Page, properties: Sequence[str], archived: bool) -> Page:
        """A page whose deals are read again by their ids, with more properties than an address has room for."""
        found = self.batch_read_deals([deal.id for deal in page.results], properties, archived)
        deals = {deal.id: deal for deal in found.results}
        # A deal that was deleted or merged in between is not of this page any more.
        return page.model_copy(
            update={
                "results": tuple(deals[deal.id] for deal in page.results if deal.id in deals),
                "unreadable": (*page.unreadable, *found.unreadable),
            }
        )

    def _call(
        self,
        kind: Kind,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        json: Any = None,
    ) -> dict[str, Any]:
        patience = replace(self._patience)
        body: dict[str, Any] = {}
        answered: Answered

        def before() -> None:
            nonlocal answered
            self._judged.check()
            answered = self._budget.take(kind)
            self.calls += 1

        def after(outcome: Outcome) -> None:
            rest = rest_of(outcome)
            failed = retry_delay(outcome, 0) is not None
            self.failed += failed
            self.rate_limited += rest is not None
            self._judged.count(failed)
            answered(told_by(outcome.headers if isinstance(outcome, httpx2.Response) else {}), rest)

        def readable(response: httpx2.Response) -> bool:
            nonlocal body
            found = object_of(response)
            body = found or {}
            return found is not None

        def answer(token: str) -> httpx2.Response:
            headers = {"Authorization": f"Bearer {token}"}
            return send(
                self._http,
                lambda: self._http.build_request(method, path, params=params, json=json, headers=headers),
                patience=patience,
                should_stop=self._should_stop,
                before=before,
                after=after,
                readable=readable,
                sleep=self._sleep,
            )

        response = answer(self._access_token())
        if response.status_code in (401, MALFORMED_TOKEN):
            # Also when it is not called expired: a 401 is no valid sign of anything (docs: usage guidelines).
            response = answer(self._access_token(force=True))
        if not response.is_success:
            raise failure(response)
        return {**body, "requestId": response.headers.get(_REQUEST_ID, "")[:_LONGEST_REQUEST_ID]}


class _Judged:
    """How many of the calls of a run have failed, judged by the two hundred."""

    def __init__(self) -> None:
        self._calls = self._failed = 0

    def count(self, failed: bool) -> None:
        """One more call."""
        self._calls += 1
        self._failed += failed

    def check(self) -> None:
        """:raises HubSpotDown: when too many of the last 200 failed; then it begins anew."""
        if self._calls < JUDGED:
            return
        failed, self._calls, self._failed = self._failed, 0, 0
        if failed > BEARABLE:
            raise HubSpotDown(
                f"HubSpot failed {failed} of the last {JUDGED} requests. Your deals here are safe.",
                retry_after=_BREATHER,
            )


def _follow(page_at: Callable[[str | None], PageT], after: str | None) -> Iterator[PageT]:
    while True:
        page = page_at(after)
        yield page
        if page.next is None:
            return
        if page.next == after:
            raise Rejected("HubSpot's list of deals does not end: it names the same page again.")
        after = page.next


def _page(model: type[PageT], body: dict[str, Any]) -> PageT:
    """A page out of an answer, each deal of it read for itself. What is not named in the model survives."""
    deals, unreadable = parse_deals(_results(body))
    return parse(model, {**body, "results": deals, "unreadable": unreadable, "next": _cursor(body)})


def _cursor(body: dict[str, Any]) -> Any:
    paging = body.get("paging")
    following = paging.get("next") if isinstance(paging, dict) else None
    return following.get("after") if isinstance(following, dict) else None


def _results(body: dict[str, Any]) -> list[Any]:
    results = body.get("results")
    if not isinstance(results, list):
        raise Rejected("HubSpot gave an answer that cannot be read: results.")
    return results


def _fitting(model: type[ModelT], body: dict[str, Any]) -> list[ModelT]:
    found: list[ModelT] = []
    for one in _results(body):
        with suppress(Rejected):
            found.append(parse(model, one))
    return found


def _sort_errors(body: dict[str, Any], missing: list[str], unreadable: list[Unreadable]) -> None:
    """Add the ids that a batch read's answer 207 calls missing, and those that HubSpot failed to read.

    :raises Rejected: when it names an error and not for which deals.
    """
    for error in body.get("errors") or []:
        match error:
            case {"category": "OBJECT_NOT_FOUND", "context": {"ids": [_, *_] as ids}}:
                missing += map(str, ids)
            case {"context": {"ids": [_, *_] as ids}}:
                unreadable += [Unreadable(id=str(id_), reason="HubSpot could not read this deal.") for id_ in ids]
            case _:
                raise Rejected("HubSpot could not read some deals.")
