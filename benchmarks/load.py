"""Many vCons: by several threads, in one call, and in tables that are already full."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import cycle
from typing import Any

import psycopg

from conserver_supabase_storage.bench.measure import Case, Must
from conserver_supabase_storage.local import LocalSupabase
from conserver_supabase_storage.migrations import migrate

from . import floors
from .cases import PAGE, Bench, Call, get, save
from .floors import named
from .vcons import Made, make

_THREADS = (1, 4, 16)
_SINGLY = 200
_BULK = 1_000  # several batches


def threads(bench: Bench, count: int) -> Iterator[Case]:
    """Yield saves of so many new vCons by 1, 4 and 16 threads, which share a client."""

    def prepare() -> list[Made]:
        return [make("small") for _ in range(count)]

    def calls() -> list[tuple[str, bytes]]:
        return [named("bench_insert", made) for made in prepare()]

    for number in _THREADS:
        pool = ThreadPoolExecutor(number)
        floor, name = f"floor of saves, threads: {number}", f"saves, threads: {number}"
        must = Must(0.85, 0.95) if number == 16 else None
        each = partial(_by_threads, pool, number)
        yield Case(floor, calls, partial(each, bench.floor.write), per=count, rate=True)
        yield Case(
            name, prepare, partial(each, save(bench.plain)), floor, must=must, per=count, rate=True
        )


def bulk(bench: Bench) -> list[Case]:
    """Return saves of many new vCons, one by one and in one call."""

    def prepare(count: int) -> list[Made]:
        return [make("small") for _ in range(count)]

    few, many = partial(prepare, _SINGLY), partial(prepare, _BULK)

    def one_by_one(batch: list[Made]) -> None:
        for made in batch:
            bench.plain.save(made.vcon)

    def at_once(batch: list[Made]) -> None:
        assert not any(bench.plain.save_many(made.vcon for made in batch))

    def at_once_cached(batch: list[Made]) -> None:
        assert not any(bench.cached.save_many(made.vcon for made in batch))

    single, name = "save one by one", "save_many"
    must = Must(10, 20)
    return [
        Case(single, few, one_by_one, per=_SINGLY, rate=True),
        Case(name, many, at_once, single, must=must, per=_BULK, rate=True),
        Case(f"{name}, cache on", many, at_once_cached, single, per=_BULK, rate=True),
    ]


@contextmanager
def growth(stack: LocalSupabase, sizes: Sequence[int]) -> Iterator[list[Case]]:
    """Give cases on databases side by side that have so many vCons; the first is the floor."""
    with ExitStack() as open_now:
        cases: list[Case] = []
        for size in sizes:
            database = f"bench_{size}"
            url = stack.create_database(database)
            migrate(url)
            floors.install(url)
            rest_url = open_now.enter_context(stack.postgrest(database=database))
            bench = open_now.enter_context(Bench(stack, rest_url))
            cases += _at_size(bench, size, sizes[0], _fill(bench, url, size))
        yield cases


def _at_size(bench: Bench, size: int, first: int, uuids: list[str]) -> Iterator[Case]:
    must = Must(1.2, 1.05)
    some = cycle(uuids)
    new = partial(make, "small")

    def any_one() -> Made:
        return Made({"uuid": next(some)}, b"")

    def sized(name: str, prepare: Callable[[], Any], call: Call, must: Must | None) -> Case:
        below = f"{name}, {first:,} vCons" if size != first else ""
        return Case(f"{name}, {size:,} vCons", prepare, call, below, must=must if below else None)

    yield sized("bare insert", lambda: named("bench_insert", new()), bench.floor.write, None)
    yield sized("save new", new, save(bench.plain), must)
    yield sized("bare get", any_one, bench.floor.get, None)
    yield sized("get cold", any_one, get(bench.plain), must)
    yield sized("search page", lambda: None, lambda _: bench.plain.search({"limit": PAGE}), None)


def _fill(bench: Bench, database_url: str, size: int) -> list[str]:
    """Copy one vCon so often; return some of their uuids, from all over the tables."""
    template = bench.saved(make("small"))
    bench.plain.search({"limit": 1})  # indexes it
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("CALL bench_fill(%s, %s)", [template.uuid, size])
        connection.execute("VACUUM (ANALYZE)")
        found = connection.execute("SELECT uuid::text FROM vcons ORDER BY random() LIMIT 2000")
        return [row[0] for row in found]


def _by_threads(
    pool: ThreadPoolExecutor, number: int, call: Call, arguments: Sequence[object]
) -> None:
    def part(first: int) -> None:
        for argument in arguments[first::number]:
            call(argument)

    list(pool.map(part, range(number)))
