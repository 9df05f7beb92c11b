"""One live storage per options and process: shared by threads, not carried over fork.

Needs the local Supabase.
"""

import multiprocessing
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

import pytest
from redis import Redis

import conserver_supabase_storage as module
from conserver_supabase_storage.database import Database
from conserver_supabase_storage.registry import registry

from ..home import Supabase
from ..vcons import Json, as_text, assert_same, small_vcon
from .servers import NOTHING, CountingProxy, ScriptedServer, silence


@pytest.fixture(autouse=True)
def _no_storages_left() -> Iterator[None]:
    registry.close()
    yield
    registry.close()


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_threads_share_one_storage(options: Json) -> None:
    start = threading.Barrier(16)

    def lent(_: int) -> int:
        start.wait(10)
        with registry.storage(dict(options)) as storage:
            return id(storage)

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(lent, range(16)))) == 1


def test_calls_one_after_the_other_use_one_connection(stack: Supabase, options: Json) -> None:
    document = small_vcon()
    with CountingProxy(stack.rest_url) as proxy:
        for _ in range(10):
            # As the conserver does: a new dict each time, in a new thread each time.
            new = {**options, "rest_url": proxy.url}
            thread = threading.Thread(target=module.get, args=[document["uuid"], new])
            thread.start()
            thread.join()
        assert (proxy.accepted, proxy.requests) == (1, 10)


def test_other_options_for_the_same_place_close_the_old_storage(
    stack: Supabase, options: Json
) -> None:
    document = small_vcon()
    with CountingProxy(stack.rest_url) as proxy:
        first = options | {"rest_url": proxy.url}
        module.get(document["uuid"], first)
        assert (proxy.accepted, proxy.open) == (1, 1)
        module.get(document["uuid"], first | {"read_timeout": 7})
        assert eventually(lambda: proxy.open == 1)
        assert proxy.accepted == 2


def test_redis_connections_go_with_their_storage(stack: Supabase, options: Json) -> None:
    with Redis.from_url(stack.redis_url) as redis:

        def clients() -> int:
            return len(redis.client_list())

        before = clients()
        module.get(small_vcon()["uuid"], options | {"redis_url": stack.redis_url})
        assert clients() == before + 1
        module.get(small_vcon()["uuid"], options)
        assert eventually(lambda: clients() == before)


def test_a_storage_in_use_is_closed_only_afterwards(options: Json) -> None:
    release = threading.Event()

    def held(client: Any) -> None:
        release.wait(10)
        NOTHING(client)

    with ScriptedServer(held, NOTHING) as site:
        slow = options | {"rest_url": site.url}
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(module.get, small_vcon()["uuid"], slow)
            assert eventually(lambda: site.requests == 1)
            # The options change while the first call is on its way.
            assert module.get(small_vcon()["uuid"], slow | {"read_timeout": 5}) is None
            release.set()
            assert first.result(10) is None
        assert site.requests == 2


def test_two_databases_are_kept_side_by_side(stack: Supabase, options: Json) -> None:
    with CountingProxy(stack.rest_url) as one, CountingProxy(stack.rest_url) as other:
        for proxy in (one, other) * 5:
            module.get(small_vcon()["uuid"], options | {"rest_url": proxy.url})
        assert (one.accepted, other.accepted) == (1, 1)


def work(options: Json, document: Json, end: "Connection[Any, Any]") -> None:
    """Save and read in a child; send what went wrong, or the vCon."""
    try:
        with module.SupabaseStorage(options) as own:
            own.save(document)
        for _ in range(5):
            found = module.get(document["uuid"], options)
        end.send(as_text(found))
    except BaseException as error:  # noqa: BLE001  the parent has to learn of it
        end.send(repr(error))
    end.close()


def run_children(method: str, options: Json, number: int) -> list[bool]:
    """Run `work` in some children at the same time; return whether each got its vCon back."""
    context = multiprocessing.get_context(method)
    children = []
    for _ in range(number):
        document = small_vcon()
        ours, theirs = context.Pipe()
        child = context.Process(  # type: ignore[attr-defined]
            target=work, args=[options, document, theirs]
        )
        child.start()
        theirs.close()
        children.append((child, ours, document))
    results = []
    try:
        for child, ours, document in children:
            said = ours.recv() if ours.poll(60) else "silence"
            assert said == as_text(document)
            child.join(30)
            results.append(child.exitcode == 0)
    finally:
        for child, _, _ in children:
            child.kill()
    return results


@pytest.mark.parametrize("cached", [False, True], ids=["without cache", "with cache"])
def test_a_fork_of_a_busy_parent_and_the_parent_both_go_on(
    stack: Supabase, options: Json, cached: bool
) -> None:
    options = options | ({"redis_url": stack.redis_url} if cached else {})
    documents = [small_vcon() for _ in range(4)]
    with module.SupabaseStorage(options) as storage:
        for document in documents:
            storage.save(document)
    stop = threading.Event()
    wrong: list[object] = []

    def busy(document: Json) -> None:
        while not stop.is_set():
            try:
                if as_text(module.get(document["uuid"], dict(options))) != as_text(document):
                    wrong.append("another vCon")
            except Exception as error:  # noqa: BLE001  the main thread reports it
                wrong.append(error)

    threads = [threading.Thread(target=busy, args=[document]) for document in documents]
    for thread in threads:
        thread.start()
    try:
        with warnings.catch_warnings():
            # Python warns of forks with threads; conservers fork all the same.
            warnings.simplefilter("ignore", DeprecationWarning)
            assert run_children("fork", options, 6) == [True] * 6
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert_same(module.get(documents[0]["uuid"], options), documents[0])


def test_a_child_never_uses_its_parents_connections(stack: Supabase, options: Json) -> None:
    with CountingProxy(stack.rest_url) as proxy:
        ours = options | {"rest_url": proxy.url}
        module.get(small_vcon()["uuid"], ours)
        assert proxy.accepted == 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            run_children("fork", ours, 1)
        # Two of the child's own: one for its SupabaseStorage, one for the module's.
        assert proxy.accepted == 3
        # The parent's is whole and used again.
        module.get(small_vcon()["uuid"], ours)
        assert proxy.accepted == 3


def test_a_spawned_child_works(options: Json) -> None:
    assert run_children("spawn", options, 1) == [True]


def test_a_storage_made_before_a_fork_works_after_it(stack: Supabase, options: Json) -> None:
    document = small_vcon()
    with (
        CountingProxy(stack.rest_url) as proxy,
        module.SupabaseStorage(options | {"rest_url": proxy.url}) as storage,
    ):
        storage.save(document)
        read, write = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if not pid:
            try:
                same = as_text(storage.get(document["uuid"])) == as_text(document)
                os.write(write, b"same" if same else b"other")
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as said:
            assert said.read() == b"same"
        assert os.waitpid(pid, 0)[1] == 0
        assert_same(storage.get(document["uuid"]), document)
        # One connection of the parent, one of the child.
        assert proxy.accepted == 2


def forked() -> float:
    """Fork a child that does nothing; return when that was done (time.monotonic())."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if not pid:
        os._exit(0)
    at = time.monotonic()
    os.waitpid(pid, 0)
    return at


def test_a_fork_waits_while_another_thread_makes_the_first_connection(
    options: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = Database._connect
    inside, ends = threading.Event(), []

    def slow(database: Database) -> Any:
        inside.set()
        time.sleep(0.5)
        ends.append(time.monotonic())
        return connect(database)

    monkeypatch.setattr(Database, "_connect", slow)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(module.get, small_vcon()["uuid"], options)
        assert inside.wait(10)
        at = forked()
        assert found.result(10) is None
    assert ends[0] <= at


@pytest.mark.parametrize("with_redis", [False, True], ids=["Supabase", "Redis"])
def test_a_fork_waits_while_another_thread_shakes_hands(options: Json, with_redis: bool) -> None:
    # OpenSSL's locks would stay with a thread that the child does not have.
    with ScriptedServer(silence, read_requests=False) as site, ThreadPoolExecutor(1) as pool:
        if with_redis:
            hurried = options | {"redis_url": site.url.replace("http:", "rediss:")}
            hurried |= {"redis_timeout": 1.0}
        else:
            hurried = options | {"rest_url": site.url.replace("http:", "https:")}
            hurried |= {"read_timeout": 1.0, "total_timeout": 1.0}
        found = pool.submit(module.get, small_vcon()["uuid"], hurried)
        assert eventually(lambda: site.accepted >= 1)
        began = time.monotonic()
        at = forked()
        assert found.exception(10) is None if with_redis else found.exception(10) is not None
    assert at - began > 0.3
