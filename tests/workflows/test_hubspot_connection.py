"""Connecting to HubSpot and disconnecting: only who began may complete, once; tokens are sealed, fresh and shared."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import unquote

import pytest
from sqlalchemy import select, update

from awssome.database.registry import audit, tenants
from awssome.database.registry.audit import Actor
from awssome.database.registry.tables import oauth_states
from awssome.database.schema import hubspot_accounts, hubspot_tokens, tenant_keys
from awssome.database.tenant import hubspot as stored
from awssome.database.tenant.keys import data_key
from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import Unopenable, digest, unseal
from awssome.domain.syncs import ConnectionState
from awssome.domain.tenants import TenantState, Tier
from awssome.domain.times import new_id, now
from awssome.hubspot import oauth
from awssome.hubspot.errors import BadCode, NeedsReconnect
from awssome.workflows import hubspot_connection, leaving, provisioning
from awssome.workflows.hubspot_access import HubSpotAccess
from awssome.workflows.services import WorkerServices
from tests.hubspot.conftest import NORTHWIND, TAILSPIN, Sandbox
from tests.workflows.conftest import HOST, Workshop

Workshops = Callable[..., Workshop]


def test_connecting_keeps_sealed_tokens_and_names_the_account(workshop: Workshops) -> None:
    alice = workshop(None)
    found = alice.connect()
    assert (found.portal_id, found.hub_domain) == (NORTHWIND, "northwind-cloud.com")
    shown = alice.connection()
    assert (shown.state, shown.portal_id, shown.imports) == (ConnectionState.CONNECTED, NORTHWIND, 0)
    assert (shown.hub_domain, shown.connected_by) == ("northwind-cloud.com", alice.tenancy.owner_email)
    assert set(shown.scopes) == set(oauth.SCOPES)
    assert alice.registered() == ("connected", NORTHWIND, "northwind-cloud.com")

    token = _access(alice).token()
    row = _row(alice)
    assert token.encode() not in row.access_token
    key = alice.workspace.do(lambda connection: data_key(connection, alice.services.vault, alice.id)).clear
    assert unseal(key, row.access_token, alice.id, "access").decode() == token
    for tenant_id, purpose in ((new_id(), "access"), (alice.id, "refresh"), (alice.id, "")):
        with pytest.raises(Unopenable):
            unseal(key, row.access_token, tenant_id, purpose)
    account = alice.workspace.do(lambda connection: connection.execute(select(hubspot_accounts)).one())
    assert (account.portal_id, account.hub_domain) == (NORTHWIND, "northwind-cloud.com")
    assert (account.currency, account.time_zone, account.ui_domain) == ("USD", "UTC", "app.hubspot.com")


def test_a_state_is_handed_over_and_used_once(workshop: Workshops) -> None:
    alice = workshop(None)
    session_id, back = alice.consent()
    assert alice.callback(back["state"]) == HOST
    assert _code(lambda: alice.callback(back["state"])) is Code.GONE
    alice.complete(session_id, back)
    assert _code(lambda: alice.complete(session_id, back)) is Code.GONE


def test_a_forged_state_is_refused(workshop: Workshops, sandbox: Sandbox) -> None:
    alice = workshop(None)
    session_id, back = alice.consent()
    nonce, _, signature = back["state"].partition(".")
    for forged in (nonce, f"{nonce}.", f"{nonce}.{signature[:-1]}x", f"x{nonce}.{signature}", "", f".{signature}"):
        assert _code(partial(alice.callback, forged)) is Code.GONE
        assert _code(partial(alice.complete, session_id, {**back, "state": forged})) is Code.GONE
    unknown = f"never.{alice.services.keys.signature('hubspot-state', 'never')}"
    assert _code(lambda: alice.callback(unknown)) is Code.GONE
    assert sandbox.statuses("oauth.token") == {}


def test_a_state_that_was_not_handed_over_cannot_be_used(workshop: Workshops) -> None:
    alice = workshop(None)
    session_id, back = alice.consent()
    assert _code(lambda: alice.complete(session_id, back)) is Code.GONE


def test_a_state_expires(workshop: Workshops, services: WorkerServices) -> None:
    alice = workshop(None)
    session_id, back = alice.consent()
    alice.callback(back["state"])
    _expire(services, back["state"])
    assert _code(lambda: alice.complete(session_id, back)) is Code.GONE
    _, late = alice.consent()
    _expire(services, late["state"])
    assert _code(lambda: alice.callback(late["state"])) is Code.GONE


def test_another_session_cannot_complete_and_takes_nothing_away(workshop: Workshops) -> None:
    alice, bob = workshop(None), workshop(None, company="Bob Ltd")
    session_id, back = alice.consent()
    alice.callback(back["state"])
    assert _code(lambda: alice.complete(new_id(), back)) is Code.FORBIDDEN
    assert _code(lambda: bob.complete(session_id, back)) is Code.FORBIDDEN
    assert bob.workspace.do(stored.connection) is None
    assert alice.complete(session_id, back).portal_id == NORTHWIND


def test_an_expired_code_stores_nothing_and_uses_the_state_up(workshop: Workshops, sandbox: Sandbox) -> None:
    alice = workshop(None)
    session_id, back = alice.consent()
    alice.callback(back["state"])
    sandbox.order("codes/expire")
    with pytest.raises(BadCode):
        alice.complete(session_id, back)
    assert alice.workspace.do(stored.connection) is None
    assert alice.registered() == ("none", None, None)
    assert _code(lambda: alice.complete(session_id, back)) is Code.GONE


def test_who_declines_comes_back_and_is_not_connected(workshop: Workshops) -> None:
    alice = workshop(None)
    _, back = alice.consent(decision="decline")
    assert (back["error"], "code" in back) == ("access_denied", False)
    assert alice.callback(back["state"]) == HOST
    assert alice.registered() == ("none", None, None)


def test_a_hubspot_account_feeds_one_free_workspace(workshop: Workshops) -> None:
    alice, bob = workshop(), workshop(None, company="Bob Ltd")
    with pytest.raises(Refused) as refused:
        bob.connect()
    assert refused.value.code is Code.CONFLICT
    assert "northwind-cloud.com" in refused.value.message
    assert bob.workspace.do(stored.connection) is None
    assert bob.registered() == ("none", None, None)
    assert _access(alice).token(force=True)  # to refuse Bob has not ended Alice's connection
    paula = workshop(company="Paula Inc", tier=Tier.PAID)
    assert paula.registered()[1] == NORTHWIND
    hubspot_connection.disconnect(alice.services, alice.id)
    assert bob.connect().portal_id == NORTHWIND


def test_another_account_needs_a_disconnection_first(workshop: Workshops) -> None:
    alice = workshop()
    with pytest.raises(Refused) as refused:
        alice.connect(TAILSPIN)
    assert refused.value.code is Code.CONFLICT
    assert (alice.connection().portal_id, alice.registered()[1]) == (NORTHWIND, NORTHWIND)
    hubspot_connection.disconnect(alice.services, alice.id)
    alice.connect(TAILSPIN)
    assert (alice.connection().portal_id, alice.registered()[1]) == (TAILSPIN, TAILSPIN)


def test_two_workers_refresh_once_and_keep_what_came_back(workshop: Workshops, sandbox: Sandbox) -> None:
    alice = workshop()
    sandbox.order("tokens/rotation", on=True)
    before = _row(alice)
    _set_expiry(alice, timedelta(minutes=4))
    sandbox.http.delete("/_sandbox/stats")
    first, second = _access(alice), _access(alice)
    together = threading.Barrier(2)

    def token(access: HubSpotAccess) -> str:
        together.wait(5)
        return access.token()

    with ThreadPoolExecutor(2) as workers:
        found = list(workers.map(token, (first, second)))
    assert found[0] == found[1]
    assert sandbox.statuses("oauth.token") == {"200": 1}
    after = _row(alice)
    assert after.refreshed_at is not None
    assert after.refresh_token != before.refresh_token
    _set_expiry(alice, timedelta(0))
    assert _access(alice).token() != found[0]  # the rotated refresh token was stored, not the first one


def test_a_token_that_lives_longer_than_five_minutes_is_left_alone(workshop: Workshops, sandbox: Sandbox) -> None:
    alice = workshop()
    _set_expiry(alice, timedelta(minutes=6))
    sandbox.http.delete("/_sandbox/stats")
    assert _access(alice).token() == _access(alice).token()
    assert sandbox.statuses("oauth.token") == {}


def test_a_dead_refresh_token_asks_for_a_new_connection_and_ends_the_calls(
    workshop: Workshops, sandbox: Sandbox
) -> None:
    alice = workshop()
    sandbox.order("tokens/revoke", portal_id=NORTHWIND)
    _set_expiry(alice, timedelta(0))
    access = _access(alice)
    with pytest.raises(NeedsReconnect):
        access.token()
    assert alice.connection().state is ConnectionState.RECONNECT
    assert alice.registered() == ("reconnect", NORTHWIND, "northwind-cloud.com")
    sandbox.http.delete("/_sandbox/stats")
    assert _code(lambda: access.token()) is Code.CONFLICT
    assert _code(lambda: _access(alice)) is Code.CONFLICT
    assert sandbox.http.get("/_sandbox/stats").json()["calls"] == 0
    alice.connect()
    assert alice.connection().state is ConnectionState.CONNECTED
    assert alice.registered()[0] == "connected"


def test_a_worker_with_old_tokens_cannot_mark_a_newer_connection(workshop: Workshops) -> None:
    alice = workshop()
    old = _access(alice)
    alice.connect()
    old.lacks_permission()
    assert (alice.connection().state, alice.registered()[0]) == (ConnectionState.CONNECTED, "connected")


def test_disconnecting_the_last_workspace_uninstalls_the_app(workshop: Workshops, sandbox: Sandbox) -> None:
    alice = workshop()
    alice.sync()
    ended = hubspot_connection.disconnect(alice.services, alice.id)
    assert ended.told
    assert sandbox.statuses("uninstall") == {"204": 1}
    row = _row(alice)
    assert (row.state, row.access_token, row.refresh_token, row.expires_at) == ("disconnected", None, None, None)
    assert (row.imports, row.portal_id) == (10, NORTHWIND)
    assert alice.registered() == ("none", None, None)
    assert len(alice.live()) == 10
    again = hubspot_connection.disconnect(alice.services, alice.id)
    assert again.told
    assert sandbox.statuses("uninstall") == {"204": 1}


def test_disconnecting_uninstalls_although_the_access_token_has_expired(workshop: Workshops, sandbox: Sandbox) -> None:
    alice = workshop()
    sandbox.order("tokens/expire")
    assert hubspot_connection.disconnect(alice.services, alice.id).told
    assert sandbox.statuses("uninstall")["204"] == 1


def test_disconnecting_leaves_another_workspace_of_the_account_connected(workshop: Workshops, sandbox: Sandbox) -> None:
    alice, paula = workshop(), workshop(company="Paula Inc", tier=Tier.PAID)
    ended = hubspot_connection.disconnect(alice.services, alice.id)
    assert (ended.told, "another workspace" in ended.message) == (True, True)
    assert (sandbox.statuses("uninstall"), sandbox.statuses("oauth.revoke")) == ({}, {"200": 1})
    assert _access(paula).token(force=True)
    hubspot_connection.disconnect(paula.services, paula.id)
    assert sandbox.statuses("uninstall") == {"204": 1}


def test_disconnecting_forgets_the_tokens_also_while_hubspot_is_down(workshop: Workshops) -> None:
    alice = workshop()
    nobody = oauth.app_for("http://127.0.0.1:9", "awssome-app", "secret", alice.services.hubspot.redirect_uri)
    ended = hubspot_connection.disconnect(replace(alice.services, hubspot=nobody), alice.id)
    assert (ended.told, "could not be told" in ended.message) == (False, True)
    assert (_row(alice).state, _row(alice).refresh_token) == ("disconnected", None)
    assert alice.registered() == ("none", None, None)


@pytest.mark.parametrize("suspended", [False, True])
def test_a_deleted_workspace_is_disconnected_before_its_login_is_closed(
    workshop: Workshops, sandbox: Sandbox, suspended: bool
) -> None:
    alice = workshop()
    if suspended:  # its login is closed already: HubSpot cannot be told, the account is free all the same
        with alice.services.registry.begin() as connection:
            tenants.turn(connection, alice.id, TenantState.SUSPENDED)
        provisioning.set_login(alice.services, alice.id)
    with alice.services.registry.begin() as connection:
        leaving.delete(connection, alice.services.queue, Actor("olga"), alice.id)
    leaving.close_workspace(alice.services, alice.id)
    assert alice.registered() == ("none", None, None)
    assert sandbox.statuses("uninstall") == ({} if suspended else {"204": 1})
    leaving.close_workspace(alice.services, alice.id)  # once more: nothing to do
    assert sandbox.statuses("uninstall") == ({} if suspended else {"204": 1})
    with alice.services.registry.begin() as connection:
        lines = [row for row in audit.page(connection, tenant_id=alice.id).rows if row.action == "hubspot.disconnected"]
    assert [line.detail for line in lines] == [{"told": not suspended}]


def test_a_data_key_is_made_once_when_two_need_it_at_once(workshop: Workshops) -> None:
    alice = workshop(None)
    together = threading.Barrier(2)

    def key() -> bytes:
        def work(connection: Any) -> bytes:
            together.wait(5)
            return data_key(connection, alice.services.vault, alice.id).clear

        return alice.workspace.do(work)

    with ThreadPoolExecutor(2) as workers:
        first, second = workers.submit(key), workers.submit(key)
        assert first.result() == second.result()
    wrapped = alice.workspace.do(lambda connection: connection.execute(select(tenant_keys.c.wrapped_key)).all())
    assert len(wrapped) == 1
    assert first.result() not in wrapped[0].wrapped_key


def _access(workshop: Workshop) -> HubSpotAccess:
    return HubSpotAccess(workshop.services, workshop.workspace)


def _row(workshop: Workshop) -> Any:
    return workshop.workspace.do(lambda connection: connection.execute(select(hubspot_tokens)).one())


def _set_expiry(workshop: Workshop, left: timedelta) -> None:
    workshop.workspace.do(lambda connection: connection.execute(update(hubspot_tokens).values(expires_at=now() + left)))


def _expire(services: WorkerServices, state: str) -> None:
    """Let ten minutes pass for a state."""
    mine = oauth_states.c.digest == digest(unquote(state))
    with services.registry.begin() as connection:
        expires_at = connection.execute(select(oauth_states.c.expires_at).where(mine)).scalar_one()
        assert timedelta(minutes=9) < expires_at - now() <= timedelta(minutes=10)
        connection.execute(update(oauth_states).where(mine).values(expires_at=expires_at - timedelta(minutes=10)))


def _code(call: Callable[[], object]) -> Code:
    with pytest.raises(Refused) as refused:
        call()
    return refused.value.code
