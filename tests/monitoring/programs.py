"""Prometheus and promtool: those of this machine, or Debian's package in the user's cache."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from conserver_supabase_storage.local.folder import move_into_place

FOLDER_VARIABLE = "PROMETHEUS_FOLDER"

_NAMES = ("prometheus", "promtool")
_APT_SECONDS = 300.0


class MissingError(Exception):
    """There is no Prometheus here, and none can be brought."""


def folder_or_skip() -> Path:
    """As `folder`; without Prometheus the test is skipped, and where CI is promised it fails."""
    try:
        return folder()
    except MissingError as error:
        why = f"needs Prometheus: {error} (or set {FOLDER_VARIABLE})"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)


def folder() -> Path:
    """The folder with both programs; brought at the first call, without root and without a trace.

    Raises:
        MissingError: it isn't there and can't be brought.
    """
    if given := os.environ.get(FOLDER_VARIABLE):
        if not _is_complete(Path(given)):
            raise MissingError(f"{FOLDER_VARIABLE} is {given!r}, which lacks one of {_NAMES}")
        return Path(given)
    here = [shutil.which(name) for name in _NAMES]
    if here[0] and here[1] and Path(here[0]).parent == Path(here[1]).parent:
        return Path(here[0]).parent
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    target = cache / "conserver-supabase-storage" / "prometheus"
    if not _is_complete(target):
        try:
            _bring(target)
        except OSError as error:
            raise MissingError(f"it can't be brought: {error}") from error
    return target


def _is_complete(place: Path) -> bool:
    return all(os.access(place / name, os.X_OK) for name in _NAMES)


def _bring(target: Path) -> None:
    """Take both programs out of Debian's package; apt checks its signature, as ever.

    With package lists of its own: those of the machine may be missing, and are not ours to change.
    """
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise MissingError(
            "none is on the PATH, and this is no Debian, whose package is taken else"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="prometheus.", dir=target.parent) as place:
        work = Path(place)
        for part in ("lists/partial", "cache/archives/partial", "fresh"):
            (work / part).mkdir(parents=True)
        apt = ["apt-get", "--quiet=2", "-o", f"Dir::State::Lists={work}/lists"]
        apt += ["-o", f"Dir::Cache={work}/cache", "-o", "APT::Sandbox::User="]
        _run([*apt, "update"], work)
        _run([*apt, "download", "prometheus"], work)
        (package,) = work.glob("prometheus_*.deb")
        _run(["dpkg-deb", "--extract", str(package), str(work / "package")], work)
        for name in _NAMES:
            (work / "package" / "usr" / "bin" / name).rename(work / "fresh" / name)
        move_into_place(work / "fresh", target)


def _run(command: list[str], place: Path) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=place,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_APT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MissingError(f"{command[0]} took more than {_APT_SECONDS:g} s") from error
    if done.returncode != 0:
        raise MissingError(f"{command[0]} {command[-1]} failed: {done.stderr.strip()}")
