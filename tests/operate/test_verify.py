"""The command `verify`. Needs the local Supabase."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.cache import Cache
from conserver_supabase_storage.entry import Entry
from conserver_supabase_storage.freshness import TRUST
from conserver_supabase_storage.redis_client import connect
from conserver_supabase_storage.transfer import cached
from conserver_supabase_storage.transfer.comparing import differences
from conserver_supabase_storage.transfer.questions import Questions, exactly

from ..conftest import Sql, few_examples
from ..home import Supabase
from ..integration import database
from ..integration.conftest import FOREIGN, HERE
from ..vcons import DATA, Json, load, new_uuid, small_vcon, values, vcons, written_set
from .running import started
from .transfer import Own, own_database


@pytest.fixture(scope="module", params=["ours", *FOREIGN])
def place(request: pytest.FixtureRequest, stack: Supabase) -> Iterator[Own]:
    """Each of the three databases in which we are at home."""
    files = FOREIGN.get(request.param, [])
    with own_database(stack, b"".join((HERE / file).read_bytes() for file in files)) as made:
        made.sql.execute("DELETE FROM vcons")
        yield made


@pytest.fixture(scope="module")
def own(stack: Supabase) -> Iterator[Own]:
    with own_database(stack) as made:
        yield made


@pytest.fixture(autouse=True)
def _empty(request: pytest.FixtureRequest) -> None:
    for name in ("own", "place"):
        if name in request.fixturenames:
            request.getfixturevalue(name).sql.execute("DELETE FROM vcons")


@contextmanager
def behind_the_triggers(sql: Sql) -> Iterator[None]:
    """Change rows as nothing does that goes through the tables' triggers: damage, say."""
    sql.execute("SET session_replication_role = replica")
    yield
    sql.execute("RESET session_replication_role")


def told(done: Any) -> list[tuple[str | None, str]]:
    return [(line.get("uuid"), line["what"]) for line in json.loads(done.stdout)["differences"]]


# --files


def test_what_was_imported_is_what_is_stored(place: Own, tmp_path: Path) -> None:
    text = b'{"uuid": "%b", "parties": [], "x": [1.50, 1e16, 12345678901234567890.1234567890]}'
    (tmp_path / "digits.vcon").write_bytes(text % new_uuid().encode())
    assert place.run("import", str(DATA), str(tmp_path)).exit_code == 0
    done = place.run("verify", "--files", str(DATA), str(tmp_path))
    assert (done.exit_code, done.stderr.count("error")) == (0, 0)
    assert done.stdout == f"files: {len(written_set()) + 1} compared, 0 differences\n"


def test_every_difference_is_found_and_nothing_of_the_content_told(
    own: Own, tmp_path: Path
) -> None:
    vcon, missing = small_vcon(), small_vcon()
    own.storage.save(vcon)
    with behind_the_triggers(own.sql):
        own.sql.execute("UPDATE dialog SET body = 'SECRET' WHERE dialog_index = 2")
        own.sql.execute("DELETE FROM dialog WHERE dialog_index = 3")
        own.sql.execute(
            "UPDATE vcons SET as_written = jsonb_set(as_written::jsonb - 'subject', '{new}', '1')"
        )
    path = tmp_path / "a.jsonl"
    lines = [json.dumps(vcon), json.dumps(missing), "{", '{"uuid": "SECRET"}']
    path.write_text("\n".join(lines))
    report = tmp_path / "report"
    done = own.run("verify", "--json", str(path), "--report", str(report))
    assert done.exit_code == 1
    assert told(done) == [
        (None, "can't be stored: is not JSON: Expecting property name enclosed in double quotes"
         " at line 1 column 2"),
        (None, told(done)[1][1]),
        (vcon["uuid"], "subject is missing"),
        (vcon["uuid"], "dialog[2].body differs"),
        (vcon["uuid"], "dialog[3] is missing"),
        (vcon["uuid"], "new is too much"),
        (missing["uuid"], "is not stored"),
    ]  # fmt: skip
    assert json.loads(done.stdout)["files"]["checked"] == 4
    lines = report.read_text("utf-8").splitlines()
    assert [json.loads(line)["name"] for line in lines[:3]] == [
        f"{path}:3",
        f"{path}:4",
        f"{path}:1",
    ]
    shown = own.run("verify", str(path))
    assert f"files: {path}:1: {vcon['uuid']}: dialog[2].body differs\n" in shown.stdout
    assert "files: 4 compared, 7 differences\n" in shown.stdout
    assert "SECRET" not in done.output + shown.output + report.read_text("utf-8")


@few_examples
@given(values)
def test_a_value_does_not_differ_from_itself(value: Any) -> None:
    text = json.dumps(value)
    assert list(differences(exactly(text), exactly(text))) == []


@pytest.mark.parametrize(
    ("one", "other", "paths"),
    [
        ("1", "1.0", ["differs"]),
        ("1.5", "1.50", ["differs"]),
        ("0.0", "-0.0", ["differs"]),
        ("1e16", "1E+16", []),
        ("true", "1", ["differs"]),
        ('{"a": {"b c": [1]}}', '{"a": {"b c": [2]}}', ["a['b c'][0] differs"]),
        ('{"a": null}', "{}", ["a is missing"]),
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}', []),
        ("[1, 2]", "[2, 1]", ["[0] differs", "[1] differs"]),
        ("[]", "{}", ["differs"]),
        ('""', "null", ["differs"]),
    ],
)
def test_what_counts_as_a_difference(one: str, other: str, paths: list[str]) -> None:
    assert list(differences(exactly(one), exactly(other))) == paths


# --columns


def test_the_columns_of_what_was_saved_are_right(place: Own) -> None:
    wild = small_vcon(
        vcon="a version that is longer",
        created_at="9999-12-31T23:59:59.999999-14:00",
        updated_at="yesterday",
        must_support=["a"],
        amended={},
        extensions=["x" * 3000],
        redacted={"n": 1e16},
        group=[],
    )
    wild["parties"] += [{"uuid": "none", "name": "x" * 2500, "meta": {"a": 1.50}}, {"tel": 7}]
    wild["parties"] += [{"uuid": new_uuid().upper(), "jcard": [1, 2.0, {"z": 1, "a": -0.0}]}]
    wild["dialog"] += [
        {"type": "odd", "duration": 0.1, "parties": [[0, 1], 2], "session_id": {"local": "a"}},
        {"type": "text", "duration": -0.0},
        {"type": "text", "duration": 1e300, "disposition": "odd", "encoding": "base64"},
        {"start": "2026-01-01T00:00:00.123456789+05:45", "duration": 123456.789, "parties": "x"},
        {"type": "transfer", "transfer-target": 3, "original": [1], "session_id": "text"},
        {"type": "text", "size_bytes": 2.0, "session_id": ["x" * 3000], "content_hash": ["a", "b"]},
    ]
    wild["analysis"] += [{"confidence": 0.7, "schema_version": "1"}, {"type": "t" * 2500}]
    wild["attachments"] += [{"start": "2026-01-01", "party": 1, "dialog": 2, "body": None}]
    results = place.storage.save_many([wild, *map(load, written_set())])
    assert not any(results), results
    done = place.run("verify", "--columns", "--json")
    assert told(done) == []
    assert done.exit_code == 0
    assert json.loads(done.stdout)["columns"]["checked"] == len(written_set()) + 1


def test_the_columns_of_wild_vcons_are_right(place: Own) -> None:
    @few_examples
    @given(vcons)
    def run(vcon: Json) -> None:
        place.storage.save(vcon)

    run()
    done = place.run("verify", "--columns", "--json")
    assert told(done) == []


# Each is a column, and what another program might write there.
EDITS = [
    ("vcons", "subject", "'theirs'"),
    ("vcons", "updated_at", "'2026-05-05T00:00:00Z'"),
    ("parties", "name", "repeat('x', 2500)"),
    ("parties", "tel", "NULL"),
    ("parties", "metadata", """'{"theirs": 1}'"""),
    ("dialog", "start_time", "'2026-05-05T00:00:00Z'"),
    ("dialog", "duration_seconds", "0.1"),
    ("dialog", "parties", "'{1}'"),
    ("dialog", "size_bytes", "5"),
    ("dialog", "body", "'theirs'"),
    ("analysis", "confidence", "0.3"),
    ("analysis", "created_at", "now()"),
    ("analysis", "dialog_indices", "'{0}'"),
    ("attachments", "purpose", "'theirs'"),
    ("attachments", "mimetype", "'text/plain'"),
]


def test_what_another_program_wrote_through_the_columns_is_no_difference(place: Own) -> None:
    place.storage.save_many([small_vcon(), *map(load, written_set())])
    for table, column, value in EDITS:
        place.sql.execute(f"UPDATE {table} SET {column} = {value}".encode())
    place.sql.execute(
        "INSERT INTO parties (vcon_id, party_index, name) SELECT uuid, 77, 'new' FROM vcons"
    )
    place.sql.execute("INSERT INTO vcons (id, uuid, subject) SELECT u, u, 'new' FROM"
                      " (SELECT gen_random_uuid()) AS n (u)")  # fmt: skip
    done = place.run("verify", "--columns", "--json")
    assert told(done) == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("UPDATE vcons SET subject = 'SECRET'", "vcons.subject"),
        ("UPDATE vcons SET created_at = created_at + interval '1 us'", "vcons.created_at"),
        ("UPDATE parties SET tel = NULL WHERE party_index = 0", "parties[0].tel"),
        ("UPDATE dialog SET duration_seconds = 61.3 WHERE dialog_index = 0",
         "dialog[0].duration_seconds"),
        ("UPDATE dialog SET parties = '{1,0}' WHERE dialog_index = 0", "dialog[0].parties"),
        ("UPDATE dialog SET type = 'incomplete' WHERE dialog_index = 1", "dialog[1].type"),
        ("UPDATE dialog SET dialog_index = 9 WHERE dialog_index = 3", "dialog[3].dialog_index"),
        ("UPDATE analysis SET vendor = '' WHERE analysis_index = 1", "analysis[1].vendor"),
        ("UPDATE attachments SET type = 'x' WHERE attachment_index = 0", "attachments[0].type"),
    ],
)  # fmt: skip
def test_a_column_that_was_spoiled_is_found(place: Own, change: str, what: str) -> None:
    vcon = small_vcon()
    place.storage.save_many([vcon, small_vcon()])
    with behind_the_triggers(place.sql):
        table = change.split()[1]
        which = "uuid" if table == "vcons" else "vcon_id"
        where = "AND" if "WHERE" in change else "WHERE"
        place.sql.execute(f"{change} {where} {which} = '{vcon['uuid']}'".encode())
    done = place.run("verify", "--columns", "--json")
    assert done.exit_code == 1
    assert told(done) == [(vcon["uuid"], what)]
    assert "SECRET" not in done.output


def test_a_column_that_was_spoiled_can_be_mended(place: Own, tmp_path: Path) -> None:
    vcon = small_vcon()
    place.storage.save(vcon)
    with behind_the_triggers(place.sql):
        place.sql.execute("UPDATE parties SET tel = 'other'")
    assert len(told(place.run("verify", "--columns", "--json"))) == 2
    place.sql.execute("UPDATE vcons SET digest = NULL")
    out = str(tmp_path)
    assert place.run("export", "--to", out, "--uuid", vcon["uuid"]).exit_code == 0
    assert "1 saved" in place.run("import", out).stdout
    assert place.run("verify", "--columns", out).exit_code == 0


def test_columns_go_on_after_a_vcon(own: Own) -> None:
    saved = sorted(vcon["uuid"] for vcon in (small_vcon() for _ in range(5)))
    own.storage.save_many(small_vcon(uuid) for uuid in saved)
    done = own.run("verify", "--columns", "--json", "--after", saved[2])
    assert json.loads(done.stdout)["columns"] == {
        "checked": 2,
        "differences": 0,
        "last": saved[4],
    }
    assert f"the last was {saved[4]}" in own.run("verify", "--columns").stdout


def test_an_interrupt_tells_where_it_was(own: Own) -> None:
    with (
        psycopg.connect(own.sql.info.dsn, password=own.sql.info.password) as other,
        other.transaction(),
        ExitStack() as ends,
    ):
        other.execute("LOCK TABLE vcon_search_state")
        process = ends.enter_context(started(own.environment, "verify", "--columns"))
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND position('vcon_storage_search' IN query) > 0"
        )
        while not database.value(own.sql, waiting):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "--after says where to go on" in stderr
    assert "Traceback" not in stderr


# --cache


class Cached:
    """A cache of its own beside a database of its own."""

    def __init__(self, own: Own, stack: Supabase) -> None:
        self.own = own
        prefix = f"verify-{new_uuid()}:"
        self.options: Json = {"redis_url": stack.redis_url, "cache_prefix": prefix}
        self.storage = SupabaseStorage(own.options | self.options)
        self.redis = connect(stack.redis_url, 5.0)
        self.cache = Cache(self.redis, prefix=prefix, ttl=100, span=1)
        self.questions = Questions(self.storage.options)

    def key(self, uuid: str) -> str:
        return f"{self.options['cache_prefix']}{{{uuid}}}"

    def entry(self, uuid: str) -> Entry:
        entry = Entry.unpack(self.cache.peek(uuid))
        assert entry is not None
        return entry

    def put(self, uuid: str, entry: Entry) -> None:
        self.redis.set(self.key(uuid), entry.pack(0))

    def verify(self) -> Any:
        return self.own.run("verify", "--cache", "--json", **self.options)


@pytest.fixture
def beside(own: Own, stack: Supabase) -> Iterator[Cached]:
    made = Cached(own, stack)
    yield made
    made.storage.clear_cache()
    made.storage.close()
    made.questions.close()


def test_a_cache_that_is_right(beside: Cached) -> None:
    saved = [*map(load, written_set()), *(small_vcon() for _ in range(3))]
    exact = '{"uuid": "%s", "parties": [], "x": [1.50, 1e16, 12345678901234567890.12345]}'
    beside.storage.save_many([*saved, exact % new_uuid()])
    # Another program's vCon, and one that it has changed.
    beside.own.sql.execute("UPDATE vcons SET subject = 'theirs' WHERE uuid = %s",
                           [saved[-1]["uuid"]])  # fmt: skip
    theirs = new_uuid()
    beside.own.sql.execute("INSERT INTO vcons (id, uuid) VALUES (%s, %s)", [theirs, theirs])
    for uuid in (saved[-1]["uuid"], theirs):
        beside.storage.get(uuid)
    # What nobody reads as an entry.
    beside.redis.set(beside.key("no-uuid"), "css1 ")
    beside.redis.lpush(beside.key(new_uuid()), "a list")
    beside.redis.set(beside.key(new_uuid()), "css0 another release's")
    done = beside.verify()
    assert told(done) == []
    assert done.exit_code == 0
    assert json.loads(done.stdout)["cache"]["checked"] == len(saved) + 2


def test_an_entry_that_was_spoiled_is_found(beside: Cached) -> None:
    good, other, damaged = small_vcon(), small_vcon(subject="SECRET"), small_vcon()
    beside.storage.save_many([good, other, damaged])
    entry = beside.entry(good["uuid"])
    beside.put(good["uuid"], entry._replace(rows=beside.entry(other["uuid"]).rows))
    beside.redis.append(beside.key(damaged["uuid"]), "x")
    done = beside.verify()
    assert done.exit_code == 1
    assert sorted(told(done)) == sorted(
        [
            (good["uuid"], "uuid differs"),
            (good["uuid"], "subject differs"),
            (damaged["uuid"], "is damaged; gets take it for missing"),
        ]
    )
    assert "SECRET" not in done.output


def test_an_entry_that_is_stale_is_found_only_if_gets_would_return_it(beside: Cached) -> None:
    saved, deleted, lost = small_vcon(), small_vcon(), small_vcon()
    beside.storage.save_many([saved, deleted, lost])
    older = {vcon["uuid"]: beside.entry(vcon["uuid"]) for vcon in (saved, deleted, lost)}
    beside.storage.save(saved | {"subject": "newer"})
    beside.storage.delete(deleted["uuid"])
    for uuid, entry in older.items():
        beside.put(uuid, entry)
    # As after a database was brought back from its backup.
    beside.put(lost["uuid"], older[lost["uuid"]]._replace(revision=10**9))
    found = dict(told(beside.verify()))
    assert found == {
        saved["uuid"]: "is stale: the vCon was saved since",
        deleted["uuid"]: "is stale: the vCon was deleted, or changed by another program",
        lost["uuid"]: "is newer than the database, which has lost what was saved last",
    }
    # An edit begins a new episode: the same entries are compared before they are returned.
    beside.own.sql.execute("UPDATE vcons SET subject = 'x' WHERE uuid = %s", [lost["uuid"]])
    assert told(beside.verify()) == []
    time.sleep(TRUST)
    assert beside.storage.get(deleted["uuid"]) is None


def test_an_entry_that_changes_meanwhile_is_looked_at_again(beside: Cached) -> None:
    vcon = small_vcon()
    beside.storage.save(vcon)

    class Saving(Questions):
        """Between an entry and the database's answer, somebody saves: twice."""

        times = 0

        def state_of(self, *arguments: Any, **more: Any) -> Any:
            if self.times < 2:
                self.times += 1
                beside.storage.save(vcon | {"subject": f"{self.times}"})
            return super().state_of(*arguments, **more)

    with Saving(beside.storage.options) as questions:
        [page] = cached.check(beside.cache, questions)
        assert (page.checked, page.findings, questions.times) == (1, [], 2)


def test_a_busy_cache_is_never_called_wrong(beside: Cached) -> None:
    saved = [small_vcon() for _ in range(20)]
    beside.storage.save_many(saved)
    stop = threading.Event()

    def save() -> None:
        n = 0
        while not stop.is_set():
            beside.storage.save(saved[n % 20] | {"subject": f"{n}"})
            beside.storage.get(saved[(n + 7) % 20]["uuid"])
            n += 1

    threads = [threading.Thread(target=save) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        ends = time.monotonic() + 5
        checked = 0
        while time.monotonic() < ends:
            for page in cached.check(beside.cache, beside.questions):
                assert page.findings == []
                checked += page.checked
        assert checked > 100
    finally:
        stop.set()
        for thread in threads:
            thread.join()


# Usage


@pytest.mark.parametrize(
    "arguments", [[], ["--files"], ["--after", "x", "--cache"], ["nothing-here"], ["--from", "x"]]
)
def test_wrong_usage(own: Own, arguments: list[str]) -> None:
    assert own.run("verify", *arguments).exit_code == 2


def test_without_a_cache_there_is_nothing_to_compare(own: Own) -> None:
    done = own.run("verify", "--cache", "-oredis_url=")
    assert done.exit_code == 1
    assert "there is no cache: redis_url is not given" in done.stderr
    away = own.run("verify", "--cache", redis_url="redis://127.0.0.1:1")
    assert away.exit_code == 1
    assert "the cache's Redis does not answer: ConnectionError" in away.stderr
