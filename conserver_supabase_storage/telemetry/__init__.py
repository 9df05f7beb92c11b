"""What the storage tells of itself: counts, durations, spans and log lines.

None of it has what a vCon says, a key or a password, and no label has a value that comes from data.
What nobody asked for (no OpenTelemetry, no PROMETHEUS_MULTIPROC_DIR) is not loaded.
"""

import threading
from collections import Counter

from .names import BREAKERS, CACHE, SPOOL
from .operation import Operation, fields, outcome_is, outcome_of
from .sinks import chosen, gate
from .watched import SpoolFigures, Watched, open_breakers

__all__ = ["Operation", "SpoolFigures", "Telemetry", "fields", "outcome_is", "outcome_of"]


class Telemetry:
    """What one storage tells of itself, in this process.

    Attributes:
        watched: what can be asked of the storage; it fills that in.
    """

    def __init__(self) -> None:
        self.watched = Watched()
        self.forget()

    def forget(self) -> None:
        """Start afresh in a forked child."""
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._in_use = False
        self.watched.leave()

    def operation(self, name: str) -> Operation:
        """Surround an operation, one of `names.OPERATIONS`."""
        if not self._in_use:
            self._in_use = True
            self.watched.watch()
            self.breakers_changed()
        return Operation(name)

    def cache(self, result: str) -> None:
        """Count what the cache did, one of `names.CACHE_RESULTS`."""
        with self._lock:
            self._counts[result] += 1
        chosen().add(CACHE, result)

    def spool(self, event: str) -> None:
        """Count what the spool did, one of `names.SPOOL_EVENTS`."""
        with self._lock:
            self._counts[event] += 1
        chosen().add(SPOOL, event)

    def breakers_changed(self) -> None:
        """Note that a breaker opened or closed."""
        counting = chosen()
        with gate():  # of two that look at the same time, the last one that looked has the word
            now_open = open_breakers()
            for what in BREAKERS:
                counting.breaker(what, is_open=what in now_open)

    def counts(self) -> dict[str, int]:
        """Return how often what happened, for `SupabaseStorage.stats`."""
        with self._lock:
            return dict(self._counts)

    def close(self) -> None:
        """Tell no more of breakers and the spool, until the next operation."""
        self._in_use = False
        self.watched.leave()
        self.breakers_changed()
