"""Consent, codes and tokens of the HubSpot sandbox."""

from __future__ import annotations

import subprocess
import sys
from urllib.parse import parse_qs, urlsplit

import pytest

from .conftest import APP, CLIENT_ID, DEALS, NORTHWIND, REDIRECT, SCOPES, SECRET, TAILSPIN, WINGTIP, HubSpot, Start

OTHER = "app-two:secret-two:" + REDIRECT


@pytest.fixture(scope="module")
def hubspot(start_hubspot: Start) -> HubSpot:
    return start_hubspot("--deals", "3", "--rate-limit", "off", "--app", OTHER)


def query_of(address: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


def authorize(hubspot: HubSpot, **changes: str | None):
    query = {"client_id": CLIENT_ID, "redirect_uri": REDIRECT, "scope": SCOPES, "state": "s", **changes}
    return hubspot.http.get("/oauth/authorize", params={k: v for k, v in query.items() if v is not None})


def test_the_consent_page_shows_app_scopes_accounts_and_says_that_it_is_a_sandbox(hubspot: HubSpot) -> None:
    page = authorize(hubspot)
    assert page.status_code == 200
    for told in ("HubSpot sandbox", CLIENT_ID, "crm.objects.deals.read", "northwind-cloud.com", "Allow", "Decline"):
        assert told in page.text


def test_the_account_in_the_address_is_the_chosen_one(hubspot: HubSpot) -> None:
    query = {"client_id": CLIENT_ID, "redirect_uri": REDIRECT, "scope": SCOPES}
    page = hubspot.http.get(f"/oauth/{WINGTIP}/authorize", params=query)
    assert f'value="{WINGTIP}" checked' in page.text
    assert f'value="{NORTHWIND}" checked' not in page.text


def test_what_the_app_sends_is_shown_escaped(hubspot: HubSpot) -> None:
    assert "<script>" not in authorize(hubspot, state='"><script>').text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"client_id": "nobody"}, "nobody"),
        ({"redirect_uri": REDIRECT + "/"}, "redirect address mismatch"),
        ({"redirect_uri": None}, "redirect address mismatch"),
        ({"scope": "oauth"}, "crm.objects.deals.read is required"),
        ({"scope": SCOPES + " crm.objects.everything"}, "crm.objects.everything is not in the app"),
    ],
)
def test_a_wrong_request_of_the_app_gets_an_error_page_and_no_redirect(hubspot: HubSpot, changes, told: str) -> None:
    page = authorize(hubspot, **changes)
    assert page.status_code == 400
    assert told in page.text


def test_allowing_sends_code_and_state_back(hubspot: HubSpot) -> None:
    address = hubspot.consent()
    assert address.startswith(REDIRECT + "?")
    query = query_of(address)
    assert query["state"] == "the state"
    assert query["code"]


def test_declining_sends_an_error_back(hubspot: HubSpot) -> None:
    query = query_of(hubspot.consent(decision="decline"))
    assert query["error"] == "access_denied"
    assert query["error_description"]
    assert query["state"] == "the state"
    assert "code" not in query


@pytest.mark.parametrize("version", ["2026-03", "2026-09", "v3", "v1"])
def test_a_code_brings_tokens_in_every_version(hubspot: HubSpot, version: str) -> None:
    form = {"grant_type": "authorization_code", "code": hubspot.code(TAILSPIN), "redirect_uri": REDIRECT}
    answer = hubspot.token(version, **form)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["token_type"], body["expires_in"], body["hub_id"]) == ("bearer", 1800, TAILSPIN)
    assert body["scopes"] == SCOPES.split()
    assert len(body["access_token"]) > 300
    assert body["refresh_token"]


def assert_refused(answer, error: str, status: str) -> None:
    """Refused in RFC 6749's shape and in HubSpot's at once."""
    body = answer.json()
    assert answer.status_code == 400
    assert (body["error"], body["status"]) == (error, status)
    assert body["message"] == body["error_description"]
    assert body["correlationId"]


def test_a_code_works_once(hubspot: HubSpot) -> None:
    code = hubspot.code()
    assert hubspot.exchange(code).status_code == 200
    assert_refused(hubspot.exchange(code), "invalid_grant", "BAD_AUTH_CODE")


def test_a_code_expires(hubspot: HubSpot) -> None:
    code = hubspot.code()
    hubspot.control("POST", "codes/expire")
    assert_refused(hubspot.exchange(code), "invalid_grant", "EXPIRED_AUTH_CODE")


def test_a_code_belongs_to_its_app_and_redirect_address(hubspot: HubSpot) -> None:
    code = hubspot.code()
    other = hubspot.exchange(code, client_id="app-two", client_secret="secret-two")
    assert_refused(other, "invalid_grant", "BAD_AUTH_CODE")
    elsewhere = hubspot.token(grant_type="authorization_code", code=code, redirect_uri=REDIRECT + "x")
    assert_refused(elsewhere, "invalid_grant", "MISMATCH_REDIRECT_URI_AUTH_CODE")
    nowhere = hubspot.token(grant_type="authorization_code", code=code)
    assert_refused(nowhere, "invalid_request", "BAD_REDIRECT_URI")
    assert hubspot.exchange(code).status_code == 200, "a failed attempt of others does not spend the code"


def test_the_app_must_say_in_the_body_who_it_is(hubspot: HubSpot) -> None:
    code = hubspot.code()
    assert_refused(hubspot.exchange(code, client_secret="wrong"), "invalid_client", "BAD_CLIENT_SECRET")
    assert_refused(hubspot.exchange(code, client_id="nobody"), "invalid_client", "BAD_CLIENT_ID")
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT}
    basic = hubspot.http.post("/oauth/2026-03/token", data=form, auth=(CLIENT_ID, SECRET))
    assert_refused(basic, "invalid_client", "BAD_CLIENT_ID")
    whole = {**form, "client_id": CLIENT_ID, "client_secret": SECRET}
    assert hubspot.http.post("/oauth/2026-03/token", json=whole).status_code == 415
    in_query = hubspot.http.post("/oauth/2026-03/token", params=whole, data={"x": "y"})
    assert_refused(in_query, "unsupported_grant_type", "BAD_GRANT_TYPE")


def test_refreshing_brings_a_new_access_token_and_keeps_the_refresh_token(hubspot: HubSpot) -> None:
    first = hubspot.connect()
    second = hubspot.refresh(first["refresh_token"]).json()
    assert second["access_token"] != first["access_token"]
    assert second["refresh_token"] == first["refresh_token"]
    assert hubspot.connect()["refresh_token"] == first["refresh_token"], "one refresh token an app and portal"
    assert_refused(hubspot.refresh("unknown"), "invalid_grant", "BAD_REFRESH_TOKEN")


def test_with_rotation_on_each_refresh_ends_the_refresh_token(hubspot: HubSpot) -> None:
    hubspot.control("POST", "tokens/rotation", {"on": True})
    first = hubspot.connect()
    second = hubspot.refresh(first["refresh_token"]).json()
    hubspot.control("POST", "tokens/rotation", {"on": False})
    assert second["refresh_token"] != first["refresh_token"]
    assert_refused(hubspot.refresh(first["refresh_token"]), "invalid_grant", "BAD_REFRESH_TOKEN")
    assert hubspot.refresh(second["refresh_token"]).status_code == 200


def test_introspection_tells_what_a_token_is(hubspot: HubSpot) -> None:
    tokens = hubspot.connect(WINGTIP)
    app = {"client_id": CLIENT_ID, "client_secret": SECRET}

    def introspect(token: str, **client: str):
        return hubspot.http.post("/oauth/2026-03/token/introspect", data={**app, "token": token, **client}).json()

    access = introspect(tokens["access_token"])
    assert (access["active"], access["token_use"], access["hub_id"]) == (True, "access_token", WINGTIP)
    assert (access["hub_domain"], access["user"]) == ("wingtip-robotics.de", "joerg@wingtip-robotics.de")
    assert 0 < access["expires_in"] <= 1800
    refresh = introspect(tokens["refresh_token"])
    assert (refresh["active"], refresh["token_use"]) == (True, "refresh_token")
    assert introspect("unknown") == {"active": False}
    foreign = introspect(tokens["access_token"], client_id="app-two", client_secret="secret-two")
    assert foreign == {"active": False}
    old = hubspot.http.get(f"/oauth/v1/access-tokens/{tokens['access_token']}").json()
    assert old["hub_domain"] == "wingtip-robotics.de"


def test_revoking_ends_the_refresh_token_but_not_the_access_tokens(hubspot: HubSpot) -> None:
    tokens = hubspot.connect()
    form = {"client_id": CLIENT_ID, "client_secret": SECRET, "token": tokens["refresh_token"]}
    assert hubspot.http.post("/oauth/2026-03/token/revoke", data=form).status_code == 200
    assert_refused(hubspot.refresh(tokens["refresh_token"]), "invalid_grant", "BAD_REFRESH_TOKEN")
    header = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert hubspot.http.get(DEALS, headers=header).status_code == 200
    anew = hubspot.connect()["refresh_token"]
    assert anew != tokens["refresh_token"]
    assert hubspot.http.delete(f"/oauth/v1/refresh-tokens/{anew}").status_code == 204
    assert_refused(hubspot.refresh(anew), "invalid_grant", "BAD_REFRESH_TOKEN")


def test_uninstalling_ends_everything_in_that_portal_only(hubspot: HubSpot) -> None:
    tokens, elsewhere = hubspot.connect(NORTHWIND), hubspot.connect(TAILSPIN)
    code = hubspot.code(NORTHWIND)
    header = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert hubspot.http.delete("/appinstalls/2026-03/external-install", headers=header).status_code == 204
    assert hubspot.http.get(DEALS, headers=header).status_code == 401
    assert_refused(hubspot.refresh(tokens["refresh_token"]), "invalid_grant", "BAD_REFRESH_TOKEN")
    assert_refused(hubspot.exchange(code), "invalid_grant", "BAD_AUTH_CODE")
    assert hubspot.refresh(elsewhere["refresh_token"]).status_code == 200


def test_the_control_api_revokes_and_uninstalls_from_outside(hubspot: HubSpot) -> None:
    one, two = hubspot.connect(NORTHWIND), hubspot.connect(TAILSPIN)
    assert hubspot.control("POST", "tokens/revoke", {"portal_id": NORTHWIND}) == {"revoked": 1}
    assert hubspot.refresh(one["refresh_token"]).status_code == 400
    assert hubspot.refresh(two["refresh_token"]).status_code == 200
    hubspot.control("POST", "uninstall", {"portal_id": TAILSPIN, "client_id": CLIENT_ID})
    assert hubspot.refresh(two["refresh_token"]).status_code == 400


def test_calls_without_a_good_token_are_refused_in_hubspots_words(hubspot: HubSpot) -> None:
    absent = hubspot.http.get(DEALS)
    assert (absent.status_code, absent.json()["category"]) == (401, "INVALID_AUTHENTICATION")
    garbage = hubspot.http.get(DEALS, headers={"Authorization": "Bearer garbage"})
    assert (garbage.status_code, garbage.json()["category"]) == (401, "EXPIRED_AUTHENTICATION")
    assert "day(s) ago" in garbage.json()["message"]
    header = hubspot.bearer()
    hubspot.control("POST", "tokens/expire")
    over = hubspot.http.get(DEALS, headers=header)
    assert (over.status_code, over.json()["category"]) == (401, "EXPIRED_AUTHENTICATION")
    assert "expired 75 second(s) ago" in over.json()["message"]
    assert over.json()["context"]["expire time"][0].endswith("Z")


def test_owners_need_a_scope_of_their_own(hubspot: HubSpot) -> None:
    refused = hubspot.http.get("/crm/owners/2026-03", headers=hubspot.bearer())
    body = refused.json()
    assert (refused.status_code, body["category"]) == (403, "MISSING_SCOPES")
    assert body["errors"][0]["context"]["requiredGranularScopes"] == ["crm.objects.owners.read"]
    assert body["links"]["scopes"]
    allowed = hubspot.bearer(optional_scope="crm.objects.owners.read")
    owners = hubspot.http.get("/crm/owners/2026-03", headers=allowed).json()["results"]
    assert [owner["email"] for owner in owners] == ["nora@northwind-cloud.com", "sam@northwind-cloud.com"]


@pytest.mark.parametrize(
    "app", ["id:secret:http://127.0.0.1:80/x", "id:secret:http://example.com/x", "id:secret", APP + ":x#fragment"]
)
def test_an_app_that_hubspot_would_not_take_is_a_usage_error(app: str) -> None:
    command = [sys.executable, "-m", "awssome_sandbox.hubspot", "--app", app]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "error:" in ended.stderr
