"""Installing from HubSpot's side: nobody is connected by a link alone, to nobody else's account, and only once."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import select, update

from awssome.database.registry.tables import hubspot_installs as hubspot_installs_row
from awssome.database.registry.tables import oauth_states
from awssome.database.tenant import hubspot as stored
from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import digest
from awssome.domain.tenants import Tier
from awssome.domain.times import new_id, now
from awssome.hubspot.errors import BadCode
from awssome.workflows import hubspot_connection, hubspot_installs
from awssome.workflows.hubspot_connection import Connected
from tests.hubspot.conftest import NORTHWIND, TAILSPIN, Sandbox
from tests.workflows.conftest import HOST, Workshop

Workshops = Callable[..., Workshop]


def begin(workshop: Workshop, code: str, return_url: str = "") -> str:
    """What the bare domain does with a code that came without a state: the token of who waits."""
    return_url = return_url or back(workshop)
    with workshop.services.registry.begin() as connection:
        services = workshop.services
        return hubspot_installs.begin(connection, services.keys, services.hubspot, code=code, return_url=return_url)


def back(workshop: Workshop) -> str:
    return f"{workshop.sandbox.url}/marketplace/done?app=awssome"


def claim(workshop: Workshop, token: str) -> Connected:
    return hubspot_installs.claim(workshop.services, token, tenant_id=workshop.id, connected_by="alice@example.com")


def code_of(call: Callable[[], object]) -> Code:
    with pytest.raises(Refused) as refused:
        call()
    return refused.value.code


def test_a_code_without_a_state_is_connected_by_a_yes_and_only_once(workshop: Workshops, sandbox: Sandbox) -> None:
    alice, paula = workshop(None), workshop(None, company="Paula Inc", tier=Tier.PAID)
    token = begin(alice, sandbox.consent(NORTHWIND)["code"])
    assert sandbox.statuses("oauth.token") == {}  # nobody has said anything yet
    for _ in range(2):
        found = hubspot_installs.look(alice.services, token)
        assert (found.portal_id, found.hub_domain, found.return_url) == (NORTHWIND, "northwind-cloud.com", back(alice))
    assert sandbox.statuses("oauth.token") == {"200": 1}
    assert alice.workspace.do(stored.connection) is None
    connected = claim(alice, token)
    assert (connected.portal_id, connected.return_url) == (NORTHWIND, back(alice))
    assert alice.registered() == ("connected", NORTHWIND, "northwind-cloud.com")
    for attempt in (lambda: hubspot_installs.look(alice.services, token), lambda: claim(paula, token)):
        assert code_of(attempt) is Code.GONE
    assert paula.registered() == ("none", None, None)


def test_what_waits_is_sealed_and_forgotten_as_soon_as_it_is_connected(workshop: Workshops, sandbox: Sandbox) -> None:
    alice = workshop(None)
    code = sandbox.consent(NORTHWIND)["code"]
    token = begin(alice, code)

    def row() -> Any:
        with alice.services.registry.begin() as connection:
            mine = hubspot_installs_row.c.digest == digest(token)
            return connection.execute(select(hubspot_installs_row).where(mine)).one()

    assert code.encode() not in row().sealed and token.encode() not in row().digest
    hubspot_installs.look(alice.services, token)
    kept = json.loads(alice.services.keys.unseal_install(row().sealed))
    assert "code" not in kept
    for secret in (kept["tokens"]["access_token"], kept["tokens"]["refresh_token"]):
        assert secret.encode() not in row().sealed
        assert secret not in repr(row())
    claim(alice, token)
    assert (row().sealed, row().claimed_by) == (b"", alice.id)


def test_a_refused_yes_can_be_said_for_another_workspace(workshop: Workshops, sandbox: Sandbox) -> None:
    alice, bob = workshop(), workshop(None, company="Bob Ltd")
    paula = workshop(None, company="Paula Inc", tier=Tier.PAID)
    token = begin(bob, sandbox.consent(NORTHWIND)["code"])
    assert code_of(lambda: claim(bob, token)) is Code.CONFLICT  # the account feeds Alice's free workspace
    assert bob.registered() == ("none", None, None)
    assert claim(paula, token).portal_id == NORTHWIND
    assert alice.registered()[0] == "connected"


def test_two_who_say_yes_at_once_connect_one_workspace(workshop: Workshops, sandbox: Sandbox) -> None:
    alice, paula = workshop(None), workshop(None, company="Paula Inc", tier=Tier.PAID)
    token = begin(alice, sandbox.consent(TAILSPIN)["code"])

    def outcome(workshop: Workshop) -> Code | None:
        try:
            claim(workshop, token)
        except Refused as refused:
            return refused.code
        return None

    with ThreadPoolExecutor(2) as workers:
        outcomes = list(workers.map(outcome, (alice, paula)))
    assert outcomes.count(None) == 1
    assert set(outcomes) - {None} <= {Code.GONE, Code.UNAVAILABLE}
    assert sorted(one.registered()[0] for one in (alice, paula)) == ["connected", "none"]


def test_an_installation_does_not_wait_for_ever(workshop: Workshops, sandbox: Sandbox) -> None:
    alice = workshop(None)
    token = begin(alice, sandbox.consent(NORTHWIND)["code"])
    with alice.services.registry.begin() as connection:
        expires_at = connection.execute(select(hubspot_installs_row.c.expires_at)).scalar_one()
        assert timedelta(minutes=29) < expires_at - now() <= timedelta(minutes=30)
        connection.execute(update(hubspot_installs_row).values(expires_at=now() - timedelta(seconds=1)))
    assert code_of(lambda: claim(alice, token)) is Code.GONE
    assert code_of(lambda: hubspot_installs.look(alice.services, "forged")) is Code.GONE
    begin(alice, "another")  # sweeps what nobody can use any more
    with alice.services.registry.begin() as connection:
        assert len(connection.execute(select(hubspot_installs_row.c.digest)).all()) == 1


def test_a_code_that_has_expired_is_told_and_connects_nothing(workshop: Workshops, sandbox: Sandbox) -> None:
    alice = workshop(None)
    token = begin(alice, sandbox.consent(NORTHWIND)["code"])
    sandbox.order("codes/expire")
    with pytest.raises(BadCode):
        hubspot_installs.look(alice.services, token)
    assert alice.registered() == ("none", None, None)


def test_who_is_asked_to_sign_in_goes_back_to_hubspot_with_a_state_of_the_session(
    workshop: Workshops, sandbox: Sandbox
) -> None:
    alice, session_id = workshop(None), new_id()
    with alice.services.registry.begin() as connection:
        away = hubspot_connection.authorize(
            connection,
            alice.services.keys,
            alice.services.hubspot,
            session_id=session_id,
            tenant_id=alice.id,
            host=HOST,
            return_url=back(alice),
        )
    assert away.startswith(sandbox.url)
    query = parse_qs(urlsplit(away).query)
    state = query.pop("state")[0]
    assert query == {"app": ["awssome"]}
    answer = sandbox.consent(NORTHWIND, state)  # HubSpot's own page, between the two steps
    assert alice.callback(answer["state"]) == HOST
    assert code_of(lambda: alice.complete(new_id(), answer)) is Code.FORBIDDEN
    assert code_of(lambda: alice.complete(session_id, answer, "https://evil.example/")) is Code.INVALID
    last = f"{sandbox.url}/marketplace/last"  # HubSpot names another address in its second call
    connected = alice.complete(session_id, answer, last)
    assert (connected.portal_id, connected.return_url) == (NORTHWIND, last)
    with alice.services.registry.begin() as connection:
        row = connection.execute(select(oauth_states.c.origin, oauth_states.c.return_url)).one()
    assert tuple(row) == ("hubspot", back(alice))


@pytest.mark.parametrize("address", ["https://evil.example/", "https://app.hubspot.com/", "javascript:alert(1)", ""])
def test_no_way_leads_back_to_anywhere_but_hubspot(workshop: Workshops, address: str) -> None:
    alice = workshop(None)
    with alice.services.registry.begin() as connection:
        services = alice.services
        with pytest.raises(Refused) as refused:
            hubspot_installs.begin(connection, services.keys, services.hubspot, code="c", return_url=address)
        assert refused.value.code is Code.INVALID
        with pytest.raises(Refused) as refused:
            hubspot_connection.authorize(
                connection,
                services.keys,
                services.hubspot,
                session_id=new_id(),
                tenant_id=alice.id,
                host=HOST,
                return_url=address,
            )
        assert refused.value.code is Code.INVALID


def test_a_declined_consent_uses_the_state_up(workshop: Workshops) -> None:
    alice = workshop(None)
    session_id, answer = alice.consent(decision="decline")
    alice.callback(answer["state"])

    def decline(session: Any) -> None:
        hubspot_connection.decline(alice.services, session_id=session, tenant_id=alice.id, state=answer["state"])

    assert code_of(lambda: decline(new_id())) is Code.FORBIDDEN
    decline(session_id)
    assert code_of(lambda: decline(session_id)) is Code.GONE
    assert code_of(lambda: alice.complete(session_id, {**answer, "code": "a-code"})) is Code.GONE
