"""Counts what an operation costs on any machine: round trips, bytes, SQL statements, WAL."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import psycopg

from conserver_supabase_storage.local import LocalSupabase

_CHUNK = 65_536
_STATEMENT = re.compile(rb"LOG:  (?:execute [^:]*|statement): (.*)")
_RELOAD_SECONDS = 5.0
_MARK = "SELECT 'counted from here'"


@dataclass
class Traffic:
    """What went by: round trips (for HTTP/1.1, requests), and bytes in both directions."""

    trips: int = 0
    sent: int = 0
    received: int = 0

    def since(self, before: "Traffic") -> "Traffic":
        """Return what was added after a copy was taken."""
        return Traffic(
            self.trips - before.trips, self.sent - before.sent, self.received - before.received
        )


class Tap:
    """Passes connections on to a server and counts; `url` is the server's with the tap's port.

    A round trip begins where the client speaks after the server did. So requests that are written
    in several pieces, or several commands sent together, are one.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = target.replace(f":{parts.port}", f":{self._listener.getsockname()[1]}")
        self.traffic = Traffic()
        self._lock = threading.Lock()
        self._sockets = [self._listener]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                last = _Last()
                for source, sink, forth in ((client, server, True), (server, client, False)):
                    pump = threading.Thread(target=self._pump, args=[source, sink, forth, last])
                    pump.daemon = True
                    pump.start()

    def _pump(self, source: socket.socket, sink: socket.socket, forth: bool, last: "_Last") -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                with self._lock:  # before it is passed on, so that nobody looks too early
                    traffic = self.traffic
                    traffic.trips += forth and not last.was_client
                    traffic.sent += len(data) * forth
                    traffic.received += len(data) * (not forth)
                    last.was_client = forth
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@dataclass
class _Last:
    """Who spoke last on a connection."""

    was_client: bool = False


class Statements:
    """The SQL statements that Postgres is sent, from its own log.

    Those inside of a function are not logged; the call of the function is one statement.
    """

    def __init__(self, stack: LocalSupabase, connection: psycopg.Connection) -> None:
        self._log: Path = stack.folder / "postgres.log"
        self._connection = connection

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Have Postgres log every statement, in sessions that are open already too."""
        for setting in ("log_statement = 'all'", "log_parameter_max_length = 0"):
            self._connection.execute(f"ALTER SYSTEM SET {setting}".encode())
        self._connection.execute("SELECT pg_reload_conf()")
        try:
            deadline = time.monotonic() + _RELOAD_SECONDS
            while not self.during_mark():
                assert time.monotonic() < deadline, "Postgres logs no statements"
                time.sleep(0.02)
            # The sessions of PostgREST take the setting before their next statement.
            yield
        finally:
            self._connection.execute("ALTER SYSTEM RESET log_statement")
            self._connection.execute("ALTER SYSTEM RESET log_parameter_max_length")
            self._connection.execute("SELECT pg_reload_conf()")

    def during_mark(self) -> bool:
        """Whether a statement of our own reaches the log."""
        before = self.position()
        self._connection.execute(_MARK)
        return _MARK in "".join(self.since(before))

    def position(self) -> int:
        """Return where the log ends."""
        return self._log.stat().st_size

    def since(self, position: int) -> list[str]:
        """Return the statements that were logged after a position."""
        with self._log.open("rb") as log:
            log.seek(position)
            return [text.decode() for text in _STATEMENT.findall(log.read())]


def wal_position(connection: psycopg.Connection) -> int:
    """Return how many bytes Postgres has written to its write-ahead log."""
    row = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
    assert row is not None
    return int(row[0])
