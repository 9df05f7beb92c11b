"""Runs commands as an operator does: as processes, with pipes or on a terminal."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

COMMAND = [sys.executable, "-m", "conserver_supabase_storage"]
PROGRAM = Path(sys.executable).parent / "conserver-supabase-storage"

type Environment = dict[str, str]

# A wide terminal, without colours: usage errors are drawn for the one that they find.
_PLAIN = {"COLUMNS": "200", "NO_COLOR": "1"}

# A run in the background of a shell ignores interrupts, and hands that down.
_heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)


def run(
    environment: Environment, *arguments: str, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """With pipes for standard output and error, and no terminal."""
    return subprocess.run(
        [*COMMAND, *arguments],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **_PLAIN, "TERM": "dumb", **environment},
    )


@contextmanager
def started(environment: Environment, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The same, to be interrupted."""
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **_PLAIN, "TERM": "dumb", **environment},
        preexec_fn=_heed,  # noqa: PLW1509 - no threads here
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class Terminal:
    """A command on a terminal of its own, which is its standard input, output and error."""

    def __init__(self, environment: Environment, *command: str) -> None:
        self.shown = ""
        self._ours, its = pty.openpty()
        self._process = subprocess.Popen(
            command,
            stdin=its,
            stdout=its,
            stderr=its,
            env={**os.environ, **_PLAIN, "TERM": "xterm", **environment},
            start_new_session=True,
            preexec_fn=_heed,  # noqa: PLW1509 - no threads here
        )
        os.close(its)

    def until(self, text: str, seconds: float = 30.0) -> None:
        """Read until a text is shown."""
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < deadline, f"{text!r} is not in {self.shown!r}"
            if not self._read():
                raise AssertionError(f"it ended, and {text!r} is not in {self.shown!r}")

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def end(self, seconds: float = 30.0) -> int:
        """Read what is left, and return the exit code."""
        deadline = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < deadline, self.shown
        return self._process.wait(seconds)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def _read(self) -> bool:
        if not select.select([self._ours], [], [], 0.2)[0]:
            return True
        try:
            piece = os.read(self._ours, 100_000)
        except OSError:  # the other side is closed
            return False
        self.shown += piece.decode(errors="replace").replace("\r\n", "\n")
        return bool(piece)


def on_terminal(environment: Environment, *arguments: str) -> Terminal:
    return Terminal(environment, *COMMAND, *arguments)
