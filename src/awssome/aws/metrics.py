"""Figures for CloudWatch.

Every combination of a metric's name and dimensions is billed, and so only the figures of `domain.figures` go there: by
tier, by server, and of the heaviest tenants.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from awssome.domain.errors import Code, Refused
from awssome.domain.figures import Figure, Unit

MOST_AT_ONCE = 1000
"""Metrics in one call (CloudWatch API Reference, "PutMetricData"); ours stay far below its 1 MB."""

_UNITS: dict[Unit, str] = {Unit.COUNT: "Count", Unit.BYTES: "Bytes", Unit.SECONDS: "Seconds"}


@dataclass(frozen=True)
class Metrics:
    """Sends figures to CloudWatch, in the region and with the credentials of the AWS SDK's own settings.

    :param namespace: where they are kept, like `Awssome`; "" keeps them at home.
    """

    namespace: str = ""

    def publish(self, figures: Iterable[Figure], at: datetime) -> int:
        """Send the figures; returns how many.

        :raises Refused: UPSTREAM when CloudWatch does not take them.
        """
        if not self.namespace:
            return 0
        data, sent = iter(figures), 0
        try:
            cloudwatch: Any = boto3.client(
                "cloudwatch",
                config=Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 3, "mode": "standard"}),
            )
            while batch := [_datum(figure, at) for figure in islice(data, MOST_AT_ONCE)]:
                cloudwatch.put_metric_data(Namespace=self.namespace, MetricData=batch)
                sent += len(batch)
        except (BotoCoreError, ClientError):
            raise Refused(Code.UPSTREAM, "CloudWatch does not take figures right now.", retry_after=60) from None
        return sent


def _datum(figure: Figure, at: datetime) -> dict[str, Any]:
    """`server_bytes` of a server is the metric `ServerBytes` with the dimension `Server`."""
    return {
        "MetricName": _camel(figure.name),
        "Dimensions": [{"Name": _camel(name), "Value": value} for name, value in sorted(figure.labels.items())],
        "Timestamp": at,
        "Value": figure.value,
        "Unit": _UNITS[figure.unit],
    }


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
