"""The tenants' way in: connections that authenticated as a placement's own login, and what their errors mean."""

from __future__ import annotations

from typing import Any

import psycopg

from awssome.database import dialects as dialects
from awssome.database.engine import Entrance
from awssome.database.postgresql.driver import parameters, run
from awssome.database.troubles import denied, fenced, too_long, unavailable
from awssome.domain.errors import Refused
from awssome.domain.limits import LIMITS
from awssome.domain.tenants import Placement, checked_schema_name

FENCED = "AW001"
"""SQLSTATE that the guard of the tenant template raises."""

# A login can change its own defaults; what a connection asks for wins over them.
_TENANT_OPTIONS = (
    "-c statement_timeout={seconds}s -c idle_in_transaction_session_timeout=60000 "
    "-c default_transaction_isolation=read\\ committed -c default_transaction_read_only=off "
    "-c idle_session_timeout=0 -c lock_timeout=0 -c client_encoding=UTF8 -c local_preload_libraries="
)


def connect_as_tenant(placement: Placement) -> psycopg.Connection[Any]:
    """A connection that *is* the tenant: authenticated as its own login.

    :raises Refused: FENCED when the server does not let this login in, so that the placement cannot be true any more;
        UNAVAILABLE when it does not answer or has no connection left.
    """
    options = _TENANT_OPTIONS.format(seconds=LIMITS[placement.tier].statement_seconds)
    where = parameters(placement.host, placement.port, placement.database, placement.login, placement.password)
    try:
        return psycopg.connect(**where, options=options, application_name="awssome", autocommit=True)
    except psycopg.OperationalError as error:
        # libpq tells no SQLSTATE here. Who was asked for the password has met a server that is up; what it says then
        # is that the login is closed, gone or has another password, unless all connections are taken.
        asked = error.pgconn is not None and error.pgconn.used_password
        full = "too many connections" in str(error) or "connection slots" in str(error)
        raise (fenced() if asked and not full else unavailable()) from None


def begin(connection: psycopg.Connection[Any], schema: str) -> tuple[int, str] | None:
    """Begin a transaction and read the fence's epoch and revision, all in one round trip.

    Level and mode are said, so that no setting of a transaction before can spoil this one.

    The connection is in autocommit mode, so that psycopg adds no BEGIN of its own; commit and rollback work as ever.
    """
    cursor = run(
        connection,
        f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; "
        f"SELECT epoch, revision FROM {checked_schema_name(schema)}._fence",
    )
    cursor.nextset()
    row = cursor.fetchone()
    return (int(row[0]), str(row[1])) if row else None


def refusal(error: BaseException) -> Refused | None:
    """What a driver's error means to the user of a tenant's session; None: a defect."""
    state = getattr(error, "sqlstate", None)
    if state == FENCED:
        return fenced()
    if state in ("28000", "28P01", "3D000", "57P01"):
        # The login was closed or renamed: the placement in hand is no longer true.
        return fenced()
    if state == "42501":
        return denied()
    if state in ("53300", "57P03") or (isinstance(error, psycopg.OperationalError) and state is None):
        return unavailable()
    if state == "57014":
        return too_long()
    return None


def unknown(error: BaseException) -> bool:
    """Whether an error says that there is no such table or column."""
    return getattr(error, "sqlstate", None) in ("42P01", "42703")


ENTRANCE = Entrance("postgresql+copying://", connect_as_tenant, begin, refusal, unknown)
"""How sessions of tenants are opened on PostgreSQL."""
