"""Mails: sent by jobs over SMTP. Links in them are made at the moment of sending; the queue holds none."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import parseaddr
from uuid import UUID

from awssome.database.registry import Registry, accounts, tenants
from awssome.domain.addresses import Addresses
from awssome.domain.errors import Code, Refused


@dataclass(frozen=True)
class Mailer:
    """An SMTP server. TLS is required except on loopback.

    :param sender: the From address.
    """

    host: str
    port: int
    sender: str
    user: str = ""
    password: str = field(default="", repr=False)

    def send(self, to: str | Sequence[str], subject: str, text: str, *, key: str = "") -> None:
        """Send one plain mail.

        :param to: an address, or several that may know of each other.
        :param key: what names the mail: sent again, it has the same Message-ID, and mail programs show it once.
        :raises Refused: UNAVAILABLE, so that the job is tried again.
        """
        message = EmailMessage()
        message["From"], message["Subject"] = self.sender, subject
        message["To"] = to if isinstance(to, str) else ", ".join(to)
        if key:
            message["Message-ID"] = f"<{key}@{parseaddr(self.sender)[1].partition('@')[2] or 'awssome'}>"
        message.set_content(text)
        try:
            with smtplib.SMTP(self.host, self.port, timeout=20) as smtp:
                if self.host not in ("127.0.0.1", "localhost", "::1"):
                    smtp.starttls(context=ssl.create_default_context())
                if self.user:
                    smtp.login(self.user, self.password)
                smtp.send_message(message)
        except (OSError, smtplib.SMTPException):
            raise Refused(Code.UNAVAILABLE, "The mail server does not take mail right now.", retry_after=30) from None


@dataclass(frozen=True)
class Mailing:
    """What it takes to mail a link."""

    registry: Registry
    addresses: Addresses
    mailer: Mailer


def send_link(mailing: Mailing, account_id: UUID, tenant_id: UUID | None, purpose: str) -> None:
    """Make a link for the account and mail it. Run twice, the later mail's link is the one that works."""
    with mailing.registry.begin() as connection:
        account = accounts.find(connection, account_id)
        if account is None or account.disabled_at:
            return
        company = tenants.find(connection, tenant_id).company if tenant_id else ""
        path = "/sign-in"
        if purpose in accounts.LINK_HOURS:
            path = f"/link?token={accounts.new_link(connection, account_id, tenant_id, purpose)}"
    subject, text = _MAILS[purpose]
    words = {
        "name": account.name,
        "company": company,
        "url": mailing.addresses.url(mailing.addresses.shared(), path),
        "hours": accounts.LINK_HOURS.get(purpose, 0),
    }
    mailing.mailer.send(account.email, subject.format(**words), text.format(**words))


_MAILS = {
    "confirm": (
        "Confirm your e-mail address",
        """\
Hello {name},

confirm your e-mail address and choose a password to go on with your workspace for {company}:

{url}

The link works once, for {hours} hours. If you did not sign up, do nothing: no workspace is made.
""",
    ),
    "invite": (
        "You are invited to the workspace of {company}",
        """\
Hello {name},

you are invited to the workspace of {company} on Awssome:

{url}

The link works once, for {hours} hours.
""",
    ),
    "joined": (
        "You belong to the workspace of {company}",
        """\
Hello {name},

you have been added to the workspace of {company} on Awssome. Sign in:

{url}
""",
    ),
    "reset": (
        "Set a new password",
        """\
Hello {name},

set a new password here:

{url}

The link works once, for {hours} hours. If you did not ask for it, do nothing: your password stays as it is.
""",
    ),
    "known": (
        "You have an account already",
        """\
Hello {name},

somebody, probably you, signed up with this address. You have an account already. Sign in:

{url}

Nothing was changed.
""",
    ),
}
