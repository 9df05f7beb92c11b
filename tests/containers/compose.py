"""A Supabase by deploy/compose.yml, as people run it."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Self

from docker import DockerClient
from dotenv import dotenv_values

from conserver_supabase_storage.local.ports import free_port

from . import images
from .servers import ContainerError, Secrets, Servers

DEPLOY = Path(__file__).parents[2] / "deploy"
# PostgREST's own ports, which people have no use for.
_MORE = Path(__file__).with_name("compose.tests.yml")
_PORTS = ("postgres", "gateway", "redis", "postgrest", "postgrest-admin")
_UP_SECONDS = 300.0


def program() -> list[str] | None:
    """The command of Docker Compose: the client's plugin, or the older program of Debian."""
    plugin = ["docker", "compose"]
    if shutil.which("docker") and _succeeds([*plugin, "version"]):
        return plugin
    return ["docker-compose"] if shutil.which("docker-compose") else None


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


class ComposeSupabase(Servers):
    """The compose file's servers, with secrets and ports of their own; a context manager.

    Args:
        folder: for the file of secrets.
        project: under which it runs; its containers, network and volumes are removed at the end.
    """

    def __init__(self, folder: Path, project: str) -> None:
        self._environment = folder / ".env"
        made = subprocess.run(
            [sys.executable, DEPLOY / "make-env", self._environment], check=False
        ).returncode
        if made != 0:
            raise ContainerError("deploy/make-env failed")
        values = {key: value or "" for key, value in dotenv_values(self._environment).items()}
        super().__init__(
            images.load(),
            Secrets(
                jwt_secret=values["JWT_SECRET"],
                anon_key=values["SUPABASE_ANON_KEY"],
                service_role_key=values["SUPABASE_SERVICE_ROLE_KEY"],
                postgres_password=values["POSTGRES_PASSWORD"],
                authenticator_password=values["AUTHENTICATOR_PASSWORD"],
                redis_password=values["REDIS_PASSWORD"],
            ),
        )
        self._project = project
        for name in _PORTS:
            self.ports[name] = free_port(set(self.ports.values()))
        with self._environment.open("a") as file:
            for name, port in self.ports.items():
                file.write(f"{name.replace('-', '_').upper()}_PORT={port}\n")
            for name in ("postgres", "postgrest", "gateway", "redis"):
                file.write(f"{name.upper()}_IMAGE={getattr(self.images, name)}\n")

    def network(self) -> str:
        return f"{self._project}_default"

    def __enter__(self) -> Self:
        try:
            self.compose("up", "--detach", "--build")
            engine = DockerClient.from_env()
            for name in ("postgres", "redis", "gateway", "postgrest"):
                label = f"com.docker.compose.service={name}"
                project = f"com.docker.compose.project={self._project}"
                (container,) = engine.containers.list(filters={"label": [label, project]})
                self.add(name, container)
            self.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.compose("down", "--volumes", "--timeout", "5")

    def compose(self, *arguments: str) -> str:
        """Run Docker Compose on the project; returns what it printed.

        Raises:
            ContainerError: it failed.
        """
        command = [*(program() or ()), "--env-file", str(self._environment)]
        command += ["-f", str(DEPLOY / "compose.yml"), "-f", str(_MORE), "-p", self._project]
        done = subprocess.run(
            [*command, *arguments],
            capture_output=True,
            text=True,
            timeout=_UP_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise ContainerError(f"docker compose {arguments[0]} failed:\n{done.stderr}")
        return done.stdout
