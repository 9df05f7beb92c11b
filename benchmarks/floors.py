"""The floors that ratios are to: one bare request, one bare Redis GET."""

from importlib import resources
from typing import Any

import httpx
import orjson
import psycopg
from redis import Redis

from .vcons import Made


def install(database_url: str) -> None:
    """Make the floors' table and functions (bench.sql)."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(resources.files(__package__).joinpath("bench.sql").read_bytes())


class Floor:
    """Bare calls of PostgREST: a connection that is kept open, bytes that were made before.

    Args:
        rest_url: PostgREST, by the same URL that the storage uses.
        key: the same key.
    """

    def __init__(self, rest_url: str, key: str) -> None:
        headers = {
            "apikey": key,
            "Authorization": f"Bearer {key}",
            "Content-Type": "application/json",
        }
        self._http = httpx.Client(base_url=f"{rest_url}/rpc/", headers=headers, timeout=60)

    def write(self, call: tuple[str, bytes]) -> None:
        """Send a prepared call."""
        self._post(*call)

    def get(self, made: Made) -> object:
        """Read one row, and parse it."""
        return orjson.loads(self._post("bench_get", b'{"p_uuid":"%b"}' % made.uuid.encode()))

    def page(self, uuids: list[str]) -> object:
        """Read some rows, and parse them."""
        return orjson.loads(self._post("bench_page", orjson.dumps({"p_uuids": uuids})))

    def delete(self, made: Made) -> None:
        """Delete one row."""
        self._post("bench_delete", b'{"p_uuid":"%b"}' % made.uuid.encode())

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _post(self, function: str, content: bytes) -> bytes:
        return self._http.post(function, content=content).raise_for_status().content


def named(function: str, made: Made) -> tuple[str, bytes]:
    """Prepare a call with the document as an argument by name."""
    return function, b'{"doc":%b}' % made.body


def raw(function: str, made: Made) -> tuple[str, bytes]:
    """Prepare a call whose body is the document and nothing else."""
    return f"{function}_raw", made.body


class RedisFloor:
    """A bare GET of the document's bytes, and orjson to parse them."""

    def __init__(self, url: str) -> None:
        self._redis: Redis = Redis.from_url(url)

    def put(self, made: Made) -> Made:
        """Keep a document's bytes."""
        self._redis.set(f"bench:{made.uuid}", made.body)
        return made

    def get(self, made: Made) -> Any:
        """Read and parse it."""
        return orjson.loads(self._redis.get(f"bench:{made.uuid}"))  # type: ignore[arg-type]

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()
