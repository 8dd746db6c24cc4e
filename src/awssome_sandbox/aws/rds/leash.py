"""Becomes a command that ends with whoever started it: `python -m awssome_sandbox.aws.rds.leash PARENT COMMAND …`.

On Linux the kernel sends SIGTERM when the parent is gone, also after kill -9. It looks at the thread that forked, which
has to live as long as the parent. A program of its own, because code between fork and exec may block in a process that
has threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask for the signal, then become the command."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == int(parent):
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
