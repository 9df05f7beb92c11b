"""Fills the cache with vCons before somebody asks for them."""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Literal

from .document import dumps
from .errors import ConfigurationError, UnavailableError
from .storage import SupabaseStorage

type Outcome = Literal["there", "filled", "skipped", "missing"]


@dataclass
class Warmed:
    """What came of it.

    Attributes:
        there: vCons that the cache had already, in their newest version.
        filled: vCons that it has now.
        skipped: vCons that it does not keep: too large, changed just now, in the spool, or written
            by another program alone.
        missing: vCons that do not exist.
        bytes: of the vCons that were filled, as JSON.
        full: whether it ended because of `max_bytes`.
    """

    there: int = 0
    filled: int = 0
    skipped: int = 0
    missing: int = 0
    bytes: int = 0
    full: bool = False

    def as_dict(self) -> dict[str, int | bool]:
        """Return all of it by name."""
        return asdict(self)


class Warming:
    """Brings vCons to a storage's cache, one after the other, by `SupabaseStorage.get`.

    So the cache's own rules hold: what it is filled with is never stale.

    Args:
        storage: the storage; nobody else uses it meanwhile, because its counters are read.
        max_bytes: it ends once so many bytes were filled.
        rate: the most vCons per second; None for as fast as it goes.

    Raises:
        ConfigurationError: the storage has no cache.
        UnavailableError: its Redis does not answer.
    """

    def __init__(
        self, storage: SupabaseStorage, *, max_bytes: int, rate: float | None = None
    ) -> None:
        if storage.options.redis_url is None:
            raise ConfigurationError("there is no cache to fill: give redis_url")
        if (status := str(storage.health()["cache"])) != "ok":
            raise UnavailableError(f"the cache can't be filled: {status}")
        self._storage = storage
        self._max_bytes = max_bytes
        self._rate = rate
        self.warmed = Warmed()

    def run(self, uuids: Iterable[str], done: Callable[[int], None]) -> Warmed:
        """Fill the cache with these.

        Args:
            uuids: read as they are needed.
            done: called with 1 after each.

        Raises:
            UnavailableError: Supabase or Redis went away; `warmed` says what was done until then.
            RefusedError: Supabase refused it.
        """
        warmed = self.warmed
        began = time.monotonic()
        for number, uuid in enumerate(uuids):
            if warmed.bytes >= self._max_bytes:
                warmed.full = True
                break
            if self._rate is not None:
                time.sleep(max(0.0, began + number / self._rate - time.monotonic()))
            outcome, size = self._bring(uuid)
            setattr(warmed, outcome, getattr(warmed, outcome) + 1)
            warmed.bytes += size
            done(1)
        return warmed

    def _bring(self, uuid: str) -> tuple[Outcome, int]:
        """Get a vCon; return what that did to the cache, and how many bytes it was filled with."""
        vcon, events = self._get(uuid)
        if "compare" in events:
            # The database was asked whether the entry is the newest version. If not, it is gone.
            vcon, events = self._get(uuid)
        if events & {"bypass", "error"}:
            raise UnavailableError("the cache can't be filled: Redis went away")
        if vcon is None:
            return "missing", 0
        if "fill" in events:
            return "filled", len(dumps(vcon))
        return ("there" if "hit" in events else "skipped"), 0

    def _get(self, uuid: str) -> tuple[dict[str, object] | None, set[str]]:
        before = self._storage.stats()
        vcon = self._storage.get(uuid)
        after = self._storage.stats()
        return vcon, {event for event, count in after.items() if count != before.get(event, 0)}
