"""Counts and spans for OpenTelemetry, where its API is installed. Without an SDK it does nothing.

In a conserver the metrics go where its own go (``lib.metrics``): each of its workers is a series of
its own there, which they are not with the provider that a parent made before it forked.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from .names import AGE, BREAKER, BREAKERS, BUCKETS, COUNTERS, DURATION, OTEL, WAITING, Metric
from .sinks import Sink
from .watched import open_breakers, spool_figures

_SCOPE = "conserver_supabase_storage"


def sink() -> Sink | None:
    """Return the sink for metrics, or None where OpenTelemetry is not installed."""
    try:
        from opentelemetry import metrics  # noqa: PLC0415  optional
    except ImportError:
        return None
    return _Otel(_conservers_meter() or metrics.get_meter(_SCOPE))


def tracing() -> "Tracing | None":
    """Return what makes spans, or None where OpenTelemetry is not installed."""
    try:
        return Tracing()
    except ImportError:
        return None


def _conservers_meter() -> Any:
    """Return the meter that the conserver exports, or None: this is none, or it exports nothing."""
    conserver = sys.modules.get("lib.metrics")
    register: Callable[..., None] | None = getattr(conserver, "register_observable_gauge", None)
    if register is None:
        return None
    # It makes its meter with its first metric, which may be this one.
    register(OTEL + WAITING.otel, _waiting, WAITING.text)
    return getattr(conserver, "meter", None)


class _Otel:
    def __init__(self, meter: Any) -> None:
        def settings(metric: Metric) -> dict[str, str]:
            return {
                "name": OTEL + metric.otel,
                "unit": metric.unit,
                "description": metric.text,
            }

        self._durations = meter.create_histogram(
            **settings(DURATION), explicit_bucket_boundaries_advisory=BUCKETS
        )
        self._counters = {
            metric.otel: (meter.create_counter(**settings(metric)), next(iter(metric.labels), ""))
            for metric in COUNTERS
        }
        for metric, observe in ((BREAKER, _breakers), (WAITING, _waiting), (AGE, _age)):
            meter.create_observable_gauge(
                **settings(metric), callbacks=[lambda _, observe=observe: observe()]
            )

    def add(self, counter: Metric, value: str, amount: float) -> None:
        instrument, label = self._counters[counter.otel]
        instrument.add(amount, {label: value} if label else None)

    def observe(self, operation: str, outcome: str, seconds: float) -> None:
        self._durations.record(seconds, {"operation": operation, "outcome": outcome})

    def breaker(self, what: str, *, is_open: bool) -> None:
        """Do nothing: it is asked."""


def _breakers() -> Iterable[Any]:
    from opentelemetry.metrics import Observation  # noqa: PLC0415

    now_open = open_breakers()
    return [Observation(int(what in now_open), {"what": what}) for what in BREAKERS]


def _waiting() -> Iterable[Any]:
    from opentelemetry.metrics import Observation  # noqa: PLC0415

    figures = spool_figures()
    return [Observation(figures.waiting)] if figures else []


def _age() -> Iterable[Any]:
    from opentelemetry.metrics import Observation  # noqa: PLC0415

    figures = spool_figures()
    return [Observation(figures.age)] if figures else []


class Tracing:
    """Makes spans; a thread's current span is their parent, so also the conserver's."""

    def __init__(self) -> None:
        from opentelemetry import context, trace  # noqa: PLC0415  optional

        self.context, self.trace = context, trace
        self._tracer = trace.get_tracer(_SCOPE)

    def begin(self, name: str, *, client: bool = False) -> "Span | None":
        """Begin a span and make it the current one; None if nobody records it."""
        kind = self.trace.SpanKind.CLIENT if client else self.trace.SpanKind.INTERNAL
        span = self._tracer.start_span(name, kind=kind)
        return Span(self, span) if span.is_recording() else None


class Span:
    """A span under way, in its thread.

    Attributes:
        known: its attributes, as far as they are known.
    """

    def __init__(self, tracing: Tracing, span: Any) -> None:
        self.known: dict[str, str | int] = {}
        self._tracing = tracing
        self._span = span
        self._token = tracing.context.attach(tracing.trace.set_span_in_context(span))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end(error)

    def child(self, name: str) -> "Span | None":
        """Begin the span of a call to a server."""
        return self._tracing.begin(name, client=True)

    def event(self, name: str, attributes: Mapping[str, str | int]) -> None:
        """Add an event."""
        self._span.add_event(name, attributes)

    def end(self, error: BaseException | None) -> None:
        """End it. Of an error only its kind is told: its text may say more than a trace may."""
        trace = self._tracing.trace
        if error is not None:
            self.known["error.type"] = kind = type(error).__name__
            self._span.set_status(trace.Status(trace.StatusCode.ERROR, kind))
        self._span.set_attributes(self.known)
        self._span.end()
        self._tracing.context.detach(self._token)
