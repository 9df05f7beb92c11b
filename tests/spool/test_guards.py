"""What keeps a replay from undoing, repeating, reordering or losing anything."""

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis

from conserver_supabase_storage import SupabaseStorage, UnavailableError
from conserver_supabase_storage.breaker import PROBE_INTERVAL

from ..home import Supabase
from .support import (
    Database,
    Json,
    Opener,
    away,
    eventually,
    new_uuid,
    process,
    spool_of,
    spool_while_away,
    spooled,
    vcon,
    version_of,
    waiting,
)

# Newer state wins, also where the spool could not be told


def test_a_later_direct_save_is_not_undone(storage: SupabaseStorage, database: Database) -> None:
    one, before = new_uuid(), time.time()
    storage.save(vcon(one, 2))
    spooled(storage, vcon(one, 1), not_after=before)
    assert version_of(storage.get(one)) == 2
    assert storage.replay()["waiting"] == 0
    assert version_of(storage.get(one)) == 2
    assert database.history(one) == [(one, 2)]


def test_a_later_delete_is_not_undone(storage: SupabaseStorage, database: Database) -> None:
    one = new_uuid()
    storage.save(vcon(one, 1))
    before = time.time()
    storage.delete(one)
    spooled(storage, vcon(one, 2), not_after=before)
    assert storage.get(one) is None
    assert storage.replay()["waiting"] == 0
    assert storage.get(one) is None
    assert database.history(one) == [(one, 1), (one, None)]


def test_an_earlier_save_or_delete_is_overtaken(
    storage: SupabaseStorage, database: Database
) -> None:
    saved, deleted = new_uuid(), new_uuid()
    storage.save(vcon(saved, 1))
    storage.save(vcon(deleted, 1))
    storage.delete(deleted)
    time.sleep(0.01)
    after = time.time()  # the database's clock is this machine's
    spooled(storage, vcon(saved, 2), vcon(deleted, 2), not_after=after)
    storage.replay()
    assert [database.version(uuid) for uuid in (saved, deleted)] == [2, 2]


@pytest.mark.parametrize("then", ["save", "save the same", "delete"])
def test_a_change_that_the_spool_does_not_hear_of_is_not_undone(
    stack: Supabase, opener: Opener, database: Database, then: str
) -> None:
    first, second, one = opener(), opener(), new_uuid()
    first.save(vcon(one, 1))
    spooled(first, vcon(one, 2))
    stack.stop_service("redis")
    try:
        if then == "delete":
            assert second.delete(one) is True
        else:
            second.save(vcon(one, 1 if then == "save the same" else 3))
    finally:
        stack.start_service("redis")
    expected = {"save": 3, "save the same": 1, "delete": None}[then]
    assert eventually(lambda: version_of(second.get(one)) == expected, 1)
    assert waiting(opener()) == [(one, 2)]
    assert version_of(first.get(one)) == expected
    first.replay()
    assert waiting(first) == []
    assert [version_of(storage.get(one)) for storage in (first, second)] == [expected] * 2
    assert database.version(one) == expected


def test_the_later_of_two_spooled_saves_wins_whatever_the_clocks_say(
    storage: SupabaseStorage, database: Database
) -> None:
    one, now = new_uuid(), time.time()
    spooled(storage, vcon(one, 1), not_after=now + 3600)
    spooled(storage, vcon(one, 2), not_after=now - 3600)
    storage.replay()
    assert database.history(one) == [(one, 2)]


# Changes while a replay is under way


def replayed_with(
    storage: SupabaseStorage, step: str, meanwhile: Callable[[], object]
) -> dict[str, int]:
    """Replay; when the first record is about to be `written` or `removed`, do something else."""
    spool = spool_of(storage)
    done = False

    def first(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **named: Any) -> Any:
            nonlocal done
            if not done:
                done = True
                with ThreadPoolExecutor(1) as pool:
                    pool.submit(meanwhile).result(30)
            return call(*arguments, **named)

        return called

    with pytest.MonkeyPatch.context() as patch:
        if step == "written":
            patch.setattr(storage, "_write", first(storage._write))
        else:
            patch.setattr(spool, "remove", first(spool.remove))
        return storage.replay()


steps = pytest.mark.parametrize("step", ["written", "removed"])


@steps
def test_a_newer_spooled_save_in_the_middle_of_a_replay_stays(
    opener: Opener,
    database: Database,
    step: str,
) -> None:
    replayer, saver, one = opener(), opener(), new_uuid()
    spooled(replayer, vcon(one, 1))

    def newer() -> None:
        spooled(saver, vcon(one, 2))

    counts = replayed_with(replayer, step, newer)
    assert counts["waiting"] == 0
    assert database.history(one) == [(one, 1), (one, 2)]


@steps
def test_a_newer_direct_save_in_the_middle_of_a_replay_stays(
    opener: Opener,
    database: Database,
    step: str,
) -> None:
    replayer, saver, one = opener(), opener(), new_uuid()
    spooled(replayer, vcon(one, 1))
    replayed_with(replayer, step, lambda: saver.save(vcon(one, 2)))
    assert [version_of(storage.get(one)) for storage in (replayer, saver)] == [2, 2]
    assert (database.version(one), waiting(saver)) == (2, [])


@steps
def test_a_direct_save_of_what_the_database_has_in_the_middle_of_a_replay_stays(
    opener: Opener,
    database: Database,
    step: str,
) -> None:
    replayer, saver, one = opener(), opener(), new_uuid()
    saver.save(vcon(one, 1))
    spooled(replayer, vcon(one, 2))
    replayed_with(replayer, step, lambda: saver.save(vcon(one, 1)))
    assert [version_of(storage.get(one)) for storage in (replayer, saver)] == [1, 1]
    assert (database.version(one), waiting(saver)) == (1, [])


@steps
@pytest.mark.parametrize("was_there", [True, False])
def test_a_delete_in_the_middle_of_a_replay_stays(
    opener: Opener,
    database: Database,
    step: str,
    was_there: bool,
) -> None:
    replayer, deleter, one = opener(), opener(), new_uuid()
    if was_there:
        deleter.save(vcon(one, 1))
    spooled(replayer, vcon(one, 2))
    deleted: list[bool] = []
    replayed_with(replayer, step, lambda: deleted.append(deleter.delete(one)))
    assert deleted == [True]
    assert [storage.get(one) for storage in (replayer, deleter)] == [None, None]
    assert (database.version(one), waiting(deleter)) == (None, [])


# Several replayers


REPLAYER = """
with SupabaseStorage(options) as storage:
    storage.health()
    print("ready", flush=True)
    sys.stdin.readline()
    replayed = 0
    while True:
        counts = storage.replay()
        replayed += counts["replayed"]
        if not counts["waiting"]:
            break
        time.sleep(0.005)
    print(json.dumps(replayed), flush=True)
"""


def test_replayers_in_several_processes_replay_each_entry_once_and_in_order(
    opener: Opener, options: Json, database: Database
) -> None:
    storage, uuids = opener(), [new_uuid() for _ in range(150)]
    with (
        process(REPLAYER, options) as first,
        process(REPLAYER, options) as second,
        process(REPLAYER, options) as third,
    ):
        others = (first, second, third)
        assert [other.line() for other in others] == ["ready"] * 3
        spooled(storage, *(vcon(uuid, 1) for uuid in uuids))
        for other in others:
            other.tell("go")
        # Versions come on while they replay, each for a vCon that may be under way just then.
        for version in (2, 3):
            for uuid in uuids[::10]:
                spooled(storage, vcon(uuid, version))
        total = sum(int(other.line()) for other in others)
        total += storage.replay()["replayed"]
    assert_each_once_in_order(database, uuids, newest=3)
    assert total == len(database.history(*uuids))


@pytest.mark.parametrize("shared", [False, True])
def test_replayers_in_several_threads_replay_each_entry_once_and_in_order(
    opener: Opener, database: Database, shared: bool
) -> None:
    """`shared`: they use one storage, as a process with a replay in the background does."""
    storages = [opener()] * 4 if shared else [opener() for _ in range(4)]
    uuids = [new_uuid() for _ in range(100)]
    spooled(storages[0], *(vcon(uuid, 1) for uuid in uuids))
    start = threading.Barrier(4)

    def replay(storage: SupabaseStorage) -> int:
        start.wait(10)
        replayed = 0
        while True:
            counts = storage.replay()
            replayed += counts["replayed"]
            if not counts["waiting"]:
                return replayed
            time.sleep(0.005)

    with ThreadPoolExecutor(4) as pool:
        replays = [pool.submit(replay, storage) for storage in storages]
        for version in (2, 3):
            for uuid in uuids[::10]:
                spooled(storages[0], vcon(uuid, version))
        total = sum(found.result(60) for found in replays)
    total += storages[0].replay()["replayed"]
    assert_each_once_in_order(database, uuids, newest=3)
    assert total == len(database.history(*uuids))


def assert_each_once_in_order(database: Database, uuids: list[str], newest: int) -> None:
    history = database.history(*uuids)
    assert len(history) == len(set(history))  # no version of a vCon twice
    for place, uuid in enumerate(uuids):
        versions = [version for other, version in history if other == uuid]
        assert versions == sorted(version for version in versions if version is not None)
        assert versions[-1] == (newest if place % 10 == 0 else 1)
    # Those that were saved once only: in the order of their saves.
    once = [uuid for place, uuid in enumerate(uuids) if place % 10]
    assert [uuid for uuid in database.revisions(*uuids) if uuid in set(once)] == once


def test_a_replayer_leaves_the_right_to_replay_when_it_is_done(opener: Opener) -> None:
    first, second = opener(), opener()
    for storage in (first, second, first):
        spooled(first, vcon(new_uuid(), 1))
        assert storage.replay() == {"replayed": 1, "failed": 0, "waiting": 0}


def test_a_storage_that_is_closed_leaves_its_replay_in_order(
    opener: Opener, options: Json, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The conserver's options change, say, while a replay is under way in the background."""
    other, uuids = opener(), [new_uuid() for _ in range(5)]
    spooled(other, *(vcon(uuid, 1) for uuid in uuids))
    ended: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda thread: ended.append(thread.exc_value))
    with database.slow(uuids[1], 0.3):
        with SupabaseStorage(options) as storage:
            storage.save(vcon(new_uuid(), 1))  # begins it
            assert eventually(lambda: database.version(uuids[0]) == 1)
            time.sleep(0.1)
        assert eventually(lambda: other.replay()["waiting"] == 0, 5)  # it has left the right to it
    assert ended == []
    assert database.history(*uuids) == [(uuid, 1) for uuid in uuids]


@pytest.mark.parametrize("thread", ["supabase-storage-replay", "supabase-storage-redis"])
def test_a_thread_that_waits_for_redis_ends_quietly_when_its_storage_is_closed(
    stack: Supabase, options: Json, monkeypatch: pytest.MonkeyPatch, thread: str
) -> None:
    ended: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda thread: ended.append(thread.exc_value))
    storage = SupabaseStorage(options)
    storage.get(new_uuid())
    stack.pause_service("redis")
    try:
        if thread == "supabase-storage-replay":
            storage._spooling.start()
            time.sleep(0.1)  # of the 0.25 s that it waits for Redis
        else:
            storage.get(new_uuid())
            time.sleep(PROBE_INTERVAL + 0.1)
        threads = [each for each in threading.enumerate() if each.name == thread]
        assert threads
        storage.close()
        for each in threads:
            each.join(5)
    finally:
        stack.resume_service("redis")
    assert not any(each.is_alive() for each in threads)
    assert ended == []


# Killed


KILLED_IN_REPLAY = """
storage = SupabaseStorage(options)
storage.health()
if arguments[0] == "before the commit":
    storage._write = lambda *_, **__: hang("here")
else:
    storage.spool.remove = lambda *_: hang("here")
storage.replay()
"""


def killed_in_replay(options: Json, where: str) -> None:
    with process(KILLED_IN_REPLAY, options, where) as worker:
        assert worker.line() == "here"
        worker.kill()


def lock_of(options: Json) -> str:
    return f"{options['cache_prefix']}{{spool}}:lock"


def wait_for_the_right(redis: Redis, options: Json) -> None:
    """Let the time pass that a worker is missed for: until then nobody else replays."""
    left = int(redis.pttl(lock_of(options)))
    assert 0 < left <= (2 * options["total_timeout"] + 10) * 1000
    redis.pexpire(lock_of(options), 200)
    assert eventually(lambda: not redis.exists(lock_of(options)), 2)


@pytest.mark.parametrize("where", ["before the commit", "between the commit and the removal"])
def test_a_worker_killed_in_replay_loses_nothing(
    opener: Opener,
    options: Json,
    database: Database,
    redis: Redis,
    where: str,
) -> None:
    storage, uuids = opener(), [new_uuid() for _ in range(3)]
    spooled(storage, *(vcon(uuid, 1) for uuid in uuids))
    killed_in_replay(options, where)
    assert database.version(uuids[0]) == (None if where == "before the commit" else 1)
    assert waiting(storage) == [(uuid, 1) for uuid in uuids]
    assert storage.replay() == {"replayed": 0, "failed": 0, "waiting": 3}  # not its turn yet
    assert [version_of(storage.get(uuid)) for uuid in uuids] == [1, 1, 1]
    wait_for_the_right(redis, options)
    assert storage.replay() == {"replayed": 3, "failed": 0, "waiting": 0}
    assert database.history(*uuids) == [(uuid, 1) for uuid in uuids]


def test_the_right_to_replay_of_a_killed_worker_runs_out_by_itself(
    opener: Opener, options: Json, database: Database
) -> None:
    storage, one, short = opener(), new_uuid(), options | {"total_timeout": 0.5}
    spooled(storage, vcon(one, 1))
    began = time.monotonic()
    killed_in_replay(short, "before the commit")
    assert eventually(lambda: storage.replay()["waiting"] == 0, 20)
    assert time.monotonic() - began < 2 * 0.5 + 10 + 6  # and the start of that process
    assert database.history(one) == [(one, 1)]


def test_a_replayer_that_stalls_until_others_take_over_undoes_nothing(
    opener: Opener, options: Json, database: Database, redis: Redis
) -> None:
    stalled, other, one = opener(), opener(), new_uuid()
    spooled(stalled, vcon(one, 1))

    def take_over() -> None:
        assert redis.delete(lock_of(options)) == 1  # its time has run out
        assert other.replay()["replayed"] == 1
        spooled(other, vcon(one, 2))
        assert other.replay()["replayed"] == 1
        spooled(other, vcon(one, 3))
        assert spool_of(other).own("a third one", 30)

    counts = replayed_with(stalled, "written", take_over)
    assert counts["waiting"] == 1
    assert waiting(other) == [(one, 3)]
    assert redis.get(lock_of(options)) == b"a third one"
    assert database.history(one) == [(one, 1), (one, 2)]


@pytest.mark.parametrize("then", ["save", "delete"])
def test_a_change_after_a_replay_that_was_killed_is_not_undone(
    opener: Opener,
    options: Json,
    database: Database,
    redis: Redis,
    then: str,
) -> None:
    storage, one = opener(), new_uuid()
    spooled(storage, vcon(one, 1))
    (record,) = spool_of(storage).waiting()
    killed_in_replay(options, "between the commit and the removal")
    change(storage, one, then)
    assert waiting(storage) == []
    # As if it had not been removed.
    assert spool_of(storage).put(record.uuid, record.document, record.not_after) is None
    wait_for_the_right(redis, options)
    storage.replay()
    expected = 2 if then == "save" else None
    assert [version_of(storage.get(one)), database.version(one)] == [expected, expected]


def change(storage: SupabaseStorage, uuid: str, then: str) -> None:
    if then == "save":
        storage.save(vcon(uuid, 2))
    else:
        assert storage.delete(uuid) is True


KILLED_IN_SAVE = """
storage = SupabaseStorage(options)
storage.health()
where, document = arguments[0], json.loads(arguments[1])
if where == "before the commit":
    storage._write = lambda *_, **__: hang("here")
elif where == "after the commit":
    call = storage._database.call
    storage._database.call = lambda *a, **k: (call(*a, **k), hang("here"))
elif where == "before it is spooled":
    storage._spooling.keep = lambda *_: hang("here")
elif where == "after it is spooled":
    keep = storage._spooling.keep
    storage._spooling.keep = lambda *a: (keep(*a), hang("here"))
storage.save(document)
"""


@pytest.mark.parametrize(
    ("where", "is_there"),
    [
        ("before the commit", False),
        ("after the commit", True),
        ("before it is spooled", False),
        ("after it is spooled", True),
    ],
)
def test_a_worker_killed_in_save_leaves_the_old_or_the_new_version(
    stack: Supabase,
    opener: Opener,
    options: Json,
    database: Database,
    where: str,
    is_there: bool,
) -> None:
    storage, one = opener(), new_uuid()
    storage.save(vcon(one, 1))
    assert version_of(storage.get(one)) == 1
    if "spooled" in where:
        stack.stop_service("postgrest")
    try:
        with process(KILLED_IN_SAVE, options, where, json.dumps(vcon(one, 2))) as worker:
            assert worker.line() == "here"
            worker.kill()
    finally:
        if "spooled" in where:
            stack.start_service("postgrest")
    # Never the one and then the other.
    expected = 2 if is_there else 1
    assert [version_of(storage.get(one)) for _ in range(5)] == [expected] * 5
    assert waiting(storage) == ([(one, 2)] if where == "after it is spooled" else [])
    storage.replay()
    assert [version_of(storage.get(one)), database.version(one)] == [expected] * 2
    storage.save(vcon(one, 3))
    assert [version_of(storage.get(one)), database.version(one)] == [3, 3]


# The clock


def clock_error(storage: SupabaseStorage, database: Database) -> float:
    """By how many seconds what a storage knows of the database's clock is wrong."""
    before = storage._freshness.now()
    time_there = database.time()
    after = storage._freshness.now()
    assert before is not None
    assert after is not None
    return max(before - time_there, time_there - after)


def test_a_save_that_had_to_try_again_does_not_put_the_clock_wrong(
    stack: Supabase, opener: Opener, database: Database
) -> None:
    storage, replayer, other, one = opener(total_timeout=5), opener(), opener(), new_uuid()
    stack.stop_service("postgrest")
    back = threading.Timer(1.0, lambda: stack.start_service("postgrest"))
    back.start()
    storage.save(vcon(new_uuid(), 1))
    back.join()
    assert "spooled" not in storage.stats()
    error = clock_error(storage, database)
    # What rests on it: a save that is spooled just then, and a later one by somebody else.
    spooled(storage, vcon(one, 1), not_after=storage._freshness.now())
    replayed_with(replayer, "written", lambda: other.save(vcon(one, 2)))
    assert (database.version(one), error < 0.2) == (2, True), f"wrong by {error} s"


# Two faults one after the other


def test_a_save_without_redis_is_seen_when_supabase_goes_as_redis_comes_back(
    stack: Supabase, opener: Opener
) -> None:
    saver, reader, one = opener(), opener(), new_uuid()
    saver.save(vcon(one, 1))
    assert version_of(reader.get(one)) == 1  # in the cache
    stack.stop_service("redis")
    saver.save(vcon(one, 2))
    with away(stack):
        stack.start_service("redis")  # still with the entry of the first version
        for storage in (reader, saver, opener()):
            try:
                found = storage.get(one)
            except UnavailableError:
                continue
            assert version_of(found) == 2
    assert eventually(lambda: version_of(reader.get(one)) == 2, 1)


def test_while_its_redis_is_away_a_spooled_save_is_not_seen_but_not_lost(
    stack: Supabase, opener: Opener, database: Database
) -> None:
    """What no reader can know: that something waits where nobody can look."""
    saver, reader, one = opener(), opener(), new_uuid()
    saver.save(vcon(one, 1))
    spool_while_away(stack, saver, vcon(one, 2))
    stack.stop_service("redis")
    try:
        assert version_of(reader.get(one)) == 1
    finally:
        stack.start_service("redis")
    assert eventually(lambda: version_of(reader.get(one)) == 2, 1)
    assert reader.replay()["replayed"] == 1
    assert database.version(one) == 2
