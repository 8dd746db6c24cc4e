"""Whether a tenant's login can do anything that it should not, whatever SQL runs in its session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from awssome.database.verification.engines import statements_for
from awssome.database.verification.finding import Finding, Outcome, few, outcome_of, words_of
from awssome.database.verification.rows import furnish
from awssome.database.verification.scratch import Scratch
from awssome.database.verification.statements import READ, Attempt, Statements
from awssome.domain.errors import Refused
from awssome.domain.tenants import Placement

CHECK = "isolation"


def examine(scratch: Scratch) -> Iterator[Finding]:
    """Make two workspaces, and try the one's hostile statements against the other. Raises what the server raises."""
    neighbours = Neighbours(statements_for(scratch.server.engine), scratch.workspace(), scratch.workspace())
    for placement in (neighbours.own, neighbours.other):
        with scratch.sessions.open(placement) as connection:
            furnish(connection, neighbours.mark(placement))
    control = _control(neighbours)
    yield control
    if not control.ok:
        return  # a login that can do nothing would pass everything below
    before = _state(scratch, neighbours)
    with neighbours.held() as session:
        for about, attempts in neighbours.statements.hostile.items():
            yield _hostile(neighbours, about, attempts, session)
        yield _exposed(neighbours, session)
    unharmed = _state(scratch, neighbours) == before and _reads_its_own(neighbours, neighbours.other)
    yield Finding(
        CHECK,
        "what is left of the other workspace",
        outcome_of(unharmed),
        "Its rows, its fence and its login are as they were." if unharmed else "Rows, fence or login have changed.",
    )


@dataclass(frozen=True)
class Neighbours:
    """A workspace whose tenant is hostile, and another one."""

    statements: Statements
    own: Placement
    other: Placement

    @staticmethod
    def mark(placement: Placement) -> str:
        """The title of the one deal in a workspace."""
        return f"deal of {placement.schema}"

    def named(self, text: str, session: str = "0") -> str:
        """A statement with its names filled in."""
        database = "[" + self.own.database.replace("]", "]]") + "]"
        names = {
            "own": self.own.schema,
            "password": self.own.password,
            "other": self.other.schema,
            "session": session,
            "database": database,
        }
        for name, value in names.items():
            text = text.replace("{" + name + "}", value)
        return text

    @contextmanager
    def held(self) -> Iterator[str]:
        """The number of a session of the other tenant's, which is open meanwhile and holds nothing."""
        with closing(self.statements.connect(self.other)) as connection:
            self.statements.begin_by_itself(connection, False)
            yield str(int(self.statements.run(connection, self.statements.session)[0][0]))


def _control(neighbours: Neighbours) -> Finding:
    """Each reads its own deal, the other one with the very statement that is tried first."""
    blind = [
        placement.schema
        for placement in (neighbours.own, neighbours.other)
        if not _reads_its_own(neighbours, placement)
    ]
    told = f"Its own deal was not read as {few(blind)}." if blind else "Both scratch logins read their own deals."
    return Finding(CHECK, "reading its own workspace", outcome_of(not blind), told)


def _reads_its_own(neighbours: Neighbours, placement: Placement) -> bool:
    statements = neighbours.statements
    with closing(statements.connect(placement)) as connection:
        statements.begin_by_itself(connection, True)
        try:
            found = statements.run(connection, READ.replace("{other}", placement.schema))
        except statements.error:
            return False
        finally:
            connection.rollback()
    return [row[0] for row in found] == [neighbours.mark(placement)]


def _hostile(neighbours: Neighbours, about: str, attempts: tuple[Attempt, ...], session: str) -> Finding:
    met = {attempt.name: _try(neighbours, attempt, session) for attempt in attempts}
    through = [name for name, answer in met.items() if answer is None]
    odd = [name for name, answer in met.items() if answer is not None and not answer.denied]
    if through:
        told = f"{len(through)} of {len(met)} hostile statements were not refused: {few(through)}."
    else:
        told = f"{len(met)} hostile statements were refused."
    if odd:
        told += f" {len(odd)} met another error than a refusal of rights; look at them: {few(odd)}."
    details = tuple(f"{name}: {'let through' if answer is None else answer.told}" for name, answer in met.items())
    figures = {"tried": len(met), "let_through": len(through), "other_errors": len(odd)}
    return Finding(CHECK, about, outcome_of(not through), told, details, figures)


def _exposed(neighbours: Neighbours, session: str) -> Finding:
    met = {attempt.name: _try(neighbours, attempt, session) for attempt in neighbours.statements.exposed}
    open_to_all = [name for name, answer in met.items() if answer is None]
    told = f"Open to every login, and known: {', '.join(open_to_all)}." if open_to_all else "Nothing."
    details = tuple(f"{name}: {'open' if answer is None else answer.told}" for name, answer in met.items())
    outcome = Outcome.EXPOSED if open_to_all else Outcome.OK
    return Finding(CHECK, "what the engine shows or lends to everybody", outcome, told, details)


@dataclass(frozen=True)
class _Answer:
    """How a statement was refused.

    :ivar denied: by rights, or by the guard.
    """

    told: str
    denied: bool


def _try(neighbours: Neighbours, attempt: Attempt, session: str) -> _Answer | None:
    """Run an attempt in a session of its own, and roll it back; None: it was let through."""
    statements = neighbours.statements
    rows: list[Any] = []
    try:
        opened = statements.connect(neighbours.own)
    except Refused as refused:
        return _Answer(f"the login is not let in any more: {words_of(refused)}", False)
    with closing(opened) as connection:
        statements.begin_by_itself(connection, not attempt.alone)
        try:
            if not attempt.alone and not attempt.statements[0].startswith("SET TRANSACTION"):
                # Not every statement opens a transaction on SQL Server; reading a table does. A level is set before.
                statements.run(connection, neighbours.named("SELECT epoch FROM {own}._fence", session))
            for statement in attempt.statements:
                rows = statements.run(connection, neighbours.named(statement, session))
        except statements.error as error:
            code = statements.code(error)
            if code in statements.denials:
                return _Answer(f"refused ({code})", True)
            return _Answer(f"refused ({code or 'by the driver'}): {words_of(error)}", False)
        finally:
            _undo(statements, connection)
    return _Answer("no row", True) if attempt.may_be_empty and not rows else None


def _undo(statements: Statements, connection: Any) -> None:
    """Roll back; a statement may have ended its session."""
    try:
        connection.rollback()
    except statements.error:
        return


def _state(scratch: Scratch, neighbours: Neighbours) -> list[Any]:
    """Fences, rows and checksums of both."""
    schemas = (neighbours.own.schema, neighbours.other.schema)
    return [(scratch.server.fence(schema), scratch.server.sums(schema)) for schema in schemas]
