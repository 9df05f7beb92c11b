"""Edits by other programs, in each of three databases. Needs the local Supabase."""

import base64
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psycopg
import pytest
from redis import Redis

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.freshness import TRUST

from ..home import Supabase
from ..vcons import Json, assert_same, load, new_uuid, small_vcon, uuid_in, written_set
from . import database
from .conftest import Place, in_foreign


def edited(
    place: Place, query: str, document: Json | None = None, *arguments: object
) -> tuple[Json, Json]:
    """Save a vCon, run SQL as another program would, and return what was saved and what we get."""
    document = document or small_vcon()
    place.storage.save(document)
    place.sql.execute(query.encode(), [document["uuid"], *arguments])
    found = place.storage.get(document["uuid"])
    assert found is not None
    return document, found


def test_a_changed_subject_is_what_get_returns(place: Place) -> None:
    document, found = edited(place, "UPDATE vcons SET subject = 'Other' WHERE uuid = %s")
    assert_same(found, document | {"subject": "Other"})


def test_members_that_columns_do_not_know_survive_with_all_digits_and_their_order(
    place: Place,
) -> None:
    vcon_uuid = new_uuid()
    place.storage.save(
        f'{{"zzz":1.10,"uuid":"{vcon_uuid}","subject":"x","aaa":[1.50],'
        f'"parties":[{{"role":"agent","name":"Ada","n":{2**70},"tiny":1e-20000}}]}}'
    )
    place.sql.execute("UPDATE vcons SET subject = 'y' WHERE uuid = %s", [vcon_uuid])
    place.sql.execute("UPDATE parties SET name = 'Bo' WHERE vcon_id = %s", [vcon_uuid])
    found = place.storage.get(vcon_uuid, parse_float=str)
    assert json.dumps(found) == json.dumps(
        {
            "zzz": "1.10",
            "uuid": vcon_uuid,
            "subject": "y",
            "aaa": ["1.50"],
            "parties": [{"role": "agent", "name": "Bo", "n": 2**70, "tiny": "1E-20000"}],
        }
    )


def test_an_equal_value_is_no_change(place: Place) -> None:
    document = small_vcon(subject="The same")
    document["dialog"][0]["duration"] = 61.123456789  # more than the column has
    document["dialog"][0]["start"] = "2026-03-01T10:30:00.125+01:00"
    place.storage.save(document)
    before = database.value(
        place.sql, "SELECT revision FROM vcons WHERE uuid = %s", document["uuid"]
    )
    place.sql.execute("UPDATE vcons SET subject = 'The same' WHERE uuid = %s", [document["uuid"]])
    place.sql.execute(
        "UPDATE dialog SET duration_seconds = duration_seconds, start_time = start_time,"
        " filename = filename WHERE vcon_id = %s",
        [document["uuid"]],
    )
    assert_same(place.storage.get(document["uuid"]), document)
    assert before == database.value(
        place.sql, "SELECT revision FROM vcons WHERE uuid = %s", document["uuid"]
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("name = 'Bo'", {"tel": "+12025550143", "name": "Bo", "role": "customer"}),
        ("name = NULL", {"tel": "+12025550143", "role": "customer"}),
        (
            "mailto = 'a@example.com', uuid = '0195544a-0000-8000-8000-00000000000a'",
            {
                "tel": "+12025550143",
                "name": "Ada Example",
                "role": "customer",
                "mailto": "a@example.com",
                "uuid": "0195544a-0000-8000-8000-00000000000a",
            },
        ),
        (
            'civicaddress = \'{"country": "US"}\'',
            {
                "tel": "+12025550143",
                "name": "Ada Example",
                "role": "customer",
                "civicaddress": {"country": "US"},
            },
        ),
        # What another program keeps for itself.
        (
            "metadata = '{\"x\": 1}', data_subject_id = 'y'",
            {"tel": "+12025550143", "name": "Ada Example", "role": "customer"},
        ),
    ],
)
def test_a_changed_party(place: Place, change: str, expected: Json) -> None:
    document, found = edited(
        place, f"UPDATE parties SET {change} WHERE vcon_id = %s AND party_index = 0"
    )
    assert found["parties"][0] == expected
    assert_same(found | {"parties": 0}, document | {"parties": 0})
    assert found["parties"][1] == document["parties"][1]


def test_a_changed_dialog(place: Place) -> None:
    document, found = edited(
        place,
        "UPDATE dialog SET body = 'Other', duration_seconds = 2.5, parties = '{1}', url = NULL,"
        " start_time = '2026-03-01T09:40:00+01:00', disposition = 'busy'"
        " WHERE vcon_id = %s AND dialog_index = 1",
    )
    assert found["dialog"][1] == document["dialog"][1] | {
        "body": "Other",
        "parties": 1,
        "start": "2026-03-01T08:40:00+00:00",
        "disposition": "busy",
        "duration": 2.5,
    }
    assert found["dialog"][0] == document["dialog"][0]


def test_a_dialog_that_is_stripped_of_its_content(place: Place) -> None:
    _, found = edited(
        place,
        "UPDATE dialog SET start_time = NULL, duration_seconds = NULL, parties = NULL,"
        " mediatype = NULL, filename = NULL, body = NULL, encoding = NULL"
        " WHERE vcon_id = %s AND dialog_index = 0",
    )
    assert found["dialog"][0] == {"type": "recording"}


@in_foreign
def test_a_body_that_no_column_holds_goes_when_its_dialog_is_stripped(place: Place) -> None:
    document = small_vcon()
    document["dialog"][1]["body"] = " ".join(f"word{n}" for n in range(200_000))
    document, found = edited(
        place,
        "UPDATE dialog SET start_time = NULL, parties = NULL, mediatype = NULL, body = NULL,"
        " encoding = NULL WHERE vcon_id = %s AND dialog_index = 1",
        document,
    )
    assert found["dialog"][1] == {"type": "text"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('["queue:sales"]', ["queue:sales"]),
        ('{"a": 1}', {"a": 1}),
        ("no JSON", "no JSON"),
        (None, None),
    ],
)
def test_a_body_that_was_a_list(place: Place, body: str | None, expected: object) -> None:
    document, found = edited(
        place,
        "WITH given AS (SELECT %s::uuid AS id, %s::text AS body) UPDATE attachments a"
        " SET body = given.body FROM given WHERE a.vcon_id = given.id",
        small_vcon(),
        body,
    )
    wanted = document["attachments"][0] | {"body": expected}
    if expected is None:
        del wanted["body"]
    assert_same(found["attachments"][0], wanted)


def test_tags_are_changed_as_vcon_mcp_does(place: Place) -> None:
    _, found = edited(
        place,
        "UPDATE attachments SET body = '[\"queue:sales\"]', encoding = 'json'"
        " WHERE vcon_id = %s AND type = 'tags'",
    )
    assert_same(
        found["attachments"],
        [{"purpose": "tags", "body": ["queue:sales"], "encoding": "json"}],
    )


@pytest.mark.parametrize(
    ("query", "part", "expected"),
    [
        (
            "INSERT INTO parties (vcon_id, party_index, name) VALUES (%s, 2, 'Cy')",
            "parties",
            {"name": "Cy"},
        ),
        (
            "INSERT INTO dialog (vcon_id, dialog_index, type, body, encoding)"
            " VALUES (%s, 4, 'text', 'Hi', 'none')",
            "dialog",
            {"type": "text", "body": "Hi", "encoding": "none"},
        ),
        (
            "INSERT INTO analysis (vcon_id, analysis_index, type, vendor, body, created_at)"
            " VALUES (%s, 2, 'mood', 'v', 'good', now())",
            "analysis",
            {"type": "mood", "vendor": "v", "body": "good"},
        ),
        (
            "INSERT INTO attachments (vcon_id, attachment_index, type, body, encoding)"
            " VALUES (%s, 1, 'note', 'x', 'none')",
            "attachments",
            {"type": "note", "body": "x", "encoding": "none"},
        ),
    ],
)
def test_an_added_part(place: Place, query: str, part: str, expected: Json) -> None:
    document, found = edited(place, query)
    assert found == document | {part: [*document[part], expected]}


@pytest.mark.parametrize("part", ["parties", "dialog", "analysis", "attachments"])
def test_a_removed_part(place: Place, part: str) -> None:
    document, found = edited(
        place,
        f"DELETE FROM {part} WHERE vcon_id = %s AND {database.index_of(part)} = 0",
    )
    assert_same(found, document | {part: document[part][1:]})


def test_a_part_that_is_taken_out_and_put_in_again_under_another_index_stays_exact(
    place: Place,
) -> None:
    """As vcon-mcp closes the gap after an analysis that it removed."""
    document = small_vcon()
    place.storage.save(document)
    names = [
        name
        for (name,) in place.sql.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public'"
            " AND table_name = 'analysis' AND column_name <> 'analysis_index'"
        )
    ]
    columns = ", ".join(names)
    place.sql.execute(
        f"CREATE TEMP TABLE taken AS SELECT * FROM analysis WHERE vcon_id = '{document['uuid']}'"
        f"; DELETE FROM analysis WHERE vcon_id = '{document['uuid']}'"
        f"; INSERT INTO analysis (analysis_index, {columns}) SELECT 0, {columns} FROM taken"
        " WHERE analysis_index = 1; DROP TABLE taken".encode()
    )
    found = place.storage.get(document["uuid"])
    assert_same(found, document | {"analysis": document["analysis"][1:]})


def test_a_save_after_an_edit_writes_again_what_the_edit_changed(place: Place) -> None:
    document, _ = edited(place, "UPDATE parties SET name = 'Bo' WHERE vcon_id = %s")
    place.sql.execute(
        "INSERT INTO parties (vcon_id, party_index, name) VALUES (%s, 2, 'Cy')", [document["uuid"]]
    )
    place.storage.save(document)
    assert_same(place.storage.get(document["uuid"]), document)


@pytest.mark.parametrize("path", written_set(), ids=lambda path: path.stem)
def test_what_an_edit_does_not_name_stays_exact_for_every_section(place: Place, path: Any) -> None:
    document = load(path)
    place.storage.save(document)
    vcon_uuid = uuid_in(document)
    # Not to null: they may be so already. No section has these.
    for table in ("parties", "dialog", "analysis", "attachments"):
        place.sql.execute(
            f"UPDATE {table} SET metadata = '{{\"seen\": true}}' WHERE vcon_id = %s".encode(),
            [vcon_uuid],
        )
    place.sql.execute("UPDATE vcons SET subject = 'Edited' WHERE uuid = %s", [vcon_uuid])
    found = place.storage.get(vcon_uuid)
    for table in ("parties", "dialog", "analysis", "attachments"):
        for part in document.get(table) or ():
            for member in ("metadata", "meta"):
                if member in part:  # the column that every part was given
                    part[member] = {"seen": True}
                    break
    assert found == document | {"subject": "Edited"}


def test_critical_and_amended_are_cleared_for_good(place: Place) -> None:
    document = small_vcon(critical=["x"], amended={"uuid": new_uuid()})
    place.storage.save(document)
    del document["critical"], document["amended"]
    place.storage.save(document)
    place.sql.execute("UPDATE vcons SET subject = 'touched' WHERE uuid = %s", [document["uuid"]])
    assert_same(place.storage.get(document["uuid"]), document | {"subject": "touched"})
    columns = "critical, must_support, amended, appended"
    [row] = database.rows_of(place.sql, "vcons", document["uuid"], columns)
    assert row == (None, None, None, None)


def test_a_changed_critical(place: Place) -> None:
    document, found = edited(place, "UPDATE vcons SET critical = '{a,b}' WHERE uuid = %s")
    assert_same(found, document | {"critical": ["a", "b"]})
    document, found = edited(
        place,
        "UPDATE vcons SET critical = '{b}' WHERE uuid = %s",
        small_vcon(must_support=["a"]),
    )
    assert found["must_support"] == ["b"] or found["critical"] == ["b"]


def test_several_edits_of_one_transaction_are_one_new_revision(place: Place) -> None:
    document = small_vcon()
    place.storage.save(document)

    def state() -> tuple[int, int]:
        query = "SELECT (SELECT episode FROM vcon_storage_cache_state_v1())"
        return (
            database.value(
                place.sql, "SELECT revision FROM vcons WHERE uuid = %s", document["uuid"]
            ),
            database.value(place.sql, query),
        )

    revision, episode = state()
    with place.sql.transaction():
        place.sql.execute(
            "INSERT INTO parties (vcon_id, party_index, name)"
            " SELECT %s, n, 'x' FROM generate_series(2, 201) n",
            [document["uuid"]],
        )
        place.sql.execute("UPDATE dialog SET url = 'x' WHERE vcon_id = %s", [document["uuid"]])
    assert state() == (revision + 1, episode + 1)


def test_a_deleted_vcon_is_gone_and_a_save_spooled_before_does_not_bring_it_back(
    place: Place,
) -> None:
    document = small_vcon()
    place.storage.save(document)
    place.sql.execute("DELETE FROM vcons WHERE uuid = %s", [document["uuid"]])
    assert place.storage.get(document["uuid"]) is None
    query = "SELECT count(*) FROM vcon_tombstones WHERE uuid = %s"
    assert database.value(place.sql, query, document["uuid"]) == 1


def test_a_vcon_that_another_program_adds_has_a_revision(place: Place) -> None:
    vcon_uuid = new_uuid()
    place.sql.execute(
        "INSERT INTO vcons (id, uuid, vcon_version, subject) VALUES (%s, %s, '0.4.0', 'New')",
        [vcon_uuid, vcon_uuid],
    )
    query = "SELECT revision IS NOT NULL FROM vcons WHERE uuid = %s"
    assert database.value(place.sql, query, vcon_uuid)
    found = place.storage.get(vcon_uuid)
    assert found is not None
    assert found["subject"] == "New"
    assert found["parties"] == []


# Large bodies, and what other tables have of a vCon


def test_bodies_of_25_mb_and_of_many_words_come_back(place: Place) -> None:
    recording = base64.urlsafe_b64encode(os.urandom(25_000_000 * 3 // 4)).decode()
    # Two vCons: one with all of it takes a busy machine longer than a statement may.
    spoken, about = small_vcon(), small_vcon()
    spoken["dialog"][0]["body"] = recording
    spoken["dialog"][1]["body"] = " ".join(f"word{n}" for n in range(200_000))
    about["analysis"][0]["body"] = [f"word{n}" for n in range(200_000)]
    about["analysis"][1]["body"] = "thank you, that helps a lot. " * 50_000
    about["attachments"].append({"purpose": "x", "encoding": "base64url", "body": recording})
    patient = {"total_timeout": 60, "read_timeout": 60}
    large = [(spoken, "dialog", 0), (spoken, "dialog", 1), (about, "analysis", 0)]
    large.append((about, "attachments", 1))
    try:
        found = {}
        with SupabaseStorage(place.options | patient) as storage:
            for document in (spoken, about):
                storage.save(document)
                found[document["uuid"]] = storage.get(document["uuid"])
        # Compared apart: a report of a difference would be as long as they are.
        for document, part, index in large:
            got = found[document["uuid"]]
            assert got is not None
            same = got[part][index].pop("body") == document[part][index].pop("body")
            assert same, (part, index)
        for document in (spoken, about):
            assert_same(found[document["uuid"]], document)
        if place.name != "ours":
            held = database.rows_of(place.sql, "dialog", spoken["uuid"], "body IS NOT NULL")
            assert held == [(False,), (False,), (True,), (True,)]
            held = database.rows_of(place.sql, "analysis", about["uuid"], "body IS NOT NULL")
            assert held == [(False,), (True,)]  # the second has few different words
            held = database.rows_of(place.sql, "attachments", about["uuid"], "body IS NOT NULL")
            assert held == [(True,), (True,)]
    finally:
        for document in (spoken, about):
            place.storage.delete(document["uuid"])


@in_foreign
def test_every_column_that_a_part_has_is_filled(place: Place) -> None:
    party = {
        "tel": "+12025550143",
        "sip": "sip:a@example.com",
        "stir": "s",
        "mailto": "a@example.com",
        "name": "Ada",
        "did": "did:x:y",
        "validation": "v",
        "gmlpos": "1 2",
        "timezone": "UTC",
        "uuid": new_uuid(),
        "jcard": ["vcard", []],
        "civicaddress": {"country": "US"},
    }
    document = small_vcon(parties=[party], critical=["x"], extensions=["x"], group=[])
    place.storage.save(document)
    [row] = database.rows_of(place.sql, "parties", document["uuid"], "to_jsonb(parties)")
    for member, value in party.items():
        assert row[0][member] == value
    transfer = load(next(path for path in written_set() if path.stem == "transfer"))
    place.storage.save(transfer)
    rows = database.rows_of(place.sql, "dialog", uuid_in(transfer), "type, transferor IS NULL")
    assert ("transfer", False) in rows


@in_foreign
def test_party_history_and_groups_are_filled(place: Place) -> None:
    document = load(next(path for path in written_set() if path.stem == "party_history"))
    for _ in range(2):  # again: in place of those before
        place.storage.save(document)
        document["subject"] = "again"
        document["dialog"][0]["x"] = "again"
    query = (
        "SELECT h.party_index, h.event FROM party_history h JOIN dialog d ON d.id = h.dialog_id"
        " WHERE d.vcon_id = %s ORDER BY h.time, h.party_index"
    )
    found = place.sql.execute(query.encode(), [document["uuid"]]).fetchall()
    accepted = {"join", "drop", "hold", "unhold", "mute", "unmute", "dtmfdown", "dtmfup"}
    expected = [
        (entry["party"], entry["event"])
        for entry in document["dialog"][0]["party_history"]
        if entry["event"] in accepted
    ]
    assert sorted(found) == sorted(expected)
    assert found
    other = new_uuid()
    grouped = small_vcon(group=[{"uuid": other}, {"url": "https://example.com/x", "x": 1}])
    place.storage.save(grouped)
    query = "SELECT group_index, uuid::text, url FROM groups WHERE vcon_id = %s ORDER BY 1"
    assert place.sql.execute(query.encode(), [grouped["uuid"]]).fetchall() == [
        (0, other, None),
        (1, None, "https://example.com/x"),
    ]
    assert_same(place.storage.get(grouped["uuid"]), grouped)


@in_foreign
def test_a_changed_party_history(place: Place) -> None:
    document = load(next(path for path in written_set() if path.stem == "party_history"))
    document["uuid"] = new_uuid()
    place.storage.save(document)
    [(dialog,)] = database.rows_of(place.sql, "dialog", document["uuid"], "id")
    place.sql.execute("DELETE FROM party_history WHERE dialog_id = %s", [dialog])
    wanted = document["dialog"][0].copy()
    del wanted["party_history"]
    found = place.storage.get(document["uuid"])
    assert found is not None
    assert_same(found["dialog"], [wanted])
    place.sql.execute(
        "INSERT INTO party_history (dialog_id, party_index, time, event)"
        " VALUES (%s, 1, '2026-02-03T10:16:00Z', 'join')",
        [dialog],
    )
    found = place.storage.get(document["uuid"])
    assert found is not None
    entry = {"party": 1, "time": "2026-02-03T10:16:00+00:00", "event": "join"}
    assert_same(found["dialog"], [wanted | {"party_history": [entry]}])


@in_foreign
def test_the_history_of_a_dialog_that_they_wrote_is_read(place: Place) -> None:
    vcon_uuid = new_uuid()
    place.sql.execute("INSERT INTO vcons (id, uuid) VALUES (%s, %s)", [vcon_uuid, vcon_uuid])
    place.sql.execute(
        "WITH d AS (INSERT INTO dialog (vcon_id, dialog_index, type) VALUES (%s, 0, 'text')"
        " RETURNING id) INSERT INTO party_history (dialog_id, party_index, time, event)"
        " SELECT id, 0, '2026-02-03T10:16:00Z', 'join' FROM d",
        [vcon_uuid],
    )
    found = place.storage.get(vcon_uuid)
    assert found is not None
    entry = {"party": 0, "time": "2026-02-03T10:16:00+00:00", "event": "join"}
    assert found["dialog"] == [{"type": "text", "party_history": [entry]}]


@in_foreign
def test_tags_are_found_by_their_search_and_no_body_breaks_its_view(place: Place) -> None:
    tag = f"queue:{new_uuid()}"
    document = small_vcon(
        attachments=[{"purpose": "tags", "body": [tag], "encoding": "json"}],
    )
    place.storage.save(document)
    bad = small_vcon(
        attachments=[
            {"type": "tags", "body": "[this is no JSON]"},
            {"type": "tags", "body": [os.urandom(3_000).hex()]},
        ]
    )
    place.storage.save(bad)
    assert_same(place.storage.get(bad["uuid"]), bad)
    place.sql.execute("REFRESH MATERIALIZED VIEW vcon_tags_mv")
    name, _, value = tag.partition(":")
    query = "SELECT uuid::text FROM find_by_tags(jsonb_build_object(%s::text, %s::text))"
    assert place.sql.execute(query.encode(), [name, value]).fetchall() == [(document["uuid"],)]


# Rights


@in_foreign
def test_an_authenticated_user_edits_rows_of_the_tenant_and_no_others(
    stack: Supabase, place: Place
) -> None:
    for table in database.TABLES:
        place.sql.execute(f"GRANT ALL ON {table} TO authenticated".encode())
    mine, other = small_vcon(), small_vcon()
    for document, tenant in [(mine, "acme"), (other, "globex")]:
        with SupabaseStorage(place.options | {"tenant": tenant}) as storage:
            storage.save(document)
    key = stack.key_for("authenticated", tenant_id="acme")
    with httpx.Client(
        base_url=place.options["rest_url"], headers={"Authorization": f"Bearer {key}"}
    ) as http:
        for document in (mine, other):
            answer = http.patch(
                "/vcons", params={"uuid": f"eq.{document['uuid']}"}, json={"subject": "Edited"}
            )
            assert answer.status_code == 204, answer.text
            answer = http.patch(
                "/parties", params={"vcon_id": f"eq.{document['uuid']}"}, json={"name": "Edited"}
            )
            assert answer.status_code == 204, answer.text
        row = {"vcon_id": mine["uuid"], "party_index": 2, "name": "New", "tenant_id": "acme"}
        answer = http.post("/parties", json=row)
        assert answer.status_code == 201, answer.text
        assert http.get("/vcon_cache_edits").status_code in {401, 403}
    found = place.storage.get(mine["uuid"])
    assert found is not None
    assert found["subject"] == "Edited"
    assert [party["name"] for party in found["parties"]] == ["Edited", "Edited", "New"]
    assert_same(place.storage.get(other["uuid"]), other)


# The cache


@pytest.fixture(params=["plain", "memory", "shared"])
def cached(
    request: pytest.FixtureRequest, stack: Supabase, place: Place
) -> Iterator[SupabaseStorage]:
    more: dict[str, Json] = {
        "plain": {},
        "memory": {"memory_bytes": 10_000_000},
        "shared": {"cache_prefix": "vcon:"},
    }
    options = place.options | {"redis_url": stack.redis_url} | more[request.param]
    with SupabaseStorage(options) as storage:
        yield storage


def get_all_the_time(storage: SupabaseStorage, vcon_uuid: str, seconds: float) -> None:
    """Keep the storage believing its cache, as one that is busy does."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        storage.get(vcon_uuid)
        time.sleep(0.01)


def edit_by_sql(stack: Supabase, place: Place, vcon_uuid: str) -> None:
    place.sql.execute(
        "INSERT INTO analysis (vcon_id, analysis_index, type, vendor, body)"
        " VALUES (%s, 2, 'mood', 'v', 'good')",
        [vcon_uuid],
    )


def edit_by_rest(stack: Supabase, place: Place, vcon_uuid: str) -> None:
    key = stack.service_role_key
    answer = httpx.post(
        place.options["rest_url"] + "/analysis",
        json={
            "vcon_id": vcon_uuid,
            "analysis_index": 2,
            "type": "mood",
            "vendor": "v",
            "body": "good",
        },
        headers={"Authorization": f"Bearer {key}"},
    )
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("edit", [edit_by_sql, edit_by_rest])
def test_an_edit_is_seen_through_the_cache_within_the_bound(
    stack: Supabase,
    place: Place,
    cached: SupabaseStorage,
    edit: Callable[[Supabase, Place, str], None],
) -> None:
    document = small_vcon()
    cached.save(document)
    get_all_the_time(cached, document["uuid"], 0.1)
    assert cached.stats().get("hit", 0) > 0
    edit(stack, place, document["uuid"])
    get_all_the_time(cached, document["uuid"], TRUST)
    expected = [*document["analysis"], {"type": "mood", "vendor": "v", "body": "good"}]
    assert_same(cached.get(document["uuid"]), document | {"analysis": expected})
    with Redis.from_url(stack.redis_url) as redis:
        shared = redis.get(f"vcon:{document['uuid']}")
        if cached.options.shares_cache:
            # What the other server finds there is what it is now; or nothing, and it looks itself.
            assert shared is None or len(json.loads(shared)["analysis"]) == 3
        else:
            assert shared is None


def test_what_the_other_server_deletes_in_the_shared_cache_is_a_miss(
    stack: Supabase, place: Place
) -> None:
    options = place.options | {"redis_url": stack.redis_url, "cache_prefix": "vcon:"}
    document = small_vcon()
    with SupabaseStorage(options) as storage, Redis.from_url(stack.redis_url) as redis:
        storage.save(document)
        shared = redis.get(f"vcon:{document['uuid']}")
        assert isinstance(shared, bytes)
        assert_same(json.loads(shared), document)
        place.sql.execute("UPDATE vcons SET subject = 'x' WHERE uuid = %s", [document["uuid"]])
        redis.delete(f"vcon:{document['uuid']}")
        assert_same(storage.get(document["uuid"]), document | {"subject": "x"})


# Side by side


def test_an_edit_while_a_save_is_under_way_waits_for_nobody(place: Place) -> None:
    document = small_vcon()
    place.storage.save(document)
    with psycopg.connect(place.sql.info.dsn, password=place.sql.info.password) as saving:
        # As a save holds it.
        saving.execute("SELECT vcon_storage_lock_v1(%s)", [document["uuid"]])
        saving.execute(
            "UPDATE vcons SET saved_at = clock_timestamp() WHERE uuid = %s", [document["uuid"]]
        )
        place.sql.execute("SET statement_timeout = '5s'")
        place.sql.execute("UPDATE parties SET name = 'Bo' WHERE vcon_id = %s", [document["uuid"]])
        place.sql.execute("RESET statement_timeout")
        saving.commit()
    state = place.storage._functions.get(document["uuid"], time.monotonic() + 5)[0]
    assert state["revision"] is None  # so no cache keeps it
    found = place.storage.get(document["uuid"])
    assert found is not None
    assert found["parties"][0]["name"] == "Bo"
    place.storage.save(document)
    assert_same(place.storage.get(document["uuid"]), document)
    state = place.storage._functions.get(document["uuid"], time.monotonic() + 5)[0]
    assert state["revision"] is not None


def test_a_save_of_a_vcon_that_another_program_adds_meanwhile_is_what_stays(place: Place) -> None:
    document = small_vcon()
    uuid = document["uuid"]
    saving = threading.Thread(target=place.storage.save, args=[document])
    with place.sql.transaction():
        place.sql.execute(
            "INSERT INTO vcons (id, uuid, vcon_version, created_at, updated_at)"
            " VALUES (%s, %s, '', now(), now())",
            [uuid, uuid],
        )
        place.sql.execute(
            "INSERT INTO parties (vcon_id, party_index, name)"
            " SELECT %s, n, 'theirs' FROM generate_series(0, 9) AS n",
            [uuid],
        )
        saving.start()
        saving.join(1)
        assert saving.is_alive()  # it found no such vCon, and waits to learn what becomes of theirs
    saving.join()
    assert_same(place.storage.get(uuid), document)


def test_transactions_of_others_count_themselves_without_waiting(place: Place) -> None:
    first, second = small_vcon(), small_vcon()
    place.storage.save(first)
    place.storage.save(second)
    count = "SELECT sum(n) FROM vcon_cache_edits"
    update = "UPDATE parties SET name = 'Bo' WHERE vcon_id = %s"
    place.sql.execute(update.encode(), [first["uuid"]])
    before = database.value(place.sql, count)
    with psycopg.connect(place.sql.info.dsn, password=place.sql.info.password) as idle:
        idle.execute(b"UPDATE parties SET name = 'Cy' WHERE vcon_id = %s", [first["uuid"]])
        place.sql.execute("SET statement_timeout = '5s'")
        place.sql.execute(update.encode(), [second["uuid"]])
        place.sql.execute("RESET statement_timeout")
        assert database.value(place.sql, count) == before + 1
        idle.commit()
    assert database.value(place.sql, count) == before + 2


def test_savers_and_editors_of_one_vcon_never_deadlock(place: Place) -> None:
    document = small_vcon()
    place.storage.save(document)
    errors: list[Exception] = []
    stop = threading.Event()

    def edit() -> None:
        with psycopg.connect(
            place.sql.info.dsn, password=place.sql.info.password, autocommit=True
        ) as other:
            n = 0
            while not stop.is_set():
                n += 1
                try:
                    other.execute(
                        "UPDATE parties SET name = %s WHERE vcon_id = %s AND party_index = 1",
                        [f"n{n}", document["uuid"]],
                    )
                    other.execute(
                        "UPDATE dialog SET url = %s WHERE vcon_id = %s AND dialog_index = 3",
                        [f"u{n}", document["uuid"]],
                    )
                except psycopg.Error as error:
                    errors.append(error)

    editors = [threading.Thread(target=edit) for _ in range(2)]
    for editor in editors:
        editor.start()
    try:
        for n in range(60):
            place.storage.save(
                document | {"subject": f"s{n}", "dialog": document["dialog"][n % 2 :]}
            )
    finally:
        stop.set()
        for editor in editors:
            editor.join()
    assert errors == []
    place.storage.save(document)
    assert_same(place.storage.get(document["uuid"]), document)
