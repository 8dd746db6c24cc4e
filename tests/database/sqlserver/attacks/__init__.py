"""What Alice tries on SQL Server in a session of her own.

`{alice}`, `{bob}` and `{database}` stand for the two schemas, which are also logins and users, and for the database.
Whether a refusal means anything shows an attack's control: where, or for whom, the same statements do run.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Control(StrEnum):
    """For whom the statements of an attack run, which shows that they are not refused for being ill-formed."""

    AT_HOME = "Alice, in her own schema"
    ADMINISTRATOR = "the administrator"
    NONE = "nobody that a test can be"


class Attack(NamedTuple):
    """Statements in one session, each a batch: the last one must be refused, those before it may be."""

    name: str
    statements: tuple[str, ...]
    control: Control = Control.NONE


def attack(name: str, *statements: str) -> Attack:
    """An attack that runs nowhere in the tests, or harms too much where it runs."""
    return Attack(name, statements)


def at_home(name: str, *statements: str) -> Attack:
    """An attack on Bob's schema that is Alice's good right in her own."""
    return Attack(name, statements, Control.AT_HOME)


def by_rights(name: str, *statements: str) -> Attack:
    """An attack that does what it says when an administrator runs it."""
    return Attack(name, statements, Control.ADMINISTRATOR)


READ_BOB = "SELECT title FROM {bob}.deal_registrations"
