"""What AWS answers instead of doing it, in words for operators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from awssome.domain.instances import Trouble

CONFIG = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 2})
"""For calls of jobs: who is told to wait comes again as a job, and holds no thread."""

SOON, LATER = timedelta(seconds=30), timedelta(minutes=5)
"""After which time to ask again: when AWS has much to do, and when it has nothing left to give."""

Words = Mapping[str, tuple[str, str, timedelta | None]]
"""An error's code without `Fault` and `Exception` -> what happened, what to do, after which time to try again."""

_DENIED = ("AccessDenied", "UnauthorizedOperation", "NotAuthorized", "AuthFailure", "OptInRequired")
_UNKNOWN = (
    "InvalidClientTokenId",
    "UnrecognizedClient",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "IncompleteSignature",
)
_BUSY = ("Throttling", "Throttled", "RequestLimitExceeded", "TooManyRequests", "PriorRequestNotComplete")


@contextmanager
def told(service: str, words: Words) -> Iterator[None]:
    """Errors of a call, as Trouble.

    :param service: what was asked, like `RDS`.
    :param words: for codes that the service alone has.
    :raises Trouble: for whatever AWS or the network says.
    """
    try:
        yield
    except ClientError as error:
        raise _trouble(service, error, words) from None
    except NoCredentialsError:
        raise Trouble(
            "This worker has no credentials for AWS.", "Give it a role, or the AWS SDK's own settings."
        ) from None
    except BotoCoreError as error:
        raise Trouble(f"{service} cannot be reached ({type(error).__name__}).", again=SOON) from None


def code_of(error: ClientError) -> str:
    """The error's code as the API reference has it: some services add `Fault` or `Exception` on the wire."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    return code.rpartition("#")[2].removesuffix("Fault").removesuffix("Exception")


def _trouble(service: str, error: ClientError, words: Words) -> Trouble:
    code = code_of(error)
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    said = str(error.response.get("Error", {}).get("Message", ""))[:300]
    if code in words:
        message, advice, again = words[code]
        return Trouble(f"{message} {service} says: {said}" if said else message, advice, again=again)
    if code in _DENIED:
        return Trouble(
            f"AWS does not let the platform do it. {service} says: {said}",
            "Give the workers' role the rights that docs/deploy-aws.md lists.",
        )
    if code in _UNKNOWN:
        return Trouble(f"AWS does not know this worker's credentials ({code}).", "Renew them.")
    if code in _BUSY or status >= 500:
        return Trouble(f"{service} has much to do right now ({code}).", again=SOON)
    return Trouble(f"{service} refused it ({code}): {said}", "Mend what it says.")
