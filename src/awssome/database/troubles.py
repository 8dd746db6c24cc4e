"""What a database server answers instead of doing it, in words for those who asked."""

from __future__ import annotations

from awssome.domain.errors import Code, Refused


class Denied(Refused):
    """The server refused a right that the product's own statements have. The code is FENCED: most often the placement
    in hand is stale. Where it is not, somebody should hear of it."""


class Unsure(Refused):
    """The connection was lost while a change was committed: whether it was, nobody knows. It is not done again by
    itself. The code is UNAVAILABLE."""


def fenced() -> Refused:
    """The placement in hand is stale, or writes are paused by a move."""
    return Refused(*_MOVING, retry_after=2)


def denied() -> Denied:
    """The login has no right to what was asked of the server."""
    return Denied(*_MOVING, retry_after=2)


_MOVING = (
    Code.FENCED,
    "Your workspace is being moved and takes no changes for a moment. Nothing was lost.",
    "Try again in a few seconds.",
)


def unavailable() -> Refused:
    """The server does not answer, or has no connection left."""
    return Refused(
        Code.UNAVAILABLE,
        "Your database does not answer right now. Nothing was changed.",
        "Try again in a minute.",
        retry_after=5,
    )


def unsure() -> Unsure:
    """The server went away under a COMMIT."""
    return Unsure(
        Code.UNAVAILABLE,
        "Your database went away just as this was being saved. It may be saved or not; nothing is half done.",
        "Look whether it is there before you do it again.",
        retry_after=5,
    )


def behind() -> Refused:
    """The tables are at a revision before this version's, and what was asked of them is not there yet."""
    return Refused(
        Code.UNAVAILABLE,
        "Your workspace is being brought to the newest version. Nothing was changed.",
        "Try again in a minute.",
        retry_after=30,
    )


def unknown_revision(revision: str | None) -> str:
    """Why tables are not migrated whose fence names no revision of this version."""
    return f"The tables are at revision {revision or 'none'}, which this version does not know."


def too_long() -> Refused:
    """The server stopped a statement that took too long, or waited too long for a lock."""
    return Refused(Code.UNAVAILABLE, "This took too long and was stopped. Nothing was changed.", "Try again.")


def missing() -> Refused:
    """There is no such schema on the server."""
    return Refused(Code.NOT_FOUND, "The workspace's tables are not on the server that the registry names.")


def not_taken(table: str) -> Refused:
    """Rows to be loaded that a table does not take."""
    return Refused(
        Code.INVALID,
        f"Table {table} does not take the rows that it should be given. Nothing was loaded.",
        "The archive is damaged, or was not made by Awssome. Use another one.",
    )
