"""A form of ours is accepted, any other is refused; every answer carries the headers; cookies are as they must be."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from fastapi import FastAPI, Form, Request
from fastapi.responses import PlainTextResponse
from fastapi.testclient import TestClient

from awssome.web import Pages, furnish
from awssome.web.security import clear_session_cookie, local_path, read_session_cookie, set_session_cookie
from tests.web import gallery

COOKIE = "awssome_test"


@pytest.fixture(scope="module")
def whole_app() -> FastAPI:
    """An application with a session, a form and an API, and little else."""
    app = FastAPI()
    pages = Pages(gallery.TEMPLATES, app="test")
    furnish(app, pages, session_cookie=COOKIE, form_targets=["https://app.hubspot.com"], body_limit=5000)

    @app.get("/form")
    def form(request: Request) -> object:
        return pages.render(request, "sign_in.html")

    @app.post("/change")
    def change(name: str = Form("")) -> PlainTextResponse:
        app.state.changes.append(name)
        return PlainTextResponse("changed")

    @app.post("/sign-in")
    def sign_in(request: Request) -> PlainTextResponse:
        response = PlainTextResponse(read_session_cookie(request, COOKIE) or "nobody")
        set_session_cookie(request, response, COOKIE, "session-of-anna", max_age=60)
        return response

    @app.post("/sign-out")
    def sign_out(request: Request) -> PlainTextResponse:
        response = PlainTextResponse("bye")
        clear_session_cookie(request, response, COOKIE)
        return response

    @app.post("/api/change")
    def api_change(body: dict[str, str]) -> dict[str, str]:
        return body

    return app


@pytest.fixture
def app(whole_app: FastAPI) -> FastAPI:
    """The application, which nobody has changed yet."""
    whole_app.state.changes = []
    return whole_app


@pytest.fixture
def visitor(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, base_url="http://localhost") as visitor:
        yield visitor


def token(client: TestClient) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/form").text)
    assert found
    return found[1]


def test_a_form_of_ours_is_accepted_before_and_after_sign_in(app: FastAPI, visitor: TestClient) -> None:
    assert visitor.post("/sign-in", data={"csrf_token": token(visitor)}).text == "nobody"
    assert visitor.post("/change", data={"csrf_token": token(visitor), "name": "Söhne & Co"}).text == "changed"
    assert app.state.changes == ["Söhne & Co"]


def test_a_form_with_a_file_is_accepted_too(app: FastAPI, visitor: TestClient) -> None:
    sent = visitor.post("/change", data={"csrf_token": token(visitor), "name": "x"}, files={"f": ("a.txt", b"abc")})
    assert (sent.status_code, app.state.changes) == (200, ["x"])


def test_a_form_without_our_token_is_refused(app: FastAPI, visitor: TestClient) -> None:
    good = token(visitor)
    for data in ({}, {"csrf_token": ""}, {"csrf_token": good[:-1]}, {"csrf_token": good + "A"}, {"csrf_token": "ä"}):
        answer = visitor.post("/change", data=data)
        assert answer.status_code == 403
        assert "Nothing was changed" in answer.text
    assert (
        visitor.post("/change", content=b"\xff\xfe", headers={"content-type": "multipart/form-data"}).status_code == 400
    )
    assert app.state.changes == []


def test_a_token_is_worth_nothing_to_anybody_else(app: FastAPI, visitor: TestClient) -> None:
    with TestClient(app, base_url="http://localhost") as other:
        other.get("/form")
        assert other.post("/change", data={"csrf_token": token(visitor)}).status_code == 403
    with TestClient(app, base_url="http://localhost") as without_cookie:
        assert without_cookie.post("/change", data={"csrf_token": token(visitor)}).status_code == 403


def test_a_token_from_before_sign_in_ends_with_it(visitor: TestClient) -> None:
    before = token(visitor)
    visitor.post("/sign-in", data={"csrf_token": before})
    assert visitor.post("/change", data={"csrf_token": before}).status_code == 403
    assert token(visitor) != before


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "same-origin", "origin": "http://localhost"}, 200),
        ({"origin": "http://localhost"}, 200),
        ({}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"sec-fetch-site": "same-origin", "origin": "http://evil.example"}, 403),
        ({"origin": "http://localhost:81"}, 403),
        ({"origin": "http://localhost.evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://["}, 403),
    ],
)
def test_a_form_from_elsewhere_is_refused_whatever_it_holds(
    visitor: TestClient, headers: dict[str, str], status: int
) -> None:
    good = token(visitor)
    assert visitor.post("/change", data={"csrf_token": good}, headers=headers).status_code == status


def test_the_api_needs_no_form_token(visitor: TestClient) -> None:
    assert visitor.post("/api/change", json={"a": "b"}).json() == {"a": "b"}


def test_no_cookie_is_set_where_no_form_is_shown(visitor: TestClient) -> None:
    assert "set-cookie" not in visitor.get("/static/none").headers
    first = visitor.get("/form").headers["set-cookie"]
    assert "set-cookie" not in visitor.get("/form").headers
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(first.split("; "))


@pytest.mark.parametrize(
    "host", ["http://localhost:8000", "http://northwind.localhost", "http://127.0.0.1", "http://[::1]"]
)
def test_loopback_works_without_tls(app: FastAPI, host: str) -> None:
    with TestClient(app, base_url=host) as client:
        answer = client.post("/sign-in", data={"csrf_token": token(client)})
        assert answer.headers["set-cookie"].startswith(
            f"{COOKIE}=session-of-anna; HttpOnly; Max-Age=60; Path=/; SameSite=lax"
        )
        assert "Secure" not in answer.headers["set-cookie"]
        assert "strict-transport-security" not in answer.headers


@pytest.mark.parametrize("host", ["https://freemium.example.com", "http://freemium.example.com", "https://localhost"])
def test_elsewhere_cookies_are_secure_and_host_only(app: FastAPI, host: str) -> None:
    with TestClient(app, base_url=host.replace("http://", "https://")) as client:
        client.headers["host"] = host.partition("://")[2]
        answer = client.post("/sign-in", data={"csrf_token": token(client)})
        assert answer.headers["set-cookie"].startswith(f"__Host-{COOKIE}=session-of-anna;")
        assert "Secure" in answer.headers["set-cookie"]
        assert "domain" not in answer.headers["set-cookie"].lower()
        assert client.post("/sign-in", data={"csrf_token": token(client)}).text == "session-of-anna"
        assert ("strict-transport-security" in answer.headers) == ("localhost" not in host)
        client.post("/sign-out", data={"csrf_token": token(client)})
        assert client.post("/sign-in", data={"csrf_token": token(client)}).text == "nobody"


def test_without_the_prefix_a_cookie_is_not_a_session_on_a_secure_host(app: FastAPI) -> None:
    with TestClient(app, base_url="https://freemium.example.com", cookies={COOKIE: "planted"}) as client:
        assert client.post("/sign-in", data={"csrf_token": token(client)}).text == "nobody"


@pytest.mark.parametrize("path", ["/form", "/nowhere", "/api/nowhere", "/static/none"])
def test_every_answer_carries_the_headers(visitor: TestClient, path: str) -> None:
    headers = visitor.get(path).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["object-src"] == "'none'"
    assert policy["form-action"] == "'self' https://app.hubspot.com"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


def test_a_large_body_is_refused_announced_or_not(app: FastAPI, visitor: TestClient) -> None:
    good = token(visitor)
    form = f"csrf_token={good}&name=".encode()
    kind = {"content-type": "application/x-www-form-urlencoded"}

    def in_pieces() -> Iterator[bytes]:
        yield form
        for _ in range(10):
            yield b"x" * 1000

    for body in (form + b"x" * 10_000, in_pieces()):
        answer = visitor.post("/change", content=body, headers=kind)
        assert (answer.status_code, "too large" in answer.text) == (413, True)
        assert "None" not in answer.text
    assert visitor.post("/api/change", json={"a": "b" * 6000}).status_code == 413
    assert visitor.post("/change", content=form + b"x" * 4000, headers=kind).status_code == 200
    assert app.state.changes == ["x" * 4000]


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/deals?sort=-amount", "/deals?sort=-amount"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("deals", "/"),
        ("/a\nLocation: x", "/"),
        ("/\t/evil.example", "/"),
        ("", "/"),
        (None, "/"),
    ],
)
def test_nobody_is_sent_elsewhere(target: str | None, path: str) -> None:
    assert local_path(target) == path
