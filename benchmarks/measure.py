"""How cases are measured: interleaved, after a warm-up, by medians with their spread."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Must:
    """What a case has to keep to: at most (or, for rates, at least) this."""

    limit: float
    hope: float
    at_least: bool = False
    unit: str = "x"

    def holds(self, value: float) -> bool:
        """Whether a figure keeps to it."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True)
class Case:
    """One thing to measure.

    Attributes:
        name: of the case, and of the vCon that it is about.
        prepare: makes what one call needs; not measured.
        call: what is measured.
        floor: the name of the case that this one's time is divided by.
        other_floor: of another one, for comparison.
        must: what the ratio to the floor has to keep to (without a floor: the seconds).
        foreign: whether it is somebody else's code, whose errors are reported and end the case.
    """

    name: str
    prepare: Callable[[], Any]
    call: Callable[[Any], object]
    floor: str = ""
    other_floor: str = ""
    must: Must | None = None
    foreign: bool = False


@dataclass
class Figure:
    """What was measured of a case: seconds per call."""

    case: Case
    seconds: list[float] = field(default_factory=list)
    error: str = ""

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """The 25th percentile, the median and the 75th percentile."""
        if len(self.seconds) < 2:
            return (*self.seconds * 3,)  # type: ignore[return-value]
        low, middle, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return low, middle, high

    @property
    def median(self) -> float:
        """Seconds per call."""
        return self.quartiles[1]


def interleave(cases: Sequence[Case], rounds: int, warm_up: int = 5) -> dict[str, Figure]:
    """Measure cases side by side: one call of each, then the next round, in turns back and forth.

    Returns:
        The figures by the cases' names.
    """
    figures = {case.name: Figure(case) for case in cases}
    for number in range(warm_up + rounds):
        for case in cases[:: -1 if number % 2 else 1]:
            figure = figures[case.name]
            if figure.error:
                continue
            seconds = _once(figure)
            if seconds is not None and number >= warm_up:
                figure.seconds.append(seconds)
    return figures


def _once(figure: Figure) -> float | None:
    case = figure.case
    try:
        argument = case.prepare()
        began = time.perf_counter()
        case.call(argument)
        return time.perf_counter() - began
    except Exception as error:
        if not case.foreign:
            raise
        figure.error = f"{type(error).__name__}: {error}"
        return None
