"""What a database server refused to a login: told by the server's own log, summed up for the audit log."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Refusal:
    """One refusal. Nothing of the statement is in it: literals may be secrets, and so may names that somebody made up.

    :ivar login: as whom the session came in, or wanted to.
    :ivar code: the server's own: SQLSTATE, or SQL Server's error number.
    :ivar kind: in words: `no right`, `wrong password`.
    :ivar command: what was being done: `SELECT`, `authentication`.
    :ivar what: the kind of thing that was refused, when the server says so: `table`, `schema`, `parameter`.
    :ivar address: from where, when the server says so.
    """

    at: datetime
    login: str
    code: str
    kind: str
    command: str = ""
    what: str = ""
    address: str | None = None


@dataclass(frozen=True)
class Repeated:
    """Refusals of one kind to one login: how many, and when the first and the last one was."""

    one: Refusal
    count: int
    first: datetime
    last: datetime


def summed(refusals: Iterable[Refusal]) -> list[Repeated]:
    """Refusals that differ in their time only, as one; in the order in which they came first."""
    found: dict[tuple[object, ...], Repeated] = {}
    for one in refusals:
        key = (one.login, one.code, one.kind, one.command, one.what, one.address)
        before = found.get(key)
        if before is None:
            found[key] = Repeated(one, 1, one.at, one.at)
        else:
            found[key] = Repeated(one, before.count + 1, min(before.first, one.at), max(before.last, one.at))
    return list(found.values())
