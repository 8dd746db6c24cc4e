"""What AWS says in place of an answer: which of it passes by itself."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from awssome.aws.troubles import told
from awssome.domain.instances import Trouble


@pytest.mark.parametrize(
    ("code", "passes"),
    [
        ("Throttling", True),
        ("ThrottlingException", True),
        ("ThrottledException", True),
        ("TooManyRequestsException", True),
        ("PriorRequestNotComplete", True),
        ("AccessDeniedException", False),
        ("UnrecognizedClientException", False),
        ("SomethingElse", False),
    ],
)
def test_a_busy_service_is_asked_again_however_it_spells_that(code: str, passes: bool) -> None:
    with pytest.raises(Trouble) as refused, told("RDS", {}):
        raise ClientError({"Error": {"Code": code, "Message": "Rate exceeded"}}, "CreateDBInstance")
    assert (refused.value.again is not None) is passes
