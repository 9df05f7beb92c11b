"""Looks at all that the storage depends on, and says what is wrong and what to do about it.

Each module looks at one thing: the options and the key, what is installed, the way to Supabase, the
database, and each Redis. Nothing is changed anywhere, and no answer is waited for longer than some
seconds. What depends on a check that failed is not looked at, and says so.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from . import configuration, database, installed, key, network, servers
from .finding import Finding, State, skipped

__all__ = ["Finding", "State", "examine"]


def examine(read: Callable[[], Mapping[str, Any] | None]) -> Iterator[Finding]:
    """Look at everything, a finding at a time.

    Args:
        read: returns the storage's options as they stand in a config, or None for those of the
            environment; may raise ConfigurationError.
    """
    usable = yield from installed.examine()
    options = yield from configuration.examine(read)
    if options is None or not usable:
        because = "a package can't be used" if options else "the options can't be used"
        for group in ("supabase", "database", "redis"):
            yield skipped(group, because)
        return
    fits = yield from key.examine(options)
    if (yield from network.examine(options)):
        yield from database.examine(options, key_fits=fits)
    else:
        yield skipped("database", "there is no way to Supabase")
    yield from servers.examine(options)
