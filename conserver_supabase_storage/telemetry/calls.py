"""Calls to Redis and PostgREST: spans below that of their operation, bytes and retries.

A call outside of an operation has no span: those of the threads that index and that look whether
Redis is back, and of what an operator does (health, backfill).
"""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING

from .names import BYTES, RETRIES
from .operation import current
from .sinks import chosen

if TYPE_CHECKING:
    from tenacity import RetryCallState

# OpenTelemetry's name for it.
_STATUS = "http.response.status_code"


def redis_call[**P, T](method: Callable[P, T]) -> Callable[P, T]:
    """Give calls of a method that asks Redis a span, named after the method."""
    name = method.__name__

    @wraps(method)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        operation = current.get()
        if operation is None or operation.span is None:
            return method(*args, **kwargs)
        if (span := operation.call("redis", name)) is None:
            return method(*args, **kwargs)
        with span:
            return method(*args, **kwargs)

    return called


def postgrest_call[**P, T](method: Callable[P, T]) -> Callable[P, T]:
    """Give calls of `Database.call` a span, named after the function in the database."""

    @wraps(method)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        operation = current.get()
        if operation is None:
            return method(*args, **kwargs)
        before = operation.attempts
        operation.attempts += 1
        if (span := operation.call("postgrest", str(args[1]))) is None:
            return method(*args, **kwargs)
        operation.asking = span
        with span:
            try:
                return method(*args, **kwargs)
            finally:
                operation.asking = None
                span.known["attempts"] = operation.attempts - before

    return called


def answered(status: int, *, sent: int, received: int) -> None:
    """Note an answer of Supabase: its HTTP status, and the bytes of both bodies on the wire."""
    chosen().add(BYTES, "sent", sent)
    chosen().add(BYTES, "received", received)
    operation = current.get()
    if operation is not None and operation.asking is not None:
        operation.asking.known[_STATUS] = status


def retried(state: "RetryCallState") -> None:
    """Note that an attempt failed and another one follows (tenacity's ``before_sleep``)."""
    chosen().add(RETRIES)
    operation = current.get()
    if operation is None:
        return
    operation.attempts += 1
    if (span := operation.asking) is None:
        return
    error = state.outcome.exception() if state.outcome else None
    reason: dict[str, str | int] = {"attempt": state.attempt_number}
    status = span.known.pop(_STATUS, None)
    if error is not None and error.__cause__ is not None:  # there was no answer
        reason["error.type"] = type(error.__cause__).__name__
    elif status is not None:
        reason[_STATUS] = status
    span.event("retry", reason)
