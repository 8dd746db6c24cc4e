"""What cannot be closed while tenants share one SQL Server. docs/security.md quotes this list."""

from __future__ import annotations

from contextlib import closing

import pytest

from awssome.database.engine import Server
from awssome.database.sqlserver import driver
from awssome.domain.tenants import Placement
from tests.database.sqlserver.attacks import READ_BOB
from tests.database.sqlserver.attacks.exposed import EXPOSED, Exposed
from tests.database.sqlserver.neighbours import (
    PASSWORD,
    SECRET,
    Neighbours,
    bob_stays_unharmed,
    by_name,
    content_of,
    is_let_in,
    rows,
    session_of,
    tried,
)
from tests.engines import only_sqlserver

pytestmark = [only_sqlserver, bob_stays_unharmed]


@pytest.mark.usefixtures("bob_is_unharmed")
@by_name(EXPOSED)
def test_what_is_open_gives_nothing_of_bobs(
    attempt: Exposed, alice: driver.Connection, neighbours: Neighbours, onlooker: driver.Connection
) -> None:
    """Whether a server allows it or not: neither data nor secrets, and no right that she had not before."""
    lock = rows(onlooker, neighbours.named("SELECT lock_name FROM {bob}._fence"))[0][0]
    secrets = (SECRET, neighbours.bob.password, lock)
    before = content_of(neighbours.alice, onlooker)
    try:
        for statement in attempt.statements:
            given, refusal = tried(alice, neighbours.named(statement))
            assert not any(secret in f"{given} {refusal}" for secret in secrets)
        given, refusal = tried(alice, neighbours.named(READ_BOB))
        assert refusal is not None
    finally:
        if attempt.undone_by:
            with closing(session_of(neighbours.alice)) as again:
                tried(again, neighbours.named(attempt.undone_by))
    assert content_of(neighbours.alice, onlooker) == before


def test_her_own_password(throwaway: Placement, pool: Server) -> None:
    """She can lock the platform out of her own workspace, nobody else's; `set_password` lets it in again."""
    change = f"ALTER LOGIN {throwaway.schema} WITH PASSWORD = N'{PASSWORD}' OLD_PASSWORD = N'{throwaway.password}'"
    with closing(session_of(throwaway)) as mallory:
        _, refusal = tried(mallory, change)
    if refusal is None:
        assert not is_let_in(throwaway)
        pool.set_password(throwaway.schema, throwaway.password)
    assert is_let_in(throwaway)  # where the server does not know how, nothing has changed


def test_names_say_nothing(neighbours: Neighbours) -> None:
    """Everybody may list them: 16 random hex digits, and the same tables for everybody."""
    assert neighbours.bob.schema == neighbours.bob.login
    assert len(neighbours.bob.schema.removeprefix("user_")) == 16
    assert set(neighbours.bob.schema.removeprefix("user_")) <= set("0123456789abcdef")
