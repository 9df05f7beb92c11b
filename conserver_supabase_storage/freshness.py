"""How long an entry of the cache may be believed, and how a writer without Redis revokes that.

A reader believes the cache for TRUST seconds after the database last told it the cache's state. A
writer that can't reach Redis tells the database (a doubt), and does not return before TRUST seconds
have passed since: by then every reader has either asked again, or no longer believes.
"""

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .entry import Entry

# Seconds. One number for all processes that share a database: the promise above rests on it.
TRUST = 1.0

# Seconds. A request that got no answer may still be carried out. It names its deadline itself, but
# the clock by which it does may be wrong before the database's first answer: PostgREST waits up to
# 10 s for a database connection (db-pool-acquisition-timeout), Supabase's statement timeout is 8 s.
LATE = 20.0

# A doubt is left when Redis is back, or when nothing was changed for so many seconds: one writer
# without Redis should not keep everybody from the cache for longer than it has to.
_IDLE = 5.0

# Where its writer died, it ends by itself after so many seconds on top of an operation's.
_DOUBT = 60.0


class State(NamedTuple):
    """What the database says about caches: the episode, and whether a doubt is in force."""

    asked: float
    episode: int
    off: bool


class Freshness:
    """What this process knows of the cache's state, and of the database's clock."""

    def __init__(self) -> None:
        self._state = State(float("-inf"), 0, off=True)
        self._clock: tuple[float, float] | None = None

    def note(self, asked: float, answer: Mapping[str, Any]) -> None:
        """Take in the state from an answer; `asked` is time.monotonic() before its request."""
        if asked > self._state.asked:
            self._state = State(asked, answer["episode"], answer["off"])
            # Taken as of its receipt: a little behind, never ahead, so that no deadline we name
            # is later than we mean. Steps of this machine's clock don't matter.
            self._clock = (answer["now"], time.monotonic())

    def state(self) -> State | None:
        """Return the state, or None if it is too old to go by."""
        state = self._state
        return state if time.monotonic() - state.asked < TRUST else None

    def age(self, entry: Entry) -> float:
        """Return the seconds since the database vouched for entries such as this one."""
        state = self._state
        current = not state.off and state.episode == entry.episode
        return time.monotonic() - state.asked if current else float("inf")

    def now(self) -> float:
        """Return the database's time (seconds since 1970); before its first answer, this machine's.

        A clock that is behind costs one attempt: the database refuses a deadline that is over, and
        the next attempt names none.
        """
        clock = self._clock
        return clock[0] + time.monotonic() - clock[1] if clock else time.time()


class Doubt:
    """This process' doubt: entered by its first change without Redis, left when Redis is back.

    Args:
        tell: tells the database (writer, seconds, until); 0 seconds to leave. `until` is when it
            gives up (time.monotonic()), None for the usual time.
        span: seconds that one operation may take.
    """

    def __init__(self, tell: Callable[[str, float, float | None], None], span: float) -> None:
        self._tell = tell
        self._span = span
        self.forget()

    def forget(self) -> None:
        """Start afresh, in a forked child as another writer."""
        self._writer = str(uuid.uuid4())
        self._lock = threading.Lock()
        self._until = float("-inf")
        self._settled = 0.0
        self._changes = 0
        self._last = float("-inf")
        self._late = float("-inf")

    def enter(self, until: float) -> None:
        """Begin a change without Redis: returns once the database knows, `until` at the latest.

        Raises:
            StorageError: the database could not be told; the change must not be made.
        """
        with self._lock:
            now = time.monotonic()
            if self._until - now < self._span + LATE:
                seconds = _DOUBT + self._span + LATE
                lapsed = self._until < now
                if lapsed:  # a leave of the last one that is still on its way must not end this one
                    self._writer = str(uuid.uuid4())
                self._tell(self._writer, seconds, until)
                self._until = now + seconds
                if lapsed:
                    self._settled = time.monotonic() + TRUST
            self._changes += 1

    def settle(self) -> None:
        """Wait until no reader believes what it cached before the doubt."""
        if (left := self._settled - time.monotonic()) > 0:
            time.sleep(left)

    def changed(self, *, surely: bool) -> None:
        """End a change. Where its outcome is unknown, the doubt outlives it."""
        with self._lock:
            self._changes -= 1
            self._last = time.monotonic()
            if not surely:
                self._late = time.monotonic() + LATE

    def is_idle(self) -> bool:
        """Return whether nothing was changed in doubt for a few seconds."""
        return time.monotonic() - self._last > _IDLE

    def leave(self, until: float | None = None) -> bool:
        """Leave the doubt, if no change needs it any more; return whether it is left.

        The next change without Redis enters it anew, and waits anew.

        Raises:
            StorageError: the database could not be told; it ends by itself in time.
        """
        with self._lock:
            now = time.monotonic()
            if self._until < now:
                return True
            if self._changes or now < self._late:
                return False
            self._tell(self._writer, 0, until)
            self._until = float("-inf")
            return True
