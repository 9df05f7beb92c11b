"""How we connect to a Redis: with short timeouts, and safe in threads and over fork."""

from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING

from pydantic import SecretStr

from .errors import ConfigurationError
from .forks import held_off
from .urls import mask_url

if TYPE_CHECKING:
    from redis import Redis
    from redis.commands.core import Script

# A script's keys and arguments.
type Call = tuple[Sequence[str], Sequence[str | bytes | int]]


def connect(url: str, timeout: float) -> "Redis":
    """Make a client for a URL. Opens no connection yet.

    Args:
        url: redis://, rediss:// or unix://.
        timeout: seconds to connect, and to wait for each reply.

    Raises:
        ValueError: the URL can't be used; the text has no password.
    """
    with held_off():
        from redis import Redis  # noqa: PLC0415  a quarter of a second, not needed without a Redis
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.exceptions import ConnectionError as RedisConnectionError  # noqa: PLC0415
        from redis.retry import Retry  # noqa: PLC0415

        from .redis_pool import Pool  # noqa: PLC0415

    try:
        pool = Pool.from_url(
            url,
            # Once more, at once: a pooled connection may have died with a restart of Redis. Never
            # after a timeout: that would cost a second one.
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
            retry_on_timeout=False,
            health_check_interval=30,
        )
        # The URL's query would win over arguments; these are ours to say.
        pool.connection_kwargs |= {"decode_responses": False, "socket_timeout": timeout}
        if not url.startswith("unix:"):
            pool.connection_kwargs |= {"socket_connect_timeout": timeout, "socket_keepalive": True}
        pool.connection_class(**pool.connection_kwargs)  # connects nothing; refuses wrong settings
    except (ValueError, TypeError):
        msg = f"{mask_url(url)} is no URL that the Redis client takes"
        raise ValueError(msg) from None
    redis = Redis(connection_pool=pool)
    redis.auto_close_connection_pool = True
    return redis


def client(name: str, url: SecretStr | None, timeout: float) -> "Redis | None":
    """Make the client for an option; None where it is not given. Otherwise as `connect`.

    Raises:
        ConfigurationError: the URL can't be used.
    """
    if url is None:
        return None
    try:
        return connect(url.get_secret_value(), timeout)
    except ValueError as error:
        raise ConfigurationError(f"{name}: {error}") from None


def script(redis: "Redis", name: str) -> "Script":
    """Return one of the scripts of ``lua/``, ready to be called."""
    source = resources.files(__package__).joinpath(f"lua/{name}.lua").read_text("utf-8")
    return redis.register_script(source)


def run_each(redis: "Redis", script: "Script", calls: Sequence[Call]) -> None:
    """Run a script several times, in one request.

    Raises:
        RedisError: of the first that failed; others may have run.
    """
    from redis.exceptions import NoScriptError, RedisError  # noqa: PLC0415

    if len(calls) == 1:
        script(*calls[0])
        return
    with redis.pipeline(transaction=False) as pipeline:
        for keys, arguments in calls:
            pipeline.evalsha(script.sha, len(keys), *keys, *arguments)
        answers = pipeline.execute(raise_on_error=False)
    for call, answer in zip(calls, answers, strict=True):
        if isinstance(answer, NoScriptError):  # Redis is new; this makes the script known
            script(*call)
        elif isinstance(answer, RedisError):
            raise answer


def text_of(reply: object) -> str:
    """Return a reply that is text, whether the client decodes replies or not."""
    return reply.decode() if isinstance(reply, bytes) else str(reply)
