"""The embedded server's log as files: read on from where one stopped, bounded, and nobody forges a line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from awssome.database import embedded_log
from awssome.database.embedded_log import KEPT_FILES, EmbeddedLog
from awssome.database.engine import LogReading
from awssome.database.postgresql.refusals import refusals

LINE = {"error_severity": "ERROR", "state_code": "42501", "timestamp": "2026-01-01 00:00:00.000 UTC", "user": "user_1"}


def line(**changed: str) -> bytes:
    return json.dumps(LINE | changed, separators=(",", ":")).encode() + b"\n"


def test_files_are_read_on_from_where_one_stopped_and_the_oldest_go(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path)
    assert log.read("") == LogReading((), "")
    first, second = tmp_path / "server-20260101-000000.json", tmp_path / "server-20260102-000000.json"
    first.write_bytes(line(user="user_1") + line(user="user_2")[:-5])
    found = log.read("")
    assert [one.login for one in found.refusals] == ["user_1"]
    first.write_bytes(line(user="user_1") + line(user="user_2"))
    second.write_bytes(line(user="user_3"))
    found = log.read(found.position)
    assert [one.login for one in found.refusals] == ["user_2", "user_3"]
    assert log.read(found.position) == LogReading((), found.position)
    assert found.position == log.end()
    for number in range(10, 20):
        (tmp_path / f"server-202601{number}-000000.json").write_bytes(line(user=f"user_{number}"))
    log.prune(found.position)
    found = log.read(found.position)
    assert [one.login for one in found.refusals] == [f"user_{n}" for n in range(10, 20)], "unread, so that they stay"
    log.prune(found.position)
    assert len(list(tmp_path.iterdir())) == KEPT_FILES
    assert log.read(found.position) == LogReading((), found.position)


def test_what_a_flood_wrote_is_skipped_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_log, "MOST_BYTES", 3 * len(line()))
    (tmp_path / "server-20260101-000000.json").write_bytes(line(user="user_1") * 4)
    (tmp_path / "server-20260102-000000.json").write_bytes(line(user="user_2") * 4)
    found = EmbeddedLog(tmp_path).read("")
    assert [one.login for one in found.refusals] == ["user_2"] * 3
    assert found.skipped == 5 * len(line())
    assert found.position == EmbeddedLog(tmp_path).end()


@pytest.mark.parametrize(
    "odd",
    [
        line(error_severity="LOG"),
        line(error_severity="WARNING"),
        line(state_code="22012", message='"state_code":"42501"'),
        line(timestamp="yesterday"),
        b'{"state_code":"42501"}\n',
        b'{"error_severity":"ERROR","state_code":"42501",\n',
        b"\xff\xfe\n",
    ],
)
def test_other_lines_are_passed_over(odd: bytes) -> None:
    assert list(refusals([odd])) == []


def test_only_words_of_the_servers_own_are_taken_over() -> None:
    odd = line(
        user="a\nb", ps="SELECT; secret", message="permission denied for table of secrets", remote_host="[local]"
    ) + line(message="permission denied to set secret")
    assert [(one.login, one.command, one.what, one.address) for one in refusals(odd.splitlines())] == [
        ("unknown login", "", "table", None),
        ("user_1", "", "set", None),
    ]
