"""The cache as the storage uses it: never stale, and never in the way (docs/cache.md)."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from .breaker import Breaker
from .cache import Cache, Entry
from .database import Database
from .document import dumps
from .errors import StorageError, UnavailableError
from .freshness import LATE, Doubt, Freshness
from .options import Options

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Change:
    """A change of one vCon under way; say what it led to with `done`."""

    def __init__(self) -> None:
        self.entry: Entry | None = None

    def done(self, revision: int, state: dict[str, Any], rows: str | None) -> None:
        """Tell the revision that the database gave, the cache's state then, and the new rows."""
        if rows is not None and not state["off"]:
            self.entry = Entry(revision, state["episode"], rows.encode())


class CoherentCache:
    """Redis with all that keeps it from ever answering with an old version.

    Without a Redis in the options it does nothing, at no cost.
    """

    def __init__(self, options: Options, database: Database, freshness: Freshness) -> None:
        self._freshness = freshness
        self._database = database
        self._cache: Cache | None = None
        if options.redis_url:
            self._cache = Cache(
                options.redis_url.get_secret_value(),
                prefix=options.cache_prefix,
                ttl=options.cache_ttl,
                timeout=options.redis_timeout,
                span=options.total_timeout + LATE,
            )
            self._breaker = Breaker(self._cache.probe, self._recovered)
        self._doubt = Doubt(self._tell, options.total_timeout)

    @property
    def is_on(self) -> bool:
        """Whether there is a cache at all."""
        return self._cache is not None

    def look(self, uuid: str) -> tuple[bytes | None, Entry | None]:
        """Ask the cache: (rows that may be returned, the entry that is there)."""
        entry = self._ask(lambda cache: cache.read(uuid))
        if entry is None or (state := self._freshness.state()) is None:
            return None, entry
        usable = not state.off and state.episode == entry.episode
        return (entry.rows if usable else None), entry

    def ticket(self, uuid: str) -> str:
        """Announce that the database will be asked. Returns '' where a fill has no chance."""
        state = self._freshness.state()
        if state is not None and state.off:
            return ""
        return self._ask(lambda cache: cache.miss(uuid, None)) or ""

    def discard(self, uuid: str, entry: Entry) -> None:
        """Throw away an entry that the database does not confirm."""
        self._ask(lambda cache: cache.miss(uuid, entry))

    def fill(self, uuid: str, ticket: str, answer: dict[str, Any], rows: bytes) -> None:
        """Keep what the database answered after `ticket`."""
        if ticket and not answer["off"] and answer["revision"] is not None:
            entry = Entry(answer["revision"], answer["episode"], rows)
            self._ask(lambda cache: cache.fill(uuid, ticket, entry))

    @contextmanager
    def change(self, uuid: str, until: float) -> Iterator[Change]:
        """Surround a change of a vCon in the database, which gives up at `until`.

        Raises:
            StorageError: Redis is away, and the database can't be told so.
        """
        change = Change()
        if self._cache is None:
            yield change
            return
        writer = self._ask(lambda cache: cache.begin(uuid))
        if writer is None:
            with self._doubted(until):
                yield change
            return
        try:
            yield change
        except UnavailableError as error:
            # It may be carried out yet: the gate stays shut until that can't be any more.
            if not error.may_have_happened:
                self._ask(lambda cache: cache.complete(uuid, writer, None))
            raise
        except BaseException:
            self._ask(lambda cache: cache.complete(uuid, writer, None))
            raise
        self._ask(lambda cache: cache.complete(uuid, writer, change.entry))

    def status(self) -> str:
        """Return ``off``, ``ok``, or what is wrong with Redis now."""
        from redis import RedisError  # noqa: PLC0415

        if self._cache is None:
            return "off"
        try:
            self._cache.probe()
        except RedisError as error:
            return f"Redis does not answer as it should: {type(error).__name__}"
        return "ok"

    def close(self) -> None:
        """Close the connections and end the thread that waits for Redis."""
        if self._cache:
            self._breaker.close()
            self._cache.close()

    def forget(self) -> None:
        """Start afresh in a forked child."""
        if self._cache:
            self._breaker.forget()
        self._doubt.forget()

    @contextmanager
    def _doubted(self, until: float) -> Iterator[None]:
        """Surround a change that can't be announced in Redis."""
        self._doubt.enter(until)
        self._breaker.watch()
        surely = True
        try:
            yield
        except UnavailableError as error:
            surely = not error.may_have_happened
            raise
        finally:
            self._doubt.changed(surely=surely)
        self._doubt.settle()

    def _ask(self, call: Callable[[Cache], T]) -> T | None:
        """Call the cache; None if there is none, or it fails, or failed just now."""
        if self._cache is None or self._breaker.is_open:
            return None
        from redis import RedisError  # noqa: PLC0415

        try:
            return call(self._cache)
        except RedisError as error:
            self._breaker.trip(error)
            return None

    def _recovered(self) -> bool:
        try:
            return self._doubt.leave()
        except StorageError:
            return False

    def _tell(self, writer: str, seconds: float, until: float | None) -> None:
        asked = time.monotonic()
        arguments = dumps({"p_writer": writer, "p_seconds": seconds})
        answer = self._database.ask("vcon_storage_doubt_v1", arguments, until=until)
        self._freshness.note(asked, answer)
