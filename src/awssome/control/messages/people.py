"""People: sign-up, links in mails, sessions."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import SecretStr

from awssome.control.messages.base import Body


class SignUp(Body):
    """Somebody asks for a workspace."""

    name: str
    email: str
    company: str


class Resend(Body):
    """The confirmation mail again."""

    email: str


class LinkToken(Body):
    """The token of a link in an e-mail."""

    token: str


class LinkInfo(Body):
    """What a link is for, before it is used."""

    purpose: Literal["confirm", "invite", "reset"]
    email: str
    company: str | None
    needs_password: bool


class UseLink(Body):
    """Use a link; `password` and `name` where the link asks for them."""

    token: str
    password: SecretStr | None = None
    name: str | None = None


class SignIn(Body):
    """E-mail address and password."""

    email: str
    password: SecretStr


class SessionOut(Body):
    """A fresh session: the token is shown once, to be set as a cookie."""

    token: str
    account_id: UUID
    tenant_id: UUID | None = None


class AccountOut(Body):
    """The person who is signed in."""

    id: UUID
    name: str
    email: str


class SwitchTenant(Body):
    """Choose among the free tenants of one host."""

    tenant_id: UUID


class HandoverOut(Body):
    """A one-time ticket that carries a session to another host; 60 s."""

    url: str


class TicketIn(Body):
    """A ticket to redeem on this host. `confirmed`: the person wants to sign in with another account than before."""

    ticket: str
    confirmed: bool = False


class Denial(Body):
    """What the portal refused, for the audit log."""

    action: str


class SessionInfo(Body):
    """One of the account's sessions."""

    id: UUID
    agent: str
    address: str | None
    created_at: datetime
    seen_at: datetime
    current: bool


class ChangePassword(Body):
    """The old password proves who asks."""

    current: SecretStr
    new: SecretStr


class CreateOperator(Body):
    """Somebody who will run the platform."""

    email: str
    name: str
    password: SecretStr
