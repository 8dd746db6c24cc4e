"""Where a database server is, read from its administrator's URL."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import EngineName

_NAME = re.compile(r"(?=.{1,60}\Z)[a-z][a-z0-9]*(?:-[a-z0-9]+)*\Z")
_PORTS = {EngineName.POSTGRESQL: 5432, EngineName.SQLSERVER: 1433}


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


def location(url: str, engine: EngineName) -> tuple[str, int, str]:
    """(host, port, database) of a URL like `postgresql://user:password@host:5432/database`.

    :raises Refused: INVALID when a part is missing; the URL itself is never repeated, for it holds a password.
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
            fields={"url": "Use postgresql://user:password@host:5432/database."},
        )
    return host, port, database
