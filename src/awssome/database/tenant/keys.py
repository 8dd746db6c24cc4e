"""The tenant's data key: random, wrapped under the platform's master key, kept beside what it seals."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from awssome.database.schema import tenant_keys
from awssome.domain.secrets import KEY_ID, Keys, new_data_key
from awssome.domain.times import now


def data_key(connection: Connection, keys: Keys, tenant_id: UUID) -> bytes:
    """The tenant's data key, in clear; made when it is first asked for.

    :raises Refused: UNAVAILABLE when it was wrapped for another tenant or under another master key.
    """
    wrapped = _wrapped(connection, tenant_id)
    if wrapped is None:
        try:
            with connection.begin_nested():
                _make(connection, keys, tenant_id)
        except IntegrityError:
            pass  # somebody else has just made it: theirs counts
        wrapped = _wrapped(connection, tenant_id)
        assert wrapped is not None  # noqa: S101 - it is there, whoever made it
    return keys.unwrap(wrapped, tenant_id)


def _wrapped(connection: Connection, tenant_id: UUID) -> bytes | None:
    return connection.execute(select(tenant_keys.c.wrapped_key).where(tenant_keys.c.id == tenant_id)).scalar()


def _make(connection: Connection, keys: Keys, tenant_id: UUID) -> None:
    # A tenant's first key has the tenant's id, so that of two that are made at once only one can be.
    connection.execute(
        insert(tenant_keys).values(
            id=tenant_id, key_id=KEY_ID, wrapped_key=keys.wrap(new_data_key(), tenant_id), created_at=now()
        )
    )
