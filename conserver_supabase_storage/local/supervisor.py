"""Holds the servers of one local Supabase, and takes them down with whoever started it.

Run by path with ``python -I -S`` and the standard library alone, so that it is up in
milliseconds whatever the package imports::

    supervisor.py PARENT_PID FOLDER keep|throw-away

Reads one JSON command per line on stdin and answers with one JSON line on stdout. When stdin
ends, or the parent is gone, or on SIGTERM, it stops every server and removes throw-away data.
The parent's death shows as the end of stdin; a child that the parent forked may hold the pipe
open, so its process id is watched too.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

_LAUNCH = Path(__file__).with_name("launch.py")
_PARENT_CHECK_SECONDS = 0.5
_STOP_SECONDS = 15.0
_REMOVE_SECONDS = 10.0


def descendants(root: int) -> list[int]:
    """Process ids below a process, parents first. Those of Postgres lead sessions of their own."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents().items():
        children.setdefault(parent, []).append(pid)
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found[1:]


def _parents() -> dict[int, int]:
    if not Path("/proc/self/stat").exists():
        listing = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
        ).stdout
        return {int(pid): int(parent) for pid, parent in map(str.split, listing.splitlines())}
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            # The name, in parentheses, may hold anything; the fields after it may not.
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    return parents


def is_running(pid: int) -> bool:
    """Whether a process is there and not only waiting to be reaped."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            return stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Servers:
    """The running servers by name, in the order in which they were started."""

    def __init__(self) -> None:
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._stop_signals: dict[str, int] = {}

    def start(
        self,
        *,
        name: str,
        command: list[str],
        environment: dict[str, str],
        log: str,
        directory: str,
        owner: list[int] | None,
        stop_signal: int,
        death_signal: int,
    ) -> dict[str, Any]:
        """Start a server; its output is appended to the log file."""
        user = ":".join(map(str, owner)) if owner else "-"
        wrapper = [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), str(death_signal)]
        with Path(log).open("ab") as output:
            # A group of its own in this session: should this process be killed while the server
            # is stopped by SIGSTOP, the kernel wakes the orphaned group, and it can shut down.
            self._processes[name] = subprocess.Popen(
                [*wrapper, user, *command],
                env=environment,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
            )
        self._stop_signals[name] = stop_signal
        return {"pid": self._processes[name].pid}

    def wait(self, name: str, timeout: float) -> dict[str, Any]:
        """The exit code of a server, or null if it still runs after `timeout` seconds."""
        try:
            return {"code": self._processes[name].wait(timeout)}
        except subprocess.TimeoutExpired:
            return {"code": None}

    def signal(self, name: str, number: int) -> dict[str, Any]:
        """Send a signal to a server and all of its descendants, the server first."""
        process = self._processes[name]
        if process.poll() is None:
            process.send_signal(number)  # first: while it is stopped it forks no more
            for pid in descendants(process.pid):
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
        return {}

    def ask_to_stop(self, name: str) -> None:
        """Send the signal with which a server shuts down, and wake it if it is paused."""
        process = self._processes[name]
        if process.poll() is None:
            process.send_signal(self._stop_signals[name])
            self.signal(name, signal.SIGCONT)

    def stop(self, name: str, kill: bool) -> dict[str, Any]:
        """Stop a server, at once if `kill`, and return its exit code."""
        if kill:
            self._kill(name)
        else:
            self.ask_to_stop(name)
        return self._reap(name)

    def stop_all(self) -> None:
        """Stop every server, the youngest first, all at the same time."""
        names = list(reversed(self._processes))
        for name in names:
            self.ask_to_stop(name)
        for name in names:
            self._reap(name)

    def _reap(self, name: str) -> dict[str, Any]:
        if self.wait(name, _STOP_SECONDS)["code"] is None:
            self._kill(name)
        return {"code": self._processes.pop(name).wait()}

    def _kill(self, name: str) -> None:
        process = self._processes[name]
        if process.poll() is not None:
            return
        self.signal(name, signal.SIGSTOP)  # so that nothing new comes up meanwhile
        # Listed while the server lives: once it is dead, its children are someone else's.
        doomed = [*descendants(process.pid), process.pid]
        for pid in doomed:
            os.kill(pid, signal.SIGKILL)
        # A Postgres would not start again while one of its old processes still holds memory.
        deadline = time.monotonic() + _STOP_SECONDS
        while any(map(is_running, doomed)) and time.monotonic() < deadline:
            time.sleep(0.005)


def serve(servers: Servers, parent: int) -> None:
    """Obey commands until stdin ends or the parent is gone."""
    commands: dict[str, Callable[..., dict[str, Any]]] = {
        "start": servers.start,
        "wait": servers.wait,
        "signal": servers.signal,
        "stop": servers.stop,
    }
    buffer = b""
    while os.getppid() == parent:
        if not select.select([0], [], [], _PARENT_CHECK_SECONDS)[0]:
            continue
        received = os.read(0, 65536)
        if not received:
            return
        *lines, buffer = (buffer + received).split(b"\n")
        for line in lines:
            request = json.loads(line)
            command = commands[request.pop("do")]
            try:
                answer = command(**request)
            except KeyError:
                answer = {"error": "it does not run"}
            except OSError as error:
                answer = {"error": str(error)}
            os.write(1, json.dumps(answer).encode() + b"\n")


def remove(folder: Path) -> None:
    """Remove a folder, again if a server that is going away still writes into it."""
    deadline = time.monotonic() + _REMOVE_SECONDS
    shutil.rmtree(folder, ignore_errors=True)
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
        shutil.rmtree(folder, ignore_errors=True)


def _leave(number: int, _frame: FrameType | None) -> None:
    # A second signal must not cut the cleaning up short.
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def main() -> None:
    """Serve, then clean up, however serving ended."""
    parent, folder, fate = sys.argv[1:]
    os.umask(0o077)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _leave)
    servers = Servers()
    try:
        serve(servers, int(parent))
    except BrokenPipeError:
        pass  # the parent went away between its question and our answer
    finally:
        servers.stop_all()
        if fate == "throw-away":
            os.chdir("/")
            remove(Path(folder))


if __name__ == "__main__":
    main()
