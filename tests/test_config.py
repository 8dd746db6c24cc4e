"""Settings: defaults that serve one machine, refusals that name the setting and never its value, secrets made once."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from awssome.config import Settings, load
from awssome.domain.addresses import Addresses
from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import new_secret_key
from awssome.domain.tenants import EngineName


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, and no setting from outside."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"AWSSOME_{name.upper()}", raising=False)
    monkeypatch.delenv("PGBIN", raising=False)
    monkeypatch.setenv("AWSSOME_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_the_runbook_names_every_setting() -> None:
    runbook = (Path(__file__).parents[1] / "docs" / "runbook.md").read_text()
    names = {"PGBIN" if name == "pgbin" else f"AWSSOME_{name.upper()}" for name in Settings.model_fields}
    assert {name for name in names if f"`{name}`" not in runbook} == set()


def test_without_settings_everything_is_on_loopback() -> None:
    settings = load()
    assert settings.addresses == Addresses("localhost", 8000, secure=False)
    assert settings.central_api == "http://127.0.0.1:8001"
    assert settings.listen == "127.0.0.1"
    assert settings.mail_server == ("127.0.0.1", 25, "", "")


def test_a_real_domain_is_served_with_tls_on_the_schemes_own_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSSOME_DOMAIN", "awssome.example")
    assert load().addresses.url(load().addresses.shared()) == "https://freemium.awssome.example/"
    monkeypatch.setenv("AWSSOME_PUBLIC_PORT", "8443")
    assert load().addresses.bare() == "awssome.example:8443"


def test_the_home_follows_the_desktop_rules_for_users_and_those_of_services_for_root(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AWSSOME_HOME")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert load().home == Path("/var/lib/awssome")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/alice")
    monkeypatch.setenv("XDG_DATA_HOME", "data")
    assert load().home == Path("/home/alice/.local/share/awssome"), "a relative path is not to be used"
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert load().home == Path("/data/awssome")


def test_a_mail_servers_url_is_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSSOME_SMTP_URL", "smtp://alice%40example.com:p%2Fw@mail.example.com")
    assert load().mail_server == ("mail.example.com", 587, "alice@example.com", "p/w")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWSSOME_PORTAL_PORT", "eight-thousand"),
        ("AWSSOME_SMTP_URL", "https://secret-value"),
        ("AWSSOME_DATABASE_URL", "mysql://secret-value"),
        ("AWSSOME_DATABASE_URL", "postgresql://db.example.com/awssome?sslmode=disable&password=secret-value"),
        ("AWSSOME_CONTROL_URL", "http://central.example.com/secret-value"),
        ("AWSSOME_CONTROL_URL", "http://localhost.example.com/secret-value"),
        ("AWSSOME_CONTROL_URL", "central.example.com:8001/secret-value"),
        ("AWSSOME_HUBSPOT_BASE_URL", "http://hubspot.example.com/secret-value"),
        ("AWSSOME_SERVICE_TOKEN", "secret-value"),
        ("AWSSOME_DOMAIN", "https://secret-value"),
    ],
)
def test_what_cannot_be_used_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Refused) as refused:
        load()
    assert refused.value.code is Code.INVALID
    assert name in refused.value.message
    assert value not in refused.value.message and "secret-value" not in refused.value.message


@pytest.mark.parametrize("url", ["https://central.example.com", "http://127.0.0.1:8001", "http://[::1]:8001"])
def test_the_central_api_is_reached_by_tls_or_on_loopback(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("AWSSOME_CONTROL_URL", url)
    assert load().central_api == url


def test_a_registry_of_ones_own_needs_a_key_that_all_machines_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSSOME_DATABASE_URL", "postgresql://awssome:secret-value@db.example.com/awssome")
    with pytest.raises(Refused, match="AWSSOME_SECRET_KEY is needed"):
        load()
    monkeypatch.setenv("AWSSOME_SECRET_KEY", new_secret_key())
    assert "secret-value" not in repr(load())


def test_portal_and_operators_must_not_share_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSSOME_SERVICE_TOKEN", "t" * 43)
    monkeypatch.setenv("AWSSOME_OPERATOR_TOKEN", "t" * 43)
    with pytest.raises(Refused, match="must differ"):
        load()


def test_servers_that_aws_makes_are_told_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().blueprint is None
    monkeypatch.setenv("AWSSOME_RDS_ENGINE", "sqlserver-web")
    with pytest.raises(Refused, match="AWSSOME_RDS_CLASS"):
        load()
    monkeypatch.setenv("AWSSOME_RDS_CLASS", "db.t3.large")
    monkeypatch.setenv("AWSSOME_RDS_SECURITY_GROUPS", "sg-0123456789abcdef0 , sg-1123456789abcdef0")
    monkeypatch.setenv("AWSSOME_DOMAIN", "awssome.example")
    found = load().blueprint
    assert found is not None
    assert (found.runs, found.storage_gb, found.platform) == (EngineName.SQLSERVER, 20, "awssome.example")
    assert found.security_groups == ("sg-0123456789abcdef0", "sg-1123456789abcdef0")


def test_a_hosted_zone_needs_a_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSSOME_DNS_ZONE", "Z1234567890")
    with pytest.raises(Refused, match="AWSSOME_DNS_TARGET"):
        load()


def test_a_secret_is_made_once_and_for_nobody_elses_eyes(home: Path) -> None:
    first = load().service_secret()
    assert load().service_secret() == first
    assert len(first) >= 32
    assert stat.S_IMODE((home / "service-token").stat().st_mode) == 0o600
    assert load().keys().signature("test", "message") == load().keys().signature("test", "message")
    assert [path.name for path in sorted(home.iterdir())] == ["secret-key", "service-token"]


def test_processes_that_need_a_secret_at_once_have_the_same(home: Path) -> None:
    program = "from awssome.config import load; print(load().operator_secret())"
    running = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert len({process.communicate()[0] for process in running}) == 1


def test_a_key_that_is_too_short_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSSOME_SECRET_KEY", "c2hvcnQ")
    with pytest.raises(Refused, match="at least 32 bytes") as refused:
        load().keys()
    assert "c2hvcnQ" not in refused.value.message


def test_an_operator_token_is_not_made_up_for_who_only_asks(home: Path) -> None:
    with pytest.raises(Refused) as refused:
        load().known_operator_secret()
    assert refused.value.code is Code.UNAUTHENTICATED
    assert not home.exists()
    made = load().operator_secret()
    assert load().known_operator_secret() == made


def test_what_was_served_last_is_remembered(home: Path) -> None:
    assert load().remembered() == {}
    load().remember("management", "http://127.0.0.1:41001")
    load().remember("portal", "http://freemium.localhost:41000")
    load().remember("management", "http://127.0.0.1:41002")
    assert load().remembered() == {
        "management": "http://127.0.0.1:41002",
        "portal": "http://freemium.localhost:41000",
    }
    (home / "addresses.json").write_text("{ half a fi")
    assert load().remembered() == {}
