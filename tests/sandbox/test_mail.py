"""The mail sandbox keeps what it is sent and shows it."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

import httpx2
import pytest

from .conftest import running


@pytest.fixture(scope="module")
def mail() -> Iterator[dict[str, Any]]:
    with running("mail") as announced:
        yield announced


def send(mail: dict[str, Any], *to: str, subject: str = "Confirm", text: str = "Hello", html: str = "") -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "awssome@example.com", ", ".join(to), subject
    if html:
        message.set_content(html, subtype="html")
    else:
        message.set_content(text)
    with smtplib.SMTP(mail["smtp_host"], mail["smtp_port"]) as smtp:
        smtp.send_message(message)


def sent_to(mail: dict[str, Any], address: str) -> list[dict[str, str]]:
    return httpx2.get(f"{mail['url']}/messages.json", params={"to": address}).json()


def test_a_message_is_kept_for_each_addressee(mail) -> None:
    send(mail, "alice@example.com", "Bob <bob@example.com>", subject="Grüße aus Köln", text="Straße\nzwei")
    (message,) = sent_to(mail, "ALICE@example.com")
    assert (message["to"], message["subject"], message["text"]) == (
        "alice@example.com",
        "Grüße aus Köln",
        "Straße\nzwei\n",
    )
    assert message["at"].endswith("+00:00")
    assert len(sent_to(mail, "bob@example.com")) == 1
    assert sent_to(mail, "charlie@example.com") == []


def test_messages_come_in_the_order_in_which_they_were_sent(mail) -> None:
    for number in range(3):
        send(mail, "order@example.com", subject=str(number))
    assert [message["subject"] for message in sent_to(mail, "order@example.com")] == ["0", "1", "2"]


def test_the_page_shows_a_message_with_its_links_clickable_and_everything_else_escaped(mail) -> None:
    text = "Open http://freemium.localhost:8000/confirm?token=a-b_c&x=1. <script>alert(1)</script>"
    send(mail, "page@example.com", subject="<b>Subject</b>", text=text)
    everything = httpx2.get(mail["url"]).text
    assert "&lt;b&gt;Subject&lt;/b&gt;" in everything
    chosen = httpx2.get(mail["url"], params={"to": "page@example.com"}).text
    path = chosen.split('href="/messages/')[1].split('"')[0]
    page = httpx2.get(f"{mail['url']}/messages/{path}").text
    assert 'href="http://freemium.localhost:8000/confirm?token=a-b_c&amp;x=1"' in page
    assert "&lt;script&gt;" in page
    assert "<script>" not in page


def test_a_message_in_html_is_told_as_text(mail) -> None:
    send(mail, "html@example.com", html="<p>Hello <b>you</b></p>")
    assert sent_to(mail, "html@example.com")[0]["text"].strip() == "Hello you"


def test_a_message_that_is_not_there_is_not_found(mail) -> None:
    assert httpx2.get(f"{mail['url']}/messages/999999").status_code == 404
