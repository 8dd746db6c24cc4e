"""What Alice tries on PostgreSQL in a session of her own.

`{alice}` and `{bob}` stand for the two schemas, which are also the logins.
"""

from __future__ import annotations

from typing import NamedTuple

DENIED = "42501"  # insufficient_privilege
UNKNOWN = "42P01"  # undefined_table: what may not be used is not even found
FENCED = "AW001"
UNSUPPORTED = "0A000"
NOT_NOW = "55P02"  # cant_change_runtime_param
NO_SUCH = "42883"  # undefined_function: this version has none


class Attack(NamedTuple):
    """Statements in one session; the last one must fail with one of the SQLSTATEs, the others must not matter."""

    name: str
    statements: tuple[str, ...]
    refused_with: tuple[str, ...] = (DENIED,)


def attack(name: str, *statements: str, refused_with: tuple[str, ...] = (DENIED,)) -> Attack:
    """An `Attack`, in the order in which it reads."""
    return Attack(name, statements, refused_with)


READ_BOB = "SELECT title FROM {bob}.deal_registrations"
