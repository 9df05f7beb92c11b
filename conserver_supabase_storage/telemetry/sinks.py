"""Where counts go: chosen once for each process, at its first operation."""

import os
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from .names import Metric

if TYPE_CHECKING:
    from .otel import Tracing


class Sink(Protocol):
    """One place that counts go to."""

    def add(self, counter: Metric, value: str, amount: float) -> None:
        """Add to a counter; `value` is its label's, '' where it has none."""

    def observe(self, operation: str, outcome: str, seconds: float) -> None:
        """Note how long an operation took."""

    def breaker(self, what: str, *, is_open: bool) -> None:
        """Note whether Redis is asked."""


class Sinks:
    """All places that counts go to, and what makes spans.

    The libraries behind them hold locks while they count. A process that forks meanwhile would
    leave its child a lock that nobody opens, so a fork waits until nobody counts.

    Attributes:
        tracing: makes spans, where OpenTelemetry is installed.
        counts: whether anything is counted.
    """

    def __init__(self, counting: Iterable[Sink] = (), tracing: "Tracing | None" = None) -> None:
        self.tracing = tracing
        self._counting = tuple(counting)
        self.counts = bool(self._counting)

    def add(self, counter: Metric, value: str = "", amount: float = 1) -> None:
        """As `Sink.add`."""
        if self.counts:
            with gate():
                for sink in self._counting:
                    sink.add(counter, value, amount)

    def observe(self, operation: str, outcome: str, seconds: float) -> None:
        """As `Sink.observe`."""
        if self.counts:
            with gate():
                for sink in self._counting:
                    sink.observe(operation, outcome, seconds)

    def breaker(self, what: str, *, is_open: bool) -> None:
        """As `Sink.breaker`."""
        if self.counts:
            with gate():
                for sink in self._counting:
                    sink.breaker(what, is_open=is_open)


# Re-entrant: a signal may interrupt a count, and its handler use the storage.
_gate = threading.RLock()
_chosen: Sinks | None = None


def gate() -> threading.RLock:
    """Return what is held while something is counted."""
    return _gate


def chosen() -> Sinks:
    """Return where this process counts."""
    return _chosen or _choose()


def _choose() -> Sinks:
    global _chosen  # noqa: PLW0603  one choice for each process
    with _gate:  # also while they are imported: a child could not import them any more
        from . import otel, prometheus  # noqa: PLC0415  they need this module

        if _chosen is None:
            found = (otel.sink(), prometheus.sink())
            _chosen = Sinks([sink for sink in found if sink is not None], otel.tracing())
        return _chosen


def forget() -> None:
    """Choose anew."""
    global _chosen  # noqa: PLW0603
    _chosen = None


def _forget_after_fork() -> None:
    global _gate  # noqa: PLW0603
    _gate = threading.RLock()
    forget()


os.register_at_fork(
    before=lambda: _gate.acquire(),  # noqa: PLW0108  that of the moment
    after_in_parent=lambda: _gate.release(),  # noqa: PLW0108
    after_in_child=_forget_after_fork,
)
