"""Other storages, measured beside ours: a class from a file, and a plain driver."""

import importlib.util
import inspect
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import psycopg
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.bench.measure import Case
from conserver_supabase_storage.local import LocalSupabase

from .cases import Bench, Call, Prepare, get, options_for, save
from .floors import Floor, named
from .vcons import Made, make

_UPSERT = (
    "INSERT INTO bench_rows VALUES (%s, %s) ON CONFLICT (uuid) DO UPDATE SET doc = excluded.doc"
)


class PeerError(Exception):
    """The peer says that it failed."""


class Peer:
    """A class ``SupabaseStorage`` of a file: made with url, anon_key and redis_url.

    Those are given as arguments by name, or as one mapping where its constructor takes that.
    It runs through Supabase's gateway, for the URL that it needs, on a stack of its own: its tables
    may have the names of ours.

    Args:
        file: the file.
        sql: the peer's tables; without, it finds ours.
    """

    def __init__(self, file: Path, sql: list[Path]) -> None:
        self.name = file.stem
        self._file = file
        self._sql = sql
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        stack = self._closing.enter_context(LocalSupabase(migrate=not self._sql))
        with psycopg.connect(stack.database_url, autocommit=True) as connection:
            for file in self._sql:
                connection.execute(file.read_bytes())
        stack.reload_schema()
        logging.disable(logging.WARNING)  # a line per call, in some
        self._closing.callback(logging.disable, logging.NOTSET)
        self._storage = self._make(
            {"url": stack.url, "anon_key": stack.service_role_key, "redis_url": stack.redis_url}
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _make(self, options: dict[str, str]) -> Any:
        spec = importlib.util.spec_from_file_location("bench_peer", self._file)
        assert spec is not None, self._file
        assert spec.loader is not None, self._file
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        made = module.SupabaseStorage
        if "url" in inspect.signature(made).parameters:
            return made(**options)
        return made(options)

    def save(self, made: Made) -> None:
        """Save; False is a failure."""
        if self._storage.save(made.vcon) is False:
            raise PeerError("save returned False")

    def get(self, made: Made) -> object:
        """Get; None is a failure."""
        found = self._storage.get(made.uuid)
        if found is None:
            raise PeerError("get returned None")
        return found

    def delete(self, made: Made) -> None:
        """Delete; False is a failure."""
        if self._storage.delete(made.uuid) is False:
            raise PeerError("delete returned False")

    def cases(self, stack: LocalSupabase) -> list[Case]:
        """Return the peer's operations on a small vCon, with ours and the floors the same way."""
        new = partial(make, "small")
        ours = SupabaseStorage(options_for(stack) | {"rest_url": None, "url": stack.url})
        floor = Floor(f"{stack.url}/rest/v1", stack.service_role_key)
        self._closing.callback(ours.close)
        self._closing.callback(floor.close)
        kept = new()

        def there() -> Made:
            made = new()
            self.save(made)
            return made

        def ours_there() -> Made:
            made = new()
            ours.save(made.vcon)
            floor.write(named("bench_upsert", made))
            return made

        def trio(name: str, *how: tuple[Prepare, Call]) -> list[Case]:
            below = f"floor of {name}"
            bare, own, peer = how
            return [
                Case(below, *bare),
                Case(name, *own, below),
                Case(f"{name}, {self.name}", *peer, below, foreign=True),
            ]

        ours.save(kept.vcon)
        return [
            *trio(
                "save new",
                (lambda: named("bench_insert", new()), floor.write),
                (new, save(ours)),
                (new, self.save),
            ),
            *trio(
                "save again unchanged",
                (lambda: named("bench_upsert", kept), floor.write),
                (lambda: kept, save(ours)),
                (lambda: kept, self.save),
            ),
            *trio("get", (ours_there, floor.get), (ours_there, get(ours)), (there, self.get)),
            *trio(
                "delete",
                (ours_there, floor.delete),
                (ours_there, lambda made: ours.delete(made.uuid)),
                (there, self.delete),
            ),
        ]

    def differences(self) -> str:
        """Return what is to be said of what a get returns after a save."""
        made = make("small")
        try:
            self.save(made)
            same = self.get(made) == made.vcon
        except Exception as error:  # noqa: BLE001 - it is somebody else's
            return f"{self.name}: {type(error).__name__}: {error}"
        return f"{self.name}: what it returns is {'' if same else 'not '}what was saved"


@contextmanager
def postgres(bench: Bench, database_url: str) -> Iterator[list[Case]]:
    """Give upserts of one jsonb by psycopg: a connection for each, and from a pool."""
    new = partial(make, "small")

    def upsert(connection: psycopg.Connection[Any], made: Made) -> None:
        connection.execute(_UPSERT, [made.uuid, Jsonb(made.vcon)])

    def connecting(made: Made) -> None:
        with psycopg.connect(database_url) as connection:
            upsert(connection, made)

    with ConnectionPool(database_url, min_size=1, open=True) as pool:

        def pooled(made: Made) -> None:
            with pool.connection() as connection:
                upsert(connection, made)

        below = "floor of save new"
        yield [
            Case(below, lambda: named("bench_insert", new()), bench.floor.write),
            Case("save new", new, save(bench.plain), below),
            Case("psycopg upsert, connecting", new, connecting, below),
            Case("psycopg upsert, pooled", new, pooled, below),
        ]
