"""Lets a fork wait for what a child could not go on with.

A child has only the thread that forked. What another one was about to do stays half done in it for
ever: a module stays locked by its import, and OpenSSL by whoever made a context or shook hands.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

# Seconds that a fork waits at most: also where its own thread is inside, as a signal's handler is.
_PATIENCE = 10.0


class _Gate:
    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._inside = 0
        self._forking = False

    def enter(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._forking, _PATIENCE)
            self._inside += 1

    def leave(self) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Wait until nobody is inside, and let nobody in."""
        until = time.monotonic() + _PATIENCE
        with self._changed:
            # Of two threads that fork, the second one waits for the first.
            self._changed.wait_for(lambda: not self._forking, _PATIENCE)
            self._forking = True
            self._changed.wait_for(lambda: not self._inside, max(0.0, until - time.monotonic()))

    def open(self) -> None:
        with self._changed:
            self._forking = False
            self._changed.notify_all()


_gate = _Gate()


@contextmanager
def held_off() -> Iterator[None]:
    """Hold off a fork until this is left: for what takes a moment. Not to be used within itself."""
    _gate.enter()
    try:
        yield
    finally:
        _gate.leave()


os.register_at_fork(before=_gate.close, after_in_parent=_gate.open, after_in_child=_gate.forget)
