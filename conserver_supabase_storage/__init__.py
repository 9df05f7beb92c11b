"""Supabase storage for the vCon conserver.

The conserver imports this module by the name in its ``config.yml`` and calls `save`, `get` and
`delete` with a vCon's uuid and the storage's options. Python programs use `SupabaseStorage`.

Importing it does no I/O and loads no client library; those come with the first operation.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    ConfigurationError,
    InvalidQueryError,
    InvalidVconError,
    RefusedError,
    StorageError,
    UnavailableError,
    VconNotFoundError,
)

if TYPE_CHECKING:
    from .options import Options
    from .query import Query
    from .searching import Hit, SearchPage
    from .storage import SupabaseStorage

__all__ = [
    "ConfigurationError",
    "Hit",
    "InvalidQueryError",
    "InvalidVconError",
    "Options",
    "Query",
    "RefusedError",
    "SearchPage",
    "StorageError",
    "SupabaseStorage",
    "UnavailableError",
    "VconNotFoundError",
    "default_options",
    "delete",
    "get",
    "save",
    "search",
]

_LAZY = {
    "Hit": ".searching",
    "Options": ".options",
    "Query": ".query",
    "SearchPage": ".searching",
    "SupabaseStorage": ".storage",
}

# What the conserver passes where its config has no `options`. What is not here (url, key,
# redis_url, cache_ttl) comes from the environment.
default_options: dict[str, Any] = {
    "schema": "public",
    "cache_prefix": "supabase-storage:",
    "connect_timeout": 2.0,
    "read_timeout": 8.0,
    "total_timeout": 10.0,
    "redis_timeout": 0.25,
    "cache_max_bytes": 5_000_000,
    "cache_compress_bytes": 0,
    "stale_if_error": 300.0,
    "memory_bytes": 0,
    "tenant": None,
    "spool_url": None,
    "spool_max_count": 10_000,
    "spool_max_bytes": 256_000_000,
    "spool_raises": False,
}


def save(vcon_uuid: str, options: Mapping[str, Any] | None = None) -> None:
    """Save the vCon that the conserver is working on. Called at the end of a chain.

    Args:
        vcon_uuid: its uuid; the vCon itself is read from the conserver.
        options: the storage's options, as they stand in ``config.yml``.

    Raises:
        VconNotFoundError: the conserver does not hold it.
        InvalidVconError: it can't be stored exactly; nothing was written.
        UnavailableError: Supabase, or the conserver's Redis, did not answer in time.
        RefusedError: Supabase refused it; nothing was written.
        ConfigurationError: the options can't be used.
    """
    from .registry import registry  # noqa: PLC0415

    with registry.storage(options) as storage:
        storage.save_live(vcon_uuid)


def get(vcon_uuid: str, options: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """Return a vCon as it was saved, or None if there is none: a new dict on every call.

    Raises:
        StorageError: as `SupabaseStorage.get`.
    """
    from .registry import registry  # noqa: PLC0415

    with registry.storage(options) as storage:
        return storage.get(vcon_uuid)


def delete(vcon_uuid: str, options: Mapping[str, Any] | None = None) -> bool:
    """Delete a vCon; return whether it was there.

    Raises:
        StorageError: as `SupabaseStorage.delete`.
    """
    from .registry import registry  # noqa: PLC0415

    with registry.storage(options) as storage:
        return storage.delete(vcon_uuid)


def search(
    query: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Return the vCons that match, the newest first.

    Args:
        query: as for `SupabaseStorage.search`.
        options: the storage's options.

    Raises:
        StorageError: as `SupabaseStorage.search`.
    """
    from .registry import registry  # noqa: PLC0415

    with registry.storage(options) as storage:
        return storage.search(query)


def __getattr__(name: str) -> object:
    if module := _LAZY.get(name):
        return getattr(import_module(module, __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
