"""Real servers for the tests of the spool: they are stopped, killed and filled here."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

# With the client's libraries loaded, no deadline of a test is spent on their import.
import supabase  # noqa: F401
from redis import Redis, RedisError

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.local.ports import free_port
from conserver_supabase_storage.local.redis_server import binary

from ..home import Supabase, open_supabase
from .outage import HISTORY
from .support import Database, Json, Opener, eventually, new_uuid


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own Supabase and Redis out of every test."""
    for name in ("SUPABASE_URL", "SUPABASE_REST_URL", "REDIS_URL", "VCON_REDIS_EXPIRY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_ANON_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> Iterator[Supabase]:
    """Real Postgres, PostgREST and Redis; Redis keeps its data over a restart (appendonly)."""
    with open_supabase(pytestconfig, durable=True) as running:
        yield _with_history(running)


def _with_history(running: Supabase) -> Supabase:
    with psycopg.connect(running.database_url, autocommit=True) as connection:
        connection.execute(HISTORY)
    return running


@pytest.fixture(autouse=True)
def _everything_runs(stack: Supabase) -> None:
    """Begin with servers that answer and a cache in use, whatever the test before has done."""
    stack.wait_until_ready()
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        # For a minute, a process that ends without Redis leaves readers in doubt about the cache.
        connection.execute("DELETE FROM vcon_cache_doubts")


@pytest.fixture(scope="session")
def other_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a second Redis, for a spool of its own."""
    port = free_port(set())
    command = [str(binary()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    folder = tmp_path_factory.mktemp("redis")
    with subprocess.Popen([*command, "--dir", str(folder), "--appendonly", "yes"]) as server:
        url = f"redis://127.0.0.1:{port}/0"
        try:
            assert eventually(lambda: _answers(url))
            yield url
        finally:
            server.terminate()


def _answers(url: str) -> bool:
    with Redis.from_url(url) as redis:
        try:
            return bool(redis.ping())
        except RedisError:
            return False


@pytest.fixture
def options(stack: Supabase) -> Json:
    """Options with a cache and a spool that no other test sees."""
    return {
        "rest_url": stack.rest_url,
        "key": stack.service_role_key,
        "redis_url": stack.redis_url,
        "cache_prefix": f"test-{new_uuid()}:",
        "total_timeout": 1.0,
    }


@pytest.fixture
def opener(options: Json) -> Iterator[Opener]:
    """Opens storages, each as another process would have it, with options that may differ."""
    with ExitStack() as opened:

        def opener(**others: Any) -> SupabaseStorage:
            return opened.enter_context(SupabaseStorage({**options, **others}))

        yield opener


@pytest.fixture
def storage(opener: Opener) -> SupabaseStorage:
    return opener()


@pytest.fixture
def database(stack: Supabase) -> Iterator[Database]:
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        yield Database(connection)


@pytest.fixture
def redis(stack: Supabase) -> Iterator[Redis]:
    with Redis.from_url(stack.redis_url) as client:
        yield client


@pytest.fixture
def spool_url(request: pytest.FixtureRequest) -> str | None:
    """By default, as an option that is not given; a test may ask for the other Redis."""
    name: str | None = getattr(request, "param", None)
    return name and str(request.getfixturevalue(name))
