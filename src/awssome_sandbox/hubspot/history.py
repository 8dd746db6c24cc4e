"""What a deal's properties were before: the `propertiesWithHistory` of an answer, newest first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from awssome_sandbox.hubspot.changes import USER, Version
from awssome_sandbox.hubspot.definitions import PROPERTIES
from awssome_sandbox.hubspot.portals import Deal, Portal


def of(portal: Portal, deal: Deal, names: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """The versions of each wanted property; one that never had a value has none."""
    return {
        name: [_version(portal, name, version) for version in versions(portal, deal, name)]
        for name in names
        if name in PROPERTIES
    }


def versions(portal: Portal, deal: Deal, name: str) -> list[Version]:
    """The values of a property, the present one first; what it is now is what it always was when no change names it."""
    named = [change for change in deal.changes if name in change.values]
    told = [Version(change.values[name][1], change.at, change.by) for change in reversed(named)]
    first = named[0].values[name][0] if named else portal.value(deal, name)
    return told if first is None else [*told, Version(first, deal.entered["createdate"], USER)]


def _version(portal: Portal, name: str, version: Version) -> dict[str, Any]:
    told: dict[str, Any] = {"value": version.value or "", "timestamp": version.at, "sourceType": version.by.type}
    if PROPERTIES[name].calculated:
        told["sourceType"] = "CALCULATED"
    elif version.by.type == "CRM_UI":
        user = portal.people[0].user_id
        told |= {"sourceId": f"userId:{user}", "updatedByUserId": user}
    elif version.by.id:
        told["sourceId"] = version.by.id
    return told
