"""`hubspot-sdk`, HubSpot's new Python client of version 2026-03."""

from __future__ import annotations

from hubspot_sdk import HubSpot, NotFoundError
from reading import arguments, tell

url, token = arguments()
client = HubSpot(access_token=token, base_url=url)
crm = client.crm
deals = crm.objects.deals
names = [definition.name for definition in crm.properties.list("deals").results]


def searched():
    after = "0"
    created = {"propertyName": "createdate", "operator": "HAS_PROPERTY"}
    while after:
        page = deals.search(
            after=after,
            filter_groups=[{"filters": [created]}],
            limit=200,
            properties=names,
            sorts=["createdate"],
        )
        yield from page.results
        after = page.paging.next.after if page.paging and page.paging.next else None


def batch(ids):
    asked = [{"id": id_} for id_ in ids]
    return deals.batch.get(inputs=asked, properties=names, properties_with_history=[]).results


live = list(deals.list(limit=100, properties=names, associations=["companies", "contacts"]))
archived = list(deals.list(limit=100, properties=names, archived=True))
ids = [deal.id for deal in live]
try:
    deals.get("1")
    missing = None
except NotFoundError as error:
    missing = error.status_code
past = list(deals.list(limit=50, properties_with_history=["dealstage"]))
tell(
    live={deal.id: deal.properties for deal in live},
    archived={deal.id: deal.properties for deal in archived},
    searched={deal.id: deal.properties for deal in searched()},
    batched={deal.id: deal.properties for start in range(0, len(ids), 100) for deal in batch(ids[start : start + 100])},
    single={id_: deals.get(id_, properties=names).properties for id_ in ids[:5]},
    contacts={
        deal.id: [one.id for one in deal.associations["contacts"].results]
        for deal in live
        if deal.associations and "contacts" in deal.associations
    },
    newest_stage={deal.id: deal.properties_with_history["dealstage"][0].value for deal in past},
    stages=[s.id for p in crm.pipelines.list("deals").results for s in p.stages],
    owners=[owner.email for owner in crm.owners.list(limit=1)],
    missing=missing,
    currency=client.account.get().company_currency,
)
