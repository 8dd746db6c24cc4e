"""The tenant's data keys: random, wrapped under the platform's key or by KMS, kept beside what they seal.

One of them seals what is sealed anew. Those before it are retired: they still open what somebody has in hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from awssome.database.schema import hubspot_tokens, tenant_keys
from awssome.domain.secrets import Unopenable, new_data_key
from awssome.domain.times import new_id, now
from awssome.domain.vault import Vault, Wrapped

_k = tenant_keys.c


@dataclass(frozen=True)
class DataKey:
    """A data key in clear.

    :ivar id: its name, kept with what it seals.
    :ivar under: the name of what wraps it.
    """

    id: UUID
    clear: bytes = field(repr=False)
    under: str


def data_key(connection: Connection, vault: Vault, tenant_id: UUID) -> DataKey:
    """The key that seals now; made when it is first asked for.

    :raises Unopenable: when it was wrapped for another tenant, or under a secret key that is not known.
    :raises Refused: UNAVAILABLE when KMS does not answer.
    """
    found = _find(connection, _k.retired_at.is_(None))
    if found is None:
        try:
            with connection.begin_nested():
                # A tenant's first key has the tenant's id, so that of two that are made at once only one can be.
                _insert(connection, vault, tenant_id, tenant_id)
        except IntegrityError:
            pass  # somebody else has just made it: theirs counts
        found = _find(connection, _k.retired_at.is_(None))
        assert found is not None  # noqa: S101 - it is there, whoever made it
    return _opened(vault, tenant_id, *found)


def key_named(connection: Connection, vault: Vault, tenant_id: UUID, key_id: UUID | None) -> DataKey:
    """The key that sealed something, retired or not. :param key_id: None: the tenant's first one.

    :raises Unopenable: when there is none, or as in `data_key`.
    """
    found = _find(connection, _k.id == (key_id or tenant_id))
    if found is None:
        raise Unopenable
    return _opened(vault, tenant_id, *found)


def key_for_new_tokens(connection: Connection, vault: Vault, tenant_id: UUID) -> DataKey:
    """The key that seals now, for sealing everything anew; another one when nobody can open it any more.

    So it is in an archive that was made under a secret key of long ago.
    """
    try:
        return data_key(connection, vault, tenant_id)
    except Unopenable:
        return renew(connection, vault, tenant_id)


def renew(connection: Connection, vault: Vault, tenant_id: UUID) -> DataKey:
    """Another key, which seals from now on. Those that were retired before, and have nothing sealed any more, go.

    Nobody seals meanwhile if the caller holds the row of the tokens.
    """
    in_use = select(func.coalesce(hubspot_tokens.c.key_id, tenant_id))
    connection.execute(delete(tenant_keys).where(_k.retired_at.is_not(None), _k.id.not_in(in_use)))
    connection.execute(update(tenant_keys).where(_k.retired_at.is_(None)).values(retired_at=now()))
    return _insert(connection, vault, tenant_id, new_id())


def rewrap(connection: Connection, vault: Vault, tenant_id: UUID) -> str | None:
    """Have every data key that can be opened wrapped by what wraps now. What they seal stays as it is.

    :returns: the name of what wraps them now; None when there is no data key.
    :raises Unopenable: when nobody can open the one that seals now.
    """
    rows = connection.execute(select(_k.id, _k.wrapped_key, _k.key_id, _k.kms_key, _k.retired_at)).all()
    for row in rows:
        wrapped = Wrapped(row.wrapped_key, row.key_id, row.kms_key)
        if wrapped.under == vault.under:
            continue
        try:
            clear = vault.unwrap(wrapped, tenant_id)
        except Unopenable:
            if row.retired_at is None:
                raise
            continue  # a retired one that nobody can open is needed by nobody
        anew = vault.wrap(clear, tenant_id)
        connection.execute(update(tenant_keys).where(_k.id == row.id).values(**vars(anew)))
    return vault.under if rows else None


def _opened(vault: Vault, tenant_id: UUID, key_id: UUID, wrapped: Wrapped) -> DataKey:
    return DataKey(key_id, vault.unwrap(wrapped, tenant_id), wrapped.under)


def _find(connection: Connection, which: ColumnElement[bool]) -> tuple[UUID, Wrapped] | None:
    query = select(_k.id, _k.wrapped_key, _k.key_id, _k.kms_key).where(which)
    row = connection.execute(query.order_by(_k.created_at.desc(), _k.id.desc()).limit(1)).first()
    return (row.id, Wrapped(row.wrapped_key, row.key_id, row.kms_key)) if row else None


def _insert(connection: Connection, vault: Vault, tenant_id: UUID, key_id: UUID) -> DataKey:
    clear = new_data_key()
    wrapped = vault.wrap(clear, tenant_id)
    connection.execute(insert(tenant_keys).values(id=key_id, created_at=now(), **vars(wrapped)))
    return DataKey(key_id, clear, wrapped.under)
