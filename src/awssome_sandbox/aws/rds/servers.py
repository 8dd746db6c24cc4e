"""The database servers behind instances: each a process of the command that the sandbox was given.

The command gets facts as environment variables (`SANDBOX_INSTANCE`, `_ENGINE`, `_USERNAME`, `_PASSWORD`, `_DATABASE`,
`_DIRECTORY`), says `{"host", "port"}` in its first line of output, and runs until SIGTERM. A line `{"password"}` on its
standard input changes the master user's password; it answers with a line `{"password": "changed"}`.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

_END_SECONDS = 60
_ANSWER_SECONDS = 10
_LOG = "command.log"


class Server:
    """A database server that is starting, answers, has failed or has been ended."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.endpoint: tuple[str, int] | None = None
        """Where it answers, once it does."""
        self.failed = False
        self.ended = False
        """Whether its process and its directory are gone."""
        self._process: subprocess.Popen[bytes] | None = None
        self._unwanted = False
        self._answers: queue.SimpleQueue[dict[str, object]] = queue.SimpleQueue()
        self._lock = threading.Lock()

    @property
    def complaint(self) -> str:
        """The end of what the command has said on standard error."""
        with suppress(OSError):
            return (self.directory / _LOG).read_text(errors="replace")[-2000:].strip()
        return ""

    def change_password(self, password: str) -> bool:
        """Whether the command has changed the master user's password."""
        process = self._process
        if process is None or process.stdin is None or self.endpoint is None:
            return False
        with self._lock, suppress(OSError, queue.Empty):
            process.stdin.write(json.dumps({"password": password}).encode() + b"\n")
            process.stdin.flush()
            return self._answers.get(timeout=_ANSWER_SECONDS).get("password") == "changed"
        return False

    def begin_end(self) -> None:
        """End it in the background."""
        threading.Thread(target=self.end, daemon=True).start()

    def end(self) -> None:
        """End it and delete its directory; returns when its process is gone. Safe to repeat."""
        with self._lock:
            self._unwanted = True
            process = self._process
        if process is not None:
            process.terminate()
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)
        self.ended = True

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start the command and wait for its first line in a thread of its own."""
        with self._lock:
            if self._unwanted:
                return
            try:
                self.directory.mkdir(parents=True)
                with (self.directory / _LOG).open("wb") as log:
                    self._process = subprocess.Popen(
                        [sys.executable, "-m", "awssome_sandbox.aws.rds.leash", str(os.getpid()), *command],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=log,
                        env={**os.environ, **environment},
                        start_new_session=True,  # Ctrl-C is ours to pass on
                    )
            except OSError:
                self.failed = True
                return
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        lines = iter(process.stdout or ())
        said = _read(next(lines, b""))
        host, port = said.get("host"), said.get("port")
        if isinstance(host, str) and isinstance(port, int):
            self.endpoint = host, port
        else:
            self.failed = True
        for line in lines:
            self._answers.put(_read(line))


class Servers:
    """Starts servers, and ends all that it has started."""

    def __init__(self, command: Sequence[str], directory: Path) -> None:
        self._command = command
        self._directory = directory
        self._started: list[Server] = []
        # One thread that lives as long as this process: a server ends with the thread that started it.
        self._thread = ThreadPoolExecutor(1, "servers")

    def start(self, name: str, facts: Mapping[str, str]) -> Server:
        """Begin to start a server.

        :param name: of its directory; unique.
        :param facts: what the command is told, without the prefix `SANDBOX_`.
        """
        server = Server(self._directory / name)
        self._started.append(server)
        environment = {f"SANDBOX_{key}": value for key, value in facts.items()}
        environment["SANDBOX_DIRECTORY"] = str(server.directory)
        self._thread.submit(server.run, self._command, environment)
        return server

    def end(self) -> None:
        """End all servers, at the same time."""
        with ThreadPoolExecutor(max(1, len(self._started))) as threads:
            list(threads.map(Server.end, self._started))
        self._thread.shutdown()


def _read(line: bytes) -> dict[str, object]:
    """A line of output; nothing when it is no JSON object."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
