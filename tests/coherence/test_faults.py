"""Real faults of Redis and Supabase, and processes that are killed: what callers see of them."""

import itertools
import json
import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from conserver_supabase_storage import SupabaseStorage, UnavailableError
from conserver_supabase_storage.breaker import PROBE_INTERVAL
from conserver_supabase_storage.freshness import TRUST

from ..home import Supabase
from .conftest import Parties
from .parties import Party, eventually, new_uuid, vcon
from .proxy import Proxy
from .steps import REDIS_STEPS, Moment, Steps, cache_of

type Fault = Callable[[Supabase], AbstractContextManager[None]]

# Seconds after Redis' return within which the cache is in use again.
BACK = 1.0 + PROBE_INTERVAL + TRUST

# Loose limits, in seconds, for a machine that does other things as well.
TIMEOUT = 0.25
FIRST_CHANGE = TIMEOUT + TRUST + 1.0
OPERATION = TIMEOUT + 0.75


@pytest.fixture(autouse=True)
def _mended(supabase: Supabase) -> Iterator[None]:
    """Leave Redis as it was, empty."""
    yield
    with redis.Redis.from_url(supabase.redis_url) as client:
        client.flushall()
        client.save()  # over what a test may have left on its disk


def password_of(supabase: Supabase) -> str:
    password = urlsplit(supabase.redis_url).password
    assert password
    return password


@contextmanager
def stopped(supabase: Supabase) -> Iterator[None]:
    supabase.stop_service("redis")
    yield
    supabase.start_service("redis")


@contextmanager
def killed_with_its_data_kept(supabase: Supabase) -> Iterator[None]:
    with redis.Redis.from_url(supabase.redis_url) as client:
        client.save()
    supabase.stop_service("redis", kill=True)
    yield
    supabase.start_service("redis")


@contextmanager
def hung(supabase: Supabase) -> Iterator[None]:
    supabase.pause_service("redis")
    yield
    supabase.resume_service("redis")


@contextmanager
def full(supabase: Supabase) -> Iterator[None]:
    with redis.Redis.from_url(supabase.redis_url) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")
        yield
        client.config_set("maxmemory", "0")


@contextmanager
def read_only_replica(supabase: Supabase) -> Iterator[None]:
    with redis.Redis.from_url(supabase.redis_url) as client:
        client.replicaof("127.0.0.1", "1")
        yield
        client.replicaof("NO", "ONE")


@contextmanager
def password_changed(supabase: Supabase) -> Iterator[None]:
    password = password_of(supabase)
    client = redis.Redis.from_url(supabase.redis_url, single_connection_client=True)
    client.config_set("requirepass", "changed")
    client.client_kill_filter(_type="normal", skipme=True)
    yield
    client.config_set("requirepass", password)
    client.close()


FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        stopped,
        killed_with_its_data_kept,
        hung,
        full,
        read_only_replica,
        password_changed,
    )
}


@contextmanager
def counted(party: Party) -> Iterator[Counter[str]]:
    """Count the steps of this thread; those of the thread that looks after Redis are its own."""
    calls: Counter[str] = Counter()
    here = threading.get_ident()

    def hook(moment: Moment, step: str) -> None:
        if moment == "before" and threading.get_ident() == here:
            calls[step] += 1

    with party.steps.hook(hook):
        yield calls


def took(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def in_use_again(uuid: str, back: float, *parties: Party) -> None:
    """Wait until gets of a vCon are served without the database, not for longer than promised."""
    for each in parties:
        eventually(partial(each.cached, uuid), back + BACK - time.monotonic())


@pytest.mark.parametrize("change", ["save", "delete"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_redis(supabase: Supabase, party: Parties, name: str, change: str) -> None:
    saver, idle, warm = party(), party(), party()
    uuid, other = new_uuid(), new_uuid()
    saver.save(uuid, 1)
    saver.save(other, 1)
    for each in (idle, warm):
        assert [each.get(uuid), each.get(other)] == [1, 1]
    expected = 2 if change == "save" else None
    with FAULTS[name](supabase):
        idle.hear()
        first = took(lambda: saver.save(uuid, 2) if change == "save" else saver.delete(uuid))
        got = took(lambda: saver.get(uuid))
        assert saver.get(uuid) == expected
        with counted(saver) as calls:
            second = took(lambda: saver.save(new_uuid(), 1))
            saver.get(new_uuid())
        warm.hear()
    # Redis is back, and may have the old entry.
    back = time.monotonic()
    assert [idle.get(uuid), warm.get(uuid)] == [expected, expected]
    print(f"{name}, {change}: first {first:.3f} s, get {got:.3f} s, second {second:.3f} s")
    assert first < FIRST_CHANGE
    assert got < OPERATION
    assert second < OPERATION
    if name != "full":  # which is answered at once
        assert not [step for step in REDIS_STEPS if calls[step]]
    in_use_again(other, back, saver, idle, warm)
    if change == "save":
        in_use_again(uuid, back, saver, idle, warm)
    assert [each.believes(uuid) for each in (saver, idle, warm)] == [expected] * 3


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", ["begin", "complete"])
def test_redis_fails_in_the_midst_of_a_batch(party: Parties, step: str, moment: Moment) -> None:
    saver, reader = party(), party()
    uuids = [new_uuid() for _ in range(60)]
    saver.storage.save_many(vcon(uuid, 1) for uuid in uuids)
    reader.hear()
    assert [reader.get(uuid) for uuid in uuids] == [1] * 60
    assert reader.reads() == 0
    calls = itertools.count()
    seen: list[int | None] = []

    def second_fails(now: Moment, name: str) -> None:
        if (now, name) == (moment, step) and next(calls) == 1:
            raise redis.ConnectionError
        if (now, name) == ("before", "save"):
            reader.hear()
        if (now, name) == ("after", "save"):
            seen.extend(map(reader.get, uuids))

    with saver.steps.hook(second_fails):
        assert saver.storage.save_many(vcon(uuid, 2) for uuid in uuids) == [None] * 60
    assert next(calls) > 1, "it did not come to the step"
    assert seen == [2] * 60
    for each in (reader, saver):
        assert [each.believes(uuid) for uuid in uuids] == [2] * 60
    back = time.monotonic()
    for uuid in (uuids[0], uuids[30], uuids[-1]):
        in_use_again(uuid, back, saver, reader)


def test_a_batch_finds_a_redis_that_has_forgotten_the_scripts(
    supabase: Supabase, party: Parties
) -> None:
    saver, reader = party(), party()
    uuids = [new_uuid() for _ in range(60)]
    saver.storage.save_many(vcon(uuid, 1) for uuid in uuids)
    with redis.Redis.from_url(supabase.redis_url) as client:
        client.script_flush()
    saver.storage.save_many(vcon(uuid, 2) for uuid in uuids)
    reader.hear()
    assert [reader.get(uuid) for uuid in uuids] == [2] * 60
    assert reader.reads() == 0


@pytest.mark.parametrize("there", [True, False], ids=["cached", "not there"])
def test_the_first_get_while_redis_hangs_costs_one_timeout(
    supabase: Supabase, party: Parties, there: bool
) -> None:
    reader, uuid = party(), new_uuid()
    if there:
        reader.save(uuid, 1)
    reader.get(uuid)
    with hung(supabase):
        first = took(lambda: reader.get(uuid))
        second = took(lambda: reader.get(uuid))
    print(f"first {first:.3f} s, second {second:.3f} s")
    assert first < TIMEOUT + 0.2
    assert second < 0.2


def test_a_redis_that_is_away_at_the_start(supabase: Supabase, party: Parties) -> None:
    saver, reader, uuid = party(), party(), new_uuid()
    with stopped(supabase):
        assert took(lambda: saver.save(uuid, 1)) < FIRST_CHANGE
        assert took(lambda: reader.get(uuid)) < OPERATION
        saver.save(uuid, 2)
        assert reader.get(uuid) == 2
        with counted(saver) as calls:
            saver.save(uuid, 3)
        assert not [step for step in REDIS_STEPS if calls[step]]
    back = time.monotonic()
    assert reader.get(uuid) == 3
    in_use_again(uuid, back, saver, reader)
    assert [each.believes(uuid) for each in (saver, reader)] == [3, 3]


def test_a_password_that_is_wrong_from_the_start(
    supabase: Supabase, party: Parties, raw: redis.Redis
) -> None:
    password = password_of(supabase)
    wrong = party(redis_url=supabase.redis_url.replace(password, "wrong"))
    reader, uuid = party(), new_uuid()
    reader.save(uuid, 1)
    assert reader.get(uuid) == 1
    assert took(lambda: wrong.save(uuid, 2)) < FIRST_CHANGE
    assert [reader.get(uuid), wrong.get(uuid)] == [2, 2]
    with counted(wrong) as calls:
        wrong.save(uuid, 3)
    assert not [step for step in REDIS_STEPS if calls[step]]
    assert [reader.get(uuid), wrong.get(uuid)] == [3, 3]
    raw.ping()
    raw.config_set("requirepass", "wrong")
    try:
        eventually(lambda: wrong.cached(uuid), BACK)
    finally:
        raw.config_set("requirepass", password)


@pytest.mark.parametrize("which", ["entry", "gate"])
def test_a_key_of_another_type_costs_no_save_more_than_a_moment(
    party: Parties, raw: redis.Redis, which: str
) -> None:
    saver, reader, uuid, other = party(), party(), new_uuid(), new_uuid()
    saver.save(other, 1)
    raw.rpush(saver.keys(uuid)[0 if which == "entry" else 1], "theirs")
    times = [took(partial(saver.save, uuid, n)) for n in range(4)]
    print([f"{seconds:.3f}" for seconds in times])
    assert reader.believes(uuid) == 3
    assert max(times[1:]) < OPERATION
    assert reader.cached(other)


@pytest.mark.parametrize("delay", [0.1, 0.2, 0.4])
def test_a_slow_redis(supabase: Supabase, party: Parties, delay: float) -> None:
    with Proxy(supabase.redis_url) as proxy:
        slow, other, uuid = party(redis_url=proxy.url), party(), new_uuid()
        slow.save(uuid, 1)
        assert other.get(uuid) == 1
        proxy.delay = delay
        first = took(lambda: slow.save(uuid, 2))
        assert other.believes(uuid) == 2
        # The second one finds Redis given up as too slow, and is the first one in doubt.
        second = took(lambda: slow.save(uuid, 22))
        assert other.believes(uuid) == 22
        times = {
            "save": took(lambda: slow.save(uuid, 3)),
            "get": took(lambda: slow.get(uuid)),
            "miss": took(lambda: slow.get(new_uuid())),
        }
        assert other.believes(uuid) == 3
        shown = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in times.items())
        print(f"answers after {delay} s: first save {first:.3f} s, {shown}")
        assert max(first, second) < FIRST_CHANGE
        assert max(times.values()) < TIMEOUT + 0.2
        proxy.delay = 0.0
        eventually(lambda: slow.cached(uuid), BACK)


def test_a_redis_that_cannot_be_reached_is_asked_by_one_thread_alone(
    supabase: Supabase, party: Parties
) -> None:
    """How often, is counted where the connections arrive."""
    with Proxy(supabase.redis_url) as proxy:
        saver, uuid = party(redis_url=proxy.url), new_uuid()
        saver.save(uuid, 1)
        supabase.pause_service("redis")
        try:
            saver.save(uuid, 2)
            before, began = proxy.accepted, time.monotonic()
            operations = 0
            while time.monotonic() - began < 2.0:
                saver.save(uuid, 3 + operations)
                assert saver.get(uuid) == 3 + operations
                operations += 1
            accepted = proxy.accepted - before
        finally:
            supabase.resume_service("redis")
        print(f"{operations} saves and gets, {accepted} connections")
        # Each look takes redis_timeout, and the cache and the spool have one look each.
        assert accepted <= 2 * (2.0 / PROBE_INTERVAL + 1)
        assert operations > accepted


def test_a_redis_that_lost_its_last_writes_is_believed_only_until_it_is_compared(
    supabase: Supabase, party: Parties
) -> None:
    """What remains where Redis itself forgets: the old entry has the current episode."""
    saver, reader, uuid = party(), party(), new_uuid()
    saver.save(uuid, 1)
    with redis.Redis.from_url(supabase.redis_url) as client:
        client.save()
    saver.save(uuid, 2)
    supabase.stop_service("redis", kill=True)
    supabase.start_service("redis")
    time.sleep(TRUST)
    # Nothing heard for a while: compared, and thrown away.
    assert reader.get(uuid) == 2
    assert [each.believes(uuid) for each in (reader, saver)] == [2, 2]


# Processes that are killed


def _save_until_killed(
    options: dict[str, Any], uuid: str, step: str, span: int, at: Connection
) -> None:
    with SupabaseStorage(options) as storage:
        if span:
            cache_of(storage)._span = span
        steps = Steps.of(storage)

        def hook(moment: Moment, name: str) -> None:
            if (moment, name) == ("before", step):
                at.send("here")
                time.sleep(60)

        storage.get(uuid)
        steps.add(hook)
        storage.save(vcon(uuid, 2))


@contextmanager
def a_writer_at(
    supabase: Supabase, uuid: str, step: str, span: int, **options: Any
) -> Iterator[multiprocessing.process.BaseProcess]:
    """A process that saves version 2, and has just come to a step."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    all_options = {
        "rest_url": supabase.rest_url,
        "key": supabase.service_role_key,
        "redis_url": supabase.redis_url,
        "cache_ttl": 3600,
        **options,
    }
    process = context.Process(
        target=_save_until_killed, args=(all_options, uuid, step, span, there)
    )
    process.start()
    try:
        assert here.poll(30), "it did not come to the step"
        yield process
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize(
    ("step", "committed"), [("save", 1), ("complete", 2)], ids=["before", "after"]
)
def test_a_process_killed_before_or_after_its_commit(
    supabase: Supabase, party: Parties, raw: redis.Redis, step: str, committed: int
) -> None:
    seed, trusting, fresh, uuid = party(), party(), party(), new_uuid()
    seed.save(uuid, 1)
    assert trusting.get(uuid) == 1
    with a_writer_at(supabase, uuid, step, span=2000) as process:
        killed = time.monotonic()
        process.kill()
        process.join()
    while time.monotonic() - killed < 1.0:
        assert [trusting.believes(uuid), fresh.get(uuid)] == [committed, committed]
        assert not raw.exists(seed.keys(uuid)[0])
    eventually(lambda: trusting.cached(uuid), 3.0)
    assert [each.believes(uuid) for each in (trusting, fresh, seed)] == [committed] * 3
    entry = raw.get(seed.keys(uuid)[0])
    assert isinstance(entry, bytes)
    assert json.dumps({"n": committed})[1:-1].replace(" ", "").encode() in entry


def test_a_process_killed_in_doubt(
    supabase: Supabase,
    party: Parties,
    sql: psycopg.Connection[tuple[Any, ...]],
) -> None:
    """The cache is not used until its doubt ends, which it does by itself."""
    seed, reader, uuid = party(), party(), new_uuid()
    seed.save(uuid, 1)
    with a_writer_at(supabase, uuid, "save", 0, redis_url="redis://127.0.0.1:1") as process:
        process.kill()
        process.join()
    assert reader.get(uuid) == 1
    assert not reader.cached(uuid)
    row = sql.execute(
        "SELECT extract(epoch FROM max(until) - now())::float FROM vcon_cache_doubts"
    ).fetchone()
    assert row is not None
    assert 60 < row[0] <= 90
    sql.execute("UPDATE vcon_cache_doubts SET until = now()")  # its time passes
    eventually(lambda: reader.cached(uuid), 3.0)
    assert reader.get(uuid) == 1


# Supabase


def test_what_is_cached_is_served_without_supabase_if_wanted(
    supabase: Supabase, party: Parties
) -> None:
    """For as long as the operator allows; with 0 only while it is surely current."""
    reader, uuid = party(total_timeout=1.0), new_uuid()
    strict = party(total_timeout=1.0, stale_if_error=0)
    reader.save(uuid, 1)
    strict.get(uuid)
    supabase.stop_service("postgrest")
    try:
        began = time.monotonic()
        while time.monotonic() - began < 2 * TRUST + 0.5:
            assert reader.get(uuid) == 1
        with pytest.raises(UnavailableError):
            strict.get(uuid)
        began = time.monotonic()
        with pytest.raises(UnavailableError):
            reader.get(new_uuid())
        assert time.monotonic() - began < 2.0
    finally:
        supabase.start_service("postgrest")
    supabase.wait_until_ready()
    reader.save(uuid, 2)
    assert reader.get(uuid) == 2
