"""One request for saves that come at the same time."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .errors import RefusedError, UnavailableError

if TYPE_CHECKING:
    from .functions import Prepared

# Requests under way before saves begin to share them: with fewer threads each save goes by itself,
# at once.
_AT_ONCE = 4

# vCons of one request, and bytes of each: none should wait long for the others.
_COUNT = 50
_BYTES = 100_000

type Answer = dict[str, Any]
type Send = Callable[[Sequence["Prepared"], float, bool], Sequence[Answer | RefusedError]]


class _Save:
    def __init__(self, prepared: "Prepared", until: float, once: bool) -> None:
        self.prepared = prepared
        self.until = until
        self.once = once
        self.woken = threading.Event()
        self.batch: list[_Save] | None = None  # to be sent by this one's thread
        self.outcome: Answer | RefusedError | UnavailableError | None = None


class SharedSaves:
    """Sends saves of many threads: some at once, and those that come meanwhile together.

    A request is one transaction. Where Supabase refuses a shared one, each of its saves is made by
    itself, so that each has its own success or error.

    Args:
        send: sends vCons in one request (until when, whether to leave it at one attempt).
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self.forget()

    def forget(self) -> None:
        """Start afresh in a forked child: who was saving is not there."""
        self._lock = threading.Lock()
        self._under_way = 0
        self._waiting: list[_Save] = []

    def save(self, prepared: "Prepared", until: float, once: bool) -> Answer | RefusedError:
        """Save a vCon; return the answer, or that it belongs to another tenant.

        Raises:
            RefusedError: Supabase refused it.
            UnavailableError: no answer by `until` (time.monotonic()).
        """
        if prepared.size > _BYTES:
            return self._send([prepared], until, once)[0]
        mine = _Save(prepared, until, once)
        with self._lock:
            if self._under_way < _AT_ONCE:
                self._under_way += 1
                mine.batch = [mine]
            else:
                self._waiting.append(mine)
        if mine.batch is None and not mine.woken.wait(max(0.0, until - time.monotonic())):
            with self._lock:
                if mine in self._waiting:
                    self._waiting.remove(mine)
                    raise UnavailableError("the saves before this one did not end")
            mine.woken.wait()  # it is under way, and that ends by now
        if mine.batch is not None:
            self._lead(mine.batch)
        outcome = mine.outcome
        if isinstance(outcome, UnavailableError):
            raise outcome
        if outcome is None:  # shared, and refused: because of which?
            return self._send([prepared], until, once)[0]
        return outcome

    def _lead(self, batch: list[_Save]) -> None:
        """Send a batch, tell the others what came of it, and let those go on who wait."""
        try:
            # The first of them to give up is told in its time.
            answers = self._send(
                [each.prepared for each in batch],
                min(each.until for each in batch),
                any(each.once for each in batch),
            )
            for each, answer in zip(batch, answers, strict=True):
                each.outcome = answer
        except UnavailableError as error:
            for each in batch:
                each.outcome = UnavailableError(
                    str(error), may_have_happened=error.may_have_happened, away=error.away
                )
                each.outcome.__cause__ = error.__cause__
        except RefusedError:
            if len(batch) == 1:
                raise
        except BaseException:
            for each in batch:
                each.outcome = UnavailableError(
                    "the request that this save shared was interrupted", may_have_happened=True
                )
            raise
        finally:
            with self._lock:
                following = self._next()
                if following:
                    following[0].batch = following
                else:
                    self._under_way -= 1
            if following:
                following[0].woken.set()
            for each in batch[1:]:
                each.woken.set()

    def _next(self) -> list[_Save]:
        """Take from those who wait, each of another uuid."""
        batch: dict[str, _Save] = {}
        for each in self._waiting:
            if len(batch) == _COUNT:
                break
            batch.setdefault(each.prepared.uuid, each)
        self._waiting = [
            each for each in self._waiting if each is not batch.get(each.prepared.uuid)
        ]
        return list(batch.values())
