"""One operation of a storage: how long it took, what came of it, and what it asked of servers."""

import logging
import time
from collections.abc import Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ..errors import (
    InvalidQueryError,
    InvalidVconError,
    RefusedError,
    StorageError,
    UnavailableError,
    VconNotFoundError,
)
from .sinks import sinks

if TYPE_CHECKING:
    from .otel import Span

# To its reader a log line is about the storage, wherever in our code it is written. An error is
# raised as well: a program that set up no log should not see it twice.
logger = logging.getLogger("conserver_supabase_storage.storage")
logger.addHandler(logging.NullHandler())

# What the names of spans begin with; the conserver's are `storage.{name}`.
SPANS = "storage.supabase."

# Calls of one operation that have spans. A replay, or a save of many, makes any number of them.
_MOST_SPANS = 100

_OUTCOMES: dict[type[BaseException], str] = {
    InvalidVconError: "invalid",
    InvalidQueryError: "invalid",
    VconNotFoundError: "not_found",
    RefusedError: "refused",
    UnavailableError: "unavailable",
}

current: "ContextVar[Operation | None]" = ContextVar("operation", default=None)


class Operation:
    """An operation under way in one thread. The storage says what it is about as it learns it.

    Attributes:
        name: one of `names.OPERATIONS`.
        uuid: the vCon's, where it is about one.
        outcome: one of `names.OUTCOMES`, where it is neither ``ok`` nor an error's.
        attempts: how many requests to Supabase it took.
        counts: numbers for the log line and the span, by name.
        call: the one to Supabase that is under way, if it has a span.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.uuid = ""
        self.outcome = ""
        self.attempts = 0
        self.counts: dict[str, int] = {}
        self.call: Call | None = None
        self._error: BaseException | None = None
        self._calls = 0
        self._span: Span | None = None

    def __enter__(self) -> Self:
        self._token = current.set(self)
        if (tracing := sinks().tracing) is not None:
            self._span = tracing.begin(SPANS + self.name, {"operation": self.name})
        self._began = time.perf_counter()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        seconds = time.perf_counter() - self._began
        current.reset(self._token)
        error = error or self._error
        outcome = self.outcome or ("ok" if error is None else _outcome(error))
        sinks().observe(self.name, outcome, seconds)
        if self._span is not None:
            known: dict[str, str | int] = {"outcome": outcome, "attempts": self.attempts}
            if self.uuid:
                known["vcon_id"] = self.uuid  # as the conserver's own spans have it
            self._span.end(known | self.counts, error)
        level = self._level(outcome)
        if logger.isEnabledFor(level):
            about = f"{self.name} {self.uuid}".strip()
            said = f": {_text(error)}" if error else ""
            logger.log(level, "%s: %s%s", about, outcome, said, extra=self.fields(outcome, seconds))

    def ended(self, results: Sequence[StorageError | None]) -> None:
        """Take in what became of each vCon of a save of many."""
        errors = [error for error in results if error is not None]
        self.counts = {"vcons": len(results), "failed": len(errors)}
        if errors:
            self._error = errors[0]
            self.outcome = _outcome(errors[0])

    def fields(self, outcome: str, seconds: float | None = None) -> dict[str, Any]:
        """Return the fields of a log line. None has a name that a LogRecord has already."""
        if seconds is None:
            seconds = time.perf_counter() - self._began
        about = {"uuid": self.uuid} if self.uuid else {}
        return {
            "operation": self.name,
            "outcome": outcome,
            "duration": round(seconds, 6),
            "attempt": self.attempts,
            **about,
            **self.counts,
        }

    def begin_call(self, system: str, name: str) -> "Call | None":
        """Begin a call to a server; None where it gets no span."""
        self._calls += 1
        tracing = sinks().tracing
        if self._span is None or tracing is None or self._calls > _MOST_SPANS:
            return None
        span = tracing.begin(f"{SPANS}{system}.{name}", {}, client=True)
        return None if span is None else Call(span)

    def _level(self, outcome: str) -> int:
        """Return how much an outcome matters."""
        saves = self.name in {"save", "save_many"}
        if outcome == "ok" and self.counts.get("replayed"):
            return logging.INFO
        if outcome in {"ok", "spooled"}:  # that it is spooled was said when it was
            return logging.DEBUG
        if outcome in {"not_found", "invalid"} and not saves:
            return logging.DEBUG  # as the caller is told; nothing is lost
        if outcome == "unavailable" and self.name in {"get", "search", "replay"}:
            return logging.WARNING
        return logging.ERROR


class Call:
    """A call to a server under way, with its span.

    Attributes:
        known: the span's attributes, as far as they are known.
    """

    def __init__(self, span: "Span") -> None:
        self.known: dict[str, str | int] = {}
        self._span = span

    def event(self, name: str, attributes: dict[str, str | int]) -> None:
        """Note what happened on the way."""
        self._span.event(name, attributes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._span.end(self.known, error)


def _outcome(error: BaseException) -> str:
    return _OUTCOMES.get(type(error), "error")


def _text(error: BaseException) -> str:
    """Return what a log may have of an error: our own texts hold no content, others may."""
    return str(error) if isinstance(error, StorageError) else type(error).__name__
