"""What the tests of the spool share: small vCons, outages, other processes, a look at the spool."""

import json
import os
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg

import conserver_supabase_storage
from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.spool import Record, Spool

from ..home import Supabase

type Json = dict[str, Any]
type Opener = Callable[..., SupabaseStorage]
type Sql = psycopg.Connection[tuple[Any, ...]]

ROOT = Path(conserver_supabase_storage.__file__).parents[1]


def new_uuid() -> str:
    return str(uuid.uuid4())


def vcon(vcon_uuid: str, version: int, **members: Any) -> Json:
    return {"uuid": vcon_uuid, "parties": [], "version": version, **members}


def version_of(document: Json | None) -> int | None:
    return None if document is None else int(document["version"])


def spool_of(storage: SupabaseStorage) -> Spool:
    assert storage.spool is not None
    return storage.spool


def waiting(storage: SupabaseStorage) -> list[tuple[str, int]]:
    """What waits, in its order: (uuid, version)."""
    return [(record.uuid, _version(record)) for record in spool_of(storage).waiting()]


def set_aside(storage: SupabaseStorage) -> list[tuple[str, int]]:
    """What failed for good: (uuid, version)."""
    return sorted((record.uuid, _version(record)) for record in spool_of(storage).failures())


def _version(record: Record) -> int:
    return int(json.loads(record.document)["version"])


@contextmanager
def away(stack: Supabase) -> Iterator[None]:
    """Supabase is away: PostgREST is stopped, and started again at the end."""
    stack.stop_service("postgrest")
    try:
        yield
    finally:
        stack.start_service("postgrest")


def spool_while_away(stack: Supabase, storage: SupabaseStorage, *documents: Json) -> list[Record]:
    """Save while Supabase is away; returns what then waits."""
    with away(stack):
        for document in documents:
            storage.save(document)
    return list(spool_of(storage).waiting())


def spooled(storage: SupabaseStorage, *documents: Json, not_after: float | None = None) -> None:
    """Put these into the spool as saves do, without an outage."""
    for document in documents:
        when = time.time() if not_after is None else not_after  # the database has the same clock
        assert spool_of(storage).put(document["uuid"], json.dumps(document), when) is None


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Database:
    """The database behind PostgREST, as its superuser sees it."""

    def __init__(self, connection: Sql) -> None:
        self._connection = connection

    def time(self) -> float:
        row = self._connection.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()
        assert row
        return float(row[0])

    def version(self, vcon_uuid: str) -> int | None:
        row = self._connection.execute(
            "SELECT (as_written ->> 'version')::int FROM vcons WHERE uuid = %s", [vcon_uuid]
        ).fetchone()
        return row[0] if row else None

    def history(self, *uuids: str) -> list[tuple[str, int | None]]:
        """What was committed to these vCons, in its order: (uuid, version, or None: deleted)."""
        rows = self._connection.execute(
            "SELECT uuid::text, version FROM vcon_history WHERE uuid = ANY(%s::uuid[]) ORDER BY id",
            [list(uuids)],
        ).fetchall()
        return [(row[0], row[1]) for row in rows]

    def revisions(self, *uuids: str) -> list[str]:
        """These vCons in the order of their revisions."""
        rows = self._connection.execute(
            "SELECT uuid::text FROM vcons WHERE uuid = ANY(%s::uuid[]) ORDER BY revision",
            [list(uuids)],
        ).fetchall()
        return [row[0] for row in rows]

    @contextmanager
    def refusing(self, vcon_uuid: str) -> Iterator[None]:
        """Postgres refuses this vCon, and only this one."""
        with self._trigger(vcon_uuid, "RAISE EXCEPTION 'this one not' USING ERRCODE = '23514'"):
            yield

    @contextmanager
    def slow(self, vcon_uuid: str, seconds: float) -> Iterator[None]:
        """Postgres takes its time over this vCon."""
        with self._trigger(vcon_uuid, f"PERFORM pg_sleep({seconds})"):
            yield

    @contextmanager
    def _trigger(self, vcon_uuid: str, statement: str) -> Iterator[None]:
        self._connection.execute(f"""
            CREATE FUNCTION for_one() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
              IF NEW.uuid = '{uuid.UUID(vcon_uuid)}' THEN
                {statement};
              END IF;
              RETURN NEW;
            END $$;
            CREATE TRIGGER for_one BEFORE INSERT OR UPDATE ON vcons
              FOR EACH ROW EXECUTE FUNCTION for_one()""")
        try:
            yield
        finally:
            self._connection.execute("DROP FUNCTION for_one() CASCADE")


class Process:
    """Python in another process, with `options` at hand, that can be killed in the middle."""

    def __init__(self, code: str, options: Mapping[str, Any], *arguments: object) -> None:
        script = _PREAMBLE + textwrap.dedent(code)
        self._process = subprocess.Popen(
            [sys.executable, "-c", script, json.dumps(dict(options)), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def line(self) -> str:
        """The next line that it prints; '' once it has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def tell(self, line: str) -> None:
        """Give it a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def ask(self, line: str) -> str:
        """Give it a line; returns the line that it answers."""
        self.tell(line)
        return self.line()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def result(self) -> Any:
        """What it prints as JSON in its last line, once it has ended well."""
        output, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, output
        return json.loads(output.splitlines()[-1])


# `hang(name)` says where a process is, for its parent to kill it there.
_PREAMBLE = """
import json, sys, threading, time
from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.errors import StorageError
options, arguments = json.loads(sys.argv[1]), sys.argv[2:]
def hang(where):
    print(where, flush=True)
    time.sleep(600)
"""


@contextmanager
def process(code: str, options: Mapping[str, Any], *arguments: object) -> Iterator[Process]:
    """Run Python in another process, which is gone at the end."""
    with ExitStack() as stack:
        running = Process(code, options, *arguments)
        stack.callback(running.kill)
        yield running


def elsewhere(code: str, options: Mapping[str, Any], *arguments: object) -> Any:
    """Run Python in another process to its end; returns what it printed last, as JSON."""
    with process(code, options, *arguments) as running:
        return running.result()


def environment(**variables: str) -> dict[str, str]:
    """This process' environment, with the package that is tested here."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **variables}
