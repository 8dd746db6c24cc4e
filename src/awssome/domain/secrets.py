"""What is derived from the platform's one secret key, and how a tenant's secrets are sealed.

Each use has a key of its own (HKDF-SHA256 with a distinct `info`, RFC 5869), so that a login's password tells nothing
about the key that wraps tokens. Nothing derived here is stored.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from awssome.domain.errors import Code, Refused

KEY_ID = "k1"
"""Name of the key that new placements and new data keys use."""

_NONCE = 12


@dataclass(frozen=True)
class Keys:
    """The platform's secret key, and the keys for single uses that are derived from it."""

    root: bytes = field(repr=False)

    @classmethod
    def from_text(cls, text: str) -> Keys:
        """Keys from `AWSSOME_SECRET_KEY`: at least 32 random bytes, base64url.

        :raises ValueError: when the text is not that.
        """
        try:
            root = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError as error:
            raise ValueError("AWSSOME_SECRET_KEY must be base64url") from error
        if len(root) < 32:
            raise ValueError("AWSSOME_SECRET_KEY must hold at least 32 bytes; `openssl rand -base64 48` makes one")
        return cls(root)

    def login_password(self, tenant_id: UUID, server: str, schema: str, secret_version: int) -> str:
        """The password of a placement's database login, 256 bits.

        `Aa1-` in front satisfies SQL Server's password policy (three of four classes); the rest is base64url, so that
        it can stand in a string literal of either engine.
        """
        key = self._derive(f"login:{KEY_ID}:{tenant_id}:{server}:{schema}:{secret_version}")
        return "Aa1-" + base64.urlsafe_b64encode(key).rstrip(b"=").decode()

    def wrap(self, data_key: bytes, tenant_id: UUID) -> bytes:
        """A tenant's data key, encrypted under the master key, bound to the tenant."""
        return seal(self._derive(f"wrap:{KEY_ID}"), data_key, tenant_id)

    def unwrap(self, wrapped: bytes, tenant_id: UUID) -> bytes:
        """The opposite of `wrap`. :raises Refused: when the wrapped key belongs to another tenant or was changed."""
        return unseal(self._derive(f"wrap:{KEY_ID}"), wrapped, tenant_id)

    def seal_admin(self, text: str) -> bytes:
        """A server's administrator URL, encrypted for the registry."""
        return _encrypt(self._derive(f"servers:{KEY_ID}"), text.encode(), b"server")

    def unseal_admin(self, sealed: bytes) -> str:
        """The opposite of `seal_admin`; only workers call it."""
        return _decrypt(self._derive(f"servers:{KEY_ID}"), sealed, b"server").decode()

    def signature(self, purpose: str, message: str) -> str:
        """An HMAC-SHA256 over the message for one purpose, base64url."""
        mac = hmac.new(self._derive(f"sign:{purpose}"), message.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()

    def _derive(self, info: str) -> bytes:
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"awssome:" + info.encode()).derive(self.root)


def new_secret_key() -> str:
    """A fresh value for `AWSSOME_SECRET_KEY`."""
    return base64.urlsafe_b64encode(os.urandom(48)).decode()


def new_data_key() -> bytes:
    """A fresh 256-bit data key for one tenant."""
    return os.urandom(32)


def new_token() -> str:
    """A fresh opaque token of 256 bits for sessions, links and states. Store only its `digest`."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> bytes:
    """What is stored of a token (SHA-256): enough to find it, useless to present."""
    return hashlib.sha256(token.encode()).digest()


def seal(key: bytes, plaintext: bytes, tenant_id: UUID) -> bytes:
    """AES-256-GCM (NIST SP 800-38D) with the tenant's id as associated data: 12 bytes of nonce, ciphertext, tag."""
    return _encrypt(key, plaintext, tenant_id.bytes)


def unseal(key: bytes, sealed: bytes, tenant_id: UUID) -> bytes:
    """The opposite of `seal`. :raises Refused: UNAVAILABLE when key, tenant or ciphertext do not belong together."""
    return _decrypt(key, sealed, tenant_id.bytes)


def _encrypt(key: bytes, plaintext: bytes, bound_to: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, bound_to)


def _decrypt(key: bytes, sealed: bytes, bound_to: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], bound_to)
    except InvalidTag:
        raise Refused(
            Code.UNAVAILABLE,
            "A stored secret cannot be opened: it was sealed for somebody else or with another key.",
            "An operator has to check AWSSOME_SECRET_KEY.",
        ) from None
