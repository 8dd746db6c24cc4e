"""Reads deals and what describes them from one HubSpot account."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import httpx2

from awssome.hubspot.errors import Rejected, failure, problem_of
from awssome.hubspot.limits import BATCH, LIST_PAGE, Kind
from awssome.hubspot.models import Account, BatchResult, Deal, Page, Pipeline, Property, Search, SearchPage, parse
from awssome.hubspot.transport import Patience, json_of, open_http, send
from awssome.hubspot.version import API_VERSION

_DEALS = f"/crm/objects/{API_VERSION}/deals"
_MERGED_IDS = "hs_merged_object_ids"

PageT = TypeVar("PageT", bound=Page)


class AccessToken(Protocol):
    """Gives the access token to use; with `force` a new one, because HubSpot called the last one expired."""

    def __call__(self, *, force: bool = False) -> str: ...


class Reserve(Protocol):
    """Reserves calls in the account's budget, and returns when they may be made; may raise to give up."""

    def __call__(self, kind: Kind, calls: int) -> None: ...


class Client:
    """The account's deals over one pool of connections; close it, or use it in a `with`.

    Every method retries what is worth a retry, within `patience` for each call, and raises:

    - `HubSpotDown` and `RateLimited` when the retries are used up,
    - `NeedsReconnect` when HubSpot no longer accepts the connection,
    - `Rejected` when HubSpot refuses the request or gives an answer that cannot be read,
    - `Cancelled` within a fifth of a second of `should_stop`, except that a request on its way is finished first.

    :param base_url: where HubSpot's API, or its sandbox, is.
    :param access_token: see `AccessToken`.
    :param reserve: see `Reserve`; called once before each request, retries included.
    :param should_stop: whether the work shall end; asked before each request and while waiting.
    :param patience: what each call may spend on retries. A background job can afford the default, a page cannot.
    """

    def __init__(
        self,
        base_url: str,
        *,
        access_token: AccessToken,
        reserve: Reserve,
        should_stop: Callable[[], bool],
        patience: Patience = Patience(retries=6, seconds=75.0),
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._http = open_http(base_url, transport)
        self._access_token = access_token
        self._reserve = reserve
        self._should_stop = should_stop
        self._patience = patience
        self._sleep = sleep
        self.calls = 0
        """Requests made so far, retries included."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def list_deals(
        self, after: str | None = None, limit: int = LIST_PAGE, properties: Sequence[str] = (), archived: bool = False
    ) -> Page:
        """One page of all deals, or of all archived ones (HubSpot keeps those for 90 days).

        :param after: the cursor `Page.next` of the page before; None: the first page.
        :param limit: deals on the page, 1 to 100.
        :param properties: which properties the deals shall hold; none: HubSpot's default few.
        """
        if not 1 <= limit <= LIST_PAGE:
            raise ValueError(f"a page of the list has 1 to {LIST_PAGE} deals")
        params = {"limit": str(limit), "archived": "true" if archived else "false"}
        if properties:
            params["properties"] = ",".join(properties)
        if after is not None:
            params["after"] = after
        body = self._call("general", "GET", _DEALS, params=params)
        return parse(Page, {"results": body.get("results"), "next": _cursor(body)})

    def iter_deals(
        self, after: str | None = None, limit: int = LIST_PAGE, properties: Sequence[str] = (), archived: bool = False
    ) -> Iterator[Page]:
        """All pages from a cursor on. Keep `Page.next` with a page's deals: an interrupted run goes on from there."""
        return _follow(lambda cursor: self.list_deals(cursor, limit, properties, archived), after)

    def search_deals(self, query: Search) -> SearchPage:
        """One page of a search. HubSpot's order is not to be relied on, not even when sorted."""
        body = self._call("search", "POST", f"{_DEALS}/search", json=query.body())
        return parse(SearchPage, {"results": body.get("results"), "next": _cursor(body), "total": body.get("total")})

    def iter_searched_deals(self, query: Search) -> Iterator[SearchPage]:
        """All pages of a search from `query.after` on; HubSpot refuses to go beyond `limits.SEARCH_RESULTS` deals."""
        return _follow(lambda cursor: self.search_deals(query.starting(cursor)), query.after)

    def batch_read_deals(self, ids: Sequence[str], properties: Sequence[str] = ()) -> BatchResult:
        """Deals by id, in as many calls as there are hundreds of ids."""
        wanted = dict.fromkeys((*properties, _MERGED_IDS))
        results: list[Deal] = []
        missing: list[str] = []
        for start in range(0, len(ids), BATCH):
            batch = {"inputs": [{"id": deal_id} for deal_id in ids[start : start + BATCH]], "properties": list(wanted)}
            body = self._call("general", "POST", f"{_DEALS}/batch/read", json=batch)
            results += parse(Page, {"results": body.get("results")}).results
            missing += _missing(body)
        asked = set(ids)
        merged = {
            old: deal.id
            for deal in results
            for old in (deal.properties.get(_MERGED_IDS) or "").split(";")
            if old in asked and old != deal.id
        }
        return BatchResult(results=tuple(results), missing=tuple(missing), merged=merged)

    def pipelines(self) -> list[Pipeline]:
        """The deal pipelines with their stages."""
        body = self._call("general", "GET", f"/crm/pipelines/{API_VERSION}/deals")
        return [parse(Pipeline, one) for one in _results(body)]

    def properties(self) -> list[Property]:
        """The definitions of all properties that deals have in this account."""
        body = self._call("general", "GET", f"/crm/properties/{API_VERSION}/deals")
        return [parse(Property, one) for one in _results(body)]

    def account(self) -> Account:
        """The account itself. Needs the scope `oauth`."""
        return parse(Account, self._call("general", "GET", f"/account-info/{API_VERSION}/details"))

    def _call(
        self, kind: Kind, method: str, path: str, *, params: dict[str, str] | None = None, json: Any = None
    ) -> dict[str, Any]:
        patience = replace(self._patience)

        def before() -> None:
            self._reserve(kind, 1)
            self.calls += 1

        def answer(token: str) -> httpx2.Response:
            headers = {"Authorization": f"Bearer {token}"}
            return send(
                self._http,
                lambda: self._http.build_request(method, path, params=params, json=json, headers=headers),
                patience=patience,
                should_stop=self._should_stop,
                before=before,
                sleep=self._sleep,
            )

        response = answer(self._access_token())
        if response.status_code == 401 and problem_of(response).code == "EXPIRED_AUTHENTICATION":
            response = answer(self._access_token(force=True))
        if not response.is_success:
            raise failure(response)
        return json_of(response)


def _follow(page_at: Callable[[str | None], PageT], after: str | None) -> Iterator[PageT]:
    while True:
        page = page_at(after)
        yield page
        if page.next is None:
            return
        if page.next == after:
            raise Rejected("HubSpot's list of deals does not end: it names the same page again.")
        after = page.next


def _cursor(body: dict[str, Any]) -> Any:
    paging = body.get("paging")
    following = paging.get("next") if isinstance(paging, dict) else None
    return following.get("after") if isinstance(following, dict) else None


def _results(body: dict[str, Any]) -> list[Any]:
    results = body.get("results")
    if not isinstance(results, list):
        raise Rejected("HubSpot gave an answer that cannot be read.")
    return results


def _missing(body: dict[str, Any]) -> list[str]:
    """The ids that a batch read's answer 207 calls missing. :raises Rejected: when it names another error."""
    missing: list[str] = []
    for error in body.get("errors") or []:
        match error:
            case {"category": "OBJECT_NOT_FOUND", "context": {"ids": [_, *_] as ids}}:
                missing += map(str, ids)
            case _:
                raise Rejected("HubSpot could not read some deals.")
    return missing
