"""The live storages of this process: one for each distinct options, shared by all threads."""

import atexit
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .options import Options
from .storage import SupabaseStorage

# A storage that was not used for so many seconds is closed: its options are no longer in the
# config, or it has so little to do that a new connection does not matter.
_IDLE = 60.0


class _Entry:
    def __init__(self, storage: SupabaseStorage) -> None:
        self.storage = storage
        self.users = 0
        self.used = time.monotonic()
        self.dropped = False


class Registry:
    """Hands out storages, and closes those whose options are gone once nobody uses them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[Options, _Entry] = {}

    @contextmanager
    def storage(self, options: Mapping[str, Any] | None) -> Iterator[SupabaseStorage]:
        """Lend the storage for these options; the same one to everybody who asks.

        Raises:
            ConfigurationError: the options can't be used.
        """
        parsed = Options.parse(options)
        with self._lock:
            entry = self._entries.get(parsed)
            if entry is None:
                entry = self._entries[parsed] = _Entry(SupabaseStorage(parsed))
            entry.users += 1
            stale = self._drop_stale(parsed)
        for storage in stale:  # not under the lock: it may wait for a thread to end
            storage.close()
        try:
            yield entry.storage
        finally:
            with self._lock:
                entry.users -= 1
                entry.used = time.monotonic()
                last = entry.dropped and not entry.users
            if last:
                entry.storage.close()

    def close(self) -> None:
        """Close all storages."""
        with self._lock:
            entries = list(self._entries.values())
            self._entries.clear()
        for entry in entries:
            entry.storage.close()

    def forget(self) -> None:
        """Start afresh in a forked child: the storages, and a lock held just now, are the parent's.

        Their connections are not closed: on a shared socket that could end the parent's.
        """
        self._lock = threading.Lock()
        self._entries = {}

    def _drop_stale(self, current: Options) -> list[SupabaseStorage]:
        """Drop storages for the same database with other options, and those long unused.

        Returns those that nobody uses; the others are closed by their last user.
        """
        now = time.monotonic()
        unused = []
        for options, entry in list(self._entries.items()):
            same_target = options != current and options.target == current.target
            idle = not entry.users and now - entry.used > _IDLE
            if same_target or idle:
                del self._entries[options]
                entry.dropped = True
                if not entry.users:
                    unused.append(entry.storage)
        return unused


registry = Registry()
atexit.register(registry.close)
os.register_at_fork(after_in_child=registry.forget)
