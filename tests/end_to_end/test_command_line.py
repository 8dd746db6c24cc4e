"""The operators' commands against a management service and a worker that run as processes of their own."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import httpx2
import psycopg
import pytest

from awssome import cli, main
from awssome.config import Settings
from awssome.database import embedded
from awssome.database.registry import tenants
from awssome.demo.browser import Browser
from awssome.workflows import watching
from awssome.workflows.supervisor import Child

# Its processes are started once, by one of those who test at the same time.
pytestmark = pytest.mark.xdist_group("command line")


@dataclass(frozen=True)
class Result:
    """What a command came to."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which has to be one JSON document."""
        assert self.status == 0, self.err
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture(scope="module")
def platform() -> Iterator[Settings]:
    """Management and a worker under its supervisor, with a home of their own; the settings that reach them."""
    with tempfile.TemporaryDirectory(prefix="awssome-") as home, pytest.MonkeyPatch.context() as patch:
        Path(home).chmod(0o755)
        for name in [name for name in os.environ if name.startswith("AWSSOME_")]:
            patch.delenv(name)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        patch.setenv("AWSSOME_HOME", home)
        patch.setenv("AWSSOME_MANAGEMENT_PORT", port)
        patch.setenv("AWSSOME_SMTP_URL", "smtp://127.0.0.1:9")
        served = {**os.environ}
        patch.delenv("AWSSOME_MANAGEMENT_PORT")  # the commands find it by what was served last
        logs = Path(home) / "logs"
        logs.mkdir()
        children = [
            Child(name, [sys.executable, "-m", "awssome.cli", "serve", name], served, log=logs / name)
            for name in ("management", "worker")
        ]
        try:
            for child in children:
                child.start()
            until(lambda: answers(f"http://127.0.0.1:{port}"), lambda: (logs / "management").read_text())
            yield main.load()
        finally:
            for child in children:
                child.ask_to_end()
            for child in children:
                child.stop()
            for directory, _, _ in main.EMBEDDED:
                embedded.remove(Path(home), directory)
        assert [child.ended() for child in children] == [0, 0]


@pytest.fixture
def run(platform: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `awssome` with the arguments."""

    def ran(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["awssome", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return Result(int(ended.value.code or 0), said.out, said.err)

    return ran


@pytest.fixture(scope="module")
def tenant(platform: Settings) -> dict[str, Any]:
    """A tenant that was made from the command line, by a process, as operators make it."""
    command = ["tenant", "create", "--email", "alice@northwind.example", "--company", "Northwind Cloud", "--json"]
    done = subprocess.run([sys.executable, "-m", "awssome.cli", *command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    made: dict[str, Any] = json.loads(done.stdout)
    return made


@pytest.fixture(scope="module")
def attacker(tenant: dict[str, Any]) -> dict[str, Any]:
    """The tenant's login as it is printed, after it was used for what it must not do."""
    command = ["tenant", "credentials", tenant["slug"], "--json"]
    done = subprocess.run([sys.executable, "-m", "awssome.cli", *command], capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    where = {name: found[name] for name in ("host", "port", "user", "password")}
    with psycopg.connect(**where, dbname=found["database"], autocommit=True) as connection:
        for statement in (b"SELECT rolpassword FROM pg_authid", b"SELECT pg_read_file('/etc/passwd')"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(**where, dbname="awssome_control")
    return found


def until(true: Callable[[], bool], told: Callable[[], str] = lambda: "", seconds: float = 60.0) -> None:
    """Wait for something that happens in another process."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, told()
        time.sleep(0.1)


def answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/healthz").is_success
    except httpx2.HTTPError:
        return False


def test_a_created_tenant_is_active_and_is_listed(run: Run, tenant: dict[str, Any]) -> None:
    assert (tenant["state"], tenant["tier"], tenant["server"]) == ("active", "free", "pool-1")
    (row,) = run("tenant", "list", "--search", "northwind", "--json").json
    assert {"id", "slug", "company", "tier", "state", "server"} <= set(row)
    assert row["id"] == tenant["id"]
    assert run("tenant", "show", row["slug"], "--json").json == run("tenant", "show", row["id"], "--json").json
    assert [member["email"] for member in tenant["members"]] == ["alice@northwind.example"]
    for command in (["tenant", "list"], ["tenant", "show", "northwind-cloud"]):
        shown = run(*command)
        assert shown.status == 0
        assert "Northwind Cloud" in shown.out


def test_a_list_goes_on_beyond_one_page_unless_limited(
    run: Run, tenant: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("tenant", "create", "--email", "bob@tailspin.example", "--company", "Tailspin Toys", "--no-wait", "--json")
    monkeypatch.setattr("awssome.cli.tenants._PAGE", 1)
    assert len(run("tenant", "list", "--json").json) == 2
    assert len(run("tenant", "list", "--limit", "1", "--json").json) == 1


@pytest.mark.usefixtures("attacker")  # the last test looks for what came of it
def test_credentials_open_the_tenants_own_tables_and_are_audited(run: Run, tenant: dict[str, Any]) -> None:
    found = run("tenant", "credentials", tenant["slug"], "--json").json
    assert list(found) == ["engine", "host", "port", "database", "schema", "user", "password"]
    with psycopg.connect(
        host=found["host"],
        port=found["port"],
        dbname=found["database"],
        user=found["user"],
        password=found["password"],
    ) as connection:
        query = f"SELECT count(*) FROM {found['schema']}.deal_registrations"
        assert connection.execute(query.encode()).fetchone() == (0,)
    lines = run("audit", "--limit", "20", "--json").json
    assert {"action": "tenant.credentials_shown", "actor": "token:command line", "tenant_id": tenant["id"]}.items() <= (
        next(line for line in lines if line["action"] == "tenant.credentials_shown").items()
    )
    assert found["password"] not in json.dumps(lines)
    assert "tenant.credentials_shown" in run("audit").out


class Outsider:
    """Somebody who writes with the login that `awssome tenant credentials` prints, whatever it prints by then."""

    def __init__(self, slug: str) -> None:
        self._command = [sys.executable, "-m", "awssome.cli", "tenant", "credentials", slug, "--json"]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.acknowledged: list[str] = []
        self.refused: list[str] = []
        self.unknown: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        until(lambda: len(self.acknowledged) > 10)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def goes_on(self) -> None:
        """Writes are acknowledged again."""
        enough = len(self.acknowledged) + 10
        until(lambda: len(self.acknowledged) > enough)

    def found(self) -> set[str]:
        """What is there of it now; it is gone afterwards."""
        schema, connection = self._connected()
        with connection:
            rows = connection.execute(f"DELETE FROM {schema}.stage_mappings WHERE stage = 'out' RETURNING pipeline")
            return {row[0] for row in rows.fetchall()}

    def _connected(self) -> tuple[str, psycopg.Connection[Any]]:
        done = subprocess.run(self._command, capture_output=True, text=True, check=True)
        login = json.loads(done.stdout)
        where = {name: login[name] for name in ("host", "port", "user", "password")}
        return login["schema"], psycopg.connect(**where, dbname=login["database"], autocommit=True)

    def _write(self) -> None:
        number = 0
        while not self._stop.is_set():
            with suppress(psycopg.OperationalError):  # it moved between the answer and the connection
                schema, connection = self._connected()
                with connection:
                    while not self._stop.is_set():
                        number += 1
                        if not self._one(connection, schema, f"out-{number}"):
                            break
                        time.sleep(0.005)

    def _one(self, connection: psycopg.Connection[Any], schema: str, key: str) -> bool:
        try:
            connection.execute(f"INSERT INTO {schema}.stage_mappings VALUES (%s, '', 'out', now())", (key,))
        except psycopg.OperationalError:
            self.unknown.append(key)
            return False
        except psycopg.Error:
            self.refused.append(key)
            return False
        self.acknowledged.append(key)
        return True


def test_upgrade_and_rollback_lose_nothing_that_an_outsider_writes(run: Run, tenant: dict[str, Any]) -> None:
    with Outsider(tenant["slug"]) as outsider:
        _upgrade_and_rollback(run, tenant, outsider)
    found = outsider.found()
    assert found >= {*outsider.acknowledged}
    assert not found & {*outsider.refused}
    assert outsider.refused or outsider.unknown  # at the end of each move, at the latest, its session was


def _upgrade_and_rollback(run: Run, tenant: dict[str, Any], outsider: Outsider) -> None:
    """Both wait for the move, and show its evidence."""
    up = run("tenant", "upgrade", tenant["slug"], "--json").json
    outsider.goes_on()
    assert (up["kind"], up["source"], up["target"], up["phase"]) == ("upgrade", "pool-1", "dedicated-1", "retaining")
    assert up["verified"]
    assert all(table["source"] == table["target"] for table in up["tables"])
    assert run("tenant", "show", tenant["slug"], "--json").json["tier"] == "paid"
    again = run("tenant", "upgrade", tenant["slug"])
    assert (again.status, again.out) == (1, "")
    assert "has a dedicated server already" in again.err

    back = run("tenant", "rollback", tenant["slug"], "--no-wait", "--json").json
    assert back["kind"] == "rollback"
    until(lambda: run("move", "show", back["id"], "--json").json["phase"] == "retaining")
    assert run("tenant", "show", tenant["slug"], "--json").json["server"] == "pool-1"
    outsider.goes_on()
    assert [move["kind"] for move in run("move", "list", "--json").json] == ["rollback", "upgrade"]
    assert "dedicated-1" in run("move", "list").out
    shown = run("move", "show", up["id"])
    assert "deal_registrations" in shown.out

    late = run("move", "cancel", up["id"])
    assert (late.status, late.out) == (1, "")
    assert "can no longer be cancelled" in late.err
    assert run("move", "retry", up["id"]).status == 1

    assert [move["id"] for move in run("move", "list", "--kind", "rollback", "--state", "kept", "--json").json] == [
        back["id"]
    ]
    assert run("move", "list", "--state", "failed").out == "There are no such moves.\n"
    told = run("tenant", "downgrade", tenant["slug"], "--yes")
    assert told.out == "The tenant is on the free tier now. Its data stays where it is.\n"
    assert run("tenant", "show", tenant["slug"], "--json").json["tier"] == "free"
    twice = run("tenant", "downgrade", tenant["slug"], "--yes")
    assert twice.status == 1 and "is on the free tier already" in twice.err
    declined = run("tenant", "decline", tenant["slug"])
    assert declined.status == 1 and "Nobody asks for the paid tier" in declined.err


def test_a_tenant_is_exported_into_a_file_and_brought_back_from_it(
    run: Run, tenant: dict[str, Any], tmp_path: Path
) -> None:
    ref, file = tenant["slug"], tmp_path / "northwind.zip"
    made = run("tenant", "export", ref, "--to", str(file), "--json").json
    assert hashlib.sha256(file.read_bytes()).hexdigest() == made["sha256"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert run("tenant", "export", ref, "--to", str(file)).status == 1  # what is there is not written over
    assert made["id"] in [row["id"] for row in run("tenant", "archives", ref, "--json").json]
    before = run("tenant", "credentials", ref, "--json").json
    beside = run("tenant", "restore", ref, "--archive", made["id"], "--beside", "--json").json
    assert (beside["state"], beside["verified"], beside["beside"]) == ("done", True, True)
    assert run("tenant", "credentials", ref, "--json").json == before
    login = run("tenant", "credentials", ref, "--placement", beside["placement_id"], "--json").json
    assert login["schema"] == beside["schema_name"] != before["schema"]
    restored = run("tenant", "restore", ref, "--from", str(file), "--json").json
    assert (restored["state"], restored["verified"], restored["rows"]) == ("done", True, made["rows"])
    assert run("tenant", "credentials", ref, "--json").json["schema"] == restored["schema_name"]
    shown = run("tenant", "archives", ref)
    assert "uploaded" in shown.out
    file.write_bytes(file.read_bytes()[:-40])
    damaged = run("tenant", "restore", ref, "--from", str(file))
    assert (damaged.status, "damaged" in damaged.err) == (1, True)
    assert run("tenant", "restore", ref).status == 1, "it is not away, and no archive is named"
    assert run("tenant", "restore", ref, "--archive", made["id"], "--from", str(file)).status == 2


def test_a_suspended_tenant_is_locked_out_until_it_is_resumed(run: Run, tenant: dict[str, Any]) -> None:
    login = run("tenant", "credentials", tenant["slug"], "--json").json

    def opens() -> bool:
        try:
            psycopg.connect(
                host=login["host"],
                port=login["port"],
                dbname=login["database"],
                user=login["user"],
                password=login["password"],
            ).close()
        except psycopg.OperationalError:
            return False
        return True

    assert opens()
    assert run("tenant", "suspend", tenant["slug"], "--json").json["state"] == "suspended"
    until(lambda: not opens())
    assert run("tenant", "suspend", tenant["slug"]).status == 1
    assert run("tenant", "resume", tenant["slug"], "--json").json["state"] == "active"
    until(opens)


def test_servers_are_added_when_a_worker_has_checked_them(run: Run, platform: Settings) -> None:
    with main.control_plane(platform) as plane:
        from awssome.database.registry import servers

        with plane.registry.begin() as connection:
            pool = servers.by_name(connection, "pool-1")
            _, url = servers.admin_url(connection, plane.keys, pool.id)
    added = run("server", "add", "--name", "pool-2", "--url", url, "--capacity", "5", "--json").json
    assert (added["open"], added["kind"], added["capacity"]) == (True, "pool", 5)
    assert not run("server", "close", "pool-2", "--json").json["open"]
    assert {server["name"] for server in run("server", "list", "--json").json} == {"pool-1", "pool-2", "dedicated-1"}
    assert run("server", "show", "pool-2", "--json").json["id"] == added["id"]
    assert "pool-2" in run("server", "list").out

    dead = run("server", "add", "--name", "pool-3", "--url", "postgresql://admin:hush-hush@127.0.0.1:9/tenants")
    assert (dead.status, dead.out) == (1, "")
    assert "does not answer" in dead.err
    assert "hush-hush" not in dead.err


def test_a_server_is_shown_with_who_uses_it_and_what_is_wrong(
    run: Run, platform: Settings, tenant: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with main.control_plane(platform) as plane:
        watching.collect(main.worker_services(plane))
        capsys.readouterr()  # a worker logs which server is silent
        with plane.registry.begin() as connection:
            tenants.change(connection, UUID(tenant["id"]), hubspot_state="reconnect")
    shown = run("server", "show", "pool-1", "--json").json
    assert tenant["slug"] in [consumer["slug"] for consumer in shown["consumers"]]
    assert shown["load"]["connections"] > 0
    assert shown["days"][-1]["tenants"] > 0
    told = run("server", "show", "pool-1", "--sort", "statement_seconds")
    assert "Northwind Cloud" in told.out
    assert "Full on" in told.out
    alerts = run("alerts", "--json").json
    assert tenant["slug"] in [alert["tenant_slug"] for alert in alerts if alert["rule"] == "hubspot_token_stale"]
    assert "HubSpot token is stale" in run("alerts", "--all").out
    with main.control_plane(platform) as plane, plane.registry.begin() as connection:
        tenants.change(connection, UUID(tenant["id"]), hubspot_state="none")
    assert all(alert["rule"] != "hubspot_token_stale" for alert in run("alerts", "--json").json)


def test_an_operator_signs_in_with_the_password_that_is_printed_once(run: Run, platform: Settings) -> None:
    made = run("operator", "create", "--email", "olga@awssome.example", "--name", "Olga", "--json").json
    assert set(made) == {"id", "email", "name", "password"}
    with Browser(platform.remembered()["management"]) as olga:
        olga.open("/sign-in")
        olga.submit("/sign-in", {"email": made["email"], "password": made["password"]}, button="Sign in").find(
            made["email"]
        )
    again = run("operator", "create", "--email", "olga@awssome.example", "--name", "Olga")
    assert (again.status, again.out) == (1, "")


def test_migrate_and_doctor_look_below_the_platform(run: Run, tenant: dict[str, Any]) -> None:
    migrated = run("migrate", "--json").json
    assert migrated["behind"] == 0
    assert migrated["failed"] == {}
    assert run("migrate", "--dry-run").status == 0
    # One server under two names has every schema twice, once as an orphan; other tests may have added it.
    checks = {(finding["check"], finding["about"]): finding for finding in json.loads(run("doctor", "--json").out)}
    assert checks["registry", "registry"]["ok"]
    assert checks["audit log", "registry"]["ok"]
    for check in ("server", "missing schemas", "revisions"):
        assert checks[check, "pool-1"]["ok"]
        assert checks[check, "dedicated-1"]["ok"]


def test_a_killed_worker_is_replaced_and_work_goes_on(run: Run, platform: Settings, tenant: dict[str, Any]) -> None:
    def worker() -> int | None:
        found = subprocess.run(["pgrep", "-f", "serve worker --unsupervised"], capture_output=True, text=True).stdout
        ours = [
            int(pid)
            for pid in found.split()
            if f"AWSSOME_HOME={platform.home}\0" in Path(f"/proc/{pid}/environ").read_text()
        ]
        return ours[0] if ours else None

    first = worker()
    assert first
    os.kill(first, signal.SIGKILL)
    made = run("tenant", "create", "--email", "carol@wingtip.example", "--company", "Wingtip", "--json").json
    assert made["state"] == "active"
    assert worker() not in (None, first)


@pytest.mark.parametrize(
    "arguments",
    [
        ["tenant", "upgrade"],
        ["tenant", "frobnicate"],
        ["move", "show", "not-an-id"],
        ["server", "add", "--name", "x"],
        ["server", "add", "--name", "x", "--url", "y", "--kind", "heap"],
        ["serve", "worker", "--queue", "none-such"],
        ["demo", "--deals", "none"],
    ],
)
def test_wrong_usage_is_status_2(run: Run, arguments: list[str]) -> None:
    wrong = run(*arguments)
    assert (wrong.status, wrong.out) == (2, "")
    assert "Usage" in wrong.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["tenant", "show", "nobody"],
        ["tenant", "credentials", "nobody"],
        ["tenant", "move", "northwind-cloud", "--server", "nowhere"],
        ["tenant", "create", "--email", "no address", "--company", "X"],
        ["server", "show", "nowhere"],
        ["move", "show", "00000000-0000-0000-0000-000000000000"],
    ],
)
def test_a_refusal_is_status_1_with_its_reason_on_standard_error(
    run: Run, tenant: dict[str, Any], arguments: list[str]
) -> None:
    refused = run(*arguments, "--json")
    assert (refused.status, refused.out) == (1, "")
    assert refused.err.startswith("Error: ")
    assert "Traceback" not in refused.err


def test_without_a_token_or_a_service_the_command_says_what_to_do(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWSSOME_HOME", str(tmp_path))
    assert "no operator token" in run("tenant", "list").err
    monkeypatch.setenv("AWSSOME_OPERATOR_TOKEN", "o" * 43)
    monkeypatch.setenv("AWSSOME_CONTROL_URL", "http://127.0.0.1:9")
    silent = run("tenant", "list")
    assert (silent.status, silent.out) == (1, "")
    assert "does not answer" in silent.err
    monkeypatch.setenv("AWSSOME_PORTAL_PORT", "none")
    assert "AWSSOME_PORTAL_PORT" in run("tenant", "list").err


def test_a_port_that_is_taken_is_told_at_once(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        (tmp_path / "demo").touch()
        monkeypatch.setenv("AWSSOME_HOME", str(tmp_path))
        monkeypatch.setenv("AWSSOME_PORTAL_PORT", str(taken.getsockname()[1]))
        refused = run("serve", "portal")
    for number, handler in handlers.items():
        signal.signal(number, handler)
    assert refused.status == 1
    assert "Cannot listen on 127.0.0.1" in refused.err
    assert "holds the data of a demo" in refused.err


@pytest.mark.parametrize("name", ["hubspot", "aws", "mail"])
def test_a_sandbox_takes_its_own_options(name: str) -> None:
    command = [sys.executable, "-m", "awssome.cli", "sandbox", name, "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    assert f"awssome sandbox {name}" in done.stdout
    assert "--port" in done.stdout


def test_what_a_login_was_refused_is_in_the_audit_log_within_about_a_minute(
    run: Run, tenant: dict[str, Any], attacker: dict[str, Any]
) -> None:
    def refusals() -> set[tuple[str, str, str]]:
        lines = [line for line in run("audit", "--limit", "1000", "--json").json if line["actor"] == attacker["user"]]
        assert all((line["action"], line["tenant_id"]) == ("database.refused", tenant["id"]) for line in lines)
        return {(line["detail"]["code"], line["detail"]["command"], line["detail"].get("what", "")) for line in lines}

    expected = {("42501", "SELECT", "table"), ("42501", "SELECT", "function"), ("42501", "startup", "database")}
    until(lambda: expected <= refusals(), lambda: str(refusals()), seconds=90)
    assert attacker["user"] in run("audit", "--limit", "1000").out


def test_a_rotated_login_has_another_password_and_all_are_rotated_with_a_count(
    run: Run, tenant: dict[str, Any]
) -> None:
    before = run("tenant", "credentials", tenant["slug"], "--json").json
    assert run("tenant", "rotate", tenant["slug"], "--json").json == {"asked": 1, "failed": 0}
    after = run("tenant", "credentials", tenant["slug"], "--json").json
    assert {**before, "password": ""} == {**after, "password": ""}
    assert before["password"] != after["password"]
    done = run("tenant", "rotate", "--all", "--json").json
    assert done["asked"] >= 1
    assert done["failed"] == 0
    again = run("tenant", "credentials", tenant["slug"], "--json").json
    assert again["password"] not in (before["password"], after["password"])
    assert run("tenant", "rotate").status == 2
    assert run("tenant", "rotate", tenant["slug"], "--all").status == 2


def test_a_servers_load_is_shown_and_its_capacity_set(run: Run, tenant: dict[str, Any]) -> None:
    shown = run("server", "show", "pool-1", "--json").json
    assert {"tenants", "retained", "free", "fill_percent", "takes_tenants", "drain"} <= set(shown)
    few = shown["tenants"] + shown["retained"]
    full = run("server", "set", "pool-1", "--capacity", str(few), "--json").json
    assert (full["free"], full["fill_percent"], full["open"], full["takes_tenants"]) == (0, 100.0, True, False)
    again = run("server", "set", "pool-1", "--capacity", str(shown["capacity"]), "--json").json
    assert again["takes_tenants"]
    run("server", "close", "pool-1")
    assert run("server", "open", "pool-1", "--json").json["takes_tenants"]
    text = run("server", "show", "pool-1").out
    assert "Free places" in text
    assert run("server", "show", "none").status == 1


def test_a_drain_is_planned_and_refused_in_words(run: Run, tenant: dict[str, Any]) -> None:
    plan = run("server", "drain", "pool-1", "--until-below", "1", "--dry-run", "--json").json
    assert (plan["server"], plan["keep"], plan["order"]) == ("pool-1", 0, "longest unseen first")
    assert {move["to"] for move in plan["moves"]} <= {None}, "there is no other pool"
    assert run("server", "drain", "pool-1").status == 2
    refused = run("server", "drain", "dedicated-1", "--tenants", "1")
    assert (refused.status, refused.out) == (1, "")
    assert "dedicated to one tenant" in refused.err
    assert run("server", "drain", "pool-1", "--stop").status == 1


def test_a_tenant_is_deleted_and_restored_from_the_command_line(run: Run, platform: Settings) -> None:
    made = run("tenant", "create", "--email", "lea@leaving.example", "--company", "Leaving Co", "--json").json
    gone = run("tenant", "delete", made["slug"], "--yes", "--json").json
    assert (gone["state"], gone["retain_until"] is not None) == ("retained", True)
    until(lambda: run("tenant", "show", made["id"], "--json").json["server"] is None)
    until(lambda: {p["state"] for p in run("tenant", "show", made["id"], "--json").json["placements"]} == {"dropped"})
    assert [archive["kind"] for archive in run("tenant", "archives", made["id"], "--json").json] == ["final"]
    back = run("tenant", "restore", made["slug"], "--json").json
    assert (back["state"], back["server"], back["retain_until"]) == ("active", "pool-1", None)
    again = run("tenant", "restore", made["slug"])
    assert (again.status, again.out) == (1, "")
    assert "nothing to bring back" in again.err


def test_doctor_finds_nothing_and_drops_only_what_is_named(run: Run, tenant: dict[str, Any]) -> None:
    # One server under two names has every schema twice, once as an orphan; other tests may have added it.
    found = json.loads(run("doctor", "--json").out)
    assert {finding["check"] for finding in found if not finding["ok"]} <= {"orphaned schemas", "server"}
    assert run("doctor", "--repair", "--drop", "user_0123456789abcdef").status == 2
    refused = run("doctor", "--drop", "user_0123456789abcdef")
    assert refused.status == 1
    assert "has a schema user_0123456789abcdef" in refused.err  # another test's server does not answer
