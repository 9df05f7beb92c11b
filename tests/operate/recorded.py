"""OpenTelemetry's SDK, which keeps in memory what is told to it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util import types

from conserver_supabase_storage.telemetry import sinks, watched

type Labels = frozenset[tuple[str, types.AttributeValue]]

PREFIX = "conserver.storage.supabase."


class Recorded:
    """What was recorded since the test began."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.exporter = InMemorySpanExporter()
        self.meters = MeterProvider([self.reader])
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that ended, in that order."""
        return list(self.exporter.get_finished_spans())

    def metrics(self) -> dict[str, Any]:
        """Each metric of ours that has data, by its name after PREFIX."""
        data = self.reader.get_metrics_data()
        return {
            metric.name.removeprefix(PREFIX): metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name.startswith(PREFIX)
        }

    def counts(self, name: str) -> dict[str, int]:
        """A metric's value (a histogram's count) by its labels' values, joined by blanks."""
        found: Counter[str] = Counter()
        metric = self.metrics().get(name)
        for point in metric.data.data_points if metric else ():
            values = point.attributes.values()
            value: Any = point.value if isinstance(point, NumberDataPoint) else point.count
            found[" ".join(map(str, values))] += value
        return dict(found)


@contextmanager
def recording() -> Iterator[Recorded]:
    """Let this process' storages tell the SDK, as if it had been set up before them."""
    recorded = Recorded()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics._internal, "_METER_PROVIDER", recorded.meters)
        patch.setattr(trace, "_TRACER_PROVIDER", recorded.tracers)
        sinks.forget()
        watched._keep([])  # nor are the storages asked that other tests still have open
        yield recorded
    sinks.forget()
    recorded.meters.shutdown()
    recorded.tracers.shutdown()
