"""Servers: their names and places, and where one is, read from its administrator's URL."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote, urlsplit

from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import EngineName

_NAME = re.compile(r"(?=.{1,60}\Z)[a-z][a-z0-9]*(?:-[a-z0-9]+)*\Z")
LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Hosts that are reached without TLS."""

_TLS_OPTIONS = ("sslmode", "sslrootcert", "sslcert", "sslkey")
_PORTS = {EngineName.POSTGRESQL: 5432, EngineName.SQLSERVER: 1433}
_SCHEMES = {EngineName.POSTGRESQL: ("postgresql", "postgres"), EngineName.SQLSERVER: ("mssql", "sqlserver")}
_EXAMPLES = {
    EngineName.POSTGRESQL: "postgresql://user:password@host:5432/database",
    EngineName.SQLSERVER: "mssql://user:password@host:1433/database",
}
_SQLSERVER_OPTIONS = {"encrypt": ("yes", "mandatory"), "trustservercertificate": ("no",)}


def checked_name(name: str) -> str:
    """The name, if it may be a server's: it is typed on command lines and stands in addresses.

    :raises Refused: INVALID.
    """
    if not _NAME.match(name):
        raise Refused(
            Code.INVALID,
            "This cannot be a server's name. Nothing was changed.",
            fields={"name": "Use a letter first, then small letters, digits and single dashes, up to 60."},
        )
    return name


def free_places(capacity: int, tenants: int, retained: int) -> int:
    """How many tenants could still come; a copy that is kept for rollback takes a place.

    A pool without one takes no new tenants, and takes them again as soon as it has one: nothing else closes it.
    """
    return max(0, capacity - tenants - retained)


def spread(pools: list[tuple[str, int, int]], count: int) -> list[str | None]:
    """Where so many tenants go, one after the other, each to the emptiest pool that has a place; None: nowhere.

    :param pools: name, tenants and free places of each.
    """
    there = {name: [tenants, free] for name, tenants, free in pools}
    found: list[str | None] = []
    for _ in range(count):
        with_room = [(held, name) for name, (held, free) in there.items() if free > 0]
        name = min(with_room)[1] if with_room else None
        if name is not None:
            there[name] = [there[name][0] + 1, there[name][1] - 1]
        found.append(name)
    return found


def engine_of(url: str) -> EngineName:
    """The engine that a server's URL is for. :raises Refused: INVALID when it is for none."""
    scheme = urlsplit(url.strip()).scheme.partition("+")[0]
    for engine, schemes in _SCHEMES.items():
        if scheme in schemes:
            return engine
    raise Refused(
        Code.INVALID,
        "This is not the URL of a database server.",
        fields={"url": "Use " + " or ".join(_EXAMPLES.values()) + "."},
    )


def location(url: str, engine: EngineName) -> tuple[str, int, str]:
    """(host, port, database) of a URL like `postgresql://user:password@host:5432/database`.

    :raises Refused: INVALID when a part is missing or an option is not allowed; the URL itself is never repeated, for
        it holds a password.
    """
    try:
        parts = urlsplit(url.strip())
        host, port, database = parts.hostname, parts.port or _PORTS[engine], unquote(parts.path.lstrip("/"))
    except ValueError:
        host, port, database = None, 0, ""
    if not host or not database or "://" not in url:
        raise Refused(
            Code.INVALID,
            "This is not the URL of a database server.",
            fields={"url": f"Use {_EXAMPLES[engine]}."},
        )
    if parts.scheme.partition("+")[0] not in _SCHEMES[engine]:
        raise Refused(
            Code.INVALID,
            "This is the URL of a server of another engine.",
            fields={"url": f"Use {_EXAMPLES[engine]}, or choose the other engine."},
        )
    _OPTIONS[engine](url)
    return host, port, database


def tls_options(url: str) -> dict[str, str]:
    """What a server's URL says of certificates: `sslrootcert`, `sslcert`, `sslkey`; and `sslmode=verify-full`.

    :raises Refused: INVALID for anything else: it could weaken TLS, lead to another host or change how sessions behave.
    """
    given = parse_qsl(urlsplit(url.strip()).query, keep_blank_values=True)
    if any(name not in _TLS_OPTIONS or (name == "sslmode" and value != "verify-full") for name, value in given):
        raise Refused(
            Code.INVALID,
            "The URL of a database server holds an option that it may not hold.",
            fields={"url": "After ? only sslrootcert, sslcert, sslkey and sslmode=verify-full may stand."},
        )
    return dict(given)


def sqlserver_options(url: str) -> dict[str, str]:
    """What a SQL Server's URL says of TLS, as its driver names it: `Encrypt` and `TrustServerCertificate`.

    On loopback they may have any value. Elsewhere the certificate is verified against the system's authorities:
    sessions of tenants know nothing else of the server.

    :raises Refused: INVALID for anything else: it could weaken TLS, lead to another host or change how sessions behave.
    """
    parts = urlsplit(url.strip())
    given = parse_qsl(parts.query, keep_blank_values=True)
    local = parts.hostname in LOOPBACK
    for name, value in given:
        allowed = _SQLSERVER_OPTIONS.get(name.lower())
        if allowed is None or not (local or value.lower() in allowed):
            raise Refused(
                Code.INVALID,
                "The URL of a database server holds an option that it may not hold.",
                fields={"url": "After ? only Encrypt=yes and TrustServerCertificate=no may stand."},
            )
    return dict(given)


_OPTIONS = {EngineName.POSTGRESQL: tls_options, EngineName.SQLSERVER: sqlserver_options}
