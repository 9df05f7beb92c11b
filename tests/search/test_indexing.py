"""What is saved can be found, whoever wrote it, and no index makes a save fail."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from hypothesis import given

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.indexing import DELAY
from conserver_supabase_storage.migrations import migrate

from ..conftest import Sql, few_examples
from ..home import Supabase
from ..integration import database
from ..integration.servers import CountingProxy
from ..vcons import Json, assert_same, new_uuid, small_vcon, uuid_in, vcons


@few_examples
@given(vcons)
def test_any_vcon_that_can_be_saved_can_be_found(storage: SupabaseStorage, document: Json) -> None:
    storage.save(document)
    uuid = uuid_in(document).lower()
    try:
        assert_same(storage.search({"uuid": uuid}), [document])
        [hit] = storage.search_page({"uuid": uuid, "include": []}).hits
        assert hit.uuid == uuid
    finally:
        storage.delete(uuid)


def text(body: object, encoding: str = "none") -> Json:
    return {"type": "text", "body": body, "encoding": encoding}


WILD: dict[str, Any] = {
    "more different words than a tsvector holds": " ".join(f"{n:x}" for n in range(400_000)),
    "one word of a megabyte": "x" * 1_000_000 + " ",
    "a megabyte of signs": "- " * 500_000,
    "no JSON": "[12:01] hello",
    "half of a JSON": '{"said": "hello',
    "an escape that Postgres can not hold": '["hello \\u0000"]',
    "half of a pair": '["hello \\ud800"]',
    "nested too deeply": "[" * 200_000,
    "big JSON": {"said": [f"word{n}" for n in range(200_000)]},
    "a NOTICE": "hello " + "y" * 3_000,
}


@pytest.mark.parametrize("kind", WILD)
@pytest.mark.parametrize("encoding", ["none", "json"])
def test_no_body_makes_a_save_fail(storage: SupabaseStorage, kind: str, encoding: str) -> None:
    document = small_vcon(subject=f"platypus {new_uuid()}")
    document["dialog"] = [text(WILD[kind], encoding), text("wombat")]
    storage.save(document)
    uuid = document["uuid"]
    assert_same(storage.get(uuid), document)
    for word in ("platypus", "invoice", "wombat"):
        assert len(storage.search({"uuid": uuid, "text": word})) == 1, word
    if kind in ("no JSON", "a NOTICE"):
        assert len(storage.search({"uuid": uuid, "text": "hello"})) == 1
    storage.delete(uuid)


def test_vcons_indexed_together_do_not_keep_each_other_out(storage: SupabaseStorage) -> None:
    documents = []
    for body in (*WILD.values(), *[f"wombat {n}" for n in range(20)]):
        documents.append(small_vcon(subject="bilby"))
        documents[-1]["dialog"] = [text(body), text("quokka")]
    assert not any(storage.save_many(documents))
    found = storage.search({"text": "quokka", "subject": "bilby", "limit": 100})
    assert {each["uuid"] for each in found} == {each["uuid"] for each in documents}
    for document in documents:
        storage.delete(document["uuid"])


@pytest.mark.parametrize("table", ["vcons", "parties", "dialog", "analysis", "attachments"])
def test_what_cant_even_be_read_is_found_by_its_uuid(
    storage: SupabaseStorage, psql: Sql, table: str
) -> None:
    """Somebody wrote into a row by hand what json takes, but nobody can get out as text."""
    damaged, other = small_vcon(), small_vcon(subject="Numbat")
    del damaged["subject"]
    assert not any(storage.save_many([damaged, other]))
    psql.execute("UPDATE vcons SET saved_at = now() WHERE uuid = %s", [other["uuid"]])
    name = "uuid" if table == "vcons" else "vcon_id"
    psql.execute(
        f"UPDATE {table} SET as_written = %s WHERE {name} = %s",
        ['{"it": "\\u0000"}', damaged["uuid"]],
    )
    query = "SELECT marks FROM vcon_search WHERE uuid = %s"
    assert storage.search_page({"uuid": other["uuid"], "subject": "numbat", "include": []}).hits
    assert database.value(psql, query, damaged["uuid"]) == {"cut": True}
    storage.delete(damaged["uuid"])
    storage.delete(other["uuid"])


def test_values_too_long_for_a_tree_are_found(storage: SupabaseStorage) -> None:
    long = "näme " * 3_000 + "x" * 20_000
    document = small_vcon(parties=[{"name": long, "mailto": long, "uuid": long, "tel": long}])
    document["dialog"][0]["type"] = document["analysis"][0]["vendor"] = long
    document["attachments"] = [{"purpose": "tags", "body": [f"long:{long}"]}]
    storage.save(document)
    uuid = document["uuid"]
    for query in (
        {"party": {"name": "näme"}},
        {"tags": {"long": None}},
    ):
        assert len(storage.search({"uuid": uuid, **query})) == 1, query


def test_what_was_cut_is_marked(storage: SupabaseStorage, psql: Sql) -> None:
    for kind, cut in (("no JSON", False), ("a megabyte of signs", True)):
        document = small_vcon()
        document["dialog"] = [text(WILD[kind])]
        storage.save(document)
        storage.search({"uuid": document["uuid"]})
        query = "SELECT marks ? 'cut' FROM vcon_search WHERE uuid = %s"
        assert database.value(psql, query, document["uuid"]) == cut


def test_a_search_sees_every_change_at_once(storage: SupabaseStorage, psql: Sql) -> None:
    word = f"w{new_uuid().replace('-', '')}"
    document = small_vcon(subject=word)
    uuid = document["uuid"]

    def counts() -> tuple[int, int]:
        return len(storage.search({"text": word})), len(storage.search({"subject": word}))

    assert counts() == (0, 0)
    storage.save(document)
    assert counts() == (1, 1)
    storage.save({**document, "subject": "another"})
    assert counts() == (0, 0)
    storage.save(document)
    assert counts() == (1, 1)
    storage.delete(uuid)
    assert counts() == (0, 0)
    assert database.value(psql, "SELECT count(*) FROM vcon_search WHERE uuid = %s", uuid) == 0


def test_what_another_program_writes_is_found(storage: SupabaseStorage, psql: Sql) -> None:
    uuid = new_uuid()
    with psql.transaction():
        psql.execute("INSERT INTO vcons (uuid, subject) VALUES (%s, 'Their echidna')", [uuid])
        psql.execute(
            "INSERT INTO parties (vcon_id, party_index, name, tel)"
            " VALUES (%s, 0, 'Tess Theirs', '+12025550143')",
            [uuid],
        )
        psql.execute(
            "INSERT INTO dialog (vcon_id, dialog_index, type, body)"
            " VALUES (%s, 0, 'text', 'A numbat')",
            [uuid],
        )
        psql.execute(
            "INSERT INTO analysis (vcon_id, analysis_index, type, vendor, body, encoding)"
            " VALUES (%s, 0, 'summary', 'them', '[\"bilby\"]', 'json')",
            [uuid],
        )
        psql.execute(
            "INSERT INTO attachments (vcon_id, attachment_index, type, body, encoding)"
            " VALUES (%s, 0, 'tags', '[\"queue:billing\"]', 'json')",
            [uuid],
        )
    for query in (
        {"text": "echidna numbat bilby Tess"},
        {"party": {"name": "Tess", "tel": "(202) 555-0143"}},
        {"dialog_type": "text"},
        {"analysis_type": "summary", "vendor": "them"},
        {"tags": {"queue": "billing"}},
        {"has_attachment": "tags"},
    ):
        [vcon] = storage.search({"uuid": uuid, **query})
        assert vcon["subject"] == "Their echidna"
    [partial] = storage.search({"uuid": uuid, "include": ["dialog"]})
    assert partial["dialog"] == [{"type": "text"}]
    psql.execute("UPDATE vcons SET subject = 'Their quoll' WHERE uuid = %s", [uuid])
    assert storage.search({"uuid": uuid, "text": "echidna"}) == []
    assert len(storage.search({"uuid": uuid, "text": "quoll"})) == 1


def test_whoever_may_write_vcons_has_them_indexed(storage: SupabaseStorage, psql: Sql) -> None:
    uuid = new_uuid()
    psql.execute("GRANT INSERT ON vcons TO authenticated")
    psql.execute("CREATE POLICY everybody ON vcons FOR INSERT TO authenticated WITH CHECK (true)")
    try:
        with psql.transaction():
            psql.execute("SET LOCAL ROLE authenticated")
            psql.execute("INSERT INTO vcons (uuid) VALUES (%s)", [uuid])
        assert len(storage.search({"uuid": uuid})) == 1
    finally:
        psql.execute("DROP POLICY everybody ON vcons")
        psql.execute("REVOKE INSERT ON vcons FROM authenticated")


def test_a_row_changed_often_is_indexed_as_it_is_at_the_end(
    storage: SupabaseStorage, psql: Sql
) -> None:
    uuid = new_uuid()
    with psql.transaction():
        psql.execute("INSERT INTO vcons (uuid) VALUES (%s)", [uuid])
        for n in range(50):
            psql.execute(
                "UPDATE vcons SET subject = %s, revision = nextval('vcon_revision')"
                " WHERE uuid = %s",
                [f"numbered {n}", uuid],
            )
    assert storage.search({"uuid": uuid, "text": "48"}) == []
    assert len(storage.search({"uuid": uuid, "text": "49"})) == 1


def test_a_save_is_indexed_soon_though_nobody_searches(storage: SupabaseStorage, psql: Sql) -> None:
    document = small_vcon()
    storage.save(document)
    query = "SELECT count(*) FROM vcon_search WHERE uuid = %s"
    until = time.monotonic() + 30
    while database.value(psql, query, document["uuid"]) == 0:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_search_finds_more_than_one_statement_indexes(
    storage: SupabaseStorage, psql: Sql
) -> None:
    word = f"w{new_uuid().replace('-', '')}"
    psql.execute(
        "INSERT INTO vcons (uuid, subject) SELECT gen_random_uuid(), %s"
        " FROM generate_series(1, 1700)",
        [word],
    )
    page = storage.search_page({"text": word, "limit": 1})
    assert (page.total, page.complete) == (1700, True)
    psql.execute("DELETE FROM vcons WHERE subject = %s", [word])


@pytest.fixture
def slow(storage: SupabaseStorage, psql: Sql) -> Iterator[list[Json]]:
    """Saved vCons that take a twentieth of a second each to be indexed, as long texts do."""
    psql.execute(
        "CREATE FUNCTION slow_index() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END'"
    )
    psql.execute(
        "CREATE TRIGGER slow_index BEFORE INSERT ON vcon_search FOR EACH ROW"
        " WHEN (NEW.subject = 'Pademelon') EXECUTE FUNCTION slow_index()"
    )
    documents = [small_vcon(subject="Pademelon") for _ in range(60)]
    storage.save_many(documents)
    yield documents
    psql.execute("DROP FUNCTION slow_index CASCADE")
    for document in documents:
        storage.delete(document["uuid"])


def test_no_statement_indexes_until_its_time_is_over(
    storage: SupabaseStorage, psql: Sql, slow: list[Json]
) -> None:
    """It would be undone, and repeated, each time; and with it every search."""
    [(indexed, done)] = psql.execute("SELECT * FROM vcon_storage_index_pending_v1()").fetchall()
    assert 0 < indexed < len(slow)
    assert not done
    assert storage.search_page({"subject": "pademelon", "limit": 1}).total == len(slow)


@pytest.mark.usefixtures("slow")
def test_no_step_of_the_walk_takes_until_its_time_is_over(
    storage: SupabaseStorage, psql: Sql
) -> None:
    storage.search()  # indexes what was saved
    psql.execute("SELECT vcon_storage_languages_v1('{english}')")
    assert not storage.index(100_000)["complete"]
    while not storage.index(100_000)["complete"]:
        pass


def test_a_search_waits_for_no_delete_and_says_so(storage: SupabaseStorage, psql: Sql) -> None:
    uuid, other = new_uuid(), new_uuid()
    with psql.transaction(force_rollback=True):
        with psycopg.connect(psql.info.dsn, password=psql.info.password, autocommit=True) as writer:
            writer.execute("INSERT INTO vcons (uuid) VALUES (%s), (%s)", [uuid, other])
        psql.execute("DELETE FROM vcons WHERE uuid = %s", [uuid])
        began = time.monotonic()
        page = storage.search_page({"uuid": [uuid, other]})
        assert ([hit.uuid for hit in page.hits], page.complete) == ([other], False)
        assert time.monotonic() - began < 3
    page = storage.search_page({"uuid": [uuid, other]})
    assert ({hit.uuid for hit in page.hits}, page.complete) == ({uuid, other}, True)


def test_nobody_asks_again_and_again_while_a_delete_is_under_way(
    options: dict[str, Any], psql: Sql
) -> None:
    held = small_vcon()
    with (
        CountingProxy(options["rest_url"]) as proxy,
        SupabaseStorage(options | {"rest_url": proxy.url}) as storage,
    ):
        with psql.transaction(force_rollback=True):
            storage.save(held)
            psql.execute("DELETE FROM vcons WHERE uuid = %s", [held["uuid"]])
            storage.save(small_vcon())
            time.sleep(2 * DELAY)  # its thread comes to it
            storage.search()
            assert proxy.requests <= 2 + 4 + 12
        storage.delete(held["uuid"])


def test_a_search_that_may_not_write_is_not_complete(storage: SupabaseStorage, psql: Sql) -> None:
    uuid = new_uuid()
    query = "SELECT vcon_storage_search_v2(json_build_object('uuids', json_build_array(%s::text)))"
    with psql.transaction():
        psql.execute("LOCK TABLE vcon_search_pending IN SHARE MODE")  # nobody indexes meanwhile
        psql.execute("INSERT INTO vcons (uuid) VALUES (%s)", [uuid])
    with psql.transaction():
        psql.execute("INSERT INTO vcons (uuid) VALUES (%s)", [new_uuid()])
        psql.execute("SET TRANSACTION READ ONLY")
        assert database.value(psql, query, uuid)["complete"] is False
    assert database.value(psql, query, uuid)["complete"] is True
    assert len(database.value(psql, query, uuid)["hits"]) == 1


def test_searches_beside_saves_find_what_was_saved_before_them(
    storage: SupabaseStorage, options: dict[str, Any]
) -> None:
    def write_and_look(number: int) -> list[str]:
        lost = []
        with SupabaseStorage(options) as own:
            document = small_vcon()
            for n in range(40):
                word = f"w{new_uuid().replace('-', '')}"
                document["subject"] = word
                own.save(document)
                page = own.search_page({"text": word, "include": []})
                if [hit.uuid for hit in page.hits] != [document["uuid"]]:
                    lost.append(f"{number}: {n}: {page.complete}")
                if n % 10 == 9:
                    own.delete(document["uuid"])
        return lost

    with ThreadPoolExecutor(6) as pool:
        assert [lost for each in pool.map(write_and_look, range(6)) for lost in each] == []


@pytest.mark.parametrize(("rows", "complete"), [(10, True), (10_001, False)])
def test_what_was_there_before_the_migration(
    stack: Supabase, options: dict[str, Any], rows: int, complete: bool
) -> None:
    name = f"search_before_{rows}"
    url = stack.create_database(name)
    migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        # As it was before: rows, and no index.
        connection.execute(
            "INSERT INTO vcons (uuid, subject) SELECT gen_random_uuid(), 'older ' || n"
            " FROM generate_series(1, %s) AS n",
            [rows],
        )
        connection.execute("DROP TABLE vcon_search, vcon_search_state, vcon_search_pending CASCADE")
        connection.execute(
            "CREATE OR REPLACE FUNCTION vcon_storage_version_v1() RETURNS text LANGUAGE sql"
            " SET search_path = public, pg_temp AS $$ SELECT '20261123120000' $$"
        )
        migrate(url)
        with (
            stack.postgrest(database=name) as rest_url,
            SupabaseStorage(options | {"rest_url": rest_url}) as storage,
        ):
            page = storage.search_page({"text": "older", "limit": 1})
            assert page.complete == complete
            assert page.total == (rows if complete else 0)
            storage.save(small_vcon(subject="newer"))
            assert storage.search_page({"text": "newer"}).total == 1
            steps = 0
            while not database.value(
                connection, "SELECT vcon_storage_index_step_v1(4000) ->> 'complete' = 'true'"
            ):
                steps += 1
            assert steps == 0 if complete else steps >= 2
            page = storage.search_page({"text": "older", "limit": 1})
            assert page.complete
            assert page.total == min(rows, page.total or 0)
            assert database.value(connection, "SELECT count(*) FROM vcon_search") == rows + 1
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
