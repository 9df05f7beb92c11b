"""Counts what happens, for `SupabaseStorage.stats` and for OpenTelemetry where it is installed."""

import threading
from collections import Counter
from typing import Any

_NAME = "conserver.storage.supabase.events"


class Stats:
    """Counters by event. With OpenTelemetry's API they are one counter with the label ``event``."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start afresh in a forked child."""
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._counter: Any = None

    def count(self, event: str) -> None:
        """Count one event; the names are a fixed set, none is made from data."""
        with self._lock:
            self._counts[event] += 1
            if self._counter is None:
                self._counter = _counter()
        self._counter.add(1, {"event": event})

    def read(self) -> dict[str, int]:
        """Return all counts of this process."""
        with self._lock:
            return dict(self._counts)


class _NoCounter:
    def add(self, amount: int, attributes: dict[str, str]) -> None:
        """Do nothing: OpenTelemetry is not installed."""


def _counter() -> Any:
    try:
        from opentelemetry import metrics  # noqa: PLC0415  optional
    except ImportError:
        return _NoCounter()
    return metrics.get_meter(__name__).create_counter(
        _NAME, unit="1", description="What the Supabase storage and its cache did"
    )
