"""What wraps the tenants' data keys: a key of KMS if there is one, else the platform's own secret key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import Keys

KMS = "kms"
"""Stands in `key_id` of a data key that a key of KMS wraps."""


@dataclass(frozen=True)
class Wrapped:
    """A data key as it is stored.

    :ivar key_id: the secret key that wraps it, or `KMS`.
    :ivar kms_key: the ARN of KMS's key, if that wraps it.
    """

    wrapped_key: bytes = field(repr=False)
    key_id: str
    kms_key: str | None = None

    @property
    def under(self) -> str:
        """The name of what wraps it."""
        return self.kms_key or self.key_id


class KeyService(Protocol):
    """KMS, as far as it is needed here.

    :ivar key: the ARN of the key that wraps from now on; "": none does.
    """

    @property
    def key(self) -> str: ...

    def wrap(self, data_key: bytes, tenant_id: UUID) -> bytes:
        """Encrypt under `key`, bound to the tenant. :raises Refused: UNAVAILABLE when it cannot be done now."""

    def unwrap(self, wrapped: bytes, tenant_id: UUID, key: str) -> bytes:
        """Decrypt what that key has encrypted for the tenant.

        :raises Unopenable: when it was encrypted for another tenant, or changed.
        :raises Refused: UNAVAILABLE when it cannot be done now.
        """

    def state(self) -> str:
        """What the service says of `key`, as `Enabled`. :raises Refused: UNAVAILABLE when it says nothing."""


@dataclass(frozen=True)
class Vault:
    """Wraps data keys and unwraps them."""

    keys: Keys
    kms: KeyService | None = None

    @property
    def under(self) -> str:
        """The name of what wraps from now on."""
        return (self.kms.key if self.kms else "") or self.keys.key_id

    @property
    def present(self) -> frozenset[str]:
        """All names of what wraps from now on: the secret key has two while there was none before it."""
        return frozenset({self.kms.key}) if self.kms and self.kms.key else self.keys.present_ids

    def wrap(self, data_key: bytes, tenant_id: UUID) -> Wrapped:
        """A data key, encrypted and bound to the tenant. :raises Refused: UNAVAILABLE when KMS does not do it now."""
        if self.kms and self.kms.key:
            return Wrapped(self.kms.wrap(data_key, tenant_id), KMS, self.kms.key)
        return Wrapped(self.keys.wrap(data_key, tenant_id), self.keys.key_id)

    def unwrap(self, wrapped: Wrapped, tenant_id: UUID) -> bytes:
        """The opposite of `wrap`, under whatever it was.

        :raises Unopenable: when it is another tenant's, or was changed, or nobody has the key.
        :raises Refused: UNAVAILABLE when KMS does not do it now.
        """
        if wrapped.kms_key is None:
            return self.keys.unwrap(wrapped.wrapped_key, tenant_id, wrapped.key_id)
        if self.kms is None:
            raise Refused(
                Code.UNAVAILABLE,
                "A stored secret is kept by AWS KMS, which this process does not use.",
                "An operator has to check the settings.",
            )
        return self.kms.unwrap(wrapped.wrapped_key, tenant_id, wrapped.kms_key)
