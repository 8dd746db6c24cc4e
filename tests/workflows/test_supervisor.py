"""Children end with their parent, even by kill -9, and are started again when they end by themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from awssome.workflows import supervisor
from awssome.workflows.supervisor import Child, undisturbed

SUPERVISOR = """
import signal, sys
from awssome.web import logs
from awssome.web.serving import end_on_signals
from awssome.workflows.supervisor import Child, supervise
end_on_signals()
logs.configure(json=True)
supervise(Child("child", [sys.executable, "-c", sys.argv[1]]))
"""

CHILD = "import os, sys, time; print(os.getpid(), flush=True); time.sleep(60)"


def until(true: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait for something that happens in another process."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def supervised(program: str = CHILD) -> tuple[subprocess.Popen[str], int]:
    """A supervisor and the pid of its first child."""
    command = [sys.executable, "-c", SUPERVISOR, program]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout
    return process, int(process.stdout.readline())


def test_a_killed_child_is_started_again_and_sigterm_ends_both() -> None:
    process, first = supervised()
    os.kill(first, signal.SIGKILL)
    assert process.stdout
    second = int(process.stdout.readline())
    assert second != first
    process.terminate()
    assert process.wait(15) == 0
    assert not runs(second)
    process.stdout.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_a_child_ends_when_its_supervisor_is_killed() -> None:
    process, child = supervised()
    process.kill()
    process.wait()
    until(lambda: not runs(child))
    assert process.stdout
    process.stdout.close()


def test_a_child_that_does_not_end_is_killed() -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    )
    child = Child("stubborn", [sys.executable, "-c", stubborn], piped=True)
    child.start()
    assert child.process and child.process.stdout and child.process.stdout.readline()
    child.stop(seconds=0.2)
    assert child.ended() == -signal.SIGKILL
    child.process.stdout.close()


def test_pauses_grow_while_a_child_keeps_ending_and_begin_anew_once_it_is_steady(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(supervisor, "monotonic", lambda: now[0])
    child = Child("brief", [sys.executable, "-c", ""])
    child.start()
    pauses = []
    for _ in range(8):
        assert child.process
        child.process.wait()
        assert not child.keep()
        pauses.append(child.due - now[0])
        now[0] = child.due
        assert child.keep()
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert child.process
    child.process.wait()
    now[0] += supervisor.STEADY_SECONDS
    child.keep()
    assert child.due - now[0] == supervisor.FIRST_PAUSE


def test_signals_are_as_before_once_everything_has_ended() -> None:
    before = signal.getsignal(signal.SIGINT)
    with undisturbed():
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
