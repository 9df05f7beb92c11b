"""The one place that talks to PostgREST: it calls a function, tries again, and maps errors."""

import json
import os
import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tenacity import Retrying, retry_if_exception_type

from .document import loads
from .errors import RefusedError, StorageError, UnavailableError
from .forks import held_off
from .options import Options
from .refusals import refusal, takes_no_changes
from .retries import Pace, PassingError
from .telemetry.calls import answered, postgrest_call, retried

if TYPE_CHECKING:
    import httpcore

type Arguments = Mapping[str, bytes]

# Statuses that a moment's wait can mend. 503 is also PostgREST while it has no database
# connection or no schema cache, 520 is Supabase's edge when the origin gave no answer.
_PASSING = frozenset({429, 502, 503, 504, 520})

# Postgres rolled the transaction back for the sake of another one (deadlock, serialization), which
# changes several rows of the same vCon. It is worth another attempt.
_ROLLED_BACK = frozenset({"40P01", "40001"})

# What vcon_storage_in_time_v1 raises. Whoever hears it was still waiting.
_TOO_LATE = "PT504"

# Of these, what a gateway, or PostgREST, says when there is nobody behind it. The others are busy,
# perhaps with the changes of others.
_AWAY_STATUSES = frozenset({502, 503, 520})

# Seconds that Supabase is taken to be away after a call that found no answer.
_AWAY = 5.0

# An answer without data is read this many bytes far to find out what is wrong.
_ERROR_BYTES = 20_000

# Connections kept open between calls: as many as threads that save at the same time, say.
_POOL = 32

# Larger arguments are sent in pieces, so that no copy of them is made on the way.
_PIECE = 1 << 20

# zlib's manual, inflateInit2: a gzip stream with the largest window.
_GZIP = 31


class Database:
    """Calls the functions of ``sql/`` through PostgREST.

    One instance serves all threads of a process. A forked child makes itself new connections and
    never touches those of its parent.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._where = options.rest_url or options.url or ""
        self._connections: dict[int, _Connection] = {}
        self._away_until = float("-inf")

    @property
    def seems_away(self) -> bool:
        """Whether a call found no answer a few seconds ago, and none was answered since."""
        return time.monotonic() < self._away_until

    @postgrest_call
    def call(
        self,
        function: str,
        arguments: Arguments,
        *,
        lines: Sequence[bytes] = (),
        until: float | None = None,
        once: bool = False,
        clock: Callable[[], float] | None = None,
    ) -> bytes:
        """Call a function that can be repeated without harm, until it answers or time is up.

        Args:
            function: its name.
            arguments: each as JSON text, by its name.
            lines: JSON texts without line ends that follow the object of the arguments, each on a
                line of its own, where the function takes one text.
            until: when time is up (time.monotonic()); default: `total_timeout` seconds from now.
            once: whether to leave it at one attempt.
            clock: the database's time (seconds since 1970), as far as known. With it, each attempt
                names the time at which it is given up, and the function does nothing after that: a
                request that was delayed must not undo what came after it.

        Returns:
            Its result as JSON text.

        Raises:
            UnavailableError: no answer in time.
            RefusedError: the server said no.
        """
        began = time.monotonic()
        deadline = began + self._options.total_timeout if until is None else until
        attempt = _Call(function, arguments, lines, deadline, clock)
        pace = Pace(began, deadline)
        retrying = Retrying(
            retry=retry_if_exception_type(PassingError),
            wait=pace.wait,
            stop=lambda state: once or pace.stop(state),
            before_sleep=retried,
            reraise=True,
        )
        try:
            answer: bytes = retrying(self._attempt, attempt)
        except PassingError as error:
            self._away_until = time.monotonic() + _AWAY
            attempts = retrying.statistics.get("attempt_number", 1)
            raise UnavailableError(
                f"{error} (tried {attempts} times in {time.monotonic() - began:.1f} s)",
                may_have_happened=attempt.may_have_happened,
                away=attempt.away,
            ) from error.__cause__
        self._away_until = float("-inf")
        return answer

    def ask(
        self,
        function: str,
        arguments: Arguments,
        *,
        lines: Sequence[bytes] = (),
        until: float | None = None,
        once: bool = False,
        clock: Callable[[], float] | None = None,
    ) -> dict[str, Any]:
        """Call a function that tells the cache's state, and parse its answer. As `call` else."""
        return self.parse(
            self.call(function, arguments, lines=lines, until=until, once=once, clock=clock)
        )

    def parse(self, answer: bytes) -> dict[str, Any]:
        """Parse an answer that tells the cache's state, as those of our functions do.

        Raises:
            RefusedError: it is none of theirs.
        """
        try:
            parsed = loads(answer)
        except ValueError:
            parsed = None
        if isinstance(parsed, dict) and "episode" in parsed:
            return parsed
        raise refusal({}, status=200, where=self._where, schema="", function="")

    def close(self) -> None:
        """Close this process' connections. A later call opens new ones."""
        if connection := self._connections.pop(os.getpid(), None):
            connection.pool.close()

    def forget(self) -> None:
        """Drop the parent's connections in a forked child, without a word to the server."""
        self._connections = {}

    def _attempt(self, call: "_Call") -> bytes:
        connection = self._connection()  # before imports: it holds off a fork from its own
        import httpcore  # noqa: PLC0415  costs more than the rest of the package

        from .deadline import deadline  # noqa: PLC0415

        left = call.deadline - time.monotonic()
        if left <= 0:  # this process was stopped, or waited for something else until now
            raise PassingError(f"no time is left to ask Supabase at {self._where}")
        wait = min(self._options.read_timeout, left)
        timeout = dict.fromkeys(("read", "write", "pool"), wait)
        timeout["connect"] = min(self._options.connect_timeout, left)
        # Not client.rpc(): that would encode the arguments and parse the answer itself, which
        # costs numbers their digits, and it has no timeout per call. And not httpx: what that does
        # on top (cookies, redirects, authentication) takes longer than all the rest.
        request = call.request(connection, wait)
        request.extensions = {"timeout": timeout}
        token = deadline.set(time.monotonic() + wait)
        try:
            response = connection.pool.handle_request(request)
            try:
                body = _read(response)
            finally:
                response.close()
        except (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.PoolTimeout) as error:
            raise self._transport_error(error) from error
        except (
            httpcore.TimeoutException,
            httpcore.NetworkError,
            httpcore.ProtocolError,
            httpcore.UnsupportedProtocol,
        ) as error:
            call.may_have_happened = True
            call.away = False
            raise self._transport_error(error) from error
        finally:
            deadline.reset(token)
        answered(response.status, sent=call.size, received=len(body))
        headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
        if headers.get(b"content-encoding") == "gzip":
            body = zlib.decompressobj(_GZIP).decompress(body)
        kind = headers.get(b"content-type", "")
        if 200 <= response.status < 300 and kind.startswith("application/json") and body:
            return body
        said = _said(body)
        code = said.get("code")
        if response.status in _PASSING or code in _ROLLED_BACK:
            call.may_have_happened |= response.status != 429
            call.away &= response.status in _AWAY_STATUSES
            if code == _TOO_LATE:
                call.distrust_clock()
            raise PassingError(
                f"Supabase at {self._where} is busy or away: HTTP {response.status}"
                + (f", {code}" if code else ""),
                retry_after=_seconds(headers.get(b"retry-after")),
            )
        if takes_no_changes(said):  # after a failover it does again
            call.away = False
            raise PassingError(
                f"the database of Supabase at {self._where} takes no changes: it is a standby, or "
                "was made read-only"
            )
        raise refusal(
            said,
            status=response.status,
            where=self._where,
            schema=self._options.schema_,
            function=call.function,
            location=headers.get(b"location"),
        )

    def _connection(self) -> "_Connection":
        """Return this process'; dict.setdefault makes threads that race agree on one."""
        pid = os.getpid()
        if (connection := self._connections.get(pid)) is None:
            with held_off():
                connection = self._connections.setdefault(pid, self._connect())
        return connection

    def _connect(self) -> "_Connection":
        # Imported here: it takes most of a second, and a process that only loads a config, or is
        # about to fork, should not pay for it.
        import httpx  # noqa: PLC0415
        from supabase import ClientOptions, create_client  # noqa: PLC0415
        from yarl import URL  # noqa: PLC0415

        from .deadline import pool  # noqa: PLC0415

        client = create_client(
            self._options.url or self._options.rest_url or "",
            self._options.key.get_secret_value(),
            ClientOptions(
                schema=self._options.schema_,
                httpx_client=httpx.Client(),
                auto_refresh_token=False,
                persist_session=False,
            ),
        )
        if self._options.rest_url:
            client.rest_url = URL(self._options.rest_url)
        rest = client.postgrest
        url = rest.base_url
        headers = {"Host": url.authority, "Accept": "application/json", "Accept-Encoding": "gzip"}
        headers |= rest.headers
        packed = [
            (name.encode(), value.encode())
            for name, value in headers.items()
            if name.lower() != "content-type"
        ]
        return _Connection(pool(_POOL), str(url).rstrip("/"), packed, {})

    def _transport_error(self, error: Exception) -> StorageError:
        import httpcore  # noqa: PLC0415

        if isinstance(error, httpcore.TimeoutException):
            what = "can't be reached" if isinstance(error, httpcore.ConnectTimeout) else "is silent"
            return PassingError(f"Supabase at {self._where} {what}: {type(error).__name__}")
        if isinstance(error, (httpcore.UnsupportedProtocol, httpcore.LocalProtocolError)):
            return RefusedError(
                f"the request to {self._where} can't be sent: {type(error).__name__}", status=0
            )
        return PassingError(
            f"Supabase at {self._where} can't be reached: {error or type(error).__name__}; "
            "check the option url (or rest_url) and that the project is not paused"
        )


class _Connection(NamedTuple):
    """What requests of a process need, as the supabase client made it.

    Attributes:
        pool: keeps connections open, and holds requests to their deadline.
        url: PostgREST's.
        headers: of every request, but for those of its body.
        urls: those of functions with arguments of certain names.
    """

    pool: "httpcore.ConnectionPool"
    url: str
    headers: list[tuple[bytes, bytes]]
    urls: dict[tuple[str, ...], "httpcore.URL"]

    def url_of(self, function: str, arguments: Arguments) -> "httpcore.URL":
        """Return where a function is called with these arguments."""
        import httpcore  # noqa: PLC0415

        key = (function, *arguments)
        if key not in self.urls:
            # With its columns named, PostgREST passes a body on to Postgres without parsing it.
            columns = f"?columns={','.join(arguments)}" if arguments else ""
            self.urls[key] = httpcore.URL(f"{self.url}/rpc/{function}{columns}")
        return self.urls[key]


class _Call:
    """One call with all its attempts, and what is known of them if none is answered."""

    def __init__(
        self,
        function: str,
        arguments: Arguments,
        lines: Sequence[bytes],
        deadline: float,
        clock: Callable[[], float] | None,
    ) -> None:
        self.function = function
        self.deadline = deadline
        self.may_have_happened = False
        self.away = True
        self.size = 0
        self._arguments = arguments
        self._lines = lines
        self._clock = clock

    def distrust_clock(self) -> None:
        """Name no deadline any more: what we know of the database's clock is wrong."""
        self._clock = None

    def request(self, connection: _Connection, wait: float) -> "httpcore.Request":
        """Return the request for an attempt that is given up after so many seconds."""
        import httpcore  # noqa: PLC0415

        now = self._clock() if self._clock else None
        arguments = dict(self._arguments)
        if now is not None:
            arguments["p_deadline"] = b"%.3f" % (now + wait)
        pieces: list[bytes] = []
        for name, value in arguments.items():
            pieces += [b'%b"%b":' % (b"," if pieces else b"{", name.encode()), value]
        pieces += [b"}" if pieces else b"{}"]
        for line in self._lines:
            pieces += [b"\n", line]
        self.size = size = sum(map(len, pieces))
        kind = b"text/plain" if self._lines else b"application/json"
        return httpcore.Request(
            "POST",
            connection.url_of(self.function, {} if self._lines else arguments),
            headers=[
                *connection.headers,
                (b"Content-Type", kind),
                (b"Content-Length", b"%d" % size),
            ],
            content=b"".join(pieces) if size <= _PIECE else _cut(pieces),
        )


def _cut(pieces: list[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        for start in range(0, len(piece), _PIECE):
            yield piece[start : start + _PIECE]


def _read(response: "httpcore.Response") -> bytes:
    """Read the body; of an error only as much as an error of PostgREST has."""
    chunks = []
    size = 0
    for chunk in response.iter_stream():
        chunks.append(chunk)
        size += len(chunk)
        if response.status >= 300 and size > _ERROR_BYTES:
            break
    return b"".join(chunks)


def _said(body: bytes) -> dict[str, str | None]:
    """Return PostgREST's error object, or an empty one where the body is something else."""
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    if not isinstance(said, dict):
        return {}
    return {name: value for name, value in said.items() if isinstance(value, str)}


def _seconds(retry_after: str | None) -> float:
    """Read a Retry-After in seconds; its other form, a date, is not worth the trouble."""
    return float(retry_after) if re.fullmatch(r"\d{1,4}", retry_after or "") else 0.0  # type: ignore[arg-type]
