"""A tenant as commands print it."""

from __future__ import annotations

from awssome.cli.output import print_facts, print_json, print_table
from awssome.control.messages import TenantDetail


def print_tenant(tenant: TenantDetail, as_json: bool) -> None:
    """Where it is, its life, its members and moves."""
    if as_json:
        print_json(tenant)
        return
    here = next((place for place in tenant.placements if place.current), None)
    portal = f"{tenant.hubspot_domain or 'portal'} ({tenant.hubspot_portal_id})" if tenant.hubspot_portal_id else ""
    print_facts(
        [
            ("Company", tenant.company),
            ("Slug", tenant.slug),
            ("Id", tenant.id),
            ("Tier", tenant.tier),
            ("State", tenant.state),
            ("Problem", tenant.problem),
            ("Server", tenant.server),
            ("Schema", here.schema_name if here else None),
            ("Epoch", str(tenant.epoch)),
            ("HubSpot", f"{tenant.hubspot} {portal}".strip()),
            ("AWS role", tenant.role_arn),
            ("Upgrade asked for", tenant.upgrade_requested_at),
            ("Last seen", tenant.seen_at),
            ("Kept until", tenant.retain_until),
            ("Since", tenant.created_at),
        ]
    )
    print_table(
        ("Member", "Name", "Role", "Confirmed"),
        [(member.email, member.name, member.role, member.confirmed) for member in tenant.members],
        empty="",
    )
    if tenant.moves:
        print_table(
            ("Move", "Kind", "Phase", "From", "To", "Asked for", "Pause, ms", "Verified"),
            [
                (str(m.id), m.kind, m.phase, m.source, m.target, m.requested_at, m.write_pause_ms, m.verified)
                for m in tenant.moves
            ],
            empty="",
        )
