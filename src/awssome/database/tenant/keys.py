"""The tenant's data key: random, wrapped under the platform's master key, kept beside what it seals."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from awssome.database.schema import tenant_keys
from awssome.domain.errors import Refused
from awssome.domain.secrets import Keys, new_data_key
from awssome.domain.times import now


def data_key(connection: Connection, keys: Keys, tenant_id: UUID) -> bytes:
    """The tenant's data key, in clear; made when it is first asked for.

    :raises Refused: UNAVAILABLE when it was wrapped for another tenant or under a secret key that is not known.
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
    return keys.unwrap(wrapped.wrapped_key, tenant_id, wrapped.key_id)


def key_for_new_tokens(connection: Connection, keys: Keys, tenant_id: UUID) -> bytes:
    """The tenant's data key, for sealing all that it seals anew; another one when nobody can open it any more.

    So it is in an archive that was made under a secret key of long ago.
    """
    try:
        return data_key(connection, keys, tenant_id)
    except Refused:
        fresh = new_data_key()
        _keep(connection, keys, tenant_id, fresh)
        return fresh


def rewrap(connection: Connection, keys: Keys, tenant_id: UUID) -> None:
    """Have the data key, if there is one, wrapped under the present secret key. What it seals stays as it is."""
    wrapped = _wrapped(connection, tenant_id)
    if wrapped is not None and wrapped.key_id != keys.key_id:
        _keep(connection, keys, tenant_id, keys.unwrap(wrapped.wrapped_key, tenant_id, wrapped.key_id))


def _keep(connection: Connection, keys: Keys, tenant_id: UUID, key: bytes) -> None:
    wrapped = keys.wrap(key, tenant_id)
    connection.execute(
        update(tenant_keys).where(tenant_keys.c.id == tenant_id).values(key_id=keys.key_id, wrapped_key=wrapped)
    )


def _wrapped(connection: Connection, tenant_id: UUID) -> Any:
    query = select(tenant_keys.c.key_id, tenant_keys.c.wrapped_key).where(tenant_keys.c.id == tenant_id)
    return connection.execute(query).first()


def _make(connection: Connection, keys: Keys, tenant_id: UUID) -> None:
    # A tenant's first key has the tenant's id, so that of two that are made at once only one can be.
    connection.execute(
        insert(tenant_keys).values(
            id=tenant_id, key_id=keys.key_id, wrapped_key=keys.wrap(new_data_key(), tenant_id), created_at=now()
        )
    )
