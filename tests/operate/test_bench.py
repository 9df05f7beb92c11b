"""The benchmark of a user's own Supabase: what it says, and that it leaves nothing behind."""

import json
import signal
import time
from typing import Any

import pytest

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.bench.own import SUBJECT

from ..conftest import Sql, options_without_cache
from ..home import Supabase
from ..vcons import small_vcon
from .running import Environment, on_terminal, run, started

READING = {
    "bare request",
    "health",
    "search page",
    "get from the database",
    "get from the cache",
}
WRITING = {"bare request", "save new", "save again, unchanged", "delete"}


@pytest.fixture(autouse=True)
def _something_to_read(storage: SupabaseStorage) -> None:
    storage.save(small_vcon())


def state(psql: Sql) -> list[Any]:
    """Every row of every table of ours that a save or delete writes, but for tombstones."""
    tables = ("vcons", "parties", "dialog", "analysis", "attachments", "vcon_search")
    return [psql.execute(f"SELECT * FROM {t} ORDER BY 1, 2".encode()).fetchall() for t in tables]


def own(psql: Sql) -> int:
    [count] = psql.execute("SELECT count(*) FROM vcons WHERE subject = %s", [SUBJECT]).fetchone()  # type: ignore[misc]
    return int(count)


def cases(found: Any) -> dict[str, dict[str, Any]]:
    return {case["case"]: case for case in found}


def test_it_reads_only(environment: Environment, psql: Sql, storage: SupabaseStorage) -> None:
    storage.search({"limit": 1})  # which indexes what is left of other tests
    before = state(psql)
    [deleted] = psql.execute("SELECT count(*) FROM vcon_tombstones").fetchall()
    done = run(environment, "bench", "--rounds", "4", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["url"], found["cache"]) == (environment["SUPABASE_REST_URL"], True)
    assert set(found["sections"]) == {"reading"}
    reading = cases(found["sections"]["reading"])
    assert set(reading) == READING
    for case in reading.values():
        assert case["calls"] == 4
        assert 0 < case["p25_seconds"] <= case["median_seconds"] <= case["p75_seconds"] < 5
    bare = reading.pop("bare request")
    assert bare["ratio"] is None
    for case in reading.values():
        assert case["ratio"] == pytest.approx(case["median_seconds"] / bare["median_seconds"])
    assert state(psql) == before
    assert psql.execute("SELECT count(*) FROM vcon_tombstones").fetchall() == [deleted]


def test_it_writes_if_told_and_removes_what_it_wrote(
    environment: Environment, psql: Sql, storage: SupabaseStorage
) -> None:
    storage.search({"limit": 1})
    before = state(psql)
    done = run(environment, "bench", "--write", "--rounds", "4", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert set(cases(found["sections"]["writing"])) == WRITING
    together = cases(found["sections"]["writing many"])
    assert together["save_many of 50, each"]["calls"] == 3
    # Each case once a round, also of the warm-up; but for those that a case deleted itself.
    assert found["removed"] == 1 + (3 + 4) + (3 + 3) * 50
    assert found["left"] == []
    assert state(psql) == before


def test_a_table(environment: Environment) -> None:
    done = run(environment, "bench", "--rounds", "3", "-o", "redis_url=")
    assert done.returncode == 0
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["reading", "median", "p25", "to", "p75", "ratio", "calls"]
    assert {row[:24].strip() for row in rows} == READING - {"get from the cache"}
    assert done.stderr.startswith("reading: 6 of 6, ")


def test_a_bar_on_a_terminal(environment: Environment, psql: Sql) -> None:
    with on_terminal(environment, "bench", "--write", "--rounds", "3") as terminal:
        assert terminal.end(60) == 0
    assert "6/6" in terminal.shown
    assert "removed the " in terminal.shown
    assert own(psql) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_removes_what_it_wrote(
    environment: Environment, psql: Sql, number: signal.Signals
) -> None:
    with started(environment, "bench", "--write", "--rounds", "300") as process:
        deadline = time.monotonic() + 60
        while own(psql) < 10:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        out, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out.startswith("reading ")  # what was measured until then
    assert "removed the " in said
    assert said.splitlines()[-1].startswith("interrupted; ")
    assert own(psql) == 0


def test_what_it_cannot_remove_it_names(
    stack: Supabase, environment: Environment, psql: Sql, storage: SupabaseStorage
) -> None:
    quick = ("-o", "total_timeout=2")
    with started(environment, "bench", "--write", "--rounds", "300", *quick) as process:
        deadline = time.monotonic() + 60
        while own(psql) < 10:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        stack.stop_service("postgrest")
        try:
            out, said = process.communicate(timeout=120)
        finally:
            stack.start_service("postgrest")
    assert process.returncode == 1
    assert out == ""
    assert f"vCons of its own may be left: search --subject '{SUBJECT}' --all finds them" in said
    assert "Traceback" not in said
    assert own(psql) >= 10
    listed = run(environment, "search", "--subject", SUBJECT, "--all").stdout.splitlines()
    done = run(environment, "delete", "--yes", *(line.split("\t")[0] for line in listed))
    assert done.returncode == 0
    with SupabaseStorage(options_without_cache(stack) | {"redis_url": stack.redis_url}) as other:
        assert other.replay() == {"replayed": 0, "failed": 0, "waiting": 0}
    assert own(psql) == 0


def test_supabase_away(environment: Environment) -> None:
    away = environment | {"SUPABASE_REST_URL": "http://127.0.0.1:1"}
    done = run(away, "bench", "--write", "-o", "total_timeout=1", "-o", "redis_url=")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr
