"""Pages: what a template finds, what survives a redirect, what the components promise."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from jinja2 import UndefinedError
from starlette.requests import Request
from starlette.responses import Response

from awssome.web import Pages
from awssome.web.states import State

NOW = datetime(2026, 11, 22, 14, 5, 9, tzinfo=UTC)


@pytest.fixture
def rendered(tmp_path: Path) -> Any:
    """Renders the text of a template."""

    def render(template: str, headers: dict[str, str] | None = None, **values: Any) -> Response:
        (tmp_path / "page.html").write_text(template)
        pages = Pages(
            tmp_path,
            app="test",
            context=lambda _request: {"account": "anna@example.com"},
            states={"vip": State("Very important", "accent", "check")},
            clock=lambda: NOW,
        )
        raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
        scope = {"type": "http", "method": "GET", "path": "/deals", "query_string": b"", "headers": raw}
        return pages.render(Request(scope), "page.html", **values)

    return render


def text(response: Response) -> str:
    return bytes(response.body).decode()


def test_values_are_escaped(rendered: Any) -> None:
    assert text(rendered("<p>{{ name }}</p>", name="<b>Müller & Söhne</b>")) == (
        "<p>&lt;b&gt;Müller &amp; Söhne&lt;/b&gt;</p>"
    )
    assert "<script>" not in text(
        rendered('{{ ui.notice("error", name, name, name, reference=name) }}', name="<script>")
    )


def test_a_misspelt_name_is_an_error(rendered: Any) -> None:
    with pytest.raises(UndefinedError):
        rendered("{{ acount }}")


def test_the_application_adds_to_every_page(rendered: Any) -> None:
    assert text(rendered("{{ account }} {{ ui.state('vip') }}")).startswith("anna@example.com")
    assert "Very important" in text(rendered("{{ ui.state('vip') }}"))


def test_an_unknown_state_is_shown_in_its_own_words(rendered: Any) -> None:
    assert ">Never heard of" in re.sub(r"<svg.*?</svg>", "", text(rendered("{{ ui.state('never_heard_of') }}")))


def test_only_known_themes_reach_the_page(rendered: Any) -> None:
    page = '{% extends "base.html" %}{% block title %}T{% endblock %}'
    assert '<html lang="en" data-theme="dark">' in text(rendered(page, {"cookie": "theme=dark"}))
    assert '<html lang="en">' in text(rendered(page, {"cookie": 'theme="><script>'}))


def test_a_time_is_relative_with_the_exact_one_beside_it(rendered: Any) -> None:
    shown = text(rendered("{{ ui.time(at) }}", at=datetime(2026, 11, 22, 12, 0, tzinfo=UTC)))
    assert 'datetime="2026-11-22T12:00:00+00:00"' in shown
    assert 'title="22 Nov 2026, 12:00:00 UTC"' in shown
    assert ">2 h ago<" in shown


def test_a_float_never_passes_as_money(rendered: Any) -> None:
    assert "$1,200.50" in text(rendered('{{ ui.money(amount, "USD") }}', amount=Decimal("1200.50")))
    with pytest.raises(TypeError):
        rendered('{{ ui.money(amount, "USD") }}', amount=1200.5)


def test_a_field_with_an_error_is_tied_to_it(rendered: Any) -> None:
    shown = text(
        rendered(
            '{{ ui.error_summary(errors, {"email": "E-mail"}) }}'
            '{{ ui.field("email", "E-mail", "a<b", hint="H", error=errors.email) }}',
            errors={"email": "Enter an address"},
        )
    )
    assert '<a href="#field-email">E-mail: Enter an address</a>' in shown
    assert 'aria-describedby="field-email-hint field-email-error"' in shown
    assert 'aria-invalid="true"' in shown
    assert 'value="a&lt;b"' in shown


def test_a_password_is_never_sent_back(rendered: Any) -> None:
    assert "swordfish" not in text(rendered('{{ ui.field("p", "Password", "swordfish", type="password") }}'))


def test_a_table_tells_nothing_yet_from_no_match(client: TestClient) -> None:
    assert "No deals yet" in client.get("/nothing").text
    none_fits = client.get("/table?q=zzzz").text
    assert "No match" in none_fits
    assert 'href="/table"' in none_fits


def test_a_table_sorts_pages_and_links_its_rows(client: TestClient) -> None:
    page = client.get("/table?sort=-amount").text
    assert re.search(r'<th scope="col" class="num" aria-sort="descending"><a href="/table\?sort=amount">Amount', page)
    assert 'href="/table?sort=-amount&amp;after=k50"' in page
    assert 'data-href="/table?deal=1"' in page
    assert "50 of 1,234" in page
    assert page.count('name="selected"') == 50


def test_evidence_is_equal_only_if_rows_and_checksums_are(rendered: Any) -> None:
    row = {"name": "t", "source_rows": 3, "target_rows": 3, "source_checksum": "ab", "target_checksum": "ab"}

    def verdict(**changes: Any) -> str:
        shown = text(rendered("{{ ui.evidence(rows) }}", rows=[row | changes]))
        return re.sub(r"<svg.*?</svg>", "", shown).rpartition('class="badge ')[2].split("<")[0]

    assert verdict() == 'good">Equal'
    assert verdict(target_rows=2) == 'bad">Different'
    assert verdict(target_checksum="ac") == 'bad">Different'
    assert verdict(target_checksum=None, target_rows=None) == 'neutral">Not yet'
    assert verdict(source_checksum=None, target_checksum=None) == 'neutral">Not yet'


def test_commands_in_a_notice_are_code_and_escaped(rendered: Any) -> None:
    page = text(rendered('{{ ui.notice("error", "No.", words) }}', words="Run `awssome <now>` & ` wait"))
    assert "<p>Run <code>awssome &lt;now&gt;</code> &amp; ` wait</p>" in page


def test_a_notice_survives_one_redirect_escaped_and_is_gone_then(client: TestClient) -> None:
    sent = submit(client, {"email": "a@b.example", "amount": "12.50"})
    assert sent.status_code == 303
    assert "HttpOnly" in sent.headers["set-cookie"]
    assert "Saved a@b.example &lt;b&gt;as it is&lt;/b&gt;." in client.get("/forms").text
    assert "Saved" not in client.get("/forms").text


def test_a_piece_of_a_page_leaves_the_notice_for_the_page(client: TestClient) -> None:
    submit(client, {"email": "a@b.example", "amount": "1"})
    assert "Saved" not in client.get("/progress", headers={"X-Fragment": "1"}).text
    assert "Saved" in client.get("/forms").text


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"no",
        b"[1,2]",
        b'["evil","x"]',
        b'{"a":1,"b":2}',
        b"[[],{}]",
        b'["info","x","y"]',
        b"null",
        b"\xff\xfe",
        None,
    ],
)
def test_a_forged_notice_is_ignored(client: TestClient, payload: bytes | None) -> None:
    cookie = "%%%" if payload is None else base64.b64encode(payload).decode()
    answer = client.get("/forms", headers={"cookie": f"awssome_gallery_notice={cookie}"})
    assert answer.status_code == 200
    assert 'class="notice' not in answer.text


def test_a_notice_of_any_length_is_cut(client: TestClient) -> None:
    cookie = base64.urlsafe_b64encode(json.dumps(["info", "x" * 3000]).encode()).decode()
    page = client.get("/forms", headers={"cookie": f"awssome_gallery_notice={cookie}"}).text
    assert "x" * 1000 in page
    assert "x" * 1001 not in page


def submit(client: TestClient, values: dict[str, str]) -> Any:
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/forms").text)
    assert found
    return client.post("/forms", data={**values, "csrf_token": found[1]})
