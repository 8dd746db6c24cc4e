"""Tokens while things go wrong: HubSpot is away, a database is, the tenant is moved, two processes want the same."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import select, update

from awssome.database.embedded import Cluster
from awssome.database.registry import Registry, tenants
from awssome.database.schema import hubspot_tokens, tenant_keys
from awssome.database.tenant import hubspot as stored
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import Phase
from awssome.domain.secrets import Unopenable
from awssome.domain.syncs import ConnectionState, LostReason, SyncState
from awssome.domain.tenants import EngineName, Tier
from awssome.domain.times import now
from awssome.hubspot.errors import HubSpotDown, NeedsReconnect
from awssome.workflows import hubspot_access, hubspot_connection
from awssome.workflows.hubspot_access import HubSpotAccess, Lost
from awssome.workflows.sync import NotNow, Parked
from tests.engines import looking
from tests.hubspot.conftest import NORTHWIND, SECRET, Sandbox
from tests.workflows.conftest import Workshop
from tests.workflows.moving import mover, placement_of, the_move, upgrade

Workshops = Callable[..., Workshop]


class Interrupted(httpx2.BaseTransport):
    """The way to HubSpot and back; something happens when its answer to a refresh is there."""

    def __init__(self, then: Callable[[], None]) -> None:
        self.then = then
        self.real = httpx2.HTTPTransport()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Have it answered, then have it happen."""
        response = self.real.handle_request(request)
        if b"grant_type=refresh_token" in request.read():
            response.read()
            self.then()
        return response


def access(workshop: Workshop, then: Callable[[], None] | None = None) -> HubSpotAccess:
    """The tenant's access in a worker of its own. :param then: happens when HubSpot has answered a refresh."""
    services = workshop.services
    if then is not None:
        services = replace(services, hubspot=replace(services.hubspot, transport=Interrupted(then)))
    return HubSpotAccess(services, replace(workshop, services=services).workspace)


def row(workshop: Workshop) -> Any:
    return workshop.workspace.do(lambda connection: connection.execute(select(hubspot_tokens)).one())


def expire(workshop: Workshop, left: timedelta = timedelta(0)) -> None:
    workshop.workspace.do(lambda connection: connection.execute(update(hubspot_tokens).values(expires_at=now() + left)))


def test_the_old_token_is_used_while_hubspot_gives_out_no_new_one(workshop: Workshops, sandbox: Sandbox) -> None:
    alice = workshop()
    before = access(alice).token()
    expire(alice, timedelta(minutes=4))
    sandbox.http.delete("/_sandbox/stats")
    sandbox.order("faults", fail=[{"status": 503, "times": 99, "endpoint": "oauth.token"}])
    mine = access(alice)
    assert [mine.token() for _ in range(3)] == [before] * 3
    assert sandbox.statuses("oauth.token") == {"503": 2}  # asked once, with its retry; not again at every call
    with pytest.raises(HubSpotDown):
        mine.token(force=True)  # HubSpot did not take it: it is of no use any more
    expire(alice)
    with pytest.raises(HubSpotDown):
        access(alice).token()
    assert alice.connection().state is ConnectionState.CONNECTED
    sandbox.http.delete("/_sandbox/faults")
    assert access(alice).token() != before


@pytest.mark.parametrize("status", [400, 401, 403, 429])
def test_a_refresh_that_is_refused_for_no_reason_of_the_token_ends_nothing(
    workshop: Workshops, sandbox: Sandbox, status: int
) -> None:
    alice = workshop()
    before = access(alice).token()
    expire(alice, timedelta(minutes=4))
    sandbox.order("faults", fail=[{"status": status, "times": 1, "endpoint": "oauth.token"}])
    assert access(alice).token() == before
    assert alice.connection().state is ConnectionState.CONNECTED
    assert access(alice).token() != before


def test_a_storm_of_refusals_does_not_end_the_connection(workshop: Workshops, sandbox: Sandbox) -> None:
    """A 401 is no valid sign of anything, also when it comes again and again (docs: usage guidelines)."""
    paula = workshop(tier=Tier.PAID)
    sandbox.order("faults", fail=[{"status": 401, "times": 99, "endpoint": "deals.list"}])
    sync_id = paula.queue()
    with suppress(NotNow):
        paula.sync(sync_id)
    assert paula.connection().state is ConnectionState.CONNECTED
    sandbox.http.delete("/_sandbox/faults")
    assert access(paula).token(force=True)


def test_a_sync_sits_out_a_401_of_the_token_endpoint_itself(workshop: Workshops, sandbox: Sandbox) -> None:
    paula = workshop(tier=Tier.PAID)
    sandbox.http.post("/_sandbox/tokens/expire").raise_for_status()
    wrong = {"status": 401, "category": "EXPIRED_AUTHENTICATION", "times": 1, "endpoint": "oauth.token"}
    sandbox.order("faults", fail=[wrong])
    sync_id = paula.queue()
    with pytest.raises(Parked):
        paula.sync(sync_id)
    assert paula.find(sync_id).open
    paula.sync(sync_id)
    assert paula.find(sync_id).state is SyncState.DONE


def test_a_missing_permission_makes_no_more_calls_and_keeps_what_uninstalls(
    workshop: Workshops, sandbox: Sandbox
) -> None:
    alice = workshop()
    access(alice).lacks_permission()
    known = alice.connection()
    assert (known.state, known.lost_reason) == (ConnectionState.RECONNECT, LostReason.SCOPES)
    assert alice.registered()[0] == "reconnect"
    sandbox.http.delete("/_sandbox/stats")
    with pytest.raises(Refused) as refused:
        access(alice)
    assert (refused.value.code, "Reconnect" in refused.value.advice) == (Code.CONFLICT, True)
    assert sandbox.http.get("/_sandbox/stats").json()["calls"] == 0
    alice.connect()
    known = alice.connection()
    assert (known.state, known.lost_reason, known.lost_at) == (ConnectionState.CONNECTED, None, None)
    access(alice).lacks_permission()
    assert "uninstalled there" in hubspot_connection.disconnect(alice.services, alice.id).message


@pytest.mark.parametrize(
    ("order", "reason", "told"),
    [
        ("uninstall", "uninstalled", "uninstalled there before"),
        ("tokens/revoke", "revoked", "had ended the access before"),
    ],
)
def test_a_dead_connection_says_why(workshop: Workshops, sandbox: Sandbox, order: str, reason: str, told: str) -> None:
    alice = workshop()
    expire(alice, timedelta(minutes=4))
    mine = access(alice)
    sandbox.order(order, portal_id=NORTHWIND)
    with pytest.raises(NeedsReconnect):
        mine.token()
    known = alice.connection()
    assert (known.state, known.lost_reason) == (ConnectionState.RECONNECT, LostReason(reason))
    assert (row(alice).access_token, row(alice).refresh_token) == (None, None)  # certainly of no use
    sandbox.http.delete("/_sandbox/stats")
    with alice.services.registry.begin() as connection:  # as if who found out had died before it noted this
        tenants.change(connection, alice.id, hubspot_state="connected")
    with pytest.raises(Lost):
        access(alice)
    assert alice.registered()[0] == "reconnect"
    ended = hubspot_connection.disconnect(alice.services, alice.id)
    assert (ended.told, told in ended.message) == (True, True)
    assert sandbox.http.get("/_sandbox/stats").json()["calls"] == 0


def test_a_rotated_token_outlives_a_session_that_is_ended_while_hubspot_answers(
    workshop: Workshops,
    sandbox: Sandbox,
    engine: EngineName,
    cluster: Cluster,
    pool_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """HubSpot has given the next refresh token, and the one that is stored is dead."""
    monkeypatch.setattr(hubspot_access, "STORE_PAUSE", 0.05)
    alice = workshop()
    login = placement_of(alice.services, alice.tenancy).login
    sandbox.order("tokens/rotation", on=True)
    expire(alice)
    ended: list[int] = []
    with looking(engine, cluster, pool_url) as onlooker:

        def end_once() -> None:
            if not ended:
                ended.append(onlooker.end(login))

        sandbox.http.delete("/_sandbox/stats")
        first = access(alice, end_once).token()
    assert ended and ended[0] >= 1
    assert sandbox.statuses("oauth.token") == {"200": 1}
    assert access(alice).token() == first
    expire(alice)
    assert access(alice).token() != first  # by the token that came with it
    assert alice.connection().state is ConnectionState.CONNECTED


def test_a_refresh_under_way_is_waited_for_by_a_move_and_its_token_arrives(
    workshop: Workshops, sandbox: Sandbox, dedicated: str
) -> None:
    alice = workshop()
    sandbox.order("tokens/rotation", on=True)
    asked, answered = threading.Event(), threading.Event()

    def while_the_mover_waits() -> None:
        asked.set()
        answered.wait(10)

    expire(alice)
    mine, idle = access(alice, while_the_mover_waits), access(alice)
    old = placement_of(alice.services, alice.tenancy)
    refreshing: list[Future[str]] = []

    with ThreadPoolExecutor(1) as worker:

        def step(name: str) -> None:
            if name == "cut_over":
                refreshing.append(worker.submit(mine.token))
                assert asked.wait(10)
                threading.Timer(0.7, answered.set).start()  # longer than one try to pause writes

        move_id = upgrade(alice.services, alice.tenancy)
        assert mover(alice.services, step=step).carry_on(move_id) is Phase.RETAINING
        found = refreshing[0].result(10)
    assert the_move(alice.services, move_id).write_pause_ms < 10_000
    new = placement_of(alice.services, alice.tenancy)
    assert new.placement_id != old.placement_id
    assert access(alice).token() == found
    sandbox.http.delete("/_sandbox/stats")
    with pytest.raises(Refused) as refused, alice.services.sessions.open(old) as connection:
        stored.lock(connection)  # what a refresh begins with
    assert refused.value.code is Code.FENCED
    expire(alice)
    assert idle.token() != found  # it knew the old place, and refreshed at the new one, once
    assert sandbox.statuses("oauth.token") == {"200": 1}
    with alice.services.sessions.open(new) as connection:
        here = stored.tokens(connection)
    assert here is not None and here.expires_at > now() + timedelta(minutes=20)


def test_two_processes_refresh_once(workshop: Workshops, sandbox: Sandbox, registry: Registry, secret_key: str) -> None:
    alice = workshop()
    sandbox.order("tokens/rotation", on=True)
    sandbox.order("faults", latency_ms=300)
    expire(alice, timedelta(minutes=4))
    settings = {
        "registry": registry.url,
        "secret_key": secret_key,
        "hubspot": sandbox.url,
        "client_id": "awssome-app",
        "client_secret": SECRET,
        "redirect_uri": alice.services.hubspot.redirect_uri,
        "tenant_id": str(alice.id),
    }
    command = [sys.executable, "-m", "tests.workflows.run_refresh", json.dumps(settings)]
    sandbox.http.delete("/_sandbox/stats")
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for worker in workers:
        assert worker.stdout and worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin
        worker.stdin.write("go\n")
        worker.stdin.flush()
    digests = {worker.communicate(timeout=30)[0] for worker in workers}
    assert (len(digests), [worker.returncode for worker in workers]) == (1, [0, 0])
    assert sandbox.statuses("oauth.token") == {"200": 1}
    sandbox.http.delete("/_sandbox/faults")
    expire(alice)
    assert access(alice).token()


@pytest.mark.parametrize("what", ["tokens", "keys", "both"])
def test_rows_that_are_swapped_between_two_tenants_open_nothing(workshop: Workshops, what: str) -> None:
    alice, paula = workshop(), workshop(company="Paula Inc", tier=Tier.PAID)
    tables = {"tokens": [hubspot_tokens], "keys": [tenant_keys], "both": [hubspot_tokens, tenant_keys]}[what]
    secret = {
        hubspot_tokens: ("access_token", "refresh_token", "key_id"),
        tenant_keys: ("id", "wrapped_key"),
    }

    def read(workshop: Workshop, table: Any) -> dict[str, Any]:
        columns = [table.c[name] for name in secret[table]]
        return workshop.workspace.do(lambda connection: dict(connection.execute(select(*columns)).one()._mapping))

    for table in tables:
        mine, theirs = read(alice, table), read(paula, table)
        for workshop_, values in ((alice, theirs), (paula, mine)):
            if table is tenant_keys:
                values = {"wrapped_key": values["wrapped_key"]}
            else:
                values = {**values, "key_id": workshop_.id}
            workshop_.workspace.do(
                lambda connection, table=table, values=values: connection.execute(update(table).values(**values))
            )
    for workshop_ in (alice, paula):
        with pytest.raises(Unopenable):
            access(workshop_).token()
        expire(workshop_)
        with pytest.raises(Unopenable):
            access(workshop_).token()
    ended = hubspot_connection.disconnect(alice.services, alice.id)  # forgets them all the same
    assert (ended.told, row(alice).refresh_token) == (False, None)


def test_access_and_refresh_token_cannot_take_each_others_place(workshop: Workshops) -> None:
    alice = workshop()
    tokens = row(alice)
    swapped = {"access_token": tokens.refresh_token, "refresh_token": tokens.access_token}
    alice.workspace.do(lambda connection: connection.execute(update(hubspot_tokens).values(**swapped)))
    with pytest.raises(Unopenable):
        access(alice).token()


def test_two_tenants_that_disconnect_at_once_uninstall_the_app_once(workshop: Workshops, sandbox: Sandbox) -> None:
    alice, paula = workshop(), workshop(company="Paula Inc", tier=Tier.PAID)
    together = threading.Barrier(2)

    def leave(workshop: Workshop) -> hubspot_connection.Disconnected:
        together.wait(5)
        return hubspot_connection.disconnect(workshop.services, workshop.id)

    sandbox.http.delete("/_sandbox/stats")
    with ThreadPoolExecutor(2) as workers:
        ended = list(workers.map(leave, (alice, paula)))
    assert [one.told for one in ended] == [True, True]
    assert sorted("another workspace" in one.message for one in ended) == [False, True]
    assert sandbox.statuses("uninstall") == {"204": 1}
    assert [one.registered()[0] for one in (alice, paula)] == ["none", "none"]


def test_who_connects_while_another_tenant_uninstalls_is_connected_or_told(
    workshop: Workshops, sandbox: Sandbox
) -> None:
    """Between the exchange of the code and the storing of its tokens the app may go, and the tokens with it."""
    alice, paula = workshop(), workshop(None, company="Paula Inc", tier=Tier.PAID)
    session_id, back = paula.consent()
    paula.callback(back["state"])
    held, leaving = threading.Event(), threading.Event()
    really = hubspot_connection.oauth.exchange

    def exchange_slowly(*args: Any) -> Any:
        tokens = really(*args)
        leaving.set()
        held.wait(10)
        return tokens

    with pytest.MonkeyPatch.context() as slow, ThreadPoolExecutor(1) as worker:
        slow.setattr(hubspot_connection.oauth, "exchange", exchange_slowly)
        connecting = worker.submit(paula.complete, session_id, back)
        assert leaving.wait(10)
        hubspot_connection.disconnect(alice.services, alice.id)
        held.set()
        with pytest.raises(Refused) as refused:
            connecting.result(20)
    assert (refused.value.code, "uninstalled" in refused.value.message) == (Code.CONFLICT, True)
    assert paula.registered() == ("none", None, None)
    assert paula.connect().portal_id == NORTHWIND


def test_a_tenant_that_has_to_connect_again_keeps_the_app_installed(workshop: Workshops, sandbox: Sandbox) -> None:
    alice, paula = workshop(), workshop(company="Paula Inc", tier=Tier.PAID)
    access(paula).lacks_permission()
    assert paula.registered()[0] == "reconnect"
    assert "another workspace" in hubspot_connection.disconnect(alice.services, alice.id).message
    assert sandbox.statuses("uninstall") == {}


def test_a_connection_is_kept_although_hubspot_says_no_more_of_the_account(
    workshop: Workshops, sandbox: Sandbox
) -> None:
    alice = workshop(None)
    for endpoint in ("oauth.introspect", "account"):
        sandbox.order("faults", fail=[{"status": 503, "times": 99, "endpoint": endpoint}])
    found = alice.connect()
    assert (found.portal_id, found.hub_domain) == (NORTHWIND, f"account {NORTHWIND}")
    assert alice.registered() == ("connected", NORTHWIND, f"account {NORTHWIND}")
    assert access(alice).token()


def test_a_permission_that_was_not_granted_is_told(workshop: Workshops, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = workshop(None)
    session_id, back = alice.consent()
    alice.callback(back["state"])
    real = hubspot_connection.oauth.exchange

    def less(*args: Any) -> Any:
        return real(*args).model_copy(update={"scopes": ("oauth",)})

    monkeypatch.setattr(hubspot_connection.oauth, "exchange", less)
    with pytest.raises(Refused, match=r"did not grant what Awssome needs: crm\.objects\.deals\.read") as refused:
        alice.complete(session_id, back)
    assert refused.value.code is Code.CONFLICT
    assert alice.registered() == ("none", None, None)
