"""The command `backfill`, as an operator runs it. Needs the local Supabase."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import psycopg
import pytest

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.migrations import migrate

from ..conftest import Sql, options_without_cache
from ..home import Supabase
from ..vcons import new_uuid, small_vcon
from . import database
from .conftest import make_foreign

COUNT = 60


class Theirs(NamedTuple):
    """A database with vCons that only another program wrote, and how to reach it."""

    sql: Sql
    environment: dict[str, str]
    options: dict[str, Any]


@pytest.fixture
def theirs(stack: Supabase) -> Iterator[Theirs]:
    url = stack.create_database(f"backfill_{new_uuid().replace('-', '')}")
    with psycopg.connect(url, autocommit=True) as connection:
        make_foreign(connection, "theirs")
        connection.execute(
            "WITH v AS (INSERT INTO vcons (id, uuid, subject) SELECT u, u, 'x' FROM"
            " (SELECT gen_random_uuid() AS u FROM generate_series(1, %s)) AS n RETURNING uuid)"
            " INSERT INTO groups (vcon_id, group_index) SELECT uuid, 0 FROM v",
            [COUNT - 2],
        )
        migrate(url)
        with stack.postgrest(database=connection.info.dbname) as rest_url:
            environment = {
                **os.environ,
                "SUPABASE_REST_URL": rest_url,
                "SUPABASE_SERVICE_ROLE_KEY": stack.service_role_key,
            }
            options = options_without_cache(stack) | {"rest_url": rest_url}
            yield Theirs(connection, environment, options)


def run(theirs: Theirs, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "conserver_supabase_storage", "backfill", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=theirs.environment,
    )


def left(theirs: Theirs) -> int:
    return int(database.value(theirs.sql, "SELECT count(*) FROM vcons WHERE revision IS NULL"))


def test_it_fills_what_is_missing_and_nothing_else(theirs: Theirs) -> None:
    rows = "SELECT to_jsonb(v) - ARRAY['revision', 'saved_at'] FROM vcons v ORDER BY id"
    before = theirs.sql.execute(rows.encode()).fetchall()
    assert left(theirs) == COUNT
    done = run(theirs, "--batch-size", "25")
    assert (done.returncode, done.stdout) == (0, f"filled {COUNT} vCons, indexed {COUNT}\n")
    revisions, search = done.stderr.splitlines()
    assert re.fullmatch(rf"revisions: {COUNT} of {COUNT}, [\d,.]+/s", revisions)
    assert re.fullmatch(rf"search: {COUNT}, [\d,.]+/s", search)
    assert left(theirs) == 0
    assert theirs.sql.execute(rows.encode()).fetchall() == before
    assert database.count(theirs.sql, "groups") == COUNT - 2
    again = run(theirs, "--json")
    assert (again.returncode, json.loads(again.stdout)) == (
        0,
        {"filled": 0, "indexed": 0, "left": 0},
    )


def test_it_indexes_what_search_does_not_know_yet(theirs: Theirs) -> None:
    theirs.sql.execute("DELETE FROM vcon_search")
    theirs.sql.execute("UPDATE vcon_search_state SET complete = false, walked_to = NULL")
    with SupabaseStorage(theirs.options) as storage:
        assert not storage.search_page({"subject": "x"}).complete
        done = run(theirs, "--batch-size", "25", "--json")
        assert json.loads(done.stdout)["left"] == 0
        page = storage.search_page({"limit": 1000})
        assert page.complete
        assert page.total == COUNT


def test_it_goes_on_where_it_was_interrupted_and_leaves_what_was_saved_since(
    theirs: Theirs,
) -> None:
    with SupabaseStorage(theirs.options) as storage:
        first = storage.backfill(20, count=True)
        assert (first["filled"], first["left"]) == (20, COUNT)
        document = small_vcon("0195544a-0000-8000-8000-000000000001")
        storage.save(document)
        done = run(theirs, "--json")
        filled = json.loads(done.stdout)["filled"]
        assert filled in {COUNT - 20, COUNT - 21}  # the saved one was among the first or not
        assert storage.get(document["uuid"]) == document


def test_one_that_is_locked_is_left_and_said_so(theirs: Theirs) -> None:
    with psycopg.connect(theirs.sql.info.dsn, password=theirs.sql.info.password) as other:
        other.execute("SELECT FROM vcons WHERE subject = 'x' LIMIT 1 FOR UPDATE")
        done = run(theirs)
        assert (done.returncode, done.stdout) == (
            1,
            f"filled {COUNT - 1} vCons, indexed {COUNT - 1}; 1 are left, run it again\n",
        )
    assert run(theirs).stdout == "filled 1 vCons, indexed 1\n"


def test_a_spooled_save_is_not_left_out_for_its_sake(theirs: Theirs) -> None:
    spooled = time.time()
    assert run(theirs).returncode == 0
    query = "SELECT count(*) FROM vcons WHERE extract(epoch FROM saved_at) > %s"
    assert database.value(theirs.sql, query, spooled) == 0


def test_a_terminal_shows_a_bar(theirs: Theirs) -> None:
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "conserver_supabase_storage", "backfill"]
    environment = theirs.environment | {"TERM": "xterm"}
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=its, env=environment, check=True)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    os.close(its)
    assert "revisions" in shown
    assert f"{COUNT}/{COUNT}" in shown


@contextmanager
def locked(connection: Sql, table: str) -> Iterator[None]:
    """Have whoever wants to change a table wait."""
    with connection.transaction():
        connection.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE".encode())
        yield


def test_an_interrupt_ends_it_cleanly(theirs: Theirs) -> None:
    ours, its = pty.openpty()
    with SupabaseStorage(theirs.options) as storage:
        storage.backfill(20)
    with (
        psycopg.connect(theirs.sql.info.dsn, password=theirs.sql.info.password) as other,
        locked(other, "vcons"),
        subprocess.Popen(
            [sys.executable, "-m", "conserver_supabase_storage", "backfill", "--batch-size", "1"],
            stdout=subprocess.PIPE,
            stderr=its,
            text=True,
            # A run in the background of a shell ignores interrupts, and hands that down.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
            env=theirs.environment | {"TERM": "xterm"},
        ) as process,
    ):
        waiting = (
            "SELECT count(*) FROM pg_locks WHERE relation = 'vcons'::regclass AND NOT granted"
            " AND mode = 'RowShareLock'"  # autovacuum may wait as well
        )
        while not database.value(theirs.sql, waiting):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        stdout, _ = process.communicate(timeout=20)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    os.close(its)
    assert process.returncode == 130
    assert stdout.startswith("filled ")
    assert "interrupted; run it again to go on" in shown
    assert "Traceback" not in shown
    assert 0 < left(theirs) < COUNT
    assert run(theirs).returncode == 0
    assert left(theirs) == 0
