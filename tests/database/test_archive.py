"""Archives: every value comes back on either engine, and nothing that was tampered with is believed."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Table, insert, select

from awssome.database import archive, canonical, shape, template
from awssome.database.archive import Manifest, Subject
from awssome.database.archive import reading as reader
from awssome.database.embedded import Cluster
from awssome.database.engine import Changes, Fence, MoverLost, Server, Snapshot, TableSum, Texts
from awssome.database.postgresql.server import PostgreSQL
from awssome.database.schema import DATA_TABLES, deal_events, deal_registrations
from awssome.database.servers import prepare_data_plane
from awssome.database.sessions import Sessions
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import EngineName, Placement, new_schema_name
from awssome.domain.times import new_id
from tests.conftest import PROVISIONER_PASSWORD
from tests.database.test_values import STORABLE, deal, deals, event, write

ALICE, PASSWORD = new_id(), "Aa1-somebody-who-was-restored"
SUBJECT = Subject(ALICE, "northwind", "Northwind Cloud", "free")


def exported(server: Server, schema: str, tenant_id: UUID = ALICE) -> bytes:
    """The schema's archive."""
    file = io.BytesIO()
    with server.snapshot(schema) as found:
        archive.write(file, Subject(tenant_id, "northwind", "Northwind Cloud", "free"), server.engine, found)
    return file.getvalue()


def restored(content: bytes, server: Server, tenant_id: UUID = ALICE) -> str:
    """A fresh schema on the server, filled from the archive."""
    schema = new_schema_name()
    server.provision(schema, PASSWORD, epoch=1, mode=FenceMode.STANDBY, mover=3)
    with archive.opened(io.BytesIO(content), tenant_id) as found:
        shape_of = found.manifest.shape()
        rows = server.load(schema, 3, ((table, found.rows(table)) for table in shape_of))
        assert rows == found.manifest.rows
        assert server.sums(schema, shape_of) == found.manifest.sums
    return schema


def contents(content: bytes) -> dict[str, list[str]]:
    """The rows of each table as they stand in the archive, in order of their text."""
    with zipfile.ZipFile(io.BytesIO(content)) as found:
        members = [name for name in found.namelist() if name != "manifest.json"]
        return {name: sorted(found.read(name).decode().split("\n")) for name in members}


@pytest.fixture(scope="module")
def on_postgresql(cluster: Cluster) -> Server:
    """A PostgreSQL, whatever the engine of the test."""
    return PostgreSQL(prepare_data_plane(cluster, PROVISIONER_PASSWORD))


def test_every_value_comes_back_on_both_engines_and_the_archive_of_what_came_back_is_the_same(
    sessions: Sessions, pool: Server, make_workspace: Callable[[], Placement], on_postgresql: Server
) -> None:
    here, rows = make_workspace(), deals()
    write(sessions, here, rows, [event(row["id"], {"title": [None, row["title"]]}) for row in rows])
    first = exported(pool, here.schema)
    there = restored(first, on_postgresql)
    assert pool.sums(here.schema) == on_postgresql.sums(there)
    second = exported(on_postgresql, there)
    back = restored(second, pool)
    assert pool.sums(back) == pool.sums(here.schema)
    assert contents(first) == contents(second) == contents(exported(pool, back))
    on_postgresql.drop(there, 3)
    pool.drop(back, 3)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.builds(
            lambda title, amount, at, day, words: deal(
                new_id(), title=title, deal_amount=amount, updated_at=at, target_close_date=day, edited_fields=words
            ),
            st.text(STORABLE, max_size=100),
            st.none() | st.decimals(min_value=-(10**15) + 1, max_value=10**15 - 1, places=4),
            st.datetimes(datetime(1753, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)),
            st.none() | st.dates(date(1753, 1, 1)),
            st.lists(st.text(STORABLE, max_size=20), max_size=3),
        ),
        max_size=8,
    )
)
def test_any_values_survive_an_archive(
    rows: list[dict[str, Any]],
    sessions: Sessions,
    pool: Server,
    workspace: Placement,
    on_postgresql: Server,
) -> None:
    with sessions.open(workspace) as connection:
        connection.execute(deal_registrations.delete())
        if rows:
            connection.execute(insert(deal_registrations), rows)
    schema = restored(exported(pool, workspace.schema), on_postgresql)
    assert on_postgresql.sums(schema) == pool.sums(workspace.schema)
    on_postgresql.drop(schema, 3)


@pytest.fixture(scope="module")
def workspace(make_workspace: Callable[[], Placement]) -> Placement:
    """A workspace for many examples."""
    return make_workspace()


def test_an_archive_is_of_one_instant_whatever_is_written_meanwhile(
    sessions: Sessions, pool: Server, make_workspace: Callable[[], Placement]
) -> None:
    placement, ids = make_workspace(), [new_id() for _ in range(3)]
    with sessions.open(placement) as connection:
        connection.execute(insert(deal_registrations), [deal(found) for found in ids])
    file = io.BytesIO()
    with pool.snapshot(placement.schema) as found:
        first = next(iter(DATA_TABLES))
        assert len(list(found.rows(first))) == 3
        with sessions.open(placement) as connection:  # between two tables of one archive
            connection.execute(insert(deal_events), [event(one, {}) for one in ids])
            connection.execute(insert(deal_registrations), [deal(new_id())])
        manifest = archive.write(file, SUBJECT, pool.engine, found)
    rows = {entry.name: entry.sum.rows for entry in manifest.tables}
    assert (rows["deal_registrations"], rows["deal_events"]) == (3, 0)


def test_rows_are_loaded_all_or_none_and_only_by_the_mover_that_has_the_schema(
    pool: Server, make_workspace: Callable[[], Placement], sessions: Sessions
) -> None:
    placement = make_workspace()
    table = next(found for found in DATA_TABLES if found.name == "stage_mappings")
    at = "2026-11-26T12:00:00.000000"
    good = ["x", "x", "x", at, None, None]
    with pytest.raises(MoverLost):
        pool.load(placement.schema, 7, [(table, [good])])
    for bad in ([*good[:3], "yesterday", *good[4:]], [None, *good[1:]], ["x" * 65, *good[1:]], good[:4]):
        with pytest.raises(Refused) as refused:
            pool.load(placement.schema, 0, [(table, [good, bad])])
        assert refused.value.code is Code.INVALID

    def breaks_off() -> Iterator[Texts]:
        yield good
        raise archive.damaged("it ends here")

    with pytest.raises(Refused, match="ends here"):
        pool.load(placement.schema, 0, [(table, breaks_off())])
    with sessions.open(placement) as connection:
        assert connection.execute(select(table)).all() == []


def test_a_snapshot_that_is_left_in_the_middle_leaves_a_server_that_works(
    pool: Server, make_workspace: Callable[[], Placement], sessions: Sessions
) -> None:
    placement = make_workspace()
    with sessions.open(placement) as connection:
        connection.execute(insert(deal_registrations), [deal(new_id()) for _ in range(50)])
    with pytest.raises(KeyError), pool.snapshot(placement.schema) as found:
        rows = found.rows(deal_registrations)
        next(rows)
        raise KeyError("the disk is full")
    assert pool.fence(placement.schema) is not None
    assert pool.sums(placement.schema)["deal_registrations"].rows == 50
    del rows


def test_a_schema_that_is_not_there_is_told(pool: Server) -> None:
    with pytest.raises(Refused) as refused, pool.snapshot(new_schema_name()):
        pass
    assert refused.value.code is Code.NOT_FOUND


# --- the format alone: no database


def made(rows: int = 40) -> bytes:
    """An archive with rows in two tables."""
    texts = canonical.written(deal_registrations)
    names = [column.name for column in deal_registrations.columns]
    at, values = datetime(2026, 11, 26, 12), deal(new_id())

    def found(table: Table) -> Iterator[Texts]:
        if table.name != "deal_registrations":
            return
        for number in range(rows):
            one = dict.fromkeys(names) | values | {"id": new_id(), "title": f"Deal {number}"}
            one |= {"created_at": at, "updated_at": at, "edited_fields": "[]", "deal_amount": Decimal(number)}
            yield texts([one[column.name] for column in table.columns])

    file = io.BytesIO()
    fence = Fence(4, FenceMode.RW, 0, template.head())
    archive.write(file, SUBJECT, EngineName.POSTGRESQL, Snapshot(fence, found, lambda _: Changes((), {}), dict))
    return file.getvalue()


def check(content: bytes, tenant_id: UUID = ALICE, *, strange: bool = True) -> Manifest:
    """Read all of it."""
    with archive.opened(io.BytesIO(content), tenant_id, strange=strange) as found:
        found.check()
        return found.manifest


def changed(content: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    """The archive with other members."""
    with zipfile.ZipFile(io.BytesIO(content)) as found:
        members = {name: found.read(name) for name in found.namelist()}
    change(members)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name, member in members.items():
            out.writestr(name, member)
    return file.getvalue()


def manifested(**values: Any) -> Callable[[dict[str, bytes]], None]:
    """Another manifest."""

    def change(members: dict[str, bytes]) -> None:
        found = json.loads(members["manifest.json"]) | values
        members["manifest.json"] = json.dumps(found).encode()

    return change


def test_the_shape_of_the_newest_revision_is_what_the_code_declares() -> None:
    declared = {table.name: archive.manifest.columns_of(table) for table in DATA_TABLES}
    assert {table.name: archive.manifest.columns_of(table) for table in shape.tables(template.head())} == declared


def test_a_manifest_says_what_it_was_told() -> None:
    manifest = check(made())
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert (manifest.subject, manifest.epoch, manifest.rows) == (SUBJECT, 4, 40)
    assert manifest.sums["deal_events"] == TableSum(0, "0" * 16)


def test_a_changed_byte_is_found_or_changes_nothing() -> None:
    content, dice = made(), random.Random(4)
    truth = check(content)
    found = 0
    for position in sorted(dice.sample(range(len(content)), 400)):
        broken = bytearray(content)
        broken[position] ^= dice.randrange(1, 256)
        try:
            assert check(bytes(broken)) == truth
        except Refused as refused:
            assert refused.code in (Code.INVALID, Code.CONFLICT)
            found += 1
    assert found > 300


def test_a_part_of_an_archive_is_none() -> None:
    content = made()
    for length in (0, 1, 100, len(content) // 2, len(content) - 1):
        with pytest.raises(Refused) as refused:
            check(content[:length])
        assert refused.value.code is Code.INVALID


def test_an_archive_of_another_tenant_is_refused_by_name() -> None:
    with pytest.raises(Refused) as refused:
        check(made(), new_id())
    assert refused.value.code is Code.INVALID
    assert "another tenant: Northwind Cloud" in refused.value.message


@pytest.mark.parametrize(
    ("values", "told"),
    [({"format": 2}, "format 2"), ({"revision": "9000"}, "Revision 9000"), ({"revision": "00"}, "Revision 00")],
    ids=["format", "revision", "half a revision"],
)
def test_an_archive_of_a_newer_version_says_so(values: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused) as refused:
        check(changed(made(), manifested(**values)))
    assert refused.value.code is Code.CONFLICT
    assert told in refused.value.message


def _more(members: dict[str, bytes]) -> None:
    members["../../etc/passwd"] = b"root"


def _fewer(members: dict[str, bytes]) -> None:
    del members["tables/deal_events.jsonl"]


def _other_row(members: dict[str, bytes]) -> None:
    name = "tables/deal_registrations.jsonl"
    members[name] = members[name].replace(b"Deal 7", b"Deal 8", 1)


def _no_rows(members: dict[str, bytes]) -> None:
    members["tables/deal_events.jsonl"] = b'{"a": 1}\n'


def _system_table(members: dict[str, bytes]) -> None:
    found = json.loads(members["manifest.json"])
    found["tables"][0]["name"] = "_fence"
    members["tables/_fence.jsonl"] = members.pop("tables/deal_registrations.jsonl")
    members["manifest.json"] = json.dumps(found).encode()


def _other_column(members: dict[str, bytes]) -> None:
    found = json.loads(members["manifest.json"])
    found["tables"][0]["columns"][0]["name"] = "id) SELECT pg_sleep(9); --"
    members["manifest.json"] = json.dumps(found).encode()


@pytest.mark.parametrize(
    "change",
    [
        _more,
        _fewer,
        _other_row,
        _no_rows,
        _system_table,
        _other_column,
        manifested(tables=[]),
        manifested(tenant=None),
        manifested(engine="oracle"),
        manifested(format="1.0"),
        lambda members: members.pop("manifest.json"),
        lambda members: members.update({"manifest.json": b"[" * 100_000}),
        lambda members: members.update({"manifest.json": b" " * (reader.MANIFEST_BYTES + 1)}),
    ],
)
def test_an_archive_that_was_tampered_with_is_refused(change: Callable[[dict[str, bytes]], None]) -> None:
    with pytest.raises(Refused) as refused:
        check(changed(made(), change))
    assert refused.value.code is Code.INVALID


def test_a_member_that_is_there_twice_is_refused() -> None:
    file = io.BytesIO(made())
    with zipfile.ZipFile(file, "a") as out, pytest.warns(UserWarning, match="Duplicate name"):
        out.writestr("tables/deal_events.jsonl", b"")
    with pytest.raises(Refused):
        check(file.getvalue())


def test_an_archive_from_elsewhere_does_not_unfold_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "STRANGE_BYTES", 1 << 20)

    def bomb(members: dict[str, bytes]) -> None:
        content = b"0" * (8 << 20)
        found = json.loads(members["manifest.json"])
        entry = next(entry for entry in found["tables"] if entry["name"] == "deal_events")
        entry["bytes"], members["tables/deal_events.jsonl"] = len(content), content
        members["manifest.json"] = json.dumps(found).encode()

    with pytest.raises(Refused) as refused:
        check(changed(made(1), bomb))
    assert "unfold" in refused.value.message
