"""What stands before PostgREST on Supabase: the check of the API key, and the path /rest/v1.

Run by path with ``python -I -S``, standard library only::

    GATEWAY_JWT_SECRET=... gateway.py PORT POSTGREST_PORT
"""

import base64
import binascii
import hashlib
import hmac
import http.client
import json
import os
import select
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

SECRET_VARIABLE = "GATEWAY_JWT_SECRET"  # noqa: S105 - a name, not the secret

_HOST = "127.0.0.1"
_PREFIX = "/rest/v1"
_CHUNK = 65536
_UPSTREAM_SECONDS = 120.0
# What belongs to one connection and not to the message (RFC 9110, section 7.6.1).
_HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
# And what is written anew for the other side.
_NOT_PASSED_ON = _HOP_BY_HOP | {"content-length", "expect", "host"}
_NO_KEY = {
    "message": "No API key found in request",
    "hint": "No `apikey` request header or url param was found.",
}
_WRONG_KEY = {
    "message": "Invalid API key",
    "hint": "Double check your Supabase `anon` or `service_role` API key.",
}
_NO_ROUTE = {"message": "no Route matched with those values"}
_NO_UPSTREAM = {"message": "An invalid response was received from the upstream server"}


def is_signed(key: str, secret: bytes) -> bool:
    """Whether a key is a JWT with a valid HS256 signature. Expiry is PostgREST's business."""
    signed, _, signature = key.rpartition(".")
    try:
        header = json.loads(_decode(signed.partition(".")[0]))
        given = _decode(signature)
    except (binascii.Error, ValueError):
        return False
    expected = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    algorithm = header.get("alg") if isinstance(header, dict) else None
    return algorithm == "HS256" and hmac.compare_digest(given, expected)


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


class Gateway(BaseHTTPRequestHandler):
    """One connection of a client, and one to PostgREST that is kept as long."""

    protocol_version = "HTTP/1.1"
    # Answers leave in few large writes, and none of them waits for an acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True
    secret = b""
    upstream_port = 0

    def setup(self) -> None:
        """Prepare the connection to PostgREST; it opens with the first request."""
        super().setup()
        self._upstream = http.client.HTTPConnection(
            _HOST, self.upstream_port, timeout=_UPSTREAM_SECONDS
        )

    def finish(self) -> None:
        """Close both ends."""
        self._upstream.close()
        super().finish()

    def log_message(self, *_: object) -> None:
        """Keep quiet: PostgREST logs what matters."""

    def proxy(self) -> None:
        """Answer one request."""
        body = self._read_body()  # in any case, or its bytes would be read as the next request
        target = urlsplit(self.path)
        parameters = parse_qsl(target.query, keep_blank_values=True)
        key = self.headers.get("apikey") or dict(parameters).get("apikey")
        if target.path != _PREFIX and not target.path.startswith(f"{_PREFIX}/"):
            self._answer(HTTPStatus.NOT_FOUND, _NO_ROUTE)
        elif not key:
            self._answer(HTTPStatus.UNAUTHORIZED, _NO_KEY)
        elif not is_signed(key, self.secret):
            self._answer(HTTPStatus.UNAUTHORIZED, _WRONG_KEY)
        else:
            self._forward(target.path.removeprefix(_PREFIX) or "/", target.query, key, body)

    # The base class looks for these names.
    do_GET = do_HEAD = do_OPTIONS = proxy  # noqa: N815
    do_POST = do_PATCH = do_PUT = do_DELETE = proxy  # noqa: N815

    def _forward(self, path: str, query: str, key: str, body: bytes | None) -> None:
        # PostgREST would take the parameter for a filter on a column.
        kept = "&".join(part for part in query.split("&") if not part.startswith("apikey="))
        self._drop_stale_upstream()
        try:
            self._upstream.putrequest(
                self.command,
                f"{path}?{kept}" if kept else path,
                skip_host=True,
                skip_accept_encoding=True,
            )
            self._upstream.putheader("Host", self.headers.get("Host", _HOST))
            for name, value in self.headers.items():
                if name.lower() not in _NOT_PASSED_ON:
                    self._upstream.putheader(name, value)
            if "Authorization" not in self.headers:
                self._upstream.putheader("Authorization", f"Bearer {key}")
            if body is not None:
                self._upstream.putheader("Content-Length", str(len(body)))
            self._upstream.endheaders(body)
            response = self._upstream.getresponse()
        except (OSError, http.client.HTTPException):
            self._upstream.close()
            self._answer(HTTPStatus.BAD_GATEWAY, _NO_UPSTREAM)
            return
        self._relay(response)

    def _drop_stale_upstream(self) -> None:
        """Close a kept connection that PostgREST has closed; the next use opens a new one."""
        connected = self._upstream.sock
        if connected is not None and select.select([connected], [], [], 0)[0]:
            self._upstream.close()

    def _relay(self, response: http.client.HTTPResponse) -> None:
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in _NOT_PASSED_ON:
                self.send_header(name, value)
        length = response.getheader("Content-Length")
        bodiless = self.command == "HEAD" or response.status in (204, 304)
        chunked = length is None and not bodiless
        if length is not None:
            self.send_header("Content-Length", length)
        elif chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while part := response.read(_CHUNK):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
        except (OSError, http.client.HTTPException):
            # Half an answer is out: only a broken connection can tell the client so.
            self._upstream.close()
            self.close_connection = True
            return
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _read_body(self) -> bytes | None:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            parts = []
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass  # trailers
            return b"".join(parts)
        length = self.headers.get("Content-Length")
        return None if length is None else self.rfile.read(int(length))

    def _answer(self, status: HTTPStatus, content: dict[str, str]) -> None:
        body = json.dumps(content).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    """Serve until killed."""
    port, Gateway.upstream_port = map(int, sys.argv[1:])
    Gateway.secret = os.environ[SECRET_VARIABLE].encode()
    _Server((_HOST, port), Gateway).serve_forever()


if __name__ == "__main__":
    main()
