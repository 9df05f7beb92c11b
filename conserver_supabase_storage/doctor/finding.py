"""What a check finds: a line of the report. Pure."""

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """How it is with what was looked at; skipped where a check before it failed."""

    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"
    SKIPPED = "skipped"


class Finding(NamedTuple):
    """One line.

    Attributes:
        check: what was looked at.
        state: how it is.
        text: what was seen.
        fix: what to do about it, in a sentence; None where nothing is to do.
    """

    check: str
    state: State
    text: str
    fix: str | None = None


def ok(check: str, text: str) -> Finding:
    """It is as it should be."""
    return Finding(check, State.OK, text)


def warning(check: str, text: str, fix: str) -> Finding:
    """It works, and will hurt some day."""
    return Finding(check, State.WARNING, text, fix)


def broken(check: str, text: str, fix: str) -> Finding:
    """It does not work, or others may do what they must not."""
    return Finding(check, State.BROKEN, text, fix)


def skipped(check: str, because: str) -> Finding:
    """It can't be told, because of another check that failed."""
    return Finding(check, State.SKIPPED, f"not looked at: {because}")
