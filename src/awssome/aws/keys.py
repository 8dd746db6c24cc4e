"""Tenants' data keys under a key of AWS KMS.

KMS encrypts them itself (at most 4 KB, docs: KMS API reference, Encrypt) and is told the tenant as encryption context:
with another tenant's it does not decrypt, and CloudTrail says whose key was asked for. What was decrypted is held in
memory for five minutes, so that a key that is disabled in KMS closes the tokens by then and not with the next restart.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import Unopenable

HELD_SECONDS = 300.0
"""How long a data key is held in clear."""

HELD_MOST = 2_000
"""How many are held, of as many tenants."""

# KMS is asked inside a tenant's transaction.
_CONFIG = Config(connect_timeout=2, read_timeout=3, retries={"mode": "standard", "total_max_attempts": 2})
_NOT_FOR_US = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})

_Held = tuple[UUID, bytes]


class Kms:
    """Encrypts and decrypts data keys. Threads share it.

    :ivar key: the ARN of the key that wraps from now on; "": none does, and what was wrapped before is unwrapped.
    :ivar previous: the keys that wrapped before. No other is asked, whatever a tenant's row names: who can write there
        could name a key of their own, and know the data key that the next tokens are sealed by.
    """

    def __init__(
        self, key: str = "", previous: Collection[str] = (), *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.key = key
        self.previous = frozenset(previous)
        self._clock = clock
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}
        self._held: OrderedDict[_Held, tuple[bytes, float]] = OrderedDict()

    def wrap(self, data_key: bytes, tenant_id: UUID) -> bytes:
        """Encrypt under `key`, bound to the tenant. :raises Refused: UNAVAILABLE when KMS does not do it."""
        with _told():
            answer = self._client(self.key).encrypt(
                KeyId=self.key, Plaintext=data_key, EncryptionContext=_context(tenant_id)
            )
        wrapped: bytes = answer["CiphertextBlob"]
        self._hold(_name(wrapped, tenant_id), data_key)
        return wrapped

    def unwrap(self, wrapped: bytes, tenant_id: UUID, key: str) -> bytes:
        """Decrypt what that key has encrypted for the tenant.

        :raises Unopenable: when it was encrypted for another tenant or with another key, or changed, or when the key is
            none of ours.
        :raises Refused: UNAVAILABLE when KMS does not do it.
        """
        if key not in {self.key, *self.previous} - {""}:
            raise Unopenable
        name = _name(wrapped, tenant_id)
        clear = self._find(name)
        if clear is None:
            with _told():
                answer = self._client(key).decrypt(
                    KeyId=key, CiphertextBlob=wrapped, EncryptionContext=_context(tenant_id)
                )
            clear = answer["Plaintext"]
            self._hold(name, clear)
        return clear

    def state(self) -> str:
        """What KMS says of the key, as `Enabled`. :raises Refused: UNAVAILABLE when it says nothing."""
        with _told():
            answer = self._client(self.key).describe_key(KeyId=self.key)
        return str(answer["KeyMetadata"]["KeyState"])

    def _client(self, key: str) -> Any:
        region = key.split(":")[3]
        with self._lock:
            if region not in self._clients:
                self._clients[region] = boto3.client("kms", region_name=region, config=_CONFIG)
            return self._clients[region]

    def _find(self, name: _Held) -> bytes | None:
        with self._lock:
            clear, until = self._held.get(name, (None, 0.0))
            if clear is None or until <= self._clock():
                self._held.pop(name, None)
                return None
            return clear

    def _hold(self, name: _Held, clear: bytes) -> None:
        with self._lock:
            self._held[name] = clear, self._clock() + HELD_SECONDS
            while len(self._held) > HELD_MOST:
                self._held.popitem(last=False)


def _context(tenant_id: UUID) -> dict[str, str]:
    return {"tenant": str(tenant_id)}


def _name(wrapped: bytes, tenant_id: UUID) -> _Held:
    return tenant_id, hashlib.sha256(wrapped).digest()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in _NOT_FOR_US:
            raise Unopenable from None
        raise _away(f"AWS KMS refused it ({code}).") from None
    except BotoCoreError:
        raise _away("AWS KMS does not answer.") from None


def _away(what: str) -> Refused:
    return Refused(
        Code.UNAVAILABLE,
        f"A stored secret cannot be opened or kept right now. {what} Your deals here are safe.",
        "Try again in a few minutes. An operator has to check the key in KMS if it stays so.",
        retry_after=60,
    )
