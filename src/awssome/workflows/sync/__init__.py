"""A sync: brings a tenant's HubSpot deals in, page by page, and can be interrupted anywhere.

Its state is its row in `sync_history`: whoever takes it up raises the attempt number, which every transaction checks,
and deals, counts and position are committed together. A job that is run twice, or after a kill, goes on where the last
page ended.

`running` is one attempt at a sync; `everything` and `ten` decide what it reads, `reading` reads it from HubSpot,
`changes` follows what has changed, `reconciling` looks up what was not come across, `writing` writes it, and `ending`
says how an attempt ends that has not come to the end. `preview` tells what a sync would do, and `retry` is one for the
deals of the inbox. `telling` has the registry know how a run stands.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from uuid import UUID

from awssome.database import Connection
from awssome.database.registry import tenants
from awssome.database.tenant import hubspot as stored
from awssome.database.tenant import imports, syncs
from awssome.database.tenant.syncs import Meaningless
from awssome.domain.errors import Code, Refused
from awssome.domain.syncs import Superseded, SyncKind
from awssome.domain.tenants import AWAY, TenantState, imports_allowed
from awssome.domain.times import now
from awssome.hubspot.errors import Cancelled, HubSpotError, MissingScopes
from awssome.hubspot.transport import Patience
from awssome.workflows.hubspot_access import HubSpotAccess
from awssome.workflows.hubspot_calls import JOB_PATIENCE
from awssome.workflows.services import Services
from awssome.workflows.sync.ending import LONGEST_PAUSE, STUMBLES, NotNow, Parked, fail, give_up, leave, park, stumble
from awssome.workflows.sync.everything import import_all
from awssome.workflows.sync.preview import preview_sync
from awssome.workflows.sync.retry import retry_failed
from awssome.workflows.sync.running import Run, claim
from awssome.workflows.sync.telling import told
from awssome.workflows.sync.ten import import_first
from awssome.workflows.workspace import Workspace

__all__ = ["STUMBLES", "NotNow", "Parked", "keep_to_plan", "run"]


def run(
    services: Services,
    tenant_id: UUID,
    sync_id: UUID,
    should_abort: Callable[[], bool],
    *,
    patience: Patience = JOB_PATIENCE,
) -> None:
    """Carry a sync on to its end; nothing if it has ended.

    :param should_abort: asked between pages and while waiting.
    :param patience: what one call to HubSpot may spend on retries.
    :raises NotNow: when it was interrupted, or another worker is on it; `Parked` when it waits for something to pass.
    """
    with services.registry.holding(f"sync:{tenant_id}") as held, ExitStack() as telling:
        if not held:
            raise NotNow
        workspace = Workspace(services, tenant_id, should_stop=should_abort)
        with services.registry.begin() as connection:
            tenant = tenants.find(connection, tenant_id)
        if tenant.state in AWAY or tenant.state is TenantState.DELETED:
            return  # should it come back, its next sync goes on from here
        if tenant.state is TenantState.SUSPENDED:  # its login is closed
            raise Parked(now() + LONGEST_PAUSE)
        deal_limit = imports_allowed(tenant.tier)
        try:
            sync = workspace.do(lambda connection: claim(connection, sync_id, deal_limit))
        except Meaningless:
            give_up(workspace, sync_id)
            return
        if sync is None:
            return
        with services.registry.begin() as connection:
            if imports_allowed(tenants.find(connection, tenant_id).tier) != deal_limit:
                raise NotNow  # changed just now: whoever is at the sync after this is interrupted (`keep_to_plan`)
        telling.enter_context(told(services, workspace, sync))
        access, spent = None, dict[str, int]()
        try:
            access = HubSpotAccess(services, workspace)
            running = Run(services, workspace, access, sync, should_abort, patience)
            try:
                with running:
                    running.prepare()
                    _go(running)
            finally:
                spent = running.spent
        except Superseded:
            raise NotNow from None
        except Cancelled:
            leave(workspace, sync, spent)
        except HubSpotError as error:
            if access is not None and isinstance(error, MissingScopes):
                access.lacks_permission()
            if error.transient:
                park(workspace, sync, error, spent)
            else:
                fail(workspace, sync, error, spent)
        except Refused as refused:
            if refused.code in (Code.FENCED, Code.UNAVAILABLE, Code.LIMITED):  # a database of ours, not HubSpot
                park(workspace, sync, refused, spent)
            else:
                fail(workspace, sync, refused, spent)
        except Exception:
            stumble(workspace, sync, spent)
            raise


def keep_to_plan(services: Services, tenant_id: UUID) -> None:
    """The tenant's tier has changed: a sync that is under way is taken up again, as the new one allows, and the deals
    that are here are followed or not.

    :raises Refused: UNAVAILABLE when its server does not answer: call again later.
    """
    with services.registry.begin() as connection:
        tenant = tenants.find(connection, tenant_id)
    if tenant.state is not TenantState.ACTIVE:
        return  # the next sync sees to it

    def work(connection: Connection) -> None:
        # Who is at a sync writes mappings first and its row last; the next attempt sees to the deals then.
        known = None if syncs.interrupt(connection) else stored.connection(connection)
        if known is not None:
            imports.follow(connection, known.portal_id, imports_allowed(tenant.tier))

    Workspace(services, tenant_id).do(work)


def _go(run: Run) -> None:
    """From where the run stands to its end."""
    if run.sync.kind is SyncKind.PREVIEW:
        preview_sync(run)
    elif run.sync.kind is SyncKind.RETRY:
        retry_failed(run)
    elif run.sync.deal_limit is None:
        import_all(run)
    else:
        import_first(run, run.sync.deal_limit)
