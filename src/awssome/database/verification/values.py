"""Whether values come back as they were written, add up to the same checksum on both sides, and end at their limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Table, insert, select
from sqlalchemy.exc import StatementError

from awssome.database.canonical import summed
from awssome.database.dialects import dialect
from awssome.database.schema import (
    DATA_TABLES,
    deal_events,
    deal_registrations,
    field_mappings,
    hubspot_mappings,
    hubspot_tokens,
    stage_mappings,
    sync_history,
    tenant_keys,
)
from awssome.database.types import Instant, Json
from awssome.database.verification.finding import Finding, few, outcome_of, words_of
from awssome.database.verification.rows import event, registration, token
from awssome.database.verification.scratch import MOVER, Scratch
from awssome.domain.deals import LARGEST
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import EngineName, Placement
from awssome.domain.times import new_id, now

CHECK = "values"

_STEP = Decimal("0.0001")
_FIRST = datetime(1753, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
_ASTRAL = "\N{BEAR FACE}"
_TEXTS = {
    "empty": "",
    "a space": " ",
    "trailing spaces": "ends in spaces   ",
    "quotes": "it's \"quoted\" `so` ''",
    "lines": "one\ntwo\r\nthree\tfour",
    "brackets and percent": "[a] {b} %s %(c)s :d ? $1 \\ ; --",
    "other scripts": "Grüße, 東京, Ωμέγα, שלום, e\u0301",
    "beyond 16 bits": f"{_ASTRAL} deal {_ASTRAL}",
    "control characters": "\x01\x1f\x7f\u0085\u2028\ufeff",
    "2,000 characters": "x" * 2_000,
    "2,000 characters, not all plain": "x" * 1_999 + "é",
    "1,000 characters of two units": _ASTRAL * 1_000,
}
_AMOUNTS = {
    "the largest": LARGEST - _STEP,
    "the smallest": -(LARGEST - _STEP),
    "zero": Decimal(0),
    "one step": _STEP,
    "minus one step": -_STEP,
    "no digits behind the point": Decimal(1_000_000),
}
_TIMES = {
    "1753": _FIRST,
    "9999": _LAST,
    "a microsecond": datetime(2024, 2, 29, 12, 0, 0, 1, tzinfo=UTC),
    "before 1970": datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
}
_JSON: dict[str, Any] = {
    "text": f'é {_ASTRAL} " \\ \n',
    "list": [1, 1.5, -(2**53), None, True, {"b": {}, "a": []}],
    "": "ключ",
}
_BYTES = {"zeros": bytes(4), "every byte": bytes(range(256)), "none": b"", "many": bytes(range(256)) * 400}


def examine(scratch: Scratch) -> Iterator[Finding]:
    """Write hard values as a tenant, copy them as a move does, and compare. Raises what the server raises."""
    placement, at_once, copied = (scratch.workspace() for _ in range(3))
    written = _rows()
    with scratch.sessions.open(placement) as connection:
        for table, rows in written.items():
            for row in rows:
                connection.execute(insert(table).values(row))
    yield _read_back(scratch, placement, written, "written one by one")
    with scratch.sessions.open(at_once) as connection:
        for table, rows in written.items():
            connection.execute(insert(table), rows)
    yield _read_back(scratch, at_once, written, "written at once")
    scratch.server.copy(placement.schema, scratch.server, copied.schema, MOVER)
    yield _read_back(scratch, copied, written, "copied as in a move")
    yield _sums(scratch, placement, copied)
    yield _beyond(scratch, placement)


def _rows() -> dict[Table, list[dict[str, Any]]]:
    """Rows by table, parents first; a title says which value is meant."""
    deals = [
        *(registration(f"text: {name}", business_problem=text) for name, text in _TEXTS.items()),
        *(registration(f"amount: {name}", deal_amount=amount) for name, amount in _AMOUNTS.items()),
        *(registration(f"time: {name}", created_at=at, target_close_date=at.date()) for name, at in _TIMES.items()),
        registration("booleans and numbers", ready=True, version=2**31 - 1, customer_company=""),
        registration("JSON", edited_fields=["title", "ключ", _ASTRAL]),
    ]
    rows = {
        deal_registrations: deals,
        deal_events: [event(deals[0]["id"], _JSON), event(deals[1]["id"], {})],
        hubspot_tokens: [
            token(id=number, portal_id=portal, access_token=some, refresh_token=None)
            for number, portal, some in zip(
                (1, 2, -(2**31), 2**31 - 1), (0, -1, -(2**63), 2**63 - 1), _BYTES.values(), strict=True
            )
        ],
        tenant_keys: [
            {"id": new_id(), "key_id": name, "wrapped_key": some, "created_at": now()} for name, some in _BYTES.items()
        ],
        hubspot_mappings: [
            {
                "portal_id": 2**63 - 1,
                "deal_id": deal_id,
                "registration_id": deal["id"],
                "state": "linked",
                "source_hash": bytes([0, 255]) * 16,
                "modified_at": modified,
                "first_sync_id": new_id(),
                "last_sync_id": new_id(),
                "created_at": now(),
            }
            for deal_id, deal, modified in zip(("1", "01", "٣"), deals, (None, _FIRST, _LAST), strict=False)
        ],
        # Keys that differ in case, accent or script only are different keys.
        stage_mappings: [
            {"pipeline": name, "hubspot_stage": "s", "stage": "Prospect", "updated_at": now()}
            for name in ("a", "A", "á", "ａ", _ASTRAL)
        ],
        sync_history: [_sync("done", None), _sync("failed", None), _sync("running", 1)],
    }
    return {
        table: [{column.name: row.get(column.name) for column in table.columns} for row in some]
        for table, some in rows.items()
    }


def _sync(state: str, slot: int | None) -> dict[str, Any]:
    counts = dict.fromkeys(
        ("imported", "seen", "created", "updated", "unchanged", "left_out", "failed", "calls", "attempt"), 0
    )
    return counts | {
        "id": new_id(),
        "state": state,
        "requested_by": "verification",
        "requested_at": now(),
        "open_slot": slot,
    }


def _read_back(
    scratch: Scratch, placement: Placement, written: dict[Table, list[dict[str, Any]]], about: str
) -> Finding:
    compared, different = 0, []
    with scratch.sessions.open(placement) as connection:
        for table, rows in written.items():
            key = list(table.primary_key.columns)
            for row in rows:
                wanted = [column == row[column.name] for column in key]
                found = connection.execute(select(table).where(*wanted)).mappings().all()
                compared += len(row)
                if len(found) != 1:
                    different.append(f"{table.name}: {len(found)} rows for one key ({_label(row)})")
                    continue
                different += [
                    f"{table.name}.{name} ({_label(row)}): {_shown(row[name])} came back as {_shown(value)}"
                    for name, value in found[0].items()
                    if not _same(value, row[name])
                ]
    told = f"{compared:,} values were read back; {len(different)} differ"
    told += f": {few(different)}." if different else "."
    return Finding(CHECK, about, outcome_of(not different), told, tuple(different), {"compared": compared})


def _sums(scratch: Scratch, placement: Placement, copied: Placement) -> Finding:
    """What a move compares, against the copy, and against rows that were read as the tenant."""
    of_server, of_copy = scratch.server.sums(placement.schema), scratch.server.sums(copied.schema)
    different = [name for name, found in of_server.items() if of_copy[name] != found]
    with scratch.sessions.open(placement) as connection:
        for table in DATA_TABLES:
            rows = connection.execute(select(table)).all()
            if summed(table, (_plain(table, row, placement.engine) for row in rows)) != of_server[table.name]:
                different.append(table.name)
    told = f"{len(DATA_TABLES)} tables have the same rows and checksums: taken for a move, as the tenant, and copied."
    if different:
        told = f"Rows or checksums differ: {few(sorted(set(different)))}."
    return Finding(CHECK, "checksums", outcome_of(not different), told, tuple(different))


_BEYOND: tuple[tuple[str, Table, dict[str, Any]], ...] = (
    ("a text that is too long", deal_registrations, registration("x" * 256)),
    ("too many UTF-16 units", deal_registrations, registration(_ASTRAL * 128)),
    ("five digits behind the point", deal_registrations, registration("", deal_amount=Decimal("0.00001"))),
    ("too large an amount", deal_registrations, registration("", deal_amount=LARGEST)),
    ("too small an amount", deal_registrations, registration("", expected_aws_spend=-LARGEST)),
    ("no number", deal_registrations, registration("", deal_amount=Decimal("NaN"))),
    ("NUL", deal_registrations, registration("a\x00b")),
    ("half a character", deal_registrations, registration("a\ud83d")),
    ("half a character in JSON", deal_registrations, registration("", edited_fields=["\ud83d"])),
    ("a key that is too long", field_mappings, {"field": "x" * 41, "updated_at": _FIRST}),
)


def _beyond(scratch: Scratch, placement: Placement) -> Finding:
    """They are refused here, before an engine cuts, rounds or converts them."""
    met = {name: _refusal(scratch, placement, table, row) for name, table, row in _BEYOND}
    wrong = {name: answer for name, answer in met.items() if answer != Code.INVALID}
    told = f"{len(met)} values beyond the limits were refused before they reached the server."
    if wrong:
        listed = few([f"{name} ({answer})" for name, answer in wrong.items()])
        told = f"{len(wrong)} of {len(met)} values beyond the limits were not refused as invalid: {listed}."
    return Finding(
        CHECK, "beyond the limits", outcome_of(not wrong), told, tuple(f"{name}: {a}" for name, a in met.items())
    )


def _refusal(scratch: Scratch, placement: Placement, table: Table, row: dict[str, Any]) -> str:
    try:
        with scratch.sessions.open(placement) as connection:
            connection.execute(insert(table).values(row))
    except Refused as refused:
        return str(refused.code)
    except StatementError as error:  # the engine's own refusal comes too late: say which
        return words_of(error)
    return "written"


def _plain(table: Table, row: Sequence[Any], engine: EngineName) -> list[Any]:
    """Values as a driver gives them: stored text, and times in UTC without zone."""
    return [_as_stored(column.type, value, engine) for column, value in zip(table.columns, row, strict=True)]


def _as_stored(kind: Any, value: Any, engine: EngineName) -> Any:
    if value is None:
        return None
    if isinstance(kind, Instant):
        return value.astimezone(UTC).replace(tzinfo=None)
    if isinstance(kind, Json):
        return kind.process_bind_param(value, dialect(engine))
    return value


def _same(found: Any, wanted: Any) -> bool:
    """Equal, and of one kind: 1 is not True, and a text is not a number."""
    if isinstance(wanted, Decimal | date | bytes | bool):
        return isinstance(found, type(wanted)) and bool(found == wanted)
    return bool(found == wanted)


def _label(row: dict[str, Any]) -> str:
    return str(next((row[name] for name in ("title", "key_id", "pipeline", "deal_id") if name in row), row.get("id")))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


_SHOWN = 40
