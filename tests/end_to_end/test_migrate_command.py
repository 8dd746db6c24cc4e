"""`awssome migrate` on a registry and a pool of its own, as the version to come runs it."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rich.console import Console

from awssome import cli
from awssome.cli import migrate as command
from awssome.database import migrate, template
from awssome.database.registry import placements
from awssome.domain.tenants import EngineName
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.engines import as_administrator, only_postgresql
from tests.versions import EXPAND, NEXT, write_revision

Run = Callable[..., Any]

pytestmark = only_postgresql  # the command knows no engine


@pytest.fixture
def run(
    engine: EngineName,
    registry_url: str,
    secret_key: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    """Runs `awssome migrate` of the version to come: its own template has one revision more."""
    revisions = tmp_path / "tenant" / "revisions"
    shutil.copytree(template._REVISIONS, revisions)
    (to_come,) = write_revision(tmp_path / "to_come", EXPAND)
    for file in to_come.glob("*.py"):
        shutil.copy(file, revisions)
    for name in [name for name in os.environ if name.startswith("AWSSOME_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWSSOME_HOME", str(tmp_path))
    monkeypatch.setenv("AWSSOME_DATABASE_URL", registry_url)
    monkeypatch.setenv("AWSSOME_SECRET_KEY", secret_key)
    cached = (template.head, template.older, template.statements, template._steps)

    def ran(*arguments: str) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(template, "_REVISIONS", revisions)
            patch.setattr(sys, "argv", ["awssome", "migrate", *arguments])
            for function in cached:
                function.cache_clear()
            with pytest.raises(SystemExit) as ended:
                cli.main()
        for function in cached:
            function.cache_clear()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    yield ran


def test_a_dry_run_tells_what_is_behind_and_changes_nothing(
    run: Run, services: WorkerServices, make_tenant: Callable[..., Tenancy]
) -> None:
    tenancies = [make_tenant() for _ in range(3)]
    status, out, err = run("--dry-run")
    assert (status, err) == (0, "")
    assert "3 tenant schemas behind 9000." in out
    assert re.search(rf"pool-1 +postgresql +{template.head()} +3\n", out)
    assert "ALTER TABLE" not in out

    told = json.loads(run("--dry-run", "--sql", "--json")[1])
    assert told["behind"] == 3
    assert told["servers"] == [{"server": "pool-1", "engine": "postgresql", "revision": template.head(), "behind": 3}]
    ((what, sql),) = told["sql"].items()
    assert what == f"postgresql from {template.head()} to 9000"
    assert f"ALTER TABLE {template.TENANT}.deal_registrations ADD COLUMN rating" in sql
    assert sql.strip() in run("--dry-run", "--sql")[1]
    assert _revisions(services, tenancies) == {template.head()}


def test_a_dry_run_does_not_touch_a_registry_that_is_behind(
    run: Run, services: WorkerServices, make_tenant: Callable[..., Tenancy], registry_url: str
) -> None:
    make_tenant()
    _as_of_version_before(registry_url)
    status, out, err = run("--dry-run")
    assert (status, err) == (0, "")
    assert f"The registry goes from 0002 to {migrate.registry_head()}." in out
    assert "1 tenant schema behind 9000." in out
    assert json.loads(run("--dry-run", "--json", "--only", "nobody")[1])["behind"] == 0
    assert migrate.registry_revision(registry_url) == "0002"


def test_an_empty_registry_has_nobody_behind(run: Run, registry_url: str) -> None:
    with psycopg.connect(registry_url.replace("+psycopg", "")) as connection:
        connection.execute("DROP TABLE alembic_version")
    told = json.loads(run("--dry-run", "--json")[1])
    assert (told["registry"], told["behind"]) == (None, 0)


def test_one_tenant_goes_first_then_a_server_then_all(
    run: Run, services: WorkerServices, make_tenant: Callable[..., Tenancy]
) -> None:
    tenancies = [make_tenant() for _ in range(3)]
    told = json.loads(run("--only", tenancies[1].slug, "--json")[1])
    assert (told["behind"], told["migrated"], told["failed"]) == (1, 1, {})
    assert _revisions(services, [tenancies[1]]) == {NEXT}
    assert _revisions(services, [tenancies[0], tenancies[2]]) == {template.head()}
    status, out, err = run("--server", "pool-1", "--connections", "2")
    assert (status, err) == (0, "")
    assert "2 of 2 tenant schemas brought to 9000." in out
    assert "No tenant is behind." in run()[1]
    assert _revisions(services, tenancies) == {NEXT}


def test_those_that_fail_are_listed_and_the_status_tells(
    run: Run, make_tenant: Callable[..., Tenancy], pool_url: str
) -> None:
    well, ill = make_tenant("Well"), make_tenant("Ill")
    as_administrator(
        ill.placement.engine, pool_url, f"ALTER TABLE {ill.placement.schema}.stage_mappings ADD COLUMN note text"
    )
    status, out, err = run()
    assert status == 1
    assert "1 of 2 tenant schemas brought to 9000." in out
    assert re.search(rf"ill +pool-1 +{ill.placement.schema} +column .note. .* already exists", out)
    assert well.placement.schema not in out
    assert "1 tenant schema still behind. ill: column" in err
    assert "Traceback" not in err

    status, out, err = run("--json")
    told = json.loads(out)
    assert status == 1
    assert (told["behind"], told["migrated"]) == (1, 0)
    assert told["failed"][ill.placement.schema]["tenant"] == "ill"


def test_a_terminal_shows_how_far_it_is(
    run: Run, make_tenant: Callable[..., Tenancy], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        make_tenant()
    terminal = io.StringIO()
    monkeypatch.setattr(command, "status", lambda: Console(file=terminal, force_terminal=True, width=100))
    assert run()[0] == 0
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    assert re.search(r"Tenants ━+ 2/2 \d+/s 0:00:00", shown)


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["--only", "nobody"], 1, "There is no tenant “nobody”."),
        (["--server", "nowhere"], 1, "There is no server “nowhere”."),
        (["--dry-run", "--only", "nobody"], 1, "There is no tenant “nobody”."),
        (["--sql"], 2, "--dry-run"),
        (["--connections", "0"], 2, "--connections"),
    ],
)
def test_what_cannot_be_done_is_refused(run: Run, arguments: list[str], status: int, told: str) -> None:
    got, out, err = run(*arguments)
    assert (got, out) == (status, "")
    assert told in err


def _revisions(services: WorkerServices, tenancies: list[Tenancy]) -> set[str]:
    """What fences say, and the registry."""
    with services.registry.begin() as connection:
        found = set()
        for tenancy in tenancies:
            (row,) = placements.of_tenant(connection, tenancy.id)
            fence = services.open_server(placements.server_of(connection, row.id)).fence(row.schema_name)
            assert fence is not None
            found |= {row.revision, fence.revision}
    return found


def _as_of_version_before(url: str) -> None:
    """A registry as 0002 left it, as far as `placements` and `tenants` go."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0002'")
        connection.execute("ALTER TABLE placements DROP COLUMN problem")
        connection.execute("ALTER TABLE tenants DROP COLUMN seen_at, DROP COLUMN retain_until")
