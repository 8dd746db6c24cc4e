"""Workspaces for the time of a verification. Whatever happens, an attempt is made to drop each one."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from awssome.database.engine import Server
from awssome.database.sessions import Sessions
from awssome.database.verification.finding import words_of
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import Placement, new_schema_name
from awssome.domain.times import new_id

MOVER = 0
"""The number that scratch workspaces are made, fenced and dropped with."""


@dataclass(frozen=True)
class Address:
    """Where tenants' sessions reach the server."""

    host: str
    port: int
    database: str


@dataclass(frozen=True)
class Effort:
    """How much is done. The defaults are for an operator who has a minute.

    :ivar rounds: cut-overs under load.
    :ivar seconds: how long writers write before each.
    :ivar after: seconds for which they go on trying while the fence is closed.
    :ivar workspaces: how many are made and dropped for the figures.
    :ivar connects: connections that are made for the figures.
    :ivar reads: small reads.
    :ivar writes: small writes.
    :ivar rows: deal registrations that are copied.
    """

    rounds: int = 5
    seconds: float = 2.0
    after: float = 0.5
    workspaces: int = 5
    connects: int = 10
    reads: int = 100
    writes: int = 50
    rows: int = 5_000


class Scratch:
    """Makes workspaces that nobody lives in, on the server that is verified, and drops them.

    :ivar sessions: sessions as their tenants, opened as the portal opens them.
    """

    def __init__(self, server: Server, address: Address) -> None:
        self.server = server
        self.address = address
        self.sessions = Sessions(budget=16, each=8)
        self._names: list[str] = []

    def workspace(self) -> Placement:
        """A new one: empty, open, at epoch 1. Raises what `Server.provision` raises."""
        placement = Placement(
            tenant_id=new_id(),
            placement_id=new_id(),
            engine=self.server.engine,
            host=self.address.host,
            port=self.address.port,
            database=self.address.database,
            schema=new_schema_name(),
            epoch=1,
            secret_version=1,
            password="Aa1-" + secrets.token_urlsafe(32),
        )
        self._names.append(placement.schema)  # first the name: an interruption may come at any point
        self.server.provision(placement.schema, placement.password, epoch=1, mode=FenceMode.RW, mover=MOVER)
        return placement

    def drop(self, placement: Placement) -> None:
        """Drop one before the end. Raises what `Server.drop` raises."""
        self.sessions.forget(placement)
        self.server.drop(placement.schema, MOVER)
        self._names.remove(placement.schema)

    def clear(self) -> dict[str, str]:
        """Drop all. :returns: the schemas that could not be dropped, and why."""
        self.sessions.close()
        left = {}
        for name in self._names:
            try:
                self.server.drop(name, MOVER)
            except Exception as error:  # the others still have to go
                left[name] = words_of(error)
        self._names = list(left)
        return left
