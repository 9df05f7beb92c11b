"""Saves of many threads share requests, and each has its own success or error."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from conserver_supabase_storage import RefusedError, StorageError, SupabaseStorage, UnavailableError

from ..conftest import Sql
from ..home import Supabase
from ..vcons import Json, assert_same, small_vcon
from .servers import CountingProxy, closed_port

THREADS = 16


def save_all(storage: SupabaseStorage, documents: list[Json]) -> list[StorageError | None]:
    """Save each in a thread of its own, all at the same time."""
    together = threading.Barrier(len(documents))

    def save(document: Json) -> StorageError | None:
        together.wait()
        try:
            storage.save(document)
        except StorageError as error:
            return error
        return None

    with ThreadPoolExecutor(len(documents)) as pool:
        return list(pool.map(save, documents))


def test_saves_at_the_same_time_share_requests_and_come_back(
    stack: Supabase, options: Json
) -> None:
    documents = [small_vcon() for _ in range(4 * THREADS)]
    with (
        CountingProxy(stack.rest_url) as proxy,
        SupabaseStorage(options | {"rest_url": proxy.url}) as storage,
    ):
        assert save_all(storage, documents) == [None] * len(documents)
        assert proxy.requests < len(documents)
        for document in documents:
            assert_same(storage.get(document["uuid"]), document)


def test_versions_of_one_vcon_are_saved_one_after_the_other(storage: SupabaseStorage) -> None:
    first = small_vcon()
    versions = [{**first, "subject": f"version {n}"} for n in range(THREADS)]
    assert save_all(storage, versions) == [None] * THREADS
    assert storage.get(first["uuid"]) in versions


def test_one_that_the_database_refuses_stops_no_other(options: Json, psql: Sql) -> None:
    documents = [small_vcon() for _ in range(4 * THREADS)]
    refused = documents[-1]["uuid"]
    psql.execute(
        f"ALTER TABLE vcons ADD CONSTRAINT refuses_one CHECK (uuid <> '{refused}')".encode()
    )
    try:
        with SupabaseStorage(options) as storage:
            results = save_all(storage, documents)
            assert isinstance(results.pop(), RefusedError)
            assert results == [None] * len(results)
            assert storage.get(refused) is None
            for document in documents[:-1]:
                assert_same(storage.get(document["uuid"]), document)
    finally:
        psql.execute("ALTER TABLE vcons DROP CONSTRAINT refuses_one")


def test_anothers_vcon_is_refused_to_its_thread_alone(options: Json) -> None:
    with (
        SupabaseStorage(options | {"tenant": "them"}) as them,
        SupabaseStorage(options | {"tenant": "us"}) as us,
    ):
        theirs = [small_vcon() for _ in range(3)]
        for document in theirs:
            them.save(document)
        results = save_all(us, theirs + [small_vcon() for _ in range(THREADS)])
        assert [type(result) for result in results[:3]] == [RefusedError] * 3
        assert results[3:] == [None] * THREADS


@pytest.mark.parametrize("threads", [1, THREADS])
def test_without_supabase_each_thread_is_told_in_its_time(options: Json, threads: int) -> None:
    with (
        closed_port() as url,
        SupabaseStorage(options | {"rest_url": url, "total_timeout": 1.0}) as storage,
    ):
        for _ in range(2):  # also those after them
            results = save_all(storage, [small_vcon() for _ in range(threads)])
            assert [type(result) for result in results] == [UnavailableError] * threads
