"""What is counted: every name, and every value that a label can have. Nothing is made from data."""

from typing import NamedTuple

OPERATIONS = ("save", "save_many", "get", "delete", "search", "replay")
OUTCOMES = ("ok", "not_found", "spooled", "invalid", "refused", "unavailable", "error")
CACHE_RESULTS = ("hit", "compare", "miss", "bypass", "fill", "refused_fill", "error")
SPOOL_EVENTS = ("spooled", "spool_full", "replayed", "replay_failed")
BREAKERS = ("cache", "spool")
DIRECTIONS = ("sent", "received")

# What all of OpenTelemetry's names begin with, and all of Prometheus'.
OTEL = "conserver.storage.supabase."
PROMETHEUS = "supabase_storage_"

# Seconds. A save on a quiet machine takes some milliseconds; total_timeout is 10 s by default.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metric(NamedTuple):
    """One metric.

    Attributes:
        otel: its name in OpenTelemetry, after `OTEL`.
        prometheus: its name in Prometheus, after `PROMETHEUS`; a counter's without ``_total``.
            Empty where it is not counted by workers.
        unit: OpenTelemetry's.
        text: what it is.
        labels: its labels, each with all the values that it can have.
    """

    otel: str
    prometheus: str
    unit: str
    text: str
    labels: dict[str, tuple[str, ...]]


DURATION = Metric(
    "operation.duration",
    "operation_duration_seconds",
    "s",
    "How long operations took",
    {"operation": OPERATIONS, "outcome": OUTCOMES},
)
CACHE = Metric("cache", "cache", "1", "What the cache did", {"result": CACHE_RESULTS})
RETRIES = Metric("retries", "retries", "1", "Requests to Supabase that were tried again", {})
SPOOL = Metric("spool.events", "spool_events", "1", "What the spool did", {"event": SPOOL_EVENTS})
BYTES = Metric("bytes", "bytes", "By", "Bodies exchanged with Supabase", {"direction": DIRECTIONS})
BREAKER = Metric(
    "breaker.open", "breaker_open", "1", "Whether Redis is not asked now", {"what": BREAKERS}
)
WAITING = Metric("spool.waiting", "", "", "Saves that wait in the spool", {})
AGE = Metric("spool.age", "", "s", "How long the first of them has waited", {})

COUNTERS = (CACHE, RETRIES, SPOOL, BYTES)
METRICS = (DURATION, *COUNTERS, BREAKER, WAITING, AGE)
