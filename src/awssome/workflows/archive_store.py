"""Where the files of archives lie: a directory, or a bucket (`aws.archives`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from awssome.domain.errors import Code, Refused


class ArchiveStore(Protocol):
    """Keeps files under names like `TENANT/FILE.zip`. Only workers and the central API have it."""

    def writing(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """A new file, which is there when the block ends without an exception, whole and for good; else never.

        :raises Refused: UNAVAILABLE when it cannot be written.
        """

    def reading(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """The file, to be read and sought in. :raises Refused: GONE when it is not there; UNAVAILABLE."""

    def delete(self, name: str) -> None:
        """Delete the file; nothing if it is gone. :raises Refused: UNAVAILABLE."""


@dataclass(frozen=True)
class Directory:
    """Files of mode 0600 in directories of mode 0700."""

    root: Path

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """Written under another name, brought to the disk, and renamed."""
        path, part = self._path(name), self._part(name)
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _sync_directory(self.root)
            descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise self._unusable(error) from None
        try:
            with os.fdopen(descriptor, "w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.rename(path)
            _sync_directory(path.parent)
        except OSError as error:
            raise self._unusable(error) from None
        finally:
            part.unlink(missing_ok=True)

    @contextmanager
    def reading(self, name: str) -> Iterator[IO[bytes]]:
        """Opened where it lies."""
        try:
            file = self._path(name).open("rb")
        except FileNotFoundError:
            raise gone() from None
        except OSError as error:
            raise self._unusable(error) from None
        with file:
            yield file

    def delete(self, name: str) -> None:
        """Unlinked, and what a killed process had written of it."""
        try:
            self._path(name).unlink(missing_ok=True)
            self._part(name).unlink(missing_ok=True)
        except OSError as error:
            raise self._unusable(error) from None

    def _path(self, name: str) -> Path:
        path = self.root / name
        if path.resolve().parent.parent != self.root.resolve():
            raise ValueError("not the name of an archive's file")
        return path

    def _part(self, name: str) -> Path:
        path = self._path(name)
        return path.with_name(f".{path.name}")

    def _unusable(self, error: OSError) -> Refused:
        return Refused(
            Code.UNAVAILABLE,
            f"The directory of archives, {self.root}, cannot be used. {error.strerror}.",
            "See that there is room, and that it belongs to the user who runs this.",
        )


def gone() -> Refused:
    """The registry has an archive whose file is not there."""
    return Refused(Code.GONE, "The archive's file is not there any more.", "Use another archive.")


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
