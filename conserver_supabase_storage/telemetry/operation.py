"""One operation of a storage: how long it took, what came of it, and what it asked of servers."""

import logging
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from ..errors import (
    InvalidQueryError,
    InvalidVconError,
    RefusedError,
    StorageError,
    UnavailableError,
    VconNotFoundError,
)
from .sinks import chosen

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

_DEBUG = logging.DEBUG

current: "ContextVar[Operation | None]" = ContextVar("operation", default=None)


class Operation:
    """An operation under way in one thread. The storage says what it is about as it learns it.

    Attributes:
        name: one of `names.OPERATIONS`.
        uuid: the vCon's, where it is about one.
        outcome: one of `names.OUTCOMES`, where it is neither ``ok`` nor an error's.
        attempts: how many requests to Supabase it took.
        counts: numbers for the log line and the span, by name.
        span: its span, where somebody records it.
        asking: the span of the call to Supabase that is under way, if it has one.
    """

    # Every operation pays for this, whoever listens: defaults are the class', and what nobody
    # wants to know is not worked out.
    uuid = ""
    outcome = ""
    attempts = 0
    counts: Mapping[str, int] = MappingProxyType({})
    span: "Span | None" = None
    asking: "Span | None" = None
    _error: BaseException | None = None
    _calls = 0

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> Self:
        self._token = current.set(self)
        self._sinks = chosen()
        if (tracing := self._sinks.tracing) is not None:
            self.span = tracing.begin(SPANS + self.name)
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
        outcome = self.outcome or ("ok" if error is None else outcome_of(error))
        if self._sinks.counts:
            self._sinks.observe(self.name, outcome, seconds)
        if self.span is not None:
            self._end_span(self.span, outcome, error)
        level = _DEBUG if error is None and not self.counts else self._level(outcome)
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
            self.outcome = outcome_of(errors[0])

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

    def call(self, system: str, name: str) -> "Span | None":
        """Begin the span of a call to a server; None where it gets none."""
        if self.span is None or self._calls >= _MOST_SPANS:
            return None
        self._calls += 1
        return self.span.child(f"{SPANS}{system}.{name}")

    def _end_span(self, span: "Span", outcome: str, error: BaseException | None) -> None:
        span.known = {
            "operation": self.name,
            "outcome": outcome,
            "attempts": self.attempts,
            **self.counts,
        }
        if self.uuid:
            span.known["vcon_id"] = self.uuid  # as the conserver's own spans have it
        span.end(error)

    def _level(self, outcome: str) -> int:
        """Return how much an outcome matters."""
        saves = self.name in {"save", "save_many"}
        if outcome == "ok" and self.counts.get("replayed"):
            return logging.INFO
        if outcome in {"ok", "spooled"}:  # that it is spooled was said when it was
            return _DEBUG
        if outcome in {"not_found", "invalid"} and not saves:
            return _DEBUG  # as the caller is told; nothing is lost
        if outcome == "unavailable" and self.name in {"get", "search", "replay"}:
            return logging.WARNING
        return logging.ERROR


def outcome_of(error: BaseException) -> str:
    """Return the outcome of an operation that raised this."""
    return next((known for kind, known in _OUTCOMES.items() if isinstance(error, kind)), "error")


def outcome_is(outcome: str) -> None:
    """Say what came of the operation under way, if there is one."""
    if (operation := current.get()) is not None:
        operation.outcome = outcome


def fields(outcome: str, uuid: str) -> dict[str, Any]:
    """Return the fields of a log line on a vCon, in the operation under way."""
    operation = current.get()
    known = operation.fields(outcome) if operation else {}
    return {**known, "outcome": outcome, "uuid": uuid}


def _text(error: BaseException) -> str:
    """Return what a log may have of an error: our own texts hold no content, others may."""
    return str(error) if isinstance(error, StorageError) else type(error).__name__
