"""What the command `metrics` tells, with real servers there, away, silent and full."""

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis
from typer.testing import CliRunner

from conserver_supabase_storage import Options, SupabaseStorage
from conserver_supabase_storage.cli import app
from conserver_supabase_storage.exporter import ServersCollector, WorkersCollector
from conserver_supabase_storage.exporter import source as source_module
from conserver_supabase_storage.migrations import migrate, migrations
from conserver_supabase_storage.spool import Record, Spool

from ..conftest import Sql, options_without_cache
from ..home import Supabase
from ..integration.database import TABLES
from ..integration.servers import CountingProxy, closed_port
from ..vcons import Json, small_vcon

_numbers = itertools.count()

type Samples = dict[str, float]


@pytest.fixture
def options(stack: Supabase) -> Json:
    """With a cache, and a spool, of this test alone."""
    prefix = f"metrics-{uuid.uuid4()}:"
    given = {"redis_url": stack.redis_url, "cache_prefix": prefix, "redis_timeout": 2.0}
    return options_without_cache(stack) | given


@pytest.fixture
def own(stack: Supabase, options: Json) -> Iterator[tuple[Sql, Json]]:
    """A database of the test's own, which no other storage writes to, and options for it."""
    url = stack.create_database(f"figures_{next(_numbers)}")
    migrate(url)
    with (
        psycopg.connect(url, autocommit=True) as connection,
        stack.postgrest(database=connection.info.dbname) as rest_url,
    ):
        yield connection, options | {"rest_url": rest_url}


def samples(text: str) -> Samples:
    """Every sample by its name, with its labels as the text has them."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


@contextmanager
def collector(options: Json, *, limit: float = 5.0) -> Iterator[CollectorRegistry]:
    registry = CollectorRegistry()
    servers = ServersCollector(Options.parse(options), limit=limit)
    registry.register(servers)
    try:
        yield registry
    finally:
        servers.close()


def scrape(options: Json, *, limit: float = 5.0) -> Samples:
    with collector(options, limit=limit) as registry:
        return samples(generate_latest(registry).decode())


def ours(found: Samples, name: str) -> float:
    return found[f"supabase_storage_{name}"]


def spool_of(options: Json) -> Spool:
    o = Options.parse(options)
    assert o.redis_url is not None
    redis = Redis.from_url(o.redis_url.get_secret_value())
    return Spool(redis, prefix=o.key_prefix, max_count=10, max_bytes=10_000)


def test_all_is_well(options: Json) -> None:
    found = scrape(options)
    assert ours(found, "up") == 1
    newest = migrations()[-1].version
    assert ours(found, f'schema_info{{version="{newest}"}}') == 1
    assert ours(found, "migrations_behind") == 0
    for what in ("cache", "spool"):
        assert ours(found, f'redis_up{{what="{what}"}}') == 1
        assert ours(found, f'redis_memory_bytes{{what="{what}"}}') > 100_000
        assert ours(found, f'redis_max_memory_bytes{{what="{what}"}}') == 0
        assert ours(found, f'redis_evicted_total{{what="{what}"}}') == 0
    for source in ("supabase", "figures", "cache", "spool"):
        assert ours(found, f'scrape_errors_total{{source="{source}"}}') == 0
    assert 0 < ours(found, "scrape_duration_seconds") < 5
    assert ours(found, "doubts") == 0


def test_the_tables(own: tuple[Sql, Json]) -> None:
    psql, options = own
    before = scrape(options)
    assert ours(before, 'table_rows{table="vcons"}') == 0
    with SupabaseStorage(options) as storage:
        storage.save_many(small_vcon(subject=f"figures {n}") for n in range(300))
    psql.execute("ANALYZE vcons")
    found = scrape(options)
    # Postgres may count what was saved just now twice, once for the ANALYZE.
    assert 300 <= ours(found, 'table_rows{table="vcons"}') <= 600
    key = 'table_bytes{table="vcons"}'
    assert ours(found, key) > ours(before, key)
    size = psql.execute("SELECT pg_total_relation_size('parties')").fetchone()
    assert size == (ours(found, 'table_bytes{table="parties"}'),)
    tables = {key for key in found if key.startswith("supabase_storage_table_dead_rows")}
    ones = {f'supabase_storage_table_dead_rows{{table="{name}"}}' for name in TABLES}
    assert ones <= tables


def test_what_waits_for_the_index_and_who_doubts(own: tuple[Sql, Json]) -> None:
    psql, options = own
    before = scrape(options)
    assert (ours(before, "search_pending"), ours(before, "doubts")) == (0, 0)
    psql.execute(
        "INSERT INTO vcon_search_pending SELECT gen_random_uuid() FROM generate_series(1, 50)"
    )
    psql.execute(
        "INSERT INTO vcon_cache_doubts VALUES"
        " (gen_random_uuid(), now() + interval '1 minute'),"
        " (gen_random_uuid(), now() - interval '1 minute')"
    )
    psql.execute("UPDATE vcon_cache_state SET episode = episode + 3")
    found = scrape(options)
    assert (ours(found, "search_pending"), ours(found, "doubts")) == (50, 1)
    assert ours(found, "episode") == ours(before, "episode") + 3
    few = psql.execute("SELECT vcon_storage_figures_v1(7) -> 'pending'").fetchone()
    assert few == (7,)


def test_the_spool(options: Json) -> None:
    empty = scrape(options)
    assert [ours(empty, f"spool_{name}") for name in ("waiting", "failed", "bytes")] == [0, 0, 0]
    assert ours(empty, "spool_oldest_age_seconds") == 0
    assert ours(empty, "spool_max_waiting") == 10_000
    assert ours(empty, "spool_max_bytes") == 256_000_000
    spool = spool_of(options)
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    spool.put(first, '{"uuid":"first"}', time.time())
    time.sleep(1)
    spool.put(second, '{"uuid":"second"}', time.time())
    spool.keep_failed(Record(str(uuid.uuid4()), 0, time.time(), time.time(), "{}"), "refused")
    found = scrape(options)
    assert [ours(found, f"spool_{name}") for name in ("waiting", "failed")] == [2, 1]
    assert ours(found, "spool_bytes") > 100
    assert 1 <= ours(found, "spool_oldest_age_seconds") < 60
    # A newer version waits where it was saved, so that now the second is the oldest.
    spool.put(first, '{"uuid":"first"}', time.time())
    again = scrape(options)
    assert ours(again, "spool_oldest_age_seconds") < ours(found, "spool_oldest_age_seconds")


def test_a_spool_in_a_redis_of_its_own(options: Json, stack: Supabase) -> None:
    with closed_port() as url:
        away = url.replace("http", "redis")
        found = scrape(options | {"spool_url": away})
        assert ours(found, 'redis_up{what="cache"}') == 1
        assert ours(found, 'redis_up{what="spool"}') == 0
        assert ours(found, 'scrape_errors_total{source="spool"}') == 1
        assert "supabase_storage_spool_waiting" not in found
        other = scrape(options | {"redis_url": away, "spool_url": stack.redis_url})
    assert ours(other, 'redis_up{what="cache"}') == 0
    assert ours(other, 'redis_up{what="spool"}') == 1
    assert ours(other, "spool_waiting") == 0


def test_without_redis_there_is_nothing_about_it(options: Json) -> None:
    found = scrape(options | {"redis_url": None})
    assert ours(found, "up") == 1
    assert not [name for name in found if "redis" in name or "spool" in name]


def test_supabase_away(options: Json) -> None:
    with closed_port() as url:
        began = time.monotonic()
        found = scrape(options | {"rest_url": url}, limit=1.5)
    assert time.monotonic() - began < 4
    assert ours(found, "up") == 0
    assert ours(found, 'scrape_errors_total{source="supabase"}') == 1
    assert ours(found, 'redis_up{what="cache"}') == 1
    assert not [name for name in found if "table" in name or "schema" in name]
    assert ours(found, "spool_waiting") == 0


def test_a_key_that_supabase_refuses(options: Json) -> None:
    found = scrape(options | {"key": "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl"})
    assert ours(found, "up") == 0
    assert ours(found, 'scrape_errors_total{source="supabase"}') == 1


def test_hanging_servers_hang_no_scrape_and_are_asked_by_one_thread(
    options: Json, stack: Supabase
) -> None:
    with collector(options, limit=1.0) as registry:
        stack.pause_service("postgrest")
        try:
            for _ in range(3):
                began = time.monotonic()
                found = samples(generate_latest(registry).decode())
                assert time.monotonic() - began < 2
                assert ours(found, "up") == 0
                assert ours(found, 'redis_up{what="spool"}') == 1
        finally:
            stack.resume_service("postgrest")
            stack.wait_until_ready()


def test_a_silent_server_is_asked_by_one_thread_and_is_seen_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A source alone: what it does while its question is out."""
    monkeypatch.setattr(source_module, "KEPT", 0.0)
    gate = threading.Event()
    asked = itertools.count(1)
    source = source_module.Source("supabase", lambda: gate.wait(30) and next(asked))
    for _ in range(5):
        source.begin()
        assert source.answer(time.monotonic() + 0.01) is None
    gate.set()
    assert source.answer(time.monotonic() + 10) == 1
    source.begin()
    assert source.answer(time.monotonic() + 10) == 2
    source.close()


def test_two_scrapers_cost_as_much_as_one(options: Json, stack: Supabase) -> None:
    with (
        CountingProxy(stack.rest_url) as proxy,
        collector(options | {"rest_url": proxy.url}) as registry,
    ):
        assert generate_latest(registry)
        assert proxy.requests == 2
        found = samples(generate_latest(registry).decode())
        assert (proxy.requests, ours(found, "up")) == (2, 1)


def test_an_answer_is_not_kept_for_long(
    options: Json, stack: Supabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "KEPT", 0.05)
    with (
        CountingProxy(stack.rest_url) as proxy,
        collector(options | {"rest_url": proxy.url}) as registry,
    ):
        assert generate_latest(registry)
        time.sleep(0.1)
        assert generate_latest(registry)
        assert proxy.requests == 4


def test_a_database_of_an_older_release(own: tuple[Sql, Json], stack: Supabase) -> None:
    psql, options = own
    psql.execute("DROP FUNCTION vcon_storage_figures_v1")
    psql.execute(
        "CREATE OR REPLACE FUNCTION vcon_storage_version_v1() RETURNS text LANGUAGE sql"
        f" AS $$ SELECT '{migrations()[-3].version}' $$".encode()
    )
    stack.reload_schema(psql.info.dbname)
    found = scrape(options)
    assert ours(found, "up") == 1
    assert ours(found, "migrations_behind") == 2
    assert ours(found, 'scrape_errors_total{source="figures"}') == 1
    assert ours(found, 'scrape_errors_total{source="supabase"}') == 0
    assert "supabase_storage_doubts" not in found
    assert ours(found, "spool_waiting") == 0


def test_the_figures_are_for_the_service_role_alone(psql: Sql) -> None:
    may = {
        role: psql.execute(
            "SELECT has_function_privilege(%s, 'vcon_storage_figures_v1(integer)', 'execute')",
            [role],
        ).fetchone()
        for role in ("anon", "authenticated", "service_role")
    }
    assert may == {"anon": (False,), "authenticated": (False,), "service_role": (True,)}


def test_figures_do_not_wait_for_somebody_who_alters_a_table(own: tuple[Sql, Json]) -> None:
    psql, options = own
    with psql.transaction():
        psql.execute("LOCK TABLE parties IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        found = scrape(options)
    assert time.monotonic() - began < 4
    assert ours(found, "up") == 1
    assert ours(found, 'scrape_errors_total{source="figures"}') == 1
    assert ours(found, 'scrape_errors_total{source="supabase"}') == 0


# The command


def run(*arguments: str, environment: dict[str, str] | None = None) -> Any:
    return CliRunner().invoke(app, ["metrics", *arguments], env=environment)


def flags(options: Json) -> list[str]:
    given = {name: value for name, value in options.items() if value is not None}
    return [part for name, value in given.items() for part in ("-o", f"{name}={value}")]


def test_once(options: Json) -> None:
    done = run("--once", *flags(options))
    assert done.exit_code == 0, done.output
    assert ours(samples(done.stdout), "up") == 1
    # What is told is figures: no key, no password, no text.
    for secret in (options["key"], "redis://", options["rest_url"], options["cache_prefix"]):
        assert secret not in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--once", "--listen", "127.0.0.1:0"],
        ["--listen", "9877"],
        ["--listen", "127.0.0.1:99999"],
        ["--listen", ":9877"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_options_that_cannot_be_used(options: Json) -> None:
    done = run("--once", *flags(options | {"cache_ttl": "soon"}))
    assert done.exit_code == 1
    assert "cache_ttl" in done.stderr


def test_a_port_that_is_taken(options: Json) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("--listen", f"127.0.0.1:{port}", *flags(options))
    assert done.exit_code == 1
    assert f"127.0.0.1:{port}: Address already in use" in done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_end(host: str, number: int, options: Json) -> None:
    command = [sys.executable, "-m", "conserver_supabase_storage", "metrics"]
    with subprocess.Popen(
        [*command, "--listen", f"{host}:0", *flags(options)],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            (url,) = re.findall(r"http://\S+", said)
            until = time.monotonic() + 60
            answer = httpx.get(url, timeout=30)
            while ours(samples(answer.text), "up") != 1:  # a busy machine takes its time
                assert time.monotonic() < until
                time.sleep(1)
                answer = httpx.get(url, timeout=30)
            assert answer.headers["content-type"].startswith("text/plain; version=")
            process.send_signal(number)
            assert process.wait(30) == 0
            assert process.stderr.read() == "Stopped.\n"
        finally:
            process.kill()


# The workers' figures

WORKER = """
import sys, time
from prometheus_client import Counter, Gauge
Counter("supabase_storage_retries", "Retries.").inc(int(sys.argv[1]))
gauge = Gauge("supabase_storage_breaker_open", "Open.", ["what"], multiprocess_mode="livemax")
gauge.labels("cache").set(1)
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def worker(folder: Path, count: int) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(count)],
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_workers_are_added_up_and_no_server_is_asked(tmp_path: Path) -> None:
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    with worker(tmp_path, 3), worker(tmp_path, 4):
        done = run("--once", "--workers-only", environment=environment)
    assert done.exit_code == 0, done.output
    found = samples(done.stdout)
    assert ours(found, "retries_total") == 7
    assert "supabase_storage_up" not in found


def test_with_the_servers_beside_and_nothing_of_the_exporters_own(
    options: Json, tmp_path: Path
) -> None:
    with worker(tmp_path, 3):
        before = sorted(tmp_path.iterdir())
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "conserver_supabase_storage",
                "metrics",
                "--once",
                *flags(options),
            ],
            env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
            check=True,
            capture_output=True,
            text=True,
        )
        assert sorted(tmp_path.iterdir()) == before
    found = samples(done.stdout)
    assert (ours(found, "retries_total"), ours(found, "up")) == (3, 1)
    assert "supabase_storage_bytes_total" not in "".join(found)


FAMILY = """
import json, multiprocessing, sys, uuid
from conserver_supabase_storage import SupabaseStorage

def saves(options, count):
    with SupabaseStorage(options) as storage:
        for _ in range(count):
            save(storage)

def save(storage):
    storage.save({"uuid": str(uuid.uuid4()), "parties": []})

if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    with SupabaseStorage(options) as storage:
        save(storage)  # so that what counts is there before the forks
        for method in ("fork", "spawn"):
            context = multiprocessing.get_context(method)
            children = [context.Process(target=saves, args=(options, n)) for n in (2, 3)]
            for child in children:
                child.start()
            for child in children:
                child.join()
                assert child.exitcode == 0
        save(storage)
"""


def test_workers_of_every_start_method_are_counted_once(options: Json, tmp_path: Path) -> None:
    program, folder = tmp_path / "family.py", tmp_path / "figures"
    program.write_text(FAMILY, "utf-8")
    folder.mkdir()
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    subprocess.run(
        [sys.executable, program, json.dumps(options)], env=os.environ | environment, check=True
    )
    done = run("--once", "--workers-only", "--forget-dead", environment=environment)
    found = samples(done.stdout)
    saved = 'operation_duration_seconds_count{operation="save",outcome="ok"}'
    assert ours(found, saved) == 1 + 2 * (2 + 3) + 1
    assert ours(found, 'bytes_total{direction="sent"}') > 0


@pytest.mark.parametrize("forget", [True, False])
def test_a_worker_that_is_gone_leaves_its_counts_and_not_its_gauges(
    tmp_path: Path, forget: bool
) -> None:
    collector = WorkersCollector(str(tmp_path), forget_dead=forget)
    registry = CollectorRegistry()
    registry.register(collector)
    gauge = 'supabase_storage_breaker_open{what="cache"}'
    with worker(tmp_path, 3):
        assert samples(generate_latest(registry).decode())[gauge] == 1
    with worker(tmp_path, 4):
        found = samples(generate_latest(registry).decode())
        assert (ours(found, "retries_total"), found[gauge]) == (7, 1)
    left = samples(generate_latest(registry).decode())
    assert ours(left, "retries_total") == 7
    assert (gauge in left) is not forget


@pytest.mark.parametrize("flag", ["--workers-only", "--forget-dead"])
def test_what_is_about_workers_wants_a_folder(flag: str, options: Json, tmp_path: Path) -> None:
    given = ["--once", flag, *flags(options)]
    done = run(*given, environment={"PROMETHEUS_MULTIPROC_DIR": ""})
    assert done.exit_code == 1
    assert "need PROMETHEUS_MULTIPROC_DIR" in done.stderr
    missing = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "none")}
    done = run(*given, environment=missing)
    assert done.exit_code == 1
    assert "is no directory" in done.stderr
