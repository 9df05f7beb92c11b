"""Holds a request to its deadline, whatever the server does.

httpx' timeouts are for each read and write: a server that sends a byte now and then would keep the
caller for ever. Here every wait on the network ends with the request at the latest.
"""

import time
from collections.abc import Iterable
from contextvars import ContextVar
from ssl import SSLContext
from typing import Any

import httpcore
import httpx

from .forks import held_off

# When the request of this thread has to end (time.monotonic()).
deadline: ContextVar[float] = ContextVar("deadline", default=float("inf"))


def pool(keep: int) -> httpcore.ConnectionPool:
    """Return connections, of which so many stay open, on a network that heeds the deadline."""
    return httpcore.ConnectionPool(
        ssl_context=httpx.create_ssl_context(),
        max_connections=None,
        max_keepalive_connections=keep,
        keepalive_expiry=httpx.Limits().keepalive_expiry,
        network_backend=_Backend(httpcore.SyncBackend()),
    )


def _left(timeout: float | None, error: type[Exception]) -> float:
    left = deadline.get() - time.monotonic()
    if left <= 0:
        raise error("the deadline is over")
    return left if timeout is None else min(timeout, left)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        with held_off():
            return _Stream(self._stream.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._backend.connect_tcp(host, port, left, local_address, socket_options))

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._backend.connect_unix_socket(path, left, socket_options))

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)
