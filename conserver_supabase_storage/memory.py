"""A small cache in the process, bounded by bytes, for entries that Redis still has."""

import threading
from collections import OrderedDict

from .entry import Entry


class Memory:
    """Keeps the entries that were used last. It never vouches for one: Redis does, by its header.

    Args:
        max_bytes: the most bytes of rows to keep.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.forget()

    def forget(self) -> None:
        """Start afresh in a forked child."""
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._bytes = 0

    def get(self, uuid: str) -> Entry | None:
        """Return what is kept of a vCon, which may be old."""
        with self._lock:
            entry = self._entries.get(uuid)
            if entry is not None:
                self._entries.move_to_end(uuid)
            return entry

    def put(self, uuid: str, entry: Entry | None) -> None:
        """Keep an entry in place of the one before; None to keep none."""
        with self._lock:
            before = self._entries.pop(uuid, None)
            self._bytes -= len(before.rows) if before else 0
            if entry is None or len(entry.rows) > self._max_bytes:
                return
            self._entries[uuid] = entry
            self._bytes += len(entry.rows)
            while self._bytes > self._max_bytes:
                _, oldest = self._entries.popitem(last=False)
                self._bytes -= len(oldest.rows)
