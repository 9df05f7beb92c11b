"""Servers in containers, as the tests use them: wherever they come from, and however configured."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import redis
from docker.models.containers import Container
from psycopg import sql
from testcontainers.core.container import DockerContainer

from conserver_supabase_storage.local.keys import sign
from conserver_supabase_storage.local.ports import LOOPBACK, free_port
from conserver_supabase_storage.local.postgres import prepare
from conserver_supabase_storage.local.rest_server import (
    SUPABASE_SETTINGS,
    has_reloaded,
    http_status,
)

from ..home import Service
from .images import Images

POSTGREST_PORT, ADMIN_PORT = 3000, 3001

_START_SECONDS = 60.0
_RELOAD_SECONDS = 30.0
_POLL_SECONDS = 0.05


class ContainerError(Exception):
    """A server in a container did not come up, or is not in the state that a test takes it for."""


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """What the servers were given."""

    jwt_secret: str
    anon_key: str
    service_role_key: str
    postgres_password: str
    authenticator_password: str
    redis_password: str


@dataclass(frozen=True)
class Server:
    """One server and how to see that it answers."""

    name: str
    container: Container
    is_ready: Callable[[], bool]

    @property
    def runs(self) -> bool:
        """Whether its process lives, as of now; a paused one does not count."""
        self.container.reload()
        return bool(self.container.status == "running")

    def log(self) -> str:
        """The end of what it has said."""
        return self.container.logs(tail=20).decode(errors="replace")

    def wait(self, timeout: float = _START_SECONDS) -> None:
        """Wait until it answers.

        Raises:
            ContainerError: it has ended, or doesn't answer in time.
        """
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            if not self.runs:
                raise ContainerError(f"{self.name} has ended. Its log:\n{self.log()}")
            if time.monotonic() > deadline:
                raise ContainerError(f"{self.name} does not answer. Its log:\n{self.log()}")
            time.sleep(_POLL_SECONDS)


class Servers:
    """A Supabase in containers, reached on the loopback address. Subclasses bring it up."""

    def __init__(self, images: Images, secrets: Secrets) -> None:
        self.images = images
        self.secrets = secrets
        self.servers: dict[str, Server] = {}
        self.ports: dict[str, int] = {}
        """The port of each server on the loopback address, and the admin port of each PostgREST."""
        self._databases = {"postgrest": "postgres"}

    def network(self) -> str:
        """The name of the network that they share."""
        raise NotImplementedError

    @property
    def supabases_own(self) -> bool:
        """Whether Postgres is Supabase's, where the user postgres is no superuser."""
        return "supabase/postgres" in self.images.postgres

    # Where it is, and its keys

    @property
    def url(self) -> str:
        return self._http("gateway")

    @property
    def rest_url(self) -> str:
        return self._http("postgrest")

    @property
    def database_url(self) -> str:
        return self._database_url("postgres")

    @property
    def redis_url(self) -> str:
        return f"redis://:{self.secrets.redis_password}@{LOOPBACK}:{self.ports['redis']}/0"

    @property
    def jwt_secret(self) -> str:
        return self.secrets.jwt_secret

    @property
    def service_role_key(self) -> str:
        return self.secrets.service_role_key

    @property
    def anon_key(self) -> str:
        return self.secrets.anon_key

    def key_for(self, role: str, **claims: Any) -> str:
        return sign(self.secrets.jwt_secret, role, **claims)

    def environment(self) -> dict[str, str]:
        return {
            "SUPABASE_URL": self.url,
            "SUPABASE_REST_URL": self.rest_url,
            "SUPABASE_SERVICE_ROLE_KEY": self.service_role_key,
            "SUPABASE_ANON_KEY": self.anon_key,
            "REDIS_URL": self.redis_url,
            "DATABASE_URL": self.database_url,
        }

    # Its parts

    def create_database(self, name: str) -> str:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        url = self._database_url(name)
        prepare(url, self.secrets.authenticator_password)
        return url

    @contextmanager
    def postgrest(
        self, *, database: str = "postgres", **settings: str | int | bool
    ) -> Iterator[str]:
        name = f"postgrest-{len(self.servers)}"
        texts = {
            key: str(value).lower() if isinstance(value, bool) else str(value)
            for key, value in settings.items()
        }
        container = self.another_postgrest(name, database, texts)
        container.with_kwargs(network=self.network())
        self._databases[name] = database
        try:
            with container:
                self.add(name, container.get_wrapped_container())
                self.servers[name].wait()
                yield self._http(name)
        finally:
            self.servers.pop(name, None)
            del self._databases[name]

    def another_postgrest(
        self, name: str, database: str, settings: dict[str, str]
    ) -> DockerContainer:
        """A PostgREST as on Supabase, but for some settings; not started."""
        login = f"authenticator:{self.secrets.authenticator_password}"
        variables = SUPABASE_SETTINGS | {
            "PGRST_DB_URI": f"postgresql://{login}@postgres:5432/{database}",
            "PGRST_JWT_SECRET": self.jwt_secret,
            "PGRST_ADMIN_SERVER_PORT": str(ADMIN_PORT),
            # Newer ones say only at this level that they have read the schema.
            "PGRST_LOG_LEVEL": "info",
        }
        container = DockerContainer(self.images.postgrest).with_envs(**(variables | settings))
        self.publish(container, name, POSTGREST_PORT)
        self.publish(container, f"{name}-admin", ADMIN_PORT)
        return container

    def reload_schema(self, database: str = "postgres") -> None:
        since = time.time()
        waiting = [
            self.servers[name]
            for name, serves in self._databases.items()
            if serves == database and self.servers[name].runs
        ]
        deadline = time.monotonic() + _RELOAD_SECONDS
        notify_at = 0.0
        with psycopg.connect(self._database_url(database), autocommit=True) as connection:
            while waiting:
                if time.monotonic() > deadline:
                    raise ContainerError(f"A schema was not reloaded. Log:\n{waiting[0].log()}")
                if time.monotonic() > notify_at:
                    # Again and again, for one that is just connecting and doesn't listen yet.
                    connection.execute("NOTIFY pgrst, 'reload schema'")
                    notify_at = time.monotonic() + 1.0
                time.sleep(_POLL_SECONDS)
                waiting = [
                    server
                    for server in waiting
                    if not has_reloaded(server.container.logs(since=since))
                ]

    # What a test does to them

    def stop_service(self, name: Service, *, kill: bool = False) -> None:
        server = self.servers[name]
        if not server.runs:
            raise ContainerError(f"{name} does not run")
        if kill:
            server.container.kill()
        else:
            server.container.stop(timeout=15)
        server.container.wait()

    def start_service(self, name: Service, *, wait: bool = True) -> None:
        server = self.servers[name]
        if server.runs:
            raise ContainerError(f"{name} runs already")
        server.container.start()
        if wait:
            server.wait()

    def pause_service(self, name: Service) -> None:
        self.servers[name].container.pause()

    def resume_service(self, name: Service) -> None:
        self.servers[name].container.unpause()

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        deadline = time.monotonic() + timeout
        for server in self.servers.values():
            if server.runs:
                server.wait(max(0.0, deadline - time.monotonic()))

    # For subclasses

    def add(self, name: str, container: Container) -> None:
        """Count a container as one of the servers."""
        checks: dict[str, Callable[[], bool]] = {
            "postgres": self._postgres_answers,
            "redis": self._redis_answers,
            "gateway": lambda: http_status(self.ports["gateway"], "/") is not None,
        }
        ready = checks.get(name, lambda: http_status(self.ports[f"{name}-admin"], "/ready") == 200)
        self.servers[name] = Server(name, container, ready)

    def publish(self, container: DockerContainer, name: str, port: int) -> None:
        """Publish a port on one that we choose: it stays when the server is stopped and started."""
        self.ports[name] = free_port(set(self.ports.values()))
        container.with_bind_ports(port, self.ports[name])

    def _http(self, name: str) -> str:
        return f"http://{LOOPBACK}:{self.ports[name]}"

    def _database_url(self, database: str) -> str:
        superuser = "supabase_admin" if self.supabases_own else "postgres"
        login = f"{superuser}:{self.secrets.postgres_password}"
        return f"postgresql://{login}@{LOOPBACK}:{self.ports['postgres']}/{database}"

    def _postgres_answers(self) -> bool:
        try:
            psycopg.connect(self.database_url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _redis_answers(self) -> bool:
        client = redis.Redis.from_url(self.redis_url, socket_timeout=5)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()
