"""Telling the registry how a run stands, for those who watch all tenants. The run itself does not depend on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from awssome.database.registry import last_syncs
from awssome.database.tenant import syncs
from awssome.database.tenant.syncs import Sync
from awssome.domain.errors import Refused
from awssome.workflows.services import Services
from awssome.workflows.workspace import Workspace


@contextmanager
def told(services: Services, workspace: Workspace, sync: Sync) -> Iterator[None]:
    """An attempt at the run: it is told of as it begins, and as it ends, however it does."""
    _tell(services, workspace, sync)
    try:
        yield
    finally:
        with suppress(Refused):  # a server that does not answer; the next attempt tells
            found = workspace.do(lambda connection: syncs.find(connection, sync.id))
            if found is not None:
                _tell(services, workspace, found)


def _tell(services: Services, workspace: Workspace, sync: Sync) -> None:
    with suppress(Refused), services.registry.begin() as connection:
        last_syncs.tell(connection, workspace.tenant_id, sync)
