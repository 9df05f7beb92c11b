"""However the parent or the supervisor ends, no process and no throw-away folder stays."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from conserver_supabase_storage.local.folder import remove_abandoned
from conserver_supabase_storage.local.supervisor import descendants, is_running

HOLD = """
import sys
from conserver_supabase_storage.local import LocalSupabase
with LocalSupabase(migrate=False) as stack:
    {prepare}
    print(stack.folder, flush=True)
    sys.stdin.read()
"""
UP = [sys.executable, "-m", "conserver_supabase_storage", "up"]


def until(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def all_gone(processes: list[int]) -> bool:
    return not any(map(is_running, processes))


@contextmanager
def holder(prepare: str = "pass") -> Iterator[tuple[subprocess.Popen[str], Path, list[int]]]:
    """A process that holds a stack: the process, the stack's folder, all processes below."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(prepare=prepare)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    with process:
        folder = Path(process.stdout.readline().strip())
        processes = descendants(process.pid)
        assert len(processes) > 5
        assert folder.exists()
        yield process, folder, processes
        process.kill()


def supervisor_of(processes: list[int]) -> int:
    return next(
        pid
        for pid in processes
        if "supervisor.py" in Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    )


def test_a_killed_parent_leaves_nothing() -> None:
    with holder() as (process, folder, processes):
        process.kill()
        assert until(lambda: all_gone(processes))
        assert until(lambda: not folder.exists())


def test_a_killed_parent_leaves_nothing_though_its_forked_child_lives() -> None:
    fork = "import os, time; child = os.fork(); child or time.sleep(600)"
    with holder(fork) as (process, folder, processes):
        child = next(pid for pid in processes if "-c" in cmdline(pid))
        processes.remove(child)
        process.kill()
        assert until(lambda: all_gone(processes))
        assert until(lambda: not folder.exists())
        assert is_running(child)
        os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_a_killed_supervisor_leaves_nothing_though_a_server_is_paused() -> None:
    with holder("stack.pause_service('postgres')") as (process, folder, processes):
        os.kill(supervisor_of(processes), signal.SIGKILL)
        assert until(lambda: all_gone(processes))
        process.communicate("", timeout=20)
        assert process.returncode == 0
        assert not folder.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_after_a_massacre_the_next_start_removes_the_folder() -> None:
    with holder() as (process, folder, processes):
        for pid in (process.pid, supervisor_of(processes)):
            os.kill(pid, signal.SIGKILL)
        assert until(lambda: all_gone(processes))
    assert folder.exists()
    long_ago = time.time() - 3600
    os.utime(folder, (long_ago, long_ago))
    remove_abandoned()  # as every start does
    assert not folder.exists()


def cmdline(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")


@contextmanager
def up(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*UP, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.kill()


def first_lines(process: subprocess.Popen[str], count: int) -> str:
    assert process.stdout
    return "".join(process.stdout.readline() for _ in range(count))


def test_up_prints_lines_to_paste_and_stops() -> None:
    with up() as process:
        lines = first_lines(process, 6)
        script = (
            f"{lines}\nexec {shlex.quote(sys.executable)} -c 'import json, os; "
            "print(json.dumps(dict(os.environ)))'"
        )
        pasted = json.loads(subprocess.check_output(["sh", "-c", script], text=True))
        answer = httpx.get(
            f"{pasted['SUPABASE_URL']}/rest/v1/",
            headers={"apikey": pasted["SUPABASE_SERVICE_ROLE_KEY"]},
        )
        assert answer.status_code == 200
        for name in ("SUPABASE_REST_URL", "SUPABASE_ANON_KEY", "REDIS_URL", "DATABASE_URL"):
            assert pasted[name]
        processes = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        more, told = process.communicate(timeout=20)
        assert process.returncode == 0
        assert more == ""
        assert "Ctrl-C" in told
        assert all_gone(processes)


def test_up_with_data_keeps_them_and_refuses_a_second(tmp_path: Path) -> None:
    seen = []
    for number in (signal.SIGTERM, signal.SIGINT):
        with up("--data", str(tmp_path / "kept"), "--json") as process:
            seen.append(json.loads(first_lines(process, 1)))
            second = subprocess.run(
                [*UP, "--data", str(tmp_path / "kept")],
                capture_output=True,
                text=True,
                check=False,
            )
            assert second.returncode == 1
            assert second.stdout == ""
            assert f"{tmp_path / 'kept'} is in use" in second.stderr
            assert "Traceback" not in second.stderr
            process.send_signal(number)
            process.communicate(timeout=20)
            assert process.returncode == 0
    assert seen[0] == seen[1]
