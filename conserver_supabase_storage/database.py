"""The one place that talks to PostgREST: it calls a function, tries again, and maps errors."""

import json
import logging
import os
import re
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from tenacity import Retrying, retry_if_exception_type

from .errors import RefusedError, StorageError, UnavailableError
from .options import Options
from .refusals import refusal
from .retries import Pace, PassingError

if TYPE_CHECKING:
    import httpx
    from supabase import Client

# Statuses that a moment's wait can mend. 503 is also PostgREST while it has no database
# connection or no schema cache, 520 is Supabase's edge when the origin gave no answer.
_PASSING = frozenset({429, 502, 503, 504, 520})

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


class Database:
    """Calls the functions of ``sql/`` through PostgREST.

    One instance serves all threads of a process. A forked child makes itself new connections and
    never touches those of its parent.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._where = options.rest_url or options.url or ""
        self._clients: dict[int, Client] = {}
        self._away_until = float("-inf")

    @property
    def seems_away(self) -> bool:
        """Whether a call found no answer a few seconds ago, and none was answered since."""
        return time.monotonic() < self._away_until

    def call(
        self,
        function: str,
        arguments: str,
        *,
        until: float | None = None,
        once: bool = False,
        clock: Callable[[], float] | None = None,
    ) -> bytes:
        """Call a function that can be repeated without harm, until it answers or time is up.

        Args:
            function: its name.
            arguments: a JSON object, by name.
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
        attempt = _Call(function, arguments.encode(), deadline, clock)
        pace = Pace(began, deadline)
        retrying = Retrying(
            retry=retry_if_exception_type(PassingError),
            wait=pace.wait,
            stop=lambda state: once or pace.stop(state),
            reraise=True,
        )
        token = _ours.set(True)
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
        finally:
            _ours.reset(token)
        self._away_until = float("-inf")
        return answer

    def ask(
        self,
        function: str,
        arguments: str,
        *,
        until: float | None = None,
        once: bool = False,
        clock: Callable[[], float] | None = None,
    ) -> dict[str, Any]:
        """Call a function that tells the cache's state, and parse its answer. As `call` else."""
        return self.parse(self.call(function, arguments, until=until, once=once, clock=clock))

    def parse(self, answer: bytes) -> dict[str, Any]:
        """Parse an answer that tells the cache's state, as those of our functions do.

        Raises:
            RefusedError: it is none of theirs.
        """
        try:
            parsed = json.loads(answer)
        except ValueError:
            parsed = None
        if isinstance(parsed, dict) and "episode" in parsed:
            return parsed
        raise refusal({}, status=200, where=self._where, schema="", function="")

    def close(self) -> None:
        """Close this process' connections. A later call opens new ones."""
        if client := self._clients.pop(os.getpid(), None):
            client.postgrest.session.close()

    def forget(self) -> None:
        """Drop the parent's connections in a forked child, without a word to the server."""
        self._clients = {}

    def _attempt(self, call: "_Call") -> bytes:
        import httpx  # noqa: PLC0415  costs more than the rest of the package

        from .deadline import deadline  # noqa: PLC0415

        client = self._client()
        left = call.deadline - time.monotonic()
        if left <= 0:  # this process was stopped, or waited for something else until now
            raise PassingError(f"no time is left to ask Supabase at {self._where}")
        wait = min(self._options.read_timeout, left)
        timeout = httpx.Timeout(wait, connect=min(self._options.connect_timeout, left))
        # Not client.rpc(): that would encode the arguments and parse the answer itself, which
        # costs numbers their digits, and it has no timeout per call.
        rest = client.postgrest
        token = deadline.set(time.monotonic() + wait)
        try:
            with rest.session.stream(
                "POST",
                str(rest.base_url.joinpath("rpc", call.function)),
                content=call.content(wait),
                headers={**rest.headers, "Content-Type": "application/json"},
                timeout=timeout,
            ) as response:
                body = _read(response)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise self._transport_error(error) from error
        except httpx.TransportError as error:
            call.may_have_happened = True
            call.away = False
            raise self._transport_error(error) from error
        finally:
            deadline.reset(token)
        kind = response.headers.get("content-type", "")
        if response.is_success and kind.startswith("application/json") and body:
            return body
        said = _said(body)
        if response.status_code in _PASSING:
            code = said.get("code")
            call.may_have_happened |= response.status_code != 429
            call.away &= response.status_code in _AWAY_STATUSES
            if code == _TOO_LATE:
                call.distrust_clock()
            raise PassingError(
                f"Supabase at {self._where} is busy or away: HTTP {response.status_code}"
                + (f", {code}" if code else ""),
                retry_after=_seconds(response.headers.get("retry-after")),
            )
        raise refusal(
            said,
            status=response.status_code,
            where=self._where,
            schema=self._options.schema_,
            function=call.function,
            location=response.headers.get("location"),
        )

    def _client(self) -> "Client":
        """Return this process' client; dict.setdefault makes threads that race agree on one."""
        pid = os.getpid()
        if (client := self._clients.get(pid)) is None:
            client = self._clients.setdefault(pid, self._connect())
        return client

    def _connect(self) -> "Client":
        # Imported here: it takes most of a second, and a process that only loads a config, or is
        # about to fork, should not pay for it.
        import httpx  # noqa: PLC0415
        from supabase import ClientOptions, create_client  # noqa: PLC0415
        from yarl import URL  # noqa: PLC0415

        from .deadline import transport  # noqa: PLC0415

        key = self._options.key.get_secret_value()
        logging.getLogger("httpx").addFilter(_quiet)  # once, however often it is added
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=_POOL)
        http = httpx.Client(
            transport=transport(limits=limits),
            headers={"Accept-Encoding": "gzip, deflate"},
        )
        client = create_client(
            self._options.url or self._options.rest_url or "",
            key,
            ClientOptions(
                schema=self._options.schema_,
                httpx_client=http,
                auto_refresh_token=False,
                persist_session=False,
            ),
        )
        if self._options.rest_url:
            client.rest_url = URL(self._options.rest_url)
        return client

    def _transport_error(self, error: "httpx.TransportError") -> StorageError:
        import httpx  # noqa: PLC0415

        if isinstance(error, httpx.TimeoutException):
            what = "can't be reached" if isinstance(error, httpx.ConnectTimeout) else "is silent"
            return PassingError(f"Supabase at {self._where} {what}: {type(error).__name__}")
        if isinstance(error, (httpx.UnsupportedProtocol, httpx.LocalProtocolError)):
            return RefusedError(
                f"the request to {self._where} can't be sent: {type(error).__name__}", status=0
            )
        return PassingError(
            f"Supabase at {self._where} can't be reached: {error or type(error).__name__}; "
            "check the option url (or rest_url) and that the project is not paused"
        )


# httpx logs a line per request at INFO. Those of our requests are for debugging.
_ours: ContextVar[bool] = ContextVar("ours", default=False)


def _quiet(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or not _ours.get()


class _Call:
    """One call with all its attempts, and what is known of them if none is answered."""

    def __init__(
        self,
        function: str,
        arguments: bytes,
        deadline: float,
        clock: Callable[[], float] | None,
    ) -> None:
        self.function = function
        self.deadline = deadline
        self.may_have_happened = False
        self.away = True
        self._arguments = arguments
        self._clock = clock

    def distrust_clock(self) -> None:
        """Name no deadline any more: what we know of the database's clock is wrong."""
        self._clock = None

    def content(self, wait: float) -> bytes:
        """Return the arguments for an attempt that is given up after so many seconds."""
        now = self._clock() if self._clock else None
        if now is None:
            return self._arguments
        return b'{"p_deadline":%.3f,%b' % (now + wait, self._arguments[1:])


def _read(response: "httpx.Response") -> bytes:
    """Read the body; of an error only as much as an error of PostgREST has."""
    chunks = []
    size = 0
    for chunk in response.iter_bytes():
        chunks.append(chunk)
        size += len(chunk)
        if not response.is_success and size > _ERROR_BYTES:
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
