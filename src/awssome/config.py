"""Settings from the environment, and what is kept in the home directory when the environment says nothing.

Only `main` imports this. Every setting is `AWSSOME_` and its name in capitals; docs/runbook.md lists them.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from ipaddress import ip_network
from pathlib import Path
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from awssome.domain.addresses import Addresses
from awssome.domain.errors import Code, Refused
from awssome.domain.instances import Blueprint
from awssome.domain.secrets import Keys, new_secret_key, new_token
from awssome.domain.servers import tls_options

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def default_home() -> Path:
    """Where data is kept unless `AWSSOME_HOME` says otherwise (XDG Base Directory Specification)."""
    if os.geteuid() == 0:
        return Path("/var/lib/awssome")
    data = os.environ.get("XDG_DATA_HOME", "")
    # The specification has relative paths ignored.
    return (Path(data) if Path(data).is_absolute() else Path.home() / ".local/share") / "awssome"


_SECURITY_GROUP = r"sg-[0-9a-f]{8,40}"
_KMS_KEY = r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]{1,64}"


class Settings(BaseSettings):
    """What can be set, with defaults that serve one machine on loopback.

    :ivar home: data of the embedded databases, generated secrets, what was served last.
    :ivar control_url: the central API; the portal and the command line call it.
    :ivar domain: the domain whose sub-domains are the tenants' hosts.
    :ivar public_port: the port that browsers use, when it is not the scheme's own.
    :ivar listen: the address that the web processes listen on.
    :ivar previous_secret_keys: earlier values of the secret key, newest first, with commas between them.
    :ivar trusted_proxies: load balancers (addresses or networks, with commas between them) that are believed when they
        say where a request comes from.
    :ivar database_url: the control plane's PostgreSQL; without it, embedded servers are used.
    :ivar pgbin: directory of PostgreSQL's programs for the embedded servers.
    :ivar hubspot_base_url: a sandbox in place of HubSpot.
    :ivar hubspot_limits: whose limits calls to HubSpot keep to: `oauth` for a marketplace app; `free`, `professional`
        or `enterprise` for an app that is distributed privately, by what the accounts pay; `off` for load tests.
    :ivar aws_role_template_url: where infrastructure/tenant-role.yaml lies on S3.
    :ivar aws_principal_arn: the IAM principal that the platform works as, whom customers' roles trust.
    :ivar aws_console_url: a sandbox in place of CloudFormation's quick-create console.
    :ivar kms_key: the ARN of the key of KMS that wraps tenants' data keys; an alias could mean another key tomorrow.
    :ivar previous_kms_keys: ARNs of the keys of KMS that wrapped them before, with commas between them.
    :ivar rds_engine: what AWS makes for tenants that are upgraded, as RDS names it; empty: nothing.
    :ivar rds_class: the instance class, like `db.t3.large`.
    :ivar rds_storage_gb: storage of an instance, in GiB.
    :ivar rds_subnet_group: the DB subnet group that instances are in; the default VPC's if not given.
    :ivar rds_security_groups: ids of the security groups that let portal, management and workers in, with commas.
    :ivar rds_kms_key: ARN of the key that encrypts instances and their snapshots; the account's default if not given.
    :ivar rds_multi_az: a standby in another availability zone.
    :ivar marketplace_product: product code in AWS Marketplace, whose subscribers get the paid tier; empty: nothing.
    :ivar dns_zone: id of the hosted zone in Route 53 in which paid tenants get their names; empty: nowhere, and a
        wildcard record leads all of them to the portal.
    :ivar dns_target: the name of the portal's load balancer, to which they lead.
    :ivar cloudwatch_namespace: where figures go in CloudWatch; empty keeps them at home.
    :ivar connection_budget: connections of one process to one server, all tenants together.
    :ivar archives: where archives lie: a directory, or `s3://bucket/prefix`; below home if not given.
    :ivar export_hours: how often an active tenant's data is exported; 0: never by itself.
    :ivar archive_days: how long such archives are kept.
    :ivar dormant_days: a free tenant at which nobody looks for so long is archived; 0: never.
    :ivar threads: requests that one web process works on at a time.
    """

    model_config = SettingsConfigDict(
        env_prefix="AWSSOME_", env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    home: Path = Field(default_factory=default_home)
    control_url: str = ""
    domain: str = Field("localhost", pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    public_port: int | None = Field(None, ge=1, le=65535)
    listen: str = "127.0.0.1"
    trusted_proxies: str = ""
    portal_port: int = Field(8000, ge=0, le=65535)
    management_port: int = Field(8001, ge=0, le=65535)
    secret_key: SecretStr | None = None
    previous_secret_keys: SecretStr = SecretStr("")
    service_token: SecretStr | None = Field(None, min_length=32)
    operator_token: SecretStr | None = Field(None, min_length=32)
    metrics_token: SecretStr | None = Field(None, min_length=32)
    database_url: SecretStr | None = None
    pgbin: Path | None = Field(None, validation_alias=AliasChoices("PGBIN", "pgbin"))
    hubspot_base_url: str | None = None
    hubspot_client_id: str = ""
    hubspot_client_secret: SecretStr = SecretStr("")
    hubspot_limits: Literal["oauth", "free", "professional", "enterprise", "off"] = "oauth"
    aws_role_template_url: str = ""
    aws_principal_arn: str = ""
    aws_console_url: str = ""
    kms_key: str = Field("", pattern=rf"^({_KMS_KEY})?$")
    previous_kms_keys: str = Field("", pattern=rf"^({_KMS_KEY}(\s*,\s*{_KMS_KEY})*)?$")
    rds_engine: Literal["", "postgres", "sqlserver-web", "sqlserver-se", "sqlserver-ee"] = ""
    rds_class: str = Field("", pattern=r"^(db\.[a-z0-9-]+\.[a-z0-9]+)?$")
    rds_storage_gb: int = Field(20, ge=20, le=65536)
    rds_subnet_group: str = Field("", pattern=r"^[A-Za-z0-9._-]{0,255}$")
    rds_security_groups: str = Field("", pattern=rf"^({_SECURITY_GROUP}(\s*,\s*{_SECURITY_GROUP})*)?$")
    rds_kms_key: str = Field("", pattern=rf"^({_KMS_KEY})?$")
    rds_multi_az: bool = False
    marketplace_product: str = Field("", pattern=r"^[A-Za-z0-9-]{0,255}$")
    dns_zone: str = Field("", pattern=r"^[A-Z0-9]{0,32}$")
    dns_target: str = Field("", pattern=r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$")
    cloudwatch_namespace: str = Field("", pattern=r"^[A-Za-z0-9./_#:-]{0,255}$")
    smtp_url: SecretStr = SecretStr("smtp://127.0.0.1:25")
    mail_from: str = "awssome@localhost"
    connection_budget: int = Field(60, ge=4)
    threads: int = Field(16, ge=1)
    archives: str = ""
    export_hours: int = Field(24, ge=0)
    archive_days: int = Field(14, ge=1)
    dormant_days: int = Field(90, ge=0)
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    log_json: bool = False

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @field_validator("database_url")
    @classmethod
    def _postgresql(cls, url: SecretStr | None) -> SecretStr | None:
        if url and urlsplit(url.get_secret_value()).scheme not in ("postgresql", "postgresql+psycopg"):
            raise ValueError("must be a URL of PostgreSQL, like postgresql://user:password@host/database")
        if url:
            try:
                tls_options(url.get_secret_value())
            except Refused as refused:
                raise ValueError(refused.message.rstrip(".")) from None
        return url

    @field_validator("control_url", "hubspot_base_url")
    @classmethod
    def _encrypted(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "")
        local = parts.hostname in _LOOPBACK
        if url and not (parts.hostname and (parts.scheme == "https" or (parts.scheme == "http" and local))):
            raise ValueError("must begin with https://, or with http:// on this machine: secrets go there")
        return url

    @field_validator("archives")
    @classmethod
    def _store(cls, where: str) -> str:
        if where and not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w!.*'()/-]*)?|/.*", where):
            raise ValueError("must be an absolute directory, or s3://bucket/prefix")
        return where

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, given: str) -> str:
        names = [name.strip() for name in given.split(",") if name.strip()]
        try:
            networks = [ip_network(name) for name in names]
            if any(not network.prefixlen for network in networks):
                raise ValueError  # everybody could say where they come from
            return ",".join(map(str, networks))
        except ValueError:
            raise ValueError("must be addresses or networks, like 10.0.0.0/16, with commas between them") from None

    @field_validator("smtp_url")
    @classmethod
    def _smtp(cls, url: SecretStr) -> SecretStr:
        parts = urlsplit(url.get_secret_value())
        if parts.scheme != "smtp" or not parts.hostname:
            raise ValueError("must be like smtp://user:password@host:587")
        return url

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.service_token and self.operator_token and self.service_token == self.operator_token:
            raise ValueError("the service token and the operator token must differ")
        if self.database_url and not self.secret_key:
            # Each machine would make a key of its own, and none could open what another has sealed.
            raise ValueError("AWSSOME_SECRET_KEY is needed together with AWSSOME_DATABASE_URL")
        if self.rds_engine and not self.rds_class:
            raise ValueError("AWSSOME_RDS_CLASS is needed together with AWSSOME_RDS_ENGINE")
        if bool(self.dns_zone) != bool(self.dns_target):
            raise ValueError("AWSSOME_DNS_ZONE and AWSSOME_DNS_TARGET go together")
        return self

    @cached_property
    def addresses(self) -> Addresses:
        """The hosts that the portal serves. On loopback there is no TLS, and browsers use the portal's own port."""
        local = self.domain == "localhost"
        return Addresses(self.domain, self.public_port or (self.portal_port if local else None), secure=not local)

    @property
    def mail_server(self) -> tuple[str, int, str, str]:
        """(host, port, user, password) of the SMTP server."""
        parts = urlsplit(self.smtp_url.get_secret_value())
        host, user, password = parts.hostname or "", parts.username or "", parts.password or ""
        return host, parts.port or (25 if host in _LOOPBACK else 587), unquote(user), unquote(password)

    @property
    def blueprint(self) -> Blueprint | None:
        """What AWS makes for a tenant that is upgraded; None: nothing."""
        if not self.rds_engine:
            return None
        return Blueprint(
            engine=self.rds_engine,
            size=self.rds_class,
            storage_gb=self.rds_storage_gb,
            subnet_group=self.rds_subnet_group,
            security_groups=tuple(group.strip() for group in self.rds_security_groups.split(",") if group.strip()),
            kms_key=self.rds_kms_key,
            multi_az=self.rds_multi_az,
            platform=self.domain,
        )

    @property
    def central_api(self) -> str:
        """The central API's URL as the portal reaches it."""
        return self.control_url or f"http://127.0.0.1:{self.management_port}"

    def keys(self) -> Keys:
        """The platform's keys; made once, below home, when none is set.

        :raises Refused: INVALID for a key that is none.
        """
        previous = [key.strip() for key in self.previous_secret_keys.get_secret_value().split(",") if key.strip()]
        try:
            return Keys.from_text(self._secret(self.secret_key, "secret-key", new_secret_key), *previous)
        except ValueError as error:
            raise Refused(Code.INVALID, f"{error}.") from None

    def previous_kms(self) -> list[str]:
        """The keys of KMS that wrapped data keys before."""
        return [key.strip() for key in self.previous_kms_keys.split(",") if key.strip()]

    def service_secret(self) -> str:
        """The portal's token for the central API; made once, below home, when none is set."""
        return self._secret(self.service_token, "service-token", new_token)

    def operator_secret(self) -> str:
        """The command line's token for the central API; made once, below home, when none is set."""
        return self._secret(self.operator_token, "operator-token", new_token)

    def metrics_secret(self) -> str:
        """The token that opens /metrics of management and portal; made once, below home, when none is set."""
        return self._secret(self.metrics_token, "metrics-token", new_token)

    def known_operator_secret(self) -> str:
        """The command line's token, if there is one: a fresh one would be unknown to the central API.

        :raises Refused: UNAUTHENTICATED when there is none.
        """
        if self.operator_token is None and not (self.home / "operator-token").exists():
            raise Refused(
                Code.UNAUTHENTICATED,
                f"There is no operator token in {self.home}.",
                "Start `awssome serve management` or `awssome demo`, or set AWSSOME_HOME or AWSSOME_OPERATOR_TOKEN.",
            )
        return self.operator_secret()

    def remember(self, name: str, url: str) -> None:
        """Write down where something is served, for the command line on this machine; a convenience, never needed."""
        with suppress(OSError):
            self.home.mkdir(parents=True, exist_ok=True)
            with (self.home / "addresses.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                _replace(self.home / "addresses.json", json.dumps({**self.remembered(), name: url}, indent=2) + "\n")

    def remembered(self) -> dict[str, str]:
        """Where things were served last: `management` and `portal`, as far as known."""
        try:
            found = json.loads((self.home / "addresses.json").read_text())
        except (OSError, ValueError):
            return {}
        return {str(name): str(url) for name, url in found.items()} if isinstance(found, dict) else {}

    def _secret(self, given: SecretStr | None, name: str, make: Callable[[], str]) -> str:
        return given.get_secret_value() if given else kept(self.home / name, make)


def load() -> Settings:
    """The settings of this process. :raises Refused: INVALID, naming what cannot be used and no value."""
    try:
        return Settings()
    except ValidationError as error:
        problems = [_told(problem["loc"], problem["msg"]) for problem in error.errors()]
        raise Refused(Code.INVALID, "The settings cannot be used. " + " ".join(problems)) from None


def kept(path: Path, make: Callable[[], str]) -> str:
    """The secret in a file of mode 0600, made once however many processes ask at the same time.

    :raises Refused: UNAVAILABLE when the file cannot be read or made.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            # A link appears whole or not at all, and only for the first.
            fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(make() + "\n")
            try:
                os.link(fresh, path)
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
        return path.read_text().strip()
    except OSError as error:
        raise Refused(
            Code.UNAVAILABLE,
            f"{path} cannot be used. {error.strerror}.",
            "Run this as the user to whom it belongs, or choose another directory with AWSSOME_HOME.",
        ) from None


def _replace(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=path.name, delete=False) as file:
        file.write(text)
    Path(file.name).chmod(0o644)
    Path(file.name).replace(path)


def _told(where: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    if not where:
        return f"{message[0].upper()}{message[1:]}."
    name = str(where[0])
    return f"{name if name.isupper() else 'AWSSOME_' + name.upper()}: {message}."
