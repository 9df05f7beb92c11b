"""Saves that could not be made yet, kept in Redis in their order until they can.

A record is one vCon's newest spooled version. Each carries the time (the database's) at which its
save took place, so that its replay never undoes what was saved or deleted later.
"""

import json
import time
from collections.abc import Iterator, Sequence
from itertools import batched
from typing import TYPE_CHECKING, NamedTuple

from .redis_client import script, text_of
from .telemetry.calls import redis_call

if TYPE_CHECKING:
    from redis import Redis


class Record(NamedTuple):
    """A spooled save.

    Attributes:
        uuid: the vCon's.
        number: its place in the order.
        not_after: when the save took place, seconds since 1970 by the database's clock.
        at: when it was spooled, seconds since 1970 by the saving machine's clock.
        document: the vCon as JSON text.
        error: why it failed for good, or None while it waits.
    """

    uuid: str
    number: int
    not_after: float
    at: float
    document: str
    error: str | None = None

    @classmethod
    def unpack(cls, packed: bytes) -> "Record":
        """Read a record as it stands in Redis."""
        header, _, document = packed.partition(b"\n")
        fields = json.loads(header)
        return cls(
            fields["uuid"],
            int(fields.get("number", 0)),
            float(fields["not_after"]),
            float(fields["at"]),
            document.decode(),
            fields.get("error"),
        )

    def failed(self, error: str) -> bytes:
        """Pack the record as it is kept once it failed for good."""
        header = {"uuid": self.uuid, "not_after": self.not_after, "at": self.at, "error": error}
        return json.dumps(header).encode() + b"\n" + self.document.encode()


class Spool:
    """The spool of one prefix in one Redis. Methods raise Redis' own errors.

    Args:
        redis: the client of a Redis that persists what it is told (appendonly yes).
        prefix: what keys begin with.
        max_count: the most vCons to hold.
        max_bytes: the most bytes to hold.
    """

    def __init__(self, redis: "Redis", *, prefix: str, max_count: int, max_bytes: int) -> None:
        self._redis = redis
        self._records, self._queue, self._bytes, self._last, self._failed, self._lock = (
            f"{prefix}{{spool}}:{name}"
            for name in ("records", "queue", "bytes", "last", "failed", "lock")
        )
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._peek = script(redis, "spool_peek")
        self._put = script(redis, "spool_put")
        self._take = script(redis, "spool_take")
        self._fail = script(redis, "spool_fail")
        self._own = script(redis, "spool_lock")
        self._oldest = script(redis, "spool_oldest")

    @redis_call
    def put(
        self, uuid: str, document: str, not_after: float, *, replace: bool = True
    ) -> str | None:
        """Keep a save.

        Args:
            uuid: the vCon's.
            document: the vCon as JSON text.
            not_after: when the save took place, seconds since 1970 by the database's clock.
            replace: whether it takes the place of one that waits; if not, that one is left.

        Returns:
            None, or what is full: ``count`` or ``bytes``.
        """
        header = json.dumps({"uuid": uuid, "not_after": not_after, "at": time.time()})
        said = text_of(
            self._put(
                [self._records, self._queue, self._bytes, self._last],
                [
                    uuid,
                    self._max_count,
                    header,
                    document.encode(),
                    self._max_bytes,
                    "0" if replace else "1",
                ],
            )
        )
        return None if said in {"ok", "newer"} else said

    @redis_call
    def read(self, uuid: str) -> Record | None:
        """Return a vCon's record, or None."""
        packed = self._redis.hget(self._records, uuid)
        return Record.unpack(packed) if isinstance(packed, bytes) else None

    @redis_call
    def peek(self, uuids: Sequence[str]) -> list[tuple[int | None, int, bool]]:
        """Tell of each vCon: its record's number, how many wait in all, whether it is set aside."""
        waiting, *told = self._peek([self._queue, self._failed], uuids)
        return [
            (int(number) if number else None, waiting, bool(failed))
            for number, failed in batched(told, 2)
        ]

    @redis_call
    def remove(self, uuid: str, number: int) -> bool:
        """Drop the record of this number; a newer one of the same vCon stays."""
        return self._taken(uuid, number, b"")

    @redis_call
    def fail(self, record: Record, error: str) -> bool:
        """Put a record apart, with why it failed for good."""
        return self._taken(record.uuid, record.number, record.failed(error))

    @redis_call
    def keep_failed(self, record: Record, error: str) -> bool:
        """Put a save apart that was refused before it was ever spooled; False if full."""
        return bool(
            self._fail(
                [self._failed, self._bytes],
                [record.uuid, record.failed(error), self._max_count, self._max_bytes],
            )
        )

    @redis_call
    def next(self) -> Record | None:
        """Return the record whose turn it is, or None."""
        while first := self._redis.zrange(self._queue, 0, 0, withscores=True):
            uuid, number = text_of(first[0][0]), int(first[0][1])
            if (record := self.read(uuid)) is not None:
                return record
            self.remove(uuid, number)  # its record was evicted or deleted by hand
        return None

    def waiting(self) -> Iterator[Record]:
        """Yield the records in their order."""
        for uuid in self._redis.zrange(self._queue, 0, -1):
            if (record := self.read(text_of(uuid))) is not None:
                yield record

    def failures(self) -> Iterator[Record]:
        """Yield the records that failed for good."""
        for uuid in self._redis.hkeys(self._failed):
            if (record := self.failure(text_of(uuid))) is not None:
                yield record

    def failure(self, uuid: str) -> Record | None:
        """Return a vCon's record that failed for good, or None."""
        packed = self._redis.hget(self._failed, uuid)
        return Record.unpack(packed) if isinstance(packed, bytes) else None

    @redis_call
    def drop_failure(self, uuid: str) -> bool:
        """Forget a record that failed for good; return whether it was there."""
        return bool(self._fail([self._failed, self._bytes], [uuid, "", 0, 0]))

    @redis_call
    def size(self) -> dict[str, int]:
        """Return how many records wait, how many bytes they have, and how many failed for good."""
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.zcard(self._queue)
            pipeline.get(self._bytes)
            pipeline.hlen(self._failed)
            waiting, held, failed = pipeline.execute()
        return {"waiting": int(waiting), "bytes": int(held or 0), "failed": int(failed)}

    def oldest(self) -> float | None:
        """Return when the record was spooled whose turn it is (`Record.at`), or None."""
        header = self._oldest([self._records, self._queue])
        return float(json.loads(header)["at"]) if header else None

    @redis_call
    def own(self, owner: str, seconds: float) -> bool:
        """Take or prolong the right to replay; 0 seconds gives it back. False if another has it."""
        return bool(self._own([self._lock], [owner, int(seconds * 1000)]))

    def _taken(self, uuid: str, number: int, failed: bytes) -> bool:
        keys = [self._records, self._queue, self._bytes, self._failed]
        return bool(self._take(keys, [uuid, number, failed]))
