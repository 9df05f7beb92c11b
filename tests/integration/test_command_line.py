"""The command `migrate`, as an operator runs it. Needs the local Supabase."""

import json
import os
import subprocess
import sys
from pathlib import Path

from conserver_supabase_storage.migrations import migrations

from ..home import Supabase


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "conserver_supabase_storage", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200", "DATABASE_URL": ""},
    )


NAMES = [migration.filename for migration in migrations()]


def test_migrate_says_what_it_would_do_does_it_and_then_has_nothing_to_do(
    stack: Supabase,
) -> None:
    url = stack.create_database("by_command")
    dry = run("migrate", "--database-url", url, "--dry-run")
    assert (dry.returncode, dry.stdout.split("\n")[:-1]) == (
        0,
        [f"would apply {name}" for name in NAMES],
    )
    as_json = run("migrate", "--database-url", url, "--dry-run", "--json")
    assert json.loads(as_json.stdout) == {"schema": "public", "applied": [], "pending": NAMES}
    done = run("migrate", "--database-url", url)
    assert done.stdout.split("\n")[:-1] == [f"applied {name}" for name in NAMES]
    assert done.stderr.startswith(f"migrations: {len(NAMES)} of {len(NAMES)}, ")
    again = run("migrate", "--database-url", url)
    assert (again.returncode, again.stdout) == (
        0,
        "nothing to do: the schema 'public' is up to date\n",
    )


def test_migrate_prints_sql_that_another_program_can_apply(stack: Supabase) -> None:
    import psycopg

    printed = run("migrate", "--print", "--schema", "o'calls")
    assert printed.returncode == 0
    url = stack.create_database("by_hand")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(printed.stdout.encode())
        found = connection.execute('SELECT "o\'calls".vcon_storage_version_v1()').fetchone()
    assert found == (migrations()[-1].version,)


def test_migrate_writes_files_for_the_supabase_cli(tmp_path: Path) -> None:
    folder = tmp_path / "supabase" / "migrations"
    assert run("migrate", "--copy-to", str(folder)).returncode == 0
    assert sorted(file.name for file in folder.iterdir()) == NAMES
    again = run("migrate", "--copy-to", str(folder), "--json")
    assert json.loads(again.stdout) == {"written": [str(folder / name) for name in NAMES]}
    assert run("migrate", "--print", "--json").returncode == 2


def test_migrate_says_what_is_wrong(stack: Supabase) -> None:
    nothing = run("migrate")
    assert (nothing.returncode, nothing.stdout) == (2, "")
    assert "--database-url" in nothing.stderr
    away = run("migrate", "--database-url", "postgresql://someone:secret@127.0.0.1:1/x")
    assert away.returncode == 1
    assert "can't be reached" in away.stderr
    assert "secret" not in away.stderr
    assert "Traceback" not in away.stderr
