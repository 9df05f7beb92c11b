"""An outage under constant saving, on real servers: what is lost, what is stale, what order.

    python tests/spool/outage.py --away 60

Two processes with four threads each save vCons all the time: new ones, once each, and some in
versions 1, 2, 3 ... by whichever thread takes it next. Other threads, there and in a third process,
read all the time.
Supabase (PostgREST) goes away for some time; in the middle of that Redis is killed and started
again, with its data. Then Supabase comes back, what was spooled is replayed, and the database is
compared with what the savers were told.

Prints its figures in one line, and exits with 0 if nothing was lost, stale or out of order.
"""

import argparse
import logging
import multiprocessing
import random
import sys
import threading
import time
import uuid
from collections import Counter
from ctypes import Array, c_longlong
from itertools import pairwise
from multiprocessing.queues import Queue
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event, Lock
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import psycopg
from redis import Redis

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.errors import StorageError, UnavailableError
from conserver_supabase_storage.local import LocalSupabase

PROCESSES = 2
THREADS = 4
READERS = 2
# VCons that have many versions; after them come those that are saved once.
VERSIONED = 48

# Seconds that an operation may take, for the first saves of an outage.
TIMEOUT = 2.0
# Seconds between two operations of a thread.
PAUSE = 0.05
REDIS_AWAY = 1.5
BEFORE = 1.0
AFTER = 1.0

HISTORY = """
CREATE TABLE vcon_history (
  id bigserial PRIMARY KEY, uuid uuid NOT NULL, version int, revision bigint);
CREATE FUNCTION note_history() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = public AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    INSERT INTO vcon_history (uuid) VALUES (OLD.uuid);
  ELSIF TG_OP = 'INSERT' OR NEW.revision IS DISTINCT FROM OLD.revision THEN
    INSERT INTO vcon_history (uuid, version, revision)
      VALUES (NEW.uuid, (NEW.as_written ->> 'version')::int, NEW.revision);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER note_history AFTER INSERT OR UPDATE OR DELETE ON vcons
  FOR EACH ROW EXECUTE FUNCTION note_history();
"""


class Shared(NamedTuple):
    """What the processes share: by vCon, a lock, and which version was tried and told saved."""

    locks: list[Lock]
    tried: "Array[c_longlong]"
    saved: "Array[c_longlong]"
    vcons: "Synchronized[int]"
    stop: Event
    counts: "Queue[Counter[str]]"


class Worker:
    """The threads of one process, which share one storage as those of a conserver do."""

    def __init__(self, options: dict[str, Any], shared: Shared) -> None:
        self.storage = SupabaseStorage(options)
        self.shared = shared
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def run(self, savers: int, readers: int) -> None:
        """Run until told to stop, then tell what happened."""
        targets = [self.save] * savers + [self.read] * readers
        threads = [threading.Thread(target=self.guarded, args=[target]) for target in targets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stats = self.storage.stats()
        self.counts += Counter({name: stats.get(name, 0) for name in ("spooled", "replayed")})
        self.storage.close()
        self.shared.counts.put(self.counts)

    def guarded(self, target: Any) -> None:
        """Count what is no error of ours as a defect, and end."""
        try:
            target()
        except Exception:
            logging.exception("a thread ended")
            self.count("defects")

    def count(self, what: str) -> None:
        """Count it."""
        with self._lock:
            self.counts[what] += 1

    def save(self) -> None:
        """Save a new vCon, or the next version of one, again and again."""
        while not self.shared.stop.is_set():
            if random.random() < 0.5:
                with self.shared.vcons:
                    number = self.shared.vcons.value
                    self.shared.vcons.value += 1
                self.save_next(number)
            else:
                number = random.randrange(VERSIONED)
                if not self.shared.locks[number].acquire(block=False):
                    continue
                try:
                    self.save_next(number)
                finally:
                    self.shared.locks[number].release()
            time.sleep(PAUSE)

    def save_next(self, number: int) -> None:
        """Save a version of a vCon that nobody else saves at the same time."""
        version = self.shared.tried[number] + 1
        self.shared.tried[number] = version
        self.count("saves")
        try:
            self.storage.save(vcon(number, version))
        except UnavailableError:
            self.count("failed")
        else:
            self.shared.saved[number] = version

    def read(self) -> None:
        """Read some vCon, again and again."""
        while not self.shared.stop.is_set():
            vcons = VERSIONED if random.random() < 0.5 else self.shared.vcons.value
            number = random.randrange(vcons)
            least = self.shared.saved[number]
            try:
                found = self.storage.get(uuid_of(number))
            except UnavailableError:
                self.count("unread")
            else:
                self.count("reads")
                if (found["version"] if found else 0) < least:
                    logging.error("stale: %s, at least %s", found, least)
                    self.count("stale")
            time.sleep(PAUSE)


def vcon(number: int, version: int) -> dict[str, Any]:
    """A version of a vCon."""
    return {"uuid": uuid_of(number), "parties": [{"name": f"V. {version}"}], "version": version}


def uuid_of(number: int) -> str:
    """The uuid of a vCon."""
    return str(uuid.UUID(int=0x01928CB4_1C5F_8C4A_B5F0_000000000000 + number))


def work(options: dict[str, Any], shared: Shared, savers: int, readers: int) -> None:
    """Be one of the processes."""
    quiet()
    Worker(options, shared).run(savers, readers)


def quiet() -> None:
    """Not a line per save of an outage."""
    logging.basicConfig(level=logging.ERROR, format="%(process)d %(message)s")


def main() -> int:
    """Run it, and say how it went."""
    parser = argparse.ArgumentParser(description="An outage under constant saving.")
    parser.add_argument("--away", type=float, default=60.0, help="seconds without Supabase")
    away = parser.parse_args().away
    quiet()
    with TemporaryDirectory(prefix="outage-") as folder:
        # Run by root, Postgres is another user, who has to get through to its data.
        Path(folder).chmod(0o711)
        # With a folder for its data, this Redis has appendonly. It is killed: with everysec it
        # could lose what it was told in the last moments.
        with LocalSupabase(Path(folder) / "stack") as stack:
            with Redis.from_url(stack.redis_url) as redis:
                redis.config_set("appendfsync", "always")
            return outage(stack, away)


def outage(stack: LocalSupabase, away: float) -> int:
    """Run it on these servers."""
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(HISTORY)
    # No more than so many saves in that time.
    most = VERSIONED + int((away + 120) * PROCESSES * THREADS / PAUSE)
    options = {
        "rest_url": stack.rest_url,
        "key": stack.service_role_key,
        "redis_url": stack.redis_url,
        "total_timeout": TIMEOUT,
        "spool_max_count": most,
    }
    context = multiprocessing.get_context("spawn")
    shared = Shared(
        [context.Lock() for _ in range(VERSIONED)],
        context.RawArray(c_longlong, most),
        context.RawArray(c_longlong, most),
        context.Value(c_longlong, VERSIONED),
        context.Event(),
        context.Queue(),
    )
    roles = [(THREADS, 1)] * PROCESSES + [(0, READERS)]
    workers = [
        context.Process(target=work, args=(options, shared, savers, readers), daemon=True)
        for savers, readers in roles
    ]
    began = time.monotonic()
    for worker in workers:
        worker.start()
    try:
        happen(stack, away, shared, options)
    finally:
        shared.stop.set()
    counts: Counter[str] = Counter()
    for _ in workers:
        counts += shared.counts.get(timeout=60)
    for worker in workers:
        worker.join(60)
    counts["replayed"] += replay_the_rest(options)
    check(stack, shared, counts)
    names = "saves spooled failed replayed lost stale disorder defects reads unread"
    figures = {name: counts[name] for name in names.split()}
    seconds = time.monotonic() - began
    print(*(f"{name}={figure}" for name, figure in figures.items()), f"seconds={seconds:.0f}")
    return int(any(figures[name] for name in ("lost", "stale", "disorder", "defects")))


def happen(stack: LocalSupabase, away: float, shared: Shared, options: dict[str, Any]) -> None:
    """Let it all go wrong, and well again."""
    deadline = time.monotonic() + 30
    while not all(shared.saved[:VERSIONED]) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(BEFORE)
    stack.stop_service("postgrest")
    gone = time.monotonic()
    time.sleep(max(0.0, (away - REDIS_AWAY) / 2))
    stack.stop_service("redis", kill=True)
    time.sleep(REDIS_AWAY)
    stack.start_service("redis")
    time.sleep(max(0.0, gone + away - time.monotonic()))
    stack.start_service("postgrest")
    # The next saves replay in the background what was spooled.
    with SupabaseStorage(options) as storage:
        deadline = time.monotonic() + max(15.0, away / 2)
        while storage.spool and storage.spool.size()["waiting"] and time.monotonic() < deadline:
            time.sleep(0.1)
    time.sleep(AFTER)


def replay_the_rest(options: dict[str, Any]) -> int:
    """Replay what still waits, as the command does; returns how many were."""
    replayed = 0
    with SupabaseStorage(options) as storage:
        # A replay in the background that ended with its process has had the right to it.
        deadline = time.monotonic() + 2 * TIMEOUT + 20
        while True:
            try:
                counts = storage.replay()
            except StorageError as error:
                logging.error("replay: %s", error)  # noqa: TRY400  one line says it
            else:
                replayed += counts["replayed"]
                if not counts["waiting"]:
                    return replayed
            if time.monotonic() > deadline:
                return replayed
            time.sleep(0.2)


def check(stack: LocalSupabase, shared: Shared, counts: Counter[str]) -> None:
    """Compare the database with what the savers were told."""
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        found = connection.execute("SELECT uuid::text, as_written ->> 'version' FROM vcons")
        versions = {row[0]: int(row[1]) for row in found}
        found = connection.execute(
            "SELECT uuid::text, version FROM vcon_history ORDER BY revision, id"
        )
        history: dict[str, list[int]] = {}
        for vcon_uuid, version in found:
            history.setdefault(vcon_uuid, []).append(version)
    for number in range(shared.vcons.value):
        mine = uuid_of(number)
        if versions.get(mine, 0) < shared.saved[number]:
            logging.error("lost: %s of %s", shared.saved[number], mine)
            counts["lost"] += 1
        order = history.get(mine, [])
        if any(later <= earlier for earlier, later in pairwise(order)):
            logging.error("order of %s: %s", mine, order)
            counts["disorder"] += 1


if __name__ == "__main__":
    sys.exit(main())
