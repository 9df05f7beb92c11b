"""What is saved comes back, member by member. Needs the local Supabase."""

import base64
import copy
import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import vcon as vcon_library
from hypothesis import given

from conserver_supabase_storage import InvalidVconError, SupabaseStorage

from ..conftest import Sql, few_examples
from ..vcons import (
    Json,
    as_text,
    assert_same,
    load,
    new_uuid,
    small_vcon,
    uuid_in,
    vcons,
    written_set,
)
from . import database

LONG = "0.12345678901234567890123456789"
EXACT_NUMBERS = [LONG, "1.10", "1e5", "-0.0", "1E-300", "123456789012345678901234567890.5"]


@given(vcons)
def test_every_vcon_comes_back_as_it_was_and_the_input_stays(
    storage: SupabaseStorage, document: Json
) -> None:
    before = copy.deepcopy(document)
    storage.save(document)
    assert_same(document, before)
    assert_same(storage.get(uuid_in(document)), before)


@few_examples
@given(vcons)
def test_every_vcon_comes_back_from_the_cache_as_it_was(
    cached_storage: SupabaseStorage, document: Json
) -> None:
    cached_storage.save(document)
    assert_same(cached_storage.get(uuid_in(document)), document)


@pytest.mark.parametrize("path", written_set(), ids=lambda path: path.stem)
def test_every_section_of_the_draft_comes_back_as_it_was(
    storage: SupabaseStorage, path: Path
) -> None:
    document = load(path)
    storage.save(document)
    assert_same(storage.get(uuid_in(document)), document)
    storage.save(path.read_text("utf-8"))
    assert_same(storage.get(uuid_in(document)), document)


def test_the_written_set_is_there() -> None:
    assert len(written_set()) >= 18


def test_a_library_vcon_comes_back_as_its_dict(storage: SupabaseStorage) -> None:
    vcon = vcon_library.Vcon.build_new()
    vcon.add_party(vcon_library.party.Party(name="Ada", tel="+12025550143"))
    storage.save(vcon)
    assert_same(storage.get(vcon.uuid), vcon.to_dict())


def test_members_keep_their_order_at_every_level(storage: SupabaseStorage) -> None:
    document = {
        "z": {"b": 1, "a": {"d": 1, "c": 2}},
        "parties": [{"tel": "+1", "a": 1, "name": "x"}],
        "uuid": new_uuid(),
        "dialog": [{"z": 1, "body": {"y": 1, "x": 2}, "a": 2, "type": "text"}],
        "attachments": [],
        "created_at": "2026-01-01T00:00:00Z",
    }
    storage.save(document)
    found = storage.get(document["uuid"])  # type: ignore[arg-type]
    assert json.dumps(found) == json.dumps(document)


def test_a_member_that_changes_its_place_is_a_change(storage: SupabaseStorage) -> None:
    document = small_vcon()
    storage.save(document)
    turned = dict(reversed(document.items()))
    storage.save(turned)
    assert_same(storage.get(document["uuid"]), turned)


def test_a_body_of_25_mb_comes_back(storage: SupabaseStorage) -> None:
    body = base64.urlsafe_b64encode(os.urandom(25_000_000 * 3 // 4)).decode()
    document = small_vcon()
    document["dialog"][0]["body"] = body
    storage.save(document)
    try:
        found = storage.get(document["uuid"])
        assert found is not None
        assert found["dialog"][0].pop("body") == document["dialog"][0].pop("body")
        assert_same(found, document)
    finally:
        storage.delete(document["uuid"])


@pytest.mark.parametrize("cached", [False, True])
def test_json_text_comes_back_digit_for_digit(
    storage: SupabaseStorage, cached_storage: SupabaseStorage, cached: bool
) -> None:
    store = cached_storage if cached else storage
    vcon_uuid = new_uuid()
    numbers = "[" + ",".join(EXACT_NUMBERS) + "]"
    text = (
        f'{{"uuid":"{vcon_uuid}","x":{numbers},"parties":[{{"x":{numbers}}}],'
        f'"dialog":[{{"duration":{LONG},"body":{{"x":{numbers}}}}}],'
        f'"analysis":[{{"confidence":{LONG},"body":{numbers}}}],'
        f'"attachments":[{{"meta":{{"x":{LONG}}}}}]}}'
    )
    store.save(text)
    expected = json.loads(text, parse_float=Decimal)
    for _ in range(2):
        found = store.get(vcon_uuid, parse_float=Decimal)
        assert_same(found, expected)
        # Decimals are equal with more zeros; their digits are compared as text.
        assert str(found["x"]) == str(expected["x"])  # type: ignore[index]
    assert_same(store.get(vcon_uuid), json.loads(text))


def test_the_database_has_every_digit(storage: SupabaseStorage, psql: Sql) -> None:
    vcon_uuid = new_uuid()
    storage.save(
        f'{{"uuid":"{vcon_uuid}","x":{LONG},"parties":[{{"big":{2**70},"x":1.10}}],'
        f'"dialog":[{{"body":[{LONG}]}}]}}'
    )
    [(header,)] = database.rows_of(psql, "vcons", vcon_uuid, "as_written::text")
    [(party,)] = database.rows_of(psql, "parties", vcon_uuid, "as_written::text")
    [(body,)] = database.rows_of(psql, "dialog", vcon_uuid, "body")
    assert LONG in header
    assert str(2**70) in party
    assert "1.10" in party
    assert body == f"[{LONG}]"


@pytest.mark.parametrize(
    "member",
    [
        '"redacted":{"x":NUMBER}',
        '"amended":{"x":NUMBER}',
        '"group":[NUMBER]',
        '"parties":[{"metadata":{"x":NUMBER}}]',
        '"dialog":[{"session_id":{"x":NUMBER},"duration":NUMBER,"originator":NUMBER}]',
        '"analysis":[{"confidence":NUMBER,"dialog":[NUMBER],"meta":[NUMBER]}]',
        '"attachments":[{"size_bytes":NUMBER,"party":NUMBER,"meta":[NUMBER]}]',
    ],
)
@pytest.mark.parametrize("number", ["1e-20000", "0." + "0" * 17_000 + "1", "9" * 4_000])
def test_a_number_that_no_column_can_hold_comes_back(
    storage: SupabaseStorage, member: str, number: str
) -> None:
    vcon_uuid = new_uuid()
    text = f'{{"uuid":"{vcon_uuid}",{member.replace("NUMBER", number)}}}'
    storage.save(text)
    assert_same(storage.get(vcon_uuid, parse_float=Decimal), json.loads(text, parse_float=Decimal))


@pytest.mark.parametrize("form", ["signed", "encrypted"])
def test_packed_forms_are_kept_under_the_uuid_in_their_header(
    storage: SupabaseStorage, psql: Sql, form: str
) -> None:
    [path] = [path for path in written_set() if path.stem == form]
    document = load(path)
    storage.save(document)
    vcon_uuid = uuid_in(document)
    assert "uuid" not in document
    assert_same(storage.get(vcon_uuid.upper()), document)
    assert database.rows_of(psql, "vcons", vcon_uuid, "uuid::text") == [(vcon_uuid.lower(),)]


@pytest.mark.parametrize("part", ["dialog", "analysis", "attachments"])
@pytest.mark.parametrize("shape", ["text", "object", "list"])
def test_a_body_is_stored_once(storage: SupabaseStorage, psql: Sql, part: str, shape: str) -> None:
    marker = f"marker-{new_uuid()}"
    document = small_vcon()
    body: Any = {"text": marker, "object": {"words": [marker]}, "list": [marker]}[shape]
    document[part][0]["body"] = body
    storage.save(document)
    assert database.columns_with(psql, marker) == [f"{part}.body"]


def test_typed_columns_hold_what_they_can(storage: SupabaseStorage, psql: Sql) -> None:
    document = small_vcon()
    document["dialog"][0] |= {"type": "x" * 3_000, "duration": 1e300, "parties": [[0], "no", 1]}
    document["parties"][0] |= {"uuid": "no uuid", "name": "n" * 4_096}
    document["vcon"] = "v" * 4_096
    storage.save(document)
    assert_same(storage.get(document["uuid"]), document)
    [first, *_] = database.rows_of(
        psql, "dialog", document["uuid"], "type, duration_seconds, parties, mediatype"
    )
    assert first == (None, None, [0, 1], "audio/x-wav")
    assert database.rows_of(psql, "parties", document["uuid"], "uuid, name, tel")[0] == (
        "no uuid",
        None,
        "+12025550143",
    )


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"uuid": "no uuid"}, "uuid"),
        ({"uuid": None}, "uuid"),
        ({"parties": {}}, "parties"),
        ({"parties": None}, "parties"),
        ({"dialog": [{}, 5]}, "dialog[1]"),
        ({"dialog": [{"body": "\0"}]}, "dialog[0].body"),
        ({"analysis": [{"body": {"a": ["x", "\ud800"]}}]}, "analysis[0].body.a[1]"),
        ({"attachments": [{"meta": {"\0": 1}}]}, "attachments[0].meta['\\x00']"),
        ({"x": float("nan")}, "x"),
        ({"x": [float("-inf")]}, "x[0]"),
        ({"subject": b"bytes"}, "subject"),
    ],
)
def test_what_is_refused_writes_nothing(
    storage: SupabaseStorage, psql: Sql, members: Json, path: str
) -> None:
    def state() -> list[int]:
        counts = [database.count(psql, table) for table in database.TABLES]
        return [*counts, database.value(psql, "SELECT last_value FROM vcon_revision")]

    document = small_vcon()
    storage.save(document)
    before = state()
    with pytest.raises(InvalidVconError) as refused:
        storage.save(document | members)
    assert refused.value.path == path
    assert state() == before
    assert_same(storage.get(document["uuid"]), document)


def test_the_comparison_tells_values_apart_that_python_calls_equal() -> None:
    for one, other in [(1, 1.0), (1, True), (0.0, -0.0), ({"a": 1, "b": 2}, {"b": 2, "a": 1})]:
        assert one == other
        assert as_text(one) != as_text(other)


def test_large_bodies_come_back_in_their_places(storage: SupabaseStorage, psql: Sql) -> None:
    """The read function takes them out of their rows (vcon_storage_get_v3)."""

    def body(letter: str) -> str:
        return letter * 1_000_001

    def text(body: Any) -> Json:
        return {"type": "text", "body": body, "encoding": "none"}

    document = small_vcon(
        dialog=[text(body("a")), text("b"), text(body("c")), {"type": "text"}, text(True)],
        analysis=[
            {"type": "a", "vendor": "x", "body": {"list": [body("d"), 2**70]}, "encoding": "json"},
            {"type": "b", "vendor": "x", "body": body("e"), "encoding": "none"},
        ],
        attachments=[{"purpose": "a", "body": body("f"), "encoding": "none"}],
    )
    storage.save(document)
    assert as_text(storage.get(document["uuid"])) == as_text(document)
    # A row between them that another program wrote, with a large body of its own.
    psql.execute(
        "UPDATE dialog SET as_written = NULL, body = repeat('g', 1000001)"
        " WHERE vcon_id = %s AND dialog_index = 1",
        [document["uuid"]],
    )
    found = storage.get(document["uuid"])
    assert found is not None
    assert [part.get("body") for part in found["dialog"]] == [
        body("a"),
        body("g"),
        body("c"),
        None,
        True,
    ]
