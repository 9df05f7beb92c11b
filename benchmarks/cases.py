"""What is measured: each case by its name, what it needs, its floor, and what must hold."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, Self

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.local import LocalSupabase

from .floors import Floor, RedisFloor, named, raw
from .measure import Case, Must
from .vcons import Made, make, with_one_more

_PAGE = 20


class Bench:
    """The storage in its settings, and the floors, on one stack.

    Attributes:
        plain: without a cache.
        cached: with the cache in Redis.
        memory: with entries kept in the process as well.
    """

    def __init__(self, stack: LocalSupabase) -> None:
        self._closing = ExitStack()
        options: dict[str, Any] = {
            "rest_url": stack.rest_url,
            "key": stack.service_role_key,
            "read_timeout": 60.0,
            "total_timeout": 60.0,
        }
        self.plain = self._storage(options | {"redis_url": None})
        self.cached = self._storage(options | {"redis_url": stack.redis_url})
        self.memory = self._storage(
            options | {"redis_url": stack.redis_url, "memory_bytes": 50_000_000}
        )
        self.floor = Floor(stack.rest_url, stack.service_role_key)
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


def operations(bench: Bench, kind: str) -> list[Case]:
    """Return the operations on one vCon of a kind."""
    small, many, body = kind == "small", kind == "200 dialogs", kind == "25 MB body"
    new = partial(make, kind)
    kept = bench.saved(new())  # which is read, and saved again
    write, floor, cached, memory = bench.floor.write, bench.floor, bench.cached, bench.memory

    def again() -> Made:
        return kept

    def grown() -> Made:
        """Have the vCon as it was before the dialog came."""
        return with_one_more(bench.saved(kept))

    def there() -> Made:
        """Have a vCon to delete."""
        return bench.saved(new())

    def save(storage: SupabaseStorage) -> Callable[[Made], None]:
        return lambda made: storage.save(made.vcon)

    def get(storage: SupabaseStorage) -> Callable[[Made], object]:
        return lambda made: storage.get(made.uuid)

    for storage in (bench.plain, cached, memory):
        assert storage.get(kept.uuid) == kept.vcon
    assert floor.get(kept) == kept.vcon
    assert bench.redis.get(bench.redis.put(kept)) == kept.vcon
    new_must = Must(1.5, 1.2) if body else Must(2.5, 2) if many else Must(1.6, 1.4)
    get_must = Must(1.5, 1.2) if body else Must(1.15, 1.05)
    if not (small or many or body):
        new_must = get_must = None  # type: ignore[assignment]

    cases = [
        Case("insert floor", lambda: named("bench_insert", new()), write),
        Case("insert floor, raw body", lambda: raw("bench_insert", new()), write),
        Case(
            "save new", new, save(bench.plain), "insert floor", "insert floor, raw body", new_must
        ),
        Case("save new, cache on", new, save(cached), "insert floor", "insert floor, raw body"),
        Case("upsert floor", lambda: named("bench_upsert", kept), write),
        Case("upsert floor, raw body", lambda: raw("bench_upsert", kept), write),
        Case(
            "save again unchanged",
            again,
            save(bench.plain),
            "upsert floor",
            "upsert floor, raw body",
            Must(1.4, 1.2) if small else None,
        ),
        Case(
            "save again unchanged, cache on",
            again,
            save(cached),
            "upsert floor",
            "upsert floor, raw body",
        ),
        Case("get floor", again, floor.get),
        Case("get cold", again, get(bench.plain), "get floor", must=get_must),
        Case("delete floor", there, floor.delete),
        Case(
            "delete",
            there,
            lambda made: bench.plain.delete(made.uuid),
            "delete floor",
            must=Must(1.3, 1.1) if small else None,
        ),
    ]
    if not body:  # larger than what is cached
        cases += [
            Case("hit floor", again, bench.redis.get),
            Case(
                "get hit", again, get(cached), "hit floor", must=Must(1.15, 1.05) if small else None
            ),
        ]
    return cases
