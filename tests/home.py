"""Where the servers of the tests run: as processes of this machine, or in containers.

A test asks for the fixture ``stack`` and gets a `Supabase`; it is the same test in both homes.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pytest

from conserver_supabase_storage.local import LocalSupabase

if TYPE_CHECKING:
    from .containers.images import Images

type Service = Literal["postgres", "postgrest", "redis", "gateway"]


class Supabase(Protocol):
    """What every home offers. `LocalSupabase` says what each part does."""

    @property
    def url(self) -> str: ...
    @property
    def rest_url(self) -> str: ...
    @property
    def database_url(self) -> str: ...
    @property
    def redis_url(self) -> str: ...
    @property
    def jwt_secret(self) -> str: ...
    @property
    def service_role_key(self) -> str: ...
    @property
    def anon_key(self) -> str: ...
    def key_for(self, role: str, **claims: Any) -> str: ...
    def environment(self) -> dict[str, str]: ...
    def create_database(self, name: str) -> str: ...
    def postgrest(
        self, *, database: str = "postgres", **settings: str | int | bool
    ) -> AbstractContextManager[str]: ...
    def reload_schema(self, database: str = "postgres") -> None: ...
    def stop_service(self, name: Service, *, kill: bool = False) -> None: ...
    def start_service(self, name: Service, *, wait: bool = True) -> None: ...
    def pause_service(self, name: Service) -> None: ...
    def resume_service(self, name: Service) -> None: ...
    def wait_until_ready(self, timeout: float = 60.0) -> None: ...


_OPTIONS = ("postgres", "postgrest", "redis")


def add_options(parser: pytest.Parser) -> None:
    """Let the command line choose the home."""
    group = parser.getgroup("home", "where the servers of the tests run")
    homes = group.addoption
    homes("--containers", dest="home", action="store_const", const="containers", help="Docker")
    homes(
        "--compose", dest="home", action="store_const", const="compose", help="deploy/compose.yml"
    )
    homes("--local", dest="home", action="store_const", const="local", help="processes")
    for name in _OPTIONS:
        homes(f"--{name}", metavar="IMAGE", help=f"{name}'s image, or a version of the matrix")


def settle(config: pytest.Config) -> None:
    """Decide where the servers will run.

    Raises:
        pytest.UsageError: containers were asked for, and there is no engine, or an image that can
            be neither found nor pulled.
    """
    chosen: dict[str, str] = {
        name: image for name in _OPTIONS if (image := config.getoption(f"--{name}"))
    }
    home = config.getoption("home") or ("containers" if chosen else None)
    config.stash[_HOME] = _Local()
    if home == "local":
        return
    from .containers import compose, images

    if home == "compose":
        if compose.program() is None:
            raise pytest.UsageError("Docker Compose is not installed.")
        config.stash[_HOME] = _Compose()
        return
    if home is None and not images.all_here(images.load()):
        return
    wanted = images.load(**chosen)
    try:
        images.fetch(wanted)
        config.stash[_HOME] = _Containers(wanted, images.describe(wanted))
    except images.ImagesError as error:
        raise pytest.UsageError(str(error)) from error


def open_supabase(
    config: pytest.Config, *, durable: bool = False
) -> AbstractContextManager[Supabase]:
    """A migrated Supabase that ends with the context.

    Args:
        config: of the run.
        durable: whether Redis writes every change to its disk, to have it after a kill.
    """
    return config.stash[_HOME].open(durable)


def describe(config: pytest.Config) -> str:
    """A line for the head of the report."""
    return str(config.stash[_HOME])


class _Local:
    def __str__(self) -> str:
        return "servers: processes of this machine (containers: scripts/test --containers)"

    @contextmanager
    def open(self, durable: bool) -> Iterator[Supabase]:
        with ExitStack() as cleaning:
            folder = None
            if durable:
                folder = Path(cleaning.enter_context(TemporaryDirectory(prefix="durable-")))
                # Run by root, Postgres is another user, who has to get through to its data.
                folder.chmod(0o711)
                folder /= "stack"
            yield cleaning.enter_context(LocalSupabase(folder))


class _Containers:
    def __init__(self, chosen: "Images", description: str) -> None:
        self._images = chosen
        self._description = description

    def __str__(self) -> str:
        return f"servers: containers (processes: scripts/test --local): {self._description}"

    def open(self, durable: bool) -> AbstractContextManager[Supabase]:
        from .containers.supabase import ContainerSupabase

        return ContainerSupabase(self._images, durable=durable)


class _Compose:
    def __str__(self) -> str:
        return "servers: deploy/compose.yml"

    @contextmanager
    def open(self, durable: bool) -> Iterator[Supabase]:  # noqa: ARG002 - it always is
        from .containers.compose import ComposeSupabase

        with (
            TemporaryDirectory(prefix="compose-") as folder,
            ComposeSupabase(Path(folder), project=Path(folder).name) as running,
        ):
            yield running


_HOME = pytest.StashKey[_Local | _Containers | _Compose]()
