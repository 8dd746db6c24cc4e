"""What is left in a session stays with its tenant, and a session ends when it must."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from awssome.database.engine import Server
from awssome.database.sessions import Sessions
from awssome.database.sqlserver import driver, logins
from awssome.database.sqlserver.entrance import LOCK_WAIT_MS
from awssome.domain.tenants import Placement
from tests.database.sqlserver.neighbours import (
    PASSWORD,
    Neighbours,
    bob_stays_unharmed,
    has_ended,
    is_let_in,
    rows,
    session_of,
    tried,
)
from tests.engines import eventually, only_sqlserver

pytestmark = [only_sqlserver, bob_stays_unharmed]


@pytest.mark.parametrize("budget", [1, 4], ids=["one after the other", "side by side"])
def test_settings_do_not_reach_another_tenant(budget: int, neighbours: Neighbours) -> None:
    with closing(Sessions(budget=budget)) as sessions:
        with sessions.open(neighbours.alice) as connection:
            for statement in (
                "SET NOCOUNT ON",
                "SET LOCK_TIMEOUT 7",
                "SET XACT_ABORT ON",
                "SET DATEFIRST 3",
                "SET LANGUAGE French",
                "SET CONTEXT_INFO 0x616c696365",
                "EXEC sp_set_session_context N'whose', N'alices'",
                "CREATE TABLE #alices (x int)",
                "SET ROWCOUNT 1",
            ):
                with suppress(Exception):
                    connection.exec_driver_sql(statement)
            alices = _state_of(connection)
        with sessions.open(neighbours.bob) as connection:
            bobs = _state_of(connection)
    assert alices.session != bobs.session
    assert tuple(bobs[1:]) == (neighbours.bob.login, LOCK_WAIT_MS, 0, None, None, None)


def test_closing_a_login_ends_its_sessions_and_lets_nobody_in(throwaway: Placement, pool: Server) -> None:
    with closing(session_of(throwaway)) as session:
        pool.close_login(throwaway.schema)
        eventually(lambda: has_ended(session))
        assert not is_let_in(throwaway)
    pool.close_login(throwaway.schema)  # and doing it again is nothing
    pool.open_login(throwaway.schema)
    assert is_let_in(throwaway)


def test_a_session_that_is_listed_after_its_end_is_not_waited_for(
    throwaway: Placement, pool: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str] = []

    def sessions(_: object, login: str) -> set[tuple[int, None]]:
        listed.append(login)
        return {(32_766, None)}

    monkeypatch.setattr(logins, "_sessions", sessions)
    pool.end_sessions(throwaway.schema)
    assert listed == [throwaway.login] * 2


def test_a_new_password_makes_the_old_one_useless_and_ends_its_sessions(throwaway: Placement, pool: Server) -> None:
    with closing(session_of(throwaway)) as session:
        pool.set_password(throwaway.schema, PASSWORD)
        assert not is_let_in(throwaway)
        assert is_let_in(replace(throwaway, password=PASSWORD))
        eventually(lambda: has_ended(session))


def test_alices_password_opens_nobody_elses_login(neighbours: Neighbours) -> None:
    assert not is_let_in(replace(neighbours.alice, schema=neighbours.bob.schema))
    assert not is_let_in(replace(neighbours.alice, password=" "))
    assert not is_let_in(replace(neighbours.bob, password=neighbours.bob.password.swapcase()))


@pytest.mark.parametrize("kill", ["KILL {session}", "EXEC(N'KILL {session}')"])
def test_bobs_sessions_cannot_be_ended(kill: str, alice: driver.Connection, bob: driver.Connection) -> None:
    session = rows(bob, "SELECT @@SPID")[0][0]
    _, refusal = tried(alice, kill.replace("{session}", str(session)))
    assert refusal is not None
    assert rows(bob, "SELECT @@SPID") == [(session,)]


def _state_of(connection: Any) -> Any:
    return connection.execute(
        text(
            "SELECT @@SPID AS session, USER_NAME(), @@LOCK_TIMEOUT, @@OPTIONS & 512, SESSION_CONTEXT(N'whose'), "
            "OBJECT_ID(N'tempdb..#alices'), CONTEXT_INFO()"
        )
    ).one()
