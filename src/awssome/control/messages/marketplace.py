"""Coming from AWS Marketplace."""

from __future__ import annotations

from pydantic import Field

from awssome.control.messages.base import Body


class ArrivalIn(Body):
    """The registration token that a buyer's browser brings."""

    token: str = Field(min_length=1, max_length=4_000)


class ArrivalRef(Body):
    """Who came, sealed: what the browser brings back."""

    arrival: str = Field(max_length=4_000)


class ArrivalOut(Body):
    """The AWS account that has subscribed."""

    account: str
