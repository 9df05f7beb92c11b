"""What each refusal says and leaves unsaid, by a real PostgREST. Needs the local Supabase."""

import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from conserver_supabase_storage import RefusedError, StorageError, SupabaseStorage, UnavailableError
from conserver_supabase_storage.migrations import migrate

from ..home import Supabase
from ..vcons import Json, assert_same, new_uuid, small_vcon
from .servers import ScriptedServer, answer, closed_port

SECRET = "a secret sentence"
KEY = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2VjcmV0LWtleS1zaWduYXR1cmU"


def secret_vcon(**members: Any) -> Json:
    document = small_vcon(subject=SECRET, **members)
    document["dialog"][1]["body"] = SECRET
    return document


def refused(options: Json, document: Json | None = None) -> RefusedError:
    """Save, get, search and delete; return the refusal of the save, the same as the others'."""
    document = document or secret_vcon()
    with SupabaseStorage(options) as storage:
        with pytest.raises(RefusedError) as found:
            storage.save(document)
        for operation in (storage.get, storage.delete):
            with pytest.raises(RefusedError):
                operation(document["uuid"])
        with pytest.raises(RefusedError):
            storage.search({"subject": SECRET})
    return say_nothing(found.value, options)


def say_nothing[E: StorageError](error: E, options: Json) -> E:
    """Check that no text of an error, or of what caused it, has the key or what a vCon says."""
    each: BaseException | None = error
    while each is not None:
        text = f"{each} {each!r}"
        assert SECRET not in text
        assert options["key"] not in text
        each = each.__cause__ or each.__context__
    return error


@pytest.fixture(scope="module")
def guarded(stack: Supabase) -> Iterator[tuple[str, psycopg.Connection[Any]]]:
    """A database whose tables other roles may use: `authenticated`, and one in a hurry."""
    url = stack.create_database("guarded")
    migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            """
            CREATE ROLE hurried NOLOGIN BYPASSRLS IN ROLE service_role;
            ALTER ROLE hurried SET statement_timeout = '300ms';
            GRANT hurried TO authenticator;
            GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO authenticated;
            GRANT ALL ON ALL TABLES IN SCHEMA public TO authenticated;
            GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO authenticated;
            CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql AS
              $$ BEGIN PERFORM pg_sleep(3); RETURN NEW; END $$;
            CREATE TRIGGER wait BEFORE INSERT ON public.parties
              FOR EACH ROW WHEN (NEW.name = 'slow') EXECUTE FUNCTION public.wait();
            """
        )
        with stack.postgrest(database="guarded") as rest_url:
            yield rest_url, connection
        connection.execute("DROP OWNED BY hurried; DROP ROLE hurried")


def test_a_key_of_another_project(options: Json) -> None:
    error = refused(options | {"key": KEY})
    assert error.status == 401
    assert str(error).startswith("the key is not accepted by ")
    assert "check the option key" in str(error)


def test_a_key_that_is_no_jwt(options: Json) -> None:
    assert str(refused(options | {"key": "sb_secret_" + "x" * 30})).startswith(
        "the key is not accepted by "
    )


def test_an_expired_key(stack: Supabase, options: Json) -> None:
    error = refused(options | {"key": stack.key_for("service_role", exp=1_000_000_000)})
    assert str(error).startswith("the key is not accepted by ")
    assert "JWT expired" in str(error)


def test_a_key_for_a_role_that_does_not_exist(stack: Supabase, options: Json) -> None:
    error = refused(options | {"key": stack.key_for("nobody_at_all")})
    assert "key" in str(error)


def test_a_key_that_the_gateway_does_not_know(stack: Supabase) -> None:
    error = refused({"url": stack.url, "key": KEY, "redis_url": None})
    assert error.status == 401
    assert "the key is not accepted by " in str(error)
    assert "check the option key" in str(error)


def test_the_anon_key(stack: Supabase, options: Json) -> None:
    error = refused(options | {"key": stack.anon_key})
    assert error.code == "42501"
    assert "use the service_role key" in str(error)


def test_a_database_without_the_migrations(stack: Supabase, options: Json) -> None:
    stack.create_database("bare")
    with stack.postgrest(database="bare") as rest_url:
        error = refused(options | {"rest_url": rest_url})
        assert error.code == "PGRST202"
        assert "conserver-supabase-storage migrate" in str(error)
        assert "is missing in the schema 'public'" in str(error)
        with SupabaseStorage(options | {"rest_url": rest_url}) as storage:
            health = storage.health()
    assert health["status"] == "down"
    assert "migrate" in health["database"]


def test_row_level_security(
    stack: Supabase, options: Json, guarded: tuple[str, psycopg.Connection[Any]]
) -> None:
    key = stack.key_for("authenticated")
    with (
        SupabaseStorage(options | {"rest_url": guarded[0], "key": key}) as storage,
        pytest.raises(RefusedError) as found,
    ):
        storage.save(secret_vcon())
    error = say_nothing(found.value, {"key": key})
    assert error.code == "42501"
    assert "row-level security denies this" in str(error)
    assert "use the service_role key" in str(error)


def test_the_statement_timeout(
    stack: Supabase, options: Json, guarded: tuple[str, psycopg.Connection[Any]]
) -> None:
    key = stack.key_for("hurried")
    document = secret_vcon(parties=[{"name": "slow"}])
    with SupabaseStorage(options | {"rest_url": guarded[0], "key": key}) as storage:
        with pytest.raises(RefusedError) as found:
            storage.save(document)
        error = say_nothing(found.value, {"key": key})
        assert error.code == "57014"
        assert "statement timeout" in str(error)
        assert storage.get(document["uuid"]) is None
        storage.save(document | {"parties": [{"name": "quick"}]})
        assert_same(storage.get(document["uuid"]), document | {"parties": [{"name": "quick"}]})


def test_a_schema_that_is_not_exposed(options: Json) -> None:
    error = refused(options | {"schema": "elsewhere"})
    assert error.code == "PGRST106"
    assert "the schema 'elsewhere' is not exposed" in str(error)
    assert "exposed schemas" in str(error)


def test_a_url_where_nobody_listens(options: Json) -> None:
    with closed_port() as url:
        wrong = options | {"rest_url": url, "total_timeout": 0.5}
        document = secret_vcon()
        with SupabaseStorage(wrong) as storage:
            before = time.monotonic()
            with pytest.raises(UnavailableError) as found:
                storage.save(document)
            assert time.monotonic() - before < 2
    error = say_nothing(found.value, wrong)
    assert f"Supabase at {url} can't be reached" in str(error)
    assert "check the option url" in str(error)


def test_a_host_that_does_not_exist(options: Json) -> None:
    wrong = options | {"rest_url": "http://nowhere.invalid", "total_timeout": 0.5}
    with SupabaseStorage(wrong) as storage, pytest.raises(UnavailableError, match="nowhere"):
        storage.get(new_uuid())


def test_a_project_url_given_as_rest_url(stack: Supabase, options: Json) -> None:
    error = refused(options | {"rest_url": stack.url})
    assert "not as PostgREST does" in str(error)


def test_a_web_site_that_is_not_supabase(options: Json) -> None:
    with ScriptedServer(answer(404, "<html>404</html>", content_type="text/html")) as site:
        error = refused(options | {"rest_url": site.url})
    assert "answers, but not as PostgREST does (HTTP 404)" in str(error)
    assert "url is the Supabase project's URL" in str(error)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(options: Json, status: int) -> None:
    there = "https://example.com/login"
    with ScriptedServer(answer(status, location=there)) as site:
        error = refused(options | {"rest_url": site.url})
    assert f"redirects to {there}" in str(error)


# A login page or a proxy that says 200 to everything must not look like a save that worked.
@pytest.mark.parametrize("body", ["<html>Welcome</html>", "", "{}"])
@pytest.mark.parametrize("operation", ["save", "get", "delete", "search"])
def test_an_answer_that_no_function_of_ours_gives(options: Json, operation: str, body: str) -> None:
    document = secret_vcon()
    with (
        ScriptedServer(answer(200, body)) as site,
        SupabaseStorage(options | {"rest_url": site.url}) as storage,
    ):
        call = getattr(storage, operation)
        argument = {"save": document, "search": {}}.get(operation, document["uuid"])
        with pytest.raises(StorageError) as found:
            call(argument)
    say_nothing(found.value, options)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 500, 501])
@pytest.mark.parametrize("body", ["", "<html>", "{}", "[1]", '{"code": 5, "message": null}'])
def test_every_other_status_is_a_refusal_that_is_not_repeated(
    options: Json, status: int, body: str
) -> None:
    with (
        ScriptedServer(answer(status, body)) as site,
        SupabaseStorage(options | {"rest_url": site.url}) as storage,
        pytest.raises(RefusedError) as found,
    ):
        storage.save(secret_vcon())
    assert site.requests == 1
    assert found.value.status == status
    assert str(status) in str(found.value) or site.url in str(found.value)


def test_what_the_server_says_of_a_vcon_is_not_passed_on(options: Json) -> None:
    said = f'{{"code":"23514","message":"no {SECRET}","details":"{SECRET}","hint":"{SECRET}"}}'
    with ScriptedServer(answer(400, said)) as site:
        error = refused(options | {"rest_url": site.url})
    assert error.code == "23514"
    assert "23514" in str(error)
