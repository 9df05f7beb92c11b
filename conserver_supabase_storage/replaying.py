"""Replays spooled saves, for a caller or in the background."""

import logging
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress

from .errors import InvalidVconError, RefusedError, UnavailableError
from .spool import Record, Spool
from .telemetry import Telemetry, fields, outcome_of

logger = logging.getLogger(__name__)

# What says that Supabase would refuse any vCon (key, rights, migration, schema): no reason to put
# the next one apart as well.
_ABOUT_EVERYTHING = frozenset({0, 401, 403, 404, 406})

NOTHING_REPLAYED = {"replayed": 0, "failed": 0, "waiting": 0}


class Replayer:
    """Replays one spool.

    Args:
        spool: the spool.
        timeout: seconds that one replay may take.
        replay: saves a record, unless something newer was saved, and removes it from the spool.
        telemetry: where replays are counted.
    """

    def __init__(
        self,
        spool: Spool,
        timeout: float,
        replay: Callable[[Record], None],
        telemetry: Telemetry,
    ) -> None:
        self._spool = spool
        self._timeout = timeout
        self._replay = replay
        self._telemetry = telemetry
        self.forget()

    def forget(self) -> None:
        """Start afresh in a forked child."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

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

        owner = secrets.token_hex(8)  # of this call: two threads are two replayers
        # Longer than one replay can take: a worker that is killed is missed for that long.
        lease = 2 * self._timeout + 10
        with self._telemetry.operation("replay") as operation:
            operation.counts = counts = dict(NOTHING_REPLAYED)
            try:
                while not self._stop.is_set() and self._spool.own(owner, lease):
                    if (record := self._spool.next()) is None:
                        break
                    outcome = "replayed" if self._replayed(record) else "failed"
                    counts[outcome] += 1
                    if done is not None:
                        done(outcome)
                counts["waiting"] = self._spool.size()["waiting"]
            except RedisError as error:
                what = type(error).__name__
                raise UnavailableError(f"the spool does not answer: {what}") from error
            finally:
                self._give_back(owner)
        return counts

    def close(self) -> None:
        """End the thread, and wait for it: it uses what is closed next."""
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(self._timeout)

    def _replayed(self, record: Record) -> bool:
        """Replay a record; return False if it is set aside instead."""
        try:
            self._replay(record)
        except (InvalidVconError, RefusedError) as error:
            if isinstance(error, RefusedError) and error.status in _ABOUT_EVERYTHING:
                raise
            logger.error(  # noqa: TRY400  it says it all; a traceback per vCon doesn't
                "vCon %s can't be replayed and is set aside: %s",
                record.uuid,
                error,
                extra=fields(outcome_of(error), record.uuid),
            )
            self._spool.fail(record, str(error))
            self._telemetry.spool("replay_failed")
            return False
        self._telemetry.spool("replayed")
        return True

    def _give_back(self, owner: str) -> None:
        from redis import RedisError  # noqa: PLC0415

        try:
            self._spool.own(owner, 0)
        except RedisError as error:
            logger.debug("the right to replay ends by itself: %s", type(error).__name__)

    def _drain_quietly(self) -> None:
        with suppress(UnavailableError, RefusedError):  # the operation's line in the log says it
            self.drain()
