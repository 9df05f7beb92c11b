"""Pages: hits, totals, cursors that stay right, snippets. Needs the local Supabase."""

import base64
from typing import Any

import pytest

from conserver_supabase_storage import InvalidQueryError, SearchPage, SupabaseStorage

from ..conftest import Sql
from ..home import Supabase
from ..vcons import assert_same, new_uuid, small_vcon

ORDERS = ["newest", "oldest", "updated", "rank"]


@pytest.fixture
def mark(storage: SupabaseStorage) -> str:
    """A word that stands in the subject of twenty vCons, several with the same time."""
    word = f"w{new_uuid().replace('-', '')}"
    for n in range(20):
        text = f"{word} " * (n % 5 + 1)
        storage.save(small_vcon(subject=text, created_at=f"2026-01-0{n % 4 + 1}T00:00:00Z"))
    return word


def walk(storage: SupabaseStorage, query: dict[str, Any]) -> list[str]:
    pages: list[SearchPage] = []
    while not pages or pages[-1].cursor:
        pages.append(storage.search_page(query, pages[-1].cursor if pages else None))
        assert len(pages[-1].hits) <= query["limit"]
    return [hit.uuid for page in pages for hit in page.hits]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("limit", [1, 7, 20])
def test_pages_together_are_what_one_page_is(
    storage: SupabaseStorage, mark: str, order: str, limit: int
) -> None:
    query = {"text": mark, "order": order}
    whole = storage.search_page(query)
    assert (whole.total, whole.total_is_exact, whole.complete) == (20, True, True)
    assert whole.cursor is None
    uuids = [hit.uuid for hit in whole.hits]
    assert walk(storage, query | {"limit": limit}) == uuids
    assert [hit.uuid for hit in storage.iter_search(query | {"limit": limit})] == uuids
    assert [vcon["uuid"] for vcon in storage.search(query)] == uuids


def test_the_orders(storage: SupabaseStorage, mark: str) -> None:
    def hits(order: str) -> list[Any]:
        return storage.search_page({"text": mark, "order": order}).hits

    created = [(hit.created_at, hit.uuid) for hit in hits("newest")]
    assert created == sorted(created, reverse=True)
    assert created == [(hit.created_at, hit.uuid) for hit in hits("oldest")][::-1]
    saved = [hit.saved_at for hit in hits("updated")]
    assert saved == sorted(saved)
    ranks = [hit.rank for hit in hits("rank")]
    assert ranks == sorted(ranks, reverse=True)
    assert len(set(ranks)) == 5


@pytest.mark.parametrize("order", ["newest", "oldest", "rank"])
def test_a_cursor_stays_right_while_vcons_come_and_go(
    storage: SupabaseStorage, mark: str, order: str
) -> None:
    query = {"text": mark, "order": order, "limit": 5}
    expected = [hit.uuid for hit in storage.search_page(query | {"limit": 20}).hits]
    page = storage.search_page(query)
    # One that was shown goes, one that was not goes, and new ones come on both sides.
    storage.delete(expected[2])
    storage.delete(expected[4])  # the very one at which the page ended
    storage.delete(expected[11])
    for created in ("2000-01-01T00:00:00Z", "2026-02-01T00:00:00Z"):
        storage.save(small_vcon(subject=f"{mark} " * 2, created_at=created))
    seen = [hit.uuid for hit in page.hits]
    while page.cursor:
        page = storage.search_page(query, page.cursor)
        seen += [hit.uuid for hit in page.hits]
    assert len(seen) == len(set(seen))
    assert [uuid for uuid in seen if uuid in expected] == expected[:11] + expected[12:]


def test_an_incremental_reader_goes_on_at_its_cursor(storage: SupabaseStorage, mark: str) -> None:
    query = {"text": mark, "order": "updated", "limit": 19}
    page = storage.search_page(query)
    again = page.hits[0].vcon
    storage.save({**again, "updated_at": "2026-05-05T00:00:00Z"})
    rest = storage.search_page(query, page.cursor).hits
    assert len(rest) == 2
    assert rest[-1].uuid == again["uuid"]


def test_a_hit_has_what_is_shown_of_it(storage: SupabaseStorage, mark: str) -> None:
    document = small_vcon(subject=f'An {mark} invoice & "more"')
    storage.save(document)
    [hit] = storage.search_page({"subject": f"an {mark}"}).hits
    assert hit.uuid == document["uuid"]
    assert hit.subject == document["subject"]
    assert hit.created_at is not None
    assert hit.created_at.isoformat() == "2026-03-01T09:30:00.125000+00:00"
    assert hit.names == ["Ada Example", "Ben Example"]
    assert (hit.rank, hit.snippet) == (None, None)
    assert_same(hit.vcon, document)
    [hit] = storage.search_page({"text": f"{mark} invoices", "uuid": hit.uuid, "include": []}).hits
    assert hit.snippet == f"An <mark>{mark}</mark> <mark>invoice</mark> &amp; &quot;more&quot;"
    assert hit.rank is not None
    assert hit.rank > 0


@pytest.mark.parametrize("place", ["first", "far", "json", "name", "none"])
def test_a_snippet_is_found_wherever_the_words_are(storage: SupabaseStorage, place: str) -> None:
    word = f"w{new_uuid().replace('-', '')}"
    far = "something else entirely. " * 5_000
    body: Any = {"first": word, "far": f"{far}{word} {far}", "json": {"said": [word]}}.get(
        place, "x"
    )
    document = small_vcon(subject=None)
    document["dialog"][1]["body"] = body
    if place == "name":
        document["parties"][0]["name"] = word
    storage.save(document)
    hits = storage.search_page({"text": word}).hits
    if place == "none":
        assert hits == []
    else:
        assert f"<mark>{word}</mark>" in (hits[0].snippet or "")
        assert len(hits[0].snippet or "") < 1500


def test_a_total_beyond_what_is_counted_is_an_estimate(
    stack: Supabase, storage: SupabaseStorage, psql: Sql
) -> None:
    psql.execute(
        "INSERT INTO vcons (uuid, tenant_id, created_at) SELECT gen_random_uuid(), 'crowd', now()"
        " FROM generate_series(1, 12000)"
    )
    try:
        psql.execute("ANALYZE vcon_search")
        page = storage.search_page({"tenant": "crowd", "limit": 1, "include": []})
        assert page.total is not None
        assert not page.total_is_exact
        assert 10_000 < page.total < 20_000
        assert storage.search_page({"tenant": "crowd", "limit": 1, "total": False}).total is None
    finally:
        psql.execute("DELETE FROM vcons WHERE tenant_id = 'crowd'")


def test_a_cursor_that_is_not_this_querys_is_refused(
    storage: SupabaseStorage, options: dict[str, Any], mark: str
) -> None:
    query = {"text": mark, "limit": 3}
    cursor = storage.search_page(query).cursor
    assert cursor is not None
    assert storage.search_page(query | {"limit": 4, "include": []}, cursor).hits
    for other in ({"text": f"{mark}s"}, {"text": mark, "order": "oldest"}, {}):
        with pytest.raises(InvalidQueryError, match="cursor: belongs to another query"):
            storage.search_page(other, cursor)
    with (
        SupabaseStorage(options | {"tenant": "another"}) as another,
        pytest.raises(InvalidQueryError, match="cursor: belongs to another query, or another"),
    ):
        another.search_page(query, cursor)
    data = bytearray(base64.urlsafe_b64decode(cursor + "=="))
    for index in range(len(data)):
        changed = bytes(data[:index]) + bytes([data[index] ^ 1]) + bytes(data[index + 1 :])
        with pytest.raises(InvalidQueryError, match="cursor: was changed"):
            storage.search_page(query, base64.urlsafe_b64encode(changed).decode().rstrip("="))


@pytest.mark.parametrize("cursor", ["", "x", "é" * 8, "=" * 8, "A" * 1_000_000, 5, b"AAAA"])
def test_what_is_no_cursor_is_refused(storage: SupabaseStorage, cursor: Any) -> None:
    with pytest.raises(InvalidQueryError, match="cursor: "):
        storage.search_page({}, cursor)


def test_a_page_is_one_request(
    storage: SupabaseStorage, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    call = storage._database.call

    def counted(function: str, arguments: dict[str, bytes], **more: Any) -> bytes:
        asked.append(function)
        return call(function, arguments, **more)

    monkeypatch.setattr(storage._database, "call", counted)
    assert len(storage.search_page({"text": mark, "order": "rank"}).hits) == 20
    assert len(storage.search({"text": mark})) == 20
    assert asked == ["vcon_storage_search_v2"] * 2
