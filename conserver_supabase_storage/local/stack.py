"""A Supabase on this machine, as one object."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import sql

from . import folder as folders
from . import rest_server
from .errors import LocalSupabaseError
from .keys import sign
from .plan import Plan
from .ports import LOOPBACK
from .postgres import prepare
from .processes import Supervisor, log_tail
from .services import Services

_RELOAD_SECONDS = 30.0
_NOTIFY_SECONDS = 1.0
_POLL_SECONDS = 0.02


class LocalSupabase(Services):
    """Postgres, PostgREST, Redis and Supabase's gateway on the loopback address.

    A context manager; `start` and `stop` do the same by hand. All servers end, and throw-away
    data goes, when `stop` is called and also when this process dies, however it dies.

    Args:
        data_dir: where the data is kept, with its ports and keys; by default it is thrown away.
        migrate: whether this package's own migrations are applied.
    """

    def __init__(self, data_dir: Path | None = None, *, migrate: bool = True) -> None:
        super().__init__()
        self._data_dir = data_dir
        self._migrate = migrate

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and wait until it answers; a few seconds.

        Raises:
            LocalSupabaseError: a program is missing, a server doesn't come up (the text has the
                end of its log), or the data is in use by another stack.
        """
        with self._lock:
            if self._supervisor:
                raise LocalSupabaseError("This local Supabase is started already")
            folders.remove_abandoned()
            folder = folders.make(self._data_dir)
            throw_away = self._data_dir is None
            lock = folders.lock(folder)
            try:
                self._supervisor = Supervisor(folder, throw_away=throw_away, lock=lock)
            except OSError as error:
                if throw_away:
                    shutil.rmtree(folder, ignore_errors=True)
                raise LocalSupabaseError(f"The supervisor can't be started: {error}") from error
            finally:
                os.close(lock)  # the supervisor holds it from here on
            try:
                self._plan = Plan(folder, throw_away=throw_away)
                self._bring_up(self._plan)
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """Stop everything and remove throw-away data. Does nothing if it is not started."""
        with self._lock:
            supervisor, self._supervisor, self._plan = self._supervisor, None, None
            if supervisor:
                supervisor.close()

    def _bring_up(self, plan: Plan) -> None:
        self._launch("redis")  # it loads its data while Postgres is made
        plan.postgres.create(self._running)
        self._launch("postgres")
        self._await("postgres")
        prepare(self.database_url, plan.settings.authenticator_password)
        if self._migrate:
            from conserver_supabase_storage.migrations import migrate  # noqa: PLC0415 - not for all

            migrate(self.database_url)
        for name in ("postgrest", "gateway"):
            self._launch(name)
            self._await(name)
        self._await("redis")
        plan.save()

    # Where it is, and its keys

    @property
    def folder(self) -> Path:
        """Where its data and the logs of its servers are."""
        return self._planned.folder

    @property
    def url(self) -> str:
        """What SUPABASE_URL is elsewhere: the gateway, with PostgREST at /rest/v1."""
        return self._planned.url("gateway")

    @property
    def rest_url(self) -> str:
        """PostgREST itself, without the gateway."""
        return self._planned.url("postgrest")

    @property
    def database_url(self) -> str:
        """The database for its superuser."""
        return self._planned.database_url()

    @property
    def redis_url(self) -> str:
        """Redis, with its password."""
        return self._planned.redis_url()

    @property
    def jwt_secret(self) -> str:
        """What the keys are signed with (HS256)."""
        return self._planned.settings.jwt_secret

    @property
    def service_role_key(self) -> str:
        """The key that bypasses row level security."""
        return sign(self.jwt_secret, "service_role", self._planned.settings.issued_at)

    @property
    def anon_key(self) -> str:
        """The key that anyone may have."""
        return sign(self.jwt_secret, "anon", self._planned.settings.issued_at)

    def key_for(self, role: str, **claims: Any) -> str:
        """A key for a role, with more claims or others than Supabase's keys have."""
        return sign(self.jwt_secret, role, **claims)

    def environment(self) -> dict[str, str]:
        """The variables that point a program to this Supabase."""
        return {
            "SUPABASE_URL": self.url,
            "SUPABASE_REST_URL": self.rest_url,
            "SUPABASE_SERVICE_ROLE_KEY": self.service_role_key,
            "SUPABASE_ANON_KEY": self.anon_key,
            "REDIS_URL": self.redis_url,
            "DATABASE_URL": self.database_url,
        }

    def create_database(self, name: str) -> str:
        """Make a fresh database with Supabase's roles and grants; returns the superuser's URL.

        Raises:
            psycopg.Error: it exists, say.
        """
        with self._lock:
            with psycopg.connect(self.database_url, autocommit=True) as connection:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            url = self._planned.database_url(name)
            prepare(url, self._planned.settings.authenticator_password)
            return url

    @contextlib.contextmanager
    def postgrest(
        self, *, database: str = "postgres", **settings: str | int | bool
    ) -> Iterator[str]:
        """Run one more PostgREST on the same Postgres, and give its URL.

        Args:
            database: the name of the database to serve, as `authenticator`.
            settings: PGRST_... variables that differ from those of Supabase.

        Raises:
            LocalSupabaseError: it doesn't come up.
        """
        texts = {name: _text(value) for name, value in settings.items()}
        with self._lock:
            plan, running = self._planned, self._running
            server = plan.another_postgrest(database, texts)
            running.start(server)
        try:
            if not running.wait_until_ready(server):
                raise LocalSupabaseError(f"{server.name} ended at once.{log_tail(server.log)}")
            yield f"http://{LOOPBACK}:{server.ports[0]}"
        finally:
            with self._lock:
                plan.forget(server.name)
                if running is self._supervisor:
                    running.stop(server.name)

    def reload_schema(self, database: str = "postgres") -> None:
        """Have each PostgREST on a database read its schema again, and wait until it has.

        Raises:
            LocalSupabaseError: one hasn't after 30 seconds.
        """
        with self._lock:
            names = [name for name, serves in self._planned.databases.items() if serves == database]
            running = self._running.running()
            logs = [self._planned.servers[name].log for name in names if name in running]
        waiting = {log: log.stat().st_size for log in logs}
        deadline = time.monotonic() + _RELOAD_SECONDS
        notify_at = 0.0
        url = self._planned.database_url(database)
        with psycopg.connect(url, autocommit=True) as connection:
            while waiting:
                if time.monotonic() > deadline:
                    raise LocalSupabaseError(f"A schema was not reloaded.{log_tail(min(waiting))}")
                if time.monotonic() > notify_at:
                    # Again and again, for one that is just connecting and doesn't listen yet.
                    connection.execute("NOTIFY pgrst, 'reload schema'")
                    notify_at = time.monotonic() + _NOTIFY_SECONDS
                time.sleep(_POLL_SECONDS)
                waiting = {
                    log: size
                    for log, size in waiting.items()
                    if not rest_server.reloaded_since(log, size)
                }


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
