"""The verification passes a sound server, finds what is wrong with an unsound one, and leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.engine import make_url
from typer.testing import CliRunner

from awssome import cli, main
from awssome.database import verification
from awssome.database.engine import Server
from awssome.database.schema import DATA_TABLES, field_mappings
from awssome.database.servers import open_server
from awssome.database.verification import Address, Effort, Finding, Outcome, fence, isolation, timing, values, verify
from awssome.database.verification.engines import statements_for
from awssome.database.verification.scratch import Scratch
from awssome.database.verification.statements import Statements
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import EngineName
from awssome.domain.times import now
from awssome.workflows.services import WorkerServices
from tests.engines import as_administrator

SMALL = Effort(rounds=2, seconds=0.3, after=0.2, workspaces=2, connects=2, reads=3, writes=3, rows=50)

SERVER, SCRATCH = "server", "scratch workspaces"


@pytest.fixture(scope="session")
def address(pool_url: str) -> Address:
    """Where tenants reach the pool."""
    url = make_url(pool_url)
    return Address(url.host or "", url.port or 0, url.database or "")


@pytest.fixture
def scratch(pool: Server, address: Address) -> Iterator[Scratch]:
    """What single checks work in; everything that they make can be dropped."""
    made = Scratch(pool, address)
    yield made
    assert made.clear() == {}


@pytest.fixture
def administer(engine: EngineName, pool_url: str) -> Callable[..., None]:
    """Executes statements with the administrator's rights."""
    return lambda *statements: as_administrator(engine, pool_url, *statements)


def by_subject(findings: Iterator[Finding]) -> dict[str, Finding]:
    """The findings of one check."""
    return {finding.about: finding for finding in findings}


def failed(findings: dict[str, Finding]) -> set[str]:
    """The subjects that are not well."""
    return {about for about, finding in findings.items() if not finding.ok}


def after_provisioning(monkeypatch: pytest.MonkeyPatch, pool: Server, spoil: Callable[[list[str]], None]) -> None:
    """Have something done to each new workspace; it is told the schemas so far."""
    provision, made = pool.provision, list[str]()

    def provision_and_spoil(schema: str, password: str, **rest: Any) -> None:
        provision(schema, password, **rest)
        made.append(schema)
        spoil(made)

    monkeypatch.setattr(pool, "provision", provision_and_spoil)


@pytest.fixture(scope="module")
def sound(pool: Server, address: Address) -> list[Finding]:
    """What is found on a sound server; it has the workspaces afterwards that it had before."""
    before = {use.schema for use in pool.use()}
    found = list(verify(pool, address, SMALL))
    assert {use.schema for use in pool.use()} == before
    return found


def test_a_sound_server_passes(sound: list[Finding]) -> None:
    assert [finding for finding in sound if not finding.ok] == []
    checks = {SERVER, isolation.CHECK, fence.CHECK, values.CHECK, timing.CHECK, SCRATCH}
    assert {finding.check for finding in sound} == checks


def test_it_says_how_much_was_tried(sound: list[Finding], pool: Server) -> None:
    found = {(finding.check, finding.about): finding for finding in sound}
    for about, attempts in statements_for(pool.engine).hostile.items():
        hostile = found[isolation.CHECK, about]
        assert hostile.figures["tried"] == len(attempts) == len(hostile.details)
        if pool.engine is EngineName.POSTGRESQL:
            assert hostile.figures["other_errors"] == 0, hostile.told
    assert found[isolation.CHECK, "what the engine shows or lends to everybody"].outcome is Outcome.EXPOSED
    load = found[fence.CHECK, "cut-overs under load"].figures
    assert (load["rounds"], load["lost"], load["late"]) == (2, 0, 0)
    assert load["acknowledged"] > 0
    assert load["refused_by_fence"] > 0
    assert 0 < load["pause_ms_median"] <= load["pause_ms_worst"]
    assert found[values.CHECK, "copied as in a move"].figures["compared"] > 700
    assert found[timing.CHECK, "many rows"].figures["rows"] == SMALL.rows + SMALL.writes
    for about in ("provisioning a workspace", "connecting as a tenant", "dropping a workspace"):
        assert found[timing.CHECK, about].figures["ms_median"] > 0


def test_names_of_attempts_are_told_apart() -> None:
    for statements in map(statements_for, EngineName):
        tried = [*statements.hostile.values(), statements.exposed]
        for names in (*([attempt.name for attempt in attempts] for attempts in tried), _old(statements)):
            assert len(set(names)) == len(names)


def _old(statements: Statements) -> list[str]:
    return [old.name for old in statements.old_transactions]


@pytest.mark.parametrize(
    ("right", "about", "attempt"),
    [
        ("SELECT", "reading another workspace", "a table"),
        ("UPDATE", "writing into another workspace", "update"),
    ],
)
def test_a_right_too_many_is_found_and_not_made_use_of(
    right: str,
    about: str,
    attempt: str,
    monkeypatch: pytest.MonkeyPatch,
    pool: Server,
    scratch: Scratch,
    administer: Callable[..., None],
) -> None:
    revoke: list[str] = []

    def grant(made: list[str]) -> None:
        if len(made) == 2:
            own, other = made
            usage = [f"GRANT USAGE ON SCHEMA {other} TO {own}"] if pool.engine is EngineName.POSTGRESQL else []
            administer(*usage, f"GRANT {right} ON {other}.deal_registrations TO {own}")
            revoke.append(f"REVOKE {right} ON {other}.deal_registrations FROM {own}")

    after_provisioning(monkeypatch, pool, grant)
    found = by_subject(isolation.examine(scratch))
    assert found[about].outcome is Outcome.FAILED
    assert f"{attempt}: let through" in found[about].details
    assert "refused" in " ".join(found[about].details)
    assert 0 < found[about].figures["let_through"] < found[about].figures["tried"]
    assert attempt in found[about].told
    assert found["what is left of the other workspace"].ok
    administer(*revoke)


def test_a_login_that_can_do_nothing_does_not_pass_for_isolated(
    monkeypatch: pytest.MonkeyPatch, pool: Server, scratch: Scratch, administer: Callable[..., None]
) -> None:
    monkeypatch.setattr(isolation, "furnish", lambda connection, mark: None)
    found = by_subject(isolation.examine(scratch))
    assert failed(found) == set(found) == {"reading its own workspace"}


def test_a_table_without_its_guard_is_found(
    monkeypatch: pytest.MonkeyPatch, pool: Server, scratch: Scratch, administer: Callable[..., None]
) -> None:
    drop = {
        EngineName.POSTGRESQL: "DROP TRIGGER _guard ON {0}.field_mappings",
        EngineName.SQLSERVER: "DROP TRIGGER {0}._guard_field_mappings",
    }[pool.engine]
    after_provisioning(monkeypatch, pool, lambda made: administer(drop.format(made[-1])))
    found = by_subject(fence.examine(scratch, SMALL))
    tables = found["every table, without the product's own code"]
    assert tables.outcome is Outcome.FAILED
    assert "field_mappings: written" in tables.details
    assert len(tables.details) == len(DATA_TABLES)
    assert sum("refused" in detail for detail in tables.details) == len(DATA_TABLES) - 1
    assert not found["transactions that began before"].ok
    if pool.engine is EngineName.POSTGRESQL:  # on SQL Server the sessions hold the fence by themselves, too
        assert found["cut-overs under load"].figures["late"] > 0


def test_a_capture_that_misses_writes_is_found(monkeypatch: pytest.MonkeyPatch, pool: Server, scratch: Scratch) -> None:
    assert fence._captured(scratch).ok
    capture = pool.capture
    monkeypatch.setattr(pool, "capture", lambda schema, mover, *, on: capture(schema, mover, on=False))
    missed = fence._captured(scratch)
    assert (missed.ok, missed.told) == (False, "Noted were none.")


def test_a_fence_that_does_not_close_is_found(monkeypatch: pytest.MonkeyPatch, pool: Server, scratch: Scratch) -> None:
    monkeypatch.setattr(pool, "set_fence", lambda *arguments, **rest: None)
    found = by_subject(fence.examine(scratch, replace(SMALL, rounds=1)))
    assert failed(found) == set(found) - {"what a capture notes"}
    assert found["cut-overs under load"].figures["late"] > 0


def test_a_write_that_is_lost_is_found(
    monkeypatch: pytest.MonkeyPatch, pool: Server, scratch: Scratch, administer: Callable[..., None]
) -> None:
    set_fence = pool.set_fence

    def forgetful(schema: str, mover: int, *, mode: FenceMode, **rest: Any) -> None:
        set_fence(schema, mover, mode=mode, **rest)
        if mode is FenceMode.MOVED:
            administer(f"DELETE FROM {schema}.field_mappings")

    monkeypatch.setattr(pool, "set_fence", forgetful)
    found = by_subject(fence.examine(scratch, SMALL))["cut-overs under load"]
    assert found.outcome is Outcome.FAILED
    assert found.figures["lost"] > 0


def test_writers_who_write_nothing_prove_nothing(monkeypatch: pytest.MonkeyPatch, scratch: Scratch) -> None:
    monkeypatch.setattr(fence, "WRITERS", 0)
    monkeypatch.setattr(fence, "BEGIN_SECONDS", 0)
    found = by_subject(fence.examine(scratch, SMALL))["cut-overs under load"]
    assert found.outcome is Outcome.FAILED
    assert "prove nothing" in found.told


def test_values_that_change_are_found(
    monkeypatch: pytest.MonkeyPatch, pool: Server, scratch: Scratch, administer: Callable[..., None]
) -> None:
    copy = pool.copy

    def careless(schema: str, target: Server, target_schema: str, mover: int) -> int:
        rows = copy(schema, target, target_schema, mover)
        administer(f"UPDATE {target_schema}.deal_registrations SET deal_amount = 0.0002 WHERE deal_amount = 0.0001")
        return rows

    monkeypatch.setattr(pool, "copy", careless)
    found = by_subject(values.examine(scratch))
    assert failed(found) == {"copied as in a move", "checksums"}
    assert found["copied as in a move"].details == (
        "deal_registrations.deal_amount (amount: one step): Decimal('0.0001') came back as Decimal('0.0002')",
    )
    assert found["checksums"].details == ("deal_registrations",)


def test_a_limit_that_only_the_engine_keeps_is_found(monkeypatch: pytest.MonkeyPatch, scratch: Scratch) -> None:
    beyond = (
        ("a missing time", field_mappings, {"field": "x", "updated_at": None}),
        ("what fits", field_mappings, {"field": "x", "updated_at": now()}),
    )
    monkeypatch.setattr(values, "_BEYOND", beyond)
    found = by_subject(values.examine(scratch))
    assert failed(found) == {"beyond the limits"}
    missing, fits = found["beyond the limits"].details
    assert "updated_at" in missing
    assert fits == "what fits: written"


def test_checksums_that_differ_are_found(monkeypatch: pytest.MonkeyPatch, pool: Server, scratch: Scratch) -> None:
    sums = pool.sums

    def wrong(schema: str) -> dict[str, Any]:
        found = sums(schema)
        return found | {"tenant_keys": replace(found["tenant_keys"], checksum="0" * 16)}

    monkeypatch.setattr(pool, "sums", wrong)
    found = by_subject(values.examine(scratch))
    assert failed(found) == {"checksums"}
    assert "tenant_keys" in found["checksums"].told


def test_a_check_that_cannot_go_on_does_not_hide_the_others(
    monkeypatch: pytest.MonkeyPatch, pool: Server, address: Address
) -> None:
    def broken(*arguments: Any) -> int:
        raise RuntimeError("the driver says\nno")

    monkeypatch.setattr(pool, "copy", broken)
    some: dict[str, Callable[[Scratch], Iterator[Finding]]] = {
        values.CHECK: values.examine,
        timing.CHECK: partial(timing.measure, effort=SMALL),
    }
    monkeypatch.setattr(
        verification, "_checks", lambda scratch, effort: {name: partial(some[name], scratch) for name in some}
    )
    before = {use.schema for use in pool.use()}
    found = list(verify(pool, address, SMALL))
    bad = [(finding.check, finding.told) for finding in found if not finding.ok]
    told = "It could not go on. RuntimeError: the driver says no"
    assert bad == [(values.CHECK, told), (timing.CHECK, told)]
    assert found[-1].check == SCRATCH
    assert {use.schema for use in pool.use()} == before


@pytest.mark.parametrize("steps", [1, 3])
def test_stopping_early_leaves_nothing(pool: Server, address: Address, steps: int) -> None:
    before = {use.schema for use in pool.use()}
    with closing(verify(pool, address, SMALL)) as findings:
        for _ in range(steps):
            next(findings)
    assert {use.schema for use in pool.use()} == before


def test_an_interruption_under_load_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, pool: Server, address: Address
) -> None:
    def interrupted(*arguments: Any, **rest: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pool, "set_fence", interrupted)
    monkeypatch.setattr(
        verification, "_checks", lambda scratch, effort: {"one": partial(fence.examine, scratch, effort)}
    )
    before = {use.schema for use in pool.use()}
    with pytest.raises(KeyboardInterrupt), closing(verify(pool, address, SMALL)) as findings:
        list(findings)
    assert {use.schema for use in pool.use()} == before


def settle(scratch: Scratch) -> Iterator[Finding]:
    """A check that makes two workspaces."""
    made = [scratch.workspace().schema for _ in range(2)]
    yield Finding("one", "settling", Outcome.EXPOSED, "Two were made.", tuple(made))


def test_what_could_not_be_dropped_is_named(monkeypatch: pytest.MonkeyPatch, pool: Server, address: Address) -> None:
    drop, kept = pool.drop, list[str]()

    def reluctant(schema: str, mover: int) -> None:
        if not kept or schema in kept:
            kept[:] = [schema]
            raise Refused(Code.UNAVAILABLE, "The workspace's tables are locked.", "Try again.")
        drop(schema, mover)

    with monkeypatch.context() as patch:
        patch.setattr(pool, "drop", reluctant)
        patch.setattr(verification, "_checks", lambda scratch, effort: {"one": partial(settle, scratch)})
        found = list(verify(pool, address, SMALL))[-1]
        assert (found.check, found.ok) == (SCRATCH, False)
        assert found.details == (f"{kept[0]}: The workspace's tables are locked. Try again.",)
        drop(kept.pop(), 0)
        with pytest.raises(Refused, match="could not be dropped: user_"), closing(verify(pool, address)) as findings:
            next(findings)
            next(findings)
    drop(kept.pop(), 0)


def test_a_server_that_does_not_answer_is_the_only_finding(engine: EngineName) -> None:
    url = {
        EngineName.POSTGRESQL: "postgresql://a:b@127.0.0.1:9/x",
        EngineName.SQLSERVER: "mssql://a:b@127.0.0.1:9/x",
    }[engine]
    (found,) = verify(open_server(engine, url), Address("127.0.0.1", 9, "x"))
    assert (found.check, found.ok) == (SERVER, False)
    assert "does not answer" in found.told


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, services: WorkerServices) -> Callable[..., Any]:
    """Runs `awssome doctor` on the test's registry; one check stands for all."""

    @contextmanager
    def control_plane(settings: Any) -> Iterator[Any]:
        yield SimpleNamespace(registry=services.registry, open_server=services.open_server)

    monkeypatch.setattr(main, "load", lambda: None)
    monkeypatch.setattr(main, "control_plane", control_plane)
    monkeypatch.setattr(verification, "_checks", lambda scratch, effort: {"one": partial(settle, scratch)})
    return lambda *arguments: CliRunner().invoke(cli.app, ["doctor", *arguments])


def test_the_command_prints_what_was_found(command: Callable[..., Any]) -> None:
    done = command("--server", "pool-1", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert {"check", "about", "ok", "outcome", "told", "details", "figures"} == set(found[0])
    assert {finding["outcome"] for finding in found} == {"ok", "exposed"}
    table = command("--server", "pool-1")
    assert table.exit_code == 0
    assert "Two were made." in table.stdout


def test_the_command_fails_when_a_check_does(monkeypatch: pytest.MonkeyPatch, command: Callable[..., Any]) -> None:
    monkeypatch.setattr(verification, "outcome_of", lambda well: Outcome.FAILED)
    done = command("--server", "pool-1", "--json")
    assert done.exit_code == 1
    assert isinstance(done.exception, Refused)
    assert done.exception.message == "1 of 3 checks failed."
    assert [finding["check"] for finding in json.loads(done.stdout) if not finding["ok"]] == [SCRATCH]


def test_the_command_knows_servers_by_name_only(command: Callable[..., Any]) -> None:
    unknown = command("--server", "pool-9")
    assert isinstance(unknown.exception, Refused)
    assert unknown.exception.code is Code.NOT_FOUND
    assert command("--server", "pool-1", "--repair").exit_code == 2
