"""Connections to Redis, handed out at little cost, and never with a reply that is still to come."""

import os
import sys
from collections import deque
from contextlib import suppress
from typing import Any

from redis import ConnectionPool
from redis.exceptions import ResponseError

from .forks import held_off


class Pool(ConnectionPool):
    """A pool that looks at how a command ended, instead of at the socket before the next one.

    redis-py releases a connection also when an interrupt came between a command and its reply. The
    next command would be given that reply. What redis-py does about it is to see whether something
    can be read before it hands a connection out: that costs a system call, misses a reply that is
    on its way, and version 8 hands it out all the same (it may be news of maintenance).

    That Redis closed a connection meanwhile is found out by the command; the client then tries it
    again (`redis_client.connect`).
    """

    def reset(self) -> None:
        """Begin without connections, also in a forked child."""
        self._idle: deque[Any] = deque()
        super().reset()

    def get_connection(self, *args: Any, **options: Any) -> Any:
        """Return a connection that nobody uses."""
        with suppress(IndexError):
            connection = self._idle.pop()
            if connection.pid == os.getpid():
                return connection
        with held_off():  # it may have to connect, and to shake hands
            return super().get_connection(*args, **options)

    def release(self, connection: Any) -> None:
        """Take a connection back: as it is, if its last command was answered, else closed."""
        error = sys.exc_info()[1]  # on its way through the caller's `finally`
        if error is None or isinstance(error, ResponseError):
            self._idle.append(connection)
        else:
            connection.disconnect()
            super().release(connection)
