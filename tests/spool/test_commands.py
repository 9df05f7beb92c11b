"""The commands for the spool, run as an operator runs them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.cli import app

from ..home import Supabase
from .support import (
    ROOT,
    Database,
    Json,
    away,
    environment,
    new_uuid,
    set_aside,
    spool_of,
    spooled,
    vcon,
    waiting,
)

type Command = Callable[..., subprocess.CompletedProcess[str]]


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "conserver_supabase_storage", *arguments]
    # A wide terminal, without colours: usage errors are drawn for the one that they find.
    plain = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
        env=environment(**plain, **variables),
    )


def run_here(*arguments: str) -> Any:
    """The same in this process, which is quicker."""
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def config(options: Json, tmp_path: Path) -> Path:
    """A conserver's config with this storage, and others."""
    storages = {
        "mongo": {"module": "storage.mongo", "options": {}},
        "supabase": {"module": "conserver_supabase_storage", "options": options},
    }
    return written(tmp_path, storages)


def written(folder: Path, storages: object) -> Path:
    path = folder / "config.yml"
    path.write_text(yaml.safe_dump({"links": {}, "storages": storages}), "utf-8")
    return path


@pytest.fixture
def command(config: Path) -> Command:
    """Runs a command with the config."""

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run(*arguments, "--config", str(config))

    return command


def refused(storage: SupabaseStorage, database: Database, *documents: Json) -> None:
    """Have these set aside."""
    for document in documents:
        with database.refusing(document["uuid"]), pytest.raises(Exception, match="23514"):
            storage.save(document)


def test_replay(storage: SupabaseStorage, command: Command, database: Database) -> None:
    uuids = [new_uuid() for _ in range(2)]
    spooled(storage, *(vcon(uuid, 1) for uuid in uuids))
    done = command("replay")
    assert (done.returncode, done.stdout) == (0, "2 replayed, 0 failed, 0 waiting\n")
    assert database.revisions(*uuids) == uuids
    again = command("replay", "--json")
    assert again.returncode == 0
    assert json.loads(again.stdout) == {"replayed": 0, "failed": 0, "waiting": 0}


def test_replay_says_what_failed(
    storage: SupabaseStorage, command: Command, database: Database
) -> None:
    bad, good = new_uuid(), new_uuid()
    spooled(storage, vcon(bad, 1), vcon(good, 1))
    with database.refusing(bad):
        done = command("replay", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"replayed": 1, "failed": 1, "waiting": 0}
    assert set_aside(storage) == [(bad, 1)]


def test_replay_exits_with_1_while_some_wait(storage: SupabaseStorage, command: Command) -> None:
    spooled(storage, vcon(new_uuid(), 1))
    assert spool_of(storage).own("somebody else", 30)
    done = command("replay")
    assert (done.returncode, done.stdout) == (1, "0 replayed, 0 failed, 1 waiting\n")


def test_replay_while_supabase_is_away(
    stack: Supabase, storage: SupabaseStorage, command: Command
) -> None:
    with away(stack):
        storage.save(vcon(new_uuid(), 1))
        done = command("replay")
    assert done.returncode == 1
    assert done.stdout == ""
    assert last_line(done).startswith("error: Supabase at ")
    assert len(waiting(storage)) == 1


def test_by_environment(stack: Supabase) -> None:
    variables = {
        "SUPABASE_REST_URL": stack.rest_url,
        "SUPABASE_SERVICE_ROLE_KEY": stack.service_role_key,
        "REDIS_URL": stack.redis_url,
    }
    options = {"rest_url": stack.rest_url, "key": stack.service_role_key, "total_timeout": 1}
    one = new_uuid()
    with SupabaseStorage(options | {"redis_url": stack.redis_url}) as storage:
        spooled(storage, vcon(one, 1))
        listed = run("spool", "list", **variables)
        assert listed.returncode == 0
        assert one in listed.stdout
        assert run("replay", **variables).stdout == "1 replayed, 0 failed, 0 waiting\n"
        assert waiting(storage) == []


def test_list(storage: SupabaseStorage, command: Command, database: Database) -> None:
    bad, first, second = new_uuid(), new_uuid(), new_uuid()
    refused(storage, database, vcon(bad, 1))
    spooled(storage, vcon(first, 1), vcon(second, 1))
    text = command("spool", "list")
    assert text.returncode == 0
    lines = text.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["waiting", first],
        ["waiting", second],
        ["failed", bad],
    ]
    assert "23514" in lines[2]
    rows = json.loads(command("spool", "list", "--json").stdout)
    assert [(row["state"], row["uuid"]) for row in rows] == [
        ("waiting", first),
        ("waiting", second),
        ("failed", bad),
    ]
    assert rows[0]["bytes"] == len(json.dumps(vcon(first, 1)))
    assert (rows[0]["error"], "23514" in rows[2]["error"]) == (None, True)
    assert rows[0]["spooled_at"].endswith("+00:00")


def test_show(storage: SupabaseStorage, command: Command, database: Database) -> None:
    bad, one = new_uuid(), new_uuid()
    refused(storage, database, vcon(bad, 1))
    spooled(storage, vcon(one, 1, name="Zoë"))
    shown = command("spool", "show", one.upper())
    assert (shown.returncode, json.loads(shown.stdout)) == (0, vcon(one, 1, name="Zoë"))
    assert json.loads(command("spool", "show", bad).stdout) == vcon(bad, 1)
    more = json.loads(command("spool", "show", bad, "--json").stdout)
    assert (more["state"], more["vcon"], "23514" in more["error"]) == ("failed", vcon(bad, 1), True)
    none = command("spool", "show", "1")
    assert (none.returncode, none.stdout) == (2, "")


def test_retry(storage: SupabaseStorage, command: Command, database: Database) -> None:
    first, second, third = new_uuid(), new_uuid(), new_uuid()
    refused(storage, database, *(vcon(uuid, 1) for uuid in (first, second, third)))
    done = command("spool", "retry", first.upper())
    assert (done.returncode, done.stdout) == (0, f"{first} waits again\n")
    assert (waiting(storage), len(set_aside(storage))) == ([(first, 1)], 2)
    rest = json.loads(command("spool", "retry", "--all", "--json").stdout)
    assert {row["uuid"] for row in rest} == {second, third}
    assert {row["state"] for row in rest} == {"waits again"}
    assert (len(waiting(storage)), set_aside(storage)) == (3, [])
    assert command("replay").stdout == "3 replayed, 0 failed, 0 waiting\n"
    assert [database.version(uuid) for uuid in (first, second, third)] == [1, 1, 1]


def test_retry_does_not_undo_a_later_save(
    storage: SupabaseStorage, command: Command, database: Database
) -> None:
    one = new_uuid()
    refused(storage, database, vcon(one, 1))
    storage.save(vcon(one, 2))
    command("spool", "retry", "--all")
    storage.replay()
    assert database.history(one) == [(one, 2)]


def test_retry_does_not_undo_a_later_spooled_save(
    storage: SupabaseStorage, command: Command, database: Database
) -> None:
    one = new_uuid()
    refused(storage, database, vcon(one, 1))
    spooled(storage, vcon(one, 2))
    command("spool", "retry", "--all")
    assert waiting(storage) == [(one, 2)]
    storage.replay()
    assert database.history(one) == [(one, 2)]


@pytest.mark.parametrize("was_there", [True, False])
def test_retry_does_not_undo_a_later_delete(
    storage: SupabaseStorage, command: Command, database: Database, was_there: bool
) -> None:
    one = new_uuid()
    if was_there:
        storage.save(vcon(one, 0))
    refused(storage, database, vcon(one, 1))
    storage.delete(one)
    command("spool", "retry", "--all")
    storage.replay()
    assert database.version(one) is None


def test_drop(storage: SupabaseStorage, command: Command, database: Database) -> None:
    first, second, third = new_uuid(), new_uuid(), new_uuid()
    refused(storage, database, *(vcon(uuid, 1) for uuid in (first, second, third)))
    done = command("spool", "drop", first)
    assert (done.returncode, done.stdout) == (0, f"{first} dropped\n")
    assert len(set_aside(storage)) == 2
    rest = command("spool", "drop", "--all", "--json")
    assert {row["uuid"] for row in json.loads(rest.stdout)} == {second, third}
    assert (waiting(storage), set_aside(storage)) == ([], [])


def test_drop_leaves_what_waits(storage: SupabaseStorage, command: Command) -> None:
    one = new_uuid()
    spooled(storage, vcon(one, 1))
    done = command("spool", "drop", one)
    assert done.returncode == 1
    assert last_line(done) == f"error: {one} is not among those that failed for good"
    assert command("spool", "drop", "--all").returncode == 0
    assert waiting(storage) == [(one, 1)]


# Errors


def error_of(result: Any) -> str:
    """The one line of a command that ended with an error, and not with a traceback."""
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return str(line.removeprefix("error: "))


@pytest.mark.parametrize("name", ["show", "retry", "drop"])
def test_an_unknown_uuid(config: Path, name: str) -> None:
    one = new_uuid()
    assert error_of(run_here("spool", name, one, "--config", str(config))).startswith(
        f"{one} is not"
    )


@pytest.mark.parametrize("name", ["retry", "drop"])
def test_which_vcons_must_be_said(config: Path, name: str) -> None:
    for arguments in ([], [new_uuid(), "--all"]):
        done = run_here("spool", name, *arguments, "--config", str(config))
        assert (done.exit_code, done.stdout) == (2, "")
        assert "name the vCons, or say --all" in done.stderr


COMMANDS = [
    ["replay"],
    ["spool", "list"],
    ["spool", "show", new_uuid()],
    ["spool", "retry", "--all"],
    ["spool", "drop", "--all"],
]


@pytest.mark.parametrize("arguments", COMMANDS)
def test_without_a_spool(options: Json, tmp_path: Path, arguments: list[str]) -> None:
    ours = {"module": "conserver_supabase_storage", "options": options | {"redis_url": None}}
    config = written(tmp_path, {"ours": ours})
    done = run_here(*arguments, "--config", str(config))
    assert error_of(done) == "there is no spool: give redis_url or spool_url"


@pytest.mark.parametrize("arguments", COMMANDS)
def test_with_redis_away(options: Json, tmp_path: Path, arguments: list[str]) -> None:
    away_url = {"redis_url": "redis://:secret@127.0.0.1:1/0"}
    ours = {"module": "conserver_supabase_storage", "options": options | away_url}
    config = written(tmp_path, {"ours": ours})
    done = run_here(*arguments, "--config", str(config))
    assert error_of(done) == "the spool does not answer: ConnectionError"


def test_the_storage_is_chosen_by_name(
    storage: SupabaseStorage, options: Json, tmp_path: Path
) -> None:
    one = new_uuid()
    spooled(storage, vcon(one, 1))
    ours = {"module": "conserver_supabase_storage", "options": options}
    other = ours | {"options": options | {"cache_prefix": f"other-{one}:"}}
    config = str(written(tmp_path, {"ours": ours, "other": other}))
    unclear = run_here("spool", "list", "--config", config)
    assert "--storage must say which of ['other', 'ours']" in error_of(unclear)
    chosen = run_here("spool", "list", "--config", config, "--storage", "ours")
    assert (chosen.exit_code, one in chosen.stdout) == (0, True)
    empty = run_here("spool", "list", "--config", config, "--storage", "other")
    assert (empty.exit_code, empty.stdout) == (0, "the spool is empty\n")
    unknown = run_here("spool", "list", "--config", config, "--storage", "nothing")
    assert error_of(unknown) == f"{config} has no storage 'nothing'"


@pytest.mark.parametrize("text", ["", "storages: []", "storages: {x: null}", "{", "storages:\n"])
def test_a_config_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yml"
    path.write_text(text, "utf-8")
    assert error_of(run_here("spool", "list", "--config", str(path)))


def test_no_config_and_no_environment() -> None:
    done = run("replay")
    assert done.returncode == 1
    assert "SUPABASE_URL" in last_line(done)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.splitlines() or [""])[-1]


def test_flags_are_options_and_win_over_the_config(
    storage: SupabaseStorage, options: Json, tmp_path: Path
) -> None:
    one = new_uuid()
    spooled(storage, vcon(one, 1))
    flags = [f"-o{name}={value}" for name, value in options.items()]
    assert one in run_here("spool", "list", *flags).stdout
    ours = {"module": "conserver_supabase_storage", "options": options}
    config = str(written(tmp_path, {"ours": ours}))
    elsewhere = f"cache_prefix=other-{one}:"
    other = run_here("spool", "list", "--config", config, "-o", elsewhere)
    assert (other.exit_code, other.stdout) == (0, "the spool is empty\n")
    wrong = run_here("spool", "list", "--config", config, "-o", "cache_ttl=soon")
    assert "cache_ttl" in error_of(wrong)
    unsaid = run_here("spool", "list", "-o", "tenant")
    assert (unsaid.exit_code, "'tenant' has no =" in unsaid.stderr) == (2, True)
