"""The one place that talks to PostgREST: it calls a function, tries again, and maps errors."""

import json
import os
import re
import time
import weakref
from typing import TYPE_CHECKING

from tenacity import RetryCallState, Retrying, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from .errors import RefusedError, StorageError, UnavailableError
from .options import Options
from .refusals import refusal

if TYPE_CHECKING:
    import httpx
    from supabase import Client

# Statuses that a moment's wait can mend. 503 is also PostgREST while it has no database
# connection or no schema cache, 520 is Supabase's edge when the origin gave no answer.
_PASSING = frozenset({429, 502, 503, 504, 520})

# An answer without data is read this many bytes far to find out what is wrong.
_ERROR_BYTES = 20_000

# Connections kept open between calls: as many as threads that save at the same time, say.
_POOL = 32


class Database:
    """Calls the functions of ``sql/`` through PostgREST.

    One instance serves all threads of a process. In a forked child it makes itself new
    connections and never touches those of its parent.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._where = options.rest_url or options.url or ""
        self._clients: dict[int, Client] = {}
        _databases.add(self)

    def call(self, function: str, arguments: str) -> bytes:
        """Call a function that can be repeated without harm, until it answers or time is up.

        Args:
            function: its name.
            arguments: a JSON object, by name.

        Returns:
            Its result as JSON text.

        Raises:
            UnavailableError: no answer within `total_timeout` seconds.
            RefusedError: the server said no.
        """
        deadline = time.monotonic() + self._options.total_timeout
        content = arguments.encode()
        retrying = Retrying(
            retry=retry_if_exception_type(_PassingError),
            wait=_Wait(deadline),
            stop=lambda _: time.monotonic() >= deadline - 0.01,
            reraise=True,
        )
        try:
            return retrying(self._attempt, function, content, deadline)
        except _PassingError as error:
            attempts = retrying.statistics.get("attempt_number", 1)
            raise UnavailableError(
                f"{error} (tried {attempts} times in {self._options.total_timeout:g} s)"
            ) from error.__cause__

    def close(self) -> None:
        """Close this process' connections. A later call opens new ones."""
        if client := self._clients.pop(os.getpid(), None):
            client.postgrest.session.close()

    def _attempt(self, function: str, content: bytes, deadline: float) -> bytes:
        import httpx  # noqa: PLC0415  costs more than the rest of the package

        client = self._client()
        left = max(deadline - time.monotonic(), 0.01)
        wait = min(self._options.read_timeout, left)
        timeout = httpx.Timeout(wait, connect=min(self._options.connect_timeout, left))
        # Not client.rpc(): that would encode the arguments and parse the answer itself, which
        # costs numbers their digits, and it has no timeout per call.
        rest = client.postgrest
        try:
            with rest.session.stream(
                "POST",
                str(rest.base_url.joinpath("rpc", function)),
                content=content,
                headers={**rest.headers, "Content-Type": "application/json"},
                timeout=timeout,
            ) as response:
                body = _read(response, deadline)
        except httpx.TransportError as error:
            raise self._transport_error(error) from error
        if response.is_success:
            return body
        said = _said(body)
        if response.status_code in _PASSING:
            code = said.get("code")
            raise _PassingError(
                f"Supabase at {self._where} is busy or away: HTTP {response.status_code}"
                + (f", {code}" if code else ""),
                retry_after=_seconds(response.headers.get("retry-after")),
            )
        raise refusal(
            said,
            status=response.status_code,
            where=self._where,
            schema=self._options.schema_,
            function=function,
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

        key = self._options.key.get_secret_value()
        http = httpx.Client(
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=_POOL),
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
            return _PassingError(f"Supabase at {self._where} {what}: {type(error).__name__}")
        if isinstance(error, (httpx.UnsupportedProtocol, httpx.LocalProtocolError)):
            return RefusedError(
                f"the request to {self._where} can't be sent: {type(error).__name__}", status=0
            )
        return _PassingError(
            f"Supabase at {self._where} can't be reached: {error or type(error).__name__}; "
            "check the option url (or rest_url) and that the project is not paused"
        )


_databases: "weakref.WeakSet[Database]" = weakref.WeakSet()


def _forget_after_fork() -> None:
    """Drop the parent's connections in a forked child, without a word to the server on them."""
    for database in _databases:
        database._clients.clear()


os.register_at_fork(after_in_child=_forget_after_fork)


class _PassingError(UnavailableError):
    """An attempt failed for a reason that can pass."""

    def __init__(self, text: str, *, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class _Wait:
    """Waits with jitter, longer each time, at least as long as the server asked, never too long."""

    _jitter = wait_random_exponential(multiplier=0.1, max=2.0)

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline

    def __call__(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        wanted = max(self._jitter(state), getattr(error, "retry_after", 0.0))
        return max(0.0, min(wanted, self._deadline - time.monotonic()))


def _read(response: "httpx.Response", deadline: float) -> bytes:
    """Read the body, but not past the deadline: a read timeout alone lets it trickle for ever."""
    import httpx  # noqa: PLC0415

    chunks = []
    size = 0
    for chunk in response.iter_bytes():
        chunks.append(chunk)
        size += len(chunk)
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("the answer takes too long", request=response.request)
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
