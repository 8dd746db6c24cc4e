"""What a tenant's own login may write into its tables never keeps a worker busy: a sync ends calmly, and says so."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from awssome.database import Connection
from awssome.domain.errors import Code, Refused
from awssome.domain.syncs import SyncState
from awssome.domain.tenants import Tier
from awssome.workflows.hubspot_access import HubSpotAccess
from awssome.workflows.sync import STUMBLES
from tests.hubspot.conftest import NORTHWIND, WINGTIP, Sandbox
from tests.workflows.conftest import Workshop

Workshops = Callable[..., Workshop]


def written(who: Workshop, statement: str, **values: Any) -> list[Any]:
    """As the tenant's own login, past the product."""

    def work(connection: Connection) -> list[Any]:
        schema = connection.get_execution_options()["schema_translate_map"]["tenant"]
        done = connection.execute(text(statement.replace("tenant.", f"{schema}.")), values)
        return list(done) if done.returns_rows else []

    return who.workspace.do(work)


def possible(who: Workshop, statement: str) -> bool:
    """SQL Server knows no moment without end."""
    return "infinity" not in statement or who.workspace.do(lambda connection: connection.dialect.name == "postgresql")


def attempts(who: Workshop, sync_id: UUID) -> tuple[int, Any]:
    """How many attempts it takes until the sync has ended, at most a few more than it may; and its row then."""
    query = "SELECT state, open_slot, problem FROM tenant.sync_history WHERE id = :id"
    made = 0
    while True:
        with suppress(Exception):  # whatever it is, the job is run again
            who.sync(sync_id)
        made += 1
        (row,) = written(who, query, id=sync_id)
        if row.open_slot is None or made > STUMBLES:
            return made, row


ROWS = {
    "kind = 'nonsense'": 1,
    "mode = 'nonsense'": 1,
    f"position = '{{', portal_id = {WINGTIP}": 1,
    "requested_at = 'infinity'": 1,
    "attempt = 2147483647": 1,
    "calls = 2147483647": 1,
    f'position = \'{{"step": "nonsense"}}\', portal_id = {WINGTIP}, '
    "mapping_hash = (SELECT mapping_hash FROM tenant.hubspot_accounts)": STUMBLES,
}


def test_a_sync_whose_row_means_nothing_ends(workshop: Workshops) -> None:
    paula = workshop(WINGTIP, tier=Tier.PAID)
    paula.sync()
    for garbage, most in ROWS.items():
        if not possible(paula, garbage):
            continue
        sync_id = paula.queue()
        written(paula, f"UPDATE tenant.sync_history SET {garbage} WHERE open_slot = 1")
        number, row = attempts(paula, sync_id)
        assert (row.state, row.open_slot) == (SyncState.FAILED, None), garbage
        assert row.problem.startswith("The sync stopped because of a defect"), garbage
        assert number <= most, garbage
        written(paula, "DELETE FROM tenant.sync_history WHERE id = :id", id=sync_id)
    for position in ("[1]", "{"):  # of another account than the one that is connected: it is not looked at
        sync_id = paula.queue()
        written(paula, "UPDATE tenant.sync_history SET position = :position WHERE open_slot = 1", position=position)
        assert paula.sync(sync_id).state is SyncState.DONE


def test_a_sync_that_has_to_wait_does_so_whatever_its_row_says(workshop: Workshops, sandbox: Sandbox) -> None:
    paula = workshop(WINGTIP, tier=Tier.PAID)
    sync_id = paula.queue()
    sandbox.order("faults", fail=[{"status": 503, "times": 1_000}])
    for stuck in ("5", '{"since": "x", "times": 1}', '{"since": "2026-01-01", "times": 1}', '{"times": 1}'):
        position = f'{{"stuck": {stuck}}}'
        written(paula, "UPDATE tenant.sync_history SET position = :position, stumbles = 0", position=position)
        with pytest.raises(Refused):
            paula.sync(sync_id)
        assert paula.find(sync_id).position["stuck"]["times"] == 1
        assert paula.find(sync_id).stumbles == 0


TABLES = (
    "UPDATE tenant.hubspot_accounts SET pipelines = '[1]'",
    "UPDATE tenant.hubspot_accounts SET pipelines = '[]', properties = '[[1]]'",
    "UPDATE tenant.hubspot_accounts SET properties = '[]', time_zone = '../../etc/passwd'",
    "UPDATE tenant.hubspot_accounts SET changed_until = 'infinity', full_at = CURRENT_TIMESTAMP",
    "UPDATE tenant.hubspot_accounts SET changed_until = NULL, defined_at = 'infinity'",
    "UPDATE tenant.hubspot_accounts SET defined_at = NULL; UPDATE tenant.hubspot_mappings SET held_back = '5'",
    "UPDATE tenant.hubspot_mappings SET state = 'nonsense', held_back = NULL",
    "UPDATE tenant.tenant_keys SET kms_key = 'nonsense'",
    "UPDATE tenant.tenant_keys SET kms_key = 'arn:aws:kms:x/#:1:key/1'",
    "UPDATE tenant.hubspot_tokens SET refresh_token = access_token, expires_at = '2020-01-01'",
    "UPDATE tenant.hubspot_tokens SET state = 'nonsense'",
)


def test_a_sync_of_a_workspace_full_of_nonsense_ends_or_waits(workshop: Workshops) -> None:
    alice = workshop(WINGTIP)
    alice.sync()
    for garbage in TABLES:
        for statement in garbage.split(";"):
            if possible(alice, statement):
                written(alice, statement)
        sync_id = alice.queue()
        _, row = attempts(alice, sync_id)
        assert row.state in (SyncState.DONE, SyncState.FAILED) or "stored secret" in (row.problem or ""), garbage
        written(alice, "DELETE FROM tenant.sync_history WHERE open_slot = 1")


def test_nobody_calls_within_the_budget_of_an_account_that_is_not_theirs(workshop: Workshops) -> None:
    alice = workshop(WINGTIP)
    written(alice, "UPDATE tenant.hubspot_tokens SET portal_id = :other", other=NORTHWIND)
    with pytest.raises(Refused) as refused:
        HubSpotAccess(alice.services, alice.workspace)
    assert refused.value.code is Code.CONFLICT
    assert alice.sync().state is SyncState.FAILED
