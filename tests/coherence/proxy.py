"""A TCP proxy that counts, delays, holds or refuses what goes through it."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

_CHUNK = 65_536


class Proxy:
    """Passes connections on to a server; `url` is the target's, with the proxy's port.

    Attributes:
        delay: seconds that each piece of an answer is held back.
        before: called with each piece that a client sent, before it is passed on. What it returns,
            if anything, is sent to the client as the answer, and the server never hears of it.
        sent: how many pieces clients sent: with one command at a time, as many as commands.
        accepted: how many connections clients opened.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        port = self._listener.getsockname()[1]
        self.url = target.replace(f":{parts.port}", f":{port}")
        self.delay = 0.0
        self.before: Callable[[bytes], bytes | None] = lambda _: None
        self.sent = 0
        self.accepted = 0
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = [self._listener]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.accepted += 1
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            self._sockets += [client, server]
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._forth, args=[client, server], daemon=True).start()
            threading.Thread(target=self._back, args=[server, client], daemon=True).start()

    def _forth(self, client: socket.socket, server: socket.socket) -> None:
        # A client that hangs up is not passed on: what it sent may still be on its way.
        with suppress(OSError):
            while data := client.recv(_CHUNK):
                with self._lock:
                    self.sent += 1
                answer = self.before(data)
                if answer is None:
                    server.sendall(data)
                else:
                    client.sendall(answer)

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(_CHUNK):
                if self.delay:
                    time.sleep(self.delay)
                with suppress(OSError):
                    client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)
