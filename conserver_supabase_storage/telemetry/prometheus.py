"""Counts for Prometheus, in files that all workers of a machine share.

Each process writes its own files in PROMETHEUS_MULTIPROC_DIR; whoever serves the metrics adds up
those of all processes, also of those that are gone.
"""

import logging
import os
from collections.abc import Callable
from typing import Any

from .names import BREAKER, BREAKERS, BUCKETS, COUNTERS, DURATION, OUTCOMES, PROMETHEUS, Metric
from .sinks import Sink

logger = logging.getLogger(__name__)

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

_made: "_Prometheus | None" = None


def sink() -> Sink | None:
    """Return the sink, or None where prometheus_client or its directory is missing."""
    global _made  # noqa: PLW0603  a metric is made once for each process and its children
    if not os.environ.get(VARIABLE):
        return None
    if _made is None:
        try:
            from prometheus_client import values  # noqa: PLC0415  optional
        except ImportError:
            logger.warning("metrics: %s is set, but prometheus_client is missing", VARIABLE)
            return None
        if not values.ValueClass._multiprocess:
            logger.warning("metrics: %s was set after prometheus_client was loaded", VARIABLE)
            return None
        try:
            _made = _Prometheus()
        except OSError as error:
            _warn(error)
            return None
    return _made


class _Prometheus:
    def __init__(self) -> None:
        from prometheus_client import Counter, Gauge, Histogram  # noqa: PLC0415

        # In no registry: what this process alone counted is of no use to anybody.
        def made(kind: Any, metric: Metric, **settings: Any) -> Any:
            name = PROMETHEUS + metric.prometheus
            return kind(name, metric.text, tuple(metric.labels), registry=None, **settings)

        self._works = True
        self._durations = made(Histogram, DURATION, buckets=BUCKETS)
        for outcome in OUTCOMES:  # a rate() does not see the first of what was not there before
            self._durations.labels("save", outcome)
        self._counters: dict[tuple[str, str], Any] = {}
        for metric in COUNTERS:
            counter = made(Counter, metric)
            self._counters |= {
                (metric.otel, value): counter.labels(value) if value else counter
                for value in next(iter(metric.labels.values()), ("",))
            }
        # Of processes that live: one that is gone asks no Redis. Whoever serves the metrics tells
        # prometheus_client which are gone (multiprocess.mark_process_dead).
        breakers = made(Gauge, BREAKER, multiprocess_mode="livesum")
        self._breakers = {what: breakers.labels(what) for what in BREAKERS}

    def add(self, counter: Metric, value: str, amount: float) -> None:
        self._do(lambda: self._counters[counter.otel, value].inc(amount))

    def observe(self, operation: str, outcome: str, seconds: float) -> None:
        self._do(lambda: self._durations.labels(operation, outcome).observe(seconds))

    def breaker(self, what: str, *, is_open: bool) -> None:
        self._do(lambda: self._breakers[what].set(is_open))

    def _do(self, count: Callable[[], None]) -> None:
        if self._works:
            try:
                count()
            except OSError as error:  # a child's first count opens files
                self._works = False
                _warn(error)


def _warn(error: OSError) -> None:
    logger.warning("metrics: nothing is counted in %s: %s", VARIABLE, error.strerror)
