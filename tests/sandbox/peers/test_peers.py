"""HubSpot's own clients and public extractors read the sandbox, and see the seeded truth value for value.

Each runs in an environment of its own, locked in requirements/readers-*.txt, as a script that knows nothing of the
truth. Some have HubSpot's address built in; for those alone `requests` is led to the sandbox.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.sandbox.conftest import APP, NORTHWIND, running

pytestmark = pytest.mark.peers

ROOT = Path(__file__).parents[3]
TOKEN = "pat-na1-of-the-tests"
COUNT = 460
READERS = [
    ("clients", "official_client"),
    ("clients", "official_sdk"),
    ("clients", "dlt_rest_api"),
    ("meltano", "meltano_tap"),
    ("airbyte", "airbyte_source"),
    ("singer", "singer_tap"),
]
FOLLOWING = ("official_client", "dlt_rest_api", "meltano_tap")
"""Readers that follow a list's cursor to its end. `hubspot-sdk` is none of them: it stops at the first empty page."""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, Any]]]:
    """A sandbox's address and the truth about its first portal."""
    file = tmp_path_factory.mktemp("peers") / "truth.json"
    options = ("--deals", str(COUNT), "--seed", "11", "--truth", str(file), "--rate-limit", "off")
    with running("hubspot", "--app", APP, "--private-app", f"{TOKEN}:{NORTHWIND}", *options) as said:
        yield said["url"], json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("environment", "reader"), READERS, ids=[reader for _, reader in READERS])
def test_a_reader_sees_the_truth(sandbox, tmp_path: Path, environment: str, reader: str) -> None:
    url, truth = sandbox
    views = read(url, environment, reader, tmp_path)
    live = {deal["id"]: deal["properties"] for deal in truth["deals"] if not deal["archived"]}
    archived = {deal["id"]: deal["properties"] for deal in truth["deals"] if deal["archived"]}
    assert len(live) == COUNT
    assert_same(live, views["live"])
    for name in {"searched", "batched"} & set(views):
        assert_same(live, views[name])
    for id_, properties in views.get("single", {}).items():
        assert_same({id_: live[id_]}, {id_: properties})
    if "archived" in views:
        assert_same(archived, views["archived"])
    for name in {"companies", "contacts"} & set(views):
        assert views[name] == {d["id"]: d[name] for d in truth["deals"] if d[name] and not d["archived"]}
    for id_, stage in views.get("newest_stage", {}).items():
        assert stage == live[id_]["dealstage"]
    stages = {deal["dealstage"] for deal in live.values()}
    assert stages <= set(views.get("stages", stages))
    assert views["owners"] == ["nora@northwind-cloud.com", "sam@northwind-cloud.com"]
    assert views.get("missing", 404) == 404


@pytest.mark.parametrize(("environment", "reader"), [r for r in READERS if r[1] in FOLLOWING], ids=FOLLOWING)
def test_a_reader_that_follows_the_cursor_sees_it_through_short_and_empty_pages(
    sandbox, tmp_path: Path, environment: str, reader: str
) -> None:
    url, truth = sandbox
    httpx2.post(f"{url}/_sandbox/faults", json={"short_list_pages": True}).raise_for_status()
    try:
        views = read(url, environment, reader, tmp_path)
    finally:
        httpx2.delete(f"{url}/_sandbox/faults")
    assert_same({deal["id"]: deal["properties"] for deal in truth["deals"] if not deal["archived"]}, views["live"])


def read(url: str, environment: str, reader: str, folder: Path) -> dict[str, Any]:
    """What a reader handed over."""
    python = ROOT / ".venv-readers" / environment / "bin" / "python"
    script = Path(__file__).parent / "readers" / f"{reader}.py"
    found = folder / "found.json"
    home = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "RUNTIME__DLTHUB_TELEMETRY": "false"}
    command = [str(python), str(script), url, TOKEN, str(found)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, env=home, cwd=folder)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(found.read_text(encoding="utf-8"))


def assert_same(truth: dict[str, dict[str, Any]], found: dict[str, dict[str, Any]]) -> None:
    """Every deal once, and every value the same; a value that a reader does not tell is empty."""
    assert set(found) == set(truth)
    differing = [
        (id_, name, value, found[id_].get(name))
        for id_, properties in truth.items()
        for name, value in properties.items()
        if not same(value, found[id_].get(name))
    ]
    assert differing == []


def same(truth: str | None, found: Any) -> bool:
    """Whether a reader's value says what the truth says, in the type that the reader gives it."""
    if truth is None or found is None or truth == found:
        return truth == found
    if isinstance(found, bool):
        return truth == str(found).lower()
    if isinstance(found, int | float):
        return Decimal(truth) == Decimal(str(found))
    try:
        return datetime.fromisoformat(truth) == datetime.fromisoformat(str(found))
    except ValueError:
        return False
