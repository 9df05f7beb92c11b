"""Redis as a write-through cache. Needs the local Supabase."""

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from conserver_supabase_storage import SupabaseStorage

from ..conftest import Sql
from ..home import Supabase
from ..vcons import assert_same, new_uuid, small_vcon
from .servers import closed_port


@pytest.fixture
def redis(stack: Supabase) -> Iterator["Redis"]:
    with Redis.from_url(stack.redis_url) as connection:
        yield connection


def keys_of(redis: "Redis", vcon_uuid: str) -> list[str]:
    found = redis.keys(f"*{vcon_uuid}*")
    keys = [key.decode() for key in found if isinstance(key, bytes)]
    return [key for key in keys if not key.endswith(":gate")]


def remove_behind_its_back(psql: Sql, vcon_uuid: str) -> None:
    psql.execute("DELETE FROM vcons WHERE uuid = %s", [vcon_uuid])


def test_a_saved_vcon_is_in_redis_for_a_time(
    stack: Supabase, options: dict[str, Any], redis: "Redis"
) -> None:
    document = small_vcon()
    with SupabaseStorage(
        options | {"redis_url": stack.redis_url, "cache_ttl": 77, "cache_prefix": "mine:"}
    ) as storage:
        storage.save(document)
    [key] = keys_of(redis, document["uuid"])
    assert key.startswith("mine:")
    assert 0 < redis.ttl(key) <= 77


def test_no_key_is_the_conservers(cached_storage: SupabaseStorage, redis: "Redis") -> None:
    document = small_vcon()
    cached_storage.save(document)
    cached_storage.get(document["uuid"])
    cached_storage.get(new_uuid())
    assert keys_of(redis, document["uuid"])
    assert not [key for key in keys_of(redis, document["uuid"]) if key.startswith("vcon:")]


def test_a_hit_does_not_ask_the_database(
    cached_storage: SupabaseStorage, storage: SupabaseStorage, psql: Sql
) -> None:
    document = small_vcon()
    cached_storage.save(document)
    remove_behind_its_back(psql, document["uuid"])
    assert_same(cached_storage.get(document["uuid"]), document)
    assert storage.get(document["uuid"]) is None


def test_a_miss_fills_the_cache(
    cached_storage: SupabaseStorage, storage: SupabaseStorage, psql: Sql
) -> None:
    document = small_vcon()
    storage.save(document)
    assert_same(cached_storage.get(document["uuid"]), document)
    remove_behind_its_back(psql, document["uuid"])
    assert_same(cached_storage.get(document["uuid"]), document)


def test_a_save_replaces_what_is_cached(cached_storage: SupabaseStorage) -> None:
    document = small_vcon()
    cached_storage.save(document)
    cached_storage.get(document["uuid"])
    cached_storage.save(document | {"subject": "another"})
    assert_same(cached_storage.get(document["uuid"]), document | {"subject": "another"})


def test_delete_removes_it_from_the_cache(cached_storage: SupabaseStorage) -> None:
    document = small_vcon()
    cached_storage.save(document)
    assert cached_storage.delete(document["uuid"])
    assert cached_storage.get(document["uuid"]) is None


@pytest.mark.parametrize("garbage", ["empty", "text", "json", "binary", "cut off", "list"])
def test_what_can_not_be_read_from_the_cache_is_a_miss(
    cached_storage: SupabaseStorage, redis: "Redis", garbage: str
) -> None:
    document = small_vcon()
    cached_storage.save(document)
    [key] = keys_of(redis, document["uuid"])
    entry = redis.get(key)
    assert isinstance(entry, bytes)
    redis.delete(key)
    if garbage == "list":
        redis.rpush(key, "x")
    else:
        wrong = {"empty": b"", "text": b"hello", "json": b'{"uuid": 5}', "binary": b"\xff\0\xfe"}
        redis.set(key, wrong.get(garbage, entry[: len(entry) // 2]))
    assert_same(cached_storage.get(document["uuid"]), document)
    # And it is put right.
    assert_same(cached_storage.get(document["uuid"]), document)


def test_redis_that_stops_and_comes_back_changes_nothing_but_speed(
    stack: Supabase, cached_storage: SupabaseStorage
) -> None:
    document = small_vcon()
    cached_storage.save(document)
    stack.stop_service("redis")
    try:
        assert_same(cached_storage.get(document["uuid"]), document)
        cached_storage.save(document | {"subject": "another"})
        assert_same(cached_storage.get(document["uuid"]), document | {"subject": "another"})
        assert cached_storage.delete(document["uuid"])
        assert cached_storage.get(document["uuid"]) is None
    finally:
        stack.start_service("redis")
    cached_storage.save(document)
    assert cached_storage.health()["cache"] == "ok"
    assert_same(cached_storage.get(document["uuid"]), document)


def test_a_redis_that_was_never_there_changes_nothing(options: dict[str, Any]) -> None:
    document = small_vcon()
    with closed_port() as url:
        nowhere = url.replace("http", "redis")
        with SupabaseStorage(options | {"redis_url": nowhere}) as storage:
            storage.save(document)
            assert_same(storage.get(document["uuid"]), document)
            assert storage.delete(document["uuid"])


def test_a_redis_that_is_silent_changes_nothing(
    stack: Supabase, cached_storage: SupabaseStorage
) -> None:
    document = small_vcon()
    stack.pause_service("redis")
    try:
        cached_storage.save(document)
        assert_same(cached_storage.get(document["uuid"]), document)
    finally:
        stack.resume_service("redis")
