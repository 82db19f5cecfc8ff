"""What `/metrics` says, in Prometheus' text format. Imports nothing of ours; loaded with the first scrape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class _Snapshot(Collector):
    def __init__(self, deliveries: Mapping[str, int], counts: Mapping[str, int]) -> None:
        self._deliveries = deliveries
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        deliveries = CounterMetricFamily(
            "pipeflow_deliveries", "Deliveries since the start, by what became of them", labels=["result"]
        )
        for result, number in sorted(self._deliveries.items()):
            deliveries.add_metric([result], number)
        yield deliveries
        for name, number in sorted(self._counts.items()):
            yield GaugeMetricFamily(f"pipeflow_store_{name}", f"{name} in the store", value=number)


def render(deliveries: Mapping[str, int], counts: Mapping[str, int]) -> bytes:
    """Render the receiver's counters and the store's counts."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(deliveries, counts))
    return generate_latest(registry)
