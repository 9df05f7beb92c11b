"""What happens to a save that can't be made: it is spooled, and replayed when Supabase is back."""

import logging
import secrets
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from .breaker import Breaker
from .document import Document, dumps
from .errors import InvalidVconError, RefusedError, UnavailableError
from .freshness import Freshness
from .options import Options
from .spool import Record, Spool
from .stats import Stats

if TYPE_CHECKING:
    from redis import Redis

logger = logging.getLogger(__name__)

# What says that Supabase would refuse any vCon (key, rights, migration, schema): no reason to put
# the next one apart as well.
_ABOUT_EVERYTHING = frozenset({0, 401, 403, 404, 406})


class Outlook(NamedTuple):
    """What the spool said before a change.

    Attributes:
        number: of the vCon's record, if it is spooled.
        waiting: how many records wait.
        failed: whether the vCon is set aside.
        answered: whether the spool answered at all.
    """

    number: int | None = None
    waiting: int = 0
    failed: bool = False
    answered: bool = True

    @property
    def touch(self) -> bool:
        """Whether the change has to count as one even where the database sees no difference.

        Then what is spooled, or may be, is left out when it is replayed, or is replayed just now.
        """
        return self.number is not None or self.failed or not self.answered


class Spooling:
    """The spool as the storage uses it. Without a Redis in the options there is none.

    Args:
        redis: the client for the spool, or None for no spool.
        options: the storage's.
        breaker: the cache's, where the spool is in the same Redis; None to have one of its own.
        freshness: knows the database's clock.
        replay: saves a record, unless something newer was saved, and removes it from the spool.
        stats: where spooled and replayed saves are counted.
    """

    def __init__(
        self,
        redis: "Redis | None",
        breaker: Breaker | None,
        options: Options,
        freshness: Freshness,
        replay: Callable[[Record], None],
        stats: Stats,
    ) -> None:
        self._options = options
        self._freshness = freshness
        self._replay = replay
        self._stats = stats
        self.spool: Spool | None = None
        if redis is not None:
            self.spool = Spool(
                redis,
                prefix=options.key_prefix,
                max_count=options.spool_max_count,
                max_bytes=options.spool_max_bytes,
            )
            self._breaker = breaker or Breaker(self._probe, lambda _: True)
        self.forget()

    def forget(self) -> None:
        """Start afresh in a forked child."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        if self.spool:
            self._breaker.forget()

    def outlook(self, uuid: str) -> Outlook:
        """Ask before a change; the answer goes to `changed`."""
        from redis import RedisError  # noqa: PLC0415

        if self.spool is None:
            return Outlook()
        if self._breaker.is_open:
            return Outlook(answered=False)
        try:
            return Outlook(*self.spool.peek(uuid))
        except RedisError as error:
            self._breaker.trip(error)
            return Outlook(answered=False)

    def changed(self, uuid: str, outlook: Outlook) -> bool:
        """Drop what was spooled before a change that succeeded.

        Returns:
            Whether the spool is in order. If not, the database has to be told to leave out what
            was spooled before.
        """
        from redis import RedisError  # noqa: PLC0415

        if self.spool is None or not outlook.answered:
            return True  # told with the change itself
        try:
            if outlook.number is not None:
                self.spool.remove(uuid, outlook.number)
            if outlook.failed:
                self.spool.drop_failure(uuid)
        except RedisError as error:
            self._breaker.trip(error)
            return False
        if outlook.waiting > (outlook.number is not None):
            self.start()
        return True

    def find(self, uuid: str) -> Record | None:
        """Return the spooled version of a vCon, if there is one and the spool answers."""
        from redis import RedisError  # noqa: PLC0415

        if self.spool is None or self._breaker.is_open:
            return None
        try:
            return self.spool.read(uuid)
        except RedisError as error:
            self._breaker.trip(error)
            return None

    def keep(
        self,
        uuid: str,
        document: Document,
        began: float,
        error: UnavailableError,
        *,
        done: bool = True,
    ) -> None:
        """Spool a save that failed for a passing reason; return only if it is safely there.

        Args:
            uuid: the vCon's.
            document: the vCon.
            began: when its save began (time.monotonic()).
            error: why it failed.
            done: whether the save is done with that, or readers may have an older version.

        Raises:
            UnavailableError: it is not in the spool, it is not done with that, or `spool_raises`
                is set; the text says which.
        """
        from redis import RedisError  # noqa: PLC0415

        if self.spool is None:
            raise error
        # The save took place somewhere between its begin and now. The middle is as far as can be
        # from what came before and after, which is what errors of the clock eat into.
        not_after = self._freshness.now() - (time.monotonic() - began) / 2
        try:
            full = self.spool.put(uuid, dumps(document).decode(), not_after)
        except RedisError as failure:
            self._breaker.trip(failure)
            raise _also(error, f"the spool did not take it ({type(failure).__name__})") from error
        if full:
            self._stats.count("spool_full")
            option = f"spool_max_{full}"
            raise _also(error, f"the spool is full (option {option}); it is lost here") from error
        self._stats.count("spooled")
        logger.warning("vCon %s is spooled until Supabase is back: %s", uuid, error)
        if self._options.spool_raises or not done:
            raise _also(error, "it is in the spool and will be replayed") from error

    def set_aside(self, uuid: str, document: Document, error: Exception) -> None:
        """Keep a save that was refused, for an operator to look at, if there is room."""
        from redis import RedisError  # noqa: PLC0415

        if self.spool is None:
            return
        record = Record(uuid, 0, self._freshness.now(), time.time(), dumps(document).decode())
        try:
            if not self.spool.keep_failed(record, str(error)):
                logger.error("vCon %s was refused, and there is no room to set it aside", uuid)
        except RedisError as failure:
            self._breaker.trip(failure)

    def start(self) -> None:
        """Replay in the background, if that is not under way."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._stop.clear()
                self._thread = threading.Thread(
                    target=self._drain_quietly, name="supabase-storage-replay", daemon=True
                )
                self._thread.start()

    def replay(self, done: Callable[[str], None] | None = None) -> dict[str, int]:
        """Replay for a caller, also after `close`. Otherwise as `drain`."""
        self._stop.clear()
        return self.drain(done)

    def drain(self, done: Callable[[str], None] | None = None) -> dict[str, int]:
        """Replay what waits, in its order, until nothing waits or Supabase is away again.

        Args:
            done: called with ``replayed`` or ``failed`` after each.

        Returns:
            How many were ``replayed``, put apart as ``failed``, and are still ``waiting``.

        Raises:
            UnavailableError: Supabase or the spool's Redis is away.
            RefusedError: Supabase would refuse any vCon.
        """
        from redis import RedisError  # noqa: PLC0415

        counts = {"replayed": 0, "failed": 0, "waiting": 0}
        if self.spool is None:
            return counts
        owner = secrets.token_hex(8)  # of this call: two threads are two replayers
        # Longer than one replay can take: a worker that is killed is missed for that long.
        lease = 2 * self._options.total_timeout + 10
        try:
            while not self._stop.is_set() and self.spool.own(owner, lease):
                if (record := self.spool.next()) is None:
                    break
                try:
                    self._replay(record)
                except (InvalidVconError, RefusedError) as error:
                    if isinstance(error, RefusedError) and error.status in _ABOUT_EVERYTHING:
                        raise
                    logger.error(  # noqa: TRY400  it says it all; a traceback per vCon doesn't
                        "vCon %s can't be replayed and is set aside: %s", record.uuid, error
                    )
                    self.spool.fail(record, str(error))
                    self._stats.count("replay_failed")
                    outcome = "failed"
                else:
                    self._stats.count("replayed")
                    outcome = "replayed"
                counts[outcome] += 1
                if done is not None:
                    done(outcome)
            counts["waiting"] = self.spool.size()["waiting"]
        except RedisError as error:
            raise UnavailableError(f"the spool does not answer: {type(error).__name__}") from error
        finally:
            self._give_back(owner)
        return counts

    def close(self) -> None:
        """End the threads, and wait for them: they use what is closed next."""
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(self._options.total_timeout)
        if self.spool:
            self._breaker.close()

    def _give_back(self, owner: str) -> None:
        from redis import RedisError  # noqa: PLC0415

        if self.spool:
            try:
                self.spool.own(owner, 0)
            except RedisError as error:
                logger.debug("the right to replay ends by itself: %s", type(error).__name__)

    def _drain_quietly(self) -> None:
        try:
            counts = self.drain()
        except (UnavailableError, RefusedError) as error:
            logger.warning("replay stops for now: %s", error)
        else:
            if counts["replayed"]:
                logger.warning("replayed %d spooled vCons", counts["replayed"])

    def _probe(self) -> None:
        if self.spool:
            self.spool.size()


def _also(error: UnavailableError, text: str) -> UnavailableError:
    return UnavailableError(
        f"{error}; {text}", may_have_happened=error.may_have_happened, away=error.away
    )
