"""vCons in files and folders, also those of the conserver's file storage, and on standard input."""

import glob
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .found import Found, Place, SourceError, documents, is_lines, lookup_of, unreadable

# In a folder only these are looked at; a file that is named is read whatever it is called.
_SUFFIXES = (".vcon", ".json", ".jsonl", ".ndjson")

_CHUNK = 1 << 20


class Files:
    """The file, the folder (with all that is below it), or the files that match a pattern.

    Files come in the order of their paths. Of a folder the names are held in memory, one folder at
    a time. Links to folders are not followed.

    Raises:
        SourceError: there is no such file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._pattern = not Path(path).exists() and glob.has_magic(path)
        if not Path(path).exists() and not self._pattern:
            raise SourceError(f"{path} is not there")
        if self._pattern and next(self._paths(), None) is None:
            raise SourceError(f"{path} matches no file")

    def count(self) -> int | None:
        """Return how many vCons there are; None where files with many are compressed."""
        total = 0
        for path in self._paths():
            if not is_lines(path):
                total += 1
            elif path.endswith(".gz"):
                return None
            else:
                total += _count_lines(path)
        return total

    def read(self, after: Place | None) -> Iterator[Found]:
        """Yield what is in the files; see `found.Source`."""
        unit, line = after or ("", 0)
        place = Path(unit).parts
        for path in self._paths():
            parts = Path(path).parts
            if after is None or parts > place:
                yield from _read(path, 0)
            elif parts == place and is_lines(path):
                yield from _read(path, line)

    def _paths(self) -> Iterator[str]:
        if self._pattern:
            matching = glob.iglob(self._path, recursive=True)  # noqa: PTH207 - Path refuses /...
            yield from sorted(filter(_is_file, matching), key=lambda path: Path(path).parts)
        elif Path(self._path).is_dir():
            yield from _below(self._path)
        else:
            yield self._path


class Stdin:
    """JSON lines on standard input. A later run begins after as many lines."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def count(self) -> int | None:
        """Return None: nobody knows."""
        return None

    def read(self, after: Place | None) -> Iterator[Found]:
        """Yield the lines; see `found.Source`."""
        return documents("-", self._stream, lines=True, after=after[1] if after else 0)


def _below(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise SourceError(f"{folder} {unreadable(error)}") from error
    for entry in found:
        if entry.name.startswith("."):
            continue  # not meant to be seen; a file that somebody is just writing, for example
        if entry.is_dir(follow_symlinks=False):
            yield from _below(entry.path)
        elif entry.name.removesuffix(".gz").endswith(_SUFFIXES) and entry.is_file():
            yield entry.path


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except OSError:
        return False


def _read(path: str, after: int) -> Iterator[Found]:
    try:
        with Path(path).open("rb") as stream:
            if _is_outdated(path):
                yield Found(path, path, outdated=True)
                return
            yield from documents(path, stream, lines=is_lines(path), after=after)
    except OSError as error:
        yield Found(path, path, error=unreadable(error))


def _is_outdated(path: str) -> bool:
    """Whether a copy of the conserver's s3 storage in a folder is no longer the one that counts."""
    if (lookup := lookup_of(path)) is None:
        return False
    try:
        return Path(lookup[0]).read_text("utf-8").strip() != lookup[1]
    except (OSError, ValueError):
        return False


def _count_lines(path: str) -> int:
    total, last = 0, b"\n"
    try:
        with Path(path).open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                total += chunk.count(b"\n")
                last = chunk[-1:]
    except OSError:
        return 0  # said when it is read
    return total + (last != b"\n")
