"""This process's end of the supervisor, and what it takes to run one server."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from .errors import LocalSupabaseError
from .supervisor import descendants, is_running, remove

_CLOSE_SECONDS = 40.0
_ORPHANS_SECONDS = 10.0
_LOG_TAIL_LINES = 20
# Nothing of the user's own PG*, PGRST_* or REDIS_* settings reaches the servers.
_PASSED_ON = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")


def clean_environment(**more: str) -> dict[str, str]:
    """The environment of a server: little of ours, and what is given."""
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return passed_on | {"LC_ALL": "C", "TZ": "UTC"} | more


@dataclass(frozen=True, kw_only=True)
class Server:
    """How to run one server and to see that it is up."""

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    directory: Path
    """Where it starts."""
    ports: tuple[int, ...] = ()
    owner: tuple[int, int] | None = None
    """User and group id to run as; None is our own."""
    stop_signal: int = signal.SIGTERM
    death_signal: int = signal.SIGKILL
    """What the kernel sends it when the supervisor is killed (Linux)."""
    is_ready: Callable[[], bool] = lambda: True


class Supervisor:
    """The supervisor process of one stack."""

    def __init__(self, folder: Path, *, throw_away: bool, lock: int) -> None:
        """Start it.

        Args:
            folder: its working directory and the place of its log.
            throw_away: whether the folder is removed in the end.
            lock: a file descriptor that it holds as long as it runs.
        """
        script = Path(__file__).with_name("supervisor.py")
        fate = "throw-away" if throw_away else "keep"
        with (folder / "supervisor.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(script), str(os.getpid()), str(folder), fate],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                env=clean_environment(),
                pass_fds=(lock,),
                # Ctrl-C in a terminal reaches us, and we stop it in good order.
                start_new_session=True,
            )
        self._stdin = cast("IO[bytes]", self._process.stdin)
        self._stdout = cast("IO[bytes]", self._process.stdout)
        self.pid = self._process.pid
        self._owner = os.getpid()
        self._folder = folder
        self._throw_away = throw_away
        self._lock = threading.Lock()
        self._servers: dict[str, tuple[Server, int]] = {}

    def start(self, server: Server) -> int:
        """Start a server and return its process id. It may not be ready yet.

        Raises:
            LocalSupabaseError: it can't be started, or the supervisor is gone.
        """
        pid = self._ask(
            do="start",
            name=server.name,
            command=server.command,
            environment=server.environment,
            log=str(server.log),
            directory=str(server.directory),
            owner=server.owner,
            stop_signal=server.stop_signal,
            death_signal=server.death_signal,
        )["pid"]
        self._servers[server.name] = (server, pid)
        return int(pid)

    def wait(self, name: str, timeout: float = 0.0) -> int | None:
        """The exit code of a server, or None if it still runs after `timeout` seconds."""
        code = self._ask(do="wait", name=name, timeout=timeout)["code"]
        return None if code is None else int(code)

    def wait_until_ready(self, server: Server, timeout: float = 30.0) -> bool:
        """Wait until a server answers; False if it ended instead.

        Raises:
            LocalSupabaseError: it neither answers nor ends within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not server.is_ready():
            if self.wait(server.name, timeout=0.02) is not None:
                return False
            if time.monotonic() > deadline:
                raise LocalSupabaseError(
                    f"{server.name} does not answer after {timeout:g} s.{log_tail(server.log)}"
                )
        return self.wait(server.name) is None

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a server and all of its descendants."""
        self._ask(do="signal", name=name, number=int(number))

    def stop(self, name: str, *, kill: bool = False) -> int:
        """Stop a server and return its exit code; with `kill`, by SIGKILL to its whole tree."""
        code = self._ask(do="stop", name=name, kill=kill)["code"]
        del self._servers[name]
        return int(code)

    def running(self) -> dict[str, int]:
        """The process ids of the servers that were started and not stopped, by name."""
        return {name: pid for name, (_, pid) in self._servers.items()}

    def close(self) -> None:
        """Stop all servers, remove throw-away data, and end.

        Does nothing in a forked child, whose parent goes on using the servers.
        """
        if os.getpid() != self._owner:
            return
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        try:
            self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()
        if self._process.returncode != 0:
            self._clean_up_after_it()

    def _clean_up_after_it(self) -> None:
        """Do what a supervisor that was killed could not.

        The kernel has told its servers on Linux; elsewhere nobody has.
        """
        for server, pid in self._servers.values():
            _signal(pid, server.stop_signal)
        deadline = time.monotonic() + _ORPHANS_SECONDS
        while left := [pid for pid in self.running().values() if is_running(pid)]:
            if time.monotonic() > deadline:
                for pid in [below for root in left for below in (root, *descendants(root))]:
                    _signal(pid, signal.SIGKILL)
                break
            time.sleep(0.02)
        if self._throw_away:
            remove(self._folder)

    def _ask(self, **request: Any) -> dict[str, Any]:
        line = b""
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._stdin.write(json.dumps(request).encode() + b"\n")
            self._stdin.flush()
            line = self._stdout.readline()
        if not line:
            raise LocalSupabaseError("The supervisor of the local servers is gone")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise LocalSupabaseError(f"{request['name']}: {answer['error']}")
        return answer


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def log_tail(log: Path) -> str:
    """The last lines of a log file, ready to stand at the end of an error text."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
    except FileNotFoundError:
        lines = []
    text = "\n  ".join(lines) or "(empty)"
    return f"\nThe end of {log}:\n  {text}"
