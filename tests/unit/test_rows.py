"""Parts of a vCon as rows, and rows as the same parts: one module for each table, no database."""

import copy
import json
from decimal import Decimal
from functools import partial
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conserver_supabase_storage.document import dumps
from conserver_supabase_storage.rows import analysis, attachments, dialog, parties

from ..vcons import Json, as_text, assert_same, parts

MODULES = {
    "parties": parties,
    "dialog": dialog,
    "analysis": analysis,
    "attachments": attachments,
}
INDEX = {
    "parties": "party_index",
    "dialog": "dialog_index",
    "analysis": "analysis_index",
    "attachments": "attachment_index",
}


def stored(rows: list[Json]) -> list[Any]:
    """Give rows the form in which the database returns them."""
    found: list[Any] = json.loads(
        dumps([[row["as_written"], row.get("body")] for row in rows]), parse_float=Decimal
    )
    return found


@pytest.mark.parametrize("table", MODULES)
@given(data=st.data())
def test_every_part_comes_back_as_it_was(table: str, data: st.DataObject) -> None:
    module = MODULES[table]
    given_parts = data.draw(st.lists(parts[table], max_size=3))
    before = copy.deepcopy(given_parts)
    rows = module.to_rows(given_parts)
    assert_same(given_parts, before)
    assert [row[INDEX[table]] for row in rows] == list(range(len(given_parts)))
    as_floats = json.loads(dumps([[row["as_written"], row.get("body")] for row in rows]))
    assert_same(module.from_rows(as_floats), before)


@pytest.mark.parametrize("table", ["dialog", "analysis", "attachments"])
@pytest.mark.parametrize("body", ["", "x", "null", "{}", '"', {}, [], {"a": [1.0]}, [None], "[1]"])
def test_a_body_of_text_or_structure_stands_in_its_column_alone(table: str, body: Any) -> None:
    [row] = MODULES[table].to_rows([{"a": 1, "body": body, "z": 2}])
    assert row["body"] == (body if isinstance(body, str) else dumps(body).decode())
    assert row["as_written"]["body"] == (None if isinstance(body, str) else type(body)())
    [part] = MODULES[table].from_rows(stored([row]))
    assert_same(part, {"a": 1, "body": body, "z": 2})


@pytest.mark.parametrize("table", ["dialog", "analysis", "attachments"])
@pytest.mark.parametrize("part", [{}, {"body": None}, {"body": 5}, {"body": -0.0}, {"body": True}])
def test_another_body_needs_no_column(table: str, part: Json) -> None:
    [row] = MODULES[table].to_rows([part])
    assert "body" not in row
    assert_same(MODULES[table].from_rows(stored([row])), [part])


def test_a_body_of_json_keeps_the_digits_that_were_asked_for() -> None:
    rows = dialog.to_rows([{"body": [Decimal("0.12345678901234567890")]}])
    [part] = dialog.from_rows(stored(rows), partial(json.loads, parse_float=Decimal))
    assert str(part["body"]) == "[Decimal('0.12345678901234567890')]"


@pytest.mark.parametrize(
    ("module", "part", "columns"),
    [
        (parties, {"tel": "+1", "name": "Ada", "x": 1}, {"tel": "+1", "name": "Ada"}),
        (parties, {"tel": None, "name": 5, "mailto": ["a"]}, {}),
        (parties, {"name": "é" * 1_001, "mailto": "é" * 1_000}, {"mailto": "é" * 1_000}),
        (parties, {"uuid": "no uuid", "jcard": [1]}, {"uuid": "no uuid", "jcard": [1]}),
        (parties, {"meta": {"a": 1}}, {"metadata": {"a": 1}}),
        (parties, {"meta": {"a": 1}, "metadata": {"b": 1}}, {"metadata": {"b": 1}}),
        (dialog, {"start": "2026-01-01T01:00:00+02:00"}, {"start_time": "2025-12-31T23:00:00"}),
        (
            dialog,
            {"start": "2026-01-01T01:00:00.123456789Z"},
            {"start_time": "2026-01-01T01:00:00.123456"},
        ),
        (dialog, {"start": "2026-01-01T01:00:00"}, {"start_time": "2026-01-01T01:00:00"}),
        (dialog, {"start": "0001-01-01T00:00:00+14:00"}, {}),
        (dialog, {"start": "2026-02-30T00:00:00Z"}, {}),
        (dialog, {"start": 1_700_000_000}, {}),
        (dialog, {"duration": 1.5}, {"duration_seconds": 1.5}),
        (dialog, {"duration": Decimal("2.25")}, {"duration_seconds": 2.25}),
        (dialog, {"duration": 0}, {"duration_seconds": 0.0}),
        (dialog, {"duration": 1e300}, {}),
        (dialog, {"duration": 1e-300}, {}),
        (dialog, {"duration": 10**400}, {}),
        (dialog, {"duration": True}, {}),
        (dialog, {"duration": "5"}, {}),
        (dialog, {"parties": 3}, {"parties": [3]}),
        (dialog, {"parties": [0, [1, [2]], "x", None, 2**40, True]}, {"parties": [0, 1, 2]}),
        (dialog, {"parties": "x"}, {}),
        (dialog, {"originator": 1.0, "transferee": 1.5}, {"originator": 1}),
        (dialog, {"originator": 2**31, "transferor": -(2**31)}, {"transferor": -(2**31)}),
        (dialog, {"mimetype": "a/b"}, {"mediatype": "a/b"}),
        (dialog, {"mimetype": "a/b", "mediatype": "c/d"}, {"mediatype": "c/d"}),
        (dialog, {"encoding": "base64url"}, {"encoding": "base64url"}),
        (dialog, {"encoding": "base64"}, {}),
        (dialog, {"encoding": ["none"]}, {}),
        (dialog, {"encoding": {}}, {}),
        (dialog, {"type": "video"}, {"type": "video"}),
        (dialog, {"content_hash": "sha512-a"}, {"content_hash": "sha512-a"}),
        (dialog, {"content_hash": ["a", "b"]}, {"content_hash": "a b"}),
        (dialog, {"content_hash": []}, {}),
        (dialog, {"content_hash": ["a", 5]}, {}),
        (dialog, {"session_id": {"local": "a"}}, {"session_id": {"local": "a"}}),
        (dialog, {"size_bytes": 2**40}, {"size_bytes": 2**40}),
        (dialog, {"size_bytes": 2**63}, {}),
        (analysis, {"dialog": 0, "vendor": "v"}, {"dialog_indices": [0], "vendor": "v"}),
        (analysis, {"schema_version": "1"}, {"schema": "1"}),
        (analysis, {"confidence": 0.5}, {"confidence": 0.5}),
        (attachments, {"purpose": "tags"}, {"type": "tags", "purpose": "tags"}),
        (attachments, {"type": "tags"}, {"type": "tags"}),
        (attachments, {"mediatype": "a/b", "party": 0}, {"mimetype": "a/b", "party": 0}),
        (attachments, {"dialog": [0]}, {}),
    ],
)
def test_columns_hold_what_they_can(module: ModuleType, part: Json, columns: Json) -> None:
    [row] = module.to_rows([part])
    found = {
        name: value.removesuffix("+00:00") if name == "start_time" else value
        for name, value in row.items()
        if name != "as_written" and not name.endswith("_index")
    }
    # The order of columns means nothing; 1 and 1.0 are not the same.
    assert as_text(dict(sorted(found.items()))) == as_text(dict(sorted(columns.items())))


def test_times_without_an_offset_are_taken_as_utc() -> None:
    [row] = dialog.to_rows([{"start": "2026-01-01T01:00:00"}])
    assert row["start_time"] == "2026-01-01T01:00:00+00:00"


@pytest.mark.parametrize(
    ("module", "row", "part"),
    [
        (
            parties,
            {"id": "x", "party_index": 0, "name": "Ada", "tel": None, "metadata": {"a": 1}},
            {"name": "Ada"},
        ),
        (
            dialog,
            {
                "dialog_index": 0,
                "start_time": "2026-01-01T00:00:00+00:00",
                "duration_seconds": 0.0,
                "parties": [0],
                "target_dialog": [1],
                "body": "",
                "size_bytes": 5,
                "tenant_id": "t",
            },
            {
                "start": "2026-01-01T00:00:00+00:00",
                "duration": 0.0,
                "parties": [0],
                "target_dialog": [1],
                "body": "",
            },
        ),
        (
            analysis,
            {
                "analysis_index": 0,
                "dialog_indices": [],
                "vendor": "v",
                "body": "{}",
                "encoding": "json",
                "as_written": None,
            },
            {"dialog": [], "vendor": "v", "encoding": "json", "body": "{}"},
        ),
        (
            attachments,
            {
                "attachment_index": 0,
                "type": "tags",
                "mimetype": "a/b",
                "start_time": None,
                "party": 0,
            },
            {"type": "tags", "mediatype": "a/b", "party": 0},
        ),
    ],
)
def test_a_row_of_another_program_is_what_its_columns_say(
    module: ModuleType, row: Json, part: Json
) -> None:
    assert module.from_rows([row]) == [part]


def test_rows_of_both_kinds_stay_in_their_order() -> None:
    assert parties.from_rows([[{"name": "ours"}, None], {"name": "theirs"}, [{}, None]]) == [
        {"name": "ours"},
        {"name": "theirs"},
        {},
    ]
