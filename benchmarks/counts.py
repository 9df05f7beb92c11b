"""What each operation sends, asks and writes: the same on any machine."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass

import psycopg

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.local import LocalSupabase

from .cases import options_for
from .floors import Floor, named
from .vcons import Made, make, with_one_more
from .wire import Statements, Tap, Traffic, wal_position

# The write-ahead log has entries of background processes now and then: the least of some counts.
_REPEATS = 5


@dataclass
class Count:
    """What one operation took."""

    name: str
    kind: str
    document: int
    http: Traffic
    redis: Traffic
    statements: int
    wal: int


def count(stack: LocalSupabase, kinds: Sequence[str]) -> Iterator[Count]:
    """Count the operations on vCons of each kind, with the cache in Redis, and the floors."""
    with ExitStack() as closing:
        connection = closing.enter_context(psycopg.connect(stack.database_url, autocommit=True))
        rest = closing.enter_context(Tap(stack.rest_url))
        redis = closing.enter_context(Tap(stack.redis_url))
        options = options_for(stack, rest.url) | {"redis_url": redis.url}
        storage = closing.enter_context(SupabaseStorage(options))
        floor = Floor(rest.url, stack.service_role_key)
        closing.callback(floor.close)
        statements = Statements(stack, connection)
        closing.enter_context(statements.logged())
        for kind in kinds:
            for name, prepare, call in _operations(storage, floor, kind):
                counts = []
                for _ in range(_REPEATS):
                    made = prepare()
                    traffic, cached = copy(rest.traffic), copy(redis.traffic)
                    wal = wal_position(connection)
                    position = statements.position()
                    call(made)
                    seen = len(statements.since(position))
                    counts.append(
                        Count(
                            name,
                            kind,
                            len(made.body),
                            rest.traffic.since(traffic),
                            redis.traffic.since(cached),
                            seen,
                            wal_position(connection) - wal,
                        )
                    )
                yield min(counts, key=lambda each: (each.http.trips, each.wal))


type _Operation = tuple[str, Callable[[], Made], Callable[[Made], object]]


def _operations(storage: SupabaseStorage, floor: Floor, kind: str) -> Iterator[_Operation]:
    def new() -> Made:
        return make(kind)

    def there() -> Made:
        made = new()
        storage.save(made.vcon)
        floor.write(named("bench_upsert", made))
        return made

    def uncached() -> Made:
        made = there()
        storage.clear_cache()
        return made

    yield "floor of save new", new, lambda made: floor.write(named("bench_insert", made))
    yield "save new", new, lambda made: storage.save(made.vcon)
    yield "floor of save again", there, lambda made: floor.write(named("bench_upsert", made))
    yield "save again unchanged", there, lambda made: storage.save(made.vcon)
    yield (
        "save with one dialog added",
        lambda: with_one_more(there()),
        lambda made: storage.save(made.vcon),
    )
    yield "floor of get", there, floor.get
    yield "get cold", uncached, lambda made: storage.get(made.uuid)
    yield "get hit", there, lambda made: storage.get(made.uuid)
    yield "floor of delete", there, floor.delete
    yield "delete", there, lambda made: storage.delete(made.uuid)
