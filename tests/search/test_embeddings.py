"""Search by embeddings, and fused with full text. Needs the local Supabase, which has pgvector."""

from typing import Any

import psycopg
import pytest

from conserver_supabase_storage import (
    InvalidQueryError,
    RefusedError,
    SupabaseStorage,
    VconNotFoundError,
)
from conserver_supabase_storage.migrations import migrate

from ..conftest import Sql
from ..home import Supabase
from ..vcons import new_uuid, small_vcon


@pytest.fixture
def animals(storage: SupabaseStorage, psql: Sql) -> dict[str, str]:
    """Four vCons, three of them with embeddings, in a model of the test's own."""
    if not storage.search_capabilities()["embeddings"]:
        pytest.skip("this Postgres has no pgvector")
    model = new_uuid()
    found = {"model": model}
    for name, vector in {
        "cat": [1.0, 0.0, 0.0],
        "lion": [0.9, 0.1, 0.0],
        "lorry": [0.0, 0.0, 2.0],
        "none": None,
    }.items():
        document = small_vcon(subject=f"About a {name}", created_at="2026-01-02T00:00:00Z")
        document["analysis"], document["dialog"] = [], []
        storage.save(document)
        found[name] = document["uuid"]
        if vector:
            storage.save_embedding(document["uuid"], "subject", vector, model)
    return found


def near(vector: list[float], animals: dict[str, str], **more: Any) -> dict[str, Any]:
    return {"embedding": {"vector": vector, "model": animals["model"], **more}}


def names(storage: SupabaseStorage, query: dict[str, Any], animals: dict[str, str]) -> list[str]:
    by_uuid = {uuid: name for name, uuid in animals.items()}
    return [by_uuid[hit.uuid] for hit in storage.search_page(query).hits]


def test_the_nearest_come_first(storage: SupabaseStorage, animals: dict[str, str]) -> None:
    query = near([2.0, 0.0, 0.0], animals)
    assert names(storage, query, animals) == ["cat", "lion", "lorry"]
    hits = storage.search_page(query).hits
    assert hits[0].rank == pytest.approx(1)  # cosine: the length does not matter
    assert hits[1].rank == pytest.approx(0.9 / (0.81 + 0.01) ** 0.5)
    assert hits[2].rank == pytest.approx(0)
    assert names(storage, query | {"limit": 1}, animals) == ["cat"]


def test_filters_apply(storage: SupabaseStorage, animals: dict[str, str]) -> None:
    query = near([1.0, 0.0, 0.0], animals)
    assert names(storage, query | {"subject": "lorry"}, animals) == ["lorry"]
    assert names(storage, query | {"start_date": "2026-01-03"}, animals) == []
    assert names(storage, near([1.0, 0.0, 0.0], animals, part="summary"), animals) == []
    storage.save_embedding(animals["lorry"], "summary", [1.0, 0.0, 0.1], animals["model"])
    query = near([1.0, 0.0, 0.0], animals, part="summary")
    assert names(storage, query, animals) == ["lorry"]
    # The nearest of its parts counts, and each vCon is one hit.
    assert sorted(names(storage, near([1.0, 0.0, 0.0], animals), animals)) == [
        "cat",
        "lion",
        "lorry",
    ]


def test_hybrid_is_reciprocal_rank_fusion(
    storage: SupabaseStorage, animals: dict[str, str]
) -> None:
    uuids = [animals[name] for name in ("cat", "lion", "lorry", "none")]
    query = near([1.0, 0.0, 0.0], animals) | {"text": "lion or none", "uuid": uuids}
    hits = storage.search_page(query).hits
    assert hits[0].uuid == animals["lion"]  # second by distance, and among the two by words
    assert {hit.uuid for hit in hits} == set(uuids)
    ranks = {hit.uuid: hit.rank for hit in hits}
    assert ranks[animals["cat"]] == pytest.approx(1 / 61)
    assert ranks[animals["lorry"]] == pytest.approx(1 / 63)
    words = {ranks[animals["lion"]] - 1 / 62, ranks[animals["none"]]}  # type: ignore[operator]
    assert sorted(words) == pytest.approx([1 / 62, 1 / 61])  # type: ignore[type-var]
    assert hits[0].snippet == "About a <mark>lion</mark>"
    assert len(storage.search_page(query | {"subject": "cat"}).hits) == 1


@pytest.mark.parametrize("text", [None, "lion or none or about"])
def test_pages_of_a_ranked_list(
    storage: SupabaseStorage, animals: dict[str, str], text: str | None
) -> None:
    uuids = [animals[name] for name in ("cat", "lion", "lorry", "none")]
    query = near([1.0, 0.0, 0.0], animals) | {"limit": 1, "uuid": uuids}
    if text:
        query["text"] = text
    whole = [hit.uuid for hit in storage.search_page(query | {"limit": 100}).hits]
    assert [hit.uuid for hit in storage.iter_search(query)] == whole
    page = storage.search_page(query)
    storage.delete(whole[1])
    rest = storage.search_page(query, page.cursor)
    assert [hit.uuid for hit in rest.hits] == whole[2:3]


def test_an_embedding_is_replaced_and_goes_with_its_vcon(
    storage: SupabaseStorage, animals: dict[str, str], psql: Sql
) -> None:
    storage.save_embedding(animals["cat"], "subject", (0.0, 1.0), animals["model"])
    assert names(storage, near([0.0, 1.0], animals), animals) == ["cat"]
    assert "cat" not in names(storage, near([1.0, 0.0, 0.0], animals), animals)
    storage.delete(animals["cat"])
    left = psql.execute("SELECT count(*) FROM vcon_vectors WHERE vcon = %s", [animals["cat"]])
    assert left.fetchone() == (0,)


@pytest.mark.parametrize("vector", [[], [0.0], [float("inf")], ["x"], None, [1.0] * 16_001])
def test_what_is_no_vector_is_not_saved(storage: SupabaseStorage, vector: Any) -> None:
    with pytest.raises(InvalidQueryError, match="vector: "):
        storage.save_embedding(new_uuid(), "subject", vector, "model")


def test_a_vcon_that_is_not_there(storage: SupabaseStorage, animals: dict[str, str]) -> None:
    with pytest.raises(VconNotFoundError, match="there is no vCon"):
        storage.save_embedding(new_uuid(), "subject", [1.0], "model")


def test_another_tenants_vcon(
    storage: SupabaseStorage, animals: dict[str, str], options: dict[str, Any]
) -> None:
    with (
        SupabaseStorage(options | {"tenant": "embedder"}) as other,
        pytest.raises(VconNotFoundError),
    ):
        other.save_embedding(animals["cat"], "subject", [1.0], "model")


def test_an_index_for_a_dimension_serves(
    storage: SupabaseStorage, animals: dict[str, str], psql: Sql
) -> None:
    # As docs/search.md has it.
    psql.execute(
        "CREATE INDEX test_vectors_8 ON vcon_vectors"
        " USING hnsw ((vector::extensions.vector(8)) extensions.vector_cosine_ops)"
        " WHERE dimension = 8"
    )
    try:
        psql.execute(
            "INSERT INTO vcon_vectors (vcon, part, model, dimension, vector)"
            " SELECT %s, 'n' || n, 'plans', 8, ARRAY[n, 1, 2, 3, 4, 5, 6, 7]::real[]"
            "::extensions.vector FROM generate_series(1, 5000) AS n",
            [animals["cat"]],
        )
        psql.execute("ANALYZE vcon_vectors")
        row = psql.execute(
            'SELECT vcon_storage_search_v2(\'{"vector": [1,1,2,3,4,5,6,7], "model": "plans",'
            ' "order": "rank", "explain": true}\')::text'
        ).fetchone()
        assert row is not None
        assert "test_vectors_8" in row[0]
    finally:
        psql.execute("DROP INDEX test_vectors_8")


def test_without_pgvector_there_is_a_clear_error_and_all_else_works(
    stack: Supabase, options: dict[str, Any]
) -> None:
    url = stack.create_database("no_vector")
    migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP EXTENSION IF EXISTS vector CASCADE")
        connection.execute("DROP TABLE IF EXISTS vcon_vectors")
    with (
        stack.postgrest(database="no_vector") as rest_url,
        SupabaseStorage(options | {"rest_url": rest_url}) as storage,
    ):
        document = small_vcon()
        storage.save(document)
        assert not storage.search_capabilities()["embeddings"]
        with pytest.raises(RefusedError, match=r"no pgvector.*vcon_storage_search_setup_v1"):
            storage.save_embedding(document["uuid"], "subject", [1.0], "model")
        with pytest.raises(RefusedError, match="no pgvector"):
            storage.search({"embedding": {"vector": [1.0], "model": "model"}})
        assert len(storage.search({"text": "invoice"})) == 1
        assert storage.delete(document["uuid"])
