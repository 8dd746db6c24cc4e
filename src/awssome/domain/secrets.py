"""What is derived from the platform's one secret key, and how a tenant's secrets are sealed.

Each use has a key of its own (HKDF-SHA256 with a distinct `info`, RFC 5869), so that a login's password tells nothing
about the key that wraps tokens. Nothing derived here is stored.

The secret key itself can be replaced: what was made under an earlier one names it by its id, and is found as long as
`AWSSOME_PREVIOUS_SECRET_KEYS` holds it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from awssome.domain.errors import Code, Refused

OLDEST = "k1"
"""What the oldest key is called in rows that were made before keys had ids of their own."""

_NONCE = 12


class Unopenable(Refused):
    """What was sealed cannot be opened, however often it is tried: for somebody else, changed, or with another key."""

    def __init__(self) -> None:
        super().__init__(
            Code.UNAVAILABLE,
            "A stored secret cannot be opened: it was sealed for somebody else or with another key.",
            "An operator has to check AWSSOME_SECRET_KEY, AWSSOME_KMS_KEY and the previous ones of both.",
        )


@dataclass(frozen=True)
class Keys:
    """The platform's secret key, and the keys for single uses that are derived from it.

    :ivar previous: secret keys that were in use before, newest first: they open what was made with them, and make
        nothing new.
    """

    root: bytes = field(repr=False)
    previous: tuple[bytes, ...] = field(default=(), repr=False)

    @classmethod
    def from_text(cls, text: str, *previous: str) -> Keys:
        """Keys from `AWSSOME_SECRET_KEY`: at least 32 random bytes, base64url; and from earlier values of it.

        :raises ValueError: when a text is not that.
        """
        return cls(_root(text), tuple(_root(each) for each in previous))

    @property
    def key_id(self) -> str:
        """The name of the present key, kept with what is made under it. It tells nothing of the key."""
        return _id_of(self.root)

    @property
    def present_ids(self) -> frozenset[str]:
        """The names that the present key goes by: the oldest one's, too, while there was none before it."""
        return frozenset({self.key_id} if self.previous else {self.key_id, OLDEST})

    def login_password(self, tenant_id: UUID, server: str, schema: str, secret_version: int, key_id: str = "") -> str:
        """The password of a placement's database login, 256 bits.

        `Aa1-` in front satisfies SQL Server's password policy (three of four classes); the rest is base64url, so that
        it can stand in a string literal of either engine.

        :param key_id: the key that the placement names; the present one if not given.
        :raises Refused: UNAVAILABLE when that key is not known.
        """
        key_id = key_id or self.key_id
        key = _derive(self._named(key_id), f"login:{key_id}:{tenant_id}:{server}:{schema}:{secret_version}")
        return "Aa1-" + base64.urlsafe_b64encode(key).rstrip(b"=").decode()

    def wrap(self, data_key: bytes, tenant_id: UUID) -> bytes:
        """A tenant's data key, encrypted under the present key, bound to the tenant."""
        return seal(_derive(self.root, f"wrap:{self.key_id}"), data_key, tenant_id)

    def unwrap(self, wrapped: bytes, tenant_id: UUID, key_id: str) -> bytes:
        """The opposite of `wrap`, under the key of that name.

        :raises Unopenable: when that key is not known, or the wrapped key is another tenant's or was changed.
        """
        return unseal(_derive(self._named(key_id), f"wrap:{key_id}"), wrapped, tenant_id)

    def seal_admin(self, text: str) -> bytes:
        """A server's administrator URL, encrypted for the registry under the present key."""
        return _encrypt(_derive(self.root, f"servers:{self.key_id}"), text.encode(), b"server")

    def unseal_admin(self, sealed: bytes) -> str:
        """The opposite of `seal_admin`, under whichever key it was; only workers call it.

        :raises Unopenable: when no known key opens it.
        """
        for root, key_id in (*((root, _id_of(root)) for root in self._roots), (self._roots[-1], OLDEST)):
            with suppress(InvalidTag):
                return _open(_derive(root, f"servers:{key_id}"), sealed, b"server").decode()
        raise Unopenable

    def seal_install(self, text: str) -> bytes:
        """What an installation that began at HubSpot waits with, encrypted for the registry under the present key."""
        return _encrypt(_derive(self.root, "installs"), text.encode(), b"install")

    def unseal_install(self, sealed: bytes) -> str:
        """The opposite of `seal_install`, under whichever key it was.

        :raises Unopenable: when no known key opens it.
        """
        for root in self._roots:
            with suppress(InvalidTag):
                return _open(_derive(root, "installs"), sealed, b"install").decode()
        raise Unopenable

    def seal_arrival(self, text: str) -> str:
        """Who comes from AWS Marketplace, encrypted for the browser to bring back, as text for addresses."""
        sealed = _encrypt(_derive(self.root, "arrivals"), text.encode(), b"arrival")
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def unseal_arrival(self, text: str) -> str:
        """The opposite of `seal_arrival`, under whichever key it was.

        :raises Unopenable: when no known key opens it, or it is anything else.
        """
        try:
            sealed = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        except ValueError:
            raise Unopenable from None
        for root in self._roots:
            with suppress(InvalidTag, ValueError):
                return _open(_derive(root, "arrivals"), sealed, b"arrival").decode()
        raise Unopenable

    def signature(self, purpose: str, message: str) -> str:
        """An HMAC-SHA256 over the message for one purpose, base64url."""
        mac = hmac.new(_derive(self.root, f"sign:{purpose}"), message.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()

    @property
    def _roots(self) -> tuple[bytes, ...]:
        return (self.root, *self.previous)

    def _named(self, key_id: str) -> bytes:
        if key_id == OLDEST:
            return self._roots[-1]
        found = next((root for root in self._roots if _id_of(root) == key_id), None)
        if found is None:
            raise Unopenable
        return found


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


def seal(key: bytes, plaintext: bytes, tenant_id: UUID, purpose: str = "") -> bytes:
    """AES-256-GCM (NIST SP 800-38D): 12 bytes of nonce, ciphertext, tag. The tenant's id and what the plaintext is for
    are associated data: it opens neither for another tenant nor in another place."""
    return _encrypt(key, plaintext, tenant_id.bytes + purpose.encode())


def unseal(key: bytes, sealed: bytes, tenant_id: UUID, purpose: str = "") -> bytes:
    """The opposite of `seal`. What was sealed before purposes were bound opens for any.

    :raises Unopenable: when key, tenant, purpose and ciphertext do not belong together.
    """
    if purpose:
        with suppress(InvalidTag):
            return _open(key, sealed, tenant_id.bytes + purpose.encode())
    return _decrypt(key, sealed, tenant_id.bytes)


def _root(text: str) -> bytes:
    try:
        root = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:
        raise ValueError("AWSSOME_SECRET_KEY must be base64url") from error
    if len(root) < 32:
        raise ValueError("AWSSOME_SECRET_KEY must hold at least 32 bytes; `openssl rand -base64 48` makes one")
    return root


@cache
def _id_of(root: bytes) -> str:
    return "k" + _derive(root, "key id")[:6].hex()


def _derive(root: bytes, info: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"awssome:" + info.encode()).derive(root)


def _encrypt(key: bytes, plaintext: bytes, bound_to: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, bound_to)


def _decrypt(key: bytes, sealed: bytes, bound_to: bytes) -> bytes:
    try:
        return _open(key, sealed, bound_to)
    except InvalidTag:
        raise Unopenable from None


def _open(key: bytes, sealed: bytes, bound_to: bytes) -> bytes:
    return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], bound_to)
