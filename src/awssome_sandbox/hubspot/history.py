"""What a deal's properties were before: the `propertiesWithHistory` of an answer, newest first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from awssome_sandbox.hubspot.definitions import PROPERTIES
from awssome_sandbox.hubspot.portals import Change, Deal, Portal


def of(portal: Portal, deal: Deal, names: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """The versions of each wanted property; one that never had a value has none."""
    return {
        name: [_version(portal, name, change) for change in versions(portal, deal, name)]
        for name in names
        if name in PROPERTIES
    }


def versions(portal: Portal, deal: Deal, name: str) -> list[Change]:
    """The values of a property, the present one first."""
    known = [change for change in deal.past if change.name == name]
    if known:
        return known[::-1]
    value = portal.value(deal, name)
    return [Change(name, value, deal.entered["createdate"])] if value is not None else []


def _version(portal: Portal, name: str, change: Change) -> dict[str, Any]:
    person = portal.people[0]
    calculated = PROPERTIES[name].calculated
    version = {
        "value": change.value or "",
        "timestamp": change.at,
        "sourceType": "CALCULATED" if calculated else "CRM_UI",
    }
    return (
        version
        if calculated
        else {**version, "sourceId": f"userId:{person.user_id}", "updatedByUserId": person.user_id}
    )
