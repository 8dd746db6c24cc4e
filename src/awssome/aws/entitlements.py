"""Subscriptions in AWS Marketplace: who a buyer's browser comes from, and what that account is entitled to.

Sources: AWS Marketplace Metering Service, "ResolveCustomer"; AWS Marketplace Entitlement Service, "GetEntitlements".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from awssome.aws.troubles import CONFIG, code_of
from awssome.domain.errors import Code, Refused


@dataclass(frozen=True)
class Customer:
    """A buyer.

    :ivar account: the buyer's AWS account.
    :ivar license: the ARN of the license that was granted; "" if AWS names none.
    """

    product: str
    account: str
    license: str


@dataclass(frozen=True)
class Entitlement:
    """What an account may use of the product.

    :ivar expires_at: None: AWS names no end.
    """

    dimension: str
    license: str
    expires_at: datetime | None


@dataclass(frozen=True)
class Marketplace:
    """The seller's side of one product, with the credentials of the AWS SDK's own settings.

    :ivar product: its product code.
    :ivar region: where the two services are; both live in us-east-1 for most products.
    """

    product: str
    region: str = "us-east-1"

    def resolve(self, token: str) -> Customer:
        """Whose browser brought this registration token.

        :raises Refused: GONE for a token that is unknown or too old; INVALID for one of another product; UPSTREAM when
            AWS does not answer.
        """
        with _told():
            client = boto3.client("meteringmarketplace", region_name=self.region, config=CONFIG)
            found: Any = client.resolve_customer(RegistrationToken=token)
        if found.get("ProductCode") != self.product or not found.get("CustomerAWSAccountId"):
            raise Refused(Code.INVALID, "AWS Marketplace names another product. Nothing was changed.", _AGAIN)
        return Customer(self.product, str(found["CustomerAWSAccountId"]), str(found.get("LicenseArn") or ""))

    def entitlements(self, account: str) -> list[Entitlement]:
        """What the account is entitled to by AWS' own word, ended ones included.

        :raises Refused: UPSTREAM when AWS does not answer.
        """
        wanted = {"ProductCode": self.product, "Filter": {"CUSTOMER_AWS_ACCOUNT_ID": [account]}}
        with _told():
            client: Any = boto3.client("marketplace-entitlement", region_name=self.region, config=CONFIG)
            pages = client.get_paginator("get_entitlements").paginate(**wanted)
            found = [each for page in pages for each in page.get("Entitlements", ())]
        return [
            Entitlement(str(each.get("Dimension", "")), str(each.get("LicenseArn") or ""), each.get("ExpirationDate"))
            for each in found
            if any((each.get("Value") or {}).values())
        ]


_AGAIN = "Go to your subscription in AWS Marketplace and choose Set up your account again."


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if code_of(error) in ("InvalidToken", "ExpiredToken"):
            message = "What AWS Marketplace sent you with has expired or is not known there. Nothing was changed."
            raise Refused(Code.GONE, message, _AGAIN) from None
        raise _unanswered() from None
    except BotoCoreError:
        raise _unanswered() from None


def _unanswered() -> Refused:
    return Refused(
        Code.UPSTREAM,
        "AWS Marketplace does not answer right now. Nothing was changed.",
        "Try again in a minute.",
        retry_after=10,
    )
