"""The cache as the storage uses it: never stale, and never in the way (docs/cache.md)."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import batched
from typing import TYPE_CHECKING, Any, TypeVar

from .breaker import Breaker
from .cache import Cache, token
from .database import Database
from .document import dumps
from .entry import Entry
from .errors import StorageError, UnavailableError
from .freshness import LATE, Doubt, Freshness
from .options import Options
from .telemetry import Telemetry

if TYPE_CHECKING:
    from redis import Redis

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Redis tells its uptime in whole seconds.
_UPTIME_ERROR = 1.0

# How many answers in a row have to be slow for Redis to count as failing.
_SLOW = 2

# How many changes of an outage are remembered; the gates of others open by their deadline.
_UNHEARD = 10_000

# Changes of one request to Redis: it is answered about as fast as one of a single change.
_TOGETHER = 25


class Change:
    """A change of one vCon under way; say what it led to with `done`."""

    def __init__(self, uuid: str, max_bytes: int) -> None:
        self._uuid = uuid
        self._max_bytes = max_bytes
        self.entry: Entry | None = None
        self.may_come = False

    @cached_property
    def name(self) -> tuple[str, str]:
        """What a gate knows it by; made when a gate is asked for, as without a cache none is."""
        return self._uuid, token()

    def failed(self, error: BaseException) -> None:
        """Tell that it failed. Only our own errors say that it surely is not carried out."""
        if isinstance(error, UnavailableError):
            self.may_come = error.may_have_happened
        else:
            self.may_come = not isinstance(error, StorageError)

    def done(self, answer: dict[str, Any], rows: bytes) -> None:
        """Tell what the database answered (revision and the cache's state), and the new rows."""
        if not answer["off"] and len(rows) <= self._max_bytes:
            self.entry = Entry(answer["revision"], answer["episode"], rows)


class CoherentCache:
    """Redis with all that keeps it from ever answering with an old version.

    Without a Redis in the options it does nothing, at no cost.
    """

    def __init__(
        self,
        redis: "Redis | None",
        options: Options,
        database: Database,
        freshness: Freshness,
        telemetry: Telemetry,
    ) -> None:
        self._freshness = freshness
        self._span = options.total_timeout
        self._max_bytes = options.cache_max_bytes
        self._stale_if_error = options.stale_if_error
        self._telemetry = telemetry
        self._database = database
        self._slow = 0
        # Changes whose begin or complete Redis did not confirm: it may have heard them all the
        # same, or hear them yet, and would keep their gates shut for long.
        self._unheard: deque[tuple[str, str]] = deque(maxlen=_UNHEARD)
        self._redis_timeout = options.redis_timeout
        self._cache: Cache | None = None
        if redis is not None:
            from redis import RedisError  # noqa: PLC0415  it is loaded, with the client

            self._redis_error = RedisError
            self._cache = Cache(
                redis,
                prefix=options.key_prefix,
                ttl=options.cache_ttl,
                span=options.total_timeout + LATE,
                compress_bytes=options.cache_compress_bytes,
                memory_bytes=options.memory_bytes,
                shared=options.shares_cache,
            )
            self.breaker = Breaker(self._probe, self._tick, "cache", telemetry.breakers_changed)
            telemetry.watched.breakers["cache"] = lambda: self.breaker.is_open
        self._doubt = Doubt(self._tell, options.total_timeout)

    @property
    def is_on(self) -> bool:
        """Whether there is a cache at all."""
        return self._cache is not None

    def look(self, uuid: str) -> tuple[bytes | None, Entry | None]:
        """Ask the cache: (rows that may be returned, the entry that is there)."""
        if self._cache is None:
            return None, None
        entry = self._ask(lambda cache: cache.read(uuid))
        if entry is None:
            self._telemetry.cache("bypass" if self.breaker.is_open else "miss")
            return None, None
        state = self._freshness.state()
        if state is None or state.off or state.episode != entry.episode:
            self._telemetry.cache("compare")
            return None, entry
        self._telemetry.cache("hit")
        return entry.rows, entry

    def stands_in(self, entry: Entry) -> bool:
        """Return whether an entry may be returned because the database can't be reached.

        Not if Redis was started since the database last answered: while it was away, a writer may
        have changed the vCon, and told only the database.
        """
        age = self._freshness.age(entry)
        if age >= self._stale_if_error:
            return False
        uptime = self._ask(lambda cache: cache.uptime())
        return uptime is not None and uptime > age + _UPTIME_ERROR

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
        if not ticket or answer["off"] or answer["revision"] is None:
            return
        if len(rows) <= self._max_bytes:
            entry = Entry(answer["revision"], answer["episode"], rows)
            accepted = self._ask(lambda cache: cache.fill(uuid, ticket, entry))
            self._telemetry.cache("fill" if accepted else "refused_fill")

    @contextmanager
    def change(self, uuid: str, until: float) -> Iterator[Change]:
        """Surround a change of one vCon; as `changes`."""
        with self.changes([uuid], until) as [change]:
            yield change

    @contextmanager
    def changes(self, uuids: Sequence[str], until: float) -> Iterator[list[Change]]:
        """Surround a request to the database that changes vCons, and gives up at `until`.

        Raises:
            StorageError: Redis is away, and the database can't be told so.
        """
        changes = [Change(uuid, self._max_bytes) for uuid in uuids]
        if self._cache is None:
            yield changes
            return
        sent = not self.breaker.is_open
        if not sent or not self._begin(changes):
            if self._cache is None:  # found out just now
                yield changes
                return
            if sent:
                self._unheard += (change.name for change in changes)
            with self._doubted(until, changes):
                yield changes
            return
        try:
            yield changes
        except BaseException as error:
            for change in changes:
                change.failed(error)
            raise
        finally:
            unheard = self._complete(changes)
        if unheard:
            self._unheard += (change.name for change in unheard)
            # Redis failed after the begin. If it lost the gates in a restart, a reader may have
            # filled an older version in between.
            with self._doubted(time.monotonic() + self._span, unheard):
                pass

    def _begin(self, changes: Sequence[Change]) -> bool:
        """Announce changes; return whether Redis heard of all."""

        def heard(some: Sequence[Change]) -> bool | None:
            told = [each.name for each in some]
            return self._ask(lambda cache: cache.begin(told))

        return all(map(heard, batched(changes, _TOGETHER)))

    def _complete(self, changes: Sequence[Change]) -> list[Change]:
        """Tell what came of changes; return those that Redis did not hear of.

        What may be carried out yet keeps its gate shut until that can't be any more.
        """

        def heard(some: Sequence[Change]) -> bool | None:
            told = [(*each.name, each.entry) for each in some]
            return self._ask(lambda cache: cache.complete(told))

        certain = [each for each in changes if not each.may_come]
        return [each for some in batched(certain, _TOGETHER) if not heard(some) for each in some]

    def status(self) -> str:
        """Return ``off``, ``ok``, or what is wrong with Redis now."""
        if self._cache is None:
            return "off"
        try:
            self._probe()
        except self._redis_error as error:
            return f"Redis does not answer as it should: {type(error).__name__}"
        return "ok"

    def clear(self) -> int:
        """Throw away all entries; return how many there were."""
        return self._ask(lambda cache: cache.clear()) or 0

    def close(self) -> None:
        """End the thread that waits for Redis, and the doubt."""
        if self._cache:
            self.breaker.close()
            try:
                self._doubt.leave(time.monotonic() + 1)
            except StorageError:
                logger.debug("the doubt ends by itself")

    def forget(self) -> None:
        """Start afresh in a forked child."""
        if self._cache:
            self._cache.forget()
            self.breaker.forget()
        self._doubt.forget()

    @contextmanager
    def _doubted(self, until: float, changes: Sequence[Change]) -> Iterator[None]:
        """Surround changes that can't be announced in Redis."""
        self._doubt.enter(until)
        self.breaker.watch()
        try:
            yield
        except BaseException as error:
            for change in changes:
                change.failed(error)
            raise
        finally:
            self._doubt.changed(surely=not any(change.may_come for change in changes))
        self._doubt.settle()

    def _ask(self, call: Callable[[Cache], T]) -> T | None:
        """Call the cache; None if there is none, or it fails, or failed just now."""
        if self._cache is None or self.breaker.is_open:
            return None
        began = time.monotonic()
        try:
            answer = call(self._cache)
        except self._redis_error as error:
            self._telemetry.cache("error")
            if "unknown command" in str(error).lower():
                # No process that shares this Redis can have anything in it, so there is nothing
                # to keep in step.
                logger.warning("cache: this Redis runs no Lua scripts: going on without a cache")
                self._cache = None
                return None
            self.breaker.trip(error)
            return None
        self._watch_speed(time.monotonic() - began)
        return answer

    def _watch_speed(self, seconds: float) -> None:
        """Go on without a Redis that takes most of its timeout for every answer."""
        from redis import TimeoutError as RedisTimeoutError  # noqa: PLC0415

        self._slow = self._slow + 1 if seconds > self._redis_timeout / 2 else 0
        if self._slow >= _SLOW:
            self.breaker.trip(RedisTimeoutError("slow"))

    def _probe(self) -> None:
        """Raise unless Redis does what a change needs of it, and in good time."""
        from redis import TimeoutError as RedisTimeoutError  # noqa: PLC0415

        if self._cache:
            began = time.monotonic()
            self._cache.probe()
            if time.monotonic() - began > self._redis_timeout:
                raise RedisTimeoutError("slow")
            self._slow = 0

    def _tick(self, is_open: bool) -> bool:
        """Leave the doubt when Redis is back, or when nothing was changed for a while."""
        if is_open and not self._doubt.is_idle():
            return False
        while self._unheard and not self.breaker.is_open:
            self._open_gate(self._unheard.popleft())
        try:
            return self._doubt.leave()
        except StorageError:
            return False

    def _open_gate(self, change: tuple[str, str]) -> None:
        """Open the gate that a change of this name may have shut, or left shut."""
        self._ask(lambda cache: cache.complete([(*change, None)]))

    def _tell(self, writer: str, seconds: float, until: float | None) -> None:
        asked = time.monotonic()
        arguments = {"p_writer": dumps(writer), "p_seconds": dumps(seconds)}
        answer = self._database.ask(
            "vcon_storage_doubt_v1", arguments, until=until, clock=self._freshness.now
        )
        self._freshness.note(asked, answer)
