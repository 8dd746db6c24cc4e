"""AWS Marketplace for a seller: who has subscribed to a product, and the tokens that buyers' browsers bring along.

moto has neither service. A buyer here subscribes by `POST /_sandbox/marketplace`, and *Set up your account* on the page
sends the browser to the product's registration address with a form that carries `x-amzn-marketplace-token`.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, replace
from typing import Any

from werkzeug.wrappers import Request, Response

from awssome_sandbox.aws.calls import Call, json_answer, json_refusal, plain_json
from awssome_sandbox.pages import render

RESOLVE = "AWSMPMeteringService.ResolveCustomer"
GET = "AWSMPEntitlementService.GetEntitlements"

_DAY = 86_400
_TOKEN_SECONDS = 3_600
_FILTERS = ("CUSTOMER_IDENTIFIER", "DIMENSION", "CUSTOMER_AWS_ACCOUNT_ID", "LICENSE_ARN")
_MOST = 25
"""Entitlements of one answer, at most."""


@dataclass(frozen=True)
class Subscription:
    """What a buyer's account has of a product.

    :ivar expires_at: seconds since 1970.
    """

    product: str
    account: str
    dimension: str
    license: str
    expires_at: float
    cancelled: bool = False


@dataclass(frozen=True)
class Token:
    """A token of a buyer's browser."""

    product: str
    account: str
    license: str
    until: float


SUBSCRIPTIONS: dict[tuple[str, str, str], Subscription] = {}
"""By product, account and dimension."""

TOKENS: dict[str, Token] = {}


def judge(call: Call) -> Response | None:
    """The answer of either service."""
    return _resolve(call) if call.operation == RESOLVE else _entitlements(call)


def order(request: Request) -> Response:
    """`{"product", "account", "dimension", "days", "token_seconds"}` -> `{"token", "license"}`: a buyer subscribes.

    With `"cancel": true` the account's subscription to the product ends at once, as AWS then names none of it; with
    `"expire": true` it is still named, with a date that is past.
    """
    form = request.form.to_dict()
    wanted = form or request.get_json(force=True, silent=True)
    if not isinstance(wanted, dict) or not wanted.get("product") or not str(wanted.get("account", "")).isdecimal():
        return plain_json({"message": "A product and an account of 12 digits are needed."}, 400)
    product, account = str(wanted["product"]), str(wanted["account"])
    if wanted.get("cancel") or wanted.get("expire"):
        for key, one in list(SUBSCRIPTIONS.items()):
            if key[:2] == (product, account):
                changed = {"cancelled": True} if wanted.get("cancel") else {"expires_at": time.time() - 1}
                SUBSCRIPTIONS[key] = replace(one, **changed)
        return plain_json({}, 200)
    dimension = str(wanted.get("dimension", "paid"))
    arn = f"arn:aws:license-manager::294406891311:license:l-{secrets.token_hex(16)}"
    until = time.time() + float(wanted.get("days", 365)) * _DAY
    SUBSCRIPTIONS[product, account, dimension] = Subscription(product, account, dimension, arn, until)
    token = secrets.token_urlsafe(48)
    TOKENS[token] = Token(product, account, arn, time.time() + float(wanted.get("token_seconds", _TOKEN_SECONDS)))
    if form:
        return _page(str(form.get("registration_url", "")), token)
    return plain_json({"token": token, "license": arn}, 201)


def show(request: Request) -> Response:
    """Subscriptions, and a form to subscribe."""
    return _page(request.args.get("registration_url", ""))


def _page(registration_url: str, token: str = "") -> Response:
    page = render(
        "aws/marketplace.html",
        subscriptions=[one for one in SUBSCRIPTIONS.values() if not one.cancelled],
        registration_url=registration_url if registration_url.startswith(("http://", "https://")) else "",
        token=token,
    )
    return Response(page, content_type="text/html; charset=utf-8")


def _resolve(call: Call) -> Response:
    token = TOKENS.get(str(call.fields.get("RegistrationToken", "")))
    if token is None:
        return json_refusal("InvalidTokenException", "The registration token is invalid.")
    if token.until <= time.time():
        return json_refusal("ExpiredTokenException", "The registration token has expired.")
    answer = {"ProductCode": token.product, "CustomerAWSAccountId": token.account, "LicenseArn": token.license}
    return json_answer(answer)


def _entitlements(call: Call) -> Response:
    product, wanted = call.fields.get("ProductCode"), call.fields.get("Filter") or {}
    start = call.fields.get("NextToken") or "0"
    if not product or not isinstance(wanted, dict) or any(name not in _FILTERS for name in wanted):
        return json_refusal("InvalidParameterException", "A product code and known filters are needed.")
    if not str(start).isdecimal():
        return json_refusal("InvalidParameterException", "The next token is invalid.")
    found = [one for one in SUBSCRIPTIONS.values() if one.product == product and not one.cancelled]
    for name, values in wanted.items():
        found = [one for one in found if _value(one, name) in values]
    most = min(int(call.fields.get("MaxResults") or _MOST), _MOST)
    first = int(start)
    answer: dict[str, Any] = {"Entitlements": [_entitlement(one) for one in found[first : first + most]]}
    if first + most < len(found):
        answer["NextToken"] = str(first + most)
    return json_answer(answer)


def _value(one: Subscription, name: str) -> str:
    return {
        "DIMENSION": one.dimension,
        "CUSTOMER_AWS_ACCOUNT_ID": one.account,
        "LICENSE_ARN": one.license,
    }.get(name, "")


def _entitlement(one: Subscription) -> dict[str, Any]:
    return {
        "ProductCode": one.product,
        "Dimension": one.dimension,
        "CustomerAWSAccountId": one.account,
        "Value": {"IntegerValue": 1},
        "ExpirationDate": one.expires_at,
        "LicenseArn": one.license,
    }
