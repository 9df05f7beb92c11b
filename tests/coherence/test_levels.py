"""Sizes, the level in the process, tenants, a server beside, and what is counted."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from conserver_supabase_storage import ConfigurationError, RefusedError, SupabaseStorage

from ..home import Supabase
from ..vcons import new_uuid


@pytest.fixture
def options(supabase: Supabase) -> dict[str, Any]:
    return {
        "rest_url": supabase.rest_url,
        "key": supabase.service_role_key,
        "redis_url": supabase.redis_url,
        "cache_prefix": f"levels-{new_uuid()}:",
    }


@pytest.fixture
def server(supabase: Supabase) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(supabase.redis_url) as client:
        yield client


def vcon(uuid: str, body: str = "hello", n: int = 1) -> dict[str, Any]:
    return {"uuid": uuid, "parties": [], "dialog": [{"type": "text", "body": body}], "n": n}


def entry_of(server: "redis.Redis", options: dict[str, Any], uuid: str) -> bytes | None:
    found = server.get(f"{options['cache_prefix']}{{{uuid}}}")
    assert found is None or isinstance(found, bytes)
    return found


def calls(server: "redis.Redis", command: str) -> int:
    stats: Any = server.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"])


def test_what_is_large_is_compressed_or_not_cached(
    options: dict[str, Any], server: "redis.Redis"
) -> None:
    uuid, body = new_uuid(), "many words " * 10_000
    sizes: dict[str, int] = {}
    for name, more in {
        "plain": {},
        "compressed": {"cache_compress_bytes": 1000},
        "too large": {"cache_max_bytes": 1000},
    }.items():
        with SupabaseStorage(options | more) as storage:
            storage.save(vcon(uuid, body, n=len(sizes)))
            sizes[name] = len(entry_of(server, options, uuid) or b"")
            assert storage.get(uuid) == vcon(uuid, body, n=len(sizes) - 1)
            assert storage.get(uuid) == vcon(uuid, body, n=len(sizes) - 1)
    assert sizes["too large"] == 0
    assert 0 < sizes["compressed"] < sizes["plain"] / 5


def test_a_process_without_the_option_reads_what_one_with_it_compressed(
    options: dict[str, Any],
) -> None:
    uuid = new_uuid()
    with (
        SupabaseStorage(options | {"cache_compress_bytes": 1}) as writer,
        SupabaseStorage(options) as reader,
    ):
        writer.save(vcon(uuid))
        reader.search({"limit": 1})
        assert reader.get(uuid) == vcon(uuid)
        assert reader.stats() == {"hit": 1}


def test_the_level_in_the_process_saves_the_bytes_and_is_as_current(
    options: dict[str, Any], server: "redis.Redis"
) -> None:
    uuid = new_uuid()
    with (
        SupabaseStorage(options | {"memory_bytes": 100_000}) as reader,
        SupabaseStorage(options) as writer,
    ):
        writer.save(vcon(uuid))
        first = reader.get(uuid)
        assert first is not None
        before = calls(server, "get")
        for _ in range(5):
            again = reader.get(uuid)
            assert again == vcon(uuid)
            again["dialog"].clear()  # a copy: nobody else sees this
        assert calls(server, "get") == before
        writer.save(vcon(uuid, n=2))
        assert reader.get(uuid) == vcon(uuid, n=2)
        writer.delete(uuid)
        assert reader.get(uuid) is None


def test_the_level_in_the_process_is_bounded_by_bytes(options: dict[str, Any]) -> None:
    with SupabaseStorage(options | {"memory_bytes": 30_000}) as storage:
        uuids = [new_uuid() for _ in range(10)]
        for uuid in uuids:
            storage.save(vcon(uuid, "x" * 9_000))
            storage.get(uuid)
        memory = storage._cache._cache._memory  # type: ignore[union-attr]
        assert memory is not None
        assert sorted(memory._entries) == sorted(uuids[-3:])
        assert memory._bytes <= 30_000


def test_a_tenants_vcons_are_its_own(options: dict[str, Any]) -> None:
    uuid, other = new_uuid(), new_uuid()
    with (
        SupabaseStorage(options | {"tenant": "one"}) as one,
        SupabaseStorage(options | {"tenant": "two"}) as two,
        SupabaseStorage(options) as nobody,
    ):
        one.save(vcon(uuid))
        two.save(vcon(other))
        assert two.get(uuid) is None
        assert two.delete(uuid) is False
        with pytest.raises(RefusedError, match="another tenant"):
            two.save(vcon(uuid, n=2))
        assert [found["uuid"] for found in two.search()] == [other]
        assert one.get(uuid) == vcon(uuid)
        # Without a tenant all are seen, but not kept where the tenant could not take them away.
        assert nobody.get(uuid) == nobody.get(uuid) == vcon(uuid)
        assert nobody.stats() == {"miss": 2}
        assert one.clear_cache() == 1
        assert two.get(other) == vcon(other)
        assert two.stats()["hit"] == 1
        assert one.delete(uuid) is True
        assert nobody.get(uuid) is None


@pytest.fixture
def shared(supabase: Supabase, options: dict[str, Any]) -> Iterator[SupabaseStorage]:
    with SupabaseStorage(options | {"cache_prefix": "vcon:"}) as storage:
        yield storage


def test_a_server_beside_finds_the_vcon_and_what_it_deletes_is_a_miss(
    shared: SupabaseStorage, server: "redis.Redis"
) -> None:
    import json

    uuid = new_uuid()
    shared.save(vcon(uuid))
    copy = server.get(f"vcon:{uuid}")
    assert isinstance(copy, bytes)
    assert json.loads(copy) == vcon(uuid)
    assert server.ttl(f"vcon:{uuid}") > 0
    assert shared.get(uuid) == vcon(uuid)
    assert shared.stats()["hit"] == 1
    server.delete(f"vcon:{uuid}")
    assert shared.get(uuid) == vcon(uuid)
    assert shared.stats()["miss"] == 1
    assert server.exists(f"vcon:{uuid}")  # filled again
    shared.delete(uuid)
    assert not server.exists(f"vcon:{uuid}")


def test_a_key_of_another_type_is_never_overwritten(
    shared: SupabaseStorage, server: "redis.Redis"
) -> None:
    uuid = new_uuid()
    server.hset(f"vcon:{uuid}", "theirs", "1")
    for n in (1, 2):
        shared.save(vcon(uuid, n=n))
        assert shared.get(uuid) == shared.get(uuid) == vcon(uuid, n=n)
    shared.delete(uuid)
    assert server.hgetall(f"vcon:{uuid}") == {b"theirs": b"1"}


def test_the_conservers_redis_is_refused_for_sharing(
    supabase: Supabase, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = options | {"cache_prefix": "vcon:"}
    monkeypatch.setenv("REDIS_URL", supabase.redis_url)
    with pytest.raises(ConfigurationError, match="the conserver keeps its own records"):
        SupabaseStorage(shared)
    with pytest.raises(ConfigurationError, match="the conserver keeps its own records"):
        SupabaseStorage({name: value for name, value in shared.items() if name != "redis_url"})
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere:6379")
    SupabaseStorage(shared).close()
