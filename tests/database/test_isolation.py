"""The attacks of both engines, looked at together: nothing that the promise names is left out, nothing that is open is
untold, and what a server refuses can be found in its log.

The attacks are run in `postgresql` and `sqlserver`, as a tenant's own login.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import pytest

from awssome.database.embedded import Cluster
from awssome.database.postgresql.entrance import connect_as_tenant
from awssome.database.postgresql.refusals import KINDS
from awssome.domain.tenants import EngineName, Placement
from tests.conftest import settle_log
from tests.database.exposed import Exposed, documented
from tests.database.postgresql.attacks import FENCED, UNSUPPORTED
from tests.database.postgresql.attacks import data as postgresql_data
from tests.database.postgresql.attacks import exposed as postgresql_exposed
from tests.database.postgresql.attacks import rights as postgresql_rights
from tests.database.postgresql.attacks import server as postgresql_server
from tests.database.sqlserver.attacks import data as sqlserver_data
from tests.database.sqlserver.attacks import exposed as sqlserver_exposed
from tests.database.sqlserver.attacks import rights as sqlserver_rights
from tests.database.sqlserver.attacks import server as sqlserver_server
from tests.engines import only_postgresql

POSTGRESQL = (
    *postgresql_data.READ,
    *postgresql_data.WRITE,
    *postgresql_rights.IDENTITY,
    *postgresql_rights.OWN_SCHEMA,
    *postgresql_rights.FENCE,
    *postgresql_server.SERVER,
)
SQLSERVER = (
    *sqlserver_data.READ,
    *sqlserver_data.WRITE,
    *sqlserver_rights.IDENTITY,
    *sqlserver_rights.OWN_SCHEMA,
    *sqlserver_rights.ALIASES,
    *sqlserver_server.SERVER,
)
EXPOSED: dict[EngineName, tuple[Exposed, ...]] = {
    EngineName.POSTGRESQL: postgresql_exposed.EXPOSED,
    EngineName.SQLSERVER: sqlserver_exposed.EXPOSED,
}
TITLE = {EngineName.POSTGRESQL: "PostgreSQL", EngineName.SQLSERVER: "SQL Server"}

PROMISED = {
    "reading": (r"^SELECT title FROM \{bob\}", r"^SELECT title FROM \{bob\}"),
    "writing": (r"^(INSERT INTO|UPDATE|DELETE FROM) \{bob\}", r"^(INSERT INTO|UPDATE|DELETE FROM) \{bob\}"),
    "definitions": (r"^(CREATE|ALTER|DROP) ", r"^(CREATE|ALTER|DROP) "),
    "roles": (r"^SET ROLE|^GRANT|^ALTER ROLE", r"EXECUTE AS|^ALTER LOGIN|sp_setapprole"),
    "sessions": (r"SESSION AUTHORIZATION|set_config|DISCARD", r"REVERT|session_context|CONTEXT_INFO"),
    "prepared statements": (r"^PREPARE|^EXECUTE", r"sp_prepexec|sp_executesql"),
    "catalog functions": (r"pg_read_file|ts_stat|query_to_xml", r"OBJECT_DEFINITION|fn_dblog|DBCC"),
    "large objects": (r"lo_create|lo_import|pg_largeobject", r"OPENROWSET\(BULK"),
    "locks": (r"pg_advisory|LOCK TABLE", r"TABLOCKX|LOCK_TIMEOUT"),
    "notifications": (r"NOTIFY|LISTEN|pg_notify", r"EVENT NOTIFICATION|QUEUE"),
    "copying": (r"^COPY .* (FROM|TO) (STDIN|STDOUT|PROGRAM|')", r"BULK INSERT|INSERT BULK"),
    "temporary objects": (r"TEMP|pg_temp", r"#mine|##"),
    "resources": (r"work_mem|statement_timeout|temp_file_limit", r"WAITFOR|RESOURCE GOVERNOR|LOCK_TIMEOUT"),
}
"""What has to be tried on each engine: a statement that is one of it."""

OF_ITS_OWN = {
    EngineName.POSTGRESQL: set[str](),
    # sqlserver/test_fence.py, sqlserver/test_exposed.py
    EngineName.SQLSERVER: {"locks", "fence", "password"},
}
"""Rows that tests of their own stand for."""


@pytest.mark.parametrize("subject", PROMISED)
@pytest.mark.parametrize("name", list(EngineName), ids=str)
def test_everything_that_is_promised_is_tried(name: EngineName, subject: str) -> None:
    attacks: tuple[Any, ...] = POSTGRESQL if name is EngineName.POSTGRESQL else SQLSERVER
    looks = () if name is EngineName.POSTGRESQL else tuple(look.query for look in sqlserver_server.LOOKS)
    tried = [statement for each in (*attacks, *EXPOSED[name]) for statement in each.statements]
    pattern = PROMISED[subject][list(EngineName).index(name)]
    assert any(re.search(pattern, statement) for statement in (*tried, *looks))


@pytest.mark.parametrize("name", list(EngineName), ids=str)
def test_what_is_open_is_told_with_reason_and_limit_and_what_is_told_is_tried(name: EngineName) -> None:
    rows = documented(TITLE[name])
    assert {each.row for each in EXPOSED[name]} | OF_ITS_OWN[name] == set(rows)
    for key, cells in rows.items():
        assert len(cells) == 3 and all(cells), key


def test_names_of_attacks_are_told_apart() -> None:
    for attacks in (postgresql_data.READ, postgresql_data.WRITE, postgresql_rights.IDENTITY, postgresql_server.SERVER):
        assert max(Counter(each.name for each in attacks).values()) == 1


UNTOLD = {FENCED, UNSUPPORTED, "22023", "42704", "42883", "42P17", "55000", "55006", "58P01"}
"""Refusals that say nothing of rights: the guard's own, which moves meet, too; what is unknown or switched off."""


@only_postgresql
def test_every_refusal_of_a_right_is_in_the_servers_log(
    make_workspace: Callable[[], Placement], cluster: Cluster
) -> None:
    """All attacks once more, in one go: the log has each refusal that the attacker has met, no more and no less."""
    alice, bob = make_workspace(), make_workspace()
    position = cluster.log.end()
    met: Counter[str] = Counter()
    for attempt in POSTGRESQL:
        with closing(connect_as_tenant(alice)) as session:
            for statement in attempt.statements:
                if "STDIN" in statement or "STDOUT" in statement:
                    continue
                try:
                    session.execute(statement.replace("{alice}", alice.schema).replace("{bob}", bob.schema))  # type: ignore[arg-type]
                except psycopg.Error as error:
                    met[str(error.sqlstate)] += 1
    settle_log(cluster)
    told = Counter(one.code for one in cluster.log.read(position).refusals if one.login == alice.login)
    assert told == Counter({code: count for code, count in met.items() if code in KINDS})
    assert set(met) - set(KINDS) <= UNTOLD
    assert told.total() > 0.9 * met.total()
