"""What is tried in a tenant's own session, and how: the parts that differ between engines.

`{own}` stands for the tenant's schema and login, `{password}` for its password, `{other}` for another tenant's schema
and login, `{session}` for the number of a session of that one's, `{database}` for the database.

The server that is verified holds real workspaces. Nothing is tried that would harm them, or the server, if it were let
through: it is about the scratch workspaces only, or it ends with its transaction, which is always rolled back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from awssome.domain.tenants import Placement


@dataclass(frozen=True)
class Attempt:
    """Statements in one session. It is refused when one of them fails.

    :ivar may_be_empty: it may also be answered, by no row: views that show everybody what is theirs.
    :ivar alone: outside of a transaction, in which the statement would fail for another reason.
    """

    name: str
    statements: tuple[str, ...]
    may_be_empty: bool = False
    alone: bool = False


@dataclass(frozen=True)
class OldTransaction:
    """A transaction that begins before the fence is closed, and is to write afterwards.

    :ivar level: sets the isolation level of the session's next transaction.
    :ivar between: what it does after the fence has closed and before it writes, if anything.
    """

    name: str
    level: str
    between: str | None = None


@dataclass(frozen=True)
class Statements:
    """What is tried on an engine, and how.

    :ivar connect: a driver's connection that authenticated as the placement's own login.
    :ivar begin_by_itself: has the connection begin transactions by itself, or commit each statement.
    :ivar run: executes a statement to its end; its rows.
    :ivar error: what the driver raises.
    :ivar code: the server's code of such an error; None when the driver had none.
    :ivar denials: codes that mean: not allowed, or fenced. Another error refuses, too; somebody should look at it.
    :ivar session: gives the number of the session.
    :ivar hostile: what has to be refused, by what it is about.
    :ivar exposed: what the engine grants to everybody who is connected, or may.
    :ivar old_transactions: what has to be refused behind a closed fence.
    """

    connect: Callable[[Placement], Any]
    begin_by_itself: Callable[[Any, bool], None]
    run: Callable[[Any, str], list[Any]]
    error: type[Exception]
    code: Callable[[BaseException], str | None]
    denials: frozenset[str]
    session: str
    hostile: Mapping[str, tuple[Attempt, ...]]
    exposed: tuple[Attempt, ...]
    old_transactions: tuple[OldTransaction, ...]


def attempt(name: str, *statements: str, may_be_empty: bool = False, alone: bool = False) -> Attempt:
    """An `Attempt`, in the order in which it reads."""
    return Attempt(name, statements, may_be_empty, alone)


READ = "SELECT title FROM {other}.deal_registrations"
"""The plainest attempt of all. It has to work for the other tenant itself."""
