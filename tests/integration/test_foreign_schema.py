"""A database whose tables another program made, with its data. Needs the local Supabase."""

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.migrations import migrate, migrations

from ..conftest import Sql, options_without_cache
from ..home import Supabase
from ..vcons import Json, assert_same, load, new_uuid, small_vcon, uuid_in, written_set
from . import database
from .test_migrations import catalog

SCHEMA = Path(__file__).with_name("foreign_schema.sql")
THEIRS = "0195544a-0000-8000-8000-000000000001"
# Too long for an index, also when Postgres has compressed it.
RANDOM = os.urandom(10_000).hex()


def contents(connection: Sql) -> list[object]:
    """Every row that was there before, without columns that we added."""
    return [
        connection.execute(
            f"SELECT to_jsonb(t) - ARRAY['as_written', 'revision', 'digest', 'saved_at']"
            f" FROM {table} t ORDER BY id".encode()
        ).fetchall()
        for table in database.TABLES
    ]


@pytest.fixture(scope="module")
def theirs(stack: Supabase) -> Iterator[Sql]:
    """A connection to such a database, migrated; what the migration must keep is checked here."""
    url = stack.create_database("foreign_schema")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SCHEMA.read_bytes())
        before, rows = catalog(connection), contents(connection)
        assert migrate(url) == migrations()
        after = catalog(connection)
        # Rights of service_role are granted again where it has them already: the same text.
        missing = [entry for entry in before if entry not in after]
        assert missing == []
        assert contents(connection) == rows
        yield connection


@pytest.fixture(scope="module")
def there(stack: Supabase, theirs: Sql) -> Iterator[SupabaseStorage]:
    """A storage on it."""
    with (
        stack.postgrest(database=theirs.info.dbname) as rest_url,
        SupabaseStorage(options_without_cache(stack) | {"rest_url": rest_url}) as storage,
    ):
        yield storage


def test_migrating_again_changes_nothing(theirs: Sql) -> None:
    before = catalog(theirs)
    for migration in migrations():
        theirs.execute(migration.sql.encode())
    assert catalog(theirs) == before


def test_a_vcon_is_saved_and_read_and_deleted(there: SupabaseStorage, theirs: Sql) -> None:
    document = small_vcon()
    there.save(document)
    assert_same(there.get(document["uuid"]), document)
    changed = document | {"subject": "another", "dialog": document["dialog"][1:]}
    there.save(changed)
    assert_same(there.get(document["uuid"]), changed)
    assert there.delete(document["uuid"])
    assert not any(database.versions(theirs, document["uuid"]).values())


def test_their_columns_are_filled_as_they_fill_them(there: SupabaseStorage, theirs: Sql) -> None:
    document = small_vcon()
    there.save(document)
    [header] = database.rows_of(theirs, "vcons", document["uuid"], "id = uuid, subject")
    assert header == (True, document["subject"])
    assert database.rows_of(theirs, "parties", document["uuid"], "name, tel")[0] == (
        "Ada Example",
        "+12025550143",
    )
    [attachment] = database.rows_of(theirs, "attachments", document["uuid"], "type, body")
    assert attachment == ("tags", '["queue:billing","language:en"]')


@pytest.mark.parametrize("path", written_set(), ids=lambda path: path.stem)
def test_every_section_of_the_draft_comes_back_there(there: SupabaseStorage, path: Path) -> None:
    document = load(path)
    there.save(document)
    assert_same(there.get(uuid_in(document)), document)


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"vcon": "0.4.0-with-a-suffix"}, id="version of more than 10 characters"),
        pytest.param({"dialog": [{"type": "video", "body": "x"}]}, id="dialog of another type"),
        pytest.param({"dialog": [{}]}, id="dialog without a type"),
        pytest.param({"dialog": [{"type": "text", "encoding": "x"}]}, id="another encoding"),
        pytest.param({"analysis": [{"body": "x"}]}, id="analysis without type and vendor"),
        pytest.param({"parties": [{"name": RANDOM, "uuid": RANDOM}]}, id="long name"),
        pytest.param(
            {"subject": " ".join(f"word{n}" for n in range(100_000))}, id="subject of many words"
        ),
        pytest.param(
            {"dialog": [{"type": "text", "body": " ".join(f"word{n}" for n in range(200_000))}]},
            id="body of many words",
        ),
        pytest.param({"critical": [RANDOM]}, id="long name in critical"),
        pytest.param({"dialog": [{"type": "text", "session_id": {RANDOM: RANDOM}}]}, id="long id"),
        pytest.param({"critical": ["x"], "must_support": None}, id="critical alone"),
        pytest.param({"amended": {}, "appended": {"uuid": "x"}}, id="appended alone"),
    ],
)
def test_what_their_columns_can_not_hold_does_not_fail_the_save(
    there: SupabaseStorage, members: Json
) -> None:
    document = small_vcon(**members)
    there.save(document)
    assert_same(there.get(document["uuid"]), document)


def test_saving_the_same_again_changes_nothing(there: SupabaseStorage, theirs: Sql) -> None:
    document = small_vcon(critical=["x"], amended={"uuid": new_uuid()})
    there.save(document)
    before = database.versions(theirs, document["uuid"])
    there.save(document)
    assert database.versions(theirs, document["uuid"]) == before


def test_a_vcon_that_they_wrote_is_read(there: SupabaseStorage) -> None:
    assert there.get(THEIRS) == {
        "vcon": "0.3.0",
        "uuid": THEIRS,
        "created_at": "2026-01-02T03:04:05+00:00",
        "updated_at": "2026-01-02T03:04:06+00:00",
        "subject": "Written by another program",
        "parties": [{"tel": "+12025550143", "name": "Ada Example"}, {"name": "Ben Example"}],
        "dialog": [
            {
                "type": "text",
                "start": "2026-01-02T03:04:05+00:00",
                "duration": 1.5,
                "parties": [0, 1],
                "encoding": "none",
                "body": "Hello",
            }
        ],
        "analysis": [
            {
                "type": "summary",
                "dialog": [0],
                "vendor": "example",
                "encoding": "none",
                "created_at": "2026-01-02T03:04:07+00:00",
                "body": "A greeting",
            }
        ],
        "attachments": [{"type": "tags", "encoding": "json", "body": '["queue:billing"]'}],
    }


def test_a_vcon_that_they_wrote_is_found(there: SupabaseStorage) -> None:
    [found] = there.search({"subject": "another program"})
    assert found == there.get(THEIRS)


def test_a_vcon_of_a_tenant_keeps_its_tenant_when_we_save_it(
    there: SupabaseStorage, theirs: Sql
) -> None:
    document = small_vcon("0195544a-0000-8000-8000-000000000002")
    there.save(document)
    assert_same(there.get(document["uuid"]), document)
    for table in database.TABLES:
        rows = database.rows_of(theirs, table, document["uuid"], "tenant_id")
        assert set(rows) == {("acme",)}, table
