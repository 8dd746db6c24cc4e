"""What Secrets Manager refuses and moto does not: changes of a secret that another service keeps there."""

from __future__ import annotations

from moto.secretsmanager.models import secretsmanager_backends
from werkzeug.wrappers import Response

from awssome_sandbox.aws.calls import Call, json_refusal

CHANGES = tuple(f"secretsmanager.{verb}" for verb in ("DeleteSecret", "PutSecretValue", "UpdateSecret"))


def judge(call: Call) -> Response | None:
    """The refusal that a change of a managed secret meets."""
    asked = str(call.fields.get("SecretId", ""))
    for backend in list(secretsmanager_backends[call.caller.account].values()):
        secret = backend.secrets.get(asked)
        if secret is not None and secret.owning_service:
            told = f"You can't perform this operation on a secret that is managed by {secret.owning_service}."
            return json_refusal("InvalidRequestException", told)
    return None
