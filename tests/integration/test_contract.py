"""The module as the conserver calls it: where the vCon comes from, what goes wrong, options.

Needs the local Supabase; the conserver's own modules are stood in for by a package ``lib`` that
each test writes.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from redis import Redis

import conserver_supabase_storage as module
from conserver_supabase_storage import (
    ConfigurationError,
    InvalidVconError,
    StorageError,
    UnavailableError,
    VconNotFoundError,
)
from conserver_supabase_storage.registry import registry

from ..home import Supabase
from ..vcons import Json, assert_same, load, new_uuid, small_vcon, uuid_in, written_set
from .servers import CountingProxy, RedisWithJson, closed_port

type Lib = Callable[..., None]


@pytest.fixture(autouse=True)
def _no_storages_left() -> Iterator[None]:
    registry.close()
    yield
    registry.close()


@pytest.fixture
def redis(stack: Supabase) -> Iterator["Redis"]:
    with Redis.from_url(stack.redis_url) as connection:
        yield connection


@pytest.fixture
def environment(stack: Supabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set in a conserver's container."""
    monkeypatch.setenv("SUPABASE_URL", stack.url)
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", stack.service_role_key)
    monkeypatch.setenv("REDIS_URL", stack.redis_url)


@pytest.fixture
def lib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lib]:
    """Write modules of the conserver's package ``lib``, by name."""

    def write(**modules: str) -> None:
        (tmp_path / "lib").mkdir()
        (tmp_path / "lib" / "__init__.py").touch()
        for name, source in modules.items():
            (tmp_path / "lib" / f"{name}.py").write_text(dedent(source), "utf-8")
        monkeypatch.syspath_prepend(tmp_path)

    yield write
    for name in [name for name in sys.modules if name == "lib" or name.startswith("lib.")]:
        del sys.modules[name]


DICT_ACCESS = """
    VCONS = {}
    class VconRedis:
        def get_vcon_dict(self, vcon_id):
            return VCONS.get(vcon_id)
"""
OLDER_ACCESS = """
    VCONS = {}
    class Vcon:
        def __init__(self, document):
            self.document = document
        def to_dict(self):
            return self.document
    class VconRedis:
        def get_vcon(self, vcon_id):
            return Vcon(VCONS[vcon_id]) if vcon_id in VCONS else None
"""


def hold(document: Json, under: str | None = None) -> None:
    """Have the stand-in for the conserver hold a vCon."""
    from lib import vcon_redis

    vcon_redis.VCONS[under or uuid_in(document)] = document


@pytest.mark.parametrize("access", [DICT_ACCESS, OLDER_ACCESS], ids=["dict", "older"])
def test_save_takes_the_vcon_from_the_conserver(lib: Lib, access: str, options: Json) -> None:
    lib(vcon_redis=access)
    document = small_vcon()
    hold(document)
    assert module.save(document["uuid"], options) is None  # type: ignore[func-returns-value]
    assert_same(module.get(document["uuid"], options), document)
    assert module.delete(document["uuid"], options) is True
    assert module.delete(document["uuid"], options) is False
    assert module.get(document["uuid"], options) is None


@pytest.mark.parametrize("access", [DICT_ACCESS, OLDER_ACCESS], ids=["dict", "older"])
def test_a_vcon_that_the_conserver_does_not_hold(lib: Lib, access: str, options: Json) -> None:
    lib(vcon_redis=access)
    vcon_uuid = new_uuid()
    with pytest.raises(VconNotFoundError, match=f"vcon:{vcon_uuid}.*VCON_REDIS_EXPIRY"):
        module.save(vcon_uuid, options)


def test_an_error_of_the_conserver_is_not_hidden(lib: Lib, options: Json) -> None:
    lib(vcon_redis="import a_module_that_is_not_installed")
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_installed"):
        module.save(new_uuid(), options)


def test_the_egress_format_is_honoured(lib: Lib, options: Json) -> None:
    lib(
        vcon_redis=DICT_ACCESS,
        vcon_egress_compat="""
            def to_configured_legacy(document):
                return {**document, "vcon": "0.0.1"}
        """,
    )
    document = small_vcon()
    hold(document)
    module.save(document["uuid"], options)
    assert_same(module.get(document["uuid"], options), document | {"vcon": "0.0.1"})


def test_a_vcon_kept_under_another_uuid_is_refused(lib: Lib, options: Json) -> None:
    lib(vcon_redis=DICT_ACCESS)
    document, other = small_vcon(), new_uuid()
    hold(document, under=other)
    with pytest.raises(InvalidVconError, match=other):
        module.save(other, options)
    assert module.get(other, options) is None
    assert module.get(document["uuid"], options) is None


def test_our_get_may_be_called_while_save_asks_the_conserver(
    lib: Lib, tmp_path: Path, storage: module.SupabaseStorage, options: Json
) -> None:
    """As in the conserver, where a vCon that left Redis is looked for in the storages."""
    lib(
        vcon_redis="""
            import conserver_supabase_storage, json, sys
            class VconRedis:
                def get_vcon_dict(self, vcon_id):
                    return conserver_supabase_storage.get(vcon_id, json.loads(sys.argv[2]))
        """
    )
    document = small_vcon()
    storage.save(document)
    code = (
        "import conserver_supabase_storage, json, sys\n"
        "conserver_supabase_storage.save(sys.argv[1], json.loads(sys.argv[2]))"
    )
    # In a process of its own: one that waits for itself could not be ended here.
    done = subprocess.run(
        [sys.executable, "-c", code, document["uuid"], json.dumps(options)],
        env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(module.__file__).parents[1]}"},
        timeout=20,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", written_set(), ids=lambda path: path.stem)
@pytest.mark.usefixtures("environment")
def test_without_the_conserver_a_json_string_in_redis_is_read(
    redis: "Redis", options: Json, path: Path
) -> None:
    document = load(path)
    vcon_uuid = uuid_in(document)
    redis.set(f"vcon:{vcon_uuid}", json.dumps(document), ex=60)
    module.save(vcon_uuid, options)
    assert_same(module.get(vcon_uuid, options), document)
    # The conserver's own record is only read.
    assert redis.get(f"vcon:{vcon_uuid}") == json.dumps(document).encode()


@pytest.mark.usefixtures("environment")
def test_without_the_conserver_a_vcon_that_is_not_there(options: Json) -> None:
    with pytest.raises(VconNotFoundError):
        module.save(new_uuid(), options)


@pytest.mark.parametrize(
    ("command", "value"),
    [("SET", "no json"), ("SET", "[1]"), ("SET", ""), ("RPUSH", "{}")],
)
@pytest.mark.usefixtures("environment")
def test_without_the_conserver_a_key_that_holds_no_vcon(
    redis: "Redis", options: Json, command: str, value: str
) -> None:
    key = f"vcon:{(vcon_uuid := new_uuid())}"
    if command == "SET":
        redis.set(key, value)
    else:
        redis.rpush(key, value)
    redis.expire(key, 60)
    with pytest.raises(StorageError, match=f"the key {key} holds"):
        module.save(vcon_uuid, options)


def test_without_the_conserver_and_without_redis(options: Json) -> None:
    with pytest.raises(VconNotFoundError, match="REDIS_URL"):
        module.save(new_uuid(), options)


def test_a_redis_of_the_conserver_that_is_away(
    options: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closed_port() as url:
        where = url.replace("http://", "redis://:hidden@")
        monkeypatch.setenv("REDIS_URL", where)
        with pytest.raises(UnavailableError, match="the conserver's Redis at") as found:
            module.save(new_uuid(), options)
    assert "hidden" not in str(found.value)


def test_without_the_conserver_redisjson_is_read(
    options: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = small_vcon()
    with RedisWithJson({f"vcon:{document['uuid']}": json.dumps(document)}) as server:
        monkeypatch.setenv("REDIS_URL", server.redis_url)
        module.save(document["uuid"], options)
        with pytest.raises(VconNotFoundError):
            module.save(new_uuid(), options)
    assert_same(module.get(document["uuid"], options), document)


@pytest.mark.parametrize(
    "given", [None, {}, module.default_options], ids=["null", "empty", "default_options"]
)
@pytest.mark.usefixtures("environment")
def test_options_may_come_from_the_environment_alone(redis: "Redis", given: Json | None) -> None:
    document = small_vcon()
    redis.set(f"vcon:{document['uuid']}", json.dumps(document), ex=60)
    module.save(document["uuid"], given)
    assert_same(module.get(document["uuid"], given), document)
    assert module.search({"subject": "invoice", "limit": 1}, given)
    assert redis.exists(f"supabase-storage:{{{document['uuid']}}}")
    assert module.delete(document["uuid"], given)


@pytest.mark.parametrize("operation", ["save", "get", "delete"])
def test_options_that_can_not_be_used_are_refused_by_every_operation(operation: str) -> None:
    with pytest.raises(ConfigurationError, match="SUPABASE_URL"):
        getattr(module, operation)(new_uuid(), {})
    with pytest.raises(ConfigurationError):
        module.search({}, {"url": "http://127.0.0.1:1", "key": "k", "tabel": "x"})


@pytest.mark.parametrize("operation", ["save", "get", "delete"])
def test_a_uuid_that_is_none_is_refused_before_anything_is_sent(
    stack: Supabase, options: Json, operation: str
) -> None:
    with CountingProxy(stack.rest_url) as proxy:
        with pytest.raises(InvalidVconError):
            getattr(module, operation)("no-uuid", options | {"rest_url": proxy.url})
        assert proxy.accepted == 0


def test_an_old_api_may_change_what_get_returned(stack: Supabase, options: Json, lib: Lib) -> None:
    lib(vcon_redis=DICT_ACCESS)
    document = small_vcon()
    hold(document)
    cached: dict[str, Any] = options | {"redis_url": stack.redis_url}
    for each in (options, cached):
        module.save(document["uuid"], each)
        found = module.get(document["uuid"], each)
        assert found is not None
        found["vcon"] = "changed"
        found["parties"][0].clear()
        assert_same(module.get(document["uuid"], each), document)


def test_it_works_on_the_thread_of_a_running_event_loop(lib: Lib, options: Json) -> None:
    lib(vcon_redis=DICT_ACCESS)
    document = small_vcon()
    hold(document)

    async def api() -> Json | None:
        module.save(document["uuid"], options)
        found = module.get(document["uuid"], options)
        module.delete(document["uuid"], options)
        return found

    assert_same(asyncio.run(api()), document)
