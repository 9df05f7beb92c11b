"""What all commands have in common: help that teaches, JSON of what is reported, exit codes.

A new command is in all of these as soon as it is registered.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from conserver_supabase_storage.cli import app

from .running import run

PROGRAM = "conserver-supabase-storage"

# Those that report nothing in JSON, and why.
NO_JSON = {"metrics": "it speaks Prometheus' own text format"}


def commands() -> Iterator[tuple[str, Any]]:
    group = typer.main.get_group(app)
    for name, command in group.commands.items():
        yield name, command
        for inner, its in getattr(command, "commands", {}).items():
            yield f"{name} {inner}", its


ALL = list(commands())
RUN = [(name, command) for name, command in ALL if not hasattr(command, "commands")]


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
def test_help_teaches(name: str, command: Any) -> None:
    shown = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert f"{PROGRAM} {name}" in shown.stdout  # an example
    # In a block of its own, which docs/commands.md shows and tests/docs runs.
    examples = re.findall(r"```sh\n(.*?)\n```", command.help, re.DOTALL)
    assert any(f"{PROGRAM} {name}" in example for example in examples)
    first = command.help.splitlines()[0]
    assert first.endswith((".", ":"))
    for option in command.params:
        if option.param_type_name == "option":
            assert option.help, option.name


@pytest.mark.parametrize(("name", "command"), RUN, ids=[name for name, _ in RUN])
def test_json_where_something_is_reported(name: str, command: Any) -> None:
    has = any("--json" in option.opts for option in command.params)
    assert has != (name in NO_JSON), name


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
def test_wrong_usage_ends_with_2(name: str, command: Any) -> None:
    done = CliRunner().invoke(app, [*name.split(), "--no-such-option"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--no-such-option" in done.stderr


def test_the_whole(environment: dict[str, str]) -> None:
    version = run(environment, "--version")
    assert version.returncode == 0
    assert re.fullmatch(rf"{PROGRAM} \d+\.\d+\.\S+\n", version.stdout)
    shown = run(environment, "--help")
    assert shown.returncode == 0
    for name, _ in ALL:
        assert " " in name or name in shown.stdout
    assert "Exit codes" in shown.stdout
    nothing = run(environment)
    assert nothing.returncode == 2
    assert "Usage" in nothing.stdout + nothing.stderr
    unknown = run(environment, "fly")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "fly" in unknown.stderr


def test_a_reader_that_goes_away_is_no_traceback(environment: dict[str, str]) -> None:
    import os
    import subprocess
    import sys

    line = f"{sys.executable} -m conserver_supabase_storage migrate --print | head -n 1"
    done = subprocess.run(
        ["bash", "-c", line],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""
