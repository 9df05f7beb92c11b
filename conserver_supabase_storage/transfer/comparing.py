"""Where two JSON values differ, as paths. Pure; nothing of the values gets into what is told."""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from ..document import path_of

type Step = str | int


def differences(expected: Any, found: Any) -> Iterator[str]:
    """Yield the paths at which values differ, such as ``dialog[2].body``, and how.

    Numbers are the same if they have the same digits. The order of members does not matter, that of
    a list does.

    Args:
        expected: JSON as `questions.exactly` or `document.read` parse it.
        found: the same.
    """
    for steps, how in _differences(expected, found, ()):
        path = path_of(steps)
        yield f"{path} {how}" if path else how


def _differences(
    expected: Any, found: Any, steps: tuple[Step, ...]
) -> Iterator[tuple[Iterable[Step], str]]:
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in expected:
            if name in found:
                yield from _differences(expected[name], found[name], (*steps, name))
            else:
                yield (*steps, name), "is missing"
        for name in found:
            if name not in expected:
                yield (*steps, name), "is too much"
    elif isinstance(expected, list) and isinstance(found, list):
        for index, (one, other) in enumerate(zip(expected, found, strict=False)):
            yield from _differences(one, other, (*steps, index))
        for index in range(len(found), len(expected)):
            yield (*steps, index), "is missing"
        for index in range(len(expected), len(found)):
            yield (*steps, index), "is too much"
    elif not _same(expected, found):
        yield steps, "differs"


def _same(expected: Any, found: Any) -> bool:
    if isinstance(expected, float | Decimal) and isinstance(found, float | Decimal):
        return _digits(expected) == _digits(found)
    return type(expected) is type(found) and bool(expected == found)


def _digits(number: float | Decimal) -> tuple[object, ...]:
    # repr of a float has the digits that it is written with.
    return (number if isinstance(number, Decimal) else Decimal(repr(number))).as_tuple()
