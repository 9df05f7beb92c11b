"""One database read for many callers who want the same vCon at the same time."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from .errors import UnavailableError

T = TypeVar("T")


class _Flight:
    def __init__(self) -> None:
        self.started = time.monotonic()
        self.landed = threading.Event()
        self.result: bytes | None = None
        self.error: Exception | None = None


class Flights:
    """Shares a read among the callers who came before it began.

    A caller who comes while a read is under way can't use its result: a save may have returned
    after that read began and before the caller came. It waits for the read to end, looks into the
    cache again (where the result usually is), and shares the next read.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[str, _Flight] = {}

    def read(
        self,
        uuid: str,
        look: Callable[[str], tuple[bytes | None, T]],
        fetch: Callable[[str, T, float], bytes],
        until: float,
    ) -> bytes:
        """Return what `look` finds, or what one `fetch` that began after this call returns.

        Args:
            uuid: what is read.
            look: asks the cache: what it vouches for, or None, and what it tells `fetch`.
            fetch: asks the database.
            until: when the caller gives up (time.monotonic()).
        """
        arrived = time.monotonic()
        while True:
            found, hint = look(uuid)
            if found is not None:
                return found
            with self._lock:
                flight = self._flights.get(uuid)
                if flight is None:
                    flight = self._flights[uuid] = _Flight()
                    break
            if not flight.landed.wait(max(0.0, until - time.monotonic())):
                raise UnavailableError("a read of the same vCon that was under way did not end")
            if flight.started >= arrived:
                if flight.result is None:
                    raise flight.error or UnavailableError("the read that this one shared failed")
                return flight.result
        try:
            flight.result = fetch(uuid, hint, until)
        except Exception as error:
            flight.error = error
            raise
        else:
            return flight.result
        finally:
            with self._lock:
                self._flights.pop(uuid, None)
            flight.landed.set()

    def forget(self) -> None:
        """Start afresh in a forked child: who was reading is not there."""
        self._lock = threading.Lock()
        self._flights = {}
