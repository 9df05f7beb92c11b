"""Interleavings of two and three parties, step by step. Each was or is a way to a stale read."""

import json
import threading
import time
from typing import Any

import psycopg
import pytest
import redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from conserver_supabase_storage import UnavailableError
from conserver_supabase_storage.breaker import Breaker
from conserver_supabase_storage.freshness import TRUST

from ..home import Supabase
from .conftest import Parties, Start
from .parties import Party, eventually, new_uuid
from .proxy import Proxy
from .steps import PATIENCE, KilledError, cache_of

# Nobody listens there.
DEAD_REDIS = "redis://127.0.0.1:1"


def later(call: Any) -> Any:
    """Return what a thread returned."""
    return call.result(PATIENCE)


def in_database(sql: psycopg.Connection[tuple[Any, ...]], uuid: str) -> int | None:
    row = sql.execute("SELECT as_written ->> 'n' FROM vcons WHERE uuid = %s", [uuid]).fetchone()
    return None if row is None else int(row[0])


def forget_entry(raw: redis.Redis, party: Party, uuid: str) -> None:
    raw.delete(*party.keys(uuid))


# A slow reader


def test_a_slow_reader_does_not_set_an_old_version_back_after_a_save(
    party: Parties, start: Start, raw: redis.Redis
) -> None:
    reader, writer, other, uuid = party(), party(), party(), new_uuid()
    writer.save(uuid, 1)
    forget_entry(raw, writer, uuid)
    with reader.steps.stop("before", "fill") as stop:
        reading = start(lambda: reader.get(uuid))
        stop.wait()
        writer.save(uuid, 2)
        stop.go.set()
        assert later(reading) == 1
    assert [p.believes(uuid) for p in (other, reader, writer)] == [2, 2, 2]


def test_a_slow_reader_does_not_raise_a_deleted_vcon_again(
    party: Parties, start: Start, raw: redis.Redis
) -> None:
    reader, writer, other, uuid = party(), party(), party(), new_uuid()
    writer.save(uuid, 1)
    forget_entry(raw, writer, uuid)
    with reader.steps.stop("before", "fill") as stop:
        reading = start(lambda: reader.get(uuid))
        stop.wait()
        writer.delete(uuid)
        stop.go.set()
        assert later(reading) == 1
    assert [p.believes(uuid) for p in (other, reader, writer)] == [None, None, None]
    assert not raw.exists(writer.keys(uuid)[0])


def test_a_reader_that_read_before_the_commit_does_not_fill_after_it(
    party: Parties, start: Start, raw: redis.Redis
) -> None:
    reader, writer, other, uuid = party(), party(), party(), new_uuid()
    writer.save(uuid, 1)
    with (
        writer.steps.stop("before", "save") as saving,
        reader.steps.stop("before", "fill") as filling,
        reader.steps.stop("after", "get") as read,
    ):
        save = start(lambda: writer.save(uuid, 2))
        saving.wait()
        get = start(lambda: reader.get(uuid))
        read.wait()
        saving.go.set()
        later(save)
        read.go.set()
        filling.go.set()
        assert later(get) == 1
    assert [p.believes(uuid) for p in (other, reader)] == [2, 2]


def test_an_entry_that_was_compared_is_not_thrown_away_once_it_is_a_newer_one(
    party: Parties, start: Start
) -> None:
    reader, writer, uuid = party(), party(), new_uuid()
    writer.save(uuid, 1)
    # A reader that has not heard from the database compares, finds a newer version, and is slow.
    with reader.steps.stop("before", "get") as stop:
        reading = start(lambda: reader.get(uuid))
        stop.wait()
        writer.save(uuid, 2)
        stop.go.set()
        assert later(reading) == 2
    assert writer.get(uuid) == 2
    assert reader.cached(uuid)


# Writers


@pytest.mark.parametrize("last", ["save", "delete"])
def test_two_writers_complete_in_the_opposite_order_of_their_commits(
    party: Parties, start: Start, last: str
) -> None:
    first, second, reader, uuid = party(), party(), party(), new_uuid()
    reader.trust()
    with first.steps.stop("before", "complete") as completing:
        slow = start(lambda: first.save(uuid, 1))
        completing.wait()
        if last == "save":
            second.save(uuid, 2)
        else:
            second.delete(uuid)
        now = reader.get(uuid)
        completing.go.set()
        later(slow)
    expected = 2 if last == "save" else None
    assert [now, *(p.believes(uuid) for p in (reader, first, second))] == [expected] * 4


def test_two_writers_commit_in_the_opposite_order_of_their_begins(
    party: Parties, start: Start
) -> None:
    first, second, reader, uuid = party(), party(), party(), new_uuid()
    reader.trust()
    with first.steps.stop("before", "save") as saving:
        slow = start(lambda: first.save(uuid, 1))
        saving.wait()
        second.save(uuid, 2)
        assert reader.get(uuid) == 2
        saving.go.set()
        later(slow)
    assert [p.believes(uuid) for p in (reader, first, second)] == [1, 1, 1]


def test_a_complete_that_arrives_after_another_begin_keeps_nothing(
    party: Parties, start: Start, raw: redis.Redis
) -> None:
    first, second, reader, uuid = party(), party(), party(), new_uuid()
    reader.trust()
    with (
        first.steps.stop("before", "complete") as completing,
        second.steps.stop("after", "save") as saved,
    ):
        early = start(lambda: first.save(uuid, 1))
        completing.wait()
        late = start(lambda: second.save(uuid, 2))
        saved.wait()
        completing.go.set()
        later(early)
        assert not raw.exists(first.keys(uuid)[0])
        assert reader.get(uuid) == 2
        saved.go.set()
        later(late)
    assert reader.get(uuid) == 2


def test_a_writer_killed_after_its_commit_leaves_the_gate_shut_until_its_deadline(
    party: Parties, raw: redis.Redis
) -> None:
    writer, reader, uuid = party(), party(), new_uuid()
    writer.save(uuid, 1)
    cache_of(writer.storage)._span = 700
    with (
        writer.steps.failing("before", "complete", error=KilledError()),
        pytest.raises(KilledError),
    ):
        writer.save(uuid, 2)
    assert reader.get(uuid) == 2
    assert reader.get(uuid) == 2
    assert not raw.exists(writer.keys(uuid)[0])
    eventually(lambda: reader.cached(uuid), 2.0)
    assert reader.get(uuid) == 2


def test_a_writer_killed_before_its_commit_changes_nothing(
    party: Parties, raw: redis.Redis
) -> None:
    writer, reader, uuid = party(), party(), new_uuid()
    writer.save(uuid, 1)
    cache_of(writer.storage)._span = 700
    with (
        writer.steps.failing("before", "save", "complete", error=KilledError()),
        pytest.raises(KilledError),
    ):
        writer.save(uuid, 2)
    assert reader.get(uuid) == 1
    assert not raw.exists(writer.keys(uuid)[0])
    eventually(lambda: reader.cached(uuid), 2.0)
    assert reader.get(uuid) == 1


@pytest.mark.parametrize("error", [KilledError, KeyboardInterrupt])
def test_a_save_that_ends_unheard_may_be_carried_out_later(
    party: Parties, start: Start, error: type[BaseException]
) -> None:
    """The writer ends while its request is on the way; a reader reads before it arrives."""
    writer, reader, other, uuid = party(), party(), party(), new_uuid()
    writer.save(uuid, 1)
    requests: list[str] = []
    inner = writer.storage._database._attempt

    def on_its_way(call: Any) -> bytes:
        requests.append(call)
        raise error

    writer.storage._database._attempt = on_its_way  # type: ignore[method-assign]
    if error is KilledError:
        with writer.steps.failing("before", "complete", error=error()), pytest.raises(error):
            writer.save(uuid, 2)
    else:
        with pytest.raises(error):
            writer.save(uuid, 2)
    with reader.steps.stop("after", "get") as read:
        reading = start(lambda: reader.get(uuid))
        read.wait()
        inner(requests[0])  # type: ignore[arg-type]
        read.go.set()
        assert later(reading) == 1
    # Nobody was promised version 2, but it is what the database has: the cache must not disagree.
    assert [p.believes(uuid) for p in (other, reader)] == [2, 2]


def test_a_save_without_an_answer_keeps_the_gate_shut(
    party: Parties, supabase: Supabase, start: Start, raw: redis.Redis
) -> None:
    """Its request is held on the way, the save fails, and then the request arrives."""
    with Proxy(supabase.rest_url) as proxy:
        # The spool is elsewhere, so that the save fails instead of being spooled.
        writer = party(
            rest_url=proxy.url, read_timeout=0.3, total_timeout=0.4, spool_url=DEAD_REDIS
        )
        reader, uuid = party(), new_uuid()
        writer.save(uuid, 1)
        arrived, go = threading.Event(), threading.Event()

        def hold(_: bytes) -> None:
            arrived.set()
            go.wait(PATIENCE)

        proxy.before = hold
        with pytest.raises(UnavailableError):
            writer.save(uuid, 2)
        assert arrived.is_set()
        with reader.steps.stop("after", "get") as read:
            reading = start(lambda: reader.get(uuid))
            read.wait()
            go.set()
            time.sleep(0.2)
            read.go.set()
            assert later(reading) == 1
        assert not raw.exists(writer.keys(uuid)[0])
        assert reader.believes(uuid) in {1, 2}


def test_an_attempt_that_was_given_up_does_not_undo_what_came_after_it(
    party: Parties, supabase: Supabase, sql: psycopg.Connection[tuple[Any, ...]]
) -> None:
    with Proxy(supabase.rest_url) as proxy:
        writer = party(rest_url=proxy.url, read_timeout=0.5)
        other, uuid = party(), new_uuid()
        writer.trust()
        _late_attempt(proxy, writer, other, uuid)
    assert in_database(sql, uuid) == 2
    assert other.believes(uuid) == 2


def test_the_first_save_of_a_process_does_not_undo_what_came_after_it_either(
    party: Parties, supabase: Supabase, sql: psycopg.Connection[tuple[Any, ...]]
) -> None:
    """It has not heard the database's time yet when its first attempt is given up."""
    with Proxy(supabase.rest_url) as proxy:
        writer = party(rest_url=proxy.url, read_timeout=0.5)
        other, uuid = party(), new_uuid()
        _late_attempt(proxy, writer, other, uuid)
    assert in_database(sql, uuid) == 2
    assert other.believes(uuid) == 2


def _late_attempt(proxy: Proxy, writer: Party, other: Party, uuid: str) -> None:
    """Hold a save's first attempt until its second one and another writer's save are done."""
    go = threading.Event()
    held: list[bytes] = []

    def hold(data: bytes) -> None:
        if b"vcon_storage_save_v4" in data and not held:
            held.append(data)
            go.wait(PATIENCE)

    proxy.before = hold
    writer.save(uuid, 1)
    assert held
    other.save(uuid, 2)
    go.set()
    time.sleep(0.5)


def test_a_change_is_not_attempted_once_its_time_is_over(
    party: Parties, sql: psycopg.Connection[tuple[Any, ...]]
) -> None:
    """A process that was stopped for a while must not go on where nobody reckons with it."""
    writer, uuid = party(redis_url=None, spool_url=None, total_timeout=0.5), new_uuid()
    writer.trust()
    with writer.steps.stop("before", "save") as saving:
        thread = threading.Thread(target=lambda: _quietly(lambda: writer.save(uuid, 1)))
        thread.start()
        saving.wait()
        time.sleep(0.7)
        saving.go.set()
        thread.join()
    assert in_database(sql, uuid) is None


def _quietly(call: Any) -> bool:
    try:
        call()
    except UnavailableError:
        return False
    return True


def test_a_writer_in_doubt_that_was_stopped_for_long_does_not_save_unseen(
    party: Parties, start: Start, sql: psycopg.Connection[tuple[Any, ...]]
) -> None:
    """Its doubt has ended by the time it goes on, so readers believe what they cached since."""
    writer = party(redis_url=DEAD_REDIS, total_timeout=0.5)
    seed, reader, uuid = party(), party(), new_uuid()
    seed.save(uuid, 1)
    with writer.steps.stop("after", "doubt") as told:
        saving = start(lambda: _quietly(lambda: writer.save(uuid, 2)))
        told.wait()
        sql.execute("UPDATE vcon_cache_doubts SET until = now()")  # its time passes
        time.sleep(1.0)
        eventually(lambda: reader.cached(uuid), 2.0)
        told.go.set()
        saved = later(saving)
    assert reader.believes(uuid) == (2 if saved else 1)


# Answers of Redis that are lost


@pytest.mark.parametrize("step", ["begin", "complete", "miss", "fill", "read"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_command_to_redis_that_fails_makes_nobody_read_an_old_version(
    party: Parties, step: str, moment: Any
) -> None:
    writer, reader, uuid = party(), party(), new_uuid()
    writer.save(uuid, 1)
    assert reader.get(uuid) == 1
    with writer.steps.failing(moment, step, error=RedisTimeoutError("lost")):
        writer.get(uuid)
        writer.save(uuid, 2)
        assert reader.believes(uuid) == 2
        writer.delete(uuid)
        assert reader.believes(uuid) is None
        writer.save(uuid, 3)
        assert reader.believes(uuid) == 3


def test_a_gate_lost_in_a_restart_lets_no_old_version_in(
    party: Parties,
    supabase: Supabase,
    start: Start,
    sql: psycopg.Connection[tuple[Any, ...]],
) -> None:
    """Redis restarts empty after the begin, and the writer still shuns it when it completes."""
    writer, reader, other, uuid = party(), party(), party(), new_uuid()
    writer.save(uuid, 1)
    with (
        writer.steps.stop("before", "save") as saving,
        reader.steps.stop("before", "fill") as filling,
    ):
        save = start(lambda: writer.save(uuid, 2))
        saving.wait()
        supabase.stop_service("redis")
        writer.get(new_uuid())  # notices; it looks again in a quarter of a second
        with writer.steps.failing("before", "begin", error=RedisTimeoutError("not yet")):
            supabase.start_service("redis")
            get = start(lambda: reader.get(uuid))
            filling.wait()
            saving.go.set()
            eventually(lambda: in_database(sql, uuid) == 2, 5.0)
            filling.go.set()
            assert later(get) == 1
            later(save)
            assert [p.believes(uuid) for p in (other, reader)] == [2, 2]


# Gates that are evicted, and keys that are not ours


def test_a_gate_evicted_between_miss_and_fill_refuses_the_fill(
    party: Parties, start: Start, raw: redis.Redis
) -> None:
    reader, writer, uuid = party(), party(), new_uuid()
    writer.save(uuid, 1)
    forget_entry(raw, writer, uuid)
    with reader.steps.stop("before", "fill") as stop:
        reading = start(lambda: reader.get(uuid))
        stop.wait()
        writer.save(uuid, 2)
        forget_entry(raw, writer, uuid)
        stop.go.set()
        assert later(reading) == 1
    assert not raw.exists(writer.keys(uuid)[0])
    assert reader.get(uuid) == 2


def test_a_gate_evicted_between_begin_and_complete_lets_nothing_stay(
    party: Parties, start: Start, raw: redis.Redis
) -> None:
    reader, writer, other, uuid = party(), party(), party(), new_uuid()
    writer.save(uuid, 1)
    with writer.steps.stop("before", "save") as saving:
        save = start(lambda: writer.save(uuid, 2))
        saving.wait()
        forget_entry(raw, writer, uuid)
        assert reader.get(uuid) == 1  # fills: nothing says that a change is under way
        assert raw.exists(writer.keys(uuid)[0])
        saving.go.set()
        later(save)
    assert [p.believes(uuid) for p in (reader, other)] == [2, 2]


def test_a_gate_evicted_under_two_writers_lets_nothing_stay(
    party: Parties, start: Start, raw: redis.Redis
) -> None:
    first, second, reader, uuid = party(), party(), party(), new_uuid()
    reader.trust()
    with first.steps.stop("before", "save") as saving:
        save = start(lambda: first.save(uuid, 1))
        saving.wait()
        forget_entry(raw, first, uuid)
        second.save(uuid, 2)
        assert reader.get(uuid) == 2
        saving.go.set()
        later(save)
    assert [p.believes(uuid) for p in (reader, second)] == [1, 1]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x00\xff garbage",
        b"css0 1 1\n{}",
        b"css2 1 1\n{}",
        b"css1 1\n{}",
        b"css1 -1 1\n{}",
        b"css1 1 1",
        b'{"uuid": "x"}',
        b"css1 999999 1\nnot json",
    ],
)
def test_an_entry_that_is_not_of_this_format_is_a_miss(
    party: Parties, raw: redis.Redis, value: bytes
) -> None:
    writer, reader, uuid = party(), party(), new_uuid()
    writer.save(uuid, 1)
    raw.set(writer.keys(uuid)[0], value)
    assert reader.get(uuid) == 1
    writer.save(uuid, 2)
    assert reader.get(uuid) == 2
    assert reader.cached(uuid)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("kind", ["list", "set", "hash", "string", "zset", "stream"])
def test_a_key_of_another_type_in_our_place_is_left_alone(
    party: Parties, raw: redis.Redis, which: int, kind: str
) -> None:
    writer, reader, uuid = party(), party(), new_uuid()
    writer.save(uuid, 1)
    key = writer.keys(uuid)[which]
    forget_entry(raw, writer, uuid)
    if kind == "list":
        raw.rpush(key, "theirs")
    elif kind == "set":
        raw.sadd(key, "theirs")
    elif kind == "hash":
        raw.hset(key, "their", "field")
    elif kind == "string":
        raw.set(key, "theirs")
    elif kind == "zset":
        raw.zadd(key, {"theirs": 1.0})
    else:
        raw.xadd(key, {"their": "field"})
    assert reader.get(uuid) == 1
    writer.save(uuid, 2)
    assert [p.believes(uuid) for p in (reader, writer)] == [2, 2]
    writer.delete(uuid)
    assert [p.believes(uuid) for p in (reader, writer)] == [None, None]
    ours = {0: "string", 1: "hash"}[which]
    if kind != ours:
        assert raw.type(key) == kind.encode()


def test_an_entry_of_an_older_episode_is_compared_and_renewed(
    party: Parties, raw: redis.Redis, sql: psycopg.Connection[tuple[Any, ...]]
) -> None:
    writer, reader, uuid = party(), party(), new_uuid()
    writer.save(uuid, 1)
    reader.trust()
    sql.execute("UPDATE vcon_cache_state SET episode = episode + 1")
    reader.trust()
    assert not reader.cached(uuid)  # compared: of the old episode
    assert not reader.cached(uuid)  # read, and filled
    assert reader.cached(uuid)
    assert reader.get(uuid) == 1


def test_an_old_version_of_an_older_episode_is_not_returned(
    party: Parties, raw: redis.Redis, sql: psycopg.Connection[tuple[Any, ...]]
) -> None:
    writer, reader, uuid = party(), party(), new_uuid()
    writer.save(uuid, 1)
    old = raw.get(writer.keys(uuid)[0])
    assert isinstance(old, bytes)
    writer.save(uuid, 2)
    sql.execute("UPDATE vcon_cache_state SET episode = episode + 1")
    raw.set(writer.keys(uuid)[0], old)  # as a Redis that lost its last seconds has it
    reader.trust()
    assert reader.get(uuid) == 2


# Doubts


@pytest.mark.parametrize("change", ["save", "delete"])
def test_a_reader_that_trusts_its_cache_sees_the_change_of_a_writer_without_redis(
    party: Parties, start: Start, change: str
) -> None:
    writer, reader, seed, uuid = party(redis_url=DEAD_REDIS), party(), party(), new_uuid()
    seed.save(uuid, 1)
    stop = threading.Event()

    def read_all_the_time() -> list[tuple[float, int | None]]:
        seen = []
        while not stop.is_set():
            began = time.monotonic()
            seen.append((began, reader.get(uuid)))
        return seen

    reading = start(read_all_the_time)
    time.sleep(0.2)
    if change == "save":
        writer.save(uuid, 2)
    else:
        writer.delete(uuid)
    returned = time.monotonic()
    time.sleep(0.3)
    stop.set()
    new = 2 if change == "save" else None
    late = [value for began, value in later(reading) if began > returned]
    assert late
    assert set(late) == {new}


@pytest.mark.parametrize("change", ["save", "delete"])
def test_an_idle_reader_that_just_heard_from_the_database_sees_it_too(
    party: Parties, start: Start, change: str
) -> None:
    writer, reader, seed, uuid = party(redis_url=DEAD_REDIS), party(), party(), new_uuid()
    seed.save(uuid, 1)
    # The reader hears the cache's state at the last moment before the doubt.
    with writer.steps.stop("before", "doubt") as telling:
        call = (lambda: writer.save(uuid, 2)) if change == "save" else (lambda: writer.delete(uuid))
        changing = start(call)
        telling.wait()
        reader.trust()
        assert reader.cached(uuid)
        telling.go.set()
        later(changing)
    assert reader.get(uuid) == (2 if change == "save" else None)


def test_a_save_under_way_when_a_doubt_begins_is_not_believed(party: Parties, start: Start) -> None:
    """It read the cache's state before the doubt, and completes after it."""
    announced, doubting, reader, uuid = party(), party(redis_url=DEAD_REDIS), party(), new_uuid()
    with announced.steps.stop("after", "save") as saved:
        save = start(lambda: announced.save(uuid, 1))
        saved.wait()
        doubting.save(uuid, 2)
        saved.go.set()
        later(save)
    assert [p.believes(uuid) for p in (reader, announced)] == [2, 2]


def test_a_fill_under_way_when_a_doubt_begins_is_not_believed(
    party: Parties, start: Start, raw: redis.Redis
) -> None:
    reader, doubting, other, uuid = party(), party(redis_url=DEAD_REDIS), party(), new_uuid()
    other.save(uuid, 1)
    forget_entry(raw, other, uuid)
    with reader.steps.stop("before", "fill") as filling:
        get = start(lambda: reader.get(uuid))
        filling.wait()
        doubting.save(uuid, 2)
        filling.go.set()
        assert later(get) == 1
    assert raw.exists(other.keys(uuid)[0])
    assert [p.believes(uuid) for p in (reader, other)] == [2, 2]


def test_the_cache_is_used_again_after_a_doubt_and_then_believes_nothing_older(
    party: Parties,
) -> None:
    writer, reader, uuid = party(), party(), new_uuid()
    writer.save(uuid, 1)
    reader.trust()
    assert reader.cached(uuid)
    with writer.steps.failing("before", "begin", error=RedisTimeoutError("lost")):
        writer.save(uuid, 2)
        assert not reader.cached(uuid)
        assert reader.get(uuid) == 2
    eventually(lambda: reader.cached(uuid), 1.0 + TRUST + 0.25)
    assert [p.believes(uuid) for p in (reader, writer)] == [2, 2]


@pytest.mark.parametrize("change", ["save", "delete"])
def test_a_tenant_sees_at_once_what_a_writer_without_a_tenant_changed(
    party: Parties, change: str
) -> None:
    """Its entries are under another prefix, where that writer deletes nothing."""
    tenant, writer, uuid = party(tenant="acme"), party(), new_uuid()
    tenant.save(uuid, 1)
    writer.trust()
    assert tenant.believes(uuid) == 1
    if change == "save":
        writer.save(uuid, 2)
    else:
        writer.delete(uuid)
    assert tenant.get(uuid) == (2 if change == "save" else None)


def test_a_doubt_that_is_left_late_does_not_end_the_next_one(
    party: Parties, supabase: Supabase, sql: psycopg.Connection[tuple[Any, ...]]
) -> None:
    """The first attempt to leave is held on the way until the writer is in doubt again."""
    with Proxy(supabase.rest_url) as proxy:
        writer = party(rest_url=proxy.url, read_timeout=0.4)
        seed, reader, uuid = party(), party(), new_uuid()
        seed.save(uuid, 1)
        go = threading.Event()
        held: list[bytes] = []

        def hold(data: bytes) -> None:
            if b'"p_seconds":0' in data and not held:
                held.append(data)
                go.wait(PATIENCE)

        proxy.before = hold
        with writer.steps.failing("before", "begin", error=RedisTimeoutError("lost")):
            writer.save(new_uuid(), 1)
        eventually(lambda: held, 5.0)
        eventually(lambda: writer.storage._cache._doubt._until == float("-inf"), 5.0)
        with writer.steps.failing("before", "begin", error=RedisTimeoutError("lost")):
            writer.save(new_uuid(), 1)  # in doubt again
            go.set()
            time.sleep(0.3)
            assert sql.execute("SELECT off FROM vcon_storage_cache_state_v1()").fetchone() == (
                True,
            )
            reader.get(uuid)
            reader.get(uuid)
            writer.save(uuid, 2)
            assert reader.get(uuid) == 2


def test_a_doubt_that_begins_while_the_watching_thread_ends_is_left_all_the_same() -> None:
    asked = []

    def tick(_is_open: bool) -> bool:
        asked.append(True)
        if len(asked) == 1:
            breaker.watch()  # a doubt begins here, after this answer was decided
        return True

    breaker = Breaker(lambda: None, tick)
    breaker.watch()
    eventually(lambda: len(asked) >= 2, 2.0)


# A database that does not answer


def _unheard(supabase: Supabase, party: Parties, answer: bytes) -> tuple[int | None, str]:
    """Save without Redis while a reader, whose trust is over, gets this answer instead of data."""
    uuid = new_uuid()
    with Proxy(supabase.rest_url) as proxy:
        writer, seed = party(redis_url=DEAD_REDIS), party()
        reader = party(rest_url=proxy.url, total_timeout=0.5)
        seed.save(uuid, 1)
        reader.get(uuid)
        assert reader.cached(uuid)
        writer.save(uuid, 2)
        proxy.before = lambda _: answer
        try:
            return reader.get(uuid), uuid
        except UnavailableError:
            return 2, uuid


def _http(status: str, body: dict[str, str]) -> bytes:
    text = json.dumps(body)
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(text)}\r\n\r\n{text}"
    ).encode()


@pytest.mark.parametrize(
    "answer",
    [
        _http("429 Too Many Requests", {"message": "rate limit"}),
        _http("504 Gateway Timeout", {"code": "PGRST003", "message": "no connection in time"}),
    ],
    ids=["rate limit", "no free connection"],
)
def test_a_database_that_is_busy_is_no_reason_to_believe_an_entry(
    supabase: Supabase, party: Parties, answer: bytes
) -> None:
    """It is busy with the changes of others."""
    assert _unheard(supabase, party, answer)[0] == 2


def test_an_entry_is_not_believed_without_the_database_when_a_doubt_was_heard_of(
    supabase: Supabase, party: Parties
) -> None:
    writer, reader, seed, uuid = party(redis_url=DEAD_REDIS), party(total_timeout=0.5), party(), ""
    uuid = new_uuid()
    seed.save(uuid, 1)
    reader.get(uuid)
    writer.save(uuid, 2)
    reader.trust()  # hears that the cache is off
    supabase.stop_service("postgrest")
    try:
        assert _get_or_unavailable(reader, uuid) in {2, "unavailable"}
    finally:
        supabase.start_service("postgrest")


def _get_or_unavailable(party: Party, uuid: str) -> int | str | None:
    try:
        return party.get(uuid)
    except UnavailableError:
        return "unavailable"


def test_a_save_spooled_by_a_writer_without_redis_is_found_beside_an_older_entry(
    supabase: Supabase, party: Parties
) -> None:
    """The cache's Redis is away for it, then the database; its spool is in another Redis."""
    writer = party(redis_url=DEAD_REDIS, spool_url=supabase.redis_url)
    seed, reader, uuid = party(), party(), new_uuid()
    seed.save(uuid, 1)
    away = UnavailableError("away", may_have_happened=False)
    with writer.steps.failing("before", "save", error=away):
        writer.save(uuid, 2)
    assert reader.get(uuid) == 2
    assert reader.believes(uuid) == 2


# Many readers at once


def test_sixteen_threads_that_miss_one_vcon_read_it_at_most_twice(
    party: Parties, start: Start, raw: redis.Redis
) -> None:
    reader, writer, uuid = party(), party(), new_uuid()
    writer.save(uuid, 1)
    for _ in range(20):
        forget_entry(raw, writer, uuid)
        before = reader.reads()
        barrier = threading.Barrier(16)

        def get(barrier: threading.Barrier = barrier) -> int | None:
            barrier.wait()
            return reader.get(uuid)

        assert [later(call) for call in [start(get) for _ in range(16)]] == [1] * 16
        assert reader.reads() - before <= 2


def test_sixteen_threads_without_a_cache_read_it_at_most_twice_while_a_read_is_slow(
    party: Parties, start: Start
) -> None:
    reader, uuid = party(redis_url=None), new_uuid()
    reader.save(uuid, 1)
    with reader.steps.stop("before", "get") as reading:
        calls = [start(lambda: reader.get(uuid)) for _ in range(16)]
        reading.wait()
        time.sleep(0.1)
        reading.go.set()
        assert [later(call) for call in calls] == [1] * 16
    assert reader.reads() <= 2


@pytest.mark.parametrize("cached", [True, False])
def test_a_get_does_not_share_a_read_that_began_before_a_save_returned(
    party: Parties, start: Start, raw: redis.Redis, cached: bool
) -> None:
    reader, writer, uuid = party() if cached else party(redis_url=None), party(), new_uuid()
    writer.save(uuid, 1)
    forget_entry(raw, writer, uuid)
    with reader.steps.stop("after", "get") as read:
        early = start(lambda: reader.get(uuid))
        read.wait()
        writer.save(uuid, 2)
        late = start(lambda: reader.get(uuid))
        time.sleep(0.1)
        read.go.set()
        assert later(late) == 2
        assert later(early) == 1
