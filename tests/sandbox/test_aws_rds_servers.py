"""Database servers behind the AWS sandbox's instances: a command starts them, and they end with what they belong to."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from .conftest import running
from .test_aws import client
from .test_aws_rds import POSTGRES

# Answers each connection with its pid and what it was told.
SERVER = """
import json, os, socket, sys, threading

known = {key.removeprefix("SANDBOX_"): value for key, value in os.environ.items() if key.startswith("SANDBOX_")}
known["pid"] = os.getpid()
listening = socket.create_server(("127.0.0.1", 0))
print(json.dumps({"host": "127.0.0.1", "port": listening.getsockname()[1]}), flush=True)

def serve():
    while True:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(json.dumps(known).encode())

threading.Thread(target=serve, daemon=True).start()
for line in sys.stdin:
    known["PASSWORD"] = json.loads(line)["password"]
    print(json.dumps({"password": "changed"}), flush=True)
threading.Event().wait()
"""


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """The sandbox's options for a server that answers with what it knows."""
    (tmp_path / "server.py").write_text(SERVER)
    return options(sys.executable, str(tmp_path / "server.py"))


def options(*command: str) -> list[str]:
    return ["--rds-seconds", "0", "--database-command", shlex.join(command)]


def ended(rds: Any, name: str, *, within: float = 60) -> dict[str, Any]:
    """The instance once it is available or has failed."""
    until = time.monotonic() + within
    while True:
        found = rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]
        if found["DBInstanceStatus"] in ("available", "failed"):
            return found
        assert time.monotonic() < until, found
        time.sleep(0.05)


def ask(instance: dict[str, Any]) -> dict[str, Any]:
    """What the server behind an instance knows."""
    endpoint = instance["Endpoint"]
    with socket.create_connection((endpoint["Address"], endpoint["Port"]), timeout=10) as connection:
        return json.loads(connection.makefile().read())


def wait_until_gone(pid: int, *, within: float = 20) -> None:
    until = time.monotonic() + within
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
        assert time.monotonic() < until, "the server is still there"
        time.sleep(0.05)


def test_the_command_is_told_of_its_instance_and_ends_with_it(command: list[str]) -> None:
    with running("aws", *command) as announced:
        rds = client(announced["url"], "rds")
        rds.create_db_instance(DBInstanceIdentifier="one", DBName="tenants", **POSTGRES)
        known = ask(ended(rds, "one"))
        pid, directory = known.pop("pid"), known.pop("DIRECTORY")
        assert known == {
            "INSTANCE": "one",
            "ENGINE": "postgres",
            "USERNAME": "master",
            "PASSWORD": "correct-horse",
            "DATABASE": "tenants",
        }
        assert Path(directory).is_dir()
        rds.delete_db_instance(DBInstanceIdentifier="one", SkipFinalSnapshot=True)
        with pytest.raises(rds.exceptions.DBInstanceNotFoundFault):
            ended(rds, "one")
            while True:
                rds.describe_db_instances(DBInstanceIdentifier="one")
        wait_until_gone(pid, within=0)
        assert not Path(directory).exists()


def test_the_managed_password_and_a_changed_one_reach_the_server(command: list[str]) -> None:
    with running("aws", *command) as announced:
        rds, secrets = client(announced["url"], "rds"), client(announced["url"], "secretsmanager")
        managed = {**POSTGRES, "ManageMasterUserPassword": True}
        del managed["MasterUserPassword"]
        rds.create_db_instance(DBInstanceIdentifier="managed", **managed)
        rds.create_db_instance(DBInstanceIdentifier="own", **POSTGRES)
        found = ended(rds, "managed")
        secret = secrets.get_secret_value(SecretId=found["MasterUserSecret"]["SecretArn"])["SecretString"]
        assert json.loads(secret) == {"username": "master", "password": ask(found)["PASSWORD"]}
        ended(rds, "own")
        rds.modify_db_instance(DBInstanceIdentifier="own", MasterUserPassword="another-horse")
        assert ask(ended(rds, "own"))["PASSWORD"] == "another-horse"


def test_nobody_on_the_network_has_the_command_run(command: list[str]) -> None:
    start = [sys.executable, "-m", "awssome_sandbox.aws", "--host", "192.0.2.1", *command]
    ended = subprocess.run(start, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "loopback" in ended.stderr


@pytest.mark.parametrize("said", ["", "no JSON", '{"host": "127.0.0.1"}'])
def test_an_instance_whose_command_does_not_say_where_it_answers_has_failed(said: str) -> None:
    script = f"import sys; print({said!r}); sys.exit('The disk <is> full.')"
    with running("aws", *options(sys.executable, "-c", script)) as announced:
        rds = client(announced["url"], "rds")
        rds.create_db_instance(DBInstanceIdentifier="one", **POSTGRES)
        found = ended(rds, "one")
        assert (found["DBInstanceStatus"], found.get("Endpoint")) == ("failed", None)
        assert "The disk &lt;is&gt; full." in httpx2.get(f"{announced['url']}/_sandbox/rds").text
        rds.delete_db_instance(DBInstanceIdentifier="one", SkipFinalSnapshot=True)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_servers_end_with_the_sandbox_whatever_ends_it(command: list[str], tmp_path: Path, how: signal.Signals) -> None:
    start = [sys.executable, "-m", "awssome_sandbox.aws", *command]
    place = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=place) as process:
        assert process.stdout
        rds = client(json.loads(process.stdout.readline())["url"], "rds")
        for name in ("one", "two"):
            rds.create_db_instance(DBInstanceIdentifier=name, **POSTGRES)
        pids = [ask(ended(rds, name))["pid"] for name in ("one", "two")]
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
        os.kill(process.pid, how)
        process.communicate(timeout=30)
    for pid in pids:
        wait_until_gone(pid)


@pytest.fixture(scope="module")
def embedded() -> Iterator[tuple[Any, dict[str, Any]]]:
    """A client of RDS, and an available instance with the embedded PostgreSQL behind it."""
    with running("aws", *options(sys.executable, "-m", "awssome.cli", "serve", "database")) as announced:
        rds = client(announced["url"], "rds")
        rds.create_db_instance(DBInstanceIdentifier="real", DBName="tenants", **POSTGRES)
        found = ended(rds, "real", within=300)
        assert found["DBInstanceStatus"] == "available", httpx2.get(f"{announced['url']}/_sandbox/rds").text
        yield rds, found


def connect(instance: dict[str, Any], password: str, database: str = "tenants") -> psycopg.Connection[Any]:
    where = {"host": instance["Endpoint"]["Address"], "port": instance["Endpoint"]["Port"]}
    return psycopg.connect(**where, user="master", password=password, dbname=database, autocommit=True)


def test_the_embedded_postgresql_answers_with_a_master_user_like_that_of_rds(embedded) -> None:
    _, instance = embedded
    with connect(instance, "correct-horse") as connection:
        role = "SELECT rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication FROM pg_roles"
        assert connection.execute(f"{role} WHERE rolname = current_user").fetchone() == (
            False,
            True,
            True,
            False,
            False,
        )
        member = "SELECT pg_has_role('rds_superuser', 'USAGE'), pg_has_role('pg_signal_backend', 'USAGE')"
        assert connection.execute(member).fetchone() == (True, True)
        for statement in (
            "CREATE ROLE user_1 LOGIN PASSWORD 'x'",
            "CREATE SCHEMA s",
            "CREATE DATABASE other",
            "SELECT count(*) FROM pg_stat_statements",
            "GRANT pg_read_all_stats TO user_1",
        ):
            connection.execute(statement)
        for statement in (
            "CREATE ROLE root SUPERUSER",
            "COPY (SELECT 1) TO PROGRAM 'cat'",
            "SET log_statement = 'all'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_the_embedded_postgresql_takes_another_password(embedded) -> None:
    rds, instance = embedded
    rds.modify_db_instance(DBInstanceIdentifier="real", MasterUserPassword="another-horse")
    ended(rds, "real")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(instance, "correct-horse")
    connect(instance, "another-horse").close()
    rds.modify_db_instance(DBInstanceIdentifier="real", MasterUserPassword="correct-horse")
    ended(rds, "real")


def test_no_server_stands_behind_an_engine_that_is_not_embedded(embedded) -> None:
    rds, _ = embedded
    rds.create_db_instance(DBInstanceIdentifier="sql", **POSTGRES | {"Engine": "sqlserver-web"})
    assert ended(rds, "sql")["DBInstanceStatus"] == "failed"
    rds.delete_db_instance(DBInstanceIdentifier="sql", SkipFinalSnapshot=True)
