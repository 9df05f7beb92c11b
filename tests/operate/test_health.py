"""The probes' command: what it exits with, and says, with servers there and away."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from conserver_supabase_storage.cli import app

from ..conftest import options_without_cache
from ..home import Supabase
from ..integration.servers import closed_port
from ..vcons import Json


@pytest.fixture
def options(stack: Supabase) -> Json:
    return options_without_cache(stack) | {"redis_url": stack.redis_url, "redis_timeout": 2.0}


def run(tmp_path: Path, options: Json, *arguments: str) -> Any:
    config = tmp_path / "config.yml"
    ours = {"module": "conserver_supabase_storage", "options": options}
    config.write_text(yaml.safe_dump({"storages": {"supabase": ours}}), "utf-8")
    return CliRunner().invoke(app, ["health", "--config", str(config), *arguments])


@pytest.mark.parametrize("arguments", [[], ["--ready"]])
def test_ready(tmp_path: Path, options: Json, arguments: list[str]) -> None:
    done = run(tmp_path, options, "--json", *arguments)
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert (found["status"], found["database"], found["cache"]) == ("ok", "ok", "ok")
    assert "status: ok\n" in run(tmp_path, options, *arguments).stdout


def test_degraded_is_ready(tmp_path: Path, options: Json) -> None:
    with closed_port() as url:
        away = options | {"redis_url": url.replace("http", "redis")}
        done = run(tmp_path, away, "--ready", "--json")
    assert (done.exit_code, json.loads(done.stdout)["status"]) == (0, "degraded")


@pytest.mark.parametrize("wrong", ["url", "key"])
def test_down_is_not_ready_but_alive(tmp_path: Path, options: Json, wrong: str) -> None:
    with closed_port() as url:
        ways: dict[str, Json] = {
            "url": {"rest_url": url, "total_timeout": 1.0},
            "key": {"key": "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl"},
        }
        away = ways[wrong]
        done = run(tmp_path, options | away, "--ready", "--json")
        assert (done.exit_code, json.loads(done.stdout)["status"]) == (1, "down")
        assert run(tmp_path, options | away, "--live").exit_code == 0


def test_options_that_cannot_be_used_are_not_alive(tmp_path: Path, options: Json) -> None:
    done = run(tmp_path, options | {"cache_ttl": "soon"}, "--live")
    assert done.exit_code == 1
    assert "cache_ttl" in done.stderr


def test_one_question_at_a_time(tmp_path: Path, options: Json) -> None:
    assert run(tmp_path, options, "--live", "--ready").exit_code == 2
