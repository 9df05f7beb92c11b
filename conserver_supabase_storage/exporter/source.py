"""A server that is asked when somebody scrapes: not too often, and not waited for too long."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from ..errors import StorageError

logger = logging.getLogger(__name__)

# Seconds that an answer is good for, so that a second scraper costs the servers nothing.
KEPT = 5.0


class Source[T]:
    """A server, asked in a thread of its own and at most every KEPT seconds.

    A server that hangs holds up that one thread, and a scrape for no longer than it wants to wait.

    Args:
        name: of a fixed set, as the metrics and the log have it.
        ask: returns what is known of it; raises if it does not answer.

    Attributes:
        errors: how often it did not answer as it should.
    """

    def __init__(self, name: str, ask: Callable[[], T]) -> None:
        self.name = name
        self.errors = 0
        self._ask = ask
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"supabase-storage-{name}")
        self._asked = float("-inf")
        self._answer: Future[T | None] | None = None
        self._failing = False

    def begin(self) -> None:
        """Ask, unless that is under way or was done just now."""
        asking = self._answer is not None and not self._answer.done()
        if not asking and time.monotonic() - self._asked >= KEPT:
            self._asked = time.monotonic()
            self._answer = self._thread.submit(self._try)

    def answer(self, until: float) -> T | None:
        """Return what it said, or None if it failed or has not answered by then.

        Args:
            until: when to give up (time.monotonic()).
        """
        if self._answer is None:
            return None
        try:
            return self._answer.result(max(0.0, until - time.monotonic()))
        except TimeoutError:
            return None

    def close(self) -> None:
        """Let its thread end."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _try(self) -> T | None:
        from redis import RedisError  # noqa: PLC0415  a quarter of a second

        try:
            answer = self._ask()
        except (StorageError, RedisError) as error:
            self.errors += 1
            if not self._failing:  # one line per outage
                what = str(error) if isinstance(error, StorageError) else type(error).__name__
                logger.warning("metrics: %s: %s", self.name, what)
            self._failing = True
            return None
        if self._failing:
            logger.warning("metrics: %s answers again", self.name)
        self._failing = False
        return answer
