"""What KMS refuses and moto does not: work with a key that is disabled or about to be deleted."""

from __future__ import annotations

from moto.kms.models import kms_backends
from werkzeug.wrappers import Response

from awssome_sandbox.aws.calls import Call, json_refusal

WORK = ("TrentService.Encrypt", "TrentService.Decrypt", "TrentService.GenerateDataKey", "TrentService.ReEncrypt")


def judge(call: Call) -> Response | None:
    """The refusal that KMS would give to work with a key."""
    asked = str(call.fields.get("KeyId", ""))
    for regions in kms_backends.values():
        for backend in regions.values():
            key = backend.keys.get(asked.rpartition("/")[2])
            if key is None or key.key_state == "Enabled":
                continue
            if key.key_state == "Disabled":
                return json_refusal("DisabledException", f"{key.arn} is disabled.")
            return json_refusal("KMSInvalidStateException", f"{key.arn} is pending deletion.")
    return None
