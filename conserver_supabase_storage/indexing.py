"""Indexes what was saved for search: soon after the saves, and out of their way."""

import logging
import threading
import time
from collections.abc import Callable

from .errors import StorageError

logger = logging.getLogger(__name__)

# Seconds without a save before those that were made are indexed, and seconds after which they are
# in any case: saves go first, but a search has to do what is left.
DELAY = 0.5
_LONGEST = 2.0

# vCons of one transaction: it holds locks that a delete waits for.
COUNT = 200

# Seconds to wait for an index step that is under way when the storage is closed.
_LAST_STEP = 5.0


class Indexer:
    """A thread that indexes while there is something to index, and ends then.

    It only spares searches the work: what it does not come to, the next search indexes.

    Args:
        index: indexes so many vCons; returns whether there is more that can be indexed now.
    """

    def __init__(self, index: Callable[[int], bool]) -> None:
        self._index = index
        self.forget()

    def forget(self) -> None:
        """Start afresh, in a forked child without that thread."""
        self._lock = threading.Lock()
        self._wanted = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Say that something was saved."""
        if self._wanted:
            return
        with self._lock:
            self._wanted = True
            if self._thread is None:
                self._stop = threading.Event()
                self._thread = threading.Thread(
                    target=self._run, args=(self._stop,), name="supabase-storage-index", daemon=True
                )
                self._thread.start()

    def close(self) -> None:
        """End the thread, and wait for it: it uses what its owner closes next."""
        self._stop.set()
        thread = self._thread
        if thread is not None:
            thread.join(_LAST_STEP)

    def _run(self, stop: threading.Event) -> None:
        while self._is_quiet(stop):
            self._wanted = False  # before it looks: what is saved from here on wakes it again
            try:
                while self._index(COUNT) and not stop.is_set():
                    pass
            except StorageError as error:
                logger.debug("search: indexing is left to a later time: %s", error)
            with self._lock:
                if not self._wanted:
                    self._thread = None
                    return
        with self._lock:
            self._wanted = False
            self._thread = None

    def _is_quiet(self, stop: threading.Event) -> bool:
        """Wait until it is time to index; return False if there is none any more."""
        until = time.monotonic() + _LONGEST
        while True:
            self._wanted = False
            if stop.wait(DELAY):
                return False
            if not self._wanted or time.monotonic() >= until:
                return True
