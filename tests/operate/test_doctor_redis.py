"""Misconfigurations of Redis, each of a real one, and what `doctor` says of it."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest
from redis import Redis, RedisError

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.local.ports import free_port
from conserver_supabase_storage.local.redis_server import binary

from ..coherence.proxy import Proxy
from ..conftest import options_without_cache
from ..home import Supabase
from ..integration.servers import ScriptedServer, closed_port, silence
from ..spool.support import eventually, spooled
from ..vcons import Json, new_uuid, small_vcon
from .diagnosis import Report, diagnose


class Server(NamedTuple):
    """A Redis of a test's own."""

    url: str
    client: Redis
    folder: Path


class Starter(Protocol):
    def __call__(self, *settings: str, password: str = "") -> Server: ...


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Starts a Redis with these settings; by default it persists, as it is to."""
    with ExitStack() as stack:

        def start(*settings: str, password: str = "") -> Server:
            folder = tmp_path / f"redis-{new_uuid()[:8]}"
            folder.mkdir()
            return stack.enter_context(_running(folder, settings, password))

        yield start


@contextmanager
def _running(folder: Path, settings: tuple[str, ...], password: str) -> Iterator[Server]:
    port = free_port(set())
    command = [str(binary()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    if "--appendonly" not in settings:
        command += ["--appendonly", "yes"]
    if "--save" not in settings:
        command += ["--save", ""]
    if password:
        command += ["--requirepass", password]
    login = f":{password}@" if password else ""
    url = f"redis://{login}127.0.0.1:{port}/0"
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([*command, *settings], stdout=log, stderr=log) as server,
        Redis.from_url(url) as client,
    ):
        try:
            assert eventually(lambda: _answers(client)), (folder / "log").read_text()
            yield Server(url, client, folder)
        finally:
            server.kill()


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


@pytest.fixture
def options(stack: Supabase) -> Json:
    return options_without_cache(stack) | {"redis_timeout": 2.0}


def test_a_healthy_redis(tmp_path: Path, options: Json, start: Starter) -> None:
    working = options | {"redis_url": start().url}
    with SupabaseStorage(working) as storage:
        storage.save(small_vcon())
    report = diagnose(tmp_path, working)
    ours = [f for f in report.findings if f["check"].startswith("redis")]
    assert {finding["state"] for finding in ours} == {"ok"}
    assert "2 begin with 'supabase-storage:'" in report["redis keys"]["text"]


# Away, or not to be used


def test_redis_away(tmp_path: Path, options: Json) -> None:
    with closed_port() as url:
        report = diagnose(tmp_path, options | {"redis_url": url.replace("http", "redis")})
    report.assert_only("redis", "broken", "Connection refused", "Start it")
    assert report.checks("skipped") == ["redis state"]


def test_redis_that_does_not_resolve(tmp_path: Path, options: Json) -> None:
    report = diagnose(tmp_path, options | {"redis_url": "redis://cache.invalid:6379"})
    report.assert_only("redis dns", "broken", "cache.invalid does not resolve")


def test_redis_that_hangs(tmp_path: Path, options: Json) -> None:
    with ScriptedServer(silence, read_requests=False) as server:
        began = time.monotonic()
        report = diagnose(tmp_path, options | {"redis_url": server.url.replace("http", "redis")})
    report.assert_only("redis", "broken", "can't be used")
    assert time.monotonic() - began < 8


def test_a_wrong_password(tmp_path: Path, options: Json, start: Starter) -> None:
    url = start(password="right").url
    for wrong in (url.replace("right", "wrong-one"), url.replace(":right@", "")):
        report = diagnose(tmp_path, options | {"redis_url": wrong})
        report.assert_only("redis", "broken", "does not accept the login", "password")
        assert "wrong-one" not in report.output


def test_a_database_that_there_is_not(tmp_path: Path, options: Json, start: Starter) -> None:
    wrong = start().url.removesuffix("/0") + "/99"
    diagnose(tmp_path, options | {"redis_url": wrong}).assert_only("redis", "broken", "DB index")


def test_tls_to_a_redis_without(tmp_path: Path, options: Json, start: Starter) -> None:
    wrong = start().url.replace("redis://", "rediss://")
    report = diagnose(tmp_path, options | {"redis_url": wrong})
    report.assert_only("redis", "broken", "whether it wants redis://")


# What a server is


class Case(NamedTuple):
    """The settings of a server, and what is said of it."""

    settings: list[str]
    check: str
    state: str
    words: str


CASES = {
    "any key may be evicted": Case(
        ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"],
        "redis memory policy",
        "broken",
        "spooled saves can be thrown away",
    ),
    "keys with an expiry may be evicted": Case(
        ["--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru"],
        "redis memory policy",
        "warning",
        "spool_url",
    ),
    "no persistence": Case(
        ["--appendonly", "no"], "redis persistence", "warning", "a restart loses what is spooled"
    ),
    "snapshots alone": Case(
        ["--appendonly", "no", "--save", "3600", "1"],
        "redis persistence",
        "warning",
        "a crash loses what was spooled since the last one",
    ),
    "too few replicas": Case(
        ["--min-replicas-to-write", "1"], "redis writes", "broken", "min-replicas-to-write"
    ),
    "no scripts": Case(
        ["--rename-command", "EVALSHA", "", "--rename-command", "SCRIPT", ""],
        "redis writes",
        "broken",
        "Allow EVAL and EVALSHA",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_server_is(tmp_path: Path, options: Json, start: Starter, name: str) -> None:
    case = CASES[name]
    server = start(*case.settings)
    report = diagnose(tmp_path, options | {"redis_url": server.url})
    report.assert_only(case.check, case.state, case.words)


def test_a_redis_that_is_nearly_full(tmp_path: Path, options: Json, start: Starter) -> None:
    server = start()
    server.client.set("somebodys", b"x" * 50_000_000)
    server.client.config_set("maxmemory", 60_000_000)
    report = diagnose(tmp_path, options | {"redis_url": server.url})
    report.assert_only("redis memory policy", "warning", "nothing more is cached", "spool_url")


def test_a_full_redis(tmp_path: Path, options: Json, start: Starter) -> None:
    url = start("--maxmemory", "100kb").url
    report = diagnose(tmp_path, options | {"redis_url": url})
    report.assert_only("redis writes", "broken", "used memory", "Raise its maxmemory")


def test_gates_that_are_evicted_first(tmp_path: Path, options: Json, start: Starter) -> None:
    """It is the cache's alone: the spool has a Redis of its own."""
    cache = start("--maxmemory", "100mb", "--maxmemory-policy", "volatile-ttl").url
    both = options | {"redis_url": cache, "spool_url": start().url}
    report = diagnose(tmp_path, both)
    report.assert_only("redis memory policy", "warning", "what guards a change goes first")
    assert report.state("spool redis persistence") == "ok"
    assert "redis persistence" not in {finding["check"] for finding in report.findings}


def test_a_cache_may_evict(tmp_path: Path, options: Json, start: Starter) -> None:
    cache = start("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru").url
    report = diagnose(tmp_path, options | {"redis_url": cache, "spool_url": start().url})
    assert report.state("redis memory policy") == "ok"


def test_a_read_only_replica(tmp_path: Path, options: Json, start: Starter) -> None:
    port = start().url.rpartition(":")[2].removesuffix("/0")
    replica = start("--replicaof", "127.0.0.1", port)
    assert eventually(lambda: replica.client.info()["master_link_status"] == "up")
    report = diagnose(tmp_path, options | {"redis_url": replica.url})
    report.assert_only("redis writes", "broken", "read only replica", "the primary")


@pytest.mark.parametrize(
    ("settings", "check", "words"),
    [
        (["--save", "3600", "1"], "redis", "Free the disk that it saves to"),
        ([], "redis persistence", "its last snapshot failed"),
    ],
    ids=["it refuses all", "it goes on"],
)
def test_snapshots_that_fail(
    tmp_path: Path, options: Json, start: Starter, settings: list[str], check: str, words: str
) -> None:
    server = start("--appendonly", "no", *settings)
    server.client.set("a", "b")
    shutil.rmtree(server.folder)
    server.client.bgsave()
    assert eventually(lambda: server.client.info()["rdb_last_bgsave_status"] == "err")
    report = diagnose(tmp_path, options | {"redis_url": server.url})
    report.assert_only(check, "broken", words)


def test_cluster_mode(tmp_path: Path, options: Json, start: Starter) -> None:
    report = diagnose(tmp_path, options | {"redis_url": start("--cluster-enabled", "yes").url})
    assert "redis cluster" in report.checks("broken")
    assert "without cluster mode" in report["redis cluster"]["fix"]


@pytest.mark.parametrize(
    ("rights", "check", "state", "words"),
    [
        ("~* +@all -@scripting", "redis writes", "broken", "+@scripting"),
        ("~* +@all -info", "redis", "broken", "+info"),
        ("~* +@all -scan", "redis keys", "warning", "+scan"),
        ("~others:* +@all", "redis writes", "broken", "on our keys"),
    ],
    ids=["no scripts", "no INFO", "no SCAN", "other keys"],
)
def test_a_user_without_rights(
    tmp_path: Path, options: Json, start: Starter, rights: str, check: str, state: str, words: str
) -> None:
    server = start()
    setting: Any = server.client.execute_command  # which has no types
    setting("ACL", "SETUSER", "app", "on", ">word", *rights.split())
    url = server.url.replace("redis://", "redis://app:word@")
    report = diagnose(tmp_path, options | {"redis_url": url})
    finding = report[check]
    assert (finding["state"], words in finding["fix"]) == (state, True), finding
    assert "word@" not in report.output


def test_a_redis_that_is_slower_than_it_may_be(
    tmp_path: Path, options: Json, start: Starter
) -> None:
    with Proxy(start().url) as proxy:
        proxy.delay = 0.2
        slow = options | {"redis_url": proxy.url, "redis_timeout": 0.25}
        report = diagnose(tmp_path, slow)
    report.assert_only("redis latency", "warning", "of 250 ms", "Raise redis_timeout")


# What is in it


def test_keys_of_another_type_in_our_place(tmp_path: Path, options: Json, start: Starter) -> None:
    server = start()
    server.client.rpush(f"supabase-storage:{{{new_uuid()}}}", "mine")
    report = diagnose(tmp_path, options | {"redis_url": server.url})
    report.assert_only("redis keys", "warning", "(list)", "cache_prefix")


def test_a_spool_that_is_somebody_elses(tmp_path: Path, options: Json, start: Starter) -> None:
    server = start()
    server.client.set("supabase-storage:{spool}:queue", "mine")
    report = diagnose(tmp_path, options | {"redis_url": server.url})
    report.assert_only("redis keys", "broken", "{spool}:queue (string)")


def test_a_string_where_the_conserver_keeps_its_record(
    tmp_path: Path, options: Json, start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start()
    server.client.set(f"vcon:{new_uuid()}", "{}")
    shared = options | {"redis_url": server.url}
    assert diagnose(tmp_path, shared).state("redis owner") == "ok"  # a vcon-mcp server's
    monkeypatch.setenv("REDIS_URL", server.url)
    report = diagnose(tmp_path, shared)
    report.assert_only("redis owner", "broken", "1 of its records are strings", "delete these")


def test_a_string_in_a_conservers_redis_that_is_not_ours(
    tmp_path: Path, options: Json, start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start()
    server.client.set(f"vcon:{new_uuid()}", "{}")
    monkeypatch.setenv("REDIS_URL", server.url)
    report = diagnose(tmp_path, options | {"redis_url": start().url})
    report.assert_only("conserver redis owner", "broken", "strings")
    assert report.state("redis owner") == "ok"


def test_the_conservers_own_redis_is_fine(
    tmp_path: Path, options: Json, start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = start().url
    monkeypatch.setenv("REDIS_URL", url)
    report = diagnose(tmp_path, options | {"redis_url": url})
    assert "it is the conserver's own" in report["redis owner"]["text"]
    assert report.exit_code == 0


def test_a_shared_cache_in_the_conservers_redis_by_another_name(
    tmp_path: Path, options: Json, start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The options can't tell: only the server itself says that it is the same."""
    socket = tmp_path / "redis.sock"
    server = start("--unixsocket", str(socket))
    monkeypatch.setenv("REDIS_URL", f"unix://{socket}?db=0")
    shared = options | {"redis_url": server.url, "cache_prefix": "vcon:"}
    report = diagnose(tmp_path, shared)
    report.assert_only("conserver redis owner", "broken", "would overwrite its records")


def test_a_shared_cache_beside_the_conservers(
    tmp_path: Path, options: Json, start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", start().url)
    shared = options | {"redis_url": start().url, "cache_prefix": "vcon:"}
    assert diagnose(tmp_path, shared).exit_code == 0


def with_prefix(options: Json, server: Server, **others: str) -> SupabaseStorage:
    return SupabaseStorage(options | {"redis_url": server.url} | others)


def test_another_prefix(tmp_path: Path, options: Json, start: Starter) -> None:
    server = start()
    with with_prefix(options, server, cache_prefix="old:") as storage:
        storage.save(small_vcon())
    report = diagnose(tmp_path, options | {"redis_url": server.url})
    report.assert_only("redis prefix", "warning", "cached under 'old:'", "one cache_prefix")


def test_another_tenant_is_no_other_prefix(tmp_path: Path, options: Json, start: Starter) -> None:
    server = start()
    with with_prefix(options, server, tenant="acme") as storage:
        storage.save(small_vcon())
        spooled(storage, small_vcon())
    for tenant in (None, "beta"):
        report = diagnose(tmp_path, options | {"redis_url": server.url, "tenant": tenant})
        assert "redis prefix" not in {finding["check"] for finding in report.findings}
        assert report.state("redis spool") == "ok"


def test_saves_that_wait(tmp_path: Path, options: Json, start: Starter) -> None:
    server = start()
    with with_prefix(options, server) as storage:
        spooled(storage, small_vcon(), small_vcon())
        report = spool_report(tmp_path, options, server)
        report.assert_only("redis spool", "warning", "2 saves wait", "replay")
        assert storage.replay()["replayed"] == 2
    assert spool_report(tmp_path, options, server).state("redis spool") == "ok"


def test_saves_that_were_set_aside(tmp_path: Path, options: Json, start: Starter) -> None:
    server = start()
    with with_prefix(options, server) as storage:
        spooled(storage, small_vcon())
        assert storage.spool is not None
        [record] = storage.spool.waiting()
        storage.spool.fail(record, "why")
    report = spool_report(tmp_path, options, server)
    report.assert_only("redis spool", "warning", "1 saves were refused", "spool retry")


def test_saves_that_wait_under_another_prefix(
    tmp_path: Path, options: Json, start: Starter
) -> None:
    server = start()
    with with_prefix(options, server, cache_prefix="old:") as storage:
        spooled(storage, small_vcon())
    report = spool_report(tmp_path, options, server)
    warnings = [f for f in report.findings if f["check"] == "redis other spool"]
    assert [f["state"] for f in warnings] == ["warning"]
    assert "cache_prefix=old:" in warnings[0]["fix"]


def spool_report(tmp_path: Path, options: Json, server: Server) -> Report:
    return diagnose(tmp_path, options | {"redis_url": server.url})
