"""The model itself, on histories made by hand."""

import pytest

from .model import Commit, Operation, violations

A = "a"
COMMITS = [Commit(1, A, 10), Commit(3, A, None), Commit(5, A, 20)]
CHANGES = [
    Operation(0, "save", A, 100, 200, 10, 1),
    Operation(0, "delete", A, 300, 400, 1, 4),
    Operation(0, "save", A, 500, 600, 20, 5),
]


def get(began: int, ended: int, value: int | None, observer: int = 1) -> Operation:
    return Operation(observer, "get", A, began, ended, value)


def found(*gets: Operation) -> list[str]:
    return [violation.why for violation in violations([*CHANGES, *gets], COMMITS)]


@pytest.mark.parametrize(
    ("began", "ended", "value"),
    [
        (0, 50, None),
        (0, 150, None),
        (0, 150, 10),
        (150, 160, None),
        (210, 290, 10),
        (210, 310, None),
        (350, 390, 10),
        (350, 390, None),
        (410, 490, None),
        (410, 510, 20),
        (390, 510, 10),
        (550, 560, None),
        (610, 700, 20),
    ],
)
def test_what_a_get_may_return(began: int, ended: int, value: int | None) -> None:
    assert found(get(began, ended, value)) == []


@pytest.mark.parametrize(
    ("began", "ended", "value", "why"),
    [
        (0, 50, 10, "not begun"),
        (210, 290, None, "not begun"),
        (410, 490, 10, "overwritten by None"),
        (410, 490, 20, "not begun"),
        (610, 700, 10, "overwritten by 20"),
        (610, 700, None, "overwritten by 20"),
        (610, 700, 30, "never committed"),
    ],
)
def test_what_a_get_must_not_return(began: int, ended: int, value: int | None, why: str) -> None:
    (text,) = found(get(began, ended, value))
    assert why in text


def test_a_thread_does_not_go_back() -> None:
    assert found(get(510, 520, 20), get(530, 540, None)) == [
        "None after a newer one, in one thread"
    ]
    assert found(get(510, 520, 20, 1), get(530, 540, None, 2)) == []


def test_a_change_that_raised_may_have_happened_or_not() -> None:
    raised = Operation(0, "save", A, 700, 800, 30, None, "UnavailableError")
    assert found(raised, get(810, 820, 20)) == []
    history = [*COMMITS, Commit(7, A, 30)]
    for value in (20, 30):
        assert violations([*CHANGES, raised, get(810, 820, value)], history) == []


def test_a_delete_of_what_is_not_there_counts() -> None:
    again = Operation(0, "delete", A, 450, 460, 0, 4)
    assert found(again, get(470, 480, None)) == []
    assert found(again, get(470, 480, 10)) != []


def test_a_delete_before_the_first_save_is_no_state_of_its_own() -> None:
    early = Operation(0, "delete", A, 60, 90, 0, 0)
    assert found(early, get(0, 50, None)) == []
