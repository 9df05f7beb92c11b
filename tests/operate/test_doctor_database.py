"""Misconfigurations of the database, what `doctor` says of each, and that its SQL mends it."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.migrations import Migration, migrate, migrations

from ..conftest import Sql, options_without_cache
from ..home import Supabase
from ..spool.support import eventually
from ..vcons import Json, small_vcon
from .diagnosis import Report, diagnose, sql_of

_numbers = itertools.count()


class Place(NamedTuple):
    """A database of our own, and the options for it."""

    sql: Sql
    options: Json


@contextmanager
def place_of(
    stack: Supabase, applied: list[Migration] | None = None, **settings: str
) -> Iterator[Place]:
    """Make a database with these migrations, or all, and these settings of PostgREST's login."""
    url = stack.create_database(f"doctor_{next(_numbers)}")
    with psycopg.connect(url, autocommit=True) as connection:
        if applied is None:
            migrate(url)
        for migration in applied or ():
            connection.execute(migration.sql.encode())
        name = connection.info.dbname
        for setting, value in settings.items():
            connection.execute(
                f"ALTER ROLE authenticator IN DATABASE {name} SET {setting} = '{value}'".encode()
            )
        with stack.postgrest(database=name) as rest_url:
            yield Place(connection, options_without_cache(stack) | {"rest_url": rest_url})


@pytest.fixture(scope="module")
def place(stack: Supabase) -> Iterator[Place]:
    with place_of(stack) as made:
        yield made


class Case(NamedTuple):
    """What is done to the database, and which check says what of it."""

    sql: str
    check: str
    state: str
    words: str
    mended_by: str | None = None


SAVE = "vcon_storage_save_v2"
CASES = {
    "a function may not be called": Case(
        f"REVOKE EXECUTE ON FUNCTION {SAVE} FROM service_role",
        "function rights",
        "broken",
        f"service_role may not call {SAVE}",
    ),
    "a function within another may not be called": Case(
        "REVOKE EXECUTE ON FUNCTION vcon_storage_lock_v1 FROM service_role",
        "function rights",
        "broken",
        "vcon_storage_lock_v1",
    ),
    "the version may not be asked for": Case(
        "REVOKE EXECUTE ON FUNCTION vcon_storage_version_v1 FROM service_role",
        "function rights",
        "broken",
        "vcon_storage_version_v1",
    ),
    "a table may not be written": Case(
        "REVOKE INSERT, UPDATE ON dialog FROM service_role",
        "tables",
        "broken",
        "lacks rights on dialog",
    ),
    "a table may not even be read": Case(
        "REVOKE ALL ON vcon_search_pending, vcon_cache_doubts FROM service_role",
        "tables",
        "broken",
        "vcon_cache_doubts, vcon_search_pending",
    ),
    "a table is gone": Case(
        "DROP TABLE vcon_tombstones",
        "tables",
        "broken",
        "there is no vcon_tombstones",
        mended_by="\n".join(migration.sql for migration in migrations()),
    ),
    "row-level security is off, and all may read": Case(
        "ALTER TABLE parties DISABLE ROW LEVEL SECURITY; GRANT SELECT ON parties TO anon",
        "row-level security",
        "broken",
        "it is off for parties, on which anon have rights",
    ),
    "row-level security is off": Case(
        "ALTER TABLE vcons DISABLE ROW LEVEL SECURITY",
        "row-level security",
        "warning",
        "it is off for vcons",
    ),
    "anon has rights on tables": Case(
        "GRANT ALL ON vcons, dialog TO anon",
        "rights of others",
        "warning",
        "anon have rights on vcons, dialog, and only row-level security stops them",
    ),
    "a policy lets anon in": Case(
        "GRANT SELECT ON vcons TO anon; CREATE POLICY all_of_it ON vcons USING (true)",
        "rights of others",
        "warning",
        "a policy lets anon use them",
    ),
    "anon may call a function": Case(
        f"GRANT EXECUTE ON FUNCTION {SAVE} TO anon", "functions of others", "warning", SAVE
    ),
    "all may call what acts for the owner": Case(
        "GRANT EXECUTE ON FUNCTION vcon_storage_edited_v1 TO PUBLIC",
        "functions of others",
        "broken",
        "vcon_storage_edited_v1",
    ),
    "a trigger is off": Case(
        "ALTER TABLE vcons DISABLE TRIGGER vcon_storage_pending",
        "triggers",
        "broken",
        "vcon_storage_pending of vcons is off",
    ),
    "a trigger is gone": Case(
        "DROP TRIGGER zz_vcon_storage_edit ON dialog",
        "triggers",
        "broken",
        "zz_vcon_storage_edit of dialog is gone",
        mended_by="\n".join(migration.sql for migration in migrations()),
    ),
    "a constraint is gone": Case(
        "ALTER TABLE analysis DROP CONSTRAINT analysis_vcon_id_analysis_index_key",
        "constraints",
        "broken",
        "analysis may have a row twice",
    ),
    "autovacuum is off for a table": Case(
        "ALTER TABLE vcon_search_pending SET (autovacuum_enabled = false)",
        "autovacuum",
        "warning",
        "it is off for vcon_search_pending",
    ),
    "search does not know all yet": Case(
        "UPDATE vcon_search_state SET complete = false",
        "search",
        "warning",
        "not all found yet",
        mended_by="UPDATE vcon_search_state SET complete = true",
    ),
    "nobody indexes": Case(
        "INSERT INTO vcon_search_pending SELECT gen_random_uuid() FROM generate_series(1, 10001)",
        "search",
        "warning",
        "more than 10,000 saved vCons wait",
        mended_by="DELETE FROM vcon_search_pending",
    ),
    "a writer is without its Redis": Case(
        "INSERT INTO vcon_cache_doubts VALUES (gen_random_uuid(), now() + interval '1 minute')",
        "cache state",
        "warning",
        "keeps all from using their caches",
        mended_by="DELETE FROM vcon_cache_doubts",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_found_and_its_sql_mends_it(tmp_path: Path, place: Place, name: str) -> None:
    case = CASES[name]
    place.sql.execute(case.sql.encode())
    finding = diagnose(tmp_path, place.options).assert_only(case.check, case.state, case.words)
    mends = case.mended_by.encode() if case.mended_by else None
    place.sql.execute(mends or sql_of(finding["fix"]))
    assert diagnose(tmp_path, place.options).state(case.check) == "ok"
    # What was granted may be left, and is the next thing that is said.
    place.sql.execute("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM anon")
    place.sql.execute("DROP POLICY IF EXISTS all_of_it ON vcons")
    assert diagnose(tmp_path, place.options).checks("broken") == []


def test_rights_that_are_left_are_said_next(tmp_path: Path, place: Place) -> None:
    place.sql.execute(CASES["row-level security is off, and all may read"].sql.encode())
    report = diagnose(tmp_path, place.options)
    place.sql.execute(sql_of(report["row-level security"]["fix"]))
    report = diagnose(tmp_path, place.options)
    finding = report.assert_only("rights of others", "warning", "parties")
    place.sql.execute(sql_of(finding["fix"]))
    assert diagnose(tmp_path, place.options).state("rights of others") == "ok"


def test_pgvector_that_came_after_the_migrations(tmp_path: Path, place: Place) -> None:
    found = diagnose(tmp_path, place.options)["extension vector"]
    if "not to be had" in found["text"]:
        pytest.skip("this Postgres has no pgvector")
    place.sql.execute("DROP TABLE vcon_vectors")
    report = diagnose(tmp_path, place.options)
    finding = report.assert_only("extension vector", "warning", "came after the migrations")
    place.sql.execute(sql_of(finding["fix"]))
    place.sql.execute("DROP EXTENSION vector CASCADE")
    place.sql.execute("DROP TABLE vcon_vectors")
    report = diagnose(tmp_path, place.options)
    finding = report.assert_only("extension vector", "warning", "not enabled")
    for statement in sql_of(finding["fix"]).split(b"; "):
        place.sql.execute(statement)
    assert diagnose(tmp_path, place.options).state("extension vector") == "ok"


def test_our_own_question_may_not_be_asked(tmp_path: Path, place: Place) -> None:
    place.sql.execute("REVOKE EXECUTE ON FUNCTION vcon_storage_doctor_v1 FROM service_role")
    report = diagnose(tmp_path, place.options)
    finding = report.assert_only("access", "broken", "permission denied for function")
    assert report.checks("skipped") == ["schema"]
    run = finding["fix"].partition("tables: ")[2].partition(". Then")[0]
    place.sql.execute(run.encode())
    assert diagnose(tmp_path, place.options).exit_code == 0


def test_a_database_that_was_not_migrated(tmp_path: Path, stack: Supabase) -> None:
    with place_of(stack, []) as place:
        report = diagnose(tmp_path, place.options)
    report.assert_only("migrations", "broken", "there is none in the schema public", "migrate")
    assert report.state("postgrest") == "ok"


@pytest.mark.parametrize("left_out", [1, 3])
def test_an_older_database(tmp_path: Path, stack: Supabase, left_out: int) -> None:
    older = [m for m in migrations() if m.version < "20261125130000"][: -left_out + 1 or None]
    with place_of(stack, older) as place:
        report = diagnose(tmp_path, place.options)
    report.assert_only(
        "migrations",
        "broken",
        f"the database has {older[-1].version}, and this release needs {migrations()[-1].version}",
        "migrate",
    )


@contextmanager
def saying(place: Place, version: str) -> Iterator[None]:
    """The database is of another release, which has what it takes to be asked, too."""
    place.sql.execute(
        "CREATE OR REPLACE FUNCTION vcon_storage_version_v1() RETURNS text LANGUAGE sql"
        f" SET search_path = public, pg_temp AS $$ SELECT '{version}' $$".encode()
    )
    try:
        yield
    finally:
        place.sql.execute(migrations()[-1].sql.encode())


def test_a_database_of_a_newer_release(tmp_path: Path, place: Place) -> None:
    place.sql.execute("CREATE FUNCTION vcon_storage_owners_v9() RETURNS int LANGUAGE sql RETURN 1")
    place.sql.execute(
        "REVOKE ALL ON FUNCTION vcon_storage_owners_v9 FROM PUBLIC, service_role, anon"
    )
    place.sql.execute("REVOKE ALL ON FUNCTION vcon_storage_owners_v9 FROM authenticated")
    with saying(place, "29990101000000"):
        report = diagnose(tmp_path, place.options)
    place.sql.execute("DROP FUNCTION vcon_storage_owners_v9")
    assert "newer release" in report["migrations"]["text"]
    assert report.exit_code == 0


def test_a_database_of_an_older_release_that_can_be_asked(tmp_path: Path, place: Place) -> None:
    with saying(place, "20261124120000"):
        report = diagnose(tmp_path, place.options)
    report.assert_only("migrations", "broken", migrations()[-1].version, "migrate")


def test_a_schema_that_is_not_exposed(tmp_path: Path, place: Place) -> None:
    report = diagnose(tmp_path, place.options | {"schema": "calls"})
    report.assert_only("exposed schemas", "broken", "'calls' is not exposed", "option schema")


def test_a_postgrest_with_another_schema(tmp_path: Path, stack: Supabase) -> None:
    with stack.postgrest(PGRST_DB_SCHEMAS="extensions") as rest_url:
        report = diagnose(tmp_path, options_without_cache(stack) | {"rest_url": rest_url})
    report.assert_only("exposed schemas", "broken", "'public' is not exposed")


def test_a_schema_of_our_own_without_migrations(tmp_path: Path, stack: Supabase) -> None:
    with stack.postgrest(PGRST_DB_SCHEMAS="public,extensions") as rest_url:
        options = options_without_cache(stack) | {"rest_url": rest_url, "schema": "extensions"}
        report = diagnose(tmp_path, options)
    report.assert_only("migrations", "broken", "there is none in the schema extensions")


@pytest.mark.parametrize(
    ("timeout", "state", "words"),
    [
        ("500ms", "broken", "0.5 s: saves will fail"),
        ("2s", "warning", "2 s: large vCons may fail"),
        ("0", "ok", "there is none"),
    ],
)
def test_a_tiny_statement_timeout(
    tmp_path: Path, stack: Supabase, timeout: str, state: str, words: str
) -> None:
    with place_of(stack, statement_timeout=timeout) as place:
        report = diagnose(tmp_path, place.options)
    if state == "ok":
        assert report["statement timeout"]["text"] == words
    else:
        report.assert_only("statement timeout", state, words, "ALTER ROLE service_role")


def test_a_statement_timeout_that_no_question_meets(
    tmp_path: Path, stack: Supabase, psql: Sql
) -> None:
    """Of the key's role, which PostgREST reads when it starts, and when it is told to."""
    psql.execute("ALTER ROLE service_role SET statement_timeout = '1ms'")
    try:
        with place_of(stack) as place:
            report = diagnose(tmp_path, place.options)
            finding = report.assert_only("statement timeout", "broken", "not even this question")
            for statement in finding["fix"].removeprefix("Run ").rstrip(".").split(", then "):
                place.sql.execute(statement.removesuffix(" as postgres").encode())
            assert eventually(lambda: diagnose(tmp_path, place.options).exit_code == 0)
            assert diagnose(tmp_path, place.options)["statement timeout"]["text"] == "8 s"
    finally:
        psql.execute("ALTER ROLE service_role RESET statement_timeout")


def test_a_database_in_read_only_mode(tmp_path: Path, stack: Supabase) -> None:
    with place_of(stack, default_transaction_read_only="on") as place:
        report = diagnose(tmp_path, place.options)
    report.assert_only("postgres", "warning", "read-only mode", "disk")


@pytest.fixture
def reader(stack: Supabase, psql: Sql) -> Iterator[str]:
    """A role that somebody made for the storage, and forgot the half of."""
    psql.execute("CREATE ROLE doctors_reader; GRANT doctors_reader TO authenticator")
    yield "doctors_reader"
    psql.execute("REVOKE doctors_reader FROM authenticator; DROP ROLE doctors_reader")


def test_a_role_without_rights(tmp_path: Path, stack: Supabase, place: Place, reader: str) -> None:
    report = diagnose(tmp_path, place.options | {"key": stack.key_for(reader)})
    report.assert_only("access", "broken", "permission denied for")
    assert report.state("key") == "warning"


def test_a_role_to_whom_policies_apply(
    tmp_path: Path, stack: Supabase, place: Place, reader: str
) -> None:
    place.sql.execute(f"GRANT service_role TO {reader}".encode())
    try:
        report = diagnose(tmp_path, place.options | {"key": stack.key_for(reader)})
    finally:
        place.sql.execute(f"REVOKE service_role FROM {reader}".encode())
    report.assert_only("role", "broken", "row-level security applies")


def tenants_report(tmp_path: Path, place: Place, tenant: str) -> Report:
    return diagnose(tmp_path, place.options | {"tenant": tenant})


def test_a_tenant_with_nothing(tmp_path: Path, place: Place) -> None:
    assert "no vCon yet" in tenants_report(tmp_path, place, "acme")["tenant"]["text"]
    with SupabaseStorage(place.options | {"tenant": "acme"}) as storage:
        storage.save(small_vcon())
        storage.search({"limit": 1})  # indexes it
    assert tenants_report(tmp_path, place, "acme").state("tenant") == "ok"
    tenants_report(tmp_path, place, "Acme").assert_only("tenant", "warning", "'Acme' has no vCon")
