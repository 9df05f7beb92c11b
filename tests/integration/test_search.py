"""Searching by subject and dates. Needs the local Supabase."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conserver_supabase_storage import InvalidQueryError, SupabaseStorage

from ..conftest import Sql, few_examples
from ..vcons import assert_same, new_uuid, small_vcon, texts


def subjects(found: list[dict[str, Any]]) -> list[str]:
    return [vcon["subject"] for vcon in found]


def test_a_search_returns_whole_vcons_as_they_were(storage: SupabaseStorage) -> None:
    document = small_vcon(subject=f"whole {new_uuid()}")
    storage.save(document)
    [found] = storage.search({"subject": document["subject"]})
    assert_same(found, document)


@pytest.mark.parametrize("character", "%_,\\()'\"*.:;!&|<>{}[]?#/+=~ ")
def test_every_character_of_a_subject_stands_for_itself(
    storage: SupabaseStorage, character: str
) -> None:
    mark = new_uuid()
    storage.save(small_vcon(subject=f"{mark} a{character}b"))
    storage.save(small_vcon(subject=f"{mark} axb"))
    storage.save(small_vcon(subject=f"{mark} ab"))
    found = storage.search({"subject": f"{mark} a{character}"})
    assert subjects(found) == [f"{mark} a{character}b"]


@few_examples
@given(texts.filter(bool), texts, texts)
def test_a_vcon_is_found_by_any_part_of_its_subject(
    storage: SupabaseStorage, part: str, before: str, after: str
) -> None:
    document = small_vcon(subject=before + part + after, created_at="2999-01-01T00:00:00Z")
    storage.save(document)
    try:
        found = storage.search({"subject": part, "start_date": "2999-01-01"})
        assert document["uuid"] in [vcon["uuid"] for vcon in found]
    finally:
        storage.delete(document["uuid"])


def test_case_does_not_matter(storage: SupabaseStorage) -> None:
    mark = new_uuid()
    storage.save(small_vcon(subject=f"INVOICE Ärger {mark}"))
    assert len(storage.search({"subject": f"invoice ärger {mark.upper()}"})) == 1


@pytest.fixture
def a_week(storage: SupabaseStorage) -> Iterator[str]:
    """Seven vCons, one at noon of each day from 1990-05-01, saved in another order."""
    mark = new_uuid()
    saved = []
    for day in (3, 1, 7, 2, 5, 4, 6):
        document = small_vcon(subject=f"{mark} {day}", created_at=f"1990-05-0{day}T12:00:00+00:00")
        storage.save(document)
        saved.append(document["uuid"])
    yield mark
    for uuid in saved:
        storage.delete(uuid)


def days(storage: SupabaseStorage, mark: str, **query: object) -> str:
    return "".join(subject[-1] for subject in subjects(storage.search({"subject": mark, **query})))


def test_the_newest_come_first(storage: SupabaseStorage, a_week: str) -> None:
    assert days(storage, a_week) == "7654321"
    assert days(storage, a_week, limit=2) == "76"
    assert days(storage, a_week, limit=1000) == "7654321"


EAST = timezone(timedelta(hours=5, minutes=30))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"start_date": "1990-05-06T12:00:00Z"}, "76"),
        ({"start_date": "1990-05-06T12:00:00.000001Z"}, "7"),
        ({"end_date": "1990-05-02T12:00:00Z"}, "21"),
        ({"end_date": "1990-05-02T11:59:59.999999Z"}, "1"),
        ({"start_date": "1990-05-06T17:30:00+05:30"}, "76"),
        ({"start_date": datetime(1990, 5, 6, 17, 30, tzinfo=EAST)}, "76"),
        ({"start_date": datetime(1990, 5, 6, 12, tzinfo=UTC), "end_date": None}, "76"),
        ({"start_date": "1990-05-03", "end_date": "1990-05-04"}, "43"),
        ({"start_date": date(1990, 5, 3), "end_date": date(1990, 5, 3)}, "3"),
        ({"start_date": "0001-01-01", "end_date": "9999-12-31"}, "7654321"),
        ({"start_date": "1990-06-01", "end_date": "1990-06-02"}, ""),
    ],
)
def test_both_dates_are_inclusive(
    storage: SupabaseStorage, a_week: str, query: dict[str, object], expected: str
) -> None:
    assert days(storage, a_week, **query) == expected


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"sbject": "x"}, "sbject: is no field of a query"),
        ({"start_date": "1990-05-01T00:00:00"}, "start_date: must have an offset"),
        ({"end_date": datetime(1990, 5, 1)}, "end_date: must have an offset"),
        ({"start_date": "yesterday"}, "start_date: must be a time"),
        ({"start_date": 5}, "start_date: must be a time"),
        ({"start_date": "1990-05-02", "end_date": "1990-05-01"}, "must not be after"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"limit": True}, "limit: must be a whole number"),
        ({"limit": "5"}, "limit: must be a whole number"),
        ({"limit": 5.0}, "limit: must be a whole number"),
        ({"subject": 5}, "subject"),
        ({"subject": ["x"]}, "subject"),
        ({"subject": "a\0b"}, "subject: must not hold U\\+0000"),
        ({"subject": "\ud800"}, "subject: must be Unicode"),
        ({"subject": "x" * 1001}, "subject"),
        ({1: 2}, "1"),
        ("subject", "a query is a mapping"),
        ([("subject", "x")], "a query is a mapping"),
    ],
)
def test_a_query_that_can_not_be_is_refused(
    storage: SupabaseStorage, query: Any, says: str
) -> None:
    with pytest.raises(InvalidQueryError, match=says):
        storage.search(query)


def test_no_query_is_all_up_to_the_limit(storage: SupabaseStorage) -> None:
    storage.save(small_vcon())
    assert 1 <= len(storage.search()) <= 100
    assert len(storage.search(None)) == len(storage.search({}))
    assert len(storage.search({"limit": 1})) == 1


@given(st.sampled_from(["';", "\\'", "$$", "%' OR 1=1 --", "{}", "&p_limit=1", '","p_limit":"1']))
@settings(max_examples=10)
def test_a_subject_is_never_read_as_a_command(storage: SupabaseStorage, subject: str) -> None:
    attack = f"{subject} DROP TABLE vcons; --{new_uuid()}"
    assert storage.search({"subject": attack}) == []
    document = small_vcon(subject=attack)
    storage.save(document)
    assert subjects(storage.search({"subject": attack})) == [attack]


def test_a_subject_too_long_for_its_column_does_not_fail_the_save(
    storage: SupabaseStorage, psql: Sql
) -> None:
    document = small_vcon(subject="wörter " * 200_000)
    storage.save(document)
    assert_same(storage.get(document["uuid"]), document)
    storage.delete(document["uuid"])
