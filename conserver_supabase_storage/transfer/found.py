"""What sources yield: JSON texts that may be vCons, each with its name and its place."""

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from typing import IO, NamedTuple, Protocol

# No vCon is larger: Postgres takes no value of 1 GB, and all that handle it need several copies.
MAX_BYTES = 256 * 1024 * 1024

_TOO_LARGE = f"is larger than {MAX_BYTES // 1024 // 1024} MiB"

_LINES = (".jsonl", ".ndjson")

# The conserver's s3 storage keeps a vCon by its date of creation, and a text with that date in
# lookup/. Where the date was changed, the older object is still there, and nobody reads it.
_DATED = re.compile(
    r"(?:(?P<base>.*)/)?(?P<date>\d{4}/\d{2}/\d{2})/(?P<uuid>[0-9a-fA-F-]{36})\.vcon", re.DOTALL
)


class SourceError(Exception):
    """A source can't be read at all. The text says why."""


class Found(NamedTuple):
    """A JSON text.

    Attributes:
        name: where it was found, for people: a file, a file and a line, a key, a row.
        unit: the file, key or row, by which a later run finds the place again.
        line: its line in a unit of JSON lines; 0 in others.
        text: the text; empty where it could not be read.
        error: why it could not be read.
        outdated: whether the source itself has a newer copy, which it uses.
    """

    name: str
    unit: str
    line: int = 0
    text: bytes = b""
    error: str | None = None
    outdated: bool = False


# After which unit and line a run goes on.
type Place = tuple[str, int]


class Source(Protocol):
    """Where vCons come from, in an order that is the same each time."""

    def count(self) -> int | None:
        """Return how many there will be, if that is quickly known."""

    def read(self, after: Place | None) -> Iterator[Found]:
        """Yield what comes after a place, or everything.

        Raises:
            SourceError: it can't be read.
        """


def is_lines(name: str) -> bool:
    """Whether a file of this name has a vCon in each line."""
    return name.removesuffix(".gz").endswith(_LINES)


def documents(name: str, stream: IO[bytes], *, lines: bool, after: int = 0) -> Iterator[Found]:
    """Yield what a file holds: one text, or one in each line that is not empty.

    Args:
        name: the file's; if it ends with ``.gz``, what is read is decompressed.
        stream: what to read from.
        lines: whether each line is a text.
        after: the line after which to begin.
    """
    stream = io.BufferedReader(gzip.GzipFile(fileobj=stream)) if name.endswith(".gz") else stream
    number = 0
    try:
        if not lines:
            text = stream.read(MAX_BYTES + 1)
            yield Found(name, name, 0, *_checked(text))
            return
        while text := stream.readline(MAX_BYTES + 1):
            number += 1
            checked = _checked(text.rstrip(b"\r\n"))
            while len(text) > MAX_BYTES and not text.endswith(b"\n"):
                text = stream.readline(MAX_BYTES + 1)
            if number > after and (checked[0] or checked[1]):
                yield Found(f"{name}:{number}", name, number, *checked)
    except (OSError, EOFError, zlib.error) as error:
        line = number + 1 if lines else 0
        yield Found(f"{name}:{line}" if line else name, name, line, error=unreadable(error))


def unreadable(error: Exception) -> str:
    """Say why something can't be read."""
    reason = error.strerror if isinstance(error, OSError) else None
    return f"can't be read: {reason or type(error).__name__}"


def lookup_of(name: str) -> tuple[str, str] | None:
    """Return where the conserver's s3 storage says which copy is the newest, and what it would say.

    None for a name that is not one of that storage's.
    """
    if (match := _DATED.fullmatch(name)) is None:
        return None
    base = "" if match["base"] is None else f"{match['base']}/"
    return f"{base}lookup/{match['uuid']}.txt", match["date"]


def _checked(text: bytes) -> tuple[bytes, str | None]:
    return (b"", _TOO_LARGE) if len(text) > MAX_BYTES else (text, None)
