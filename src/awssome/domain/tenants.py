"""Tenants, accounts, tiers, servers and placements: their words and their rules."""

from __future__ import annotations

import re
import secrets
import unicodedata
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from awssome.domain.errors import Code, Refused

FREE_DEALS = 10
"""How many HubSpot deals a free tenant may import, ever."""

RETENTION_DAYS = 30
"""How long the source of a move is kept for rollback, and the last archive of a deleted tenant for its return."""

PENDING_DAYS = 7
"""How long a tenant may wait for its workspace: a sign-up that nobody confirms or finishes is deleted then."""

MIN_PASSWORD = 12
MAX_PASSWORD = 256


class Tier(StrEnum):
    """What a tenant pays for. Independent of where its data is."""

    FREE = "free"
    PAID = "paid"


class TenantState(StrEnum):
    """Where a tenant is in its life.

    `pending` until the workspace exists. `moving` is never stored: operators see it of an active tenant that a move is
    carrying; it stays in use. `archived`: dormant, its data is an archive only, until its owner returns. `retained`:
    deleted, and its archive is kept for a while. `deleted`: nothing of its data is left.
    """

    PENDING = "pending"
    ACTIVE = "active"
    MOVING = "moving"
    SUSPENDED = "suspended"
    ARCHIVED = "archived"
    RETAINED = "retained"
    DELETED = "deleted"


TRANSITIONS: dict[TenantState, frozenset[TenantState]] = {
    TenantState.PENDING: frozenset({TenantState.ACTIVE, TenantState.DELETED}),
    TenantState.ACTIVE: frozenset({TenantState.SUSPENDED, TenantState.ARCHIVED, TenantState.RETAINED}),
    TenantState.SUSPENDED: frozenset({TenantState.ACTIVE, TenantState.RETAINED}),
    TenantState.ARCHIVED: frozenset({TenantState.ACTIVE, TenantState.RETAINED}),
    TenantState.RETAINED: frozenset({TenantState.ACTIVE, TenantState.DELETED}),
    TenantState.DELETED: frozenset(),
}
"""The life of a tenant: from each state, those that may follow. `moving` is not among them: it is never stored."""


AWAY = frozenset({TenantState.ARCHIVED, TenantState.RETAINED})
"""In these states a tenant's data is an archive, and its workspace is dropped, or is about to be."""


def check_transition(before: TenantState, after: TenantState) -> None:
    """Make sure that a tenant's life may go this way. :raises Refused: CONFLICT."""
    if after not in TRANSITIONS.get(before, ()):
        raise Refused(Code.CONFLICT, f"This tenant is {before}; it cannot become {after}. Nothing was changed.")


class PlacementState(StrEnum):
    """`new` is written before any object is made, so that every object can be traced to its row."""

    NEW = "new"
    ACTIVE = "active"
    RETAINED = "retained"
    DROPPED = "dropped"


class Role(StrEnum):
    """What an account may do in a tenant; `allows` orders them."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    VIEWER = "viewer"

    def allows(self, needed: Role) -> bool:
        """Whether somebody in this role may do what `needed` may do."""
        return _RANK[self] >= _RANK[needed]


_RANK = {Role.VIEWER: 0, Role.MEMBER: 1, Role.ADMIN: 2, Role.OWNER: 3}


class ServerKind(StrEnum):
    """A pool holds many tenants, a dedicated server one paid tenant."""

    POOL = "pool"
    DEDICATED = "dedicated"


class EngineName(StrEnum):
    """The database engines of the data plane."""

    POSTGRESQL = "postgresql"
    SQLSERVER = "sqlserver"


POOL_LIMIT: dict[EngineName, int] = {EngineName.POSTGRESQL: 3000, EngineName.SQLSERVER: 1000}
"""A pool that holds this many tenants takes no new ones."""


def imports_allowed(tier: Tier) -> int | None:
    """How many HubSpot deals the tier may import, ever; None: as many as there are."""
    return FREE_DEALS if tier is Tier.FREE else None


@dataclass(frozen=True)
class Placement:
    """Where a tenant's data is, and as whom to go there. Passed on as a value, never ambient.

    `password` is derived for each answer and stored nowhere; it is left out of the repr. The tier says how much of the
    server the tenant may take.
    """

    tenant_id: UUID
    placement_id: UUID
    engine: EngineName
    host: str
    port: int
    database: str
    schema: str
    epoch: int
    secret_version: int
    password: str = field(repr=False)
    tier: Tier = Tier.FREE

    @property
    def login(self) -> str:
        """The database login, which has the schema's name."""
        return self.schema


_SCHEMA = re.compile(r"user_[0-9a-f]{16}\Z")
_EMAIL = re.compile(r"[^@\s\"(),:;<>\[\]\\]{1,64}@[a-z0-9](?:[a-z0-9.-]{0,250}[a-z0-9])?\Z")
_ROLE_ARN = re.compile(r"arn:aws(?:-us-gov|-cn)?:iam::(\d{12}):role/[\w+=,.@/-]{1,512}\Z")

RESERVED_SLUGS = frozenset(
    {"freemium", "www", "api", "app", "admin", "manage", "management", "portal", "mail", "smtp", "status", "docs"}
    | {"help", "support", "static", "assets", "cdn", "auth", "login", "account", "accounts", "billing", "awssome"}
    | {"aws", "hubspot", "sandbox", "demo", "test", "internal", "localhost"}
)
"""Names below the domain that no tenant may have."""


def new_schema_name() -> str:
    """A fresh opaque name for a schema and its login: `user_` and 16 random hex digits."""
    return "user_" + secrets.token_hex(8)


def is_schema_name(name: str) -> bool:
    """Whether `new_schema_name` could have made it."""
    return _SCHEMA.match(name) is not None


def checked_schema_name(name: str) -> str:
    """The name itself, if it is one that `new_schema_name` could have made. The one gate before any DDL.

    :raises ValueError: for every other string; this is a defect, never a user's mistake.
    """
    if not is_schema_name(name):
        raise ValueError("not the name of a tenant schema")
    return name


def slug_from(company: str) -> str:
    """A host name label made of a company's name; the caller makes it unique and avoids `RESERVED_SLUGS`."""
    plain = unicodedata.normalize("NFKD", company).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:36].strip("-")
    if not slug or not slug[0].isalpha():
        slug = f"team-{slug}"[:36].strip("-")
    return slug


def checked_email(email: str) -> str:
    """The address in lower case, trimmed.

    :raises Refused: INVALID when it cannot be an e-mail address.
    """
    email = email.strip().lower()
    if len(email) > 254 or not _EMAIL.match(email) or ".." in email:
        raise Refused(
            Code.INVALID,
            "This does not look like an e-mail address.",
            fields={"email": "Enter an e-mail address, like alice@example.com."},
        )
    return email


def checked_text(value: str, field_name: str, label: str, *, limit: int, needed: bool = True) -> str:
    """One line of text, trimmed, without control characters.

    :raises Refused: INVALID, naming the field.
    """
    value = " ".join(value.split())
    if needed and not value:
        raise Refused(Code.INVALID, f"{label} is missing.", fields={field_name: f"Enter {label.lower()}."})
    if len(value) > limit or any(unicodedata.category(c) == "Cc" for c in value):
        problem = f"Use at most {limit} characters, and no control characters."
        raise Refused(Code.INVALID, f"{label} is not valid.", fields={field_name: problem})
    return value


def checked_password(password: str) -> str:
    """The password, if it is long enough (NIST SP 800-63B: length, no composition rules).

    :raises Refused: INVALID.
    """
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise Refused(
            Code.INVALID,
            "This password cannot be used.",
            fields={"password": f"Use {MIN_PASSWORD} to {MAX_PASSWORD} characters. A sentence works well."},
        )
    return password


def role_account(arn: str) -> str:
    """The 12 digits of the AWS account in a role's ARN.

    :raises Refused: INVALID when it is not the ARN of an IAM role.
    """
    found = _ROLE_ARN.match(arn.strip())
    if not found:
        raise Refused(
            Code.INVALID,
            "This is not the ARN of an IAM role.",
            fields={
                "role_arn": "Paste the RoleArn from the stack's Outputs, like arn:aws:iam::123456789012:role/Name."
            },
        )
    return found.group(1)
