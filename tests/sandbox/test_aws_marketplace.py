"""The AWS sandbox's Marketplace, as botocore sees it: its answers, its errors, its pages and page by page."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.sandbox.conftest import point_aws_at, running

PRODUCT, BUYER = "prod-1", "210987654321"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running("aws") as announced:
        yield announced["url"]


@pytest.fixture(autouse=True)
def aws(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    point_aws_at(url, monkeypatch)


def order(url: str, **order: Any) -> dict[str, Any]:
    body = json.dumps({"product": PRODUCT, "account": BUYER} | order).encode()
    asked = urllib.request.Request(f"{url}/_sandbox/marketplace", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def resolve(token: str) -> Any:
    return boto3.client("meteringmarketplace", "us-east-1").resolve_customer(RegistrationToken=token)


def entitled(**wanted: Any) -> Any:
    return boto3.client("marketplace-entitlement", "us-east-1").get_entitlements(ProductCode=PRODUCT, **wanted)


def test_a_token_leads_to_the_account_that_has_subscribed(url: str) -> None:
    made = order(url)
    found = resolve(made["token"])
    assert (found["ProductCode"], found["CustomerAWSAccountId"]) == (PRODUCT, BUYER)
    assert found["LicenseArn"] == made["license"]
    (entitlement,) = entitled(Filter={"CUSTOMER_AWS_ACCOUNT_ID": [BUYER]})["Entitlements"]
    assert entitlement["Dimension"] == "paid" and entitlement["Value"]["IntegerValue"] == 1
    assert entitlement["ExpirationDate"].year > 2025
    assert entitled(Filter={"LICENSE_ARN": [made["license"]]})["Entitlements"] == [entitlement]
    assert entitled(Filter={"CUSTOMER_AWS_ACCOUNT_ID": ["000000000000"]})["Entitlements"] == []


def test_errors_have_the_codes_of_aws(url: str) -> None:
    for token, code in (
        ("made up", "InvalidTokenException"),
        (order(url, token_seconds=-1)["token"], "ExpiredTokenException"),
    ):
        with pytest.raises(ClientError) as refused:
            resolve(token)
        assert refused.value.response["Error"]["Code"] == code
    for wanted in ({"Filter": {"COLOUR": ["blue"]}}, {"NextToken": "x"}):
        with pytest.raises(ClientError) as refused:
            entitled(**wanted)
        assert refused.value.response["Error"]["Code"] == "InvalidParameterException"


def test_many_entitlements_come_page_by_page(url: str) -> None:
    for number in range(60):
        order(url, account="555566667777", dimension=f"d{number}")
    pages = boto3.client("marketplace-entitlement", "us-east-1").get_paginator("get_entitlements")
    wanted: Any = {"CUSTOMER_AWS_ACCOUNT_ID": ["555566667777"]}
    found = [
        each["Dimension"]
        for page in pages.paginate(ProductCode=PRODUCT, Filter=wanted)
        for each in page["Entitlements"]
    ]
    assert sorted(found) == sorted(f"d{number}" for number in range(60))


def test_the_page_sends_a_buyer_on_with_a_form(url: str) -> None:
    target = "http://freemium.localhost:8000/api/marketplace"
    form = {"product": PRODUCT, "account": "123412341234", "registration_url": target}
    body = urllib.parse.urlencode(form).encode()
    with urllib.request.urlopen(f"{url}/_sandbox/marketplace", body) as answer:
        page = answer.read().decode()
    assert f'action="{target}"' in page and 'name="x-amzn-marketplace-token"' in page
    form["registration_url"] = "javascript:alert(1)"
    with urllib.request.urlopen(f"{url}/_sandbox/marketplace", urllib.parse.urlencode(form).encode()) as answer:
        assert "javascript:" not in answer.read().decode()
    with urllib.request.urlopen(f"{url}/_sandbox/marketplace") as answer:
        assert "123412341234" in answer.read().decode()
