"""Every criterion of a search, and what is refused. Needs the local Supabase."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from conserver_supabase_storage import InvalidQueryError, Query, SupabaseStorage

from ..conftest import Sql
from ..vcons import Json, assert_same, new_uuid, small_vcon


def dialog(body: object, **members: object) -> Json:
    return {"type": "text", "mediatype": "text/plain", "encoding": "none", "body": body, **members}


def found(storage: SupabaseStorage, *documents: Json, **query: Any) -> list[int]:
    """Which of the documents a search finds."""
    uuids = [document["uuid"] for document in documents]
    hits = storage.search({"uuid": uuids, **query})
    return sorted(uuids.index(vcon["uuid"]) for vcon in hits)


def save(storage: SupabaseStorage, **members: Any) -> Json:
    document = {"uuid": new_uuid(), "created_at": "2026-03-01T09:30:00Z", "parties": [], **members}
    storage.save(document)
    return document


@pytest.mark.parametrize(
    "stored",
    [
        "+1 (555) 010-0100",
        "tel:+15550100100",
        "+15550100100",
        "tel:+1-555-010-0100;ext=5",
        "001 555 010 0100",
        "15550100100",
        "(555) 010-0100",
        "555.010.0100 x12",
        "5550100100",
        "\u202a+1 555\u2011010\u20110100\u202c",
    ],
)
@pytest.mark.parametrize(
    "asked", ["+1 (555) 010-0100", "tel:+15550100100", "15550100100;ext=5", "555-010-0100"]
)
def test_a_number_is_found_in_any_notation(
    storage: SupabaseStorage, stored: str, asked: str
) -> None:
    document = save(storage, parties=[{"name": "Ada"}, {"tel": stored}])
    assert found(storage, document, party={"tel": asked}) == [0]
    assert found(storage, document, party=asked) == [0]


@pytest.mark.parametrize(
    ("stored", "asked", "same"),
    [
        ("+44 (0)20 7946 0000", "020 7946 0000", True),
        ("+44 20 7946 0000", "+442079460000", True),
        ("020 7946 0000", "+44 20 7946 0000", True),
        ("+12025550143", "555-0143", True),  # the end of it, seven digits
        ("+12025550143", "550143", False),  # too short for an end
        ("+15550100100", "+4915550100100", False),  # two countries
        ("+15550100100", "+15550100101", False),
        ("1001", "1001", True),
        ("1001", "+1 555 010 1001", False),
        ("anonymous", "Anonymous", True),
        ("client:ada2", "2", False),
        (15550100100, "+1 555 010 0100", True),  # a number where a string belongs
    ],
)
def test_which_numbers_are_the_same(
    storage: SupabaseStorage, stored: object, asked: str, same: bool
) -> None:
    document = save(storage, parties=[{"tel": stored}])
    assert found(storage, document, party={"tel": asked}) == [0] * same


@pytest.mark.parametrize(
    ("party", "same"),
    [
        ({"name": "ada"}, True),
        ({"name": "O'BRIEN Ada"}, True),
        ({"name": "Ad"}, False),
        ({"mailto": "MAILTO:Ada@Example.com"}, True),
        ({"mailto": "ada@example.com"}, True),
        ({"mailto": "example.com"}, False),
        ({"uuid": "01928CB4-1c5f-8c4a-b5f0-0a1b2c3d4e5f"}, True),
        ({"name": "Ada", "mailto": "ada@example.com"}, True),
        ({"name": "Ada", "mailto": "ben@example.com"}, False),  # that is another party
        ({"name": "%"}, False),
        ({"name": "100%_(x)"}, True),
        ({"name": "x"}, False),
        ("ada@example.com", True),
        ("Ada", True),
        ("Carl", False),
    ],
)
def test_parties(storage: SupabaseStorage, party: Any, same: bool) -> None:
    document = save(
        storage,
        parties=[
            {
                "name": "Ada O'Brien, 100%_(x)",
                "mailto": "mailto:Ada@example.com?subject=x",
                "uuid": "01928cb4-1c5f-8c4a-b5f0-0a1b2c3d4e5f",
            },
            {"name": "Ben", "mailto": "ben@example.com"},
        ],
    )
    assert found(storage, document, party=party) == [0] * same


@pytest.mark.parametrize(
    "body",
    [
        ["queue:billing", "language:en", "vip"],
        '["queue:billing", "language:en", "vip"]',
        {"queue": "billing", "language": "en", "vip": ""},
    ],
)
@pytest.mark.parametrize("named_by", ["purpose", "type"])
def test_tags(storage: SupabaseStorage, body: object, named_by: str) -> None:
    document = save(storage, attachments=[{named_by: "tags", "body": body, "encoding": "json"}])
    assert found(storage, document, tags={"queue": "billing"}) == [0]
    assert found(storage, document, tags={"queue": "billing", "language": "en"}) == [0]
    assert found(storage, document, tags={"queue": None, "vip": None}) == [0]
    assert found(storage, document, tags={"queue": "en"}) == []
    assert found(storage, document, tags={"queue": "billing", "language": "de"}) == []
    assert found(storage, document, tags={"en": None}) == []


def test_what_is_no_tags_has_none(storage: SupabaseStorage) -> None:
    for body in ("[", "{", "", "queue:billing", "5", 5, None, "[[1]]", '["\\u0000"]', "[null]"):
        document = save(storage, attachments=[{"purpose": "tags", "body": body}])
        assert found(storage, document, tags={"queue": None}) == []
        assert found(storage, document, has_attachment="tags") == [0]


def test_types_and_vendors(storage: SupabaseStorage) -> None:
    document = save(
        storage,
        dialog=[{"type": "recording"}, {"type": "a type of their own"}],
        analysis=[{"type": "summary", "vendor": "One"}, {"type": "sentiment", "vendor": "Two"}],
        attachments=[{"purpose": "contract", "body": "x"}],
    )
    for query in (
        {"dialog_type": "recording"},
        {"dialog_type": "a type of their own"},
        {"analysis_type": "summary"},
        {"vendor": "Two"},
        {"analysis_type": "summary", "vendor": "One"},
        {"has_attachment": True},
        {"has_attachment": "contract"},
    ):
        assert found(storage, document, **query) == [0], query
    for query in (
        {"dialog_type": "text"},
        {"analysis_type": "transcript"},
        {"vendor": "one"},
        {"analysis_type": "summary", "vendor": "Two"},  # no one analysis is both
        {"has_attachment": False},
        {"has_attachment": "tags"},
    ):
        assert found(storage, document, **query) == [], query
    assert found(storage, save(storage), has_attachment=False) == [0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("invoice", [0, 1]),
        ("invoices", [0, 1]),  # a word's forms are one word
        ("INVOICE late", [0]),
        ('"late invoice"', []),
        ('"invoice is late"', [0]),
        ("late or refund", [0, 1]),
        ("invoice -late", [1]),
        ("zebra", [2]),
        ("giraffe", [2]),
        ('"zebra giraffe"', []),  # two strings of a JSON body are no phrase
        ("speaker", []),  # the name of a member
        ("quokka", [3]),
        ('"friday monday"', []),  # the end of a subject and the beginning of a body
        ("hippo", [3]),
        ("hippo:* & | ! ( ) \\ ' %", [3]),
    ],
)
def test_full_text(storage: SupabaseStorage, text: str, expected: list[int]) -> None:
    documents = [
        save(storage, subject="Your invoice is late, says Friday", dialog=[dialog("Monday")]),
        save(storage, dialog=[dialog("About an invoice"), dialog("and a refund")]),
        save(
            storage,
            analysis=[
                {
                    "type": "transcript",
                    "encoding": "json",
                    "body": {"speaker": 1, "said": ["zebra", "giraffe"]},
                }
            ],
        ),
        save(storage, parties=[{"name": "Dr. Quokka"}], dialog=[dialog('["Hippo')]),
    ]
    assert found(storage, *documents, text=text) == expected


def test_what_is_no_text_is_not_searched_as_text(storage: SupabaseStorage) -> None:
    hidden = "aardvark"
    document = save(
        storage,
        dialog=[
            dialog(hidden, encoding="base64url"),
            dialog(hidden, encoding="Base64"),
            dialog(hidden, mediatype="audio/x-wav"),
            dialog(f"{hidden}/" + "QUJD+/" * 400, encoding=None),
        ],
        attachments=[dialog(hidden)],
    )
    assert found(storage, document, text=hidden) == []


def test_a_word_that_only_stops_is_refused_by_name(storage: SupabaseStorage) -> None:
    for text in ("the", "!!!", "%"):
        with pytest.raises(InvalidQueryError, match="text: has no word to search by"):
            storage.search({"text": text})


def test_languages_are_chosen_for_the_database(storage: SupabaseStorage, psql: Sql) -> None:
    with pytest.raises(InvalidQueryError, match="language: this database indexes english"):
        storage.search({"text": "Haus", "language": "german"})
    psql.execute("SELECT vcon_storage_languages_v1('{english,german,simple}')")
    try:
        document = save(storage, subject="Die Häuser der Kinder")
        assert not storage.search_page().complete
        assert not storage.search_capabilities()["complete"]
        assert found(storage, document, text="Haus", language="german") == [0]
        assert found(storage, document, text="Kind", language="german") == [0]
        assert found(storage, document, text="die kinder", language="simple") == [0]
    finally:
        psql.execute("SELECT vcon_storage_languages_v1('{english}')")
        while not psql.execute("SELECT vcon_storage_index_step_v1(50)").fetchone()[0]["complete"]:  # type: ignore[index]
            pass
    assert storage.search_capabilities()["complete"]
    assert found(storage, document, text="Häuser") == [0]


def test_an_incremental_reader_sees_what_was_saved_since(storage: SupabaseStorage) -> None:
    before = storage.search_page({"limit": 1}).as_of
    first, second = save(storage, created_at="1970-01-01T00:00:00Z"), save(storage)
    storage.save({**first, "subject": "again"})
    hits = storage.search_page({"updated_since": before, "order": "updated"}).hits
    assert [hit.uuid for hit in hits] == [second["uuid"], first["uuid"]]
    assert hits[0].saved_at is not None
    later = hits[0].saved_at + timedelta(microseconds=1)
    assert [vcon["uuid"] for vcon in storage.search({"updated_since": later})] == [first["uuid"]]


def test_a_tenants_storage_finds_its_own(options: dict[str, Any], storage: SupabaseStorage) -> None:
    with SupabaseStorage(options | {"tenant": "search-a"}) as one:
        document = save(one, subject="of a tenant")
        assert found(one, document, subject="tenant") == [0]
        with pytest.raises(InvalidQueryError, match="tenant: this storage is one tenant's"):
            one.search({"tenant": "search-a"})
        with SupabaseStorage(options | {"tenant": "search-b"}) as other:
            assert found(other, document) == []
            page = one.search_page({"limit": 1, "tenant": None})
            assert page.total == 1
    assert found(storage, document, tenant="search-a") == [0]
    assert found(storage, document, tenant="search-b") == []


INCLUDES: list[tuple[list[str], set[str]]] = [
    ([], set()),
    (["parties"], {"parties"}),
    (["dialog", "analysis"], {"dialog", "analysis"}),
    (["attachments", "bodies"], {"attachments"}),
]


@pytest.mark.parametrize(("include", "parts"), INCLUDES)
def test_include_chooses_parts(
    storage: SupabaseStorage, include: list[str], parts: set[str]
) -> None:
    document = small_vcon()
    storage.save(document)
    [partial] = storage.search({"uuid": document["uuid"], "include": include})
    every = {"parties", "dialog", "analysis", "attachments"}
    expected = {name: value for name, value in document.items() if name not in every - parts}
    if "bodies" not in include:
        for part in parts:
            expected[part] = [
                {name: value for name, value in item.items() if name != "body"}
                for item in document[part]
            ]
    assert_same(partial, expected)


def test_all_parts_with_bodies_are_the_vcon(storage: SupabaseStorage) -> None:
    document = small_vcon()
    storage.save(document)
    include = ["parties", "dialog", "analysis", "attachments", "bodies"]
    assert_same(storage.search({"uuid": document["uuid"], "include": include}), [document])


VECTOR = {"vector": [1.0, 2.0], "model": "m"}
REFUSED: list[tuple[dict[Any, Any], str]] = [
    ({"text": ""}, "text: "),
    ({"text": "x" * 1_000_000}, "text: must have at most 1000 characters"),
    ({"text": 5}, "text: "),
    ({"text": "a\0"}, "text: must not hold U\\+0000"),
    ({"language": "english"}, "language: is that of text"),
    ({"text": "x", "language": "klingon"}, "language: this database indexes"),
    ({"text": "x", "language": "english; DROP"}, "language: must be the name"),
    ({"party": {}}, "party.*must have a name, tel, mailto or uuid"),
    ({"party": {"phone": "1"}}, "party.*phone: is no field"),
    ({"party": 5}, "party"),
    ({"party": ""}, "party"),
    ({"tags": {}}, "tags: "),
    ({"tags": ["queue"]}, "tags: "),
    ({"tags": {"a:b": "c"}}, "a tag's name ends at its first colon"),
    ({"tags": {"a": 5}}, "tags.a"),
    ({"has_attachment": 1}, "has_attachment"),
    ({"uuid": []}, "uuid: "),
    ({"uuid": "x"}, "uuid: must be uuids"),
    ({"uuid": [new_uuid()] * 1001}, "uuid: "),
    ({"uuid": 5}, "uuid: must be a uuid or a list"),
    ({"updated_since": datetime(2026, 1, 1)}, "updated_since: must have an offset"),
    ({"order": "rank"}, "order: rank needs text or an embedding"),
    ({"order": "size"}, "order: "),
    ({"embedding": VECTOR, "order": "newest"}, "order: the nearest embeddings"),
    ({"embedding": [1.0]}, "embedding: "),
    ({"embedding": {**VECTOR, "vector": []}}, "embedding.vector: must have 1 to 16,000"),
    ({"embedding": {**VECTOR, "vector": [0.0, 0.0]}}, "must not be all zeros"),
    ({"embedding": {**VECTOR, "vector": [float("nan")]}}, "must be finite"),
    ({"embedding": {**VECTOR, "vector": "x"}}, "must be a list of numbers"),
    ({"embedding": {"vector": [1.0]}}, "embedding.model"),
    ({"include": ["bodies"]}, "include: bodies of which parts"),
    ({"include": ["everything"]}, "include"),
    ({"limit": 10**9}, "limit: "),
    ({"start_date": datetime(2026, 1, 2, tzinfo=UTC), "end_date": "2026-01-01"}, "not be after"),
]


@pytest.mark.parametrize(("query", "says"), REFUSED)
def test_a_query_that_can_not_be_is_refused_by_name(
    storage: SupabaseStorage, query: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidQueryError, match=says) as refused:
        storage.search_page(query)
    assert len(str(refused.value)) < 1000


def test_a_query_can_be_an_object(storage: SupabaseStorage) -> None:
    document = save(storage)
    query = Query(uuid=(document["uuid"],), limit=5)
    assert_same(storage.search(query), [document])
    assert storage.search_page(query).total == 1
