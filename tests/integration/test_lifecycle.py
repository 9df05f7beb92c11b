"""A storage's health, its end, and its use by many threads. Needs the local Supabase."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.migrations import migrations

from ..home import Supabase
from ..vcons import as_text, assert_same, small_vcon
from .servers import CountingProxy


@pytest.fixture
def no_redis(stack: Supabase) -> Iterator[None]:
    stack.stop_service("redis")
    yield
    stack.start_service("redis")


@pytest.fixture
def no_postgrest(stack: Supabase) -> Iterator[None]:
    stack.stop_service("postgrest")
    yield
    stack.start_service("postgrest")


def test_health_is_ok(storage: SupabaseStorage, cached_storage: SupabaseStorage) -> None:
    newest = migrations()[-1].version
    ok = {"status": "ok", "database": "ok", "cache": "off", "schema_version": newest}
    assert storage.health() == ok
    assert cached_storage.health() == ok | {"cache": "ok"}


def test_health_is_degraded_without_redis(cached_storage: SupabaseStorage, no_redis: None) -> None:
    health = cached_storage.health()
    assert (health["status"], health["database"]) == ("degraded", "ok")
    assert "Error" in health["cache"]


def test_health_is_down_without_postgrest(
    stack: Supabase, options: dict[str, Any], no_postgrest: None
) -> None:
    quick = options | {"redis_url": stack.redis_url, "total_timeout": 0.5}
    with SupabaseStorage(quick) as storage:
        health = storage.health()
    assert (health["status"], health["cache"], health["schema_version"]) == ("down", "ok", None)
    assert "can't be reached" in health["database"]


def test_a_closed_storage_opens_again(stack: Supabase, options: dict[str, Any]) -> None:
    document = small_vcon()
    storage = SupabaseStorage(options | {"redis_url": stack.redis_url})
    storage.save(document)
    storage.close()
    storage.close()
    assert_same(storage.get(document["uuid"]), document)
    storage.close()


def test_close_closes_the_connections(stack: Supabase, options: dict[str, Any]) -> None:
    with CountingProxy(stack.rest_url) as proxy:
        with SupabaseStorage(options | {"rest_url": proxy.url}) as storage:
            storage.save(small_vcon())
            assert proxy.open == 1
        for _ in range(200):
            if not proxy.open:
                break
            threading.Event().wait(0.01)
        assert proxy.open == 0


def test_making_a_storage_sends_nothing(stack: Supabase, options: dict[str, Any]) -> None:
    with CountingProxy(stack.rest_url) as proxy:
        SupabaseStorage(options | {"rest_url": proxy.url}).close()
        assert proxy.accepted == 0


def test_it_works_through_the_gateway(stack: Supabase) -> None:
    options = {"url": stack.url, "key": stack.service_role_key, "redis_url": None}
    document = small_vcon()
    with SupabaseStorage(options) as storage:
        storage.save(document)
        assert_same(storage.get(document["uuid"]), document)


def test_eight_threads_share_one_storage(storage: SupabaseStorage) -> None:
    documents = [small_vcon() for _ in range(8)]
    start = threading.Barrier(8)

    def work(number: int) -> int:
        mine, same = documents[number], 0
        start.wait(10)
        for step in range(50):
            document = mine | {"step": step}
            storage.save(document)
            same += as_text(storage.get(mine["uuid"])) == as_text(document)
        return same

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [50] * 8


def test_threads_that_save_the_same_vcon_leave_one_of_them_whole(
    storage: SupabaseStorage,
) -> None:
    document = small_vcon()
    versions = [
        document | {"subject": f"by {n}", "parties": [{"name": f"{n}"}] * (n + 1)} for n in range(8)
    ]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(storage.save, versions * 5))
    assert as_text(storage.get(document["uuid"])) in map(as_text, versions)
