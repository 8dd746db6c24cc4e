"""The sandbox's page of instances, and the orders that it takes: `/_sandbox/rds`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from awssome_sandbox.aws.calls import plain_json
from awssome_sandbox.aws.rds.conduct import CONDUCT, CREATION, ERRORS, Misunderstood
from awssome_sandbox.pages import render

if TYPE_CHECKING:
    from awssome_sandbox.aws.rds.models import Databases


def show(_: Request) -> Response:
    """All instances of all accounts with their states, snapshots, and what is in force."""
    page = render(
        "aws/databases.html",
        instances=[_row(backend, instance) for backend in _backends() for instance in backend.instances],
        snapshots=[snapshot for backend in _backends() for snapshot in backend.database_snapshots.values()],
        conduct=CONDUCT.as_dict(),
        served=CONDUCT.servers is not None,
        codes=[*ERRORS, CREATION],
    )
    return Response(page, content_type="text/html; charset=utf-8")


def order(request: Request) -> Response:
    """`{"seconds", "quota": {…}, "fail", "operation", "times"}`, each of them optional -> what is in force.

    A browser's form goes back to the page.
    """
    form = request.form.to_dict()
    wanted = form or request.get_json(force=True, silent=True)
    if not isinstance(wanted, dict):
        return plain_json({"message": "The body must be a JSON object."}, 400)
    try:
        CONDUCT.order(wanted)
    except Misunderstood as error:
        return plain_json({"message": str(error)}, 400)
    return redirect("/_sandbox/rds", 303) if form else plain_json(CONDUCT.as_dict(), 200)


def forget(_: Request) -> Response:
    """End all faults; quotas are what they were at first."""
    CONDUCT.forget()
    return plain_json(CONDUCT.as_dict(), 200)


def _backends() -> list[Databases]:
    from moto.rds.models import rds_backends

    from awssome_sandbox.aws.rds.models import Databases

    found = [b for regions in list(rds_backends.values()) for b in list(regions.values()) if isinstance(b, Databases)]
    for backend in found:
        backend.settle()
    return found


def _row(backend: Databases, instance: Any) -> dict[str, Any]:
    endpoint = instance.endpoint
    return {
        "name": instance.db_instance_identifier,
        "account": backend.account_id,
        "region": backend.region_name,
        "state": instance.status,
        "engine": f"{instance.engine} {instance.engine_version}",
        "instance_class": instance.db_instance_class,
        "endpoint": f"{endpoint['Address']}:{endpoint['Port']}" if endpoint else "",
        "complaint": instance.server.complaint if instance.server and instance.status == "failed" else "",
    }
