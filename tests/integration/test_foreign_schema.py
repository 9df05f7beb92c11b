"""Ours, and databases whose tables another program made. Needs the local Supabase."""

import os
from pathlib import Path

import psycopg
import pytest

from conserver_supabase_storage.migrations import migrate, migrations

from ..home import Supabase
from ..vcons import Json, assert_same, load, new_uuid, small_vcon, uuid_in, written_set
from . import database
from .conftest import FOREIGN, Place, contents, in_foreign, make_foreign
from .test_migrations import catalog

THEIRS = "0195544a-0000-8000-8000-000000000001"
# Too long for an index, also when Postgres has compressed it.
RANDOM = os.urandom(10_000).hex()


@pytest.mark.parametrize("name", list(FOREIGN))
def test_migrating_only_adds(stack: Supabase, name: str) -> None:
    url = stack.create_database(f"only_adds_{name}")
    with psycopg.connect(url, autocommit=True) as connection:
        make_foreign(connection, name)
        before, rows = catalog(connection), contents(connection)
        assert migrate(url) == migrations()
        after = catalog(connection)
        # Rights of service_role are granted again where it has them already: the same text.
        assert [entry for entry in before if entry not in after] == []
        assert contents(connection) == rows


@in_foreign
def test_migrating_again_changes_nothing(place: Place) -> None:
    before = catalog(place.sql)
    for migration in migrations():
        place.sql.execute(migration.sql.encode())
    assert catalog(place.sql) == before


def test_a_vcon_is_saved_and_read_and_deleted(place: Place) -> None:
    document = small_vcon()
    place.storage.save(document)
    assert_same(place.storage.get(document["uuid"]), document)
    changed = document | {"subject": "another", "dialog": document["dialog"][1:]}
    place.storage.save(changed)
    assert_same(place.storage.get(document["uuid"]), changed)
    assert place.storage.delete(document["uuid"])
    assert not any(database.versions(place.sql, document["uuid"]).values())


@in_foreign
def test_their_columns_are_filled_as_they_fill_them(place: Place) -> None:
    document = small_vcon()
    place.storage.save(document)
    [header] = database.rows_of(place.sql, "vcons", document["uuid"], "id = uuid, subject")
    assert header == (True, document["subject"])
    assert database.rows_of(place.sql, "parties", document["uuid"], "name, tel")[0] == (
        "Ada Example",
        "+12025550143",
    )
    [attachment] = database.rows_of(place.sql, "attachments", document["uuid"], "type, body")
    assert attachment == ("tags", '["queue:billing","language:en"]')


@pytest.mark.parametrize("path", written_set(), ids=lambda path: path.stem)
def test_every_section_of_the_draft_comes_back_there(place: Place, path: Path) -> None:
    document = load(path)
    place.storage.save(document)
    assert_same(place.storage.get(uuid_in(document)), document)


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
    place: Place, members: Json
) -> None:
    document = small_vcon(**members)
    place.storage.save(document)
    assert_same(place.storage.get(document["uuid"]), document)


def test_saving_the_same_again_changes_nothing(place: Place) -> None:
    document = small_vcon(critical=["x"], amended={"uuid": new_uuid()})
    place.storage.save(document)
    before = database.versions(place.sql, document["uuid"])
    place.storage.save(document)
    assert database.versions(place.sql, document["uuid"]) == before


@in_foreign
def test_a_vcon_that_they_wrote_is_read(place: Place) -> None:
    assert place.storage.get(THEIRS) == {
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
                "body": "A greeting",
            }
        ],
        "attachments": [{"type": "tags", "encoding": "json", "body": '["queue:billing"]'}],
    }


@in_foreign
def test_a_vcon_that_they_wrote_is_found(place: Place) -> None:
    [found] = place.storage.search({"subject": "another program"})
    assert found == place.storage.get(THEIRS)


@in_foreign
def test_a_vcon_of_a_tenant_keeps_its_tenant_when_we_save_it(place: Place) -> None:
    document = small_vcon("0195544a-0000-8000-8000-000000000002")
    place.storage.save(document)
    assert_same(place.storage.get(document["uuid"]), document)
    for table in database.TABLES:
        rows = database.rows_of(place.sql, table, document["uuid"], "tenant_id")
        assert set(rows) == {("acme",)}, table


def test_a_vcon_with_an_id_of_its_own_is_read_with_its_parts(place: Place) -> None:
    owner = "id" if place.name == "older" else "uuid"
    vcon_uuid = new_uuid()
    row = place.sql.execute(
        "INSERT INTO vcons (uuid, vcon_version) VALUES (%s, '0.4.0') RETURNING uuid, id",
        [vcon_uuid],
    ).fetchone()
    assert row is not None
    named = row[0] if owner == "uuid" else row[1]
    query = "INSERT INTO parties (vcon_id, party_index, name) VALUES (%s, %s, 'Ada')"
    place.sql.execute(query.encode(), [named, 0])
    found = place.storage.get(vcon_uuid)
    assert found is not None
    assert found["parties"] == [{"name": "Ada"}]
    revision = "SELECT revision FROM vcons WHERE uuid = %s"
    before = database.value(place.sql, revision, vcon_uuid)
    place.sql.execute(query.encode(), [named, 1])
    assert database.value(place.sql, revision, vcon_uuid) > before
