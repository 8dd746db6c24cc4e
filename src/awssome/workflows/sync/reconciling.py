"""The mapped deals that a sync has not come across: changed, deleted, merged or back again. HubSpot is asked by id."""

from __future__ import annotations

from collections.abc import Sequence

from awssome.database import Connection
from awssome.database.tenant import imports
from awssome.domain.imports import DealIssue
from awssome.domain.syncs import IssueKind, MappingState
from awssome.workflows.sync.reading import sources
from awssome.workflows.sync.running import Run
from awssome.workflows.sync.writing import settle


def reconcile(run: Run, states: Sequence[MappingState]) -> None:
    """Look all of them up, a batch at a time, and write what HubSpot says."""

    def unseen(connection: Connection) -> list[str]:
        return imports.unseen(connection, run.portal_id, run.sync.id, states)

    while deal_ids := run.workspace.do(unseen):
        answer = run.client.batch_read_deals(deal_ids, run.properties)
        asked = set(deal_ids)
        deals = [one for one in sources(answer.results) if one.id in asked or asked.intersection(one.merged_ids)]
        told = {one.id for one in deals} | {old for one in deals for old in one.merged_ids} | set(answer.missing)
        untold = [_untold(deal_id) for deal_id in sorted(asked - told)]
        settle(run, deals, missing=list(answer.missing), untold=untold, asked=deal_ids)


def _untold(deal_id: str) -> DealIssue:
    return DealIssue(
        kind=IssueKind.FAILED,
        deal_id=deal_id,
        registration_id=None,
        title=f"Deal {deal_id}",
        field="",
        reason="HubSpot was asked for this deal and said nothing about it. It is unchanged here.",
        advice="Look at the deal in HubSpot, then sync again.",
    )
