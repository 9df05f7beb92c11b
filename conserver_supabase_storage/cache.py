"""The one place that talks to Redis about cached vCons. Its errors are Redis' own."""

import secrets
import zlib
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

from .redis_client import connect

if TYPE_CHECKING:
    from redis import Redis
    from redis.commands.core import Script

# What every entry begins with (compressed or not); another beginning is another release's, and a
# miss.
_PLAIN, _COMPRESSED = b"css1", b"css1z"


class Entry(NamedTuple):
    """A cached vCon: its rows as JSON text, their revision, and the episode it was cached in."""

    revision: int
    episode: int
    rows: bytes
    compressed: bool = False

    @property
    def header(self) -> bytes:
        """How it begins in Redis."""
        form = _COMPRESSED if self.compressed else _PLAIN
        return b"%b %d %d\n" % (form, self.revision, self.episode)

    def pack(self, compress_bytes: int) -> bytes:
        """Return it as it is to stand in Redis, compressed if it has more bytes than that."""
        if 0 < compress_bytes < len(self.rows):
            # Level 1: JSON shrinks to a fifth, more effort gains little.
            return self._replace(compressed=True).header + zlib.compress(self.rows, 1)
        return self.header + self.rows

    @classmethod
    def unpack(cls, value: object) -> "Entry | None":
        """Read what stands in Redis; None for whatever is no entry of this format."""
        if not isinstance(value, bytes):
            return None
        header, newline, rows = value.partition(b"\n")
        fields = header.split(b" ")
        if not newline or len(fields) != 3 or fields[0] not in {_PLAIN, _COMPRESSED}:
            return None
        if not fields[1].isdigit() or not fields[2].isdigit():
            return None
        compressed = fields[0] == _COMPRESSED
        try:
            rows = zlib.decompress(rows) if compressed else rows
        except zlib.error:
            return None
        return cls(int(fields[1]), int(fields[2]), rows, compressed)


class Cache:
    """Entries, each with a gate that decides who may write it (lua/, docs/cache.md).

    Args:
        url: the Redis to use.
        prefix: what keys begin with; ``{uuid}`` follows, in braces, so that both keys of a vCon are
            in one slot of a cluster.
        ttl: seconds until an entry expires.
        timeout: seconds to wait for Redis.
        compress_bytes: entries with more bytes are compressed; 0 for none.
        span: seconds that a change of a vCon may take; for so long its gate stays shut if its
            writer is never heard of again.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str,
        ttl: int,
        timeout: float,
        span: float,
        compress_bytes: int = 0,
    ) -> None:
        self._redis: Redis = connect(url, timeout)
        self._prefix = prefix
        self._ttl = ttl
        self._compress_bytes = compress_bytes
        self._span = int(span * 1000)
        self._begin = self._script("begin")
        self._complete = self._script("complete")
        self._miss = self._script("miss")
        self._fill = self._script("fill")

    def read(self, uuid: str) -> Entry | None:
        """Return a vCon's entry, or None."""
        from redis.exceptions import ResponseError  # noqa: PLC0415

        try:
            return Entry.unpack(self._redis.get(self._keys(uuid)[0]))
        except ResponseError as error:
            if str(error).startswith("WRONGTYPE"):
                return None  # somebody else's key in our place: left alone
            raise

    def miss(self, uuid: str, stale: Entry | None) -> str:
        """Announce a fill; return its ticket, or '' where it would be refused.

        Args:
            uuid: the vCon's.
            stale: an entry to throw away, if it is still there.
        """
        arguments: list[str | bytes | int] = [_token(), stale.header if stale else b"", self._span]
        return _text(self._miss(self._keys(uuid), arguments))

    def fill(self, uuid: str, ticket: str, entry: Entry) -> bool:
        """Keep what the database said after the miss; return whether it was accepted."""
        return bool(
            self._fill(self._keys(uuid), [ticket, entry.pack(self._compress_bytes), self._ttl])
        )

    def begin(self, uuid: str) -> str:
        """Throw an entry away and shut its gate, before a change; return the change's name."""
        writer = _token()
        self._begin(self._keys(uuid), [writer, self._span])
        return writer

    def complete(self, uuid: str, writer: str, entry: Entry | None) -> bool:
        """Open the gate after a change; return whether the new entry was accepted."""
        packed = entry.pack(self._compress_bytes) if entry else b""
        return bool(self._complete(self._keys(uuid), [writer, _token(), packed, self._ttl]))

    def probe(self) -> None:
        """Raise unless Redis does what a change needs of it."""
        self.complete("probe", self.begin("probe"), None)

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
        self._redis.connection_pool.disconnect()

    def _keys(self, uuid: str) -> list[str]:
        key = f"{self._prefix}{{{uuid}}}"
        return [key, f"{key}:gate"]

    def _script(self, name: str) -> "Script":
        source = resources.files(__package__).joinpath(f"lua/{name}.lua").read_text("utf-8")
        return self._redis.register_script(source)


def _token() -> str:
    return secrets.token_hex(8)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
