"""The present code works on tables of the version before, while they are migrated, and of the version after."""

from __future__ import annotations

import dataclasses
import inspect
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any
from uuid import UUID

import pytest

from awssome.database import Connection, migrator
from awssome.database.servers import open_server
from awssome.database.sessions import Sessions
from awssome.database.template import Beyond
from awssome.database.tenant import (
    deals,
    failures,
    figures,
    hubspot,
    imports,
    mappings,
    picks,
    syncs,
    watermarks,
)
from awssome.database.tenant import keys as data_keys
from awssome.domain.choices import FieldMapping, StageMapping
from awssome.domain.deals import Stage
from awssome.domain.definitions import Account, Pipeline, PipelineStage, Property
from awssome.domain.imports import DealIssue, SourceDeal, plan
from awssome.domain.secrets import Keys
from awssome.domain.syncs import FailureState, IssueKind, LostReason, MappingState, SyncKind, SyncState
from awssome.domain.tenants import EngineName, Placement
from awssome.domain.times import new_id, now
from awssome.domain.vault import Vault
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.versions import EXPAND, NEXT, of_version, write_revision

QUERIES: tuple[ModuleType, ...] = (
    deals,
    failures,
    figures,
    hubspot,
    imports,
    mappings,
    data_keys,
    picks,
    syncs,
    watermarks,
)

ALICE = "alice@northwind.example"
PORTAL = 77
TODAY = date(2026, 3, 1)


@pytest.fixture
def beyond(tmp_path: Path) -> Beyond:
    """The template of the version to come."""
    return write_revision(tmp_path / "to_come", EXPAND)


def test_every_query_works_before_and_after_a_revision_that_expands(
    make_workspace: Callable[[], Placement],
    sessions: Sessions,
    keys: Keys,
    engine: EngineName,
    pool_url: str,
    beyond: Beyond,
) -> None:
    placement = make_workspace()
    newer = open_server(engine, pool_url, beyond)
    with calls() as called:
        use_everything(sessions, placement, keys)
    left_out = {
        f"{module.__name__}.{name}"
        for module in QUERIES
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    } - called
    assert left_out == set()

    (told,) = newer.migrate([placement.schema])
    assert told.problem is None
    use_everything(sessions, placement, keys)  # through connections that were open before
    use_everything(Sessions(budget=2), placement, keys)


def test_every_query_works_on_a_workspace_that_a_newer_version_has_made(
    make_workspace: Callable[[], Placement],
    sessions: Sessions,
    keys: Keys,
    engine: EngineName,
    pool_url: str,
    beyond: Beyond,
) -> None:
    newer, placement = open_server(engine, pool_url, beyond), make_workspace()
    newer.drop(placement.schema, 0)
    assert newer.provision(placement.schema, placement.password, epoch=1, mode="rw") == NEXT
    use_everything(sessions, placement, keys)


def test_queries_of_a_version_to_come_work_on_tables_that_are_behind(
    make_workspace: Callable[[], Placement], secret_key: str
) -> None:
    """Declared columns are no reason to read them: a tenant that could not be migrated works as it is."""
    placement = dataclasses.asdict(make_workspace())
    given = json.dumps({"placement": placement, "secret_key": secret_key}, default=str)
    command = [sys.executable, "-m", "tests.database.code_to_come"]
    ended = subprocess.run(command, input=given, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr


def test_no_request_fails_while_its_tenant_is_migrated(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], keys: Keys, beyond: Beyond, engine: EngineName
) -> None:
    tenancies = [make_tenant() for _ in range(50 if engine is EngineName.POSTGRESQL else 12)]
    made = {one.id: _make(services.sessions, one.placement) for one in tenancies}
    stop, problems, acknowledged = threading.Event(), [], {one.id: 0 for one in tenancies}

    def work(own: list[Tenancy], request: Callable[[Connection, Tenancy], None]) -> None:
        while not stop.is_set():
            for tenancy in own:
                try:
                    with services.sessions.open(tenancy.placement) as connection:
                        request(connection, tenancy)
                except Exception as error:
                    problems.append(error)

    def everything(placement: Placement) -> None:
        while not stop.is_set():
            try:
                use_everything(services.sessions, placement, keys)
            except Exception as error:
                problems.append(error)

    def read(connection: Connection, tenancy: Tenancy) -> None:
        assert deals.find(connection, made[tenancy.id]).title.startswith("Deal")
        mappings.load(connection, PORTAL, TODAY)

    def write(connection: Connection, tenancy: Tenancy) -> None:
        number = acknowledged[tenancy.id] + 1
        deal = deals.find(connection, made[tenancy.id])
        assert deals.edit(connection, deal.id, deal.version, {"title": f"Deal {number}"}, ALICE)
        mappings.load(connection, PORTAL, TODAY)
        acknowledged[tenancy.id] = number

    threads = [
        threading.Thread(target=work, args=(tenancies[part::2], request))
        for part in (0, 1)
        for request in (read, write)
    ]
    threads.append(threading.Thread(target=everything, args=(make_tenant().placement,)))
    for thread in threads:
        thread.start()
    while not all(acknowledged.values()) and not problems:
        time.sleep(0.01)
    newer = of_version(services, beyond)
    behind = migrator.find_behind(services.registry, beyond=beyond)
    told = list(migrator.migrate(services.registry, newer.open_server, behind, beyond=beyond))
    stop.set()
    for thread in threads:
        thread.join(60)
    assert problems == []
    assert [one.problem for one in told] == [None] * (len(tenancies) + 1)
    for tenancy in tenancies:
        with services.sessions.open(tenancy.placement) as connection:
            title = deals.find(connection, made[tenancy.id]).title
        assert title == f"Deal {acknowledged[tenancy.id]}"


def use_everything(sessions: Sessions, placement: Placement, master: Keys) -> None:
    """Every query of the product on a tenant's tables, with what it wrote read back. May be done again."""
    with sessions.open(placement) as connection:
        _use_deals(connection)
    vault = Vault(master)
    with sessions.open(placement) as connection:
        key = data_keys.data_key(connection, vault, placement.tenant_id)
        data_keys.rewrap(connection, vault, placement.tenant_id)
        assert data_keys.key_for_new_tokens(connection, vault, placement.tenant_id) == key
        assert data_keys.key_named(connection, vault, placement.tenant_id, key.id) == key
        assert data_keys.renew(connection, vault, placement.tenant_id).id != key.id
        _use_hubspot(connection)
    with sessions.open(placement) as connection:
        _use_mappings(connection)
        _use_syncs(connection)
    with sessions.open(placement) as connection:
        hubspot.forget(connection)
        figures.summary(connection, today=TODAY)
        figures.by_stage(connection)
        figures.open_value(connection)
        figures.by_month(connection, TODAY, TODAY + timedelta(days=90))


@contextmanager
def calls() -> Iterator[set[str]]:
    """The functions that are called in the block, by module and name."""
    called: set[str] = set()

    def note(frame: FrameType, happened: str, _: Any) -> None:
        if happened == "call":
            called.add(f"{frame.f_globals.get('__name__')}.{frame.f_code.co_name}")

    sys.setprofile(note)
    try:
        yield called
    finally:
        sys.setprofile(None)


def _make(sessions: Sessions, placement: Placement) -> Any:
    with sessions.open(placement) as connection:
        return deals.create(connection, {"title": "Deal 0", "stage": Stage.PROSPECT}, ALICE)


def _use_deals(connection: Connection) -> None:
    made = deals.create(connection, {"title": "By hand", "stage": Stage.PROSPECT, "target_close_date": TODAY}, ALICE)
    assert deals.edit(connection, made, 1, {"title": "By hand, edited"}, ALICE)
    assert deals.archive(connection, [made], ALICE) == 1
    assert deals.restore(connection, [made], ALICE) == 1
    assert deals.find(connection, made, today=TODAY).title == "By hand, edited"
    assert {line.kind for line in deals.timeline(connection, made)} == {"created", "edited", "archived", "restored"}
    everything = deals.Filters(search="by", stage=Stage.PROSPECT, ready=False)
    for sort in deals.SORTS:
        assert deals.list_deals(connection, everything, today=TODAY, sort=sort).rows
    assert deals.count(connection, everything, today=TODAY) >= 1
    assert deals.recent(connection, today=TODAY)


def _use_hubspot(connection: Connection) -> None:
    soon = now() + timedelta(hours=1)
    pair: dict[str, Any] = {"access_token": b"sealed", "refresh_token": b"sealed too", "key_id": new_id()}
    sealed = {**pair, "expires_at": soon}
    told = {"portal_id": PORTAL, "hub_domain": "northwind.example", "scopes": ["oauth"], "connected_by": ALICE}
    hubspot.store(connection, **told, **sealed)
    hubspot.lock(connection)
    hubspot.store_refreshed(connection, **sealed)
    here = hubspot.tokens(connection)
    assert here is not None
    assert here.access_token == b"sealed"
    hubspot.reseal(connection, **pair)
    hubspot.keep_account(connection, PORTAL, "northwind.example", currency="EUR", time_zone="Europe/Berlin")
    assert hubspot.mark_reconnect(connection, here.connected_at, LostReason.REVOKED, dead=True)
    hubspot.explain(connection, here.connected_at, LostReason.UNINSTALLED)
    hubspot.store(connection, **told, **sealed)
    before = hubspot.imports(connection)
    hubspot.add_imports(connection, 1)
    there = hubspot.connection(connection)
    assert there is not None
    assert there.imports == before + 1


def _use_mappings(connection: Connection) -> None:
    stages = (PipelineStage("won", "Won", closed=True, probability=Decimal("1.0")), PipelineStage("x", "Odd"))
    account = Account("EUR", "Europe/Berlin", (Pipeline("7", "Partners", stages),))
    defined = (Property("sector", "Sector", "enumeration", (("r", "Retail"),)),)
    told = {"currency": account.currency, "time_zone": account.time_zone}
    hubspot.keep_account(connection, PORTAL, "northwind.example", **told)
    mappings.define(connection, PORTAL, account.pipelines, defined, at=now())
    found = mappings.definitions(connection, PORTAL)
    assert found is not None
    assert (found.account, found.properties) == (account, defined)
    fields = {"customer_industry": FieldMapping("sector", values={"r": "Retail"}), "title": FieldMapping("dealname")}
    leave_out = {("7", "x"): StageMapping(None)}
    before = mappings.chosen(connection)
    mappings.save_fields(connection, PORTAL, before.version, fields, ALICE)
    mappings.save_stages(connection, PORTAL, mappings.chosen(connection).version, leave_out, ALICE)
    after = mappings.chosen(connection)
    assert after.fields["customer_industry"] == fields["customer_industry"]
    assert after.stages == leave_out
    assert "title" not in after.fields, "what is as by default is not stored"
    assert mappings.load(connection, PORTAL, TODAY).stages["7", "won"].stage is Stage.COMMITTED


def _use_syncs(connection: Connection) -> None:
    begun = {"deal_limit": 10, "imported": 0, "portal_id": PORTAL}
    failed = syncs.claim(connection, syncs.create(connection, ALICE).id, **begun)
    assert failed is not None
    syncs.park(connection, failed, now() + timedelta(minutes=1), "HubSpot is away.", "It goes on by itself.")
    syncs.fail(connection, failed, "HubSpot is away.", "Try again.")
    ended = syncs.create(connection, ALICE, SyncKind.PREVIEW)
    syncs.cancel(connection, ended.id, ALICE)
    syncs.abandon(connection, syncs.create(connection, ALICE).id, "It cannot be read.", "Sync again.")
    assert (shown := syncs.find(connection, ended.id)) is not None
    assert (shown.kind, shown.state) == (SyncKind.PREVIEW, SyncState.CANCELLED)
    sync = syncs.claim(connection, syncs.create(connection, ALICE).id, **begun)
    assert sync is not None
    syncs.tell_again(connection, sync)
    syncs.begin_anew(connection, sync)
    for title in ("First", "Changed"):
        source = [SourceDeal("1", {"dealname": f"{title} at {sync.id}", "amount": "12.50"})]
        known = imports.known(connection, PORTAL, ["1"])
        planned = plan(source, known, mappings.load(connection, PORTAL, TODAY), 10, TODAY)
        with imports.writing():
            imports.write(connection, planned, portal_id=PORTAL, sync_id=sync.id, at=now())
    here = deals.find(connection, imports.known(connection, PORTAL, ["1"])["1"].registration_id)
    assert deals.find_by_hubspot(connection, PORTAL, "1") == here
    assert deals.edit(connection, here.id, here.version, {"title": "Mine"}, ALICE)
    deals.use_hubspot(connection, here.id, here.version + 1, "title", ALICE)
    assert deals.find(connection, here.id).title == here.title
    assert deals.find_by_hubspot(connection, PORTAL, "1") is not None
    imports.touch(connection, PORTAL, ["1"], sync_id=sync.id)
    assert imports.mapped(connection, PORTAL, ["1", "2"]) == {"1"}
    assert imports.read_before(connection, PORTAL, ["1", "2"]).keys() == {"1"}
    assert imports.refused_field(connection, {"title": "x" * 999})[0] == "title"
    assert imports.count_live(connection, PORTAL) == 1
    imports.follow(connection, PORTAL, 0)
    assert imports.count_unfollowed(connection) == 1
    imports.follow(connection, PORTAL, None)
    assert imports.count_unfollowed(connection) == 0
    assert imports.unseen(connection, PORTAL, sync.id, [MappingState.LIVE]) == []
    assert imports.archive(connection, PORTAL, ["1"], sync_id=sync.id, at=now()) == 1
    issue = DealIssue(IssueKind.FAILED, "2", None, "Second", "", "It could not be read.", "Look at it.")
    imports.report(connection, sync.id, [issue])
    assert imports.failed([issue]) == [issue]
    assert syncs.count_by_kind(connection, sync.id)[IssueKind.FAILED] == 1
    _use_failures(connection, sync.id, issue)
    _use_picks(connection)
    syncs.progress(connection, sync, **syncs.added(seen=1, calls=1))
    syncs.interrupt(connection)
    with syncs.reading():
        sync = syncs.claim(connection, sync.id, **begun)
    assert sync is not None
    syncs.finish(connection, sync, available=1)
    found = syncs.find(connection, sync.id)
    assert found is not None
    assert (found.open, found.seen) == (False, 1)
    assert syncs.latest(connection) is not None
    assert sync.id in {one.id for one in syncs.history(connection)}
    assert len(syncs.issues(connection, sync.id)) == syncs.count_issues(connection, sync.id)
    watermarks.advance(connection, PORTAL, now(), full_at=now(), mapping_hash=b"0" * 32, beyond=2)
    watermarks.doubt(connection, PORTAL, b"0" * 32)
    assert (mark := watermarks.find(connection, PORTAL)) is not None
    assert mark.beyond == 2
    assert not syncs.forget_old(connection, before=now() - timedelta(days=90), keep=200)


def _use_failures(connection: Connection, sync_id: UUID, issue: DealIssue) -> None:
    failures.note(connection, PORTAL, sync_id, [issue], now())
    assert failures.unresolved(connection, PORTAL) == {"2"}
    assert failures.dismiss(connection, PORTAL, ["2"], ALICE) == 1
    assert failures.count(connection, PORTAL)[FailureState.DISMISSED] == 1
    assert failures.try_again(connection, PORTAL, ["2"]) == 1
    assert failures.to_retry(connection, PORTAL, after="") == ["2"]
    failures.reopen(connection, PORTAL)
    assert failures.try_again(connection, PORTAL, None) == 1
    failures.settle(connection, PORTAL, ["2"], by=ALICE)
    failures.note(connection, PORTAL, sync_id, [issue], now())
    failures.resolve(connection, PORTAL, ["2"], by=ALICE, at=now())
    assert [one.deal_id for one in failures.find(connection, PORTAL, [FailureState.RESOLVED])] == ["2"]


def _use_picks(connection: Connection) -> None:
    free = hubspot.imports(connection) + 2
    picks.change(connection, PORTAL, {"8": "Eight", "9": "Nine"}, [], limit=free, by=ALICE)
    picks.follow(connection, PORTAL, "8", "80")
    assert [one.deal_id for one in picks.find(connection, PORTAL)] == ["80", "9"]
    picks.drop(connection, PORTAL, ["9"])
    picks.forget(connection, PORTAL)
    assert picks.find(connection, PORTAL) == []
