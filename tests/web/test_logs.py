"""No secret reaches a log, whether it comes under its own name, deep inside, in a text or in an exception."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from awssome.domain.errors import Code, Refused
from awssome.web.logs import HIDDEN, hide_secrets, tell_refusals

SECRET = "swordfish-0123456789"


@pytest.mark.parametrize(
    "event",
    [
        {"token": SECRET},
        {"Access-Token": SECRET},
        {"client_secret": SECRET},
        {"code": SECRET},
        {"state": SECRET},
        {"headers": {"Authorization": f"Bearer {SECRET}", "Set-Cookie": SECRET}},
        {"bodies": [{"new_password": SECRET}]},
        {"event": f"called https://example.com/callback?code={SECRET}&state={SECRET}"},
        {"event": f"GET with Authorization: Bearer {SECRET}"},
        {"url": f"postgresql://user_9f3a:{SECRET}@127.0.0.1/awssome"},
        {"login": f"Aa1-{SECRET}"},
        {"exception": f"ValueError: postgresql+psycopg://owner:{SECRET}@db/x failed"},
    ],
)
def test_what_looks_like_a_secret_is_hidden(event: dict[str, object]) -> None:
    cleaned = repr(hide_secrets(logging.getLogger(), "info", dict(event)))
    assert SECRET not in cleaned
    assert HIDDEN in cleaned


def test_what_is_no_secret_stays() -> None:
    event = {"event": "synced 10 deals", "tenant_state": "active", "status_code": 200, "ms": 1.5, "items": [1, "two"]}
    assert hide_secrets(logging.getLogger(), "info", dict(event)) == event


def test_a_refusal_is_told_in_its_words_and_a_defect_with_its_trace() -> None:
    waiting = Refused(Code.UNAVAILABLE, "The sync goes on in a moment.")
    for told in (waiting, (Refused, waiting, None)):
        event = tell_refusals(logging.getLogger(), "error", {"event": "job", "exc_info": told})
        assert event == {"event": "job", "refused": "The sync goes on in a moment."}
    defect: dict[str, object] = {"event": "job", "exc_info": (ValueError, ValueError("x"), None)}
    assert tell_refusals(logging.getLogger(), "error", dict(defect)) == defect


def test_logs_of_ours_and_of_libraries_come_out_as_json_lines_without_secrets() -> None:
    program = f"""
import logging, structlog
from awssome.web import logs
logs.configure(json=True, level="INFO")
structlog.contextvars.bind_contextvars(reference="R-7K2M9Q")
structlog.get_logger("ours").info("granted", token="{SECRET}", tenant="northwind")
structlog.get_logger("ours").debug("too quiet")
logging.getLogger("library").warning("connecting to %s", "postgresql://u:{SECRET}@h/d")
logging.getLogger("uvicorn.access").info("GET /callback?code={SECRET}")
try:
    raise ValueError("https://api/x?access_token={SECRET}")
except ValueError:
    structlog.get_logger("ours").exception("failed")
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in run.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["granted", f"connecting to postgresql://u:{HIDDEN}@h/d", "failed"]
    assert all(line["reference"] == "R-7K2M9Q" and line["timestamp"].endswith("Z") for line in lines)
    assert lines[0]["tenant"] == "northwind"
    assert "ValueError" in lines[2]["exception"]
    assert SECRET not in run.stderr
    assert run.stdout == ""
