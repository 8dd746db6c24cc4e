"""The outbox: messages as they arrived over SMTP, in memory, oldest first."""

from __future__ import annotations

import email
import itertools
import re
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import default

from markupsafe import Markup, escape

_KEPT = 2_000
_LINK = re.compile(r"https?://[^\s<>\"']+[^\s<>\"'.,;:!?)\]]")
_TAG = re.compile(r"<[^>]+>")


@dataclass(frozen=True, slots=True)
class Message:
    """A message as one addressee got it; `at` is when it arrived, in UTC."""

    id: int
    to: str
    sender: str
    subject: str
    text: str
    at: datetime

    @property
    def linked_text(self) -> Markup:
        """The text as HTML, with its addresses clickable."""
        parts, end = [], 0
        for link in _LINK.finditer(self.text):
            parts += [escape(self.text[end : link.start()]), Markup('<a href="{0}">{0}</a>').format(link[0])]
            end = link.end()
        return Markup("").join([*parts, escape(self.text[end:])])


class Outbox:
    """The last 2,000 messages."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque(maxlen=_KEPT)
        self._ids = itertools.count(1)

    def take(self, sender: str, addressees: list[str], content: bytes) -> None:
        """Keep a message, once for each addressee of its envelope."""
        parsed = email.message_from_bytes(content, policy=default)
        now = datetime.now(UTC)
        for to in addressees:
            self._messages.append(
                Message(next(self._ids), to, sender, str(parsed.get("Subject", "")), _text(parsed), now)
            )

    def to(self, address: str | None) -> list[Message]:
        """The messages to an address, or all; oldest first."""
        wanted = address.casefold() if address else None
        return [message for message in list(self._messages) if wanted in (None, message.to.casefold())]

    def message(self, id_: int) -> Message | None:
        """One message."""
        return next((message for message in list(self._messages) if message.id == id_), None)


def _text(parsed: EmailMessage) -> str:
    body = parsed.get_body(("plain", "html"))
    if body is None:
        return ""
    content = str(body.get_content()).replace("\r\n", "\n")
    return _TAG.sub("", content) if body.get_content_subtype() == "html" else content
