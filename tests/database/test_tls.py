"""Off loopback every connection to a database is encrypted and its server's certificate verified; no URL can say no."""

from __future__ import annotations

import socket
import threading
from contextlib import closing

import pytest
from sqlalchemy.engine import make_url

from awssome.database.postgresql.driver import connection_parameters, secured
from awssome.database.registry import Registry
from awssome.domain.errors import Code, Refused
from awssome.domain.servers import location
from awssome.domain.tenants import EngineName

REMOTE = "postgresql+psycopg://awssome:p%2Fw%20%40@db.example.com/awssome"
VERIFIED = {"sslmode": "verify-full", "sslrootcert": "system"}


def test_a_remote_servers_certificate_is_verified() -> None:
    assert connection_parameters(REMOTE).items() >= VERIFIED.items()
    url = make_url(secured(REMOTE))
    assert (dict(url.query), url.password, url.database) == (VERIFIED, "p/w @", "awssome")


def test_loopback_needs_no_certificate() -> None:
    local = "postgresql://awssome:p@127.0.0.1:5432/awssome"
    assert secured(local) == local
    assert "sslmode" not in connection_parameters(local)


def test_an_authority_of_ones_own_can_be_named() -> None:
    url = REMOTE + "?sslrootcert=/etc/ssl/own.pem"
    assert connection_parameters(url)["sslrootcert"] == "/etc/ssl/own.pem"
    assert make_url(secured(url)).query == {**VERIFIED, "sslrootcert": "/etc/ssl/own.pem"}


@pytest.mark.parametrize(
    "option",
    ["sslmode=disable", "sslmode=require", "sslmode=", "host=evil.example", "hostaddr=192.0.2.1", "options=-crole=x"],
)
@pytest.mark.parametrize("host", ["db.example.com", "127.0.0.1"])
def test_no_other_option_is_taken(option: str, host: str) -> None:
    url = f"postgresql://awssome:secret-value@{host}/awssome?sslrootcert=system&{option}"
    for use in (connection_parameters, secured, Registry, lambda text: location(text, EngineName.POSTGRESQL)):
        with pytest.raises(Refused) as refused:
            use(url)
        assert refused.value.code is Code.INVALID
        assert "secret-value" not in f"{refused.value.message}{refused.value.fields}"


def test_authorities_for_all_servers_are_libpqs_own_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLROOTCERT", "/etc/ssl/rds.pem")
    found = connection_parameters("postgresql://user:password@db.example.com/tenants")
    assert (found["sslmode"], found["sslrootcert"]) == ("verify-full", "/etc/ssl/rds.pem")
    assert "sslmode" not in connection_parameters("postgresql://user:password@127.0.0.1/tenants")


def test_the_registry_does_not_talk_to_a_remote_server_without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("awssome.database.postgresql.driver.LOOPBACK", ())
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked: list[bytes] = []
        thread = threading.Thread(target=_refuse_tls, args=(server, asked))
        thread.start()
        url = f"postgresql+psycopg://awssome:p@127.0.0.1:{server.getsockname()[1]}/awssome"
        with closing(Registry(url)) as registry, pytest.raises(Refused) as refused, registry.begin():
            pass
        thread.join()
    assert refused.value.code is Code.UNAVAILABLE
    assert asked == [_SSL_REQUEST, b""], "it hangs up when TLS is refused"


_SSL_REQUEST = bytes.fromhex("0000000804d2162f")


def _refuse_tls(server: socket.socket, asked: list[bytes]) -> None:
    connection, _ = server.accept()
    with connection:
        connection.settimeout(10)
        asked.append(connection.recv(64))
        connection.sendall(b"N")
        asked.append(connection.recv(64))
