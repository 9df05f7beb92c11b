"""Completion in a real bash, installed and used as a person does."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from .running import PROGRAM, Environment, Terminal

pytestmark = pytest.mark.skipif(
    shutil.which("bash") is None or not PROGRAM.exists(), reason="needs bash and the program"
)


@pytest.fixture
def shell(tmp_path: Path) -> Environment:
    """A home of its own, where completion is installed."""
    (tmp_path / ".bashrc").write_text("PS1='ready> '\nbind 'set enable-bracketed-paste off'\n")
    environment = {
        "HOME": str(tmp_path),
        "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}",
        "INPUTRC": "/dev/null",
    }
    # Not the only command of that shell, which would then be replaced by it, and not be found.
    done = subprocess.run(
        ["bash", "-c", f"{PROGRAM.name} --install-completion; true"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "bash completion installed in" in done.stdout
    return environment


def completed(shell: Environment, typed: str, wanted: str) -> None:
    """Type something and the tabulator, and see what becomes of it."""
    with Terminal(shell, "bash", "--noprofile", "-i") as terminal:
        terminal.until("ready> ")
        terminal.type(f"{PROGRAM.name} {typed}\t")
        terminal.until(f"{PROGRAM.name} {wanted}")


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("backf", "backfill "),
        ("spool ret", "spool retry "),
        ("health --li", "health --live "),
        ("search --order upd", "search --order updated "),
    ],
)
def test_commands_options_and_values(shell: Environment, typed: str, wanted: str) -> None:
    completed(shell, typed, wanted)


def test_names_of_storages(shell: Environment, tmp_path: Path) -> None:
    ours = {"module": "conserver_supabase_storage", "options": {}}
    storages = {"mongo": {"module": "storage.mongo"}, "first": ours, "second": ours}
    config = tmp_path / "config.yml"
    config.write_text(yaml.safe_dump({"storages": storages}), "utf-8")
    flags = f"health --config {config} --storage"
    completed(shell, f"{flags} sec", f"{flags} second ")


def test_without_a_config_there_is_no_error(shell: Environment, tmp_path: Path) -> None:
    complete = {
        "COMP_WORDS": f"{PROGRAM.name} health --config {tmp_path}/none.yml --storage ",
        "COMP_CWORD": "5",
        "_CONSERVER_SUPABASE_STORAGE_COMPLETE": "complete_bash",
    }
    done = subprocess.run(
        [PROGRAM], env=os.environ | shell | complete, capture_output=True, text=True, check=True
    )
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_it_can_be_shown_instead(shell: Environment) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{PROGRAM.name} --show-completion; true"],
        env=os.environ | shell,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"complete -o default -F _conserver_supabase_storage_completion {PROGRAM.name}" in (
        done.stdout
    )
