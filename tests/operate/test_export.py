"""The command `export`. Needs the local Supabase."""

import gzip
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.transfer.questions import COUNT, exactly

from ..home import Supabase
from ..integration.servers import closed_port
from ..vcons import DATA, Json, load, new_uuid, small_vcon, written_set
from .running import COMMAND, started
from .transfer import Own, own_database


@pytest.fixture(scope="module")
def own(stack: Supabase) -> Iterator[Own]:
    with own_database(stack) as made:
        yield made


@pytest.fixture(autouse=True)
def _empty(own: Own) -> None:
    own.sql.execute("DELETE FROM vcons")


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def counts(done: Any) -> Json:
    return {name: count for name, count in json.loads(done.stdout).items() if count}


def canonical(text: bytes) -> str:
    """Write JSON in one way: the members in their order by name, every number as it is."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(value[name]) for name in sorted(value)}
        if isinstance(value, list):
            return [plain(item) for item in value]
        return value if isinstance(value, str) or value is None else repr(value)

    return json.dumps(plain(exactly(text)))


NUMBERS = b"[1.50, 12345678901234567890.123456789, 1e16, -0.0, 0.1, 1e-7, %d]" % 10**40


def test_what_was_imported_comes_out_again_to_the_digit(own: Own, tmp_path: Path) -> None:
    uuid = new_uuid()
    text = b'{"uuid": "%b", "parties": [{"x": %b}], "analysis": [{"body": {"y": %b}}]}'
    imported = {uuid: text % (uuid.encode(), NUMBERS, NUMBERS)}
    (tmp_path / "numbers.vcon").write_bytes(imported[uuid])
    done = own.run("import", str(tmp_path / "numbers.vcon"), str(DATA))
    assert done.exit_code == 0, done.output
    for path in written_set():
        vcon = load(path)
        imported[_uuid(vcon)] = path.read_bytes()
    out = tmp_path / "out"
    assert counts(own.run("export", "--json", "--to", str(out))) == {"written": len(imported)}
    written = {path.stem: path.read_bytes() for path in out.rglob("*.vcon")}
    assert set(written) == set(imported)
    for name, exported in written.items():
        assert canonical(exported) == canonical(imported[name])

    own.sql.execute("DELETE FROM vcons")
    assert own.run("import", str(out)).exit_code == 0
    again = tmp_path / "again.jsonl.gz"
    assert own.run("export", "--to", str(again)).exit_code == 0
    lines = gzip.decompress(again.read_bytes()).splitlines()
    assert sorted(map(canonical, lines)) == sorted(map(canonical, imported.values()))
    assert b"12345678901234567890.123456789" in b"".join(lines)
    assert b"1.50" in b"".join(lines)


def _uuid(vcon: Json) -> str:
    for text in (vcon, *(s["header"] for s in vcon.get("signatures", ())), vcon.get("unprotected")):
        if text and "uuid" in text:
            return str(text["uuid"]).lower()
    raise AssertionError(vcon)


def test_the_layouts(own: Own, tmp_path: Path) -> None:
    # The date is the one that is written, not that of UTC.
    dated = small_vcon(created_at="2026-03-01T00:30:00+05:00")
    undated = {"uuid": new_uuid(), "parties": [], "created_at": "yesterday"}
    own.storage.save_many([dated, undated])
    day, root = f"2026/03/01/{dated['uuid']}", undated["uuid"]
    expected = {
        "by-date": [f"{day}.vcon", f"{root}.vcon"],
        "flat": [f"{dated['uuid']}.vcon", f"{root}.vcon"],
        "file": [f"{day}.json", f"{root}.json"],
        "s3": [
            f"{day}.vcon",
            f"{root}.vcon",
            f"lookup/{dated['uuid']}.txt",
            f"lookup/{undated['uuid']}.txt",
        ],
    }
    for layout, paths in expected.items():
        folder = tmp_path / layout
        assert own.run("export", "--to", str(folder), "--layout", layout).exit_code == 0
        assert files(folder) == sorted(paths)
    assert (tmp_path / f"s3/lookup/{dated['uuid']}.txt").read_text() == "2026/03/01"
    assert load(tmp_path / f"file/{day}.json") == dated

    packed = tmp_path / "packed"
    own.run("export", "--to", str(packed), "--layout", "file", "--gzip")
    assert json.loads(gzip.decompress((packed / f"{day}.json.gz").read_bytes())) == dated
    again = own.run("import", "--json", *(str(tmp_path / layout) for layout in expected))
    assert {name: n for name, n in json.loads(again.stdout).items() if n} == {"unchanged": 8}


def test_criteria(own: Own, tmp_path: Path) -> None:
    found = [small_vcon(subject=f"Order {n} " + "of tea" * (n % 2)) for n in range(2 * COUNT + 10)]
    own.storage.save_many(found)
    path = tmp_path / "tea.jsonl"
    done = own.run("export", "--json", "--to", str(path), "--subject", "of tea")
    assert counts(done) == {"written": COUNT + 5}
    written = [json.loads(line) for line in path.read_bytes().splitlines()]
    tea = [vcon for vcon in found if vcon["subject"].endswith("of tea")]
    assert sorted(written, key=_uuid) == sorted(tea, key=_uuid)
    done = own.run("export", "--to", "-", "--uuid", found[3]["uuid"])
    assert json.loads(done.stdout) == found[3]
    assert done.stderr.endswith("1 written, 0 skipped, 0 gone\n")
    nothing = own.run("export", "--json", "--to", str(path), "--tag", "queue:other")
    assert (nothing.exit_code, counts(nothing), path.read_bytes()) == (0, {}, b"")


def test_a_tenants_own(own: Own, tmp_path: Path) -> None:
    theirs, ours = small_vcon(), small_vcon()
    for tenant, vcon in [("theirs", theirs), ("ours", ours)]:
        with SupabaseStorage(own.options | {"tenant": tenant}) as storage:
            storage.save(vcon)
    assert own.run("export", "--to", str(tmp_path / "t"), "-otenant=ours").exit_code == 0
    assert [path.stem for path in (tmp_path / "t").rglob("*.vcon")] == [ours["uuid"]]
    assert own.run("export", "--to", str(tmp_path / "q"), "--tenant", "theirs").exit_code == 0
    assert [path.stem for path in (tmp_path / "q").rglob("*.vcon")] == [theirs["uuid"]]


def test_all_are_also_those_that_search_does_not_know_yet(own: Own, tmp_path: Path) -> None:
    vcon = small_vcon()
    own.storage.save(vcon)
    own.sql.execute("DELETE FROM vcon_search")
    own.sql.execute("DELETE FROM vcon_search_pending")
    own.sql.execute("UPDATE vcon_search_state SET complete = false, walked_to = NULL")
    try:
        done = own.run("export", "--to", str(tmp_path))
        assert (done.exit_code, done.stdout) == (0, "1 written, 0 skipped, 0 gone\n")
        done = own.run("export", "--to", str(tmp_path), "--dialog-type", "text")
        assert (done.exit_code, "run `backfill`" in done.stderr) == (1, True)
    finally:
        while not own.storage.index(100)["complete"]:
            pass


def test_large_vcons_come_in_several_answers(own: Own, tmp_path: Path) -> None:
    vcons = [
        small_vcon(dialog=[{"type": "recording", "body": "x" * 6_000_000, "encoding": "none"}])
        for _ in range(4)
    ]
    own.storage.save_many(vcons)
    done = own.run("export", "--json", "--to", str(tmp_path), "--layout", "flat")
    assert counts(done) == {"written": 4}
    assert all(load(tmp_path / f"{vcon['uuid']}.vcon") == vcon for vcon in vcons)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--to", "-", "--json"],
        ["--to", "x.jsonl", "--skip-existing"],
        ["--to", "x.jsonl", "--gzip"],
        ["--to", "x", "--start-date", "soon"],
        ["--to", "x", "--layout", "none"],
    ],
)
def test_wrong_usage(own: Own, arguments: list[str]) -> None:
    assert own.run("export", *arguments).exit_code == 2


def test_supabase_away(own: Own, tmp_path: Path) -> None:
    with closed_port() as url:
        done = own.run("export", "--to", str(tmp_path / "a"), rest_url=url, total_timeout=0.5)
    assert done.exit_code == 1
    assert "run it again; --skip-existing goes on" in done.stderr


def test_a_reader_that_goes_away_is_no_traceback(own: Own) -> None:
    own.storage.save_many([small_vcon() for _ in range(100)])
    done = subprocess.run(
        ["bash", "-c", f"{' '.join([*COMMAND, 'export', '--to', '-'])} | head -n 1"],
        env={**os.environ, **own.environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["vcon"] == "0.4.0"
    assert "Traceback" not in done.stderr


def interrupted(own: Own, *arguments: str, until: Path) -> tuple[int, str]:
    """Run an export as a process, and interrupt it when there are files."""
    with started(own.environment, "export", *arguments) as process:
        while not any(path.is_file() for path in until.rglob("*")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
    return process.returncode, stderr


def test_an_interrupt_leaves_whole_files_and_the_next_run_goes_on(own: Own, tmp_path: Path) -> None:
    vcons = [small_vcon() for _ in range(5 * COUNT)]
    own.storage.save_many(vcons)
    out = tmp_path / "out"
    out.mkdir()
    exit_code, stderr = interrupted(own, "--to", str(out), until=out)
    assert exit_code == 130
    assert "interrupted; run it again; --skip-existing goes on" in stderr
    assert "Traceback" not in stderr
    there = files(out)
    assert 0 < len(there) < len(vcons)
    assert all(path.endswith(".vcon") and "/." not in path for path in there)
    before = (out / there[0]).stat().st_mtime_ns
    done = own.run("export", "--json", "--to", str(out), "--skip-existing")
    assert counts(done) == {"skipped": len(there), "written": len(vcons) - len(there)}
    assert (out / there[0]).stat().st_mtime_ns == before
    assert sorted((load(out / path) for path in files(out)), key=_uuid) == sorted(vcons, key=_uuid)


def test_an_interrupt_leaves_no_half_file_of_lines(own: Own, tmp_path: Path) -> None:
    own.storage.save_many([small_vcon() for _ in range(5 * COUNT)])
    folder = tmp_path / "new"
    folder.mkdir()
    exit_code, stderr = interrupted(own, "--to", str(folder / "all.jsonl"), until=folder)
    assert exit_code == 130
    assert "it begins anew" in stderr
    assert files(folder) == []


def test_a_file_is_as_readable_as_others(own: Own, tmp_path: Path) -> None:
    own.storage.save(small_vcon())
    own.run("export", "--to", str(tmp_path / "out"))
    [path] = (tmp_path / "out").rglob("*.vcon")
    other = tmp_path / "other"
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode
