"""What operations cost on any machine: requests, round trips, statements, bytes, WAL. No timers."""

from base64 import b64encode
from collections.abc import Callable, Iterator
from copy import copy, deepcopy
from random import randbytes
from typing import Any, NamedTuple

import pytest

from benchmarks.wire import Statements, Tap, Traffic, wal_position
from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.local import LocalSupabase

from ..conftest import Sql, options_without_cache
from ..home import Supabase
from ..vcons import Json, as_text, small_vcon

# A request's line and headers, and those of an answer with its fixed members.
HEADERS = 1_500
# What a background process may add to the WAL meanwhile.
WAL_NOISE = 600

type Operation = Callable[[], object]


class Cost(NamedTuple):
    http: Traffic
    redis: Traffic
    statements: int
    wal: int


class Meter:
    """Storages behind taps, one without a cache and one with, and what their operations cost."""

    def __init__(self, stack: LocalSupabase, rest: Tap, redis: Tap, psql: Sql) -> None:
        options = options_without_cache(stack) | {"rest_url": rest.url}
        self.plain = SupabaseStorage(options)
        self.cached = SupabaseStorage(options | {"redis_url": redis.url})
        self.statements = Statements(stack, psql)
        self._rest, self._redis, self._psql = rest, redis, psql

    def cost(self, prepare: Operation, operation: Operation) -> Cost:
        """The least of a few tries: a machine that stalls makes an operation ask again."""
        costs = [self._once(prepare, operation) for _ in range(3)]
        return min(costs, key=lambda cost: (cost.http.trips, cost.redis.trips, cost.wal))

    def _once(self, prepare: Operation, operation: Operation) -> Cost:
        prepare()
        rest, redis = copy(self._rest.traffic), copy(self._redis.traffic)
        wal = wal_position(self._psql)
        position = self.statements.position()
        operation()
        statements = self.statements.since(position)
        return Cost(
            self._rest.traffic.since(rest),
            self._redis.traffic.since(redis),
            len(statements),
            wal_position(self._psql) - wal,
        )


@pytest.fixture
def meter(stack: Supabase, psql: Sql, monkeypatch: pytest.MonkeyPatch) -> Iterator[Meter]:
    if not isinstance(stack, LocalSupabase):
        pytest.skip("statements are counted in the log of a Postgres on this machine")
    with Tap(stack.rest_url) as rest, Tap(stack.redis_url) as redis:
        meter = Meter(stack, rest, redis, psql)
        with meter.plain, meter.cached, meter.statements.logged():
            warm = small_vcon()
            for storage in (meter.plain, meter.cached):  # connections, the database's clock
                storage.save(warm)
                storage.get(warm["uuid"])
                storage.delete(warm["uuid"])
            yield meter


@pytest.fixture(params=[4, 200], ids="{} dialogs".format)
def vcon(request: pytest.FixtureRequest) -> Json:
    document = small_vcon()
    texts = document["dialog"][1:]
    document["dialog"] += [deepcopy(texts[n % 3]) for n in range(request.param - 4)]
    return document


def nothing() -> None:
    pass


def grown(vcon: Json) -> Json:
    """The vCon with one dialog more."""
    return vcon | {"dialog": [*vcon["dialog"], {"type": "text", "body": "x", "encoding": "none"}]}


def operations(storage: SupabaseStorage, vcon: Json) -> dict[str, tuple[Operation, Operation]]:
    """For each operation what goes before it, and the operation."""
    uuid = vcon["uuid"]

    def save() -> None:
        storage.save(vcon)

    def none() -> None:
        storage.delete(uuid)

    return {
        "save new": (none, save),
        "save again": (save, save),
        "save one more": (save, lambda: storage.save(grown(vcon))),
        "get": (save, lambda: storage.get(uuid)),
        "search": (save, lambda: storage.search({"subject": vcon["subject"], "limit": 10})),
        "delete": (save, lambda: storage.delete(uuid)),
    }


def test_an_operation_is_one_request_and_one_transaction(meter: Meter, vcon: Json) -> None:
    for name, (prepare, operation) in operations(meter.plain, vcon).items():
        cost = meter.cost(prepare, operation)
        assert cost.http.trips == 1, name
        # BEGIN, PostgREST's settings, the function, COMMIT.
        assert cost.statements <= 4, name
        assert cost.redis == Traffic(), name


def test_a_get_that_is_cached_asks_redis_once_and_supabase_nothing(
    meter: Meter, vcon: Json
) -> None:
    cost = meter.cost(lambda: meter.cached.save(vcon), lambda: meter.cached.get(vcon["uuid"]))
    assert cost.http == Traffic()
    assert cost.statements == 0
    assert cost.redis.trips == 1


@pytest.mark.parametrize("name", ["save new", "save again", "save one more", "delete"])
def test_the_cache_adds_few_round_trips_to_a_change(meter: Meter, vcon: Json, name: str) -> None:
    cost = meter.cost(*operations(meter.cached, vcon)[name])
    assert cost.http.trips == 1
    assert cost.redis.trips <= 3  # begin, the spool's outlook, complete


def test_a_get_that_is_not_cached_is_one_request(meter: Meter, vcon: Json) -> None:
    meter.plain.save(vcon)
    cost = meter.cost(meter.cached.clear_cache, lambda: meter.cached.get(vcon["uuid"]))
    assert cost.http.trips == 1
    assert cost.redis.trips <= 4


def test_many_vcons_are_one_request(meter: Meter) -> None:
    vcons = [small_vcon() for _ in range(50)]
    cost = meter.cost(nothing, lambda: meter.plain.save_many(vcons))
    assert cost.http.trips == 1
    assert cost.statements <= 4


def test_many_vcons_ask_redis_a_few_times(meter: Meter) -> None:
    vcons = [small_vcon() for _ in range(100)]
    cost = meter.cost(nothing, lambda: meter.cached.save_many(vcons))
    assert cost.http.trips == 1
    # Begin and complete of 25 each, and the spool's outlook; some are answered in two parts.
    assert cost.redis.trips <= 2 * (4 + 1 + 4)


def test_a_request_and_an_answer_are_not_much_larger_than_the_document(
    meter: Meter, vcon: Json
) -> None:
    size = len(as_text(vcon).encode())
    costs = {name: meter.cost(*each) for name, each in operations(meter.plain, vcon).items()}
    for name in ("save new", "save again", "save one more"):
        # Columns for queries beside each part, but nothing for its body.
        assert costs[name].http.sent <= 2.1 * size + HEADERS, name
        assert costs[name].http.received <= HEADERS, name
    assert costs["get"].http.sent <= HEADERS
    assert costs["get"].http.received <= 1.15 * size + HEADERS
    assert costs["delete"].http.sent <= HEADERS
    assert costs["delete"].http.received <= HEADERS


def test_a_body_travels_once(meter: Meter) -> None:
    body = "QUJD" * 250_000
    recording: Json = {"type": "recording", "body": body, "encoding": "base64url"}
    vcon = small_vcon(dialog=[recording])
    costs: dict[str, Any] = {
        name: meter.cost(*each) for name, each in operations(meter.plain, vcon).items()
    }
    for name in ("save new", "save again", "save one more"):
        assert len(body) <= costs[name].http.sent <= 1.02 * len(body), name
    assert len(body) <= costs["get"].http.received <= 1.02 * len(body)


def test_what_is_unchanged_is_not_written_again(meter: Meter, vcon: Json) -> None:
    found = operations(meter.plain, vcon)
    new, again, more = (
        meter.cost(*found[name]).wal for name in ("save new", "save again", "save one more")
    )
    assert new > 2 * WAL_NOISE
    assert again <= WAL_NOISE
    if len(vcon["dialog"]) > 100:
        assert more <= new / 4


def test_reading_a_large_body_writes_no_file(storage: SupabaseStorage, psql: Sql) -> None:
    # More than Postgres sorts in memory, unless told otherwise, and nothing that it can compress.
    body = b64encode(randbytes(6_000_000)).decode()
    vcon = small_vcon(dialog=[{"type": "recording", "body": body, "encoding": "base64url"}] * 2)
    storage.save(vcon)

    def files() -> object:
        psql.execute("SELECT pg_stat_force_next_flush()")
        return psql.execute(
            "SELECT temp_files FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()

    before = files()
    psql.execute("SELECT octet_length(vcon_storage_get_v3(%s)::text)", [vcon["uuid"]])
    assert files() == before
