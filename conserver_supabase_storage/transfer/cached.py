"""Whether what is in the cache is what the database has."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from ..cache import Cache
from ..document import canonical_uuid, exact_number
from ..entry import Entry
from ..errors import ConfigurationError, InvalidVconError
from ..options import Options
from ..redis_client import connect
from ..rows.vcon import from_stored
from .comparing import differences
from .questions import COUNT, Questions, State, Stored
from .verifying import MOST, Finding, Page

# Bytes of entries that are compared at once.
_BYTES = 8_000_000

# How often an entry that changed meanwhile is looked at again.
_TIMES = 20

# Seconds for an answer of Redis, at the least.
_PATIENCE = 5.0

# What every entry of this format begins with.
_FORMAT = b"css1"


@contextmanager
def open_cache(options: Options) -> Iterator[Cache]:
    """Open the cache that the options name, to look into it.

    Raises:
        ConfigurationError: they name none.
    """
    if options.redis_url is None:
        raise ConfigurationError("there is no cache: redis_url is not given")
    # Nobody waits for a get here.
    redis = connect(options.redis_url.get_secret_value(), max(options.redis_timeout, _PATIENCE))
    try:
        yield Cache(redis, prefix=options.key_prefix, ttl=options.cache_ttl, span=0)
    finally:
        redis.close()
        redis.connection_pool.disconnect()


def check(cache: Cache, questions: Questions) -> Iterator[Page]:
    """Compare every entry with the database.

    An entry that gets would return is wrong if it is not of the vCon's revision; one that they
    would compare first is wrong only if it has the vCon's revision and says something else.
    """
    batch: dict[str, bytes] = {}
    size = 0
    for uuid in cache.uuids():
        value = cache.peek(uuid) if _is_uuid(uuid) else None
        if value is None or not value.startswith(_FORMAT):
            continue  # gone, another release's, or somebody else's: nobody reads it
        batch[uuid] = value
        size += len(value)
        if len(batch) >= COUNT or size >= _BYTES:
            yield _compare(batch, cache, questions)
            batch, size = {}, 0
    if batch:
        yield _compare(batch, cache, questions)


def _is_uuid(text: str) -> bool:
    try:
        return canonical_uuid(text) == text
    except InvalidVconError:
        return False


def _compare(batch: dict[str, bytes], cache: Cache, questions: Questions) -> Page:
    page = Page(len(batch))
    for _ in range(_TIMES):
        wrong = list(_wrong(batch, questions))
        # A save takes the entry away before it changes the vCon. So one that still stands there was
        # there when the database answered; any other is looked at again.
        values = {finding.uuid: cache.peek(finding.uuid) for finding in wrong if finding.uuid}
        same = {uuid for uuid, value in values.items() if value == batch[uuid]}
        page.findings += [finding for finding in wrong if finding.uuid in same]
        batch = {
            uuid: value
            for uuid, value in values.items()
            if uuid not in same and value is not None and value.startswith(_FORMAT)
        }
        if not batch:
            break
    return page


def _wrong(batch: dict[str, bytes], questions: Questions) -> Iterator[Finding]:
    entries: dict[str, Entry] = {}
    for uuid, value in batch.items():
        if (entry := Entry.unpack(value)) is None:
            yield Finding("cache", uuid, "is damaged; gets take it for missing")
        else:
            entries[uuid] = entry
    uuids = list(entries)
    while uuids:
        state, found, seen = questions.state_of(uuids[:COUNT], rows=True)
        there = {stored.uuid: stored for stored in found}
        for uuid in uuids[:seen]:
            for what in islice(_differences(entries[uuid], there.get(uuid), state), MOST):
                yield Finding("cache", uuid, what)
        uuids = uuids[seen:]


def _differences(entry: Entry, stored: Stored | None, state: State) -> Iterator[str]:
    revision = None if stored is None else stored.revision
    if stored is not None and revision == entry.revision:
        cached: Any = from_stored(entry.rows, exact_number)
        yield from differences(stored.document(), cached)
    elif state.off or entry.episode != state.episode:
        return  # compared before it is returned, and then thrown away
    elif revision is None:
        yield "is stale: the vCon was deleted, or changed by another program"
    elif entry.revision < revision:
        yield "is stale: the vCon was saved since"
    else:
        yield "is newer than the database, which has lost what was saved last"
