"""The one place that talks to Redis about cached vCons. Its errors are Redis' own."""

import re
import secrets
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from .document import dumps
from .entry import HEADER_BYTES, Entry
from .memory import Memory
from .options import CONSERVER_PREFIX
from .redis_client import Call, run_each, script, text_of
from .rows.vcon import from_stored
from .telemetry.calls import redis_call

if TYPE_CHECKING:
    from redis import Redis


class Cache:
    """Entries, each with a gate that decides who may write it (lua/, docs/cache.md).

    Args:
        redis: the client to use.
        prefix: what keys begin with; ``{uuid}`` follows, in braces, so that both keys of a vCon are
            in one slot of a cluster.
        ttl: seconds until an entry expires.
        compress_bytes: entries with more bytes are compressed; 0 for none.
        memory_bytes: bytes of entries that are kept in the process as well; 0 for none.
        shared: whether each vCon is also kept as plain JSON under ``vcon:{uuid}``, where a
            vcon-mcp server serves it from, and deletes it when it changes it.
        span: seconds that a change of a vCon may take; for so long its gate stays shut if its
            writer is never heard of again.
    """

    def __init__(
        self,
        redis: "Redis",
        *,
        prefix: str,
        ttl: int,
        span: float,
        compress_bytes: int = 0,
        memory_bytes: int = 0,
        shared: bool = False,
    ) -> None:
        from redis.exceptions import ResponseError  # noqa: PLC0415  it is loaded, with the client

        self._response_error = ResponseError
        self._redis = redis
        self._prefix = prefix
        self._ttl = ttl
        self._compress_bytes = compress_bytes
        self._memory = Memory(memory_bytes) if memory_bytes else None
        self._shared = shared
        self._span = int(span * 1000)
        self._begin = script(redis, "begin")
        self._complete = script(redis, "complete")
        self._miss = script(redis, "miss")
        self._fill = script(redis, "fill")

    @redis_call
    def read(self, uuid: str) -> Entry | None:
        """Return a vCon's entry, or None."""
        keys = self._keys(uuid)
        kept = self._memory.get(uuid) if self._memory else None
        try:
            if kept is not None and self._header(keys[0]).startswith(kept.header):
                entry: Entry | None = kept
            else:
                value = self._redis.get(keys[0])
                entry = Entry.unpack(value)
                if self._memory:
                    self._memory.put(uuid, entry)
                if entry is None and isinstance(value, bytes):
                    # Another release's, or damaged. Nobody reads it, and it would keep fills out.
                    self._miss(keys, [token(), value[:HEADER_BYTES], self._span])
            if entry is not None and self._shared and self._redis.type(keys[2]) != b"string":
                # Deleted by the other server, which changed the vCon.
                self.miss(uuid, entry)
                return None
        except self._response_error as error:
            if str(error).startswith("WRONGTYPE"):
                return None  # somebody else's key in our place: left alone
            raise
        return entry

    @redis_call
    def miss(self, uuid: str, stale: Entry | None) -> str:
        """Announce a fill; return its ticket, or '' where it would be refused.

        Args:
            uuid: the vCon's.
            stale: an entry to throw away, if it is still there.
        """
        arguments: list[str | bytes | int] = [token(), stale.header if stale else b"", self._span]
        return text_of(self._miss(self._keys(uuid), arguments))

    @redis_call
    def fill(self, uuid: str, ticket: str, entry: Entry) -> bool:
        """Keep what the database said after the miss; return whether it was accepted."""
        packed = entry.pack(self._compress_bytes)
        return bool(self._fill(self._keys(uuid), [ticket, packed, self._ttl, self._plain(entry)]))

    @redis_call
    def begin(self, changes: Sequence[tuple[str, str]]) -> bool:
        """Throw entries away and shut their gates, before changes: of each the uuid and a name."""
        run_each(
            self._redis,
            self._begin,
            [(self._keys(uuid), [writer, self._span]) for uuid, writer in changes],
        )
        return True

    @redis_call
    def complete(self, changes: Sequence[tuple[str, str, Entry | None]]) -> bool:
        """Open the gates after changes: of each the uuid, its name and the new entry."""
        calls: list[Call] = []
        for uuid, writer, entry in changes:
            packed = entry.pack(self._compress_bytes) if entry else b""
            shared = self._plain(entry)
            calls.append((self._keys(uuid), [writer, token(), packed, self._ttl, shared]))
        run_each(self._redis, self._complete, calls)
        return True

    def clear(self) -> int:
        """Throw away all entries under the prefix; return how many there were."""
        count = 0
        for uuid in self.uuids():
            self._drop(uuid)
            count += 1
        return count

    def uuids(self) -> Iterator[str]:
        """Go through the uuids that have an entry under the prefix; one may come twice."""
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", self._prefix) + "{*}"
        for key in self._redis.scan_iter(match=pattern, count=1000):
            yield text_of(key)[len(self._prefix) + 1 : -1]

    def peek(self, uuid: str) -> bytes | None:
        """Return what stands in an entry's place, whatever it is; None for nothing, or no text."""
        try:
            value = self._redis.get(self._keys(uuid)[0])
        except self._response_error as error:
            if str(error).startswith("WRONGTYPE"):
                return None
            raise
        return value if isinstance(value, bytes) else None

    @redis_call
    def uptime(self) -> float:
        """Return the seconds since this Redis was started."""
        found: dict[str, int] = self._redis.info("server")
        return float(found["uptime_in_seconds"])

    def probe(self) -> None:
        """Raise unless Redis does what a change needs of it."""
        self._drop("probe")

    def forget(self) -> None:
        """Start afresh in a forked child."""
        if self._memory:
            self._memory.forget()

    def _drop(self, uuid: str) -> None:
        """Throw an entry away as a change does, so that no fill under way brings it back."""
        writer = token()
        self.begin([(uuid, writer)])
        self.complete([(uuid, writer, None)])

    def _keys(self, uuid: str) -> list[str]:
        key = f"{self._prefix}{{{uuid}}}"
        keys = [key, f"{key}:gate"]
        return [*keys, CONSERVER_PREFIX + uuid] if self._shared else keys

    def _plain(self, entry: Entry | None) -> bytes:
        """Return the vCon itself where it is shared."""
        return dumps(from_stored(entry.rows, Decimal)) if entry and self._shared else b""

    def _header(self, key: str) -> bytes:
        header = self._redis.getrange(key, 0, HEADER_BYTES - 1)
        return header if isinstance(header, bytes) else header.encode()


def token() -> str:
    """Return a name that no other change or ticket has."""
    return secrets.token_hex(8)
