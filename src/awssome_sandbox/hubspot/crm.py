"""The addresses of the CRM API, in every version that is served.

The versions answer alike; only the place of the version in the path differs. Deals can be called `deals`, `deal` or
`0-3` everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import Response
from starlette.routing import Route

from awssome_sandbox.hubspot import account, associations, deals, legacy, others, writes
from awssome_sandbox.hubspot.errors import not_found
from awssome_sandbox.hubspot.wire import Call, Handler, Sandbox, endpoint


@dataclass(frozen=True, slots=True)
class Version:
    """Where a version of the API keeps things; `{}` stands for what is asked about."""

    objects: str
    definitions: str
    account_info: str


VERSIONS = (
    *(Version(f"/crm/objects/{v}", f"/crm/{{}}/{v}", f"/account-info/{v}") for v in ("2026-03", "2026-09")),
    Version("/crm/v3/objects", "/crm/v3/{}", "/account-info/v3"),
)


class _Deals(Convertor[str]):
    """The names under which the API knows deals."""

    regex = "deals|deal|0-3"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("deals", _Deals())


def routes(sandbox: Sandbox) -> list[Route]:
    """Every CRM route in every version, and the older ones that other clients still call."""
    table = [route for version in VERSIONS for route in _of(version)]
    table += [*associations.V4, *legacy.ADDRESSES, *others.OLD]
    return [endpoint(sandbox, name, method, path, handler) for name, method, path, handler in table]


def unknown(_sandbox: Sandbox, _call: Call) -> Response:
    """No route is at this address."""
    raise not_found()


def _of(version: Version) -> list[tuple[str, str, str, Handler]]:
    objects = f"{version.objects}/{{kind:deals}}"
    pipelines = f"{version.definitions.format('pipelines')}/{{kind:deals}}"
    properties = f"{version.definitions.format('properties')}/{{kind:deals}}"
    owners = version.definitions.format("owners")
    linked = version.definitions.format("associations")
    return [
        ("deals.list", "GET", objects, deals.list_deals),
        ("deals.search", "POST", f"{objects}/search", deals.search_deals),
        ("deals.batch_read", "POST", f"{objects}/batch/read", deals.batch_read_deals),
        ("deals.get", "GET", f"{objects}/{{id}}", deals.get_deal),
        ("deals.create", "POST", objects, writes.create),
        ("deals.merge", "POST", f"{objects}/merge", writes.merge),
        ("deals.update", "PATCH", f"{objects}/{{id}}", writes.update),
        ("deals.archive", "DELETE", f"{objects}/{{id}}", writes.archive),
        ("deals.batch_create", "POST", f"{objects}/batch/create", writes.batch_create),
        ("deals.batch_update", "POST", f"{objects}/batch/update", writes.batch_update),
        ("deals.batch_archive", "POST", f"{objects}/batch/archive", writes.batch_archive),
        ("associations", "GET", f"{objects}/{{id}}/associations/{{other}}", associations.of_one(version.objects)),
        ("associations", "POST", f"{linked}/{{kind:deals}}/{{other}}/batch/read", associations.of_many(linked)),
        ("associations", "GET", f"{linked}/{{kind:deals}}/{{other}}/labels", associations.labels),
        ("pipelines", "GET", pipelines, account.list_pipelines),
        ("pipelines", "GET", f"{pipelines}/{{id}}", account.get_pipeline),
        ("pipelines", "GET", f"{pipelines}/{{id}}/stages", account.list_stages),
        ("pipelines", "GET", f"{pipelines}/{{id}}/stages/{{stage}}", account.get_stage),
        ("properties", "GET", properties, account.list_properties),
        ("properties", "POST", f"{properties}/batch/read", account.batch_read_properties),
        ("properties", "GET", f"{properties}/groups", account.list_groups),
        ("properties", "GET", f"{properties}/{{name}}", account.get_property),
        ("owners", "GET", owners, account.list_owners),
        ("owners", "GET", f"{owners}/{{id}}", account.get_owner),
        *others.addresses(
            version.objects, version.definitions.format("pipelines"), version.definitions.format("properties")
        ),
        ("account", "GET", f"{version.account_info}/details", account.details),
        ("account", "GET", f"{version.account_info}/api-usage/daily/private-apps", account.daily_usage),
    ]
