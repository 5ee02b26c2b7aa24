"""A Prometheus registry, sent to a collector by OTLP: the counters stay prometheus_client's, this only sends them.

Needs the extra otlp.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample

_CUMULATIVE = AggregationTemporality.CUMULATIVE
_TIMEOUT_SECONDS = 5.0


@contextmanager
def sending(endpoint: str, service_name: str, registry: CollectorRegistry, interval_seconds: float) -> Iterator[None]:
    """Send a registry to http(s)://host:port every `interval_seconds`, in a thread, and once more at the block's end.

    A collector that is away is logged by the exporter, and tried again; the end waits five seconds for it at most.
    """
    resource = Resource.create({"service.name": service_name})
    started = time.time_ns()
    exporter = OTLPMetricExporter(
        endpoint=endpoint, insecure=not endpoint.startswith("https://"), timeout=_TIMEOUT_SECONDS
    )
    ended = threading.Event()

    def export() -> None:
        now = time.time_ns()
        metrics = [metric for family in registry.collect() for metric in _metrics(family, started, now)]
        scope = ScopeMetrics(InstrumentationScope("plangate"), metrics, "")
        exporter.export(MetricsData([ResourceMetrics(resource, [scope], "")]))

    def run() -> None:
        while not ended.wait(interval_seconds):
            export()
        export()

    thread = threading.Thread(target=run, name="otlp-metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_TIMEOUT_SECONDS)
        exporter.shutdown()


def _metrics(family: Family, start: int, now: int) -> Iterator[Metric]:
    """Families of counters and histograms keep their name, which receivers end with _total and _bucket again."""
    if family.type == "histogram":
        histograms = list(_histogram_points(family.samples, start, now))
        yield Metric(family.name, family.documentation, "", Histogram(histograms, _CUMULATIVE))
        return
    numbers = [
        NumberDataPoint(sample.labels, start, now, sample.value)
        for sample in family.samples
        if not sample.name.endswith("_created")
    ]
    if family.type == "counter":
        yield Metric(family.name, family.documentation, "", Sum(numbers, _CUMULATIVE, is_monotonic=True))
    elif numbers:
        yield Metric(family.samples[0].name, family.documentation, "", Gauge(numbers))


def _histogram_points(samples: Iterable[Sample], start: int, now: int) -> Iterator[HistogramDataPoint]:
    for labels, group in itertools.groupby(samples, _labels):
        series = list(group)
        cumulative = [(float(sample.labels["le"]), int(sample.value)) for sample in series if "le" in sample.labels]
        total = next(sample.value for sample in series if sample.name.endswith("_sum"))
        counts = [count for _, count in cumulative]
        yield HistogramDataPoint(
            labels,
            start,
            now,
            count=counts[-1],
            sum=total,
            bucket_counts=[count - before for before, count in zip([0, *counts], counts, strict=False)],
            # The last bucket, +Inf, has no bound.
            explicit_bounds=[bound for bound, _ in cumulative[:-1]],
            # Not kept by prometheus_client; the protocol may leave them out, though the types do not say so.
            min=None,  # type: ignore[arg-type]
            max=None,  # type: ignore[arg-type]
        )


def _labels(sample: Sample) -> dict[str, str]:
    """Those of its series, without that of the bucket."""
    return {name: value for name, value in sample.labels.items() if name != "le"}
