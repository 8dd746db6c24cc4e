"""PostgreSQL's log, line by line: what the server refused, and to whom.

The log is JSON, one object a line (https://www.postgresql.org/docs/current/runtime-config-logging.html, section
"Using JSON-Format Log Output"). A session's own text stands in strings there: nobody can write a line of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from awssome.domain.addresses import network_address
from awssome.domain.refusals import Refusal

KINDS = {
    "42501": "no right",
    "42P01": "unknown name",
    "3F000": "unknown name",
    "28P01": "wrong password",
    "28000": "not let in",
    "53300": "too many connections",
}
"""SQLSTATE -> what was refused. What a session may not use it cannot even find, hence the unknown names: our own
statements have none."""

_CANDIDATE = re.compile(rb'"state_code":"(?:%s)"' % b"|".join(state.encode() for state in KINDS))
_LOGIN = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_COMMAND = re.compile(r"[A-Za-z ]{1,40}")
# Words of the server's own only: names and text of a session can stand in a message, too.
_WHAT = re.compile(
    r"(?:permission denied for|must be owner of) "
    r"(table|view|column|sequence|schema|function|procedure|type|domain|index|database|language|large object|"
    r"foreign-data wrapper|foreign server|tablespace|publication|statistics object|event trigger|extension)\b"
    r"|permission denied to "
    r"((?:create|alter|drop|grant|set|examine|terminate|cancel|reassign|use|COPY)"
    r"(?: (?:parameter|role|session authorization|temporary tables|extension|database|process|query|objects|"
    r"replication slots|event trigger|tablespace|publication|from a file|to a file|to or from an external program))?)\b"
)


def refusals(lines: Iterable[bytes]) -> Iterator[Refusal]:
    """The refusals among lines of the log; a line that is no whole JSON object is passed over."""
    for line in lines:
        if not _CANDIDATE.search(line):
            continue
        try:
            entry = json.loads(line)
            found = _refusal(entry)
        except (ValueError, KeyError, TypeError):
            continue
        if found is not None:
            yield found


def _refusal(entry: dict[str, Any]) -> Refusal | None:
    # LOG, WARNING and the like are what a session says by itself: RAISE can give them any SQLSTATE.
    if entry["error_severity"] not in ("ERROR", "FATAL") or entry["state_code"] not in KINDS:
        return None
    login, command = str(entry.get("user", "")), str(entry.get("ps", ""))
    what = _WHAT.match(str(entry.get("message", "")))
    return Refusal(
        at=datetime.strptime(entry["timestamp"], "%Y-%m-%d %H:%M:%S.%f UTC").replace(tzinfo=UTC),
        login=login if _LOGIN.fullmatch(login) else "unknown login",
        code=entry["state_code"],
        kind=KINDS[entry["state_code"]],
        command=command if _COMMAND.fullmatch(command) else "",
        what=(what[1] or what[2]) if what else "",
        address=network_address(entry.get("remote_host")),
    )
