"""deploy/worker.Dockerfile builds on a conserver's image and works there. Needs containers.

A conserver's image can't be pulled everywhere: a plain Python stands in for it.
"""

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import images

ROOT = Path(__file__).parents[2]
BASE = "python:3.12-slim"


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    if not images.all_here(images.load()):
        pytest.skip("no Docker engine answers, or it lacks an image (scripts/test --containers)")
    tag = f"conserver-supabase-storage/worker:{uuid.uuid4()}"
    dockerfile = str(ROOT / "deploy" / "worker.Dockerfile")
    argument = f"CONSERVER_IMAGE={BASE}"
    docker("build", "--build-arg", argument, "--file", dockerfile, "--tag", tag, str(ROOT))
    yield tag
    docker("image", "rm", "--force", tag)


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_storage_and_its_commands_are_in_it(image: str) -> None:
    code = "import conserver_supabase_storage as ours; print(sorted(ours.default_options))"
    assert "cache_prefix" in docker("run", "--rm", image, "python", "-c", code)
    program = "conserver-supabase-storage"
    assert "vcon_storage_version_v1" in docker("run", "--rm", image, program, "migrate", "--print")
    folder = ("--env", "PROMETHEUS_MULTIPROC_DIR=/tmp")
    assert (
        docker("run", "--rm", *folder, image, program, "metrics", "--workers-only", "--once") == ""
    )


def test_it_starts_as_the_conservers_own(image: str) -> None:
    for of in ("{{json .Config.Cmd}}", "{{json .Config.Entrypoint}}", "{{.Config.User}}"):
        ours = docker("image", "inspect", "--format", of, image)
        assert ours == docker("image", "inspect", "--format", of, BASE)
