"""Holds a check to its time, also where the system has no timeout for what it does."""

import threading
from collections.abc import Callable

# Seconds that a question to a server may take: an operator waits, and a slower answer is a finding.
LIMIT = 3.0


def within[T](seconds: float, ask: Callable[[], T]) -> T:
    """Return what `ask` returns, or raise what it raises; it is left behind when time is up.

    Raises:
        TimeoutError: it took longer.
    """
    answers: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            answers.append(ask())
        except Exception as error:  # noqa: BLE001  raised below, in the thread that asked
            errors.append(error)

    # A daemon, and no executor: those wait for their threads when the process ends.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise TimeoutError
    return answers[0]
