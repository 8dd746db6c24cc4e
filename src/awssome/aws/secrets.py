"""What Secrets Manager keeps of instances' administrators. RDS makes these secrets and rotates them by itself."""

from __future__ import annotations

import json

import boto3

from awssome.aws.troubles import CONFIG, SOON, Words, told
from awssome.domain.instances import Trouble

_WORDS: Words = {
    "ResourceNotFound": ("The administrator's secret is not there.", "Look at the instance in RDS.", SOON),
    "InvalidRequest": ("The administrator's secret is about to be deleted.", "Look at the instance in RDS.", None),
    "DecryptionFailure": (
        "The administrator's secret cannot be decrypted.",
        "Let the workers' role use the key of KMS.",
        None,
    ),
}


def administrator(arn: str) -> tuple[str, str]:
    """(user, password) as they are now, of a secret that RDS manages. For workers only; neither is kept here.

    Source: RDS User Guide, "Password management with Amazon RDS and AWS Secrets Manager".

    :param arn: as RDS describes it; the secret is looked for in the ARN's own region.
    :raises Trouble: when AWS does not tell.
    """
    with told("Secrets Manager", _WORDS):
        client = boto3.client("secretsmanager", region_name=arn.split(":")[3], config=CONFIG)
        text = client.get_secret_value(SecretId=arn)["SecretString"]
    try:
        found = json.loads(text)
        return str(found["username"]), str(found["password"])
    except (ValueError, TypeError, KeyError):
        raise Trouble("The administrator's secret holds no user and password.", "Look at it in RDS.") from None
