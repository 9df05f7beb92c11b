"""A database restored from a backup, beside a Redis that holds what was written after it.

Backed up and restored by the real pg_dump and pg_restore. Needs the local Supabase.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import yaml
from psycopg import sql
from typer.testing import CliRunner

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.cli import app
from conserver_supabase_storage.freshness import TRUST
from conserver_supabase_storage.local import LocalSupabase
from conserver_supabase_storage.local.postgres import DEFAULT_VERSION, client_program
from conserver_supabase_storage.migrations import migrate
from conserver_supabase_storage.redis_client import connect

from ..conftest import options_without_cache
from ..home import Supabase
from ..integration.servers import closed_port
from ..vcons import Json, small_vcon

SCHEMAS = ("--schema=public", "--schema=supabase_migrations")

WAYS = pytest.mark.parametrize("way", ["elsewhere", "in_place", "rows"])


def run(program: str, *arguments: str | Path) -> None:
    path = client_program(program, DEFAULT_VERSION)
    done = subprocess.run(
        [str(part) for part in (path, *arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


class Site:
    """A database that is backed up and restored, and storages on it with one Redis."""

    def __init__(self, stack: Supabase, tmp_path: Path, cleaning: ExitStack) -> None:
        self._stack = stack
        self._cleaning = cleaning
        self._dump = tmp_path / "vcons.dump"
        self._prefix = f"restore-{uuid4()}:"
        self.url = self._create()
        migrate(self.url)
        self.options = self.serve()

    def _create(self) -> str:
        return self._stack.create_database(f"restore_{uuid4().hex}")

    def serve(self) -> Json:
        """Put a PostgREST before the database; return options for storages on it."""
        with psycopg.connect(self.url) as connection:
            database = connection.info.dbname
        rest_url = self._cleaning.enter_context(self._stack.postgrest(database=database))
        return options_without_cache(self._stack) | {
            "rest_url": rest_url,
            "redis_url": self._stack.redis_url,
            "cache_prefix": self._prefix,
        }

    def back_up(self) -> None:
        run("pg_dump", "--format=custom", *SCHEMAS, "--file", self._dump, self.url)

    def restore_elsewhere(self) -> None:
        """Restore into a new database, as into a new project."""
        extensions = self._extensions()
        self.url = self._create()
        with psycopg.connect(self.url) as connection:
            for name, schema in extensions:
                connection.execute(
                    sql.SQL("CREATE EXTENSION IF NOT EXISTS {} SCHEMA {}").format(
                        sql.Identifier(name), sql.Identifier(schema)
                    )
                )
        run(
            "pg_restore",
            "--exit-on-error",
            "--single-transaction",
            "--clean",
            "--if-exists",
            "--dbname",
            self.url,
            self._dump,
        )
        self.options = self.serve()

    def _extensions(self) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(
                "SELECT extname, extnamespace::regnamespace::text FROM pg_extension"
                " WHERE extname IN ('vector', 'pg_trgm')"
            ).fetchall()

    def restore_in_place(self) -> None:
        """Restore over the database that is there."""
        run(
            "pg_restore",
            "--exit-on-error",
            "--clean",
            "--if-exists",
            "--single-transaction",
            "--dbname",
            self.url,
            self._dump,
        )

    def restore_rows(self) -> None:
        """Restore the rows alone, unseen by triggers; the tables are as they were."""
        with psycopg.connect(self.url) as connection:
            tables = [
                row[0]
                for row in connection.execute(
                    "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
                )
            ]
            connection.execute(
                sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(map(sql.Identifier, tables)))
            )
        run(
            "pg_restore",
            "--exit-on-error",
            "--data-only",
            "--disable-triggers",
            "--schema=public",
            "--dbname",
            self.url,
            self._dump,
        )

    def storage(self, **others: Any) -> SupabaseStorage:
        return self._cleaning.enter_context(SupabaseStorage(self.options | others))

    def edit(self, uuid: str, subject: str) -> None:
        """Change a vCon as another program does."""
        with psycopg.connect(self.url) as connection:
            connection.execute("UPDATE vcons SET subject = %s WHERE uuid = %s", [subject, uuid])

    def revision(self, uuid: str) -> int:
        with psycopg.connect(self.url) as connection:
            row = connection.execute("SELECT revision FROM vcons WHERE uuid = %s", [uuid])
            return int(row.fetchall()[0][0])


@pytest.fixture
def site(stack: Supabase, tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as cleaning:
        yield Site(stack, tmp_path, cleaning)


@WAYS
def test_no_read_after_a_restore_returns_what_the_database_does_not_have(
    site: Site, way: str
) -> None:
    kept, changed, deleted, later = (small_vcon() for _ in range(4))
    with SupabaseStorage(site.options) as before:
        for vcon in (kept, changed, deleted):
            before.save(vcon)
        site.back_up()
        before.save(changed | {"subject": "after the backup"})
        before.delete(deleted["uuid"])
        before.save(later)
        stays_open = site.storage() if way != "elsewhere" else None
        if stays_open is not None:
            assert stays_open.get(later["uuid"]) == later
    getattr(site, f"restore_{way}")()
    time.sleep(TRUST)
    for reader in filter(None, (site.storage(), stays_open)):
        for _ in range(2):
            assert reader.get(kept["uuid"]) == kept
            assert reader.get(changed["uuid"]) == changed
            assert reader.get(deleted["uuid"]) == deleted
            assert reader.get(later["uuid"]) is None
    # And it goes on: saves, search, the cache.
    storage = site.storage()
    storage.save(later)
    assert storage.get(later["uuid"]) == later
    found = {vcon["uuid"] for vcon in storage.search()}
    assert found == {vcon["uuid"] for vcon in (kept, changed, deleted, later)}
    assert storage.get(changed["uuid"]) == changed
    assert storage.stats()["hit"] > 0


@WAYS
def test_a_revision_that_is_handed_out_again_is_not_taken_for_the_old_one(
    site: Site, way: str
) -> None:
    vcon = small_vcon()
    with SupabaseStorage(site.options) as before:
        before.save(vcon)
        site.back_up()
        before.save(vcon | {"subject": "lost"})  # and cached
        lost = site.revision(vcon["uuid"])
    getattr(site, f"restore_{way}")()
    while site.revision(vcon["uuid"]) < lost:
        site.edit(vcon["uuid"], f"an edit at {site.revision(vcon['uuid'])}")
    assert site.revision(vcon["uuid"]) == lost
    got = site.storage().get(vcon["uuid"])
    assert got is not None
    assert got["subject"].startswith("an edit at ")


def test_a_backup_of_the_files(tmp_path: Path) -> None:
    """Point-in-time recovery, a snapshot of a disk: the same cluster, as it was before."""
    with ExitStack() as cleaning:
        stack = cleaning.enter_context(LocalSupabase())
        options = options_without_cache(stack) | {"redis_url": stack.redis_url}
        storage = cleaning.enter_context(SupabaseStorage(options))
        changed, later = small_vcon(), small_vcon()
        storage.save(changed)
        files, copy = stack.folder / "postgres", tmp_path / "copy"
        stack.stop_service("postgres")
        subprocess.run(["cp", "-a", files, copy], check=True)
        stack.start_service("postgres")
        stack.wait_until_ready()
        storage.save(changed | {"subject": "after the backup"})
        storage.save(later)
        stack.stop_service("postgres")
        subprocess.run(["rm", "-rf", files], check=True)
        subprocess.run(["cp", "-a", copy, files], check=True)
        stack.start_service("postgres")
        stack.wait_until_ready()
        time.sleep(TRUST)
        for reader in (storage, cleaning.enter_context(SupabaseStorage(options))):
            assert reader.get(changed["uuid"]) == changed
            assert reader.get(later["uuid"]) is None


def test_what_was_spooled_after_the_backup_is_replayed(site: Site) -> None:
    vcon, new = small_vcon(), small_vcon()
    with SupabaseStorage(site.options) as before:
        before.save(vcon)
        site.back_up()
        before.save(vcon | {"subject": "lost"})
    with closed_port() as url, site.storage(rest_url=url, total_timeout=0.5) as away:
        away.save(vcon | {"subject": "spooled"})
        away.save(new)
    site.restore_elsewhere()
    storage = site.storage()
    storage.restored()
    assert storage.replay() == {"replayed": 2, "failed": 0, "waiting": 0}
    assert storage.get(vcon["uuid"]) == vcon | {"subject": "spooled"}
    assert storage.get(new["uuid"]) == new


def test_restored_without_some_tables(site: Site, tmp_path: Path) -> None:
    """The rows alone, from a backup that lacks the state of caches: only the command tells."""
    vcon = small_vcon()
    with SupabaseStorage(site.options) as before:
        before.save(vcon)
        with psycopg.connect(site.url) as sql_:
            sql_.execute("CREATE TABLE backup AS SELECT * FROM vcons")
        before.save(vcon | {"subject": "lost"})
        lost = site.revision(vcon["uuid"])
    with psycopg.connect(site.url) as sql_:
        sql_.execute("SET session_replication_role = replica")  # no triggers
        sql_.execute(
            "UPDATE vcons v SET revision = b.revision, subject = b.subject,"
            " as_written = b.as_written, digest = b.digest FROM backup b WHERE b.uuid = v.uuid"
        )
    reader = site.storage()
    reader.save(small_vcon())  # so that it knows the cache's state, and need not compare
    assert reader.get(vcon["uuid"]) == vcon | {"subject": "lost"}  # hence the command
    done = command(site.options, tmp_path, "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"cleared": 2, "cache": "ok"})
    time.sleep(TRUST)
    assert reader.get(vcon["uuid"]) == vcon
    site.edit(vcon["uuid"], "edited")
    assert site.revision(vcon["uuid"]) > lost


def test_a_redis_that_was_restored(site: Site) -> None:
    """An older entry is in it again, of the database as it is."""
    vcon, key = small_vcon(), site.options["cache_prefix"] + "{%s}"
    with SupabaseStorage(site.options) as storage, connect(site.options["redis_url"], 1) as redis:
        storage.save(vcon)
        old = redis.get(key % vcon["uuid"])
        storage.save(vcon | {"subject": "newer"})
        assert isinstance(old, bytes)
        redis.set(key % vcon["uuid"], old)
        assert storage.get(vcon["uuid"]) == vcon  # hence the command
        assert storage.restored() == 1
        assert storage.get(vcon["uuid"]) == vcon | {"subject": "newer"}


def test_the_command_says_so_if_redis_is_away(site: Site, tmp_path: Path) -> None:
    vcon = small_vcon()
    with SupabaseStorage(site.options) as storage:
        storage.save(vcon)
        with closed_port() as url:
            away = site.options | {"redis_url": url.replace("http", "redis")}
            done = command(away, tmp_path)
        assert done.exit_code == 0
        assert "0 entries thrown away" in done.stdout
        assert "Redis does not answer" in done.stderr
        time.sleep(TRUST)
        assert storage.get(vcon["uuid"]) == vcon
        assert storage.stats().get("hit", 0) == 0


def command(options: Json, tmp_path: Path, *arguments: str) -> Any:
    config = tmp_path / "config.yml"
    ours = {"module": "conserver_supabase_storage", "options": options}
    config.write_text(yaml.safe_dump({"storages": {"supabase": ours}}), "utf-8")
    return CliRunner().invoke(app, ["restored", "--config", str(config), *arguments])
