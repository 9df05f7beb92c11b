"""A real Prometheus that scrapes our exporters beside workers at work, as prometheus.yml says."""

import json
import os
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from conserver_supabase_storage.local import folder as folders
from conserver_supabase_storage.local.ports import LOOPBACK, free_port
from conserver_supabase_storage.local.processes import Server, Supervisor, clean_environment
from conserver_supabase_storage.local.rest_server import http_status

from ..vcons import Json
from . import files

# So often as a person would not, so that a test need not wait.
INTERVAL = "500ms"

WORKER = """
import json, sys, time, uuid
from conserver_supabase_storage import InvalidVconError, RefusedError, SupabaseStorage

options, away = json.loads(sys.argv[1]), json.loads(sys.argv[2])

def vcon():
    return {"uuid": str(uuid.uuid4()), "created_at": "2026-01-02T03:04:05Z", "parties": []}

def attempt(call, *arguments):
    try:
        call(*arguments)
    except (InvalidVconError, RefusedError):
        pass

with SupabaseStorage(options) as storage, SupabaseStorage(away) as lonely:
    print("ready", flush=True)
    for line in sys.stdin:
        one = vcon()
        storage.save(one)
        storage.save_many([vcon(), vcon()])
        storage.get(one["uuid"])
        storage.get(vcon()["uuid"])
        storage.delete(one["uuid"])
        storage.search({"limit": 1})
        attempt(storage.save, {"no": "vCon"})
        lonely.save(vcon())
        storage.replay()
        print("done", flush=True)
"""


class Worker:
    """A process that uses the storage, round by round."""

    def __init__(self, options: Json, away: Json, multiprocess: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, json.dumps(options), json.dumps(away)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(multiprocess)},
        )
        self._answers("ready")

    def work(self) -> None:
        """One round: one of everything."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self._answers("done")

    def kill(self) -> None:
        """By force, as when memory is short."""
        self.process.kill()
        self.process.communicate()

    def _answers(self, word: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == f"{word}\n"


class Prometheus:
    """The HTTP API of the server."""

    def __init__(self, port: int) -> None:
        self._url = f"http://{LOOPBACK}:{port}"

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The samples of an expression now; an error of the expression is raised."""
        found: list[dict[str, Any]] = self.ask("query", query=expr)["result"]
        return found

    def value(self, expr: str) -> float | None:
        """The one sample of an expression, or None if there is none."""
        found = self.query(expr)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    def ask(self, what: str, **parameters: str) -> Any:
        """An answer of the API."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self._url}/api/v1/{what}?{query}", timeout=10) as answer:
            return json.load(answer)["data"]

    def wait_for(self, expr: str, seconds: float = 30.0) -> None:
        """Wait until an expression has a sample."""
        deadline = time.monotonic() + seconds
        while not self.query(expr):
            assert time.monotonic() < deadline, f"{expr} has no value"
            time.sleep(0.2)


@contextmanager
def running(programs: Path, options: Json, multiprocess: Path) -> Iterator[Prometheus]:
    """Both exporters of prometheus.yml, and Prometheus with our rules; they end with this process.

    Args:
        programs: the folder of the program `prometheus`.
        options: those of the exporter.
        multiprocess: the workers' PROMETHEUS_MULTIPROC_DIR.
    """
    folder = folders.make(None)
    lock = folders.lock(folder)
    try:
        supervisor = Supervisor(folder, throw_away=True, lock=lock)
    finally:
        os.close(lock)
    try:
        taken: set[int] = set()
        for _ in range(3):
            taken.add(free_port(taken))
        servers, workers, own = sorted(taken)
        given = [f"{name}={value}" for name, value in options.items() if value is not None]
        flags = [part for pair in given for part in ("-o", pair)]
        environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        started = [
            _exporter(folder, "exporter", servers, flags, environment),
            _exporter(
                folder,
                "workers",
                workers,
                ["--workers-only", "--forget-dead"],
                environment | {"PROMETHEUS_MULTIPROC_DIR": str(multiprocess)},
            ),
            _prometheus(programs, folder, own, {servers, workers}),
        ]
        for server in started:
            supervisor.start(server)
        for server in started:
            assert supervisor.wait_until_ready(server), server.log.read_text()
        yield Prometheus(own)
    finally:
        supervisor.close()


def _exporter(
    folder: Path, name: str, port: int, flags: list[str], environment: dict[str, str]
) -> Server:
    command = [sys.executable, "-m", "conserver_supabase_storage", "metrics"]
    return Server(
        name=name,
        command=[*command, "--listen", f"{LOOPBACK}:{port}", *flags],
        environment=clean_environment(**environment),
        log=folder / f"{name}.log",
        directory=folder,
        ports=(port,),
        is_ready=lambda: http_status(port, "/metrics") == 200,
    )


def _prometheus(programs: Path, folder: Path, port: int, targets: set[int]) -> Server:
    """Prometheus as in prometheus.yml, but for the targets and the pace."""
    config = yaml.safe_load((files.FOLDER / "prometheus.yml").read_text("utf-8"))
    config["global"] = {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL}
    config["global"]["scrape_timeout"] = INTERVAL
    config["rule_files"] = [str(files.FOLDER / name) for name in config["rule_files"]]
    for job, target in zip(config["scrape_configs"], sorted(targets), strict=True):
        job["static_configs"] = [{"targets": [f"{LOOPBACK}:{target}"]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
    command = [
        str(programs / "prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/tsdb",
        f"--web.listen-address={LOOPBACK}:{port}",
        "--log.level=warn",
    ]
    return Server(
        name="prometheus",
        command=command,
        environment=clean_environment(),
        log=folder / "prometheus.log",
        directory=folder,
        ports=(port,),
        is_ready=lambda: http_status(port, "/-/ready") == 200,
    )
