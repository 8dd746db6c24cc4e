"""An error has one form for each reader, never a trace, and a reference that the log knows."""

from __future__ import annotations

import re

import structlog
from fastapi import FastAPI
from fastapi.testclient import TestClient

from awssome.domain.errors import HTTP_STATUS, Code, Refused
from awssome.web import Pages, furnish
from tests.web import gallery


def test_a_refusal_is_a_page_in_words(client: TestClient, logged: list[structlog.types.EventDict]) -> None:
    answer = client.get("/refused")
    assert answer.status_code == 409
    assert "A sync is running already" in answer.text
    assert "Wait until it has ended" in answer.text
    assert answer.headers["x-request-id"] in answer.text
    assert '<nav aria-label="Main">' in answer.text
    assert not [event for event in logged if event["log_level"] in ("error", "warning")]


def test_a_defect_shows_a_reference_and_is_logged_once_under_it(
    client: TestClient, logged: list[structlog.types.EventDict]
) -> None:
    answer = client.get("/defect")
    assert answer.status_code == 500
    assert "Something on our side failed" in answer.text
    assert "swordfish" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["x-request-id"] in answer.text
    defects = [event for event in logged if event["log_level"] == "error"]
    assert [event["reference"] for event in defects] == [answer.headers["x-request-id"]]
    assert str(defects[0]["exc_info"]) == "the password is swordfish"


def test_the_api_has_one_error_shape(client: TestClient, logged: list[structlog.types.EventDict]) -> None:
    refused = client.get("/api/items/7?limit=2")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "3")
    assert refused.json()["error"] == {
        "code": "limited",
        "message": "Item 7 was asked for too often.",
        "advice": "Ask 2 times.",
        "fields": {},
        "reference": refused.headers["x-request-id"],
    }
    for path, status, code in [
        ("/api/defect", 500, "internal"),
        ("/api/items/x?limit=1", 404, "not_found"),
        ("/api/nothing", 404, "not_found"),
        ("/api/items/7?limit=x", 422, "invalid"),
    ]:
        answer = client.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert answer.json()["error"].keys() == refused.json()["error"].keys()
    assert list(client.get("/api/items/7?limit=x").json()["error"]["fields"]) == ["limit"]
    assert client.post("/api/defect").status_code == 405
    assert [event["log_level"] for event in logged if event["event"] != "request"] == ["error"]


def test_a_piece_of_a_page_gets_a_small_notice(client: TestClient, logged: list[structlog.types.EventDict]) -> None:
    for path, status in [("/refused", 409), ("/defect", 500), ("/nowhere", 404)]:
        answer = client.get(path, headers={"X-Fragment": "1"})
        assert answer.status_code == status
        assert "<html" not in answer.text
        assert 'class="notice error"' in answer.text
        assert answer.headers["x-request-id"] in answer.text
    assert [event["log_level"] for event in logged if event["event"] != "request"] == ["error"]


def test_who_must_sign_in_is_sent_there_and_back(client: TestClient) -> None:
    answer = client.get("/private?a=1&b=2")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=%2Fprivate%3Fa%3D1%26b%3D2")
    piece = client.get("/private", headers={"X-Fragment": "1"})
    assert (piece.status_code, 'href="/sign-in"' in piece.text) == (401, True)


def test_unknown_addresses_and_methods_have_pages(client: TestClient) -> None:
    assert "This page does not exist" in client.get("/nowhere").text
    wrong = client.delete("/table", headers={"x-csrf": "no"})
    assert wrong.status_code == 403
    assert "text/html" in wrong.headers["content-type"]


def test_every_code_has_its_status_and_its_words() -> None:
    app = application()

    @app.get("/refuse/{code}")
    def refuse(code: Code) -> None:
        raise Refused(code, "This and that happened.", "Do so.", fields={"name": "is missing"})

    client = TestClient(app, base_url="http://localhost", follow_redirects=False)
    for code in Code:
        if code is Code.UNAUTHENTICATED:
            assert client.get(f"/refuse/{code}").headers["location"].startswith("/sign-in?next=")
            continue
        answer = client.get(f"/refuse/{code}")
        assert answer.status_code == HTTP_STATUS[code]
        assert "This and that happened." in answer.text
        assert "Do so." in answer.text
        assert "<code>name</code> is missing" in answer.text


def test_an_error_page_appears_even_when_the_layout_cannot() -> None:
    answer = TestClient(application(broken=True), base_url="http://localhost").get("/nowhere")
    assert answer.status_code == 404
    assert "This page does not exist" in answer.text
    assert '<nav aria-label="Main">' not in answer.text


def test_the_page_of_a_defect_asks_nothing_of_the_application(logged: list[structlog.types.EventDict]) -> None:
    app = application(broken=True)

    @app.get("/defect")
    def defect() -> None:
        raise RuntimeError

    answer = TestClient(app, base_url="http://localhost").get("/defect")
    assert (answer.status_code, "Something on our side failed" in answer.text) == (500, True)
    assert [event["event"] for event in logged] == ["defect", "request"]


def test_a_reference_can_be_read_out_and_follows_a_click_into_the_api(client: TestClient) -> None:
    own = client.get("/sign-in").headers["x-request-id"]
    assert re.fullmatch(r"R-[2-9A-HJKMNP-TV-Z]{6}", own)
    given = {"X-Request-Id": "R-7K2M9Q"}
    assert client.get("/api/nothing", headers=given).headers["x-request-id"] == "R-7K2M9Q"
    assert client.get("/sign-in", headers=given).headers["x-request-id"] != "R-7K2M9Q"
    forged = client.get("/api/nothing", headers={"X-Request-Id": "R-7K2M9Q<script>"})
    assert "script" not in forged.headers["x-request-id"]


def test_a_request_is_logged_without_its_query(client: TestClient, logged: list[structlog.types.EventDict]) -> None:
    client.get("/table?code=swordfish")
    client.get("/api/items/7?limit=1&token=swordfish")
    client.get("/nowhere/swordfi?x=swordfish")
    requests = [event for event in logged if event["event"] == "request"]
    assert [event.get("route", event.get("path")) for event in requests] == [
        "/table",
        "/api/items/{item}",
        "/nowhere/swordfi",
    ]
    assert all(event["reference"] and event["ms"] >= 0 for event in requests)
    assert "swordfish" not in str(requests)


def application(broken: bool = False) -> FastAPI:
    """An application of nothing but error pages; broken: its own part of each page fails."""

    def context(_request: object) -> dict[str, object]:
        if broken:
            raise ConnectionError("the central API is down")
        return {}

    app = FastAPI()
    templates = gallery.TEMPLATES
    furnish(app, Pages(templates, app="test", context=context), session_cookie="awssome_test")
    return app
