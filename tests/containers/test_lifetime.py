"""Nothing is left behind: by a run that ends, nor by one that is killed. Needs containers."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from docker import DockerClient
from testcontainers.core.labels import LABEL_SESSION_ID

from . import images
from .supabase import ContainerSupabase

SCRIPT = f"""
import sys
from testcontainers.core.labels import SESSION_ID
from {ContainerSupabase.__module__} import ContainerSupabase
from {images.__name__} import load

with ContainerSupabase(load()):
    print(SESSION_ID, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def engine() -> Iterator[DockerClient]:
    if not images.all_here(images.load()):
        pytest.skip("no Docker engine answers, or it lacks an image (scripts/test --containers)")
    client = images.client()
    yield client
    client.close()


@pytest.fixture
def run(engine: DockerClient) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def left(engine: DockerClient, session: str) -> int:
    """How many containers and networks of a run there are."""
    label = f"{LABEL_SESSION_ID}={session}"
    containers = engine.containers.list(all=True, filters={"label": label})
    return len(containers) + len(engine.networks.list(filters={"label": label}))


def test_a_run_that_ends(engine: DockerClient, run: "subprocess.Popen[str]") -> None:
    session = started(run)
    assert left(engine, session) >= 5
    assert run.stdin
    run.stdin.close()
    assert run.wait(60) == 0
    assert left(engine, session) == 0


def test_a_run_that_is_killed(engine: DockerClient, run: "subprocess.Popen[str]") -> None:
    if os.environ.get("TESTCONTAINERS_RYUK_DISABLED") == "true":
        pytest.skip("no reaper: this engine was started for the run, and ends with its containers")
    session = started(run)
    run.kill()
    deadline = time.monotonic() + 60
    while left(engine, session) > 0:
        assert time.monotonic() < deadline
        time.sleep(0.5)


def started(run: "subprocess.Popen[str]") -> str:
    assert run.stdout
    session = run.stdout.readline().strip()
    assert session
    return session
