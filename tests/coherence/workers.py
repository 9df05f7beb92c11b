"""What each process of the race test does: random operations from several threads, all recorded."""

import contextlib
import itertools
import logging
import multiprocessing
import random
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import psycopg

from conserver_supabase_storage import StorageError, SupabaseStorage

from ..home import Supabase
from .model import Commit, Operation
from .naive import NaiveStorage
from .parties import vcon
from .steps import Steps, delays, losses

# Of 1000 operations, how many are saves and deletes.
_CHANGES = 20

_HISTORY = """
CREATE TABLE IF NOT EXISTS race_history (
  uuid uuid NOT NULL, revision bigint NOT NULL, n bigint
);
TRUNCATE race_history;
GRANT INSERT ON race_history TO service_role;
CREATE OR REPLACE FUNCTION race_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  -- A delete takes its number here, under the lock of the vCon that its transaction holds: after
  -- that of the state it ends, and before that of any later change.
  IF TG_OP = 'DELETE' THEN
    INSERT INTO race_history VALUES (OLD.uuid, nextval('vcon_revision'), NULL);
  ELSE
    INSERT INTO race_history VALUES (NEW.uuid, NEW.revision, (NEW.as_written ->> 'n')::bigint);
  END IF;
  RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER race_note AFTER INSERT OR UPDATE OR DELETE ON vcons
  FOR EACH ROW EXECUTE FUNCTION race_note();
"""


@dataclass(frozen=True)
class Race:
    """How a race is run.

    Attributes:
        seed: what the random choices follow from.
        operations: how many, of all threads together.
        processes: how many.
        threads: of each process.
        uuids: the vCons.
        changes: how many of 1000 operations are saves and deletes.
        naive: whether the naive storage runs, in place of ours.
        delays: the probability of a delay before, and after, each call to Redis or the database.
        losses: the probability that a command to Redis is lost, or its answer.
    """

    seed: int
    operations: int
    processes: int
    threads: int
    uuids: tuple[str, ...]
    changes: int = _CHANGES
    naive: bool = False
    delays: float = 0.0
    losses: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Outcome:
    """What a race led to."""

    operations: list[Operation]
    commits: list[Commit]
    calls: dict[str, int]
    seconds: float

    def __str__(self) -> str:
        """Say in one line what was done."""
        kinds = {kind: sum(o.kind == kind for o in self.operations) for kind in _KINDS}
        errors = sum(o.error is not None for o in self.operations)
        calls = ", ".join(f"{count} x {name}" for name, count in sorted(self.calls.items()))
        counted = ", ".join(f"{count} {kind}s" for kind, count in kinds.items())
        return (
            f"{len(self.operations)} operations ({counted}; {errors} raised) in "
            f"{self.seconds:.1f} s, {len(self.commits)} commits; calls: {calls}"
        )


_KINDS = ("get", "save", "delete")


def run(race: Race, supabase: Supabase) -> Outcome:
    """Run a race in new processes, and return what happened."""
    with psycopg.connect(supabase.database_url, autocommit=True) as sql, _history(sql):
        began = time.monotonic()
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(race.processes, mp_context=context) as pool:
            results = list(pool.map(work, itertools.repeat(race), range(race.processes)))
        seconds = time.monotonic() - began
        rows = sql.execute("SELECT revision, uuid::text, n FROM race_history").fetchall()
    commits = [Commit(*row) for row in rows]
    revisions = {(commit.uuid, commit.value): commit.revision for commit in commits}
    calls: dict[str, int] = {}
    for _, counted in results:
        for name, count in counted.items():
            calls[name] = calls.get(name, 0) + count
    return Outcome(
        [_heard(operation, revisions) for operations, _ in results for operation in operations],
        commits,
        calls,
        seconds,
    )


def _heard(operation: Operation, revisions: dict[tuple[str, int | None], int]) -> Operation:
    """Fill in what save_many was answered, in threads of its own."""
    if operation.kind != "save" or operation.error or operation.revision is not None:
        return operation
    return operation._replace(revision=revisions.get((operation.uuid, operation.value)))


@contextlib.contextmanager
def _history(sql: psycopg.Connection[tuple[Any, ...]]) -> Iterator[None]:
    sql.execute(_HISTORY)
    try:
        yield
    finally:
        sql.execute("DROP TRIGGER race_note ON vcons")


def work(race: Race, process: int) -> tuple[list[Operation], dict[str, int]]:
    """Do one process' part of a race."""
    logging.disable(logging.WARNING)
    storage: Any
    with contextlib.ExitStack() as stack:
        if race.naive:
            storage = NaiveStorage(race.options)
            steps = Steps(storage.cache, storage.database, ("read", "fill", "complete"))
        else:
            storage = stack.enter_context(SupabaseStorage(race.options))
            steps = Steps.of(storage)
        if race.delays:
            steps.add(delays(f"{race.seed} {process} delays", race.delays, 0.05))
        if race.losses:
            steps.add(losses(f"{race.seed} {process} losses", race.losses))
        with ThreadPoolExecutor(race.threads) as pool:
            threads = range(race.threads)
            parts = pool.map(lambda thread: _thread(race, storage, steps, process, thread), threads)
            return [operation for part in parts for operation in part], dict(steps.calls)


def _thread(race: Race, storage: Any, steps: Steps, process: int, thread: int) -> list[Operation]:
    chance = random.Random(f"{race.seed} {process} {thread}")
    observer = process * race.threads + thread
    observers = race.processes * race.threads
    count = race.operations // observers + (observer < race.operations % observers)
    done: list[Operation] = []
    for number in range(count):
        uuid = chance.choice(race.uuids)
        kind = "get"
        if chance.randrange(1000) < race.changes:
            kind = "delete" if chance.random() < 0.25 else "save"
        elif done and (done[-1].kind, done[-1].value) == ("get", None) and chance.random() < 0.2:
            # Absence is not cached: soon there is something again.
            kind, uuid = "save", done[-1].uuid
        n = number * observers + observer
        done.append(_operate(storage, steps, observer, kind=kind, uuid=uuid, n=n))
    return done


def _operate(
    storage: Any, steps: Steps, observer: int, *, kind: str, uuid: str, n: int
) -> Operation:
    value: int | None = None
    error = None
    document = vcon(uuid, n) if kind == "save" else None
    steps.forget()
    began = time.monotonic_ns()
    try:
        if kind == "get":
            found = storage.get(uuid)
            value = None if found is None else found["n"]
        elif kind == "save":
            value = n
            if n % 3 == 0 and not isinstance(storage, NaiveStorage):
                error = next(map(repr, filter(None, storage.save_many([document]))), None)
            else:
                storage.save(document)
        else:
            value = int(storage.delete(uuid))
    except StorageError as raised:
        error = repr(raised)
    ended = time.monotonic_ns()
    return Operation(observer, kind, uuid, began, ended, value, steps.revision, error)
