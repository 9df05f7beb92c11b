"""The databases in which we have to be at home: ours, and those whose tables vcon-mcp made."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.indexing import Indexer
from conserver_supabase_storage.migrations import migrate, migrations

from ..conftest import Sql, options_without_cache
from ..home import Supabase
from ..vcons import Json
from . import database

_numbers = itertools.count()

HERE = Path(__file__).parent
FOREIGN = {
    "theirs": ["foreign_schema.sql"],
    "older": ["foreign_schema.sql", "foreign_schema_older.sql"],
}


class Place(NamedTuple):
    """A migrated database, a storage without a cache on it, and options for another one."""

    name: str
    sql: Sql
    storage: SupabaseStorage
    options: Json


def contents(connection: Sql) -> list[object]:
    """Every row, without the columns that we added."""
    return [
        connection.execute(
            f"SELECT to_jsonb(t) - ARRAY['as_written', 'revision', 'digest', 'saved_at']"
            f" FROM {table} t ORDER BY id".encode()
        ).fetchall()
        for table in database.TABLES
    ]


def make_foreign(connection: Sql, name: str) -> None:
    """Make another program's tables, with data."""
    for file in FOREIGN[name]:
        connection.execute((HERE / file).read_bytes())


def place_of(stack: Supabase, name: str) -> Iterator[Place]:
    """Make a database and migrate it; it goes with the stack."""
    url = stack.create_database(f"place_{name}_{next(_numbers)}")
    with psycopg.connect(url, autocommit=True) as connection:
        if name in FOREIGN:
            make_foreign(connection, name)
        assert migrate(url) == migrations()
        with stack.postgrest(database=connection.info.dbname) as rest_url:
            options = options_without_cache(stack) | {"rest_url": rest_url}
            with SupabaseStorage(options) as storage:
                yield Place(name, connection, storage, options)


@pytest.fixture(scope="module", params=["ours", *FOREIGN])
def place(request: pytest.FixtureRequest, stack: Supabase) -> Iterator[Place]:
    """Each of the three databases."""
    yield from place_of(stack, request.param)


# For what our own tables have nothing of.
in_foreign = pytest.mark.parametrize("place", list(FOREIGN), indirect=True)


@pytest.fixture(autouse=True)
def _no_indexing_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are counted here; a thread's at its own time would be counted too.

    Nobody is woken, rather than woken late: a thread that still waits after the test would keep the
    next one's saves from being indexed.
    """
    monkeypatch.setattr(Indexer, "wake", lambda _: None)
