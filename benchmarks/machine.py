"""On what it was measured."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import httpx
import psycopg
from redis import Redis

from conserver_supabase_storage.local import LocalSupabase


def describe(stack: LocalSupabase) -> dict[str, str]:
    """Return the date, the machine and the versions."""
    with psycopg.connect(stack.database_url) as connection:
        postgres = (
            f"{connection.info.server_version // 10_000}.{connection.info.server_version % 100}"
        )
    with Redis.from_url(stack.redis_url) as redis:
        redis_version = redis.info("server")["redis_version"]
    postgrest = httpx.head(stack.rest_url).headers.get("server", "").partition("/")[2]
    packages = ("conserver-supabase-storage", "supabase", "httpx", "redis", "orjson")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{_cores()} cores, {_processor()}, {_memory():.0f} GB, {platform.system()}",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "servers": f"Postgres {postgres}, PostgREST {postgrest}, Redis {redis_version}",
        "Python": platform.python_version(),
        "packages": ", ".join(f"{name} {version(name)}" for name in packages),
    }


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0


def _memory() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = info.read_text().splitlines() if info.exists() else []
    found = [line.partition(":")[2].strip() for line in names if line.startswith("model name")]
    return found[0] if found else platform.processor() or platform.machine()
