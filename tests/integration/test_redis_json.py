"""Beside a real RedisJSON: what the conserver keeps under ``vcon:{uuid}`` is read, never touched.

The marked ones need a Redis with the JSON module: the container home with the real image `redis:8`,
or a Redis named by CONSERVER_TEST_REDIS_JSON_URL (they write keys of new vCons, and remove them).
No package registry has the module; without it they are skipped, and the report says so.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ResponseError

import conserver_supabase_storage as module
from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.registry import registry

from ..home import Supabase
from ..operate.diagnosis import diagnose
from ..vcons import Json, new_uuid, small_vcon

# conftest.py reports by name which of these ran.
with_json = pytest.mark.redis_json

# Read before the environment is cleaned for each test.
_GIVEN = os.environ.get("CONSERVER_TEST_REDIS_JSON_URL")


@pytest.fixture
def redis_url(stack: Supabase) -> str:
    return _GIVEN or stack.redis_url


@pytest.fixture
def redis(redis_url: str) -> Iterator["Redis"]:
    with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def json_redis(redis: "Redis") -> "Redis":
    try:
        redis.execute_command("JSON.GET", "no such key")  # type: ignore[no-untyped-call]
    except ResponseError as error:
        if "unknown command" not in str(error):
            raise
        server: dict[str, Any] = redis.info("server")
        kind = server.get("server_name", "redis")
        version = server.get("valkey_version", server["redis_version"])
        pytest.skip(f"this {kind} {version} has no JSON module, and no registry package has it")
    return redis


@pytest.fixture
def document(json_redis: "Redis") -> Iterator[Json]:
    """A vCon that the conserver is working on."""
    found = small_vcon(subject="100% ünïcode", numbers=[1.5, 2**60])
    key = f"vcon:{found['uuid']}"
    json_redis.execute_command("JSON.SET", key, "$", json.dumps(found))  # type: ignore[no-untyped-call]
    yield found
    json_redis.delete(key)


@pytest.fixture
def conserver(
    stack: Supabase, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """The options of a storage in a process that shares the conserver's Redis."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    registry.close()
    yield {"rest_url": stack.rest_url, "key": stack.service_role_key}
    registry.close()


def held(redis: "Redis", uuid: str) -> Any:
    """What the conserver reads of its own key."""
    text = redis.execute_command("JSON.GET", f"vcon:{uuid}")  # type: ignore[no-untyped-call]
    return None if text is None else json.loads(text)


@with_json
def test_save_finds_the_live_vcon_in_a_json_key(
    document: Json, conserver: dict[str, Any], storage: SupabaseStorage
) -> None:
    module.save(document["uuid"], conserver)
    assert storage.get(document["uuid"]) == document


def test_a_string_under_the_conservers_key_is_read_too(
    redis: "Redis", conserver: dict[str, Any], storage: SupabaseStorage
) -> None:
    document = small_vcon()
    key = f"vcon:{document['uuid']}"
    redis.set(key, json.dumps(document))
    module.save(document["uuid"], conserver)
    redis.delete(key)
    assert storage.get(document["uuid"]) == document


@with_json
def test_no_operation_touches_the_conservers_key(
    redis: "Redis", document: Json, conserver: dict[str, Any]
) -> None:
    uuid = document["uuid"]
    redis.expire(f"vcon:{uuid}", 1000)
    module.save(uuid, conserver)
    for operation in (module.get, module.get, module.save, module.delete, module.get):
        operation(uuid, conserver)
        assert held(redis, uuid) == document
        assert redis.type(f"vcon:{uuid}") == "ReJSON-RL"
    assert 900 < int(redis.ttl(f"vcon:{uuid}")) <= 1000


@with_json
def test_the_conserver_goes_on_writing_its_key_while_the_cache_holds_the_vcon(
    redis: "Redis", document: Json, conserver: dict[str, Any]
) -> None:
    uuid = document["uuid"]
    module.save(uuid, conserver)
    assert redis.keys(f"supabase-storage:*{uuid}*")
    redis.execute_command("JSON.SET", f"vcon:{uuid}", "$.subject", '"changed"')  # type: ignore[no-untyped-call]
    assert held(redis, uuid) == document | {"subject": "changed"}
    assert module.get(uuid, conserver) == document
    module.save(uuid, conserver)
    assert module.get(uuid, conserver) == document | {"subject": "changed"}


def test_a_miss_writes_nothing_under_the_conservers_key(
    redis: "Redis", conserver: dict[str, Any]
) -> None:
    uuid = new_uuid()
    assert module.get(uuid, conserver) is None
    assert not redis.exists(f"vcon:{uuid}")


@with_json
def test_the_trap_is_real(json_redis: "Redis") -> None:
    """Writing a string over a JSON key is what destroys the conserver's record."""
    key = f"vcon:{new_uuid()}"
    json_redis.execute_command("JSON.SET", key, "$", "{}")  # type: ignore[no-untyped-call]
    json_redis.set(key, "{}")
    with pytest.raises(ResponseError, match="wrong Redis type"):
        json_redis.execute_command("JSON.GET", key)  # type: ignore[no-untyped-call]
    json_redis.delete(key)


@with_json
def test_doctor_knows_the_conservers_redis_by_its_records(
    tmp_path: Path, stack: Supabase, redis_url: str, document: Json
) -> None:
    """Also where nobody says by REDIS_URL that it is the conserver's."""
    options = {"rest_url": stack.rest_url, "key": stack.service_role_key, "redis_url": redis_url}
    assert "the conserver's own" in diagnose(tmp_path, options)["redis owner"]["text"]
    shared = diagnose(tmp_path, options | {"cache_prefix": "vcon:"})
    shared.assert_only("redis owner", "broken", "would overwrite its records")
