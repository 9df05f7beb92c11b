"""Progress on a terminal and elsewhere; see `common.progress`."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

# Seconds between two lines.
_EVERY = 5.0


def on_terminal() -> bool:
    """Whether standard error is a terminal on which a bar can be drawn."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def bar(name: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Draw a bar."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> str:
            speed = task.finished_speed or task.speed
            return "" if speed is None else _rate(speed)

    columns = (
        TextColumn(name),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
    )
    # Results may be printed meanwhile: they are not for standard error.
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False) as drawn:
        task = drawn.add_task(name, total=total)
        yield lambda count: drawn.advance(task, count)


@contextmanager
def lines(name: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Write a line every few seconds, and one at the end, also where the end is an error."""
    began = told = time.monotonic()
    done = 0

    def tell() -> None:
        speed = done / max(time.monotonic() - began, 1e-9)
        text = f"{name}: {done}" if total is None else f"{name}: {done} of {total}"
        text += f", {_rate(speed)}"
        if total is not None and done < total:
            text += f", {_time(round((total - done) / speed))} left"
        typer.echo(text, err=True)

    def advance(count: int) -> None:
        nonlocal done, told
        done += count
        if done and time.monotonic() - told >= _EVERY:
            told = time.monotonic()
            tell()

    try:
        yield advance
    finally:
        if done:
            tell()


def _rate(speed: float) -> str:
    return f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s"


def _time(seconds: int) -> str:
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
