"""Installs that start at HubSpot's side, and the page of connected apps. The tests play the browser and the app."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from .conftest import APP, CLIENT_ID, DEALS, NORTHWIND, REDIRECT, SCOPES, TAILSPIN, WINGTIP, HubSpot, Start
from .test_hubspot_oauth import assert_refused

SECOND = "app-one:secret-one:https://app.example.com/hubspot?tenant=one"


@pytest.fixture(scope="module")
def hubspot(start_hubspot: Start) -> HubSpot:
    assert APP.startswith(CLIENT_ID)
    return start_hubspot("--deals", "3", "--rate-limit", "off", "--app", SECOND)


def start(hubspot: HubSpot, *, partner: bool, portal_id: int = NORTHWIND, address: str = REDIRECT) -> str:
    """Press Install; where the browser is sent."""
    sign_in = "partner" if partner else "none"
    form = {"client_id": CLIENT_ID, "portal_id": str(portal_id), "redirect_uri": address, "sign_in": sign_in}
    return moved(hubspot.http.post("/marketplace/installs", data=form))


def moved(answer: httpx2.Response) -> str:
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def query(address: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query, strict_parsing=True).items()}


def newest(hubspot: HubSpot) -> dict[str, Any]:
    return hubspot.control("GET", "installs")["installs"][0]


def decide(hubspot: HubSpot, consent: str, decision: str) -> str:
    page = hubspot.http.get(consent)
    assert (page.status_code, 'value="allow"' in page.text) == (200, True)
    return moved(hubspot.http.post(consent, data={"decision": decision}))


def test_with_partner_sign_in_the_app_is_called_twice_and_gets_its_state_back(hubspot: HubSpot) -> None:
    first = start(hubspot, partner=True, portal_id=TAILSPIN)
    assert first.startswith(REDIRECT + "?")
    assert set(query(first)) == {"step", "returnUrl"}
    assert query(first)["step"] == "authorize"
    assert newest(hubspot)["outcome"] == "signing in"
    consent = moved(hubspot.http.get(f"{query(first)['returnUrl']}?state=a%2Fstate"))
    assert newest(hubspot)["outcome"] == "waiting"
    second = query(decide(hubspot, consent, "allow"))
    assert set(second) == {"step", "code", "state", "returnUrl"}
    assert (second["step"], second["state"]) == ("finalize", "a/state")
    assert newest(hubspot)["outcome"] == "sent to the app"
    tokens = hubspot.exchange(second["code"]).json()
    assert (tokens["hub_id"], tokens["scopes"]) == (TAILSPIN, SCOPES.split())
    assert second["returnUrl"] != query(first)["returnUrl"]
    wrong = hubspot.http.get(query(first)["returnUrl"])
    assert (wrong.status_code, "that of the second call is due" in wrong.text) == (400, True)
    assert newest(hubspot)["outcome"] == "not returned"
    page = hubspot.http.get(moved(hubspot.http.get(second["returnUrl"])))
    assert "Installed." in page.text
    assert newest(hubspot)["outcome"] == "installed"


def test_without_partner_sign_in_the_app_is_called_once_and_must_return(hubspot: HubSpot) -> None:
    consent = start(hubspot, partner=False)
    assert urlsplit(consent).netloc in ("", urlsplit(str(hubspot.http.base_url)).netloc)
    call = query(decide(hubspot, consent, "allow"))
    assert set(call) == {"code", "returnUrl"}
    result = f"/marketplace/installs/{newest(hubspot)['id']}"
    assert "the person is stuck" in hubspot.http.get(result).text
    assert hubspot.exchange(call["code"]).status_code == 200
    assert "again and again" in hubspot.http.get(result).text
    assert moved(hubspot.http.get(call["returnUrl"])) == result
    assert "Installed." in hubspot.http.get(result).text


def test_returning_without_having_exchanged_the_code_is_no_install(hubspot: HubSpot) -> None:
    call = query(decide(hubspot, start(hubspot, partner=False, portal_id=WINGTIP), "allow"))
    page = hubspot.http.get(moved(hubspot.http.get(call["returnUrl"]))).text
    assert "the code was not exchanged" in page
    assert newest(hubspot)["outcome"] == "not exchanged"
    hubspot.control("POST", "uninstall", {"portal_id": WINGTIP})
    assert newest(hubspot)["exchanged"] is False


@pytest.mark.parametrize("partner", [True, False])
def test_a_declined_install_calls_the_app_with_an_error_or_not_at_all(hubspot: HubSpot, partner: bool) -> None:
    def consent() -> str:
        to = start(hubspot, partner=partner)
        return moved(hubspot.http.get(query(to)["returnUrl"] + "?state=s")) if partner else to

    declined = decide(hubspot, consent(), "decline")
    assert declined.startswith(REDIRECT + "?")
    told = query(declined)
    assert (told["error"], told.get("state")) == ("access_denied", "s" if partner else None)
    assert "code" not in told
    assert newest(hubspot)["outcome"] == "declined"
    left = decide(hubspot, consent(), "leave")
    assert left == f"/marketplace/installs/{newest(hubspot)['id']}"
    assert "Left without an answer" in hubspot.http.get(left).text
    assert newest(hubspot)["outcome"] == "left"


def test_who_leaves_the_consent_page_of_a_connect_tells_the_app_nothing(hubspot: HubSpot) -> None:
    form = {"client_id": CLIENT_ID, "redirect_uri": REDIRECT, "scope": SCOPES, "state": "s", "decision": "leave"}
    answer = hubspot.http.post("/oauth/authorize", data=form)
    assert (answer.status_code, "You left without an answer" in answer.text) == (200, True)


def test_steps_out_of_turn_are_refused(hubspot: HubSpot) -> None:
    first = query(start(hubspot, partner=True))["returnUrl"]
    base = first.removesuffix("/signed-in")
    assert hubspot.http.get(first).status_code == 400, "no state"
    assert hubspot.http.get(base + "/consent").status_code == 400, "not signed in yet"
    assert hubspot.http.get(base + "/installed").status_code == 400, "nobody allowed it"
    consent = moved(hubspot.http.get(first + "?state=s"))
    assert hubspot.http.post(consent, data={"decision": "perhaps"}).status_code == 400
    decide(hubspot, consent, "allow")
    assert hubspot.http.post(consent, data={"decision": "allow"}).status_code == 400, "decided already"
    assert hubspot.http.get(first + "?state=other").status_code == 400
    assert newest(hubspot)["state"] == "s"


def test_an_install_goes_to_an_address_of_the_app_only(hubspot: HubSpot) -> None:
    other = "https://app.example.com/hubspot?tenant=one"
    to = start(hubspot, partner=True, address=other)
    assert to.startswith(other + "&step=authorize&returnUrl=")
    form = {"client_id": CLIENT_ID, "portal_id": str(NORTHWIND), "redirect_uri": REDIRECT, "sign_in": "partner"}
    for wrong in ({"redirect_uri": REDIRECT + "/x"}, {"client_id": "nobody"}, {"portal_id": "1"}, {"portal_id": "x"}):
        assert hubspot.http.post("/marketplace/installs", data={**form, **wrong}).status_code == 404
    assert hubspot.http.post("/marketplace/installs", data={**form, "sign_in": "?"}).status_code == 400


def test_uninstalling_by_hand_ends_the_tokens(hubspot: HubSpot) -> None:
    page = f"/integrations-settings/{WINGTIP}/installed"
    assert "No app is connected" in hubspot.http.get(page).text
    hubspot.code(WINGTIP)
    assert "No app is connected" in hubspot.http.get(page).text, "a code alone installs nothing"
    tokens = hubspot.connect(WINGTIP)
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    shown = hubspot.http.get(page).text
    assert (CLIENT_ID in shown, "Read deals" in shown) == (True, True)
    assert hubspot.http.get(DEALS, headers=bearer).status_code == 200
    to = moved(hubspot.http.post(page, data={"client_id": CLIENT_ID}))
    assert f"{CLIENT_ID} is uninstalled" in hubspot.http.get(to).text
    assert hubspot.http.get(DEALS, headers=bearer).status_code == 401
    assert_refused(hubspot.refresh(tokens["refresh_token"]), "invalid_grant", "BAD_REFRESH_TOKEN")
    assert hubspot.http.post(page, data={"client_id": CLIENT_ID}).status_code == 404
    assert "No app is connected" in hubspot.http.get(page).text


def test_a_revoked_app_stays_in_the_list_and_says_so(hubspot: HubSpot) -> None:
    hubspot.connect(TAILSPIN)
    hubspot.control("POST", "tokens/revoke", {"portal_id": TAILSPIN})
    assert "Refresh token revoked" in hubspot.http.get(f"/integrations-settings/{TAILSPIN}/installed").text
