"""`hubspot-sdk` changes deals: each way once, with what it was answered."""

from __future__ import annotations

from hubspot_sdk import BadRequestError, HubSpot
from reading import arguments, tell

url, token = arguments()
deals = HubSpot(access_token=token, base_url=url).crm.objects.deals


def create(name):
    given = {"dealname": name, "amount": "1000.5", "closedate": "2027-03-01"}
    return deals.create(associations=[], properties=given)


edited, archived, one, two = (create(name) for name in ("edited", "archived", "one", "two"))
changes = {"amount": "2000.25", "dealstage": "1193847205", "closedate": ""}
told = deals.update(edited.id, properties=changes)
deals.delete(archived.id)
survivor = deals.merge(primary_object_id=one.id, object_id_to_merge=two.id)
inputs = [{"properties": {"dealname": f"batch {place}"}, "associations": []} for place in range(3)]
made = deals.batch.create(inputs=inputs).results
inputs = [{"id": deal.id, "properties": {"amount": "7"}} for deal in made]
batch = deals.batch.update(inputs=[*inputs, {"id": "1", "properties": {}}])
deals.batch.delete(inputs=[{"id": made[2].id}])
try:
    deals.update(edited.id, properties={"amount": "much"})
    refused = None
except BadRequestError as error:
    refused = error.status_code
tell(
    edited={"id": told.id, **told.properties},
    archived=archived.id,
    merged=[one.id, two.id],
    survivor=survivor.id,
    made=[deal.id for deal in made],
    updated=[deal.id for deal in batch.results],
    missing=batch.model_extra["errors"][0]["context"]["ids"],
    refused=refused,
)
