"""How cases are measured: interleaved, after a warm-up, by medians with their spread."""

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Must:
    """What a figure has to keep to, and what is hoped for: at most this, or for rates at least."""

    limit: float
    hope: float


@dataclass(frozen=True)
class Case:
    """One thing to measure.

    Attributes:
        name: of the case.
        prepare: makes what one call needs; not measured.
        call: what is measured.
        floor: the name of the case that this one's time is divided by.
        other_floor: of another one, for comparison.
        must: for the ratio to the floor; without a floor, for the seconds.
        per: how many vCons one call handles.
        rate: whether it is told as vCons per second, and its ratio as that to the floor's rate.
        times_itself: whether `call` returns the seconds, as measured in another process.
        foreign: whether it is somebody else's code, whose errors are reported and end the case.
    """

    name: str
    prepare: Callable[[], Any]
    call: Callable[[Any], object]
    floor: str = ""
    other_floor: str = ""
    must: Must | None = None
    per: int = 1
    rate: bool = False
    times_itself: bool = False
    foreign: bool = False


@dataclass
class Figure:
    """What was measured of a case: seconds per vCon."""

    case: Case
    seconds: list[float] = field(default_factory=list)
    error: str = ""

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """The 25th percentile, the median and the 75th percentile."""
        if len(self.seconds) == 1:
            return self.seconds[0], self.seconds[0], self.seconds[0]
        low, middle, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return low, middle, high

    @property
    def median(self) -> float:
        """The middle one."""
        return self.quartiles[1]


type Figures = dict[str, Figure]


def interleave(
    cases: Sequence[Case],
    rounds: int,
    warm_up: int = 5,
    done: Callable[[int], None] | None = None,
) -> Figures:
    """Measure cases side by side: one call of each, then the next round, in turns back and forth.

    Args:
        cases: what to measure.
        rounds: how often.
        warm_up: rounds before that, which do not count.
        done: called with 1 after each round, also of the warm-up.

    Returns:
        The figures by the cases' names.
    """
    figures = {case.name: Figure(case) for case in cases}
    for number in range(warm_up + rounds):
        for case in cases[:: -1 if number % 2 else 1]:
            figure = figures[case.name]
            if figure.error:
                continue
            try:
                seconds = _once(case)
            except Exception as error:
                if not case.foreign:
                    raise
                figure.error = f"{type(error).__name__}: {error}"
                continue
            if number >= warm_up:
                figure.seconds.append(seconds)
        if done is not None:
            done(1)
    return figures


def ratio(figure: Figure, floor: str, figures: Figures) -> float | None:
    """Return the ratio of two medians (for rates, of the rates), where both were measured."""
    below = figures.get(floor)
    if below is None or not below.seconds or not figure.seconds:
        return None
    times = figure.median / below.median
    return 1 / times if figure.case.rate else times


def missed(figure: Figure, figures: Figures) -> bool:
    """Whether a figure is not what it must be."""
    must, case = figure.case.must, figure.case
    if must is None or not figure.seconds:
        return must is not None
    value = ratio(figure, case.floor, figures) if case.floor else figure.median
    return value is not None and (value < must.limit if case.rate else value > must.limit)


def chosen(cases: Iterable[Case], only: str) -> list[Case]:
    """Return the cases whose name has a text in it, and the floors that they need."""
    cases = list(cases)
    found = [case for case in cases if only in case.name]
    needed = {name for case in found for name in (case.name, case.floor, case.other_floor)}
    return [case for case in cases if case.name in needed]


def _once(case: Case) -> float:
    argument = case.prepare()
    began = time.perf_counter()
    result = case.call(argument)
    seconds = time.perf_counter() - began
    return result if case.times_itself and isinstance(result, float) else seconds / case.per
