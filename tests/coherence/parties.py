"""A storage that stands for a process, and the small vCons that the tests here save."""

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

from conserver_supabase_storage import SupabaseStorage

from .steps import Steps, cache_of


def new_uuid() -> str:
    """Return a uuid that no other test has."""
    return str(uuid.uuid4())


def vcon(vcon_uuid: str, n: int) -> dict[str, Any]:
    """Return version `n` of a vCon."""
    return {"uuid": vcon_uuid, "created_at": "2026-01-01T00:00:00Z", "parties": [], "n": n}


def eventually(check: Callable[[], object], seconds: float) -> float:
    """Wait until a check is true; return how long that took."""
    began = time.monotonic()
    while not check():
        assert time.monotonic() - began < seconds, f"not within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - began


class Party:
    """A storage with hooks around its calls, that saves and gets numbered versions of vCons."""

    def __init__(self, storage: SupabaseStorage) -> None:
        self.storage = storage
        self.steps = Steps.of(storage)

    def save(self, vcon_uuid: str, n: int) -> None:
        """Save version `n`."""
        self.storage.save(vcon(vcon_uuid, n))

    def get(self, vcon_uuid: str) -> int | None:
        """Return the number of the version that a get returns, or None."""
        found = self.storage.get(vcon_uuid)
        return None if found is None else int(found["n"])

    def believes(self, vcon_uuid: str) -> int | None:
        """Return what a get returns when the cache is believed: not compared, unless in doubt."""
        self.trust()
        return self.get(vcon_uuid)

    def delete(self, vcon_uuid: str) -> bool:
        """Delete it."""
        return self.storage.delete(vcon_uuid)

    def reads(self) -> int:
        """Return how often the database was asked for a vCon so far."""
        return self.steps.calls["get"]

    def cached(self, vcon_uuid: str) -> bool:
        """Whether a get is answered without the database now."""
        before = self.reads()
        self.get(vcon_uuid)
        return self.reads() == before

    def trust(self) -> None:
        """Hear from the database, so that the cache is believed for a while."""
        self.storage.get(new_uuid())

    def hear(self) -> None:
        """Hear the cache's state from the database, and not touch Redis: as `trust` otherwise."""
        asked = time.monotonic()
        answer = self.storage._database.call("vcon_storage_cache_state_v1", {})
        self.storage._freshness.note(asked, json.loads(answer))

    def keys(self, vcon_uuid: str) -> tuple[str, str]:
        """Return the names of a vCon's entry and gate."""
        entry, gate = cache_of(self.storage)._keys(vcon_uuid)
        return entry, gate
