"""The examples of docs/search.md run. Needs the local Supabase."""

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

from conserver_supabase_storage import Query, SupabaseStorage
from conserver_supabase_storage.migrations import migrate

from ..home import Supabase
from ..vcons import small_vcon

PAGE = (Path(__file__).parents[2] / "docs" / "search.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def own(stack: Supabase) -> str:
    name = "search_docs"
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
    url = stack.create_database(name)
    migrate(url)
    with psycopg.connect(url) as connection:
        if connection.execute("SELECT to_regclass('vcon_vectors')").fetchone() == (None,):
            pytest.skip("this Postgres has no pgvector, and the page has examples with embeddings")
    return url


def test_the_examples_run(stack: Supabase, own: str, options: dict[str, Any]) -> None:
    with (
        stack.postgrest(database="search_docs") as rest_url,
        SupabaseStorage(options | {"rest_url": rest_url}) as storage,
    ):
        for n in range(15):
            storage.save(small_vcon(subject=f"Invoice and refund {n}"))
        names: dict[str, Any] = {"storage": storage}
        assert blocks("python")
        for block in blocks("python"):
            exec(block, names)  # our own page
        assert names["page"].hits


def test_the_statements_run(own: str) -> None:
    assert blocks("sql")
    with psycopg.connect(own, autocommit=True) as connection:
        for block in blocks("sql"):
            connection.execute(block.encode())


def test_its_table_has_every_field() -> None:
    named = {
        name
        for row in re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert named == set(Query.model_fields)
