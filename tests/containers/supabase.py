"""A Supabase by testcontainers: the same servers as `LocalSupabase`, from images, on a network."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from conserver_supabase_storage.local.keys import new_secret, sign
from conserver_supabase_storage.local.ports import LOOPBACK
from conserver_supabase_storage.local.postgres import prepare
from conserver_supabase_storage.migrations import migrate

from .images import Images
from .servers import Secrets, Servers

TEMPLATE = Path(__file__).parents[2] / "deploy" / "gateway" / "default.conf.template"

# Test data need not reach the disk; commits stay synchronous, as on the local stack.
_POSTGRES = ("fsync=off", "full_page_writes=off", "timezone=UTC")


class ContainerSupabase(Servers):
    """Postgres, PostgREST, Redis and a gateway in containers; a context manager.

    The containers and their network are removed at its end, and by testcontainers' reaper when
    this process dies; an engine that was started for the run takes them along.

    Args:
        images: of the servers.
        durable: whether Redis writes every change to its disk, to have it after a kill.
    """

    def __init__(self, images: Images, *, durable: bool = False) -> None:
        jwt_secret, now = new_secret(), int(time.time())
        secrets = Secrets(
            jwt_secret=jwt_secret,
            anon_key=sign(jwt_secret, "anon", now),
            service_role_key=sign(jwt_secret, "service_role", now),
            postgres_password=new_secret(),
            authenticator_password=new_secret(),
            redis_password=new_secret(),
        )
        super().__init__(images, secrets)
        self._durable = durable
        self._cleaning = ExitStack()
        # Ports not on every address of this machine, as is Docker's default.
        options = {"com.docker.network.bridge.host_binding_ipv4": LOOPBACK}
        self._network = Network(docker_network_kw={"options": options})

    def network(self) -> str:
        return self._network.name

    def __enter__(self) -> Self:
        testcontainers_config.ryuk_image = self.images.reaper
        with self._cleaning:
            self._cleaning.enter_context(self._network)
            self._bring_up()
            self._cleaning = self._cleaning.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleaning.close()

    def _bring_up(self) -> None:
        self._run("redis", self._redis(), 6379)
        self._run("postgres", self._postgres(), 5432)
        self.servers["postgres"].wait()
        prepare(self.database_url, self.secrets.authenticator_password)
        migrate(self.database_url)
        self._run("postgrest", self.another_postgrest("postgrest", "postgres", {}))
        self._run("gateway", self._gateway(), 8000)
        self.wait_until_ready()

    def _run(self, name: str, container: DockerContainer, port: int | None = None) -> None:
        if port:
            self.publish(container, name, port)
        container.with_network(self._network).with_network_aliases(name)
        self._cleaning.enter_context(container)
        self.add(name, container.get_wrapped_container())

    def _postgres(self) -> DockerContainer:
        settings = [part for setting in _POSTGRES for part in ("-c", setting)]
        if self.supabases_own:
            settings = ["-D", "/etc/postgresql", *settings]  # as its own command has it
        return (
            DockerContainer(self.images.postgres)
            .with_env("POSTGRES_PASSWORD", self.secrets.postgres_password)
            .with_env("POSTGRES_INITDB_ARGS", "--locale=C.UTF-8 --encoding=UTF8")
            .with_command(["postgres", *settings])
        )

    def _redis(self) -> DockerContainer:
        server = "valkey-server" if "valkey" in self.images.redis else "redis-server"
        settings = {
            "save": "",
            "appendonly": "yes" if self._durable else "no",
            "requirepass": self.secrets.redis_password,
        }
        arguments = [part for name, text in settings.items() for part in (f"--{name}", text)]
        return DockerContainer(self.images.redis).with_command([server, *arguments])

    def _gateway(self) -> DockerContainer:
        return (
            DockerContainer(self.images.gateway)
            .with_env("SUPABASE_ANON_KEY", self.anon_key)
            .with_env("SUPABASE_SERVICE_ROLE_KEY", self.service_role_key)
            .with_volume_mapping(TEMPLATE, f"/etc/nginx/templates/{TEMPLATE.name}")
        )
