"""Servers on real sockets that a storage can be pointed at: a counting proxy, a scripted one."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Self
from urllib.parse import urlsplit

# Not only at the start of a line: a body ends without one. No JSON text holds a raw line end.
_REQUEST_LINE = re.compile(rb"[A-Z]+ /\S* HTTP/1\.1\r\n")
_CHUNK = 65_536
# How long a server plays its part: longer than a client should wait, and not for ever.
_PATIENCE = 3.0


class _Listener:
    """Accepts connections on the loopback address and serves each in a thread."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.accepted = 0
        self._clients: list[socket.socket] = []
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        for connection in (self._socket, *self._clients):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            self.accepted += 1
            self._clients.append(client)
            threading.Thread(target=self._serve_quietly, args=[client], daemon=True).start()

    def _serve_quietly(self, client: socket.socket) -> None:
        with suppress(OSError):
            self.serve(client)

    def serve(self, client: socket.socket) -> None:
        raise NotImplementedError


class CountingProxy(_Listener):
    """Passes everything on to a server, and counts what goes by."""

    def __init__(self, target: str) -> None:
        super().__init__()
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 0)
        self._lock = threading.Lock()
        self._sent: list[bytearray] = []
        self.open = 0

    @property
    def requests(self) -> int:
        """How many HTTP requests were sent."""
        return sum(len(_REQUEST_LINE.findall(sent)) for sent in self._sent)

    def serve(self, client: socket.socket) -> None:
        sent = bytearray()
        with self._lock:
            self.open += 1
            self._sent.append(sent)
        server = socket.create_connection(self._target)
        answers = threading.Thread(target=_pump, args=[server, client, None], daemon=True)
        answers.start()
        _pump(client, server, sent)
        answers.join()
        client.close()
        server.close()
        with self._lock:
            self.open -= 1


def _pump(source: socket.socket, sink: socket.socket, record: bytearray | None) -> None:
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            if record is not None:
                record += data
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


class RedisWithJson(_Listener):
    """A stand-in for the Redis of a conserver, which has the JSON module; no registry has one.

    Args:
        documents: the JSON text under each key. As in the real one, GET can't read these keys.
    """

    def __init__(self, documents: dict[str, str]) -> None:
        super().__init__()
        self.redis_url = self.url.replace("http", "redis")
        self._documents = documents

    def serve(self, client: socket.socket) -> None:
        with client.makefile("rb") as lines:
            while count := lines.readline():
                words = [
                    lines.read(int(lines.readline()[1:]) + 2)[:-2] for _ in range(int(count[1:]))
                ]
                client.sendall(self._reply(words[0].upper(), words[1:]))

    def _reply(self, command: bytes, words: list[bytes]) -> bytes:
        document = self._documents.get(words[0].decode()) if words else None
        if command == b"HELLO":
            return b"%%1\r\n+proto\r\n:%b\r\n" % words[0]
        if command == b"PING":
            return b"+PONG\r\n"
        if command == b"TYPE":
            return b"+ReJSON-RL\r\n" if document else b"+none\r\n"
        if command == b"JSON.GET" and document:
            return b"$%d\r\n%b\r\n" % (len(document.encode()), document.encode())
        if command == b"GET" and document:
            return b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
        return b"$-1\r\n" if command.endswith(b"GET") else b"+OK\r\n"


type Script = Callable[[socket.socket], None]


class ScriptedServer(_Listener):
    """Answers the first request by the first step of its script, and so on; the last one stays.

    Args:
        script: what to do with the connection, once the request is read whole.
    """

    def __init__(self, *script: Script, read_requests: bool = True) -> None:
        super().__init__()
        self._script = script
        self._read_requests = read_requests
        self._lock = threading.Lock()
        self.times: list[float] = []

    @property
    def requests(self) -> int:
        """How many requests came."""
        return len(self.times)

    def serve(self, client: socket.socket) -> None:
        while not self._read_requests or _read_request(client):
            with self._lock:
                step = self._script[min(len(self.times), len(self._script) - 1)]
                self.times.append(time.monotonic())
            step(client)


def answer(
    status: int, body: str = "", *, content_type: str = "application/json", **headers: str
) -> Script:
    """A whole answer; underscores in the headers' names stand for hyphens."""
    lines = [
        f"HTTP/1.1 {status} Whatever",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body.encode())}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    text = "\r\n".join([*lines, "", body]).encode()
    return lambda client: client.sendall(text)


def silence(client: socket.socket) -> None:
    """Say nothing until the client goes."""
    while client.recv(_CHUNK):
        pass


def hang_up(client: socket.socket) -> None:
    """Close the connection instead of an answer."""
    client.shutdown(socket.SHUT_RDWR)


def trickle(head: bytes, then: bytes) -> Script:
    """Send the head, and then the same bytes again and again, slowly, for some seconds."""

    def step(client: socket.socket) -> None:
        client.sendall(head)
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            time.sleep(0.05)
            client.sendall(then)
        hang_up(client)

    return step


def slow_reader(client: socket.socket) -> None:
    """Take the request in sips, too slowly for it to end in time."""
    end = time.monotonic() + _PATIENCE
    while client.recv(16_384) and time.monotonic() < end:
        time.sleep(0.05)
    hang_up(client)


def _read_request(client: socket.socket) -> bool:
    """Read one request with its body; False if the client has gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (chunk := client.recv(_CHUNK)):
            return False
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    missing = (int(length[1]) if length else 0) - len(body)
    while missing > 0:
        if not (chunk := client.recv(_CHUNK)):
            return False
        missing -= len(chunk)
    return True


@contextmanager
def closed_port() -> Iterator[str]:
    """The URL of a port at which nobody listens, and which nobody else can take meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


# What our functions answer, as far as the storage looks at it.
STATE = '"episode" : 1, "off" : false, "now" : 0.0, "revision" : null'
NOTHING = answer(200, f'{{{STATE}, "rows" : null}}')
SAVED = answer(200, f'{{{STATE}, "outcomes" : ["saved"], "revisions" : [1]}}')
