"""`hubspot-api-client` changes deals: each way once, with what it was answered."""

from __future__ import annotations

from hubspot.crm.deals import (
    BatchInputSimplePublicObjectBatchInput,
    BatchInputSimplePublicObjectBatchInputForCreate,
    BatchInputSimplePublicObjectId,
    PublicMergeInput,
    SimplePublicObjectInput,
    SimplePublicObjectInputForCreate,
)
from hubspot.crm.deals.exceptions import ApiException
from reading import arguments, tell

import hubspot

url, token = arguments()
deals = hubspot.Client.create(access_token=token, host=url).crm.deals


def create(name):
    given = {"dealname": name, "amount": "1000.5", "closedate": "2027-03-01"}
    return deals.basic_api.create(SimplePublicObjectInputForCreate(properties=given))


edited, archived, one, two = (create(name) for name in ("edited", "archived", "one", "two"))
changes = {"amount": "2000.25", "dealstage": "1193847205", "closedate": ""}
told = deals.basic_api.update(edited.id, SimplePublicObjectInput(properties=changes))
deals.basic_api.archive(archived.id)
survivor = deals.basic_api.merge(PublicMergeInput(primary_object_id=one.id, object_id_to_merge=two.id))
inputs = [{"properties": {"dealname": f"batch {place}"}} for place in range(3)]
made = deals.batch_api.create(BatchInputSimplePublicObjectBatchInputForCreate(inputs=inputs)).results
inputs = [{"id": deal.id, "properties": {"amount": "7"}} for deal in made]
inputs.append({"id": "1", "properties": {}})
batch = deals.batch_api.update(BatchInputSimplePublicObjectBatchInput(inputs=inputs))
deals.batch_api.archive(BatchInputSimplePublicObjectId(inputs=[{"id": made[2].id}]))
try:
    deals.basic_api.update(edited.id, SimplePublicObjectInput(properties={"amount": "much"}))
    refused = None
except ApiException as error:
    refused = error.status
tell(
    edited={"id": told.id, **told.properties},
    archived=archived.id,
    merged=[one.id, two.id],
    survivor=survivor.id,
    made=[deal.id for deal in made],
    updated=[deal.id for deal in batch.results],
    missing=batch.errors[0].context["ids"],
    refused=refused,
)
