"""`hubspot-api-client`, HubSpot's own Python client of version 3."""

from __future__ import annotations

from hubspot.crm.associations.v4 import BatchInputPublicFetchAssociationsBatchRequest
from hubspot.crm.deals import BatchReadInputSimplePublicObjectId, PublicObjectSearchRequest
from hubspot.crm.deals.exceptions import ApiException
from reading import arguments, tell

import hubspot

url, token = arguments()
crm = hubspot.Client.create(access_token=token, host=url).crm
names = [definition.name for definition in crm.properties.core_api.get_all("deals").results]


def pages(ask):
    """All results of something that pages with `after`."""
    after = None
    while True:
        page = ask(after)
        yield from page.results
        after = page.paging.next.after if page.paging and page.paging.next else None
        if after is None:
            return


def listed(archived):
    deals = crm.deals.basic_api
    linked = ["companies", "contacts"]
    return list(
        pages(lambda a: deals.get_page(limit=100, after=a, properties=names, archived=archived, associations=linked))
    )


def searched(after):
    return crm.deals.search_api.do_search(
        PublicObjectSearchRequest(
            filter_groups=[{"filters": [{"propertyName": "createdate", "operator": "HAS_PROPERTY"}]}],
            sorts=[{"propertyName": "createdate", "direction": "ASCENDING"}],
            properties=names,
            limit=200,
            after=after,
        )
    )


def batch(ids):
    inputs = [{"id": id_} for id_ in ids]
    asked = BatchReadInputSimplePublicObjectId(inputs=inputs, properties=names, properties_with_history=[])
    return crm.deals.batch_api.read(asked).results


live, archived = listed(False), listed(True)
ids = [deal.id for deal in live]
linked = crm.associations.v4.batch_api.get_page(
    "deals", "companies", BatchInputPublicFetchAssociationsBatchRequest(inputs=[{"id": id_} for id_ in ids])
)
try:
    crm.deals.basic_api.get_by_id("1")
    missing = None
except ApiException as error:
    missing = error.status
past = crm.deals.basic_api.get_page(limit=50, properties_with_history=["dealstage"]).results
tell(
    live={deal.id: deal.properties for deal in live},
    archived={deal.id: deal.properties for deal in archived},
    searched={deal.id: deal.properties for deal in pages(searched)},
    batched={deal.id: deal.properties for start in range(0, len(ids), 100) for deal in batch(ids[start : start + 100])},
    single={deal.id: crm.deals.basic_api.get_by_id(deal.id, properties=names).properties for deal in live[:5]},
    companies={one._from.id: [str(to.to_object_id) for to in one.to] for one in linked.results},
    contacts={
        deal.id: [one.id for one in deal.associations["contacts"].results]
        for deal in live
        if deal.associations and "contacts" in deal.associations
    },
    newest_stage={deal.id: deal.properties_with_history["dealstage"][0].value for deal in past},
    stages=[s.id for p in crm.pipelines.pipelines_api.get_all("deals").results for s in p.stages],
    owners=[owner.email for owner in pages(lambda a: crm.owners.owners_api.get_page(limit=1, after=a))],
    missing=missing,
)
