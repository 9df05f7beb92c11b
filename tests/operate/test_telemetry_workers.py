"""What workers count for Prometheus, each in its own files, is right in sum.

The workers are real processes, forked and spawned; one of them is killed. Needs the local Supabase.
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from conserver_supabase_storage.telemetry import names

from ..home import Supabase
from ..integration.servers import closed_port
from ..spool.support import environment
from ..vcons import Json, new_uuid, small_vcon

PROGRAM = """
import json, multiprocessing, os, signal, sys, warnings
from concurrent.futures import ThreadPoolExecutor
from conserver_supabase_storage import SupabaseStorage

warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads

def work(storage, options, vcon, end):
    storage = storage or SupabaseStorage(options)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: storage.save(vcon), range(10)))
        list(pool.map(storage.get, [vcon["uuid"]] * 90))
    storage.get("00000000-0000-4000-8000-000000000000")
    end.send(storage.stats())
    end.recv()
    storage.close()

if __name__ == "__main__":
    method, options, vcons = json.loads(sys.argv[1])
    context = multiprocessing.get_context(method)
    parent = SupabaseStorage(options)
    for _ in range(3):
        parent.save(vcons[0])
    workers = []
    for vcon in vcons:
        ours, theirs = context.Pipe()
        # A forked worker inherits its parent's storage, and goes on with it.
        storage = parent if method == "fork" else None
        worker = context.Process(target=work, args=[storage, options, vcon, theirs])
        worker.start()
        workers.append((worker, ours))
    counts = [parent.stats(), *(end.recv() for _, end in workers)]
    killed, *others = workers
    os.kill(killed[0].pid, signal.SIGKILL)
    for worker, end in others:
        end.send("go")
    for worker, _ in workers:
        worker.join(30)
    assert [worker.exitcode for worker, _ in workers] == [-9, *[0] * len(others)]
    parent.save(vcons[0])
    print(json.dumps([killed[0].pid, counts]))
    if "closed" in sys.argv:
        parent.close()
    else:
        os._exit(0)  # as if it were killed, too
"""


def collected(folder: Path) -> dict[str, float]:
    """Each sample, as Prometheus would have it: by its name and its labels' values."""
    collector = MultiProcessCollector(None, path=str(folder))  # type: ignore[no-untyped-call]
    return {
        " ".join([sample.name.removeprefix("supabase_storage_"), *sample.labels.values()]): value
        for metric in collector.collect()  # type: ignore[no-untyped-call]
        for sample in metric.samples
        if (value := sample.value) or sample.name.endswith("open")
    }


def run(tmp_path: Path, folder: Path, *arguments: object) -> tuple[str, str]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, "utf-8")
    done = subprocess.run(
        [sys.executable, str(program), *map(str, arguments)],
        env=environment(PROMETHEUS_MULTIPROC_DIR=str(folder)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "counts"
    folder.mkdir()
    return folder


@pytest.fixture
def cached(options: Json, stack: Supabase) -> Json:
    # The timeout: a machine that stalls must not open a breaker.
    own = {"cache_prefix": f"test-{new_uuid()}:", "redis_timeout": 5.0}
    return options | {"redis_url": stack.redis_url} | own


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_counts_of_all_workers_are_right_to_the_last_one(
    tmp_path: Path, folder: Path, cached: Json, method: str
) -> None:
    arguments = json.dumps([method, cached, [small_vcon() for _ in range(3)]])
    output, _ = run(tmp_path, folder, arguments)
    killed, counts = json.loads(output)
    found = collected(folder)
    assert found["operation_duration_seconds_count save ok"] == 4 + 3 * 10
    assert found["operation_duration_seconds_count get ok"] == 3 * 90
    assert found["operation_duration_seconds_count get not_found"] == 3
    assert found["operation_duration_seconds_bucket save ok +Inf"] == 34
    total = sum((Counter(each) for each in counts), Counter[str]())
    for result, number in total.items():
        assert found[f"cache_total {result}"] == number
    assert total["hit"] > 0
    assert found["bytes_total sent"] > 34 * 3_000
    assert found["bytes_total received"] > 34 * 100
    assert "retries_total" not in found
    mark_process_dead(killed, str(folder))  # type: ignore[no-untyped-call]
    assert collected(folder) == found  # but for the gauge: it was 0


def test_the_gauge_of_a_killed_worker_goes_with_it(
    tmp_path: Path, folder: Path, cached: Json
) -> None:
    with closed_port() as url:
        options = cached | {"redis_url": url.replace("http", "redis")}
        arguments = json.dumps(["spawn", options, [small_vcon() for _ in range(2)]])
        output, _ = run(tmp_path, folder, arguments, "closed")
    killed, counts = json.loads(output)
    found = collected(folder)
    # The parent and the other worker closed their storages; the killed worker did not.
    assert (found["breaker_open cache"], found["breaker_open spool"]) == (1, 1)
    assert found["cache_total bypass"] == sum(each["bypass"] for each in counts[1:])
    mark_process_dead(killed, str(folder))  # type: ignore[no-untyped-call]
    left = collected(folder)
    assert (left["breaker_open cache"], left["breaker_open spool"]) == (0, 0)
    assert left["cache_total bypass"] == found["cache_total bypass"]


def test_every_series_has_a_name_and_labels_of_the_fixed_set(
    tmp_path: Path, folder: Path, cached: Json
) -> None:
    run(tmp_path, folder, json.dumps(["spawn", cached, [small_vcon()]]))
    known = {f"supabase_storage_{m.prometheus}": m.labels for m in names.METRICS if m.prometheus}
    collector = MultiProcessCollector(None, path=str(folder))  # type: ignore[no-untyped-call]
    found: set[str] = set()
    for metric in collector.collect():  # type: ignore[no-untyped-call]
        for sample in metric.samples:
            labels = {name: value for name, value in sample.labels.items() if name != "le"}
            assert set(labels) == set(known[metric.name])
            assert all(value in known[metric.name][name] for name, value in labels.items())
        found.add(metric.name)
    assert found == set(known)


ONE = """
import json, sys
from conserver_supabase_storage import SupabaseStorage
options, vcon = json.loads(sys.argv[1])
with SupabaseStorage(options) as storage:
    for _ in range(3):
        storage.save(vcon)
    print(storage.stats().get("bypass", 0))
"""


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("", "No such file or directory"),
        ("import sys; sys.modules['prometheus_client'] = None", "prometheus_client is missing"),
        (
            "import os; folder = os.environ.pop('PROMETHEUS_MULTIPROC_DIR'); "
            "import prometheus_client; os.environ['PROMETHEUS_MULTIPROC_DIR'] = folder",
            "was set after prometheus_client was loaded",
        ),
    ],
    ids=["no folder", "no library", "too late"],
)
def test_what_cannot_be_counted_is_said_once_and_stops_nothing(
    tmp_path: Path, options: Json, before: str, said: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{before}\n{ONE}", json.dumps([options, small_vcon()])],
        env=environment(PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "nowhere")),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_a_folder_that_goes_stops_nothing(tmp_path: Path, folder: Path, options: Json) -> None:
    """A forked child's first count opens files of its own."""
    code = f"""
import os, shutil, warnings
warnings.simplefilter("ignore", DeprecationWarning)
{ONE}
shutil.rmtree({str(folder)!r})
storage = SupabaseStorage(options)
if not (pid := os.fork()):
    try:
        storage.save(vcon)
        storage.save(vcon)
        assert storage.get(vcon["uuid"]) == vcon
        print("fine", flush=True)
    finally:
        os._exit(0)
os.waitpid(pid, 0)
"""
    done: Any = subprocess.run(
        [sys.executable, "-c", code, json.dumps([options, small_vcon()])],
        env=environment(PROMETHEUS_MULTIPROC_DIR=str(folder)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == ["0", "fine"], done.stderr
    assert done.stderr.count("\n") == 1
    assert "No such file or directory" in done.stderr
