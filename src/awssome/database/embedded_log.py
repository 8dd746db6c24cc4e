"""The log of an embedded server: files of JSON lines in a directory of the cluster, read on from where one stopped.

PostgreSQL's collector begins a new file every 10 MB and every day; names sort by the time at which they were begun.
Statements are never in it (`log_min_error_statement` in `embedded`), parameters neither.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from awssome.database.engine import LogReading, ServerLog
from awssome.database.postgresql.refusals import refusals
from awssome.domain.refusals import Refusal

DIRECTORY = "log"
"""Where they are, below the cluster's own directory."""

SETTINGS = {
    "logging_collector": "on",
    "log_destination": "jsonlog",
    "log_filename": "server-%Y%m%d-%H%M%S.log",
    "log_file_mode": "0600",
    "log_rotation_size": "10MB",
    "log_rotation_age": "1d",
    "log_timezone": "UTC",
    # Refusals are errors. A session may write warnings as it likes.
    "log_min_messages": "error",
    # A statement that fails may hold a secret, and so may its parameters; its error says enough.
    "log_min_error_statement": "panic",
    "log_parameter_max_length_on_error": "0",
}
"""What the server is started with; `log_directory` comes on top."""

KEPT_FILES = 5
"""Files that stay once they were read. A session can write into the log as fast as the disk takes it."""

MOST_BYTES = 64 * 2**20
"""What one reading takes at most. Whatever a flood wrote before that is skipped, and the reading says how much."""


class EmbeddedLog(ServerLog):
    """The log in a directory. A position is `FILE:BYTES`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, position: str) -> LogReading:
        """Whole lines only: the last one may still be being written."""
        parts, skipped = self._unread(position), 0
        while sum(length for _, _, length in parts) > MOST_BYTES and len(parts) > 1:
            skipped += parts.pop(0)[2]
        if parts and parts[0][2] > MOST_BYTES:
            file, start, length = parts[0]
            skipped += length - MOST_BYTES
            parts[0] = (file, start + length - MOST_BYTES, MOST_BYTES)
        found: list[Refusal] = []
        for file, start, length in parts:
            with suppress(FileNotFoundError), file.open("rb") as opened:
                opened.seek(start)
                text = opened.read(length)
                whole = text.rfind(b"\n") + 1
                found += refusals(text[:whole].splitlines())
                position = f"{file.name}:{start + whole}"
        return LogReading(tuple(found), position, skipped)

    def prune(self, position: str) -> None:
        """Delete the oldest files, up to the position's."""
        name = position.rpartition(":")[0]
        for file in self._files()[:-KEPT_FILES]:
            if file.name < name:
                file.unlink(missing_ok=True)

    def end(self) -> str:
        """The position behind everything that is there."""
        files = self._files()
        return f"{files[-1].name}:{files[-1].stat().st_size}" if files else ""

    def messages(self, position: str) -> Iterator[str]:
        """What the server has said since, for people to read."""
        for file, start, length in self._unread(position):
            with file.open("rb") as opened:
                opened.seek(start)
                for line in opened.read(length).splitlines():
                    with suppress(ValueError, KeyError):
                        entry = json.loads(line)
                        yield f"{entry['error_severity']}:  {entry['message']}"

    def _unread(self, position: str) -> list[tuple[Path, int, int]]:
        """Files, from which byte on, how many bytes."""
        name, _, offset = position.rpartition(":")
        found = []
        for file in self._files():
            if file.name >= name:
                start = int(offset) if file.name == name else 0
                with suppress(FileNotFoundError):
                    found.append((file, start, max(0, file.stat().st_size - start)))
        return found

    def _files(self) -> list[Path]:
        return sorted(self._directory.glob("server-*.json"))
