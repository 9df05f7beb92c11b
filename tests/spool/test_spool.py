"""What the spool does: keeps saves while Supabase is away, and replays them in their order."""

import json
import time
from decimal import Decimal
from typing import Any

import pytest
from redis import Redis

from conserver_supabase_storage import (
    InvalidVconError,
    RefusedError,
    SupabaseStorage,
    UnavailableError,
)

from ..home import Supabase
from .support import (
    Database,
    Json,
    Opener,
    away,
    eventually,
    new_uuid,
    process,
    set_aside,
    spool_of,
    spool_while_away,
    spooled,
    vcon,
    version_of,
    waiting,
)

READER = """
with SupabaseStorage(options) as storage:
    for _ in sys.stdin:
        versions = [(storage.get(uuid) or {}).get("version") for uuid in arguments]
        print(json.dumps(versions), flush=True)
"""

own_and_default = pytest.mark.parametrize("spool_url", [None, "other_redis"], indirect=True)


# Kept


@own_and_default
def test_a_save_returns_and_is_in_the_spool(
    stack: Supabase, opener: Opener, database: Database, spool_url: str | None
) -> None:
    storage, one = opener(spool_url=spool_url), new_uuid()
    with away(stack):
        storage.save(vcon(one, 1))
        assert waiting(storage) == [(one, 1)]
    assert storage.stats()["spooled"] == 1
    assert database.version(one) is None
    assert storage.replay() == {"replayed": 1, "failed": 0, "waiting": 0}
    assert database.version(one) == 1
    assert spool_of(storage).size() == {"waiting": 0, "bytes": 0, "failed": 0}


@own_and_default
def test_a_get_finds_it(stack: Supabase, opener: Opener, spool_url: str | None) -> None:
    saver, reader = opener(spool_url=spool_url), opener(spool_url=spool_url)
    new, known = new_uuid(), new_uuid()
    saver.save(vcon(known, 1))
    assert version_of(reader.get(known)) == 1  # and it is in the cache now
    with away(stack):
        saver.save(vcon(new, 1))
        saver.save(vcon(known, 2))
        assert [version_of(saver.get(new)), version_of(reader.get(known))] == [1, 2]
    # Supabase is back, and has an older version, or none.
    for storage in (saver, reader):
        assert [version_of(storage.get(uuid)) for uuid in (new, known)] == [1, 2]
    assert len(waiting(saver)) == 2


def test_a_get_in_another_process_finds_it(
    stack: Supabase, storage: SupabaseStorage, options: Json
) -> None:
    new, known = new_uuid(), new_uuid()
    storage.save(vcon(known, 1))
    with process(READER, options, new, known) as other:
        assert json.loads(other.ask("")) == [None, 1]
        with away(stack):
            storage.save(vcon(new, 1))
            storage.save(vcon(known, 2))
            assert json.loads(other.ask("")) == [1, 2]
        assert json.loads(other.ask("")) == [1, 2]
        storage.save(vcon(known, 3))
        assert json.loads(other.ask("")) == [1, 3]


def test_only_the_first_saves_of_an_outage_wait_for_supabase(
    stack: Supabase, storage: SupabaseStorage
) -> None:
    with away(stack):
        storage.save(vcon(new_uuid(), 1))
        began = time.monotonic()
        for _ in range(10):
            storage.save(vcon(new_uuid(), 1))
        assert time.monotonic() - began < 1.0  # total_timeout, which each would cost otherwise
    assert len(waiting(storage)) == 11


def test_spool_raises(stack: Supabase, opener: Opener, database: Database) -> None:
    storage, one = opener(spool_raises=True), new_uuid()
    with away(stack):
        with pytest.raises(UnavailableError, match="it is in the spool and will be replayed"):
            storage.save(vcon(one, 1))
        assert waiting(storage) == [(one, 1)]
        assert version_of(storage.get(one)) == 1
    assert storage.replay()["replayed"] == 1
    assert database.version(one) == 1


def test_full_by_count(stack: Supabase, opener: Opener) -> None:
    storage, first, second = opener(spool_max_count=2), new_uuid(), new_uuid()
    with away(stack):
        storage.save(vcon(first, 1))
        storage.save(vcon(second, 1))
        with pytest.raises(UnavailableError, match=r"spool is full \(option spool_max_count\)"):
            storage.save(vcon(new_uuid(), 1))
        storage.save(vcon(first, 2))  # in place of its older version: no more than before
    assert waiting(storage) == [(second, 1), (first, 2)]
    assert (storage.stats()["spooled"], storage.stats()["spool_full"]) == (3, 1)


def test_full_by_bytes(stack: Supabase, opener: Opener) -> None:
    storage, one = opener(spool_max_bytes=3_000), new_uuid()
    with away(stack):
        storage.save(vcon(one, 1, note="x" * 2_000))
        with pytest.raises(UnavailableError, match=r"spool is full \(option spool_max_bytes\)"):
            storage.save(vcon(new_uuid(), 1, note="x" * 2_000))
        storage.save(vcon(one, 2, note="y" * 2_500))  # it takes the place of the first
        with pytest.raises(UnavailableError, match="spool_max_bytes"):
            storage.save(vcon(one, 3, note="z" * 4_000))
        assert version_of(storage.get(one)) == 2
    held = spool_of(storage).size()["bytes"]
    assert 2_500 < held < 3_000
    assert (storage.stats()["spooled"], storage.stats()["spool_full"]) == (2, 2)


def test_without_redis_there_is_no_spool(stack: Supabase, opener: Opener) -> None:
    storage = opener(redis_url=None)
    assert storage.spool is None
    with away(stack), pytest.raises(UnavailableError, match="can't be reached"):
        storage.save(vcon(new_uuid(), 1))
    assert storage.replay() == {"replayed": 0, "failed": 0, "waiting": 0}


def test_a_spool_needs_no_cache(
    stack: Supabase, opener: Opener, database: Database, other_redis: str
) -> None:
    storage, one = opener(redis_url=None, spool_url=other_redis), new_uuid()
    spool_while_away(stack, storage, vcon(one, 1))
    assert version_of(storage.get(one)) == 1
    assert storage.replay()["replayed"] == 1
    assert database.version(one) == 1


EXACT = """
{"uuid": "%s", "version": 1,
 "parties": [{"name": "Zo\\u00eb \\ud83d\\udcde \u540d\u524d \u202e \\u007f \\\\ \\"/"}],
 "dialog": [{"type": "text", "parties": [0], "duration": 123456789.123456789012345678901234567890,
   "body": "line\\r\\nline\\u2028\\t", "encoding": "none", "url": "", "session_id": []}],
 "big": 123456789012345678901234567890, "small": 1.0e-400, "huge": 1.50E+300, "zero": -0.0,
 "trailing": 1.10, "empty": {"": null, " ": [], "x": {}}}
"""


def test_every_digit_and_character_survives_the_spool(stack: Supabase, opener: Opener) -> None:
    storage, reader, one = opener(), opener(redis_url=None), new_uuid()
    document = json.loads(EXACT % one, parse_float=Decimal)

    def texts(found: Any) -> list[tuple[str, str]]:
        """Each number as it is written: 1.10 and 1.1 are equal, but not the same."""
        if isinstance(found, dict):
            return [item for name in sorted(found) for item in texts({name: found[name]}.popitem())]
        if isinstance(found, (list, tuple)):
            return [item for value in found for item in texts(value)]
        return [(type(found).__name__, str(found))]

    spool_while_away(stack, storage, document)
    spooled = storage.get(one, parse_float=Decimal)
    assert spooled == document
    assert texts(spooled) == texts(document)
    assert storage.replay()["replayed"] == 1
    stored = reader.get(one, parse_float=Decimal)
    assert stored == document
    assert texts(stored) == texts(document)


def test_each_tenant_has_a_spool_of_its_own(
    stack: Supabase, opener: Opener, database: Database
) -> None:
    first, second, one = opener(tenant="first"), opener(tenant="second"), new_uuid()
    with away(stack):
        first.save(vcon(one, 1))
        with pytest.raises(UnavailableError):
            second.get(one)
    assert (waiting(second), second.replay()["replayed"]) == ([], 0)
    assert first.replay()["replayed"] == 1
    assert (version_of(first.get(one)), second.get(one)) == (1, None)
    assert database.version(one) == 1


# Superseded


def test_a_newer_spooled_save_takes_its_place(
    stack: Supabase, opener: Opener, database: Database
) -> None:
    first, second, one, other = opener(), opener(), new_uuid(), new_uuid()
    with away(stack):
        first.save(vcon(one, 1))
        first.save(vcon(other, 1))
        second.save(vcon(one, 2))
        assert waiting(first) == [(other, 1), (one, 2)]
        assert version_of(first.get(one)) == 2
    assert first.replay()["replayed"] == 2
    assert database.history(one) == [(one, 2)]


def test_a_newer_direct_save_takes_its_place(
    stack: Supabase, opener: Opener, database: Database
) -> None:
    first, second, one = opener(), opener(), new_uuid()
    spool_while_away(stack, first, vcon(one, 1))
    second.save(vcon(one, 2))
    assert waiting(first) == []
    assert [version_of(storage.get(one)) for storage in (first, second)] == [2, 2]
    assert first.replay()["replayed"] == 0
    assert database.history(one) == [(one, 2)]


def test_a_direct_save_of_what_the_database_has_takes_its_place(
    stack: Supabase, opener: Opener, database: Database
) -> None:
    first, second, one = opener(), opener(), new_uuid()
    first.save(vcon(one, 1))
    spool_while_away(stack, first, vcon(one, 2))
    second.save(vcon(one, 1))
    assert [version_of(storage.get(one)) for storage in (first, second)] == [1, 1]
    first.replay()
    assert database.version(one) == 1


@pytest.mark.parametrize("was_there", [True, False])
def test_a_delete_removes_it(
    stack: Supabase, opener: Opener, database: Database, was_there: bool
) -> None:
    first, second, one = opener(), opener(), new_uuid()
    if was_there:
        first.save(vcon(one, 1))
    spool_while_away(stack, first, vcon(one, 2))
    assert second.delete(one) is True
    assert waiting(first) == []
    assert first.replay()["replayed"] == 0
    assert [first.get(one), second.get(one), database.version(one)] == [None, None, None]
    assert second.delete(one) is False


def test_a_delete_while_supabase_is_away_raises_and_changes_nothing(
    stack: Supabase, storage: SupabaseStorage, database: Database
) -> None:
    one = new_uuid()
    with away(stack):
        storage.save(vcon(one, 1))
        with pytest.raises(UnavailableError):
            storage.delete(one)
        assert waiting(storage) == [(one, 1)]
    assert storage.replay()["replayed"] == 1
    assert storage.delete(one) is True
    assert database.version(one) is None


# Replayed


def test_the_next_save_replays_in_the_background(
    stack: Supabase, opener: Opener, database: Database
) -> None:
    first, second = opener(), opener()
    uuids, other = [new_uuid() for _ in range(5)], new_uuid()
    spool_while_away(stack, first, *(vcon(uuid, 1) for uuid in uuids))
    second.save(vcon(other, 1))  # by another process than the one that spooled
    assert eventually(lambda: waiting(second) == [])
    assert eventually(lambda: second.stats().get("replayed") == 5)
    assert database.history(*uuids, other) == [(other, 1), *((uuid, 1) for uuid in uuids)]


def test_a_delete_of_another_vcon_replays_as_well(
    storage: SupabaseStorage, database: Database
) -> None:
    one = new_uuid()
    spooled(storage, vcon(one, 1))
    storage.delete(new_uuid())
    assert eventually(lambda: waiting(storage) == [])
    assert database.version(one) == 1


def test_replay_keeps_the_order(stack: Supabase, opener: Opener, database: Database) -> None:
    savers = [opener(), opener(), opener()]
    uuids = [new_uuid() for _ in range(12)]
    with away(stack):
        for number, uuid in enumerate(uuids):
            savers[number % 3].save(vcon(uuid, 1))
        savers[1].save(vcon(uuids[0], 2))  # a newer version waits where it was saved, at the end
    assert opener().replay() == {"replayed": 12, "failed": 0, "waiting": 0}
    expected = [*uuids[1:], uuids[0]]
    assert database.revisions(*uuids) == expected
    assert database.history(*uuids) == [(uuid, 2 if uuid == uuids[0] else 1) for uuid in expected]


def test_replay_while_supabase_is_away_says_so_and_keeps_all(
    stack: Supabase, storage: SupabaseStorage
) -> None:
    one = new_uuid()
    with away(stack):
        storage.save(vcon(one, 1))
        with pytest.raises(UnavailableError, match="can't be reached"):
            storage.replay()
        assert waiting(storage) == [(one, 1)]
    assert storage.replay() == {"replayed": 1, "failed": 0, "waiting": 0}


def test_replay_while_the_spool_is_away_says_so(stack: Supabase, storage: SupabaseStorage) -> None:
    spooled(storage, vcon(new_uuid(), 1))
    stack.stop_service("redis")
    try:
        with pytest.raises(UnavailableError, match="the spool does not answer: ConnectionError"):
            storage.replay()
    finally:
        stack.start_service("redis")
    assert storage.replay() == {"replayed": 1, "failed": 0, "waiting": 0}


def test_replay_brings_the_new_version_to_readers_at_once(stack: Supabase, opener: Opener) -> None:
    saver, reader, one = opener(), opener(), new_uuid()
    saver.save(vcon(one, 1))
    assert version_of(reader.get(one)) == 1
    spool_while_away(stack, saver, vcon(one, 2))
    assert version_of(reader.get(one)) == 2
    assert saver.replay()["replayed"] == 1
    assert [version_of(reader.get(one)) for _ in range(3)] == [2, 2, 2]


# Refused


def test_what_is_refused_on_replay_is_set_aside_and_blocks_nothing(
    storage: SupabaseStorage, database: Database
) -> None:
    first, bad, last = new_uuid(), new_uuid(), new_uuid()
    spooled(storage, vcon(first, 1), vcon(bad, 1), vcon(last, 1))
    with database.refusing(bad):
        assert storage.replay() == {"replayed": 2, "failed": 1, "waiting": 0}
    assert [database.version(uuid) for uuid in (first, bad, last)] == [1, None, 1]
    size = spool_of(storage).size()
    assert (size["waiting"], size["failed"]) == (0, 1)
    (failure,) = spool_of(storage).failures()
    assert (failure.uuid, json.loads(failure.document)) == (bad, vcon(bad, 1))
    assert "23514" in str(failure.error)
    assert storage.stats()["replay_failed"] == 1


def test_a_wrong_key_stops_the_replay_and_keeps_everything(
    stack: Supabase, opener: Opener, database: Database
) -> None:
    storage, uuids = opener(), [new_uuid() for _ in range(3)]
    spooled(storage, *(vcon(uuid, 1) for uuid in uuids))
    for key in (stack.service_role_key[:-5] + "wrong", stack.anon_key):
        with pytest.raises(RefusedError, match="key"):
            opener(key=key).replay()
        assert waiting(storage) == [(uuid, 1) for uuid in uuids]
        assert set_aside(storage) == []
    assert storage.replay() == {"replayed": 3, "failed": 0, "waiting": 0}
    assert database.revisions(*uuids) == uuids


def test_a_missing_migration_stops_the_replay_and_keeps_everything(opener: Opener) -> None:
    storage = opener()
    spooled(storage, vcon(new_uuid(), 1), vcon(new_uuid(), 1))
    with pytest.raises(RefusedError, match="schema"):
        opener(schema="elsewhere").replay()
    assert len(waiting(storage)) == 2
    assert set_aside(storage) == []
    assert storage.replay()["replayed"] == 2


def test_a_refused_direct_save_raises_and_is_set_aside(
    storage: SupabaseStorage, database: Database
) -> None:
    bad, good = new_uuid(), new_uuid()
    with database.refusing(bad):
        with pytest.raises(RefusedError, match="23514"):
            storage.save(vcon(bad, 1))
        storage.save(vcon(good, 1))
    assert (waiting(storage), set_aside(storage)) == ([], [(bad, 1)])
    assert "23514" in str(next(spool_of(storage).failures()).error)
    assert storage.replay() == {"replayed": 0, "failed": 0, "waiting": 0}
    assert database.version(good) == 1


@pytest.mark.parametrize("limit", [{"spool_max_count": 2}, {"spool_max_bytes": 5_000}])
def test_what_is_set_aside_is_bounded_as_well(
    opener: Opener, database: Database, limit: dict[str, int]
) -> None:
    storage, uuids = opener(**limit), [new_uuid() for _ in range(3)]
    for uuid in uuids:
        with database.refusing(uuid), pytest.raises(RefusedError):
            storage.save(vcon(uuid, 1, note="x" * 2_000))
    assert len(set_aside(storage)) == 2


def test_an_invalid_vcon_raises_and_is_not_spooled(
    stack: Supabase, storage: SupabaseStorage
) -> None:
    invalid: list[Any] = [{"parties": []}, vcon("no-uuid", 1), "{", vcon(new_uuid(), 1, x=object())]
    with away(stack):
        for document in invalid:
            with pytest.raises(InvalidVconError):
                storage.save(document)
    assert (waiting(storage), set_aside(storage)) == ([], [])


def test_a_spooled_vcon_that_this_release_can_not_read_is_set_aside(
    storage: SupabaseStorage, database: Database
) -> None:
    bad, good = new_uuid(), new_uuid()
    spool_of(storage).put(bad, '{"uuid": "%s", "version": NaN}' % bad, time.time())  # noqa: UP031
    spooled(storage, vcon(good, 1))
    assert storage.replay() == {"replayed": 1, "failed": 1, "waiting": 0}
    assert database.version(good) == 1


# Other ways to be away


def test_hung_postgrest(stack: Supabase, storage: SupabaseStorage, database: Database) -> None:
    one = new_uuid()
    storage.save(vcon(one, 1))
    stack.pause_service("postgrest")
    try:
        began = time.monotonic()
        storage.save(vcon(one, 2))
        assert time.monotonic() - began < 2.0  # total_timeout is 1 s
        assert version_of(storage.get(one)) == 2
    finally:
        stack.resume_service("postgrest")
    assert waiting(storage) == [(one, 2)]
    assert storage.replay() == {"replayed": 1, "failed": 0, "waiting": 0}
    # The delayed requests that PostgREST finds when it goes on have come too late to do anything.
    assert eventually(lambda: version_of(storage.get(one)) == 2)
    assert database.history(one) == [(one, 1), (one, 2)]


def test_stopped_postgres(stack: Supabase, storage: SupabaseStorage, opener: Opener) -> None:
    one = new_uuid()
    storage.save(vcon(one, 1))
    stack.stop_service("postgres")
    try:
        storage.save(vcon(one, 2))
        assert version_of(storage.get(one)) == 2
        assert waiting(storage) == [(one, 2)]
    finally:
        stack.start_service("postgres")
        stack.wait_until_ready()
    assert storage.replay() == {"replayed": 1, "failed": 0, "waiting": 0}
    assert version_of(opener(redis_url=None).get(one)) == 2


def test_both_away_raises(stack: Supabase, storage: SupabaseStorage) -> None:
    one = new_uuid()
    storage.save(vcon(one, 1))
    with away(stack):
        stack.stop_service("redis")
        try:
            with pytest.raises(UnavailableError, match="the spool did not take it"):
                storage.save(vcon(one, 2))
            with pytest.raises(UnavailableError):
                storage.get(one)
        finally:
            stack.start_service("redis")
        assert eventually(lambda: _saved(storage, vcon(one, 3)), 2)
        assert waiting(storage) == [(one, 3)]
    assert storage.replay()["replayed"] == 1


def test_cache_and_supabase_away_but_not_the_spool(
    stack: Supabase, opener: Opener, database: Database, other_redis: str
) -> None:
    storage, one = opener(spool_url=other_redis), new_uuid()
    with away(stack):
        stack.stop_service("redis")
        try:
            # Readers may have an older version in the cache, and nobody can tell them: so it is
            # not done, and says so, but it is not lost.
            with pytest.raises(UnavailableError):
                storage.save(vcon(one, 1))
        finally:
            stack.start_service("redis")
    assert waiting(storage) == [(one, 1)]
    assert storage.replay()["replayed"] == 1
    assert database.version(one) == 1


def test_a_spool_away_on_its_own_is_not_in_the_way(
    stack: Supabase, opener: Opener, database: Database
) -> None:
    storage, one = opener(redis_url=None, spool_url=stack.redis_url), new_uuid()
    storage.save(vcon(one, 1))
    stack.stop_service("redis")
    try:
        began = time.monotonic()
        storage.save(vcon(one, 2))
        assert version_of(storage.get(one)) == 2
        assert storage.delete(one) is True
        assert time.monotonic() - began < 1.0
    finally:
        stack.start_service("redis")
    assert database.history(one) == [(one, 1), (one, 2), (one, None)]


@pytest.mark.parametrize("kill", [False, True])
def test_spooled_saves_outlive_redis(
    stack: Supabase,
    storage: SupabaseStorage,
    database: Database,
    redis: Redis,
    kill: bool,
) -> None:
    if kill:  # otherwise it may lose what it was told in the last moments
        redis.config_set("appendfsync", "always")
    uuids = [new_uuid() for _ in range(3)]
    with away(stack):
        for uuid in uuids:
            storage.save(vcon(uuid, 1))
        stack.stop_service("redis", kill=kill)
        stack.start_service("redis")
        assert eventually(lambda: version_of(_get(storage, uuids[0])) == 1, 2)
    assert storage.replay() == {"replayed": 3, "failed": 0, "waiting": 0}
    assert database.revisions(*uuids) == uuids


def test_a_full_redis_refuses_a_save_and_says_so(
    stack: Supabase, storage: SupabaseStorage, redis: Redis
) -> None:
    one = new_uuid()
    with away(stack):
        storage.save(vcon(one, 1))
        redis.config_set("maxmemory", 1)
        try:
            with pytest.raises(UnavailableError, match="the spool did not take it"):
                storage.save(vcon(new_uuid(), 1))
        finally:
            redis.config_set("maxmemory", 0)
    assert waiting(storage) == [(one, 1)]


def test_a_full_redis_is_emptied_by_replay(
    storage: SupabaseStorage, redis: Redis, database: Database
) -> None:
    first, bad = new_uuid(), new_uuid()
    spooled(storage, vcon(first, 1), vcon(bad, 1))
    redis.config_set("maxmemory", 1)
    try:
        with database.refusing(bad):
            assert storage.replay() == {"replayed": 1, "failed": 1, "waiting": 0}
    finally:
        redis.config_set("maxmemory", 0)
    assert set_aside(storage) == [(bad, 1)]
    assert database.version(first) == 1


def _saved(storage: SupabaseStorage, document: Json) -> bool:
    try:
        storage.save(document)
    except UnavailableError:
        return False
    return True


def _get(storage: SupabaseStorage, uuid: str) -> Json | None:
    try:
        return storage.get(uuid)
    except UnavailableError:
        return None
