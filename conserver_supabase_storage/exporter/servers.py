"""How Supabase, Redis and the spool are, asked when somebody scrapes."""

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ..database import Database
from ..freshness import Freshness
from ..functions import Functions
from ..migrations import migrations
from ..options import Options
from ..redis_client import client
from ..spool import Spool
from .source import Source

if TYPE_CHECKING:
    from redis import Redis

# Seconds that a scrape waits for the servers. Prometheus itself waits 10 by default.
LIMIT = 5.0

type Answer = dict[str, Any]


class ServersCollector(Collector):
    """The figures of a storage's servers.

    What a server does not tell in time is left out of that scrape; `supabase_storage_up` and
    `supabase_storage_redis_up` are always there.

    Args:
        options: the storage's.
        limit: seconds that a scrape waits for the servers.

    Raises:
        ConfigurationError: a Redis URL can't be used. Nothing is sent before the first scrape.
    """

    def __init__(self, options: Options, *, limit: float = LIMIT) -> None:
        self._limit = limit
        # A little less, so that the scrape which waited for it also counts what went wrong.
        seconds = min(options.total_timeout, 0.9 * limit)
        self._options = options = options.model_copy(update={"total_timeout": seconds})
        self._database = Database(options)
        functions = Functions(options, self._database, Freshness())
        self._versions = [migration.version for migration in migrations()]
        self._version = Source("supabase", functions.version)
        self._figures = Source("figures", functions.figures)
        self._redis: dict[str, Source[Answer]] = {}
        timeout = options.redis_timeout
        cache = client("redis_url", options.redis_url, timeout)
        spool = client("spool_url", options.spool_url or options.redis_url, timeout)
        if cache is not None:
            self._redis["cache"] = Source("cache", lambda: _info(cache))
        if spool is not None:
            self._redis["spool"] = Source("spool", lambda: self._spool(spool))

    @property
    def _sources(self) -> "list[Source[Any]]":
        return [self._version, self._figures, *self._redis.values()]

    def collect(self) -> Iterator[Metric]:
        """Ask all servers at once, and yield what they said in time."""
        began = time.monotonic()
        for source in self._sources:
            source.begin()
        until = began + self._limit
        version = self._version.answer(until)
        figures = self._figures.answer(until)
        redis = {what: source.answer(until) for what, source in self._redis.items()}
        seconds = time.monotonic() - began

        yield _gauge("up", "Whether Supabase answers, and does not refuse.", version is not None)
        if version is not None:
            yield from self._of_schema(version)
        if figures is not None:
            yield from _of_database(figures)
        yield from _of_redis(redis)
        if spool := redis.get("spool"):
            yield from self._of_spool(spool)
        yield _gauge(
            "scrape_duration_seconds", "How long the servers took for this scrape.", seconds
        )
        yield _counters(
            "scrape_errors",
            "How often a server did not answer the exporter as it should.",
            "source",
            {source.name: source.errors for source in self._sources},
        )

    def close(self) -> None:
        """Let the threads end, and close the connections to Supabase."""
        for source in self._sources:
            source.close()
        self._database.close()

    def _spool(self, redis: "Redis") -> Answer:
        o = self._options
        spool = Spool(
            redis,
            prefix=o.key_prefix,
            max_count=o.spool_max_count,
            max_bytes=o.spool_max_bytes,
        )
        return {**_info(redis), **spool.size(), "oldest": spool.oldest()}

    def _of_schema(self, version: str) -> Iterator[Metric]:
        yield _gauges(
            "schema_info", "The newest migration of the database.", "version", {version: 1}
        )
        behind = sum(known > version for known in self._versions)
        text = "Migrations of this release that the database lacks."
        yield _gauge("migrations_behind", text, behind)

    def _of_spool(self, found: Answer) -> Iterator[Metric]:
        oldest = found["oldest"]
        age = 0.0 if oldest is None else max(0.0, time.time() - oldest)
        yield _gauge("spool_waiting", "Saves that wait in the spool.", found["waiting"])
        yield _gauge("spool_failed", "Saves that are set aside: refused for good.", found["failed"])
        yield _gauge("spool_bytes", "Bytes of what waits and is set aside.", found["bytes"])
        yield _gauge(
            "spool_oldest_age_seconds", "How long the oldest of the waiting saves has waited.", age
        )
        yield _gauge(
            "spool_max_waiting", "The option spool_max_count.", self._options.spool_max_count
        )
        yield _gauge(
            "spool_max_bytes", "The option spool_max_bytes.", self._options.spool_max_bytes
        )


def _info(redis: "Redis") -> Answer:
    info = redis.info()
    # Services that are like Redis don't tell all of it.
    return {
        "memory": info.get("used_memory"),
        "max_memory": info.get("maxmemory"),
        "evicted": info.get("evicted_keys"),
    }


def _of_redis(found: dict[str, Answer | None]) -> Iterator[Metric]:
    if not found:
        return
    up = {what: answer is not None for what, answer in found.items()}
    yield _gauges("redis_up", "Whether the Redis of the cache or spool answers.", "what", up)

    def values(name: str) -> dict[str, float]:
        told = {what: (answer or {}).get(name) for what, answer in found.items()}
        return {what: value for what, value in told.items() if value is not None}

    yield _gauges("redis_memory_bytes", "Bytes that Redis uses.", "what", values("memory"))
    yield _gauges(
        "redis_max_memory_bytes", "Redis' maxmemory; 0 for none.", "what", values("max_memory")
    )
    yield _counters(
        "redis_evicted", "Keys that Redis threw away to have room.", "what", values("evicted")
    )


def _of_database(found: Answer) -> Iterator[Metric]:
    for metric, name, text in (
        ("table_rows", "rows", "Rows of a table, as Postgres estimates them."),
        ("table_dead_rows", "dead", "Rows that vacuum has not removed yet, an estimate."),
        ("table_bytes", "bytes", "Bytes of a table with its indexes and its large values."),
    ):
        values = {table: row[name] for table, row in found["tables"].items()}
        yield _gauges(metric, text, "table", values)
    yield _gauge(
        "search_pending",
        "Saves that wait for the search index, counted up to 100,000.",
        found["pending"],
    )
    yield _gauge(
        "doubts", "Writers without Redis, for whose sake nobody reads the cache.", found["doubts"]
    )
    yield _gauge(
        "episode",
        "The cache's episode: what was cached in an older one is asked again.",
        found["episode"],
    )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"supabase_storage_{name}", text, value=value)


def _gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"supabase_storage_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _counters(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(f"supabase_storage_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
