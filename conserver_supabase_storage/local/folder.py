"""The folder of a local stack: its lock, its secrets, and what is left of stacks that died."""

import fcntl
import json
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .errors import LocalSupabaseError
from .keys import new_secret

_PREFIX = "conserver-supabase-"
_LOCK = "lock"
_SETTINGS = "stack.json"
# A stack takes its lock right after it has made its folder.
_SETTLED_SECONDS = 60.0


@dataclass
class Settings:
    """What stays the same while a stack's data stays; kept in a file for its owner alone."""

    jwt_secret: str = field(default_factory=new_secret)
    issued_at: int = field(default_factory=lambda: int(time.time()))
    """When the keys were made, in seconds since the epoch."""
    postgres_password: str = field(default_factory=new_secret)
    authenticator_password: str = field(default_factory=new_secret)
    redis_password: str = field(default_factory=new_secret)
    ports: dict[str, int] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> "Settings":
        """The settings saved in a folder, or new ones."""
        try:
            return cls(**json.loads((folder / _SETTINGS).read_text()))
        except FileNotFoundError:
            return cls()

    def save(self, folder: Path) -> None:
        """Write them, all or nothing."""
        unfinished = folder / f"{_SETTINGS}.new"
        unfinished.unlink(missing_ok=True)
        unfinished.touch(mode=0o600)
        unfinished.write_text(json.dumps(asdict(self), indent=2) + "\n")
        unfinished.rename(folder / _SETTINGS)


def make(data_dir: Path | None) -> Path:
    """Make the folder for a stack: the one given, or one to throw away.

    Raises:
        LocalSupabaseError: it can't be made.
    """
    # As root, Postgres runs as another user, who has to pass through to its own part.
    mode = 0o711 if os.geteuid() == 0 else 0o700
    try:
        if data_dir is None:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
            folder.chmod(mode)
        else:
            folder = data_dir.expanduser().resolve()
            folder.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise LocalSupabaseError(f"No folder for the data: {error}") from error
    return folder


def lock(folder: Path) -> int:
    """Lock a folder for one stack; the file descriptor holds the lock until it is closed.

    Raises:
        LocalSupabaseError: a running stack has it.
    """
    descriptor = _try_to_lock(folder)
    if descriptor is None:
        raise LocalSupabaseError(f"{folder} is in use by a local Supabase that is running")
    return descriptor


def move_into_place(fresh: Path, target: Path) -> None:
    """Give a complete folder its name, unless another process was faster with the same."""
    try:
        fresh.rename(target)
    except OSError:
        if not target.exists():
            raise


def remove_abandoned() -> None:
    """Remove throw-away folders whose stack was killed along with its supervisor."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            found = folder.lstat()
        except FileNotFoundError:
            continue
        settled = time.time() - found.st_mtime > _SETTLED_SECONDS
        if folder.is_symlink() or found.st_uid != os.geteuid() or not settled:
            continue
        descriptor = _try_to_lock(folder)
        if descriptor is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)


def _try_to_lock(folder: Path) -> int | None:
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
