"""What the tests of moves share: a tenant with awkward data, what is true of it, and a wire that can be cut."""

from __future__ import annotations

import hashlib
import select as polling
import socket
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import LargeBinary, Table, insert

from awssome.database import Connection
from awssome.database.mover import Mover
from awssome.database.registry import moves, placements
from awssome.database.registry.audit import Actor
from awssome.database.schema import (
    DATA_TABLES,
    deal_events,
    deal_registrations,
    field_mappings,
    hubspot_accounts,
    hubspot_mappings,
    hubspot_picks,
    hubspot_tokens,
    stage_mappings,
    sync_failures,
    sync_history,
    sync_issues,
    tenant_keys,
)
from awssome.domain.errors import Refused
from awssome.domain.tenants import Placement
from awssome.domain.times import new_id, now
from awssome.workflows import moves as moving
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.engines import DRIVER_ERRORS, NOW, Raw

OLGA = Actor("olga@awssome.example")

AWKWARD = (
    "Zoë’s Ünïcode – 日本語 العربية 🚀",
    "cafe\u0301 beside café",
    "",
    "~,3:abc,",
    "tab\tnewline\nbackslash\\N quote'\"",
    "a" * 255,
)


def mover(services: WorkerServices, **options: Any) -> Mover:
    """A mover like a worker's."""
    return Mover(services.registry, services.keys, services.open_server, **options)


def upgrade(services: WorkerServices, tenancy: Tenancy) -> UUID:
    """Ask for the tenant's upgrade; the move's id."""
    with services.registry.begin() as connection:
        return moving.upgrade(connection, services.queue, OLGA, str(tenancy.id))


def rollback(services: WorkerServices, tenancy: Tenancy) -> UUID:
    """Ask for the tenant's way back; the move's id."""
    with services.registry.begin() as connection:
        return moving.rollback(connection, services.queue, OLGA, str(tenancy.id))


def the_move(services: WorkerServices, move_id: UUID) -> Any:
    """The move's row, as operators see it."""
    with services.registry.begin() as connection:
        return moves.row(connection, move_id)


def placement_of(services: WorkerServices, tenancy: Tenancy) -> Placement:
    """Where the tenant is now."""
    with services.registry.begin() as connection:
        return placements.current(connection, services.keys, tenancy.id)


def fill(services: WorkerServices, tenancy: Tenancy) -> None:
    """Rows in every table: all scripts, exact decimals, NULLs, empty texts, every byte, both ends of time."""
    with services.sessions.open(placement_of(services, tenancy)) as connection:
        for number, text in enumerate(AWKWARD):
            _fill_a_deal(connection, number, text)
        connection.execute(
            insert(hubspot_tokens).values(
                id=1,
                state="connected",
                portal_id=2**62,
                hub_domain="bücher.example",
                scopes="oauth crm.objects.deals.read",
                access_token=bytes(range(256)),
                refresh_token=b"",
                expires_at=None,
                connected_at=now(),
                connected_by="alice@northwind.example",
                imports=0,
            )
        )
        connection.execute(
            insert(tenant_keys).values(
                id=new_id(), key_id="k1", wrapped_key=b"\x00\xff" * 20, created_at=now(), retired_at=now()
            )
        )
        connection.execute(insert(field_mappings).values(field="title", property=None, updated_at=now()))
        connection.execute(insert(field_mappings).values(field="stage", property="", updated_at=now()))
        connection.execute(
            insert(stage_mappings).values(pipeline="p", hubspot_stage="s", stage="Qualified", updated_at=now())
        )
        _fill_what_is_known_of_hubspot(connection)


def add(connection: Connection, key: str) -> None:
    """One small write, told by its key."""
    connection.execute(insert(stage_mappings).values(pipeline=key, hubspot_stage="", stage="", updated_at=now()))


def _fill_what_is_known_of_hubspot(connection: Connection) -> None:
    connection.execute(
        insert(hubspot_accounts).values(
            portal_id=2**62, hub_domain="bücher.example", pipelines=[{"id": "日本"}], full_at=now(), updated_at=now()
        )
    )
    connection.execute(
        insert(hubspot_picks).values(
            portal_id=2**62, deal_id="1", place=1, title=AWKWARD[0][:255], picked_by="alice", picked_at=now()
        )
    )
    connection.execute(
        insert(sync_failures).values(
            portal_id=2**62,
            deal_id="2",
            state="open",
            title="",
            code="unwritable",
            field="title",
            reason="Zoë’s reason",
            advice="",
            attempts=1,
            first_sync_id=new_id(),
            last_sync_id=new_id(),
            first_at=now(),
            last_at=now(),
        )
    )


def rows_of(placement: Placement) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, by plain SELECTs as the tenant itself."""
    found = {}
    with closing(Raw(placement)) as tenant:
        for table in DATA_TABLES:
            columns = ", ".join(column.name for column in table.columns)
            keys = ", ".join(column.name for column in table.primary_key)
            query = f"SELECT {columns} FROM {placement.schema}.{table.name} ORDER BY {keys}"
            found[table.name] = tenant.rows(query)
    return found


def evidence_of(rows: dict[str, list[tuple[Any, ...]]]) -> dict[str, tuple[int, str]]:
    """Rows and checksum of each table by the definition at `engine.TableSum`, from rows that were read plainly."""
    found = {}
    for table in DATA_TABLES:
        total = 0
        for row in rows[table.name]:
            canonical = "".join(_canonical(table, number, value) for number, value in enumerate(row))
            total += int.from_bytes(hashlib.sha256(canonical.encode()).digest()[:8], "big")
        found[table.name] = (len(rows[table.name]), format(total % 2**64, "016x"))
    return found


def writable(services: WorkerServices, tenancy: Tenancy) -> list[UUID]:
    """The placements of the tenant that take a write right now."""
    with services.registry.begin() as connection:
        known = [row.id for row in placements.of_tenant(connection, tenancy.id) if row.state != "dropped"]
        there = [placements.find(connection, services.keys, placement_id) for placement_id in known]
    return [placement.placement_id for placement in there if _takes_a_write(placement)]


@dataclass(frozen=True)
class Truth:
    """What must be so at the end of a move, however it went."""

    services: WorkerServices
    tenancy: Tenancy
    rows: dict[str, list[tuple[Any, ...]]]

    @classmethod
    def of(cls, services: WorkerServices, tenancy: Tenancy) -> Truth:
        """The tenant's rows as they are."""
        return cls(services, tenancy, rows_of(placement_of(services, tenancy)))

    def holds_at(self, placement_id: UUID) -> None:
        """The tenant is there, with all rows, writable there and nowhere else."""
        placement = placement_of(self.services, self.tenancy)
        assert placement.placement_id == placement_id
        assert rows_of(placement) == self.rows
        assert writable(self.services, self.tenancy) == [placement_id]
        with self.services.sessions.open(placement) as connection:
            add(connection, "afterwards")
            connection.execute(stage_mappings.delete().where(stage_mappings.c.pipeline == "afterwards"))


class Wire:
    """A TCP connection to a server that can be cut and mended: what a server that is away looks like.

    :param delay: seconds that everything takes from one end to the other.
    """

    def __init__(self, host: str, port: int, delay: float = 0.0) -> None:
        self._there = (host, port)
        self._delay = delay
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        self._whole = True
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection, and take none any more."""
        self._whole = False
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def mend(self) -> None:
        """Take connections again."""
        self._whole = True

    def close(self) -> None:
        """No more of it."""
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self._whole:
                near.close()
                continue
            far = socket.create_connection(self._there)
            self._open += [near, far]
            threading.Thread(target=_carry, args=(near, far, self._delay), daemon=True).start()


def _carry(near: socket.socket, far: socket.socket, delay: float) -> None:
    other = {near: far, far: near}
    with near, far, suppress(OSError):
        while True:
            for end in polling.select([near, far], [], [])[0]:
                data = end.recv(65536)
                if not data:
                    return
                time.sleep(delay)
                other[end].sendall(data)


def _takes_a_write(placement: Placement) -> bool:
    try:
        with closing(Raw(placement)) as tenant:
            tenant.rows("BEGIN TRANSACTION")
            at, columns = NOW[placement.engine], "(pipeline, hubspot_stage, stage, updated_at)"
            tenant.rows(f"INSERT INTO {placement.schema}.stage_mappings {columns} VALUES ('probe', '', '', {at})")
            tenant.rows("ROLLBACK")
    except (Refused, *DRIVER_ERRORS):
        return False
    return True


def _fill_a_deal(connection: Connection, number: int, text: str) -> None:
    deal_id, sync_id, at = new_id(), new_id(), now() + timedelta(microseconds=number)
    connection.execute(
        insert(deal_registrations).values(
            id=deal_id,
            source="hubspot",
            title=text,
            stage="Prospect",
            customer_company=text[:120] if number % 2 else None,
            business_problem=None if number % 2 else text,
            target_close_date=(date(1753, 1, 1), date(9999, 12, 31), None)[number % 3],
            deal_amount=(Decimal("999999999999999.9999"), Decimal("-0.0001"), Decimal(0), None)[number % 4],
            deal_currency="EUR",
            expected_aws_spend=Decimal("12.5"),
            edited_fields=["title", text],
            ready=bool(number % 2),
            version=number,
            created_at=datetime(1970, 1, 1, tzinfo=UTC),
            updated_at=at,
            updated_by="alice@northwind.example",
        )
    )
    connection.execute(
        insert(deal_events).values(
            id=new_id(), registration_id=deal_id, at=at, kind="created", actor=text[:254], changes={"title": text}
        )
    )
    connection.execute(
        insert(sync_history).values(
            id=sync_id,
            state="done",
            attempt=1,
            requested_by="alice@northwind.example",
            **dict.fromkeys(("imported", "seen", "created", "updated", "unchanged", "left_out", "failed", "calls"), 1),
            requested_at=at,
        )
    )
    connection.execute(
        insert(sync_issues).values(
            id=new_id(), sync_id=sync_id, kind="left_out", deal_id="1", title=text, field="title", reason="", advice=""
        )
    )
    connection.execute(
        insert(hubspot_mappings).values(
            portal_id=2**62,
            deal_id=str(number),
            registration_id=deal_id,
            state="live",
            source_hash=hashlib.sha256(text.encode()).digest(),
            modified_at=None,
            first_sync_id=sync_id,
            last_sync_id=sync_id,
            created_at=at,
        )
    )


def _canonical(table: Table, number: int, value: Any) -> str:
    if value is None:
        return "~,"
    if isinstance(value, bool):
        text = "1" if value else "0"
    elif isinstance(list(table.columns)[number].type, LargeBinary):
        text = bytes(value).hex()
    elif isinstance(value, datetime):
        utc = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        text = utc.isoformat(timespec="microseconds")
    elif isinstance(value, Decimal):
        text = f"{value:.4f}"
    else:
        text = str(value)
    return f"{len(text.encode())}:{text},"
