"""Ctrl-C in commands that write: they end in order, say what is done and how to go on."""

import json
import signal
import time
from collections.abc import Callable

import psycopg

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.migrations import migrations

from ..conftest import Sql, options_without_cache
from ..home import Supabase
from ..vcons import new_uuid, small_vcon
from .running import Environment, on_terminal, run, started


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_migrate(stack: Supabase) -> None:
    url = stack.create_database(f"interrupted_{new_uuid().replace('-', '')}")
    names = [migration.filename for migration in migrations()]
    # The second one waits for this table when it comes to record itself.
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA supabase_migrations")
        connection.execute(
            "CREATE TABLE supabase_migrations.schema_migrations (version text PRIMARY KEY,"
            " statements text[], name text)"
        )
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE supabase_migrations.schema_migrations IN EXCLUSIVE MODE")
            with started({}, "migrate", "--database-url", url, "--json") as process:
                until(lambda: connection.execute(waiting).fetchone() != (0,))
                process.send_signal(signal.SIGINT)
                out, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(out) == {"schema": "public", "applied": [], "pending": names}
    assert said == "interrupted; what was under way is rolled back; run it again to go on\n"
    with on_terminal({}, "migrate", "--database-url", url) as terminal:
        assert terminal.end() == 0
    assert f"{len(names)}/{len(names)}" in terminal.shown
    assert f"applied {names[-1]}" in terminal.shown


def test_replay(stack: Supabase, environment: Environment, psql: Sql) -> None:
    prefix = f"interrupted-{new_uuid()}:"
    options = options_without_cache(stack) | {"redis_url": stack.redis_url, "cache_prefix": prefix}
    uuids = [new_uuid() for _ in range(3)]
    away = options | {"rest_url": "http://127.0.0.1:1", "total_timeout": 1.0}
    with SupabaseStorage(away) as storage:
        for uuid in uuids:
            storage.save(small_vcon(uuid))
    flags = ("replay", "-o", f"cache_prefix={prefix}", "-o", "redis_timeout=5")
    waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'vcons'::regclass AND NOT granted"
    with psycopg.connect(stack.database_url) as other:
        other.execute("LOCK TABLE vcons IN EXCLUSIVE MODE")
        with started(environment, *flags) as process:
            until(lambda: psql.execute(waiting).fetchone() != (0,))
            process.send_signal(signal.SIGINT)
            out, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == "0 replayed, 0 failed, 3 waiting\n"
    assert said == "interrupted; what is left waits on; run it again to go on\n"
    done = run(environment, *flags)
    assert (done.returncode, done.stdout) == (0, "3 replayed, 0 failed, 0 waiting\n")
    assert done.stderr.startswith("replay: 3 of 3, ")
    with SupabaseStorage(options) as storage:
        assert all(storage.get(uuid) for uuid in uuids)
