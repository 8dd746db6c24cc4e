"""Which changes of records a hosted zone takes. All of a batch, or none.

Sources: the API reference of ChangeResourceRecordSets, and answers of Route 53 that others have published.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from moto.route53.models import RecordSet


class Key(NamedTuple):
    """What a record set is known by in its zone."""

    name: str
    type: str
    set_identifier: str | None


class Content(NamedTuple):
    """What of a record set has to be named alike to delete it."""

    ttl: int | None
    values: tuple[str, ...]
    alias: str


def full(name: str) -> str:
    """A name as Route 53 keeps it: in lower case, with the dot at its end."""
    return name.lower().rstrip(".") + "."


def key_of(record: Mapping[str, Any]) -> Key:
    """The key of a record set in a request."""
    return Key(full(record["Name"]), record["Type"], record.get("SetIdentifier"))


def complaints(zone: str, there: Iterable[RecordSet], changes: Iterable[Mapping[str, Any]]) -> list[str]:
    """Why a batch is refused, in words like Route 53's; empty when it is taken.

    :param zone: the zone's name.
    :param there: the record sets that it has.
    """
    known = {Key(full(found.name), found.type or "", found.set_identifier): _content(found) for found in there}
    told, seen = [], set()
    for change in changes:
        record = change["ResourceRecordSet"]
        key = key_of(record)
        if (key, change["Action"]) in seen:
            told.append(f"The request contains an invalid set of changes for the record set '{key.type} {key.name}'")
            continue
        seen.add((key, change["Action"]))
        if complaint := _complaint(full(zone), known, change["Action"], key, _asked(record)):
            told.append(complaint)
        elif change["Action"] == "DELETE":
            del known[key]
        else:
            known[key] = _asked(record)
    return told


def _complaint(zone: str, known: Mapping[Key, Content], action: str, key: Key, asked: Content) -> str | None:
    shown = f"[name='{key.name}', type='{key.type}'" + (f", set-identifier='{key[2]}']" if key[2] else "]")
    if key.name != zone and not key.name.endswith(f".{zone}"):
        return f"RRSet with DNS name {key.name} is not permitted in zone {zone}"
    if action == "DELETE":
        if key.name == zone and key.type in ("NS", "SOA"):
            return f"A hosted zone keeps its own {key.type} record."
        if key not in known:
            return f"Tried to delete resource record set {shown} but it was not found"
        if known[key] != asked:
            return f"Tried to delete resource record set {shown} but its values are others"
        return None
    if action == "CREATE" and key in known:
        return f"Tried to create resource record set {shown} but it already exists"
    if not asked.alias and (asked.ttl is None or not asked.values):
        return f"Missing TTL or ResourceRecords in Change with [Action={action}, Name={key.name}, Type={key.type}]"
    if key.type == "CNAME" and key.name == zone:
        return f"RRSet of type CNAME with DNS name {key.name} is not permitted at apex in zone {zone}"
    if any(other.name == key.name and "CNAME" in (other.type, key.type) and other.type != key.type for other in known):
        return (
            f"RRSet of type {key.type} with DNS name {key.name} is not permitted because a conflicting RRSet of type "
            f"{'CNAME' if key.type != 'CNAME' else 'another'} with the same DNS name already exists in zone {zone}"
        )
    return _unfit(key.type, asked.values)


def _unfit(kind: str, values: tuple[str, ...]) -> str | None:
    """What is wrong with values of a type of records."""
    if kind == "CNAME" and len(values) > 1:
        return "CNAME records may have one value only."
    if kind in ("A", "AAAA"):
        version = ipaddress.IPv4Address if kind == "A" else ipaddress.IPv6Address
        for value in values:
            try:
                version(value)
            except ValueError:
                fault = f"Value is not a valid {'IPv4' if kind == 'A' else 'IPv6'} address"
                return f"Invalid Resource Record: FATAL problem: {fault} encountered with '{value}'"
    return None


def _content(found: RecordSet) -> Content:
    return Content(None if found.ttl is None else int(found.ttl), _ordered(found.records), _alias(found.alias_target))


def _asked(record: Mapping[str, Any]) -> Content:
    values = [value["Value"] for value in record.get("ResourceRecords") or ()]
    ttl = record.get("TTL")
    return Content(None if ttl is None else int(ttl), _ordered(values), _alias(record.get("AliasTarget")))


def _ordered(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(values))


def _alias(target: Mapping[str, Any] | None) -> str:
    return f"{target['HostedZoneId']} {full(target['DNSName'])}" if target else ""
