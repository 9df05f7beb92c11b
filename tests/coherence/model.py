"""What a get may return, given what was committed in which order, and who had returned by then."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Operation(NamedTuple):
    """One call, as its caller saw it.

    Attributes:
        observer: the thread that made it.
        kind: ``save``, ``get`` or ``delete``.
        uuid: the vCon's.
        began: when it was called (nanoseconds, one clock for all processes).
        ended: when it returned or raised.
        value: which version was saved, or found; None for a get without a vCon. Of a delete:
            1 if the vCon was there.
        revision: what the database answered to a save or a delete; None if nothing was heard.
        error: what it raised, or None.
    """

    observer: int
    kind: str
    uuid: str
    began: int
    ended: int
    value: int | None = None
    revision: int | None = None
    error: str | None = None


class Commit(NamedTuple):
    """One committed state of a vCon: its version, or None where it was deleted."""

    revision: int
    uuid: str
    value: int | None


class Violation(NamedTuple):
    """A get that returned what it must not have."""

    get: Operation
    why: str


def violations(operations: Iterable[Operation], commits: Iterable[Commit]) -> list[Violation]:
    """Return the gets that can't be explained.

    Of each vCon, the committed states are in the order of their revisions. A get has to return the
    state at some revision that is not older than that of any change which had returned before the
    get began, and that belongs to a change which began before the get ended. And a thread never
    sees an older version after a newer one.
    """
    history: dict[str, list[Commit]] = defaultdict(list)
    for commit in sorted(commits):
        history[commit.uuid].append(commit)
    of_vcon: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        of_vcon[operation.uuid].append(operation)
    return [
        violation
        for uuid, of_one in of_vcon.items()
        for violation in _Vcon(history[uuid], of_one).violations()
    ]


class _Vcon:
    """All that happened to one vCon."""

    def __init__(self, history: list[Commit], operations: list[Operation]) -> None:
        self._gets = sorted((o for o in operations if o.kind == "get"), key=lambda o: o.began)
        changes = [o for o in operations if o.kind != "get"]
        # The state before the first commit: there is none.
        self._states: list[int | None] = [None, *(commit.value for commit in history)]
        self._revisions = [-1, *(commit.revision for commit in history)]
        self._began = self._beginnings(changes)
        self._indexes: dict[int | None, list[int]] = defaultdict(list)
        for index, value in enumerate(self._states):
            self._indexes[value].append(index)
        # The newest revision that had returned, by time.
        heard = sorted(
            (o.ended, o.revision) for o in changes if o.revision is not None and o.error is None
        )
        self._times = [time for time, _ in heard]
        self._newest: list[int] = []
        for _, revision in heard:
            self._newest.append(max(revision, self._newest[-1] if self._newest else revision))

    def violations(self) -> Iterator[Violation]:
        seen: dict[int, int] = defaultdict(int)
        for get in self._gets:
            if get.error is not None:
                continue
            floor = self._floor(get.began)
            fitting = [
                index
                for index in self._indexes.get(get.value, [])
                if index >= floor and self._began[index] < get.ended
            ]
            if not fitting:
                yield Violation(get, self._why(get, floor))
                continue
            # Absence may stand for many states; the oldest of them accuses nobody wrongly.
            forward = [index for index in fitting if index >= seen[get.observer]]
            if not forward:
                yield Violation(get, f"{get.value} after a newer one, in one thread")
            else:
                seen[get.observer] = forward[0]

    def _beginnings(self, changes: list[Operation]) -> list[int]:
        """Return when the change behind each state began; 0 where nobody heard its revision."""
        began = [0] * len(self._states)
        saves = {change.value: change.began for change in changes if change.kind == "save"}
        for index, value in enumerate(self._states):
            if value is not None:
                began[index] = saves.get(value, 0)
        for change in changes:
            if change.kind == "delete" and change.revision is not None and change.value:
                # A delete's answer names a revision after its commit's and before the next one.
                began[self._at(change.revision)] = change.began
        return began

    def _at(self, revision: int) -> int:
        return bisect_right(self._revisions, revision) - 1

    def _floor(self, began: int) -> int:
        """Return the index of the oldest state that a get which began then may return."""
        returned = bisect_left(self._times, began)
        return self._at(self._newest[returned - 1]) if returned else 0

    def _why(self, get: Operation, floor: int) -> str:
        indexes = self._indexes.get(get.value)
        if not indexes:
            return f"{get.value} was never committed"
        if indexes[-1] < floor:
            return (
                f"{get.value} was overwritten by {self._states[floor]}, "
                f"{floor - indexes[-1]} changes later, which had returned"
            )
        return f"{get.value} is of a change that had not begun"
