"""A standby (a read replica) of the local Postgres: what a storage on it does, and its promotion.

It is a copy of the files that runs in standby mode; nothing streams to it, so it stays behind.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from urllib.parse import urlsplit

import psycopg
import pytest

from conserver_supabase_storage import SupabaseStorage, UnavailableError
from conserver_supabase_storage.local import LocalSupabase
from conserver_supabase_storage.local.ports import free_port
from conserver_supabase_storage.local.postgres import Postgres

from ..vcons import Json, small_vcon


class Pair(NamedTuple):
    """A Supabase, options of a storage on it, and of one on its standby."""

    stack: LocalSupabase
    primary: Json
    standby: Json
    standby_url: str
    saved: Json


@pytest.fixture
def pair() -> Iterator[Pair]:
    with ExitStack() as cleaning:
        folder = Path(cleaning.enter_context(TemporaryDirectory(prefix="standby-")))
        folder.chmod(0o711)  # Postgres, run by root, is another user
        stack = cleaning.enter_context(LocalSupabase(folder / "primary"))
        shared = {"key": stack.service_role_key, "redis_url": stack.redis_url}
        primary = {"rest_url": stack.rest_url, **shared}
        saved = small_vcon()
        with SupabaseStorage(primary) as storage:
            storage.save(saved)
            storage.search()
        stack.stop_service("postgres")
        (folder / "standby").mkdir()
        subprocess.run(
            ["cp", "-a", folder / "primary/postgres", folder / "standby/postgres"], check=True
        )
        stack.start_service("postgres")
        url = cleaning.enter_context(standby(folder / "standby", stack))
        rest_url = cleaning.enter_context(
            stack.postgrest(PGRST_DB_URI=url, PGRST_DB_CHANNEL_ENABLED=False)
        )
        stack.wait_until_ready()
        yield Pair(stack, primary, {"rest_url": rest_url, **shared}, url, saved)


@contextmanager
def standby(folder: Path, stack: LocalSupabase) -> Iterator[str]:
    """Run a copy of a cluster in standby mode; give its URL."""
    (folder / "postgres" / "standby.signal").touch()
    port = free_port(set())
    postgres = Postgres(
        folder, password=urlsplit(stack.database_url).password or "", throw_away=False
    )
    server = postgres.server(port)
    user, group = server.owner or (None, None)
    process = subprocess.Popen(
        server.command,
        cwd=server.directory,
        env=server.environment,
        user=user,
        group=group,
        extra_groups=[],
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while not server.is_ready():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield postgres.url(port)
    finally:
        process.send_signal(server.stop_signal)
        process.wait(30)


def test_a_storage_on_a_standby_gets_and_says_why_it_does_nothing_else(pair: Pair) -> None:
    options = pair.standby | {"redis_url": None, "total_timeout": 1.0}
    with SupabaseStorage(options) as storage:
        assert storage.get(pair.saved["uuid"]) == pair.saved
        assert storage.health()["status"] == "ok"
        for call in (
            storage.search,
            lambda: storage.save(small_vcon()),
            lambda: storage.delete(pair.saved["uuid"]),
        ):
            began = time.monotonic()
            with pytest.raises(UnavailableError, match="takes no changes: it is a standby"):
                call()
            assert time.monotonic() - began < 2


def test_a_save_during_a_failover_is_spooled(pair: Pair) -> None:
    vcon = small_vcon()
    with SupabaseStorage(pair.standby | {"total_timeout": 1.0}) as storage:
        storage.save(vcon)
        with psycopg.connect(pair.standby_url, autocommit=True) as sql:
            sql.execute("SELECT pg_promote()")
        assert storage.replay() == {"replayed": 1, "failed": 0, "waiting": 0}
        assert storage.get(vcon["uuid"]) == vcon


def test_a_standby_that_is_promoted_without_the_last_changes(pair: Pair) -> None:
    later = small_vcon()
    with SupabaseStorage(pair.primary) as storage:
        storage.save(pair.saved | {"subject": "not replicated"})
        storage.save(later)
        pair.stack.stop_service("postgres")
    with psycopg.connect(pair.standby_url, autocommit=True) as sql:
        sql.execute("SELECT pg_promote()")
    with SupabaseStorage(pair.standby) as storage:
        storage.save(small_vcon())  # so that it knows the cache's state, and need not compare
        assert storage.get(pair.saved["uuid"]) == pair.saved
        assert storage.get(later["uuid"]) is None
        assert len(storage.search({"uuid": pair.saved["uuid"]})) == 1
