"""Child processes: they end with their parent, and are started again when they end by themselves."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

import structlog

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a child that ended is started again: the first, doubled each time, at most the longest."""

STEADY_SECONDS = 30.0
"""A child that lived for so long begins again with the first pause."""

END_SECONDS = 40.0
"""How long a child may take to end before it is killed; a worker waits 20 s for its jobs."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_log = structlog.get_logger(__name__)


@dataclass
class Child:
    """A program that runs as a child of this process.

    Start children from the main thread: to Linux, a child's parent is the thread that made it.

    :ivar log: where standard error goes (and standard output, unless it is piped); None: where ours goes.
    :ivar piped: keep standard output for `process.stdout`.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    log: Path | None = None
    piped: bool = False
    process: subprocess.Popen[str] | None = None
    pause: float = FIRST_PAUSE
    started_at: float = 0.0
    due: float = 0.0
    asked_to_end: bool = False

    def start(self) -> None:
        """Start it, or start it again."""
        self.started_at, self.asked_to_end = monotonic(), False
        with _deferred(), ExitStack() as stack:
            log = stack.enter_context(self.log.open("a")) if self.log else None
            self.process = subprocess.Popen(
                list(self.command),
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.piped else log,
                stderr=log,
                text=True,
                # Out of the terminal's process group: Ctrl-C reaches us alone, and we end children in order.
                start_new_session=True,
                preexec_fn=_die_with_parent(os.getpid()),
            )

    def ended(self) -> int | None:
        """The status it ended with (minus the signal's number, if by a signal); None while it runs."""
        return self.process.poll() if self.process else None

    def ask_to_end(self) -> None:
        """Send SIGTERM, once: a second one would cut short what it does at its end."""
        if self.process is not None and not self.asked_to_end:
            self.asked_to_end = True
            self.process.terminate()

    def stop(self, seconds: float = END_SECONDS) -> None:
        """Ask it to end, and kill it when it has not ended in time. Safe to repeat."""
        if self.process is None:
            return
        self.ask_to_end()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def keep(self) -> bool:
        """Start it again when it has ended and its pause is over; call this regularly. True when it was started."""
        status = self.ended()
        if status is None:
            return False
        now = monotonic()
        if not self.due:
            if now - self.started_at >= STEADY_SECONDS:
                self.pause = FIRST_PAUSE
            self.due = now + self.pause
            _log.warning("child.ended", child=self.name, status=status, again_in=self.pause)
            self.pause = min(self.pause * 2, LONGEST_PAUSE)
        if now < self.due:
            return False
        self.due = 0.0
        self.start()
        return True


def supervise(child: Child) -> None:
    """Run a child for ever, starting it again whenever it ends. Ends, with the child, by the exception of a signal."""
    try:
        child.start()
        while True:
            if child.ended() is None and child.process is not None:
                child.process.wait()
            if not child.keep():
                sleep(max(0.0, child.due - monotonic()))
    finally:
        with undisturbed():
            child.stop()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Signals are ignored: who is ending already must not be kept from ending its children and letting go of things."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _deferred() -> Iterator[None]:
    """Signals come after the block: what a handler raises inside a fork's hooks would be lost."""
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for signum in came:
            signal.raise_signal(signum)


if sys.platform == "linux":
    _LIBC = ctypes.CDLL(None)
    _PR_SET_PDEATHSIG = 1


def _die_with_parent(parent: int) -> Callable[[], object] | None:
    """What a child does before its program begins: on Linux, ask for SIGTERM at its parent's death, also by kill -9."""
    if sys.platform != "linux":
        return None

    def ask() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return ask
