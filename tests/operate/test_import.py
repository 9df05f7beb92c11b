"""The command `import`. Needs the local Supabase."""

import gzip
import json
import logging
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.transfer import found as found_module
from conserver_supabase_storage.transfer.found import Found
from conserver_supabase_storage.transfer.importing import chunks
from conserver_supabase_storage.transfer.questions import COUNT, exactly

from ..home import Supabase
from ..integration import database
from ..integration.servers import closed_port
from ..vcons import Json, load, new_uuid, small_vcon, written_set
from .running import started
from .transfer import Own, own_database


@pytest.fixture(scope="module")
def own(stack: Supabase) -> Iterator[Own]:
    with own_database(stack) as made:
        yield made


@pytest.fixture(autouse=True)
def _empty(own: Own) -> None:
    own.sql.execute("DELETE FROM vcons")


def write(path: Path, *vcons: Json | bytes) -> Path:
    """Write vCons, or texts that are none, each in a line; by the path's name compressed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [vcon if isinstance(vcon, bytes) else json.dumps(vcon).encode() for vcon in vcons]
    data = b"\n".join(texts) + b"\n"
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def lines(path: Path) -> list[Json]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def counts(done: Any) -> Json:
    found: Json = json.loads(done.stdout)
    return {name: count for name, count in found.items() if count}


def test_files_folders_patterns_and_lines(own: Own, tmp_path: Path) -> None:
    vcons = [small_vcon(subject=f"{n}") for n in range(9)]
    write(tmp_path / "calls/one.vcon", vcons[0])
    write(tmp_path / "calls/2026/03/01/two.json", vcons[1])
    write(tmp_path / "calls/2026/03/02/three.json.gz", vcons[2])
    write(tmp_path / "calls/more.jsonl", vcons[3], b"", vcons[4])
    write(tmp_path / "calls/more.ndjson.gz", vcons[5])
    write(tmp_path / "calls/notes.txt", b"not looked at")
    write(tmp_path / "calls/.hidden.vcon", b"not looked at")
    write(tmp_path / "other/deep/named", vcons[6])
    write(tmp_path / "other/x/seven.vcon", vcons[7])
    done = own.run(
        "import",
        str(tmp_path / "calls"),
        str(tmp_path / "other/deep/named"),
        str(tmp_path / "other/**/*.vcon"),
        "-",
        given=json.dumps(vcons[8]).encode(),
    )
    assert done.exit_code == 0, done.output
    assert done.stdout == "9 saved, 0 unchanged, 0 kept, 0 outdated, 0 refused\n"
    assert [own.storage.get(vcon["uuid"]) for vcon in vcons] == vcons


def test_every_digit_is_kept(own: Own, tmp_path: Path) -> None:
    uuid = new_uuid()
    text = (
        b'{"uuid": "%b", "parties": [], "x": [1.50, 12345678901234567890.123456789, 1e16, 1E+16,'
        b" -0.0, 123456789012345678901234567890, 0.1, 5e-324]}"
    ) % uuid.encode()
    assert own.run("import", str(write(tmp_path / "a.vcon", text))).exit_code == 0
    [raw] = own.sql.execute(
        "SELECT as_written ->> 'x' FROM vcons WHERE uuid = %s", [uuid]
    ).fetchone() or [""]
    assert list(map(str, exactly(raw))) == list(map(str, exactly(text)["x"]))


def test_what_is_there_unchanged_is_not_sent(
    own: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in written_set():
        shutil.copy(path, tmp_path)
    vcons = [load(path) for path in written_set()]
    assert counts(own.run("import", "--json", str(tmp_path))) == {"saved": len(vcons)}
    revisions = own.sql.execute("SELECT uuid, revision FROM vcons ORDER BY 1").fetchall()

    sent: list[Any] = []
    save_many = SupabaseStorage.save_many

    def spy(storage: SupabaseStorage, given: Any) -> Any:
        documents = list(given)
        sent.extend(documents)
        return save_many(storage, documents)

    monkeypatch.setattr(SupabaseStorage, "save_many", spy)
    assert counts(own.run("import", "--json", str(tmp_path))) == {"unchanged": len(vcons)}
    assert own.sql.execute("SELECT uuid, revision FROM vcons ORDER BY 1").fetchall() == revisions
    assert sent == []
    changed = write(tmp_path / "minimal.vcon", load(tmp_path / "minimal.vcon") | {"subject": "x"})
    done = own.run("import", "--json", str(tmp_path))
    assert counts(done) == {"saved": 1, "unchanged": len(vcons) - 1}
    assert sent == [load(changed)]


def test_what_another_program_changed_is_saved_again(own: Own, tmp_path: Path) -> None:
    vcon = small_vcon()
    path = write(tmp_path / "a.vcon", vcon)
    own.run("import", str(path))
    own.sql.execute("UPDATE vcons SET subject = 'theirs'")
    assert counts(own.run("import", "--json", str(path))) == {"saved": 1}
    assert own.storage.get(vcon["uuid"]) == vcon


def test_one_that_comes_twice_is_what_came_last(own: Own, tmp_path: Path) -> None:
    uuid = new_uuid()
    first, last = small_vcon(uuid, subject="first"), small_vcon(uuid, subject="last")
    own.storage.save(last)
    path = write(tmp_path / "a.jsonl", first, last)
    assert counts(own.run("import", "--json", str(path))) == {"saved": 2}
    assert own.storage.get(uuid) == last


def test_what_is_there_can_be_kept(own: Own, tmp_path: Path) -> None:
    there, new = small_vcon(), small_vcon()
    own.storage.save(there)
    path = write(tmp_path / "a.jsonl", there | {"subject": "older"}, new)
    done = own.run("import", "--json", "--keep-existing", str(path))
    assert counts(done) == {"saved": 1, "kept": 1}
    assert own.storage.get(there["uuid"]) == there
    assert own.storage.get(new["uuid"]) == new


def test_a_dry_run_saves_nothing(own: Own, tmp_path: Path) -> None:
    there = small_vcon()
    own.storage.save(there)
    path = write(tmp_path / "a.jsonl", there, small_vcon(), b"{")
    done = own.run("import", "--dry-run", str(path))
    assert done.exit_code == 1
    assert "1 would be saved, 1 would be unchanged" in done.stdout
    assert own.vcons() == 1
    assert own.run("import", "--dry-run", "--state", str(tmp_path / "s"), str(path)).exit_code == 2


def test_what_is_refused_is_reported_and_the_others_are_saved(own: Own, tmp_path: Path) -> None:
    good, theirs = small_vcon(), small_vcon()
    with SupabaseStorage(own.options | {"tenant": "theirs"}) as other:
        other.save(theirs)
    uuid = new_uuid()
    path = write(
        tmp_path / "a.jsonl",
        b'{"uuid": ',
        small_vcon(uuid) | {"dialog": "none"},
        small_vcon() | {"subject": "zero \0"},
        b'{"uuid": "%b", "uuid": "%b"}' % (uuid.encode(), uuid.encode()),
        {"parties": []},
        b"[]",
        b'{"subject": "\xff"}',
        b'{"uuid": "%b", "x": 1e400}' % uuid.encode(),
        theirs,
        good,
    )
    torn = write(tmp_path / "torn.json.gz", small_vcon())
    torn.write_bytes(torn.read_bytes()[:-20])
    report = tmp_path / "refused.jsonl"
    done = own.run(
        "import", "--json", "--report", str(report), "--tenant", "ours", str(path), str(torn)
    )
    assert done.exit_code == 1
    assert counts(done) == {"saved": 1, "refused": 10}
    assert own.storage.get(good["uuid"]) == good
    found = lines(report)
    assert [line["name"] for line in found] == [
        *(f"{path}:{n}" for n in range(1, 9)),
        str(torn),
        f"{path}:9",
    ]
    errors = [line["error"] for line in found]
    for error, what in zip(
        errors,
        [
            "is not JSON",
            "dialog: must be a list",
            "subject: holds U+0000",
            "stands twice",
            "uuid: is missing",
            "must be a JSON object",
            "is not UTF-8",
            "no finite number",
            "can't be read: EOFError",
            "belongs to another tenant",
        ],
        strict=True,
    ):
        assert what.removeprefix("must be ") in error or what in error
    assert found[-1]["uuid"] == theirs["uuid"]
    assert "refused" in done.stderr
    assert own.sql.execute("SELECT DISTINCT tenant_id FROM vcons").fetchall() != []


def test_a_text_that_is_too_large_is_refused_unread(
    own: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(found_module, "MAX_BYTES", 10_000)
    good = small_vcon()
    large = small_vcon(subject="x" * 50_000)
    path = write(tmp_path / "a.jsonl", large, good)
    alone = write(tmp_path / "b.vcon", large)
    report = tmp_path / "r"
    done = own.run("import", "--json", "--report", str(report), str(path), str(alone))
    assert counts(done) == {"saved": 1, "refused": 2}
    assert [line["name"] for line in lines(report)] == [f"{path}:1", str(alone)]
    assert own.storage.get(good["uuid"]) == good


def test_nothing_is_read_before_it_is_needed() -> None:
    def endless() -> Iterator[tuple[int, Found]]:
        while True:
            yield 0, Found("x", "x", text=b"{}")

    assert [len(chunk) for chunk in islice(chunks(endless()), 3)] == [COUNT] * 3
    large = ((0, Found("x", "x", text=b" " * 5_000_000)) for _ in range(5))
    assert [len(chunk) for chunk in chunks(large)] == [2, 2, 1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "name files"),
        (["nothing-here.vcon"], "is not there"),
        (["nothing-here/*.vcon"], "matches no file"),
        (["--from", "old"], "--config"),
    ],
)
def test_wrong_usage(own: Own, arguments: list[str], says: str) -> None:
    done = own.run("import", *arguments)
    assert done.exit_code == 2
    assert says in done.stderr


def test_a_file_that_can_not_be_written_is_one_line(own: Own, tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.vcon", small_vcon()))
    done = own.run("import", "--report", str(tmp_path / "no/where"), path)
    assert (done.exit_code, done.stderr.startswith("error: ")) == (1, True)
    assert own.vcons() == 0


def test_it_stops_where_supabase_is_away_and_goes_on_later(own: Own, tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.jsonl", small_vcon(), b"{"))
    with closed_port() as url:
        away = own.run("import", "--json", path, rest_url=url, total_timeout=0.5)
    assert away.exit_code == 1
    assert counts(away) == {}
    assert "can't be reached" in away.stderr
    assert "run it again" in away.stderr
    assert counts(own.run("import", "--json", path)) == {"saved": 1, "refused": 1}


def test_nothing_of_an_import_is_spooled(stack: Supabase, own: Own, tmp_path: Path) -> None:
    with psycopg.connect(own.sql.info.dsn, password=own.sql.info.password) as other:
        other.execute("LOCK TABLE vcons IN EXCLUSIVE MODE")
        path = str(write(tmp_path / "a.jsonl", small_vcon()))
        given: Json = {"redis_url": stack.redis_url, "read_timeout": 0.5, "total_timeout": 0.6}
        done = own.run("import", path, **given)
    assert done.exit_code == 1
    with SupabaseStorage(own.options | {"redis_url": stack.redis_url}) as storage:
        assert storage.spool is not None
        assert list(storage.spool.waiting()) == []


class Interrupted:
    """An import as a process, stopped in the middle of its first batch."""

    def __init__(self, own: Own, *arguments: str, interrupts: int = 1) -> None:
        waiting = (
            "SELECT count(*) FROM pg_locks WHERE relation = 'vcons'::regclass"
            " AND NOT granted AND mode = 'RowExclusiveLock'"
        )
        with ExitStack() as ends:
            with (
                psycopg.connect(own.sql.info.dsn, password=own.sql.info.password) as other,
                other.transaction(),
            ):
                other.execute("LOCK TABLE vcons IN EXCLUSIVE MODE")
                process = ends.enter_context(started(own.environment, "import", *arguments))
                while not database.value(own.sql, waiting):
                    assert process.poll() is None, process.communicate()
                    time.sleep(0.01)
                process.send_signal(signal.SIGINT)
                if interrupts > 1:
                    time.sleep(0.3)  # the first one is heard
                    process.send_signal(signal.SIGINT)
                    process.wait(timeout=20)
                else:
                    time.sleep(0.1)
            self.stdout, self.stderr = process.communicate(timeout=20)
            self.exit_code = process.returncode


def test_an_interrupt_lets_a_batch_end_and_the_next_run_goes_on(own: Own, tmp_path: Path) -> None:
    vcons = [small_vcon() for _ in range(COUNT + 50)]
    path = str(write(tmp_path / "a.jsonl", b"{", *vcons, b"}"))
    state, report = tmp_path / "state", tmp_path / "report"
    flags = ["--json", "--state", str(state), "--report", str(report)]
    stopped = Interrupted(own, path, *flags)
    assert stopped.exit_code == 130
    assert counts(stopped) == {"saved": COUNT - 1, "refused": 1}
    assert "ends after this batch" in stopped.stderr
    assert "interrupted; run it again with the same --state to go on from here" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert own.vcons() == COUNT - 1

    other = own.run("import", "--state", str(state), str(tmp_path))
    assert (other.exit_code, "something else" in other.stderr) == (1, True)

    done = own.run("import", path, *flags)
    assert done.exit_code == 1
    assert counts(done) == {"saved": COUNT + 50, "refused": 2}
    assert [line["name"] for line in lines(report)] == [f"{path}:1", f"{path}:{COUNT + 52}"]
    assert not state.exists()
    assert [own.storage.get(vcon["uuid"]) for vcon in vcons[::50]] == vcons[::50]


def test_without_a_state_the_next_run_skips_what_is_saved(own: Own, tmp_path: Path) -> None:
    vcons = [small_vcon() for _ in range(COUNT + 50)]
    for n, vcon in enumerate(vcons):
        write(tmp_path / f"{n % 7}/{n}.vcon", vcon)
    assert Interrupted(own, str(tmp_path)).exit_code == 130
    done = own.run("import", "--json", str(tmp_path))
    assert done.exit_code == 0
    assert counts(done) == {"saved": 50, "unchanged": COUNT}


def test_a_second_interrupt_ends_it_at_once(own: Own, tmp_path: Path) -> None:
    stopped = Interrupted(own, str(write(tmp_path / "a.vcon", small_vcon())), interrupts=2)
    assert stopped.exit_code == 130
    assert "run it again: what is saved is skipped" in stopped.stderr
    assert "Traceback" not in stopped.stderr


def test_a_state_in_a_folder_goes_on_after_the_last_file(own: Own, tmp_path: Path) -> None:
    vcons = [small_vcon() for _ in range(COUNT + 50)]
    for n, vcon in enumerate(vcons):
        write(tmp_path / f"calls/{n % 7}/{n}.vcon", vcon)
    write(tmp_path / "calls/0.json", vcons[0] | {"subject": "the folder 0 comes before it"})
    state = ["--state", str(tmp_path / "state")]
    assert Interrupted(own, str(tmp_path / "calls"), *state).exit_code == 130
    done = own.run("import", "--json", str(tmp_path / "calls"), *state)
    assert counts(done) == {"saved": COUNT + 51}


def config_with(own: Own, tmp_path: Path, **storages: Json) -> str:
    """Write a conserver's config with our storage and others."""
    ours = {"module": "conserver_supabase_storage", "options": own.options}
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump({"storages": {"supabase": ours, **storages}}), "utf-8")
    return str(path)


def test_the_file_storage_of_a_conserver(own: Own, tmp_path: Path) -> None:
    vcons = [small_vcon() for _ in range(2)]
    folder = tmp_path / "data"
    write(folder / f"2026/03/01/{vcons[0]['uuid']}.json", vcons[0])
    write(folder / f"{vcons[1]['uuid']}.json.gz", vcons[1])
    old = {"module": "storage.file", "options": {"path": str(folder), "compression": True}}
    mongo = {"module": "storage.mongo", "options": {}}
    config = config_with(own, tmp_path, old=old, mongo=mongo)
    done = own.run("import", "--json", "--config", config, "--from", "old")
    assert counts(done) == {"saved": 2}
    for wrong, says in [("mongo", "storage.mongo is none"), ("none", "has no storage 'none'")]:
        done = own.run("import", "--config", config, "--from", wrong)
        assert (done.exit_code, says in " ".join(done.stderr.split())) == (2, True), done.stderr


# The conserver's postgres storage makes its table so (its field types, as peewee creates them).
POSTGRES_STORAGE = b"""
CREATE TABLE "calls" (
  "id" UUID NOT NULL PRIMARY KEY, "vcon" TEXT NOT NULL, "uuid" UUID NOT NULL,
  "created_at" TIMESTAMP NOT NULL, "updated_at" TIMESTAMP, "subject" TEXT, "vcon_json" JSONB)
"""


def test_the_postgres_storage_of_a_conserver(stack: Supabase, own: Own, tmp_path: Path) -> None:
    vcons = [small_vcon() for _ in range(COUNT + 5)]
    digits = new_uuid()
    numbers = "[1.50,12345678901234567890.123456789]"
    exact = f'{{"uuid": "{digits}", "parties": [], "x": {numbers}}}'
    url = stack.create_database(f"old_{new_uuid().replace('-', '')}")
    with psycopg.connect(url, autocommit=True) as old:
        old.execute(POSTGRES_STORAGE)
        old.execute("CREATE TABLE vcons (id uuid)")
        with old.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO calls VALUES (%s, '0.4.0', %s, now(), now(), 'x', %s)",
                [
                    *((vcon["uuid"], vcon["uuid"], json.dumps(vcon)) for vcon in vcons),
                    (digits, digits, exact),
                    (new_uuid(), new_uuid(), None),
                ],
            )
        parts = psycopg.conninfo.conninfo_to_dict(url)
        [address] = old.execute("SELECT current_user").fetchone() or [""]
    report = tmp_path / "report"
    arguments = ["import", "--json", "--report", str(report)]
    done = own.run(*arguments, "--table", "calls", url)
    assert counts(done) == {"saved": len(vcons) + 1, "refused": 1}
    assert lines(report)[0]["error"] == "has no vcon_json"
    assert [own.storage.get(vcon["uuid"]) for vcon in vcons] == vcons
    [raw] = own.sql.execute(
        "SELECT as_written ->> 'x' FROM vcons WHERE uuid = %s", [digits]
    ).fetchone() or [""]
    assert raw == numbers

    options = {
        "database": parts["dbname"],
        "user": parts.get("user", address),
        "password": parts.get("password", ""),
        "host": parts["host"],
        "port": parts.get("port", 5432),
        "table_name": "calls",
    }
    old_storage = {"module": "storage.postgres", "options": options}
    config = config_with(own, tmp_path, old=old_storage)
    done = own.run(*arguments, "--config", config, "--from", "old")
    assert counts(done) == {"unchanged": len(vcons) + 1, "refused": 1}

    wrong = own.run("import", url)
    assert wrong.exit_code == 1
    assert "'vcons' is none of the conserver's postgres storage" in wrong.stderr
    away = own.run("import", "postgresql://someone:secret@127.0.0.1:1/x")
    assert (away.exit_code, "secret" in away.stderr) == (1, False)
    assert "the source's database" in away.stderr


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A real client of a real HTTP server that speaks S3."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # else a line per request
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "us", "aws_secret_access_key": "secret"}
    client = boto3.client(
        "s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1", **keys
    )
    yield client
    server.stop()


def put(s3: Any, bucket: str, vcon: Json, date: str, path: str = "") -> None:
    """Keep a vCon as the conserver's s3 storage does: its text, and the date where it is."""
    uuid = vcon["uuid"]
    s3.put_object(Bucket=bucket, Key=f"{path}{date}/{uuid}.vcon", Body=json.dumps(vcon))
    s3.put_object(Bucket=bucket, Key=f"{path}lookup/{uuid}.txt", Body=date.encode())


def test_the_s3_storage_of_a_conserver(
    own: Own, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vcons = [small_vcon() for _ in range(150)]
    moved = small_vcon(created_at="2026-01-05T00:00:00Z")
    s3.create_bucket(Bucket="calls")
    for n, vcon in enumerate(vcons):
        put(s3, "calls", vcon, f"2026/03/{n % 28 + 1:02}", "old/path/")
    put(s3, "calls", moved | {"subject": "older"}, "2026/03/01", "old/path/")
    put(s3, "calls", moved, "2026/01/05", "old/path/")
    before_lookups = small_vcon()
    key = f"old/path/2026/03/01/{before_lookups['uuid']}.vcon"
    s3.put_object(Bucket="calls", Key=key, Body=json.dumps(before_lookups))
    s3.put_object(Bucket="calls", Key="old/path/broken.vcon", Body=b"{")
    put(s3, "calls", small_vcon(), "2026/03/01", "old/path-of-another/")

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "us")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.meta.endpoint_url)
    report = tmp_path / "report"
    url = "s3://calls/old/path"
    done = own.run("import", "--json", "--report", str(report), url)
    assert counts(done) == {"saved": len(vcons) + 2, "outdated": 1, "refused": 1}, done.stderr
    assert lines(report)[0]["name"] == f"{url}/broken.vcon"
    every = [*vcons, moved, before_lookups]
    assert [own.storage.get(vcon["uuid"]) for vcon in every] == every
    missing = own.run("import", "s3://nothing-here")
    assert missing.exit_code == 1
    assert missing.stderr.endswith("error: s3://nothing-here: NoSuchBucket\n")

    monkeypatch.delenv("AWS_ENDPOINT_URL")
    options = {
        "aws_access_key_id": "us",
        "aws_secret_access_key": "secret",
        "endpoint_url": s3.meta.endpoint_url,
        "aws_bucket": "calls",
        "s3_path": "old/path",
    }
    config = config_with(own, tmp_path, old={"module": "storage.s3", "options": options})
    done = own.run("import", "--json", "--config", config, "--from", "old")
    assert counts(done) == {"unchanged": len(vcons) + 2, "outdated": 1, "refused": 1}
    config = config_with(own, tmp_path, old={"module": "storage.s3", "options": {}})
    done = own.run("import", "--config", config, "--from", "old")
    assert (done.exit_code, "has no option aws_" in done.stderr) == (2, True)


def test_a_bucket_is_gone_on_with_after_a_key(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from conserver_supabase_storage.transfer.s3 import Bucket

    s3.create_bucket(Bucket="more")
    vcons = [small_vcon() for _ in range(10)]
    for vcon in vcons:
        put(s3, "more", vcon, "2026/03/01")
    given = {"aws_access_key_id": "us", "aws_secret_access_key": "secret"}
    bucket = Bucket("more", "", given | {"endpoint_url": s3.meta.endpoint_url})
    found = list(bucket.read(None))
    assert len(found) == 10
    assert list(bucket.read((found[6].unit, 0))) == found[7:]


def test_a_synced_copy_of_a_bucket(own: Own, tmp_path: Path) -> None:
    vcon = small_vcon()
    write(tmp_path / f"b/2026/03/01/{vcon['uuid']}.vcon", vcon | {"subject": "older"})
    write(tmp_path / f"b/2026/01/05/{vcon['uuid']}.vcon", vcon)
    write(tmp_path / f"b/lookup/{vcon['uuid']}.txt", b"2026/01/05")
    done = own.run("import", "--json", str(tmp_path))
    assert counts(done) == {"saved": 1, "outdated": 1}
    assert own.storage.get(vcon["uuid"]) == vcon
