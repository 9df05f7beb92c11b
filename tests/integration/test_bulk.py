"""Saving many vCons at once: each has its own success or error, whatever becomes of the others."""

import json
import re
from typing import Any

import pytest

from conserver_supabase_storage import (
    InvalidVconError,
    RefusedError,
    SupabaseStorage,
    UnavailableError,
)

from ..conftest import Sql
from ..home import Supabase
from ..vcons import Json, assert_same, load, new_uuid, small_vcon, uuid_in, written_set
from .database import rows_of, value
from .servers import CountingProxy, closed_port


@pytest.fixture(params=["without a cache", "with a cache"])
def bulk(request: pytest.FixtureRequest) -> SupabaseStorage:
    name = "storage" if request.param == "without a cache" else "cached_storage"
    storage: SupabaseStorage = request.getfixturevalue(name)
    return storage


def fresh(document: Json) -> Json:
    """The same document with another uuid, in whatever form it is."""
    text = re.sub(
        re.escape(uuid_in(document)), new_uuid(), json.dumps(document), flags=re.IGNORECASE
    )
    again: Json = json.loads(text)
    return again


def test_all_come_back_as_they_were(bulk: SupabaseStorage) -> None:
    given = [fresh(load(path)) for path in written_set()] + [small_vcon() for _ in range(20)]
    assert bulk.save_many(iter(given)) == [None] * len(given)
    for document in given:
        found = bulk.get(uuid_in(document))
        assert_same(found, document)


def test_new_changed_and_unchanged_ones_in_one_batch(bulk: SupabaseStorage, psql: Sql) -> None:
    same, changed, shorter = small_vcon(), small_vcon(), small_vcon()
    assert bulk.save_many([same, changed, shorter]) == [None] * 3
    before = rows_of(psql, "dialog", same["uuid"], "xmin::text")
    revision = rows_of(psql, "vcons", same["uuid"], "revision")
    changed["dialog"].append({"type": "text", "body": "one more", "encoding": "none"})
    shorter["dialog"] = shorter["dialog"][:1]
    shorter["attachments"] = []
    new = small_vcon()
    assert bulk.save_many([shorter, same, new, changed]) == [None] * 4
    for document in (same, changed, shorter, new):
        assert_same(bulk.get(document["uuid"]), document)
    assert rows_of(psql, "dialog", same["uuid"], "xmin::text") == before
    assert rows_of(psql, "vcons", same["uuid"], "revision") == revision


def test_one_that_comes_twice_ends_as_the_last(bulk: SupabaseStorage) -> None:
    first, between = small_vcon(subject="first"), small_vcon()
    last = {**first, "subject": "last"}
    assert bulk.save_many([first, between, last]) == [None] * 3
    found = bulk.get(first["uuid"])
    assert found is not None
    assert found["subject"] == "last"


def test_one_that_comes_again_in_a_later_batch_ends_as_the_last(bulk: SupabaseStorage) -> None:
    versions = [small_vcon(subject="0")]
    given: list[Json] = []
    for n in range(1, 6):
        given += [versions[-1], *(small_vcon() for _ in range(100))]
        versions.append({**versions[0], "subject": str(n)})
    given.append(versions[-1])
    assert bulk.save_many(given) == [None] * len(given)
    assert_same(bulk.get(versions[0]["uuid"]), versions[-1])


def test_garbage_has_its_error_and_the_others_are_saved(bulk: SupabaseStorage) -> None:
    good = [small_vcon(), small_vcon()]
    garbage: list[object] = [{"uuid": "x"}, 5, {**small_vcon(), "subject": "\0"}]
    results = bulk.save_many([good[0], *garbage, good[1]])
    assert [type(result) for result in results[1:4]] == [InvalidVconError] * 3
    assert "subject" in str(results[3])
    assert results[0] is None
    assert results[4] is None
    for document in good:
        assert_same(bulk.get(document["uuid"]), document)


def test_one_that_the_database_refuses_stops_no_other(options: Json, psql: Sql) -> None:
    bulk = SupabaseStorage(options)
    documents = [small_vcon() for _ in range(5)]
    psql.execute(
        "ALTER TABLE vcons ADD CONSTRAINT refuses_one CHECK"
        f" (uuid <> '{documents[2]['uuid']}')".encode()
    )
    try:
        results = bulk.save_many(documents)
    finally:
        psql.execute("ALTER TABLE vcons DROP CONSTRAINT refuses_one")
    assert isinstance(results.pop(2), RefusedError)
    assert results == [None] * 4
    assert bulk.get(documents.pop(2)["uuid"]) is None
    for document in documents:
        assert_same(bulk.get(document["uuid"]), document)


def test_another_tenants_vcon_is_refused_and_the_others_are_saved(options: Json) -> None:
    theirs, ours = small_vcon(), small_vcon()
    with (
        SupabaseStorage(options | {"tenant": "them"}) as them,
        SupabaseStorage(options | {"tenant": "us"}) as us,
    ):
        them.save(theirs)
        refused, saved = us.save_many([{**theirs, "subject": "mine now"}, ours])
        assert isinstance(refused, RefusedError)
        assert "tenant" in str(refused)
        assert saved is None
        assert_same(them.get(theirs["uuid"]), theirs)
        assert_same(us.get(ours["uuid"]), ours)


def test_a_batch_is_one_request_and_large_ones_are_split(
    stack: Supabase, options: Json, psql: Sql
) -> None:
    with (
        CountingProxy(stack.rest_url) as proxy,
        SupabaseStorage(options | {"rest_url": proxy.url}) as storage,
    ):
        storage.save_many([small_vcon() for _ in range(50)])
        assert proxy.requests == 1
        many = [small_vcon() for _ in range(401)]
        assert storage.save_many(many) == [None] * 401
        assert proxy.requests == 1 + 5
        large = [small_vcon(subject="x" * 10) for _ in range(4)]
        for document in large:
            document["dialog"][0]["body"] = "words " * 150_000
        assert storage.save_many(large) == [None] * 4
        assert proxy.requests == 1 + 5 + 2
    uuids = [document["uuid"] for document in many]
    assert value(psql, "SELECT count(*) FROM dialog WHERE vcon_id = ANY (%s::uuid[])", uuids) == (
        401 * 4
    )


def test_without_supabase_each_says_so(options: Json) -> None:
    with (
        closed_port() as url,
        SupabaseStorage(options | {"rest_url": url, "total_timeout": 0.5}) as storage,
    ):
        results = storage.save_many([small_vcon(), {}, small_vcon()])
    assert [type(result) for result in results] == [
        UnavailableError,
        InvalidVconError,
        UnavailableError,
    ]


@pytest.fixture
def spooling(stack: Supabase, options: Json) -> dict[str, Any]:
    return options | {"redis_url": stack.redis_url, "cache_prefix": f"bulk:{new_uuid()}:"}


def test_without_supabase_a_batch_is_spooled_and_replayed(spooling: dict[str, Any]) -> None:
    documents = [small_vcon() for _ in range(3)]
    with (
        closed_port() as url,
        SupabaseStorage(spooling | {"rest_url": url, "total_timeout": 0.5}) as storage,
    ):
        assert storage.save_many(documents) == [None] * 3
        assert storage.stats()["spooled"] == 3
    with SupabaseStorage(spooling) as storage:
        storage.replay()
        for document in documents:
            assert_same(storage.get(document["uuid"]), document)


def test_nothing_is_nothing(bulk: SupabaseStorage) -> None:
    assert bulk.save_many([]) == []
