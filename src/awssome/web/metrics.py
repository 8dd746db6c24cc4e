"""Figures of a web process for Prometheus: its requests by route, and what else the application knows.

Labels have few values: the method, the route as it is written in the code, the status. `/metrics` is not public: each
application decides who may see it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.responses import Response
from starlette.types import Scope

from awssome.domain.figures import Figure

_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """What one application tells.

    :param figures: gauges, asked for each time somebody looks.
    """

    def __init__(self, figures: Callable[[], Iterable[Figure]] = lambda: ()) -> None:
        self._registry = CollectorRegistry()
        self._requests = Histogram(
            "awssome_request_seconds",
            "Time that requests took",
            ("method", "route", "status"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)
        self._registry.register(_Gauges(figures))

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """A request has ended."""
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = getattr(scope.get("route"), "path", "none")
        self._requests.labels(method, route, str(status)).observe(seconds)

    def response(self) -> Response:
        """The page, in Prometheus' text format."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)


class _Gauges(Collector):
    def __init__(self, figures: Callable[[], Iterable[Figure]]) -> None:
        self._figures = figures

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing: to register must not ask for figures."""
        return ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The figures, those of one name together."""
        families: defaultdict[str, list[Figure]] = defaultdict(list)
        for figure in self._figures():
            families[figure.name].append(figure)
        for name, figures in families.items():
            labels = sorted(figures[0].labels)
            family = GaugeMetricFamily(f"awssome_{name}", figures[0].meaning, labels=labels)
            for figure in figures:
                family.add_metric([figure.labels[label] for label in labels], figure.value)
            yield family
