"""The files that a command keeps beside its work: where it goes on, and what was refused."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from .found import Found, Place, SourceError


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a file that is there whole or not at all: under another name, then renamed."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            yield stream
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


class Report:
    """What was refused or differs, as JSON lines in a file; without a file nowhere.

    Args:
        path: the file.
        more: whether to add to what is there.
    """

    def __init__(self, path: Path | None, *, more: bool = False) -> None:
        self._stream = path.open("ab" if more else "wb") if path is not None else None

    def write(self, line: Mapping[str, Any]) -> None:
        """Add a line; it is in the file when this returns."""
        if self._stream is not None:
            self._stream.write(json.dumps(line).encode() + b"\n")
            self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Progress:
    """Where an import goes on, in a file; without a file it remembers nothing.

    Args:
        path: the file.
        arguments: what is imported, so that nobody goes on with something else.

    Raises:
        SourceError: the file is that of another import, or none at all.
    """

    def __init__(self, path: Path | None, arguments: Mapping[str, Any]) -> None:
        self._path = path
        # Not the arguments themselves: a URL may hold a password.
        self._of = hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()
        self.after: tuple[int, Place] | None = None
        self.counts: Counter[str] = Counter()
        if path is not None and path.exists():
            self._load(path)

    def note(self, number: int, found: Found) -> None:
        """Note that everything is done up to and with what a source found."""
        self.after = number, (found.unit, found.line)
        if self._path is None:
            return
        kept = {"of": self._of, "after": self.after, "counts": self.counts}
        with whole_file(self._path) as stream:
            stream.write(json.dumps(kept).encode())

    def done(self) -> None:
        """Forget the place: all is done, and a later run begins anew."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _load(self, path: Path) -> None:
        try:
            kept = json.loads(path.read_bytes())
            of, (number, (unit, line)) = kept["of"], kept["after"]
            self.counts.update(kept["counts"])
        except (OSError, ValueError, LookupError, TypeError):
            raise SourceError(f"{path} does not say where an import was interrupted") from None
        if of != self._of:
            raise SourceError(
                f"{path} is of an import of something else: delete it, or name another file"
            )
        self.after = number, (unit, line)
