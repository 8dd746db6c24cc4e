"""The story's browser sends what a person's browser would send, and tells what is not as expected."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

import pytest

from awssome.demo.browser import Browser
from awssome.domain.errors import Refused

PAGE = """<!doctype html><html><head><title>Not seen</title><style>p { color: red }</style></head><body>
<p>Imported <strong>10</strong> of 250 deals &amp; more</p><svg><title>icon</title></svg>
<a href="/echo?x=1&amp;y=2">Go on</a>
<form method="post" action="/echo"><input type="hidden" name="csrf_token" value="t&quot;1">
<input name="email" value="alice@example.com">
<input type="checkbox" name="news"><input type="checkbox" name="terms" checked>
<input type="radio" name="portal" value="1"><input type="radio" name="portal" value="2" checked>
<select name="role"><option value="member">M</option><option value="admin" selected>A</option></select>
<select name="first"><option value="a">A</option><option value="b">B</option></select>
<textarea name="note">two
lines</textarea><input name="gone" value="x" disabled>
<button name="choice" value="link">Link</button><button name="choice" value="later">Later</button>
<button disabled>Never</button><button type="button">Script</button></form></body></html>"""


class Site(BaseHTTPRequestHandler):
    """A page, an echo of what was sent, a redirect to another host, a refusal."""

    def do_GET(self) -> None:
        if self.path == "/away":
            self._answer(303, "", {"Location": f"http://other.localhost:{self.server.server_address[1]}/echo"})
        elif self.path == "/refused":
            self._answer(403, "<p>Not for you</p>")
        elif self.path.startswith("/echo"):
            self._echo("")
        else:
            self._answer(200, PAGE, {"Set-Cookie": "session=s1; Path=/; HttpOnly"})

    def do_POST(self) -> None:
        self._echo(self.rfile.read(int(self.headers["Content-Length"])).decode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _echo(self, body: str) -> None:
        seen = {
            "method": self.command,
            "path": self.path,
            "host": self.headers["Host"],
            "cookie": self.headers["Cookie"],
            "origin": self.headers["Origin"],
            "fragment": self.headers["X-Fragment"],
            "form": dict(parse_qsl(body, keep_blank_values=True)),
        }
        self._answer(200, f"<p>{json.dumps(seen)}</p>".replace('"', "&quot;"))

    def _answer(self, status: int, body: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "text/html; charset=utf-8", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://freemium.localhost:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def browser(url: str) -> Iterator[Browser]:
    with Browser(url) as opened:
        opened.open("/")
        yield opened


def echoed(browser: Browser) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(browser.page.text)
    return seen


def test_text_is_what_a_person_sees(browser: Browser) -> None:
    assert browser.page.text.startswith("Imported 10 of 250 deals & more Go on")
    assert "Not seen" not in browser.page.text
    assert "color" not in browser.page.text
    assert "icon" not in browser.page.text


def test_a_form_is_sent_with_its_hidden_fields_its_defaults_and_the_button(browser: Browser, url: str) -> None:
    browser.submit("/echo", {"email": "bob@example.com"}, button="Later")
    seen = echoed(browser)
    assert seen["form"] == {
        "csrf_token": 't"1',
        "email": "bob@example.com",
        "terms": "on",
        "portal": "2",
        "role": "admin",
        "first": "a",
        "note": "two\nlines",
        "choice": "later",
    }
    assert (seen["method"], seen["origin"]) == ("POST", url)
    assert seen["host"] == url.removeprefix("http://")


def test_cookies_stay_with_the_host_that_gave_them(browser: Browser) -> None:
    browser.open("/echo")
    assert echoed(browser)["cookie"] == "session=s1"
    browser.open("/away")
    assert echoed(browser)["host"].startswith("other.localhost:")
    assert echoed(browser)["cookie"] is None


def test_links_are_followed_by_their_text(browser: Browser) -> None:
    browser.open(browser.page.link("Go on"))
    assert echoed(browser)["path"] == "/echo?x=1&y=2"


def test_a_piece_of_a_page_leaves_the_page_open(browser: Browser) -> None:
    page = browser.page
    assert '"fragment": "1"' in browser.peek("/echo").text
    assert browser.page is page


def test_what_a_person_could_not_do_is_refused(browser: Browser) -> None:
    for action, values, button in (
        ("/nowhere", {}, ""),
        ("/echo", {}, "Never"),
        ("/echo", {}, "Script"),
        ("/echo", {}, "Missing"),
        ("/echo", {"gone": "y"}, "Link"),
    ):
        with pytest.raises(Refused, match="has not"):
            browser.submit(action, values, button=button)
    with pytest.raises(Refused, match="has not a link “Nowhere”"):
        browser.page.link("Nowhere")
    with pytest.raises(Refused, match="Not for you"):
        browser.open("/refused")
    with pytest.raises(Refused, match="stays on this machine"):
        browser.open("http://example.com/")
