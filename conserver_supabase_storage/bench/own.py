"""The vCons that a benchmark saves: easy to tell from others, and removed at its end."""

import itertools
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ..errors import StorageError
from ..storage import SupabaseStorage

SUBJECT = "conserver-supabase-storage bench"

# What their uuids begin with: version 8 is for whoever wants a form of their own (RFC 9562).
_FIRST = "be9cbe9c"

# Removed side by side, because one after the other takes long where Supabase is far away.
_THREADS = 8

# Seconds after which a request that nobody waits for any more is over.
_LATE = 1.0

type Json = dict[str, Any]


class Own:
    """Makes vCons of a benchmark's own, remembers them, and removes them."""

    def __init__(self) -> None:
        self._run = secrets.token_hex(6)
        self._numbers = itertools.count()
        self._there: dict[str, None] = {}

    def make(self) -> Json:
        """Make a new vCon of about 2 KB. It counts as there from now on."""
        number = next(self._numbers)
        uuid = f"{_FIRST}-{number >> 12 & 0xFFFF:04x}-8{number & 0xFFF:03x}-8000-{self._run}"
        self._there[uuid] = None
        messages = [
            {
                "type": "text",
                "start": f"2026-01-01T10:00:0{n}Z",
                "parties": n % 2,
                "mediatype": "text/plain",
                "body": f"Message {n}: thank you, that helps; I'll look into it and come back.",
                "encoding": "none",
            }
            for n in range(4)
        ]
        return {
            "vcon": "0.4.0",
            "uuid": uuid,
            "created_at": datetime.now(UTC).isoformat(),
            "subject": SUBJECT,
            "parties": [
                {"tel": "+12025550143", "name": "Ada Example"},
                {"mailto": "desk@example.com", "name": "Ben Example"},
            ],
            "dialog": messages,
            "analysis": [
                {
                    "type": "summary",
                    "dialog": [0, 1, 2, 3],
                    "vendor": "example",
                    "body": "The caller asked about an invoice, and our agent explained it. " * 10,
                    "encoding": "none",
                }
            ],
            "attachments": [],
        }

    def gone(self, uuid: str) -> None:
        """Note that one was deleted."""
        self._there.pop(uuid, None)

    @property
    def left(self) -> list[str]:
        """Those that may be there."""
        return list(self._there)

    def remove(self, storage: SupabaseStorage, done: Callable[[int], None]) -> int:
        """Delete all that may be there; what could not be deleted stays in `left`.

        Args:
            storage: where they were saved.
            done: called with 1 after each.

        Returns:
            How many were there.
        """
        removed = 0
        pool = ThreadPoolExecutor(_THREADS)
        try:
            for again in (False, True):
                if again and self._there:
                    # A save that was interrupted may yet be carried out.
                    time.sleep(_LATE)
                for uuid, was_there in pool.map(partial(_delete, storage), self.left):
                    if was_there or (again and was_there is not None):
                        self.gone(uuid)
                    removed += bool(was_there)
                    done(0 if again else 1)
        finally:
            pool.shutdown(cancel_futures=True)
        return removed


def _delete(storage: SupabaseStorage, uuid: str) -> tuple[str, bool | None]:
    try:
        return uuid, storage.delete(uuid)
    except StorageError:
        return uuid, None
