"""Reaching a PostgreSQL server: parameters, TLS, and what a dead network may cost."""

from __future__ import annotations

import os
from typing import Any, LiteralString
from urllib.parse import urlencode, urlsplit

import psycopg
from sqlalchemy.engine import make_url

from awssome.domain.servers import LOOPBACK, tls_options

NETWORK = {"tcp_user_timeout": 30_000, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 4}
"""libpq: a server that vanishes without a word is given up after 30 s (tcp_user_timeout is in ms, the others in s)."""


def connection_parameters(url: str) -> dict[str, Any]:
    """psycopg's parameters for an SQLAlchemy URL; TLS with a verified certificate except on loopback.

    :raises Refused: INVALID when the URL asks for anything else.
    """
    parsed = make_url(url)
    return parameters(
        parsed.host or "127.0.0.1", parsed.port or 5432, parsed.database or "", parsed.username or "", parsed.password
    ) | tls_options(url)


def secured(url: str) -> str:
    """The URL itself with the same TLS, for who connects by URL. :raises Refused: INVALID, as above."""
    tls = {name: value for name, value in connection_parameters(url).items() if name.startswith("ssl")}
    return urlsplit(url)._replace(query=urlencode(tls)).geturl() if tls else url


def parameters(host: str, port: int, database: str, user: str, password: str | None) -> dict[str, Any]:
    """psycopg's parameters for a place and a login.

    Certificates are verified against the system's authorities, or those in the file that libpq's own PGSSLROOTCERT
    names, like RDS's bundle.
    """
    authorities = os.environ.get("PGSSLROOTCERT") or "system"
    secure: dict[str, Any] = {} if host in LOOPBACK else {"sslmode": "verify-full", "sslrootcert": authorities}
    return {
        "host": host,
        "port": port,
        "dbname": database,
        "user": user,
        "password": password,
        "connect_timeout": 5,
        **NETWORK,
        **secure,
    }


def trusted(text: str) -> LiteralString:
    """Marks SQL that holds nothing but our own text and names that `checked_schema_name` has passed."""
    return text


def run(connection: psycopg.Connection[Any], text: str) -> psycopg.Cursor[Any]:
    """Execute such SQL."""
    return connection.execute(trusted(text))
