"""What the rest of the platform relies on in SQL Server's driver: error numbers, whole batches, TLS, quiet ends."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import mssql_python
import pytest

from awssome.database.engine import Server
from awssome.database.sqlserver import driver
from awssome.database.sqlserver.entrance import connect_as_tenant, refusal
from awssome.domain.errors import Code, Refused
from awssome.domain.servers import location, sqlserver_options
from awssome.domain.tenants import EngineName, Placement
from tests.database.sqlserver.neighbours import has_ended, rows
from tests.engines import as_administrator, eventually, only_sqlserver

FAR = "mssql://admin:secret@db.example.com:1433/tenants"
NEAR = "mssql://admin:secret@127.0.0.1:1433/tenants"

WEAKENING = (
    "Encrypt=no",
    "Encrypt=optional",
    "encrypt=FALSE",
    "Encrypt=",
    "Encrypt=yes&Encrypt=no",
    "Encrypt=yes%3BTrustServerCertificate%3Dyes",
    "TrustServerCertificate=yes",
    "trustservercertificate=1",
    "TrustServerCertificate=no&TrustServerCertificate=yes",
    "Trusted_Connection=yes",
    "Authentication=ActiveDirectoryInteractive",
    "Server=127.0.0.1",
    "Addr=127.0.0.1",
    "Database=master",
    "UID=sa",
    "PWD=mine",
    "Driver=mine",
    "MultiSubnetFailover=yes",
    "Failover_Partner=127.0.0.1",
    "ApplicationIntent=ReadOnly",
    "odbc_connect=Server%3D127.0.0.1",
    "Encrypt=strict",
    "HostNameInCertificate=other.example.com",
    "ServerCertificate=/etc/own.pem",
)
"""Options that make TLS weaker, lead elsewhere, change how sessions behave, or are not what sessions of tenants use."""

TWO_HOSTS = (
    "mssql://127.0.0.1?Encrypt=no#@db.example.com/tenants",
    "mssql://127.0.0.1?Encrypt=no&TrustServerCertificate=yes#:secret@db.example.com/tenants",
    "mssql://admin:secret@db.example.com@127.0.0.1/tenants?Encrypt=no",
)
"""URLs in which one reader finds loopback, and another one a host that is far away."""


@pytest.fixture(scope="module")
def workspace(make_workspace: Callable[[], Placement]) -> Placement:
    return make_workspace()


@pytest.fixture
def connection(workspace: Placement) -> Iterator[driver.Connection]:
    """A tenant's session, as the pools hold it."""
    with closing(connect_as_tenant(workspace)) as opened:
        yield opened
        with suppress(mssql_python.Error):
            opened.rollback()


@only_sqlserver
class TestNumbers:
    """The driver drops SQL Server's numbers; ours carries them."""

    @pytest.mark.parametrize(
        ("statement", "numbers"),
        [
            (
                "INSERT INTO {s}.field_mappings (field, updated_at) VALUES ('twice', SYSUTCDATETIME())",
                {2627},
            ),
            (
                "INSERT INTO {s}.field_mappings (field, updated_at) VALUES ('null', NULL)",
                {515},
            ),
            (
                "INSERT INTO {s}.deal_events (id, registration_id, at, kind, actor, changes) "
                "VALUES (NEWID(), NEWID(), SYSUTCDATETIME(), 'k', 'a', '{}')",
                {547},
            ),
            (
                "INSERT INTO {s}.stage_mappings (pipeline, hubspot_stage, stage, updated_at) "
                "VALUES ('p', 's', REPLICATE('x', 41), SYSUTCDATETIME())",
                {8152, 2628},
            ),
            ("THROW 51001, N'fenced', 1", {driver.FENCED}),
            ("SELECT * FROM {s}._outbox", driver.DENIED),
            ("EXEC sp_executesql N'THROW 51001, N''fenced'', 1'", {driver.FENCED}),
        ],
        ids=["duplicate", "null", "foreign key", "too long", "thrown", "denied", "thrown inside"],
    )
    def test_an_error_carries_its_number(
        self, statement: str, numbers: set[int], connection: driver.Connection, workspace: Placement
    ) -> None:
        first = f"INSERT INTO {workspace.schema}.field_mappings (field, updated_at) VALUES ('twice', SYSUTCDATETIME())"
        driver.run(connection, first)
        assert driver.number_of(_error(connection, statement.replace("{s}", workspace.schema))) in numbers

    def test_a_second_row_under_a_unique_index_is_a_duplicate(
        self, connection: driver.Connection, workspace: Placement
    ) -> None:
        insert = (
            f"INSERT INTO {workspace.schema}.sync_history (id, state, attempt, requested_by, imported, seen, created, "
            "updated, unchanged, left_out, failed, calls, requested_at, open_slot) "
            "VALUES (NEWID(), 'queued', 1, 'a', 0, 0, 0, 0, 0, 0, 0, 0, SYSUTCDATETIME(), 1)"
        )
        driver.run(connection, insert)
        assert driver.number_of(_error(connection, insert)) in (2601, 2627)

    def test_the_number_is_there_with_parameters_and_with_many_rows(
        self, connection: driver.Connection, workspace: Placement
    ) -> None:
        insert = (
            f"INSERT INTO {workspace.schema}.field_mappings (field, property, default_value, updated_at) "
            "VALUES (?, ?, ?, SYSUTCDATETIME())"
        )
        driver.run(connection, insert, "many", "p", "d")
        assert driver.number_of(_error(connection, insert, "many", "p", "d")) == 2627
        connection.rollback()
        with connection.cursor() as cursor, pytest.raises(mssql_python.Error) as refused:
            cursor.executemany(insert, [("many", "p", "d"), ("more", "p", "d"), ("many", "p", "d")])
        assert driver.number_of(refused.value) == 2627

    def test_what_another_error_left_behind_is_not_carried_on(self, connection: driver.Connection) -> None:
        _error(connection, "THROW 51001, N'fenced', 1")
        assert driver.number_of(_error(connection, "SELECT FROM WHERE")) != driver.FENCED

    def test_an_error_of_the_drivers_own_has_no_number(self, connection: driver.Connection) -> None:
        assert driver.number_of(mssql_python.InterfaceError("driver", "server")) is None
        assert driver.number_of(ValueError()) is None
        with pytest.raises(Exception) as refused:
            driver.run(connection, "SELECT ?")
        assert driver.number_of(refused.value) not in (driver.FENCED, *driver.DENIED)

    def test_numbers_are_told_to_users_in_words(self, connection: driver.Connection, workspace: Placement) -> None:
        fenced = refusal(_error(connection, "THROW 51001, N'fenced', 1"))
        denied = refusal(_error(connection, f"SELECT * FROM {workspace.schema}._outbox"))
        assert fenced is not None
        assert denied is not None
        assert fenced.code is denied.code is Code.FENCED
        assert refusal(_error(connection, "SELECT FROM WHERE")) is None


@only_sqlserver
class TestBatches:
    """A batch is run to its end."""

    @pytest.mark.parametrize(
        "batch",
        [
            "{row}; {row}",
            "SELECT 1; {row}; {row}; SELECT 2",
            "{row}; SELECT 1; THROW 51001, N'fenced', 1",
            "SET NOCOUNT ON; {row}; {row}",
            "EXEC sp_executesql N'SELECT 1; THROW 51001, N''fenced'', 1'",
        ],
    )
    def test_an_error_after_the_first_statement_is_raised(
        self, batch: str, connection: driver.Connection, workspace: Placement
    ) -> None:
        row = f"INSERT INTO {workspace.schema}.field_mappings (field, updated_at) VALUES ('twice', SYSUTCDATETIME())"
        assert driver.number_of(_error(connection, batch.replace("{row}", row))) in (2627, driver.FENCED)

    def test_the_last_rows_are_given(self, connection: driver.Connection, workspace: Placement) -> None:
        assert rows(connection, "SELECT 1; SELECT 2, 3; SELECT 4") == [(4,)]
        update = f"UPDATE {workspace.schema}.field_mappings SET property = property"
        assert rows(connection, f"{update}; SELECT 5; {update}") == [(5,)]
        assert driver.run(connection, update) == []
        assert rows(connection, "SELECT ?, ?", 6, "seven") == [(6, "seven")]


@only_sqlserver
class TestEnds:
    """That a transaction or a connection has ended by itself is nothing to be told."""

    @pytest.mark.parametrize(
        "end",
        [
            "ROLLBACK",
            "COMMIT",
            "SET XACT_ABORT ON; INSERT INTO {s}.field_mappings (field, updated_at) VALUES ('null', NULL)",
            "BEGIN TRY INSERT INTO {s}.field_mappings (field, updated_at) VALUES ('null', NULL) END TRY "
            "BEGIN CATCH ROLLBACK; THROW; END CATCH",
        ],
        ids=["rolled back", "committed", "aborted", "rolled back when refused"],
    )
    def test_a_transaction_that_the_server_has_ended_rolls_back_in_silence(
        self, end: str, connection: driver.Connection, workspace: Placement
    ) -> None:
        driver.run(connection, f"SELECT epoch FROM {workspace.schema}._fence")
        with suppress(mssql_python.Error):
            driver.run(connection, end.replace("{s}", workspace.schema))
        connection.rollback()
        connection.rollback()
        assert rows(connection, f"SELECT epoch FROM {workspace.schema}._fence") == [(1,)]

    @pytest.mark.parametrize("noticed", [True, False], ids=["noticed", "unnoticed"])
    def test_a_dead_connection_closes_in_silence(self, noticed: bool, throwaway: Placement, pool: Server) -> None:
        opened = connect_as_tenant(throwaway)
        driver.run(opened, f"UPDATE {throwaway.schema}.field_mappings SET property = property")
        pool.close_login(throwaway.schema)
        if noticed:
            eventually(lambda: has_ended(opened))
            error = _error(opened, "SELECT 1")
            assert driver.is_lost(error)
            told = refusal(error)
            assert told is not None
            assert told.code in (Code.FENCED, Code.UNAVAILABLE)
        opened.close()
        opened.close()

    def test_who_is_not_let_in_has_a_stale_placement(self, workspace: Placement) -> None:
        for stale in (replace(workspace, password="wrong"), replace(workspace, schema="user_" + "0" * 16)):
            with pytest.raises(Refused) as refused:
                connect_as_tenant(stale)
            assert refused.value.code is Code.FENCED

    def test_a_server_that_does_not_answer_is_unavailable(self, workspace: Placement) -> None:
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        with pytest.raises(Refused) as refused:
            connect_as_tenant(replace(workspace, host="127.0.0.1", port=port))
        assert refused.value.code is Code.UNAVAILABLE


@only_sqlserver
class TestPasswords:
    """A password is one value, whatever stands in it."""

    @pytest.mark.parametrize(
        "password",
        ["Aa1;Encrypt=no;x", "Aa1}x{y}}z", "{Aa1-braced}", "Aa1 = x ", "Aa1,1433;pwd=y", 'Aa1"quoted"', "Aa1é-Ω-世"],
    )
    def test_it_lets_its_login_in(self, password: str, throwaway: Placement, pool_url: str) -> None:
        change = f"ALTER LOGIN {throwaway.schema} WITH PASSWORD = N'{password}'"
        as_administrator(EngineName.SQLSERVER, pool_url, change)
        with closing(connect_as_tenant(replace(throwaway, password=password))) as opened:
            assert rows(opened, "SELECT SUSER_SNAME()") == [(throwaway.login,)]


class TestConnectionStrings:
    """TLS with a verified certificate, except on loopback; and no URL changes that."""

    def test_values_are_braced(self) -> None:
        made = driver.place("db.example.com", 1433, "a;b", "us}er", "p;Encrypt=no;x}{", {"ServerCertificate": "/a b"})
        assert "database={a;b};" in made
        assert "uid={us}}er};" in made
        assert "pwd={p;Encrypt=no;x}}{};" in made
        assert "servercertificate={/a b};" in made

    @pytest.mark.parametrize("host", ["db.example.com", "10.0.0.1", "localhost.example.com", "127.0.0.1.example.com"])
    def test_off_loopback_certificates_are_verified(self, host: str) -> None:
        for made in (
            driver.place(host, 1433, "tenants", "login", "secret"),
            driver.connection_string(FAR.replace("db.example.com", host)),
        ):
            assert _part(made, "encrypt") == ["mandatory"]
            assert _part(made, "trustservercertificate") == ["no"]
            assert _part(made, "server") == [f"{host},1433"]

    @pytest.mark.parametrize("option", WEAKENING)
    def test_no_option_makes_it_weaker(self, option: str) -> None:
        url = f"{FAR}?{option}"
        for reader in (sqlserver_options, driver.connection_string, lambda url: location(url, EngineName.SQLSERVER)):
            with pytest.raises(Refused) as refused:
                reader(url)
            assert refused.value.code is Code.INVALID
            assert "secret" not in f"{refused.value} {refused.value.fields}"

    @pytest.mark.parametrize(
        ("option", "encrypt"),
        [
            ("", "mandatory"),
            ("?Encrypt=yes", "yes"),
            ("?encrypt=Mandatory&TrustServerCertificate=no", "Mandatory"),
        ],
    )
    def test_what_may_be_said_of_certificates(self, option: str, encrypt: str) -> None:
        made = driver.connection_string(FAR + option)
        assert _part(made, "encrypt") == [encrypt]
        assert _part(made, "trustservercertificate") == ["no"]
        assert location(FAR + option, EngineName.SQLSERVER) == ("db.example.com", 1433, "tenants")

    @pytest.mark.parametrize(
        "url",
        [
            "mssql://admin:secret@db.example.com;Encrypt=no/tenants",
            "mssql://admin:secret@db.example.com/tenants;Encrypt=no",
            "mssql://admin:secret@db.example.com/tenants%3BEncrypt%3Dno",
            "mssql://admin%3BEncrypt%3Dno:secret@db.example.com/tenants",
            "mssql://admin:secret%3BEncrypt%3Dno@db.example.com/tenants",
        ],
        ids=["host", "database", "quoted database", "user", "password"],
    )
    def test_no_part_of_a_url_is_read_as_an_option(self, url: str) -> None:
        made = driver.connection_string(url)
        assert _part(made, "encrypt") == ["mandatory"]
        assert _part(made, "trustservercertificate") == ["no"]

    @pytest.mark.parametrize("url", TWO_HOSTS)
    def test_a_url_that_can_be_read_in_two_ways_is_refused(self, url: str) -> None:
        with pytest.raises(Refused):
            driver.connection_string(url)

    def test_on_loopback_certificates_are_not_asked_for(self) -> None:
        for host in ("127.0.0.1", "localhost"):
            made = driver.connection_string(NEAR.replace("127.0.0.1", host) + "?Encrypt=no")
            assert _part(made, "encrypt") == ["no"]
            assert _part(made, "trustservercertificate") == ["yes"]
        assert _part(driver.connection_string(NEAR), "encrypt") == ["optional"]


def _error(connection: driver.Connection, statement: str, *parameters: Any) -> mssql_python.Error:
    with pytest.raises(mssql_python.Error) as refused:
        driver.run(connection, statement, *parameters)
    return refused.value


def _part(connection_string: str, name: str) -> list[str]:
    """Every value of a keyword, as ODBC reads the string: values in braces may hold anything."""
    found, rest = [], connection_string
    while rest:
        keyword, _, rest = rest.partition("=")
        if rest.startswith("{"):
            end = 1
            while rest[end] != "}" or rest[end + 1 : end + 2] == "}":
                end += 2 if rest[end] == "}" else 1
            value, rest = rest[1:end].replace("}}", "}"), rest[end + 2 :]
        else:
            value, _, rest = rest.partition(";")
        if keyword == name:
            found.append(value)
    return found
