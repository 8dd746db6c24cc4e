"""What the workflows work with; the composition root fills it in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from awssome.aws.databases import Databases
from awssome.aws.dns import Zone
from awssome.aws.entitlements import Marketplace
from awssome.aws.metrics import Metrics
from awssome.aws.roles import Roles
from awssome.database.engine import ServerLog
from awssome.database.registry import Registry
from awssome.database.servers import Opener
from awssome.database.sessions import Sessions
from awssome.domain.addresses import Addresses
from awssome.domain.archives import ArchivePolicy
from awssome.domain.budgets import Limit
from awssome.domain.instances import Blueprint
from awssome.domain.secrets import Keys
from awssome.domain.vault import KeyService, Vault
from awssome.hubspot.limits import LIMITS, Kind
from awssome.hubspot.oauth import App
from awssome.workflows.archive_store import ArchiveStore
from awssome.workflows.mail import Mailer
from awssome.workflows.queue import Queue


@dataclass(frozen=True)
class Services:
    """The parts that jobs and the central API share.

    :param dormant_days: a free tenant at which nobody looks for so long is archived; 0: never.
    :param hubspot_limits: the budgets that calls to HubSpot keep to; a kind that is not named has none, which is for
        load tests against a sandbox without limits.
    :param kms: wraps the tenants' data keys if it names a key for that, and unwraps what it has wrapped.
    :param blueprint: what AWS makes for a tenant that is upgraded when no dedicated server is free; None: nothing.
    """

    registry: Registry
    keys: Keys
    sessions: Sessions
    queue: Queue
    hubspot: App
    roles: Roles
    addresses: Addresses
    archives: ArchiveStore
    archive_policy: ArchivePolicy = field(default_factory=ArchivePolicy, kw_only=True)
    dormant_days: int = field(default=0, kw_only=True)
    hubspot_limits: Mapping[Kind, Limit] = field(default_factory=lambda: LIMITS, kw_only=True)
    kms: KeyService | None = field(default=None, kw_only=True)
    blueprint: Blueprint | None = field(default=None, kw_only=True)
    marketplace: Marketplace | None = field(default=None, kw_only=True)

    @property
    def vault(self) -> Vault:
        """What wraps the tenants' data keys."""
        return Vault(self.keys, self.kms)


@dataclass(frozen=True)
class WorkerServices(Services):
    """What only workers have: the administrators' rights on the servers, rights in our AWS account, the mail server.

    :param open_server: opens a registered server with its administrator's rights.
    :param logs: the servers' logs that this worker can read, by the server's name.
    :param metrics: where figures go beside the registry.
    :param zone: where the names of paid tenants are kept in DNS; None: nowhere.
    :param desk: where operators reach the management portal, for the links in their mails.
    """

    open_server: Opener
    mailer: Mailer
    logs: Mapping[str, ServerLog] = field(default_factory=dict, kw_only=True)
    metrics: Metrics = field(default_factory=Metrics, kw_only=True)
    databases: Databases = field(default_factory=Databases, kw_only=True)
    zone: Zone | None = field(default=None, kw_only=True)
    desk: str = field(default="http://127.0.0.1:8001", kw_only=True)
