"""A Supabase in containers: the same servers as `LocalSupabase`, from images, on a network."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import docker
import psycopg
import redis
from psycopg import sql
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from conserver_supabase_storage.local.keys import new_secret, sign
from conserver_supabase_storage.local.ports import LOOPBACK, free_port
from conserver_supabase_storage.local.postgres import prepare
from conserver_supabase_storage.local.rest_server import SUPABASE_SETTINGS, http_status
from conserver_supabase_storage.migrations import migrate

from ..home import Service
from .images import Images

TEMPLATE = Path(__file__).parents[2] / "deploy" / "gateway" / "default.conf.template"

_START_SECONDS = 60.0
_RELOAD_SECONDS = 30.0
_POLL_SECONDS = 0.05
# Test data need not reach the disk; commits stay synchronous, as on the local stack.
_POSTGRES = [
    "postgres",
    *("-c", "fsync=off"),
    *("-c", "full_page_writes=off"),
    "-c",
    "timezone=UTC",
]
_POSTGREST_PORT, _ADMIN_PORT = 3000, 3001


class ContainerError(Exception):
    """A server in a container did not come up, or is not in the state that a test takes it for."""


@dataclass(frozen=True)
class _Server:
    name: str
    container: DockerContainer
    is_ready: Callable[[], bool]

    @property
    def wrapped(self) -> Any:
        """The engine's own view of it, as of now."""
        found = self.container.get_wrapped_container()
        found.reload()
        return found

    @property
    def runs(self) -> bool:
        return bool(self.wrapped.status == "running")

    def logs(self) -> str:
        return str(self.wrapped.logs(tail=20).decode(errors="replace"))

    def wait(self, timeout: float = _START_SECONDS) -> None:
        """Wait until it answers.

        Raises:
            ContainerError: it has ended, or doesn't answer in time.
        """
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            if not self.runs:
                raise ContainerError(f"{self.name} has ended. Its log:\n{self.logs()}")
            if time.monotonic() > deadline:
                raise ContainerError(f"{self.name} does not answer. Its log:\n{self.logs()}")
            time.sleep(_POLL_SECONDS)


class ContainerSupabase:
    """Postgres, PostgREST, Redis and a gateway in containers, reached on the loopback address.

    A context manager. The containers and their network are removed at its end, and by
    testcontainers' reaper when this process dies; an engine that was started for the run takes
    them along.

    Args:
        images: of the servers.
        durable: whether Redis writes every change to its disk, to have it after a kill.
    """

    def __init__(self, images: Images, *, durable: bool = False) -> None:
        self._images = images
        self._durable = durable
        self._servers: dict[str, _Server] = {}
        self._ports: dict[str, int] = {}
        self._databases: dict[str, str] = {}
        self._postgres_password = new_secret()
        self._authenticator_password = new_secret()
        self._redis_password = new_secret()
        self._cleaning = ExitStack()
        self._issued_at = int(time.time())
        self.jwt_secret = new_secret()

    def __enter__(self) -> Self:
        testcontainers_config.ryuk_image = self._images.reaper
        try:
            # Not on every address of this machine, as is Docker's default.
            options = {"com.docker.network.bridge.host_binding_ipv4": LOOPBACK}
            self._network = self._cleaning.enter_context(
                Network(docker_network_kw={"options": options})
            )
            self._bring_up()
        except BaseException:
            self._cleaning.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._cleaning.close()

    def _bring_up(self) -> None:
        self._run("redis", self._redis(), 6379, self._redis_answers)
        self._run("postgres", self._postgres(), 5432, self._postgres_answers)
        self._servers["postgres"].wait()
        prepare(self.database_url, self._authenticator_password)
        migrate(self.database_url)
        self._run_postgrest("postgrest", "postgres", {})
        self._run("gateway", self._gateway(), 8000, lambda: self._status("gateway") is not None)
        self.wait_until_ready()

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
        return f"redis://:{self._redis_password}@{LOOPBACK}:{self._ports['redis']}/0"

    @property
    def service_role_key(self) -> str:
        return sign(self.jwt_secret, "service_role", self._issued_at)

    @property
    def anon_key(self) -> str:
        return sign(self.jwt_secret, "anon", self._issued_at)

    def key_for(self, role: str, **claims: Any) -> str:
        return sign(self.jwt_secret, role, **claims)

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
        prepare(url, self._authenticator_password)
        return url

    @contextmanager
    def postgrest(
        self, *, database: str = "postgres", **settings: str | int | bool
    ) -> Iterator[str]:
        name = f"postgrest-{len(self._servers)}"
        texts = {
            key: str(value).lower() if isinstance(value, bool) else str(value)
            for key, value in settings.items()
        }
        server = self._run_postgrest(name, database, texts)
        try:
            server.wait()
            yield self._http(name)
        finally:
            del self._servers[name], self._databases[name]
            server.container.stop()

    def reload_schema(self, database: str = "postgres") -> None:
        since = time.time()
        waiting = [
            self._servers[name]
            for name, serves in self._databases.items()
            if serves == database and self._servers[name].runs
        ]
        deadline = time.monotonic() + _RELOAD_SECONDS
        with psycopg.connect(self._database_url(database), autocommit=True) as connection:
            while waiting:
                if time.monotonic() > deadline:
                    raise ContainerError(f"A schema was not reloaded:\n{waiting[0].logs()}")
                connection.execute("NOTIFY pgrst, 'reload schema'")
                time.sleep(_POLL_SECONDS)
                waiting = [s for s in waiting if not _reloaded(s.wrapped.logs(since=since))]

    # What a test does to them

    def stop_service(self, name: Service, *, kill: bool = False) -> None:
        server = self._servers[name]
        if not server.runs:
            raise ContainerError(f"{name} does not run")
        if kill:
            server.wrapped.kill()
        else:
            server.wrapped.stop(timeout=15)
        server.wrapped.wait()

    def start_service(self, name: Service, *, wait: bool = True) -> None:
        server = self._servers[name]
        if server.runs:
            raise ContainerError(f"{name} runs already")
        server.wrapped.start()
        if wait:
            server.wait()

    def pause_service(self, name: Service) -> None:
        self._servers[name].wrapped.pause()

    def resume_service(self, name: Service) -> None:
        self._servers[name].wrapped.unpause()

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        deadline = time.monotonic() + timeout
        for server in self._servers.values():
            if server.runs:
                server.wait(max(0.0, deadline - time.monotonic()))

    # How each is run

    def _postgres(self) -> DockerContainer:
        return (
            DockerContainer(self._images.postgres)
            .with_env("POSTGRES_PASSWORD", self._postgres_password)
            .with_env("POSTGRES_INITDB_ARGS", "--locale=C.UTF-8 --encoding=UTF8")
            .with_command(_POSTGRES)
        )

    def _redis(self) -> DockerContainer:
        server = "valkey-server" if "valkey" in self._images.redis else "redis-server"
        durable = "yes" if self._durable else "no"
        settings = ["--save", "", "--appendonly", durable, "--requirepass", self._redis_password]
        return DockerContainer(self._images.redis).with_command([server, *settings])

    def _gateway(self) -> DockerContainer:
        return (
            DockerContainer(self._images.gateway)
            .with_env("SUPABASE_ANON_KEY", self.anon_key)
            .with_env("SUPABASE_SERVICE_ROLE_KEY", self.service_role_key)
            .with_volume_mapping(TEMPLATE, f"/etc/nginx/templates/{TEMPLATE.name}")
        )

    def _run_postgrest(self, name: str, database: str, settings: dict[str, str]) -> _Server:
        login = f"authenticator:{self._authenticator_password}"
        variables = SUPABASE_SETTINGS | {
            "PGRST_DB_URI": f"postgresql://{login}@postgres:5432/{database}",
            "PGRST_JWT_SECRET": self.jwt_secret,
            "PGRST_ADMIN_SERVER_PORT": str(_ADMIN_PORT),
            # Newer ones say at this level that they have read the schema.
            "PGRST_LOG_LEVEL": "info",
        }
        container = DockerContainer(self._images.postgrest).with_envs(**(variables | settings))
        admin = self._publish(container, f"{name}-admin", _ADMIN_PORT)
        self._databases[name] = database
        return self._run(
            name, container, _POSTGREST_PORT, lambda: http_status(admin, "/ready") == 200
        )

    def _run(
        self, name: str, container: DockerContainer, port: int, is_ready: Callable[[], bool]
    ) -> _Server:
        self._publish(container, name, port)
        container.with_network(self._network).with_network_aliases(name)
        server = self._servers[name] = _Server(name, container, is_ready)
        self._cleaning.callback(_remove, container)
        container.start()
        return server

    def _publish(self, container: DockerContainer, name: str, port: int) -> int:
        # One that is ours to choose stays the same when the server is stopped and started.
        self._ports[name] = free_port(set(self._ports.values()))
        container.with_bind_ports(port, self._ports[name])
        return self._ports[name]

    def _http(self, name: str) -> str:
        return f"http://{LOOPBACK}:{self._ports[name]}"

    def _database_url(self, database: str) -> str:
        login = f"postgres:{self._postgres_password}"
        return f"postgresql://{login}@{LOOPBACK}:{self._ports['postgres']}/{database}"

    # Whether each answers

    def _status(self, name: str) -> int | None:
        return http_status(self._ports[name], "/")

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


def _remove(container: DockerContainer) -> None:
    with suppress(docker.errors.NotFound):  # one of a test's own, gone already
        container.stop()


def _reloaded(log: bytes) -> bool:
    return b"chema cache" in log and b"oaded" in log
