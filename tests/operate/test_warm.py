"""The command that fills the cache: with what, how much, how fast, and never with what is old."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from conserver_supabase_storage import SupabaseStorage

from ..conftest import Sql, options_without_cache
from ..home import Supabase
from ..integration.servers import closed_port
from ..vcons import Json, new_uuid, small_vcon
from .running import Environment, on_terminal, run, started


@pytest.fixture
def prefix() -> str:
    """A cache of the test's own, which is empty."""
    return f"warm-{new_uuid()}:"


@pytest.fixture
def own(environment: Environment, prefix: str, psql: Sql) -> tuple[str, ...]:
    psql.execute("DELETE FROM vcon_cache_doubts")  # of tests that took their Redis away
    return ("-o", f"cache_prefix={prefix}", "-o", "redis_timeout=5")


@pytest.fixture
def redis(stack: Supabase) -> Iterator[Redis]:
    with Redis.from_url(stack.redis_url) as client:
        yield client


@pytest.fixture
def found(storage: SupabaseStorage) -> list[Json]:
    """Four that no other test finds, the newest first."""
    subject = new_uuid()
    vcons = [
        small_vcon(subject=subject, created_at=f"2026-03-0{9 - n}T10:00:00Z") for n in range(4)
    ]
    for vcon in vcons:
        storage.save(vcon)
    return vcons


def cached(redis: Redis, prefix: str) -> set[str]:
    keys = [key.decode() for key in redis.scan_iter(match=f"{prefix}*", count=1000)]
    return {key.split("{")[1].split("}")[0] for key in keys if key.endswith("}")}


def test_by_criteria(
    environment: Environment, own: tuple[str, ...], found: list[Json], redis: Redis, prefix: str
) -> None:
    flags = ("warm", "--subject", found[0]["subject"], *own)
    done = run(environment, *flags)
    assert done.returncode == 0
    assert done.stdout.startswith("0 were there, 4 filled (")
    assert done.stdout.endswith(" bytes), 0 skipped\n")
    assert done.stderr.startswith("warm: 4 of 4, ")
    assert cached(redis, prefix) == {vcon["uuid"] for vcon in found}
    again = run(environment, *flags, "--json")
    assert (again.returncode, again.stderr) == (0, "")
    assert json.loads(again.stdout) == {
        "there": 4,
        "filled": 0,
        "skipped": 0,
        "missing": 0,
        "bytes": 0,
        "full": False,
    }


def test_what_it_fills_is_what_a_get_returns_without_the_database(
    stack: Supabase,
    environment: Environment,
    own: tuple[str, ...],
    found: list[Json],
    prefix: str,
) -> None:
    run(environment, "warm", "--subject", found[0]["subject"], *own)
    options = options_without_cache(stack) | {"redis_url": stack.redis_url, "cache_prefix": prefix}
    with SupabaseStorage(options) as reader:
        assert reader.get(found[0]["uuid"]) == found[0]
        assert reader.get(found[1]["uuid"]) == found[1]
        events = reader.stats()
    assert (events.get("miss"), events["compare"], events["hit"]) == (None, 1, 1)


def test_what_another_program_changed_is_replaced(
    stack: Supabase,
    environment: Environment,
    own: tuple[str, ...],
    found: list[Json],
    psql: Sql,
    prefix: str,
) -> None:
    flags = ("warm", "--subject", found[0]["subject"], *own, "--json")
    run(environment, *flags)
    uuid = found[3]["uuid"]
    psql.execute(
        "UPDATE parties SET name = 'Somebody else' WHERE party_index = 0"
        " AND vcon_id = (SELECT v.uuid FROM vcons v WHERE v.uuid = %s)",
        [uuid],
    )
    warmed = json.loads(run(environment, *flags).stdout)
    # The edit began a new episode (docs/cache.md): no entry from before is believed.
    assert (warmed["there"], warmed["filled"]) == (0, 4)
    options = options_without_cache(stack) | {"redis_url": stack.redis_url, "cache_prefix": prefix}
    with SupabaseStorage(options) as reader:
        vcon = reader.get(uuid)
        assert vcon
        assert vcon["parties"][0]["name"] == "Somebody else"
        assert "fill" not in reader.stats()


def test_by_days(environment: Environment, own: tuple[str, ...], storage: SupabaseStorage) -> None:
    subject = new_uuid()
    for age in (1, 5 * 86400):
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - age))
        storage.save(small_vcon(subject=subject, created_at=at))
    flags = ("warm", "--subject", subject, *own, "--json")
    warmed = [json.loads(run(environment, *flags, "--days", n).stdout) for n in ("2", "6")]
    assert [(w["there"], w["filled"]) for w in warmed] == [(0, 1), (1, 1)]


def test_by_list(
    environment: Environment,
    own: tuple[str, ...],
    found: list[Json],
    redis: Redis,
    prefix: str,
    tmp_path: Path,
) -> None:
    uuids = [vcon["uuid"] for vcon in found]
    (tmp_path / "list").write_text(f"{uuids[0]}\n\n{uuids[1].upper()}\tmore of the line\n", "utf-8")
    done = run(environment, "warm", "--uuids", str(tmp_path / "list"), *own, "--json")
    assert (done.returncode, json.loads(done.stdout)["filled"]) == (0, 2)
    away = new_uuid()
    done = run(environment, "warm", "--uuids", "-", *own, stdin=f"{uuids[2]}\n{away}\n")
    assert done.returncode == 1
    assert done.stdout.endswith("0 skipped, 1 do not exist\n")
    assert cached(redis, prefix) >= set(uuids[:3])
    assert uuids[3] not in cached(redis, prefix)


def test_bounded_by_bytes(
    environment: Environment, own: tuple[str, ...], found: list[Json], redis: Redis, prefix: str
) -> None:
    flags = ("warm", "--subject", found[0]["subject"], *own)
    done = run(environment, *flags, "--max-bytes", "5001")
    assert (done.returncode, done.stdout.endswith("; stopped at --max-bytes\n")) == (0, True)
    assert cached(redis, prefix) == {vcon["uuid"] for vcon in found[:2]}  # 4,900 bytes each


def test_what_is_too_large_is_skipped(
    environment: Environment, own: tuple[str, ...], found: list[Json]
) -> None:
    flags = ("warm", "--subject", found[0]["subject"], *own, "-o", "cache_max_bytes=100", "--json")
    warmed = json.loads(run(environment, *flags).stdout)
    assert (warmed["filled"], warmed["skipped"]) == (0, 4)


def test_bounded_by_rate_and_interrupted(
    environment: Environment, own: tuple[str, ...], found: list[Json], redis: Redis, prefix: str
) -> None:
    flags = ("warm", "--subject", found[0]["subject"], *own, "--rate", "0.5")
    began = time.monotonic()
    with started(environment, *flags) as process:
        while len(cached(redis, prefix)) < 2:
            assert time.monotonic() - began < 30
            time.sleep(0.05)
        assert time.monotonic() - began >= 2
        time.sleep(0.5)  # until it waits for the third one's time
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out.startswith("0 were there, 2 filled")
    assert said.splitlines()[-1] == "interrupted; run it again: what is filled is there already"
    assert said.startswith("warm: 2 of 4, ")


def test_a_bar_on_a_terminal(
    environment: Environment, own: tuple[str, ...], found: list[Json]
) -> None:
    with on_terminal(environment, "warm", "--subject", found[0]["subject"], *own) as terminal:
        assert terminal.end() == 0
    assert "4/4" in terminal.shown
    assert "/s" in terminal.shown


def test_without_a_redis(environment: Environment) -> None:
    done = run(environment, "warm", "-o", "redis_url=")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: there is no cache to fill: give redis_url\n"
    with closed_port() as url:
        away = url.replace("http", "redis")
        done = run(environment, "warm", "-o", f"redis_url={away}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: the cache can't be filled: Redis does not answer")


@pytest.mark.parametrize(
    "wrong",
    [
        ["--days", "0"],
        ["--days", "1", "--start-date", "2026-01-01"],
        ["--uuids", "-", "--days", "1"],
        ["--uuids", "-", "--subject", "x"],
        ["--uuids", "/nowhere"],
        ["--rate", "0"],
    ],
    ids=" ".join,
)
def test_wrong_usage(environment: Environment, wrong: list[str]) -> None:
    done = run(environment, "warm", *wrong)
    assert (done.returncode, done.stdout) == (2, "")
