"""The one place that talks to Redis about cached vCons. No failure here fails a save or a get."""

import logging
from typing import TYPE_CHECKING

from .redis_client import connect

if TYPE_CHECKING:
    from redis import Redis

logger = logging.getLogger(__name__)

# What every entry begins with; another beginning is another release's, and a miss.
_FORMAT = b"css1 "


class Cache:
    """Keeps the rows of vCons as JSON text, each with its revision.

    Args:
        url: the Redis to use.
        prefix: what keys begin with; the vCon's uuid follows.
        ttl: seconds until an entry expires.
        timeout: seconds to wait for Redis.
    """

    def __init__(self, url: str, *, prefix: str, ttl: int, timeout: float) -> None:
        self._redis: Redis = connect(url, timeout)
        self._prefix = prefix
        self._ttl = ttl

    def get(self, uuid: str) -> bytes | None:
        """Return the cached rows of a vCon, or None if there are none or Redis does not answer."""
        from redis import RedisError  # noqa: PLC0415

        try:
            entry = self._redis.get(self._key(uuid))
        except RedisError as error:
            logger.warning("cache: get failed: %s", type(error).__name__)
            return None
        if not isinstance(entry, bytes) or not entry.startswith(_FORMAT):
            return None
        return entry.partition(b"\n")[2]

    def put(self, uuid: str, revision: int, rows: str) -> None:
        """Keep the rows of a vCon for the TTL."""
        from redis import RedisError  # noqa: PLC0415

        entry = b"%b%d\n%b" % (_FORMAT, revision, rows.encode())
        try:
            self._redis.set(self._key(uuid), entry, ex=self._ttl)
        except RedisError as error:
            logger.warning("cache: put failed: %s", type(error).__name__)

    def drop(self, uuid: str) -> None:
        """Forget a vCon."""
        from redis import RedisError  # noqa: PLC0415

        try:
            self._redis.delete(self._key(uuid))
        except RedisError as error:
            logger.warning("cache: drop failed: %s", type(error).__name__)

    def error(self) -> str | None:
        """Return what is wrong with Redis now, or None if it answers."""
        from redis import RedisError  # noqa: PLC0415

        try:
            self._redis.ping()
        except RedisError as error:
            return type(error).__name__
        return None

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
        self._redis.connection_pool.disconnect()

    def _key(self, uuid: str) -> str:
        return self._prefix + uuid
