"""vCons in a bucket, as the conserver's s3 storage keeps them (PREFIX/YYYY/MM/DD/UUID.vcon)."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from .found import MAX_BYTES, Found, Place, SourceError, lookup_of

# Objects that are fetched ahead: this many, and this many bytes. One at a time would take as long
# as the way there and back, for each.
_THREADS = 16
_AHEAD = 64
_AHEAD_BYTES = 64_000_000

_SUFFIXES = (".vcon", ".json")


class Bucket:
    """The objects of a bucket below a prefix, in the order of their keys.

    Args:
        bucket: its name.
        prefix: the option ``s3_path``.
        client: arguments for ``boto3.client``; what is missing comes from the environment
            (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL`` and so on) and from ``~/.aws``.

    Raises:
        SourceError: boto3 is not installed, or the arguments can't be used.
    """

    def __init__(self, bucket: str, prefix: str = "", client: dict[str, Any] | None = None) -> None:
        try:
            import boto3  # noqa: PLC0415  an extra
            from botocore.config import Config  # noqa: PLC0415
        except ImportError:
            text = "s3 needs boto3: pip install 'conserver-supabase-storage[s3]'"
            raise SourceError(text) from None
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        config = Config(max_pool_connections=_THREADS)
        try:
            self._client = boto3.client("s3", config=config, **(client or {}))
        except (ValueError, _boto_errors()) as error:
            raise SourceError(f"s3://{bucket}: {_reason(error)}") from None

    def count(self) -> int | None:
        """Return None: to count is to list, 1,000 in a request."""
        return None

    def read(self, after: Place | None) -> Iterator[Found]:
        """Yield the objects; see `found.Source`."""
        waiting: deque[tuple[Future[Found], int]] = deque()
        pool = ThreadPoolExecutor(_THREADS, "s3")
        try:
            for key, size in self._keys(after[0] if after else ""):
                waiting.append((pool.submit(self._get, key, size), size))
                while len(waiting) > _AHEAD or sum(size for _, size in waiting) > _AHEAD_BYTES:
                    yield waiting.popleft()[0].result()
            while waiting:
                yield waiting.popleft()[0].result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _keys(self, after: str) -> Iterator[tuple[str, int]]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix, StartAfter=after
        )
        try:
            for page in pages:
                for found in page.get("Contents", ()):
                    if found["Key"].endswith(_SUFFIXES):
                        yield found["Key"], found["Size"]
        except _boto_errors() as error:
            raise SourceError(f"s3://{self._bucket}: {_reason(error)}") from None

    def _get(self, key: str, size: int) -> Found:
        name = f"s3://{self._bucket}/{key}"
        if size > MAX_BYTES:
            return Found(name, key, error=f"is larger than {MAX_BYTES // 1024 // 1024} MiB")
        try:
            if (lookup := lookup_of(key)) and self._date(lookup[0]) not in (None, lookup[1]):
                return Found(name, key, outdated=True)
            return Found(name, key, text=self._body(key))
        except _boto_errors() as error:
            return Found(name, key, error=f"can't be read: {_reason(error)}")

    def _date(self, key: str) -> str | None:
        """Return what a lookup says; None where there is none, as from older conservers."""
        try:
            return self._body(key).decode(errors="replace").strip()
        except self._client.exceptions.NoSuchKey:
            return None

    def _body(self, key: str) -> bytes:
        body: bytes = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        return body


def _boto_errors() -> Any:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    return BotoCoreError, ClientError


def _reason(error: Exception) -> str:
    """Say what is wrong; of the server's words only the code."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", type(error).__name__))
    return f"{type(error).__name__}: {error}"
