"""What most tests need: a Supabase in its home, storages that use it, a clean environment."""

import logging
import os
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import settings

from conserver_supabase_storage import SupabaseStorage

from . import home
from .home import Supabase

type Sql = psycopg.Connection[tuple[Any, ...]]

settings.register_profile("quick", max_examples=100, deadline=None)
settings.register_profile("thorough", max_examples=2_000, deadline=None)
settings.load_profile(_profile := os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# For a property that another one covers in the main, or that takes its time.
few_examples = settings(max_examples=settings.get_profile(_profile).max_examples // 4)

# A line per request would bury what a failing test shows.
logging.getLogger("httpx").setLevel(logging.WARNING)

_VARIABLES = ("REDIS_URL", "VCON_REDIS_EXPIRY", "EGRESS_FORMAT_VERSION")


def pytest_addoption(parser: pytest.Parser) -> None:
    home.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "redis_json: needs the Redis of a conserver, with RedisJSON")
    home.settle(config)


def pytest_report_header(config: pytest.Config) -> str:
    return home.describe(config)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which tests beside a real RedisJSON ran: a skip among hundreds is overlooked."""
    said: dict[str, list[str]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.getreports(outcome):
            keywords = getattr(report, "keywords", ())  # a file that can't be loaded has none
            if "redis_json" not in keywords or (outcome, report.when) == ("passed", "setup"):
                continue
            why = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            what = f"did not run ({why.removeprefix('Skipped: ')})" if why else outcome
            said.setdefault(what, []).append(report.nodeid.rpartition("::")[2])
    if said:
        terminalreporter.section("tests beside a real RedisJSON")
    for what, names in said.items():
        terminalreporter.line(f"{len(names)} {what}: {', '.join(names)}")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own Supabase and Redis out of every test."""
    for name in list(os.environ):
        if name.startswith("SUPABASE_") or name in _VARIABLES:
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> Iterator[Supabase]:
    """Real Postgres, PostgREST and Redis, migrated; one for the whole run, in its home."""
    with home.open_supabase(pytestconfig) as running:
        yield running


@pytest.fixture
def options(stack: Supabase) -> dict[str, Any]:
    """Options for PostgREST without a gateway and without a cache."""
    return options_without_cache(stack)


def options_without_cache(stack: Supabase) -> dict[str, Any]:
    """As the fixture, for fixtures that live longer than a test."""
    return {
        "rest_url": stack.rest_url,
        "key": stack.service_role_key,
        "redis_url": None,
        "cache_ttl": 3600,
    }


# Storages are shared by all tests, as one is by all threads of a conserver: what one test leaves
# behind in them must not matter to another.
@pytest.fixture(scope="session")
def storage(stack: Supabase) -> Iterator[SupabaseStorage]:
    """A storage without a cache: every get comes from Postgres."""
    with SupabaseStorage(options_without_cache(stack)) as shared:
        yield shared


@pytest.fixture(scope="session")
def cached_storage(stack: Supabase) -> Iterator[SupabaseStorage]:
    """A storage with a cache in Redis."""
    with SupabaseStorage(options_without_cache(stack) | {"redis_url": stack.redis_url}) as shared:
        yield shared


@pytest.fixture
def psql(stack: Supabase) -> Iterator[Sql]:
    """A superuser's connection to the stack's database, in autocommit mode."""
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        yield connection
