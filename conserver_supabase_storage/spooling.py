"""What happens to a save that can't be made: it is spooled until Supabase is back."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from .breaker import Breaker
from .document import Document, dumps
from .errors import UnavailableError
from .freshness import Freshness
from .options import Options
from .replaying import NOTHING_REPLAYED, Replayer
from .spool import Record, Spool
from .telemetry import SpoolFigures, Telemetry, fields, outcome_is

if TYPE_CHECKING:
    from redis import Redis

logger = logging.getLogger(__name__)

# Seconds that figures for monitoring are good for.
_FIGURES = 5.0


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
        telemetry: where spooled and replayed saves are counted.
    """

    def __init__(
        self,
        redis: "Redis | None",
        breaker: Breaker | None,
        options: Options,
        freshness: Freshness,
        replay: Callable[[Record], None],
        telemetry: Telemetry,
    ) -> None:
        self._options = options
        self._freshness = freshness
        self._telemetry = telemetry
        self.spool: Spool | None = None
        self._replayer: Replayer | None = None
        if redis is not None:
            self.spool = Spool(
                redis,
                prefix=options.key_prefix,
                max_count=options.spool_max_count,
                max_bytes=options.spool_max_bytes,
            )
            self._breaker = breaker or Breaker(
                self._probe, lambda _: True, "spool", telemetry.breakers_changed
            )
            self._replayer = Replayer(self.spool, options.total_timeout, replay, telemetry)
            watched = telemetry.watched
            watched.breakers["spool"] = lambda: self._breaker.is_open
            watched.spool = options.spool_url or options.redis_url, options.key_prefix
            watched.figures = self.figures
        self.forget()

    def forget(self) -> None:
        """Start afresh in a forked child."""
        self._asked = float("-inf")
        self._figures: SpoolFigures | None = None
        if self.spool and self._replayer:
            self._replayer.forget()
            self._breaker.forget()

    def outlook(self, uuid: str) -> Outlook:
        """Ask before a change; the answer goes to `changed`."""
        return self.outlooks([uuid])[0]

    def outlooks(self, uuids: Sequence[str]) -> list[Outlook]:
        """Ask before changes; as `outlook`."""
        from redis import RedisError  # noqa: PLC0415

        if self.spool is None:
            return [Outlook()] * len(uuids)
        if not self._breaker.is_open:
            try:
                return [Outlook(*told) for told in self.spool.peek(uuids)]
            except RedisError as error:
                self._breaker.trip(error)
        return [Outlook(answered=False)] * len(uuids)

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
            self._telemetry.spool("spool_full")
            option = f"spool_max_{full}"
            raise _also(error, f"the spool is full (option {option}); it is lost here") from error
        self._telemetry.spool("spooled")
        outcome_is("spooled")
        logger.warning(
            "vCon %s is spooled until Supabase is back: %s",
            uuid,
            error,
            extra=fields("spooled", uuid),
        )
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
                logger.error(
                    "vCon %s was refused, and there is no room to set it aside",
                    uuid,
                    extra=fields("refused", uuid),
                )
        except RedisError as failure:
            self._breaker.trip(failure)

    def replay(self, done: Callable[[str], None] | None = None) -> dict[str, int]:
        """Replay for a caller, as `Replayer.replay`."""
        return self._replayer.replay(done) if self._replayer else dict(NOTHING_REPLAYED)

    def start(self) -> None:
        """Replay in the background, if that is not under way."""
        if self._replayer:
            self._replayer.start()

    def figures(self) -> SpoolFigures | None:
        """Return how the spool is, asked every few seconds at most; None if it does not answer."""
        if time.monotonic() - self._asked >= _FIGURES:
            self._asked = time.monotonic()
            self._figures = self._ask_figures()
        return self._figures

    def close(self) -> None:
        """End the threads, and wait for them: they use what is closed next."""
        if self.spool and self._replayer:
            self._replayer.close()
            self._breaker.close()

    def _ask_figures(self) -> SpoolFigures | None:
        from redis import RedisError  # noqa: PLC0415

        if self.spool is None or self._breaker.is_open:
            return None
        try:
            waiting = self.spool.size()["waiting"]
            oldest = self.spool.oldest() if waiting else None
        except RedisError:
            return None  # the next save will find out, and say so
        age = 0.0 if oldest is None else max(0.0, time.time() - oldest)
        return SpoolFigures(waiting, age)

    def _probe(self) -> None:
        if self.spool:
            self.spool.size()


def _also(error: UnavailableError, text: str) -> UnavailableError:
    return UnavailableError(
        f"{error}; {text}", may_have_happened=error.may_have_happened, away=error.away
    )
