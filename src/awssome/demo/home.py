"""The demo's home: marked as its own, wiped at each start, used by one demo at a time."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from awssome.database import embedded
from awssome.domain.errors import Code, Refused

MARK = "demo"
"""Whoever finds this file below a home may wipe the home."""

_LOCK = "demo.lock"
_SHARED = frozenset({"clusters", "postgresql"})
"""What embedded servers of other homes keep in the same place when root runs them."""

_PATIENCE_SECONDS = 40.0


@contextmanager
def fresh(home: Path, clusters: Sequence[str]) -> Iterator[None]:
    """A home without data, held for the length of the block.

    :param clusters: names of the embedded clusters below home.
    :raises Refused: CONFLICT when the home holds data that no demo made, or another demo runs there.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not (home / MARK).exists() and (found := sorted(_entries(home))):
            raise Refused(
                Code.CONFLICT,
                f"{home} holds data that no demo made ({', '.join(found[:3])}). Nothing was touched.",
                "Set AWSSOME_HOME to another directory for the demo.",
            )
        with (home / _LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refused(
                    Code.CONFLICT,
                    f"Another demo is running in {home}.",
                    "End it with Ctrl-C, or set AWSSOME_HOME to another directory.",
                ) from None
            (home / MARK).write_text("`awssome demo` made the data beside this file, and wipes them next time.\n")
            _wipe(home, clusters)
            yield
    except OSError as error:
        raise Refused(
            Code.UNAVAILABLE,
            f"{error.filename or home} cannot be used. {error.strerror}.",
            "Set AWSSOME_HOME to a directory that you may write to.",
        ) from None


def _wipe(home: Path, clusters: Sequence[str]) -> None:
    end = time.monotonic() + _PATIENCE_SECONDS
    for name in clusters:
        # A demo that was killed ends its parts a moment after it.
        while True:
            try:
                embedded.remove(home, name)
                break
            except Refused as refused:
                if refused.code is not Code.CONFLICT or time.monotonic() > end:
                    raise
            time.sleep(0.5)
    for name in _entries(home):
        entry = home / name
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _entries(home: Path) -> list[str]:
    return [entry.name for entry in home.iterdir() if entry.name not in {MARK, _LOCK, *_SHARED}]
