"""Bringing a database to our schema. Needs the local Supabase."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from conserver_supabase_storage import RefusedError, SupabaseStorage, UnavailableError
from conserver_supabase_storage.migrations import migrate, migrations, pending

from ..conftest import Sql
from ..home import Supabase
from ..vcons import Json, assert_same, small_vcon
from . import database
from .servers import closed_port

_numbers = itertools.count(1)
OURS = [
    *database.TABLES,
    "vcon_cache_state",
    "vcon_cache_home",
    "vcon_cache_doubts",
    "vcon_cache_edits",
    "vcon_edited",
    "vcon_tombstones",
    "vcon_search",
    "vcon_search_state",
    "vcon_search_pending",
]


@pytest.fixture
def fresh(stack: Supabase) -> Iterator[str]:
    """The URL of a new database as Supabase gives it, and nothing in it."""
    name = f"migrations_{next(_numbers)}"
    yield stack.create_database(name)
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextmanager
def connected(url: str) -> Iterator[Sql]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def history(connection: Sql) -> list[tuple[str, str, list[str]]]:
    if not database.value(
        connection, "SELECT to_regclass('supabase_migrations.schema_migrations') IS NOT NULL"
    ):
        return []
    query = "SELECT version, name, statements FROM supabase_migrations.schema_migrations"
    return connection.execute(query.encode()).fetchall()


def catalog(connection: Sql, schema: str = "public") -> list[tuple[object, ...]]:
    """What the schema has: columns, functions, constraints, triggers, indexes, policies, rights."""
    found: list[tuple[object, ...]] = []
    for query in [
        "SELECT table_name, column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = %s",
        "SELECT oid::regprocedure::text, md5(prosrc), proacl::text, proconfig FROM pg_proc"
        " WHERE pronamespace = to_regnamespace(%s)",
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = to_regnamespace(%s)",
        "SELECT relname, relkind::text, relacl::text, relrowsecurity FROM pg_class"
        " WHERE relnamespace = to_regnamespace(%s)",
        "SELECT tablename, policyname FROM pg_policies WHERE schemaname = %s",
        "SELECT tgrelid::regclass::text, pg_get_triggerdef(t.oid) FROM pg_trigger t"
        " JOIN pg_class c ON c.oid = tgrelid"
        " WHERE relnamespace = to_regnamespace(%s) AND NOT tgisinternal",
    ]:
        found += sorted(connection.execute(query.encode(), [schema]).fetchall(), key=repr)
    return found


def test_migrations_are_named_as_the_supabase_cli_names_them() -> None:
    found = migrations()
    assert found
    assert found == sorted(found, key=lambda migration: migration.version)
    for migration in found:
        assert len(migration.version) == 14
        assert migration.version.isdigit()
        assert migration.filename == f"{migration.version}_{migration.name}.sql"


def test_migrating_records_what_was_applied_and_twice_is_safe(fresh: str) -> None:
    assert pending(fresh) == migrations()
    with connected(fresh) as connection:
        assert history(connection) == []  # pending changes nothing
        assert migrate(fresh) == migrations()
        applied, before = history(connection), catalog(connection)
        assert [(version, name) for version, name, _ in applied] == [
            (migration.version, migration.name) for migration in migrations()
        ]
        assert all(statements for _, _, statements in applied)
        assert pending(fresh) == []
        assert migrate(fresh) == []
        assert (history(connection), catalog(connection)) == (applied, before)
        # Also where somebody applies the file by hand once more, as `supabase db push` may.
        for migration in migrations():
            connection.execute(migration.sql.encode())
        assert catalog(connection) == before


def test_two_migrations_at_once_take_turns(fresh: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(migrate, [fresh, fresh])
    assert one + other == migrations()
    assert pending(fresh) == []


def test_a_failing_migration_is_rolled_back_whole(fresh: str) -> None:
    with connected(fresh) as connection:
        # The last of the tables is something that can't be altered like a table.
        connection.execute("CREATE VIEW public.attachments AS SELECT 1 AS x")
        before = catalog(connection)
        with pytest.raises(RefusedError, match="failed and was rolled back") as refused:
            migrate(fresh)
        assert migrations()[0].filename in str(refused.value)
        assert catalog(connection) == before
        assert history(connection) == []
        connection.execute("DROP VIEW public.attachments")
    assert migrate(fresh) == migrations()


def test_a_database_that_is_no_supabase(stack: Supabase, fresh: str, psql: Sql) -> None:
    psql.execute("ALTER ROLE anon RENAME TO not_anon")
    try:
        with pytest.raises(RefusedError) as refused:
            migrate(fresh)
    finally:
        psql.execute("ALTER ROLE not_anon RENAME TO anon")
    assert "this is no Supabase database: it lacks the roles anon" in str(refused.value)
    assert "Give the database URL of the Supabase project" in str(refused.value)


def test_a_database_that_can_not_be_reached(stack: Supabase) -> None:
    with closed_port() as url, pytest.raises(UnavailableError, match="can't be reached") as found:
        migrate(url.replace("http://", "postgresql://somebody:hidden@") + "/postgres")
    assert "hidden" not in str(found.value)


def test_a_wrong_password_is_not_shown(stack: Supabase) -> None:
    address = stack.database_url.rpartition("@")[2]
    with pytest.raises(UnavailableError) as found:
        migrate(f"postgresql://authenticator:hidden@{address}")
    assert "hidden" not in str(found.value)


def test_row_level_security_is_on_for_every_table(psql: Sql) -> None:
    found = psql.execute(
        "SELECT relname, relrowsecurity FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
    ).fetchall()
    embeddings = {"vcon_vectors"} & {name for name, _ in found}  # where pgvector is
    assert dict(found) == dict.fromkeys([*OURS, *embeddings], True)


@pytest.mark.parametrize("role", ["anon", "authenticated", "public"])
def test_nobody_but_service_role_has_any_right(psql: Sql, role: str) -> None:
    tables = psql.execute(
        "SELECT relname FROM pg_class, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE',"
        " 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS privilege"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm', 'p')"
        " AND has_table_privilege(%s, pg_class.oid, privilege)",
        [role],
    )
    assert tables.fetchall() == []
    sequences = psql.execute(
        "SELECT relname FROM pg_class, unnest(ARRAY['USAGE', 'SELECT', 'UPDATE']) AS privilege"
        " WHERE relnamespace = 'public'::regnamespace AND relkind = 'S'"
        " AND has_sequence_privilege(%s, pg_class.oid, privilege)",
        [role],
    )
    assert sequences.fetchall() == []
    functions = psql.execute(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " AND has_function_privilege(%s, oid, 'EXECUTE')",
        [role],
    )
    assert functions.fetchall() == []


def test_supabases_default_privileges_would_give_rights(fresh: str) -> None:
    """Without this the test above could not fail."""
    with connected(fresh) as connection:
        connection.execute("CREATE TABLE public.open_to_all (x int)")
        assert database.value(
            connection, "SELECT has_table_privilege('anon', 'public.open_to_all', 'SELECT')"
        )


# What triggers call when another program, which may see only its tenant's rows, changes a vCon.
DEFINERS = {
    "vcon_storage_edit_v1",
    "vcon_storage_edited_v1",
    "vcon_storage_history_edited_v1",
    "vcon_storage_history_of_v1",
    "vcon_storage_index_change_v1",
    "vcon_storage_new_episode_v1",
    "vcon_storage_part_came_or_went_v1",
    "vcon_storage_pending_v1",
    "vcon_storage_vcon_comes_v1",
    "vcon_storage_vcon_went_v1",
}


def test_functions_have_a_pinned_search_path_and_their_callers_rights(psql: Sql) -> None:
    found = psql.execute(
        "SELECT proname, proconfig, prosecdef FROM pg_proc"
        " WHERE pronamespace = 'public'::regnamespace"
    ).fetchall()
    assert len(found) >= 6
    for name, configuration, definer in found:
        assert name.startswith("vcon_storage_")
        assert "search_path=public, pg_temp" in (configuration or []), name
        assert definer == (name in DEFINERS), name


def test_another_schema_works_and_is_as_closed(stack: Supabase, fresh: str, options: Json) -> None:
    assert migrate(fresh, schema="calls") == migrations()
    assert pending(fresh, schema="calls") == []
    assert pending(fresh) == migrations()
    with connected(fresh) as connection:
        assert catalog(connection) == []
        assert not database.value(
            connection, "SELECT has_table_privilege('anon', 'calls.vcons', 'SELECT')"
        )
        assert migrate(fresh) == migrations()
        name = connection.info.dbname
        with stack.postgrest(database=name, PGRST_DB_SCHEMAS="public,calls") as rest_url:
            document = small_vcon()
            there = options | {"rest_url": rest_url}
            with SupabaseStorage(there | {"schema": "calls"}) as storage:
                storage.save(document)
                assert_same(storage.get(document["uuid"]), document)
                assert_same(storage.search({"subject": "invoice"}), [document])
            with SupabaseStorage(there) as storage:
                assert storage.get(document["uuid"]) is None
        assert database.value(connection, "SELECT count(*) FROM calls.dialog") == 4
