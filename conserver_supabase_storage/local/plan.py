"""What one stack runs where: its servers, built from its folder, settings and programs."""

import sys
from pathlib import Path

from . import gateway, redis_server, rest_server
from .folder import Settings
from .ports import LOOPBACK, free_port, port_is_free
from .postgres import Postgres
from .processes import Server, clean_environment

PORTS = {
    "postgres": ("postgres",),
    "postgrest": ("postgrest", "postgrest_admin"),
    "redis": ("redis",),
    "gateway": ("gateway",),
}
"""The names of the ports that each service listens on."""


class Plan:
    """The servers of one stack, by name, as they are to be run."""

    def __init__(self, folder: Path, *, throw_away: bool) -> None:
        """Find the programs and choose the ports, those of an earlier run where they are free.

        Raises:
            LocalSupabaseError: a program is missing.
        """
        self.folder = folder
        self._throw_away = throw_away
        self.settings = Settings.load(folder)
        self.postgres = Postgres(
            folder, password=self.settings.postgres_password, throw_away=throw_away
        )
        self._redis = redis_server.binary()
        self._postgrest = rest_server.binary()
        self.servers: dict[str, Server] = {}
        self.databases: dict[str, str] = {}
        """The database of each PostgREST, by its name."""
        for service, names in PORTS.items():
            ports = [self.settings.ports.get(name) for name in names]
            if not all(port and port_is_free(port) for port in ports):
                self.move(service)
        self.save()

    def save(self) -> None:
        """Keep ports and secrets for the next run."""
        self.settings.save(self.folder)

    def move(self, service: str) -> None:
        """Give a service other ports."""
        for name in PORTS[service]:
            self.settings.ports[name] = free_port(self._taken_ports())

    def url(self, service: str) -> str:
        """The URL of a service that speaks HTTP."""
        return f"http://{LOOPBACK}:{self.settings.ports[service]}"

    def database_url(self, database: str = "postgres") -> str:
        """The URL of a database for the superuser."""
        return self.postgres.url(self.settings.ports["postgres"], database)

    def redis_url(self) -> str:
        """The URL of Redis, with its password."""
        return redis_server.url(self.settings.ports["redis"], self.settings.redis_password)

    def server(self, service: str) -> Server:
        """A service on the ports that it has now."""
        ports = self.settings.ports
        if service == "postgres":
            server = self.postgres.server(ports[service])
        elif service == "redis":
            server = redis_server.server(
                self._redis,
                folder=self.folder,
                port=ports[service],
                password=self.settings.redis_password,
                throw_away=self._throw_away,
            )
        elif service == "gateway":
            server = self._gateway()
        else:
            server = self._rest(service, "postgres", {}, (ports[service], ports["postgrest_admin"]))
        self.servers[service] = server
        return server

    def another_postgrest(self, database: str, settings: dict[str, str]) -> Server:
        """One more PostgREST, on ports of its own, with some settings of its own."""
        number = 1
        while f"postgrest-{number}" in self.servers:
            number += 1
        port = free_port(self._taken_ports())
        admin_port = free_port(self._taken_ports() | {port})
        server = self._rest(f"postgrest-{number}", database, settings, (port, admin_port))
        self.servers[server.name] = server
        return server

    def forget(self, name: str) -> None:
        """Take a PostgREST out again."""
        del self.servers[name], self.databases[name]

    def _rest(
        self, name: str, database: str, settings: dict[str, str], ports: tuple[int, int]
    ) -> Server:
        self.databases[name] = database
        address = f"{LOOPBACK}:{self.settings.ports['postgres']}"
        login = f"authenticator:{self.settings.authenticator_password}"
        ours = {
            "PGRST_DB_URI": f"postgresql://{login}@{address}/{database}",
            "PGRST_JWT_SECRET": self.settings.jwt_secret,
        }
        return rest_server.server(
            self._postgrest,
            rest_server.SUPABASE_SETTINGS | ours | settings,
            name=name,
            folder=self.folder,
            ports=ports,
        )

    def _gateway(self) -> Server:
        port, upstream = self.settings.ports["gateway"], self.settings.ports["postgrest"]
        script = str(Path(gateway.__file__))
        return Server(
            name="gateway",
            command=[sys.executable, "-I", "-S", script, str(port), str(upstream)],
            environment=clean_environment(**{gateway.SECRET_VARIABLE: self.settings.jwt_secret}),
            log=self.folder / "gateway.log",
            directory=self.folder,
            ports=(port,),
            is_ready=lambda: rest_server.http_status(port, "/") is not None,
        )

    def _taken_ports(self) -> set[int]:
        others = (port for server in self.servers.values() for port in server.ports)
        return {*self.settings.ports.values(), *others}
