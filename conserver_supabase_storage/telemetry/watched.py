"""The storages of this process that are in use: what is asked of them instead of counted."""

import weakref
from collections.abc import Callable
from typing import NamedTuple

from .names import BREAKERS
from .sinks import gate


class SpoolFigures(NamedTuple):
    """How a spool is.

    Attributes:
        waiting: how many saves wait in it.
        age: seconds that the first of them has waited.
    """

    waiting: int
    age: float


class Watched:
    """What can be asked of one storage.

    Attributes:
        breakers: for each of `BREAKERS` that it has, whether Redis is not asked.
        spool: names its spool; storages with the same name share it. None without one.
        figures: asks that spool; None if it does not answer.
    """

    def __init__(self) -> None:
        self.breakers: dict[str, Callable[[], bool]] = {}
        self.spool: object = None
        self.figures: Callable[[], SpoolFigures | None] = lambda: None

    def watch(self) -> None:
        """Ask it from now on."""
        with gate():
            _keep([*_watched, self])

    def leave(self) -> None:
        """Ask it no more: it is closed."""
        with gate():
            _keep([one for one in _watched if one is not self])


# Never changed but for what is gone, so that it can be gone through at any time.
_watched: "weakref.WeakSet[Watched]" = weakref.WeakSet()


def _keep(watched: "list[Watched]") -> None:
    global _watched  # noqa: PLW0603
    _watched = weakref.WeakSet(watched)


def open_breakers() -> set[str]:
    """Return those of `BREAKERS` that are open in any of this process' storages."""
    watched = list(_watched)
    return {
        what
        for what in BREAKERS
        if any(what in one.breakers and one.breakers[what]() for one in watched)
    }


def spool_figures() -> SpoolFigures | None:
    """Return how the spools of this process' storages are, together; None if none answers."""
    spools = {one.spool: one for one in list(_watched) if one.spool is not None}
    found = [figures for one in spools.values() if (figures := one.figures()) is not None]
    if not found:
        return None
    return SpoolFigures(sum(one.waiting for one in found), max(one.age for one in found))
