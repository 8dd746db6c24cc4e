"""Verifying one real server: an operator's proof, before tenants live there, that it keeps what Awssome promises.

Two scratch workspaces and more are made on the server, are worked on, and are dropped. Nobody else's are touched.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

from awssome.database.engine import Server
from awssome.database.verification import fence, isolation, timing, values
from awssome.database.verification.finding import Finding, Outcome, few, outcome_of, words_of
from awssome.database.verification.scratch import Address, Effort, Scratch
from awssome.domain.errors import Code, Refused

__all__ = ["Address", "Effort", "Finding", "Outcome", "verify"]


def verify(server: Server, address: Address, effort: Effort | None = None) -> Generator[Finding, None, None]:
    """Check a server: its settings, isolation, the fence, values, and how fast it is.

    A check that cannot go on is a finding like any other, and the next one follows. Close the iterator when you stop
    early: what was made is dropped then, too.

    :param address: where tenants' sessions reach the server.
    :raises Refused: CONFLICT when it was stopped early and scratch workspaces could not be dropped; it names them.
    """
    answers = _answers(server)
    yield answers
    if not answers.ok:
        return
    effort = effort or Effort()
    scratch = Scratch(server, address)
    complete = False
    try:
        for check, examine in _checks(scratch, effort).items():
            yield from _guarded(check, examine)
        complete = True
    finally:
        left = scratch.clear()
        if left and not complete:
            raise Refused(Code.CONFLICT, _left_behind(left), "Drop them when the server answers.")
    yield Finding(
        "scratch workspaces",
        "what is left",
        outcome_of(not left),
        _left_behind(left) if left else "Every scratch workspace was dropped.",
        tuple(f"{schema}: {why}" for schema, why in left.items()),
    )


def _checks(scratch: Scratch, effort: Effort) -> dict[str, Callable[[], Iterator[Finding]]]:
    return {
        isolation.CHECK: lambda: isolation.examine(scratch),
        fence.CHECK: lambda: fence.examine(scratch, effort),
        values.CHECK: lambda: values.examine(scratch),
        timing.CHECK: lambda: timing.measure(scratch, effort),
    }


def _answers(server: Server) -> Finding:
    try:
        found = server.check()
    except Refused as refused:
        return Finding("server", "settings and rights", Outcome.FAILED, words_of(refused))
    told = ", ".join(f"{name} {value}" for name, value in found.items())
    return Finding("server", "settings and rights", Outcome.OK, f"It answers: {told}.")


def _guarded(check: str, examine: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of a check. Whatever a server that nobody has seen yet answers is told, and never hides the rest."""
    try:
        yield from examine()
    except Exception as error:
        yield Finding(check, "the check itself", Outcome.FAILED, f"It could not go on. {words_of(error)}")


def _left_behind(left: dict[str, str]) -> str:
    return f"These scratch workspaces could not be dropped: {few(list(left))}."
