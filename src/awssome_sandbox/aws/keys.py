"""What KMS refuses and moto does not: work with a key that is disabled or about to be deleted."""

from __future__ import annotations

import io
import json

from moto.kms.models import kms_backends
from werkzeug.wrappers import Request, Response

_WORK = ("TrentService.Encrypt", "TrentService.Decrypt", "TrentService.GenerateDataKey", "TrentService.ReEncrypt")


def judge(environ: dict[str, object]) -> Response | None:
    """The refusal that KMS would give; None for all other requests. The body is put back for moto."""
    if environ.get("HTTP_X_AMZ_TARGET") not in _WORK:
        return None
    body = Request(environ).get_data()
    environ["wsgi.input"] = io.BytesIO(body)
    try:
        asked = str(json.loads(body).get("KeyId", ""))
    except ValueError:
        return None
    for regions in kms_backends.values():
        for backend in regions.values():
            key = backend.keys.get(asked.rpartition("/")[2])
            if key is None or key.key_state == "Enabled":
                continue
            if key.key_state == "Disabled":
                return _refusal("DisabledException", f"{key.arn} is disabled.")
            return _refusal("KMSInvalidStateException", f"{key.arn} is pending deletion.")
    return None


def _refusal(code: str, message: str) -> Response:
    body = json.dumps({"__type": code, "message": message})
    return Response(body, 400, content_type="application/x-amz-json-1.1", headers={"x-amzn-ErrorType": code})
