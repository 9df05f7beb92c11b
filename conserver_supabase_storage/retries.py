"""When a call is tried again: what can pass, and how long to wait for it."""

import time

from tenacity import RetryCallState
from tenacity.wait import wait_random_exponential

from .errors import UnavailableError

# Seconds that the last attempt has at the least, or a quarter of a shorter total_timeout.
_LAST_ATTEMPT = 0.5


class PassingError(UnavailableError):
    """An attempt failed for a reason that can pass."""

    def __init__(self, text: str, *, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class Pace:
    """Waits with jitter, longer each time, at least as long as the server asked.

    The last wait is cut so that the attempt after it has some time; an attempt with none would only
    hide why the others failed.
    """

    _jitter = wait_random_exponential(multiplier=0.1, max=2.0)

    def __init__(self, began: float, deadline: float) -> None:
        self._latest = deadline - min(_LAST_ATTEMPT, (deadline - began) / 4)

    def stop(self, state: RetryCallState) -> bool:
        """Return whether no attempt fits any more."""
        return time.monotonic() + self._asked(state) >= self._latest

    def wait(self, state: RetryCallState) -> float:
        """Return the seconds to wait before the next attempt."""
        wanted = max(self._jitter(state), self._asked(state))
        return max(0.0, min(wanted, self._latest - time.monotonic()))

    @staticmethod
    def _asked(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return getattr(error, "retry_after", 0.0)
