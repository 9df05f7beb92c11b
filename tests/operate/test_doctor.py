"""The command `doctor` as a whole: a healthy stack, what it prints, and leaves alone."""

import json
import re
import time
from pathlib import Path

import psycopg
import pytest
from redis import Redis
from typer.testing import CliRunner

import conserver_supabase_storage
from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.cli import app
from conserver_supabase_storage.doctor.answer import TABLES, VECTORS
from conserver_supabase_storage.doctor.schema import TRIGGERS
from conserver_supabase_storage.migrations import migrate

from ..conftest import Sql, options_without_cache
from ..home import Supabase
from ..integration.servers import ScriptedServer, silence
from ..integration.test_migrations import catalog
from ..vcons import Json, small_vcon
from .diagnosis import diagnose, invoke

PACKAGE = Path(conserver_supabase_storage.__file__).parent
ROOT = PACKAGE.parent

# What is installed where the tests run need not be what the conserver pins.
PACKAGES = ("package redis",)


@pytest.fixture
def options(stack: Supabase) -> Json:
    return options_without_cache(stack) | {"redis_url": stack.redis_url, "redis_timeout": 2.0}


def test_a_healthy_stack_has_nothing_broken(tmp_path: Path, options: Json) -> None:
    with SupabaseStorage(options) as storage:
        storage.save(small_vcon())
    report = diagnose(tmp_path, options)
    assert (report.checks("broken"), report.checks("skipped")) == ([], [])
    assert report.exit_code == 0
    warnings = [check for check in report.checks("warning") if check not in PACKAGES]
    # The Redis of the tests keeps nothing over a restart, except where it is to.
    # Other tests have cached and spooled in the same Redis.
    assert set(warnings) <= {"redis persistence", "redis other spool", "redis prefix"}


def test_through_the_gateway(tmp_path: Path, stack: Supabase, options: Json) -> None:
    del options["rest_url"]
    report = diagnose(tmp_path, options | {"url": stack.url})
    assert report.checks("broken") == []


def test_a_healthy_stack_of_the_environment(
    stack: Supabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in stack.environment().items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0
    assert "broken" not in done.stdout
    assert done.stdout.splitlines()[-1].split(", ")[0].endswith(" ok")


def test_what_another_program_made_is_healthy_too(
    tmp_path: Path, stack: Supabase, options: Json
) -> None:
    from ..integration.conftest import make_foreign

    url = stack.create_database("doctor_foreign")
    with psycopg.connect(url, autocommit=True) as connection:
        make_foreign(connection, "theirs")
    migrate(url)
    with stack.postgrest(database="doctor_foreign") as rest_url:
        report = diagnose(tmp_path, options | {"rest_url": rest_url})
    assert report.checks("broken") == []
    assert "another program" in report["migrations"]["text"]
    assert (report.state("rights of others"), report.state("row-level security")) == ("ok", "ok")


def test_strict_counts_warnings(tmp_path: Path, options: Json) -> None:
    without = options | {"redis_url": None}
    assert diagnose(tmp_path, without).state("spool") == "warning"
    assert diagnose(tmp_path, without).exit_code == 0
    assert diagnose(tmp_path, without, "--strict").exit_code == 1


def test_it_prints_a_line_and_its_fix(tmp_path: Path, options: Json) -> None:
    done = invoke(tmp_path, options | {"schema": "nowhere"})
    lines = done.stdout.splitlines()
    [place] = [n for n, line in enumerate(lines) if line.startswith("broken ")]
    assert lines[place].startswith("broken   exposed schemas: the schema 'nowhere' is not exposed")
    assert lines[place + 1].startswith("         Correct the option schema")
    assert lines[-1].startswith(f"{sum(line.startswith('ok ') for line in lines)} ok, ")
    assert done.exit_code == 1


def test_it_shows_no_secret(tmp_path: Path, stack: Supabase, options: Json) -> None:
    password = stack.redis_url.partition("@")[0].rpartition(":")[2]
    for wrong in ({}, {"schema": "nowhere"}, {"key": stack.anon_key}, {"cache_tll": 3}):
        chosen = options | wrong
        for said in (invoke(tmp_path, chosen), invoke(tmp_path, chosen, "--json")):
            assert str(chosen["key"]) not in said.output
            assert str(chosen["key"]).rpartition(".")[2] not in said.output
            assert not password or password not in said.output


def test_it_changes_nothing(tmp_path: Path, stack: Supabase, options: Json, psql: Sql) -> None:
    def state() -> list[object]:
        tables = {
            table: psql.execute(f"SELECT xmin::text, ctid FROM {table}".encode()).fetchall()
            for table in TABLES
        }
        # How many keys there are says nothing: those that other tests left expire meanwhile. Redis
        # counts every write, and an expiry is none.
        return [catalog(psql), tables, redis.info()["rdb_changes_since_last_save"]]

    with SupabaseStorage(options) as storage:
        storage.save(small_vcon())
        storage.search({"limit": 1})  # indexes what waits
    with Redis.from_url(stack.redis_url) as redis:
        before, keys = state(), set(redis.scan_iter())
        assert diagnose(tmp_path, options | {"tenant": "acme"}).exit_code == 0
        assert state() == before
        assert set(redis.scan_iter()) <= keys


def test_hung_servers_take_some_seconds(tmp_path: Path, options: Json) -> None:
    with ScriptedServer(silence) as web, ScriptedServer(silence, read_requests=False) as cache:
        hung = options | {"rest_url": web.url, "redis_url": cache.url.replace("http", "redis")}
        began = time.monotonic()
        report = diagnose(tmp_path, hung)
    assert time.monotonic() - began < 10
    assert {"postgrest", "redis"} <= set(report.checks("broken"))


def test_its_lists_are_what_the_migrations_make(psql: Sql) -> None:
    tables = psql.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    ).fetchall()
    assert {name for (name,) in tables} - {VECTORS} == set(TABLES)
    triggers = psql.execute(
        "SELECT relname, tgname FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid"
        " WHERE relnamespace = 'public'::regnamespace AND NOT tgisinternal"
    ).fetchall()
    assert set(triggers) == set(TRIGGERS)


def test_the_page_names_every_check(
    tmp_path: Path, stack: Supabase, options: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    table = page.partition("| it looks at | checks |")[2].partition("\n\n")[0]
    named = {name.removesuffix(" ...") for name in re.findall(r"`([a-z -]+(?: \.\.\.)?)`", table)}
    sources = "".join(path.read_text("utf-8") for path in (PACKAGE / "doctor").glob("*.py"))
    for name in named:
        assert re.search('["} ]' + name + '["{ ]', sources), name
    monkeypatch.setenv("REDIS_URL", stack.redis_url)
    for finding in diagnose(tmp_path, options | {"tenant": "acme"}).findings:
        check = finding["check"].removeprefix("redis ")
        assert check in named or check.split(" ")[0] in named, check


def test_help_teaches() -> None:
    said = CliRunner().invoke(app, ["doctor", "--help"]).output
    for word in (
        "conserver-supabase-storage doctor --config config.yml",
        "Exits with 0",
        "--strict",
    ):
        assert word in said


def test_json_is_one_list(tmp_path: Path, options: Json) -> None:
    done = invoke(tmp_path, options, "--json")
    assert isinstance(json.loads(done.stdout), list)
