"""Stops asking a Redis that fails, and notices by itself when it is back."""

import logging
import os
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)

# Seconds between two looks at a Redis that failed.
PROBE_INTERVAL = 0.25

# Seconds to wait for a look that is under way when the storage is closed.
_LAST_PROBE = 5.0


class Breaker:
    """Open after a failure, closed again by a thread that asks until the answer is right.

    While it is open nobody waits for Redis. The thread lives only as long as that.

    Args:
        probe: raises if Redis still fails.
        tick: called by the thread after each look, told whether Redis still fails; the thread ends
            when Redis is back and this returns True.
        what: what that Redis is for, in the log.
        changed: called when it has opened or closed.
    """

    def __init__(
        self,
        probe: Callable[[], None],
        tick: Callable[[bool], bool],
        what: str = "cache",
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._probe = probe
        self._tick = tick
        self._what = what
        self._changed = changed
        self._lock = threading.Lock()
        self._open = False
        self._wanted = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_open(self) -> bool:
        """Whether Redis is not to be asked now."""
        return self._open

    def trip(self, error: Exception) -> None:
        """Open it; one log line per outage."""
        with self._lock:
            opens = not self._open
            self._open = True
        if opens:
            kind = type(error).__name__
            logger.warning("%s: Redis fails (%s), going on without it", self._what, kind)
            self._changed()
        self.watch()

    def watch(self) -> None:
        """See to it that the thread runs until Redis is back and `tick` is content."""
        with self._lock:
            self._wanted = True  # also where it is just about to end
            if self._thread is None or not self._thread.is_alive():
                self._start()

    def _start(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._watch, args=(self._stop,), name="supabase-storage-redis", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """End the thread, and wait for it: it uses what its owner closes next."""
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_LAST_PROBE)

    def forget(self) -> None:
        """Start afresh in a forked child, which has no such thread."""
        self._lock = threading.Lock()
        self._open = False
        self._thread = None

    def _watch(self, stop: threading.Event) -> None:
        from redis import RedisError  # noqa: PLC0415

        pid = os.getpid()
        while not stop.wait(PROBE_INTERVAL) and pid == os.getpid():
            if self._open:
                try:
                    self._probe()
                except RedisError:
                    self._tick(True)
                    continue
                self._open = False
                logger.info("%s: Redis is back", self._what)
                self._changed()
            with self._lock:
                self._wanted = False
            if self._tick(False):
                with self._lock:
                    if not self._open and not self._wanted:
                        self._thread = None
                        return
