"""Puts hooks around the calls that a storage makes to Redis and to the database.

The package is not changed: the methods of one storage's own objects are wrapped. A hook is called
before and after each call with the call's name, and may wait, sleep or raise there.
"""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.cache import Cache
from conserver_supabase_storage.database import Arguments, Database

type Moment = Literal["before", "after"]
type Hook = Callable[[Moment, str], None]

REDIS_STEPS = ("read", "miss", "fill", "begin", "complete")

# Seconds. Nothing here waits for so long unless something is wrong.
PATIENCE = 10.0


class KilledError(BaseException):
    """Stands for SIGKILL: what raised it does nothing more to Redis or the database."""


class Stop:
    """One thread waits here until it may go on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.go = threading.Event()

    def wait(self) -> None:
        """Wait until the thread is there."""
        assert self.reached.wait(PATIENCE), "nobody came to this step"


class Steps:
    """The calls of one storage, or of one object like it, as steps that can be held.

    Redis' steps are ``read``, ``miss``, ``fill``, ``begin`` and ``complete``; the database's are
    named after its functions: ``get``, ``save``, ``delete``, ``doubt``.
    """

    def __init__(self, cache: object, database: Database, names: tuple[str, ...]) -> None:
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._hooks: list[Hook] = []
        self._here = threading.local()
        for name in names if cache else ():
            self._wrap(cache, name)
        self._wrap_database(database)

    @classmethod
    def of(cls, storage: SupabaseStorage) -> "Steps":
        """Wrap a storage's calls."""
        return cls(storage._cache._cache, storage._database, REDIS_STEPS)

    @property
    def revision(self) -> int | None:
        """The revision in this thread's last answer to a save or delete; None since `forget`."""
        revision: int | None = getattr(self._here, "revision", None)
        return revision

    def forget(self) -> None:
        """Forget this thread's last revision."""
        self._here.revision = None

    def add(self, hook: Hook) -> None:
        """Call a hook at every step from now on."""
        self._hooks.append(hook)

    @contextmanager
    def hook(self, hook: Hook) -> Iterator[None]:
        """Call a hook at every step for a while."""
        self._hooks.append(hook)
        try:
            yield
        finally:
            self._hooks.remove(hook)

    @contextmanager
    def stop(self, moment: Moment, step: str) -> Iterator[Stop]:
        """Hold the first thread that comes to a step until it may go on, or this ends."""
        stop = Stop()

        def hook(now: Moment, name: str) -> None:
            if (now, name) == (moment, step):
                with self._lock:
                    first = not stop.reached.is_set()
                    stop.reached.set()
                if first:
                    assert stop.go.wait(PATIENCE), f"held for too long {moment} {step}"

        with self.hook(hook):
            try:
                yield stop
            finally:
                stop.go.set()

    @contextmanager
    def failing(self, moment: Moment, *steps: str, error: BaseException) -> Iterator[None]:
        """Raise at some steps: before them, nothing happened; after them, only the answer is lost.

        Once is not enough of a failure for a step that is repeated, so it is raised every time.
        """

        def hook(now: Moment, name: str) -> None:
            if now == moment and name in steps:
                raise error

        with self.hook(hook):
            yield

    def _wrap(self, target: object, name: str) -> None:
        inner = getattr(target, name)

        def step(*args: Any, **kwargs: Any) -> Any:
            self._pass("before", name)
            result = inner(*args, **kwargs)
            self._pass("after", name)
            return result

        setattr(target, name, step)

    def _wrap_database(self, database: Database) -> None:
        inner = database.call

        def call(function: str, arguments: Arguments, **kwargs: Any) -> bytes:
            name = function.removeprefix("vcon_storage_")[:-3]
            self._pass("before", name)
            answer: bytes = inner(function, arguments, **kwargs)
            if name in {"save", "delete"}:
                found = json.loads(answer)
                revisions = found.get("revisions") or [found["revision"]]
                self._here.revision = revisions[0] if len(revisions) == 1 else None
            self._pass("after", name)
            return answer

        name = "call"
        setattr(database, name, call)

    def _pass(self, moment: Moment, step: str) -> None:
        if moment == "before":
            with self._lock:
                self.calls[step] += 1
        for hook in list(self._hooks):
            hook(moment, step)


def delays(seed: str, probability: float, longest: float) -> Hook:
    """Return a hook that now and then sleeps, before or after a call."""
    chance = random.Random(seed)

    def hook(_moment: Moment, _step: str) -> None:
        if chance.random() < probability:
            time.sleep(chance.uniform(0.0, longest))

    return hook


def losses(seed: str, probability: float) -> Hook:
    """Return a hook that now and then loses a command to Redis, or only its answer."""
    chance = random.Random(seed)

    def hook(moment: Moment, step: str) -> None:
        if step in REDIS_STEPS and chance.random() < probability:
            if moment == "before":
                raise RedisConnectionError("lost before it was sent")
            raise RedisTimeoutError("its answer was lost")

    return hook


def cache_of(storage: SupabaseStorage) -> Cache:
    """Return the part of a storage that talks to Redis."""
    cache = storage._cache._cache
    assert cache is not None
    return cache
