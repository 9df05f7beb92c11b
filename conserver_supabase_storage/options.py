"""The options: where they come from, what they may be, and how secrets are kept out of sight."""

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from .errors import ConfigurationError
from .problems import problems
from .urls import database_of, mask_url, split

# ${NAME} or ${NAME:-default}, as in a shell.
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")

_HOST = re.compile(r"[^\s/\\@]+")

# Where an option that is not given comes from; the first variable that is set and not empty.
_ENVIRONMENT = {
    "url": ("SUPABASE_URL",),
    "rest_url": ("SUPABASE_REST_URL",),
    "key": ("SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_ANON_KEY"),
    "redis_url": ("REDIS_URL",),
    "cache_ttl": ("VCON_REDIS_EXPIRY",),
}

# Other names for `key`, the stronger first.
_KEY_NAMES = ("key", "service_role_key", "anon_key")

CONSERVER_PREFIX = "vcon:"
_DEFAULT_PREFIX = "supabase-storage:"


def _no_bool(value: object) -> object:
    """Refuse true and false where a number is wanted: YAML's `yes` is easily written by mistake."""
    if isinstance(value, bool):
        msg = "must be a number, not true or false"
        raise ValueError(msg)  # noqa: TRY004  pydantic turns ValueError into a named error
    return value


# docs/configuration.md shows the unit.
_SECONDS: dict[str, JsonValue] = {"unit": "seconds"}

type Bytes = Annotated[
    int, BeforeValidator(_no_bool), Field(ge=0, le=2**40, json_schema_extra={"unit": "bytes"})
]
type Vcons = Annotated[
    int, BeforeValidator(_no_bool), Field(ge=0, le=2**40, json_schema_extra={"unit": "vCons"})
]
type Seconds = Annotated[
    float,
    BeforeValidator(_no_bool),
    Field(gt=0, le=600, allow_inf_nan=False, json_schema_extra=_SECONDS),
]


class Options(BaseModel):
    """What a storage needs to know, checked. Build it with `Options.parse`.

    Attributes:
        url: the Supabase project's URL, as its dashboard shows it (without ``/rest/v1``).
        rest_url: PostgREST's own URL, for PostgREST without Supabase's gateway; wins over `url`.
        key: the API key: a ``service_role`` JWT or an ``sb_secret_...`` key.
        schema_: option ``schema``: the Postgres schema that holds the tables and functions.
        redis_url: the cache's Redis (redis://, rediss:// or unix://); None for no cache.
        cache_ttl: seconds that a cached vCon is kept.
        cache_prefix: what cache keys begin with.
        connect_timeout: seconds to open a connection to Supabase.
        read_timeout: seconds to wait for Supabase's answer to one request.
        total_timeout: seconds that one operation may take in all, retries included.
        redis_timeout: seconds to wait for Redis, to connect and for each command.
        cache_max_bytes: vCons whose rows are larger, in bytes, are not cached.
        cache_compress_bytes: entries above so many bytes are compressed; 0 for never.
        stale_if_error: seconds after Supabase's last answer in which cached vCons are still
            returned while it can't be reached (as in RFC 5861); 0 for none.
        memory_bytes: bytes of cached vCons that are kept in the process as well; 0 for none.
        tenant: whose vCons these are: rows and keys are kept apart from other tenants'.
        spool_url: the Redis for saves that can't be made yet; None for `redis_url`.
        spool_max_count: the most vCons that the spool holds; 0 for no spool.
        spool_max_bytes: the most bytes that the spool holds.
        spool_raises: whether a save that was spooled raises UnavailableError all the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str | None = None
    rest_url: str | None = None
    key: SecretStr = SecretStr("")
    schema_: str = Field("public", alias="schema", pattern=r"^[A-Za-z_][A-Za-z0-9_$]*$")
    redis_url: SecretStr | None = None
    cache_ttl: Annotated[
        int, BeforeValidator(_no_bool), Field(ge=1, le=31_536_000, json_schema_extra=_SECONDS)
    ] = 3600
    cache_prefix: str = Field(_DEFAULT_PREFIX, min_length=1, max_length=200)
    connect_timeout: Seconds = 2.0
    read_timeout: Seconds = 8.0
    total_timeout: Seconds = 10.0
    redis_timeout: Seconds = 0.25
    cache_max_bytes: Bytes = 5_000_000
    cache_compress_bytes: Bytes = 0
    stale_if_error: Annotated[
        float,
        BeforeValidator(_no_bool),
        Field(ge=0, le=31_536_000, allow_inf_nan=False, json_schema_extra=_SECONDS),
    ] = 300.0
    memory_bytes: Bytes = 0
    tenant: str | None = Field(None, pattern=r"^[A-Za-z0-9_.-]{1,100}$")
    spool_url: SecretStr | None = None
    spool_max_count: Vcons = 10_000
    spool_max_bytes: Bytes = 256_000_000
    spool_raises: bool = False

    @classmethod
    def parse(cls, options: "Mapping[str, Any] | Options | None" = None) -> "Options":
        """Check options as they stand in a config, and fill what is missing from the environment.

        Args:
            options: a mapping as in ``config.yml`` (``${VAR}`` and ``${VAR:-default}`` in strings
                are substituted), None for none, or Options (returned as they are).

        Returns:
            The checked options.

        Raises:
            ConfigurationError: an option is unknown, of a wrong type or impossible, or a needed
                one is missing. All that is wrong is named at once.
        """
        if isinstance(options, Options):
            return options
        if options is not None and not isinstance(options, Mapping):
            raise ConfigurationError(
                f"options: must be a mapping of names to values, not {type(options).__name__}"
            )
        given: dict[str, Any] = {}
        wrong: list[str] = []
        for name, value in (options or {}).items():
            try:
                given[name] = _substitute(value)
            except _UnsetError as unset:
                wrong.append(f"{name}: {unset}")
        broken = {problem.partition(":")[0] for problem in wrong}
        if keys := [given.pop(name) for name in _KEY_NAMES if name in given]:
            # The strongest that says something: `key: ${A:-}` beside `anon_key: ...` is fine.
            given["key"] = next((key for key in keys if not _is_missing(key)), keys[0])
        _fill_from_environment(given, broken)
        if not given.get("url") and not given.get("rest_url") and not broken & {"url", "rest_url"}:
            wrong.append(
                "url: is missing; give the Supabase project's URL or set SUPABASE_URL "
                "(or rest_url for PostgREST without Supabase's gateway)"
            )
        if _is_missing(given.get("key")) and not broken & set(_KEY_NAMES):
            wrong.append(
                "key: is missing; give the service_role key or set SUPABASE_SERVICE_ROLE_KEY"
            )
        found = None
        try:
            found = cls.model_validate(given)
        except ValidationError as error:
            wrong += _explain(error)
        # Outside of the except: pydantic's own text, as a context, repeats values, keys among them.
        if found is None or wrong:
            raise ConfigurationError(*wrong)
        return found

    @field_validator("url", "rest_url")
    @classmethod
    def _http_url(cls, value: str | None) -> str | None:
        if not value:
            return None
        parts = split(value)
        if parts.scheme not in {"http", "https"} or not _HOST.fullmatch(parts.hostname or ""):
            msg = "must be an http:// or https:// URL with a host"
            raise ValueError(msg)
        if parts.query or parts.fragment:
            msg = "must not have a query or a fragment"
            raise ValueError(msg)
        if parts.username or parts.password:
            msg = "must not hold a user or password; the key is an option of its own"
            raise ValueError(msg)
        return value.rstrip("/")

    @field_validator("url")
    @classmethod
    def _project_url(cls, value: str | None) -> str | None:
        if value and "/rest/v1" in value:
            msg = "must be the project's URL without /rest/v1 (or give it as rest_url)"
            raise ValueError(msg)
        return value

    @field_validator("key")
    @classmethod
    def _header_safe(cls, value: SecretStr) -> SecretStr:
        secret = value.get_secret_value().strip()
        if not secret.isascii() or not secret.isprintable() or " " in secret:
            msg = "must be one line of ASCII characters without spaces"
            raise ValueError(msg)
        return SecretStr(secret)

    @field_validator("redis_url", "spool_url", mode="before")
    @classmethod
    def _redis_url(cls, value: object) -> object:
        if value is None or value == "":
            return None
        if isinstance(value, str) and not value.startswith(("redis://", "rediss://", "unix://")):
            msg = "must begin with redis://, rediss:// or unix:// (null for none)"
            raise ValueError(msg)
        if isinstance(value, str) and "@" in value and "@" not in split(value).netloc:
            msg = "must have / # and ? in its password percent-encoded (%2F %23 %3F)"
            raise ValueError(msg)
        return value

    @field_validator("cache_prefix")
    @classmethod
    def _not_the_conservers(cls, value: str) -> str:
        if value.startswith(CONSERVER_PREFIX) and value != CONSERVER_PREFIX:
            msg = (
                f"must not begin with {CONSERVER_PREFIX!r}: the conserver keeps its own records "
                "there, and a cached string in their place makes its reads and writes fail"
            )
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _shared_redis(self) -> Self:
        if not self.shares_cache:
            return self
        conserver = os.environ.get("REDIS_URL")
        ours = self.redis_url.get_secret_value() if self.redis_url else None
        if ours is None or conserver is None or database_of(ours) != database_of(conserver):
            return self
        msg = (
            f"cache_prefix: must not be {CONSERVER_PREFIX!r} in the Redis of REDIS_URL: there the "
            f"conserver keeps its own records under {CONSERVER_PREFIX}{{uuid}}, and a string in "
            "their place makes its reads and writes fail; give the vcon-mcp server's Redis as "
            "redis_url"
        )
        raise ValueError(msg)

    @property
    def key_prefix(self) -> str:
        """What all our keys in Redis begin with."""
        prefix = _DEFAULT_PREFIX if self.shares_cache else self.cache_prefix
        return f"{prefix}{self.tenant}:" if self.tenant else prefix

    @property
    def shares_cache(self) -> bool:
        """Whether cached vCons are shared with a vcon-mcp server."""
        return self.cache_prefix == CONSERVER_PREFIX

    @property
    def target(self) -> tuple[str, str, str]:
        """Which database this is: two options with the same target store into the same tables."""
        return (self.rest_url or self.url or "", self.schema_, self.tenant or "")

    def __repr__(self) -> str:
        """Show all options with the key and the Redis URL's password masked."""
        shown = {
            "url": self.url,
            "rest_url": self.rest_url,
            "key": "***",
            "schema": self.schema_,
            "redis_url": _masked(self.redis_url),
            "cache_ttl": self.cache_ttl,
            "cache_prefix": self.cache_prefix,
            "connect_timeout": self.connect_timeout,
            "read_timeout": self.read_timeout,
            "total_timeout": self.total_timeout,
            "redis_timeout": self.redis_timeout,
            "cache_max_bytes": self.cache_max_bytes,
            "cache_compress_bytes": self.cache_compress_bytes,
            "stale_if_error": self.stale_if_error,
            "memory_bytes": self.memory_bytes,
            "tenant": self.tenant,
            "spool_url": _masked(self.spool_url),
            "spool_max_count": self.spool_max_count,
            "spool_max_bytes": self.spool_max_bytes,
            "spool_raises": self.spool_raises,
        }
        return f"Options({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    __str__ = __repr__


def _masked(url: SecretStr | None) -> str | None:
    return mask_url(url.get_secret_value()) if url else None


class _UnsetError(Exception):
    """A variable in an option is not set."""


def _is_missing(value: object) -> bool:
    return value is None or value == ""


def _fill_from_environment(given: dict[str, Any], broken: set[str]) -> None:
    """Put in what is missing and the environment has."""
    has_url = any(not _is_missing(given.get(name)) for name in ("url", "rest_url"))
    for name, variables in _ENVIRONMENT.items():
        if not _is_missing(given.get(name)) or name in broken:
            continue
        if name == "redis_url" and name in given:
            continue  # an empty one means: no cache, whatever the environment says
        if name in {"url", "rest_url"} and has_url:
            continue  # the environment's may belong to another project than the given one
        given.pop(name, None)
        if value := next((os.environ[v] for v in variables if os.environ.get(v)), None):
            given[name] = value


def _substitute(value: object) -> object:
    """Put the environment's values in place of ``${VAR}`` in a string; leave others alone."""
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if found:
            return found
        if match[2] is not None:
            return match[2]
        raise _UnsetError(
            f"the environment variable {match[1]} is not set "
            f"(set it, or give a default: ${{{match[1]}:-...}})"
        )

    return _VARIABLE.sub(variable, value)


def _explain(error: ValidationError) -> list[str]:
    known = ", ".join(sorted({*(f.alias or n for n, f in Options.model_fields.items())}))
    patterns = {
        "schema": "must be the plain name of a Postgres schema",
        "tenant": "must be 1 to 100 of the characters A-Z a-z 0-9 _ . -",
    }
    return problems(error, f"is no option of this storage; known are: {known}", patterns)
