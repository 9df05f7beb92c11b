"""Which images the container home runs, and whether they are to be had."""

import os
import tomllib
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from docker import DockerClient
from docker.errors import APIError, DockerException, ImageNotFound
from testcontainers.core.config import testcontainers_config

_FILE = Path(__file__).with_name("images.toml")
_RECIPE_LABEL = "conserver-supabase-storage.recipe"


class ImagesError(Exception):
    """No engine answers, or an image is neither here nor to be pulled. The text says what to do."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """The image of each server."""

    postgres: str
    postgrest: str
    redis: str
    gateway: str
    reaper: str

    @property
    def needed(self) -> list[str]:
        """What has to be there before a run: the reaper only where it runs."""
        return [
            image
            for name, image in asdict(self).items()
            if name != "reaper" or not testcontainers_config.ryuk_disabled
        ]


@cache
def pins() -> dict[str, Any]:
    """What images.toml says."""
    return tomllib.loads(_FILE.read_text("utf-8"))


def load(**chosen: str) -> Images:
    """The images of a run.

    Args:
        chosen: by server, a whole name or a version of the matrix; wins over the environment.
    """
    names: dict[str, str] = pins()["images"]
    for server in names:
        wanted = chosen.get(server) or os.environ.get(f"CONSERVER_TEST_{server.upper()}")
        if wanted:
            names = names | {server: matrix(server).get(wanted, wanted)}
    return Images(**names)


def matrix(server: str) -> dict[str, str]:
    """The images of a server by version."""
    found: dict[str, str] = pins()["matrix"].get(server, {})
    return found


def promised() -> list[str]:
    """The images that CI has to have."""
    found: list[str] = pins()["promised"]["images"]
    return found


def client() -> DockerClient:
    """A client of the engine.

    Raises:
        ImagesError: none answers.
    """
    try:
        found = DockerClient.from_env()
        found.ping()
    except DockerException as error:
        raise ImagesError(
            "Containers were asked for, and no Docker engine answers. Start one, or let "
            "tests/containers/with-engine do it (Debian, as root): "
            "tests/containers/with-engine scripts/test --containers"
        ) from error
    return found


def all_here(wanted: Images) -> bool:
    """Whether an engine answers and has all images already."""
    if "DOCKER_HOST" not in os.environ and not Path("/var/run/docker.sock").exists():
        return False
    try:
        engine = client()
    except ImagesError:
        return False
    try:
        return all(is_here(engine, image) for image in wanted.needed)
    finally:
        engine.close()


def is_here(engine: DockerClient, image: str) -> bool:
    """Whether the engine has an image."""
    try:
        engine.images.get(image)
    except ImageNotFound:
        return False
    return True


def fetch(wanted: Images) -> None:
    """Have all images here, pulling what isn't.

    Raises:
        ImagesError: no engine, or an image that can't be pulled.
    """
    engine = client()
    try:
        for image in wanted.needed:
            if not is_here(engine, image):
                pull(engine, image)
    finally:
        engine.close()


def pull(engine: DockerClient, image: str) -> None:
    """Pull an image.

    Raises:
        ImagesError: it can't be.
    """
    try:
        engine.images.pull(image)
    except APIError as error:
        raise ImagesError(
            f"{image} is not here and can't be pulled: {error.explanation}"
        ) from error


def describe(wanted: Images) -> str:
    """The servers' images, and which of them were built here, for a report."""
    engine = client()
    servers = [wanted.postgres, wanted.postgrest, wanted.redis, wanted.gateway]
    built = [image for image in servers if _RECIPE_LABEL in engine.images.get(image).labels]
    engine.close()
    how = f"; built from Debian, npm and PyPI: {', '.join(built)}" if built else ""
    return f"{', '.join(servers)}{how}"
