"""One stack for the folder, and storages that stand for processes: each has its own state."""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
import redis

from conserver_supabase_storage import SupabaseStorage

from ..home import Supabase, open_supabase
from .parties import Party

logging.getLogger("httpx").setLevel(logging.WARNING)

type Start = Callable[[Callable[[], Any]], Future[Any]]
type Parties = Callable[..., Party]


@pytest.fixture(scope="package")
def supabase(pytestconfig: pytest.Config) -> Iterator[Supabase]:
    """Real Postgres, PostgREST and Redis, migrated."""
    with open_supabase(pytestconfig) as running:
        yield running


@pytest.fixture
def party(supabase: Supabase) -> Iterator[Parties]:
    """Make storages, each with its own state as if in a process of its own; options may differ."""
    with ExitStack() as storages:

        def make(**options: Any) -> Party:
            defaults = {
                "rest_url": supabase.rest_url,
                "key": supabase.service_role_key,
                "redis_url": supabase.redis_url,
                "cache_ttl": 3600,
            }
            return Party(storages.enter_context(SupabaseStorage(defaults | options)))

        yield make


@pytest.fixture
def raw(supabase: Supabase) -> Iterator[redis.Redis]:
    """A client for looking into Redis, and for meddling."""
    with redis.Redis.from_url(supabase.redis_url) as client:
        yield client


@pytest.fixture
def sql(supabase: Supabase) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A superuser's connection, in autocommit mode."""
    with psycopg.connect(supabase.database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(autouse=True)
def _no_doubts(supabase: Supabase, sql: psycopg.Connection[tuple[Any, ...]]) -> None:
    """End the doubts of earlier tests, whose writers can't any more: they last 90 s."""
    sql.execute("DELETE FROM vcon_cache_doubts")


@pytest.fixture
def start() -> Iterator[Start]:
    """Run functions in threads."""
    with ThreadPoolExecutor(64) as pool:
        yield pool.submit
