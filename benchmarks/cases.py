"""What is measured of one vCon: each case with what it needs, its call, its floor and its must."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, Self

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.bench.measure import Case, Must
from conserver_supabase_storage.local import LocalSupabase

from .floors import Floor, RedisFloor, named, raw
from .vcons import Made, make, with_one_more

type Prepare = Callable[[], Any]
type Call = Callable[[Any], object]

# vCons in a page of search.
PAGE = 20

# By case and kind of vCon; the ratio to the floor, or seconds.
_MUSTS = {
    ("save new", "small"): Must(1.6, 1.4),
    ("save new", "200 dialogs"): Must(2.5, 2),
    ("save new", "25 MB body"): Must(1.5, 1.2),
    ("save again unchanged", "small"): Must(1.4, 1.2),
    ("get cold", "small"): Must(1.15, 1.05),
    ("get cold", "25 MB body"): Must(1.5, 1.2),
    ("get hit", "small"): Must(1.15, 1.05),
    ("in-process hit", "small"): Must(20e-6, 10e-6),
    ("delete", "small"): Must(1.3, 1.1),
}


class Bench:
    """The storage in its settings, and the floors, on one stack.

    Attributes:
        plain: without a cache.
        cached: with the cache in Redis.
        memory: with entries kept in the process as well.
    """

    def __init__(self, stack: LocalSupabase, rest_url: str = "") -> None:
        """Connect to a PostgREST of the stack, by default the first."""
        self._closing = ExitStack()
        cache = {"redis_url": stack.redis_url}
        options = options_for(stack, rest_url)
        self.plain = self._storage(options)
        self.cached = self._storage(options | cache)
        self.memory = self._storage(options | cache | {"memory_bytes": 50_000_000})
        self.floor = Floor(rest_url or stack.rest_url, stack.service_role_key)
        self.redis = RedisFloor(stack.redis_url)
        self._closing.callback(self.floor.close)
        self._closing.callback(self.redis.close)

    def _storage(self, options: dict[str, Any]) -> SupabaseStorage:
        return self._closing.enter_context(SupabaseStorage(options))

    def saved(self, made: Made) -> Made:
        """Save a vCon, in the storage and in the floors."""
        self.plain.save(made.vcon)
        self.floor.write(named("bench_upsert", made))
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()


def options_for(stack: LocalSupabase, rest_url: str = "") -> dict[str, Any]:
    """Return the options of a storage without a cache, with time enough for what is large."""
    return {
        "rest_url": rest_url or stack.rest_url,
        "key": stack.service_role_key,
        "redis_url": None,
        "read_timeout": 60.0,
        "total_timeout": 60.0,
    }


def operations(bench: Bench, kind: str) -> list[Case]:
    """Return the operations on one vCon of a kind."""
    new = partial(make, kind)
    kept = bench.saved(new())  # what is read, and saved again
    base = bench.saved(new())  # what a dialog is added to
    cached_bytes = bench.redis.put(kept)

    def same() -> Made:
        return kept

    def grown() -> Made:
        return with_one_more(bench.saved(base))

    def there() -> Made:
        return bench.saved(new())

    def beside(name: str, prepare: Prepare, floor: Call, call: Call) -> list[Case]:
        """Return a case and its floor."""
        below = f"floor of {name}"
        must = _MUSTS.get((name, kind))
        return [Case(below, prepare, floor), Case(name, prepare, call, below, must=must)]

    def saves(name: str, prepare: Prepare, function: str) -> list[Case]:
        """Return a save with the cache off and on, and its floor in both forms."""
        floor, raw_floor = f"floor of {name}", f"floor of {name}, raw body"
        must = _MUSTS.get((name, kind))
        return [
            Case(floor, lambda: named(function, prepare()), bench.floor.write),
            Case(raw_floor, lambda: raw(function, prepare()), bench.floor.write),
            Case(name, prepare, save(bench.plain), floor, raw_floor, must),
            Case(f"{name}, cache on", prepare, save(bench.cached), floor, raw_floor),
        ]

    _check(bench, kept)
    cases = [
        *saves("save new", new, "bench_insert"),
        *saves("save again unchanged", same, "bench_upsert"),
        *saves("save with one dialog added", grown, "bench_upsert"),
        *beside("get cold", same, bench.floor.get, get(bench.plain)),
        *beside("delete", there, bench.floor.delete, lambda made: bench.plain.delete(made.uuid)),
    ]
    if kind != "25 MB body":  # which is more than is cached
        cases += [
            *beside("get hit", lambda: cached_bytes, bench.redis.get, get(bench.cached)),
            Case(
                "in-process hit", same, get(bench.memory), must=_MUSTS.get(("in-process hit", kind))
            ),
        ]
    if kind in {"small", "200 dialogs"}:
        page = [there().uuid for _ in range(PAGE)]
        cases += beside(
            "search page",
            lambda: page,
            bench.floor.page,
            lambda _: bench.plain.search({"limit": PAGE}),
        )
    return cases


def save(storage: SupabaseStorage) -> Call:
    """Return what saves in a storage."""
    return lambda made: storage.save(made.vcon)


def get(storage: SupabaseStorage) -> Call:
    """Return what gets from a storage."""
    return lambda made: storage.get(made.uuid)


def _check(bench: Bench, kept: Made) -> None:
    """See that what is measured does what it should."""
    for storage in (bench.plain, bench.cached, bench.cached, bench.memory, bench.memory):
        assert storage.get(kept.uuid) == kept.vcon
    assert bench.floor.get(kept) == kept.vcon
    assert bench.redis.get(kept) == kept.vcon
