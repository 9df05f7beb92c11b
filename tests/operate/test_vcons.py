"""The commands for a person at a terminal: get, search, delete."""

import json
import signal
import time
from decimal import Decimal
from typing import Any

import pytest

from conserver_supabase_storage import SupabaseStorage

from ..vcons import Json, new_uuid, small_vcon
from .running import Environment, on_terminal, run, started


def saved(storage: SupabaseStorage, **members: Any) -> Json:
    vcon = small_vcon(**members)
    storage.save(vcon)
    return vcon


# get


def test_get_one(storage: SupabaseStorage, environment: Environment) -> None:
    vcon = saved(storage)
    done = run(environment, "get", vcon["uuid"].upper())
    assert (done.returncode, done.stderr) == (0, "")
    [line] = done.stdout.splitlines()
    assert json.loads(line) == vcon
    assert ", " not in line.partition("parties")[0]  # as small as it can be


def test_get_one_on_a_terminal(storage: SupabaseStorage, environment: Environment) -> None:
    vcon = saved(storage, subject="a\x9b31mb")  # would change the colour
    with on_terminal(environment, "get", vcon["uuid"]) as terminal:
        assert terminal.end() == 0
    assert json.loads(terminal.shown) == vcon
    assert '\n  "subject": "a\\u009b31mb",\n' in terminal.shown


def test_get_keeps_every_digit(storage: SupabaseStorage, environment: Environment) -> None:
    text = '{"x": 1.000000000000000000010, "n": 12345678901234567890123}'
    vcon = json.dumps(small_vcon(uuid := new_uuid())).replace('"dialog"', f'"y": {text}, "dialog"')
    storage.save(vcon)
    shown = run(environment, "get", uuid).stdout
    assert "1.000000000000000000010" in shown
    found = json.loads(shown, parse_float=Decimal)
    assert found == json.loads(vcon, parse_float=Decimal)
    assert found["y"]["n"] == 12345678901234567890123
    with on_terminal(environment, "get", uuid) as terminal:
        assert terminal.end() == 0
    assert json.loads(terminal.shown, parse_float=Decimal) == found


def test_get_many(storage: SupabaseStorage, environment: Environment) -> None:
    first, second = saved(storage), saved(storage)
    away = new_uuid()
    done = run(environment, "get", second["uuid"], away, first["uuid"], second["uuid"])
    assert done.returncode == 1
    assert [json.loads(line) for line in done.stdout.splitlines()] == [second, first]
    assert done.stderr == f"error: there is no vCon {away}\n"
    as_json = run(environment, "get", first["uuid"], second["uuid"], "--json")
    assert (as_json.returncode, json.loads(as_json.stdout)) == (0, [first, second])
    none = run(environment, "get", away, "--json")
    assert (none.returncode, json.loads(none.stdout)) == (1, [])


@pytest.mark.parametrize("name", ["get", "delete"])
def test_what_is_no_uuid_is_wrong_usage(environment: Environment, name: str) -> None:
    done = run(environment, name, new_uuid(), "4711")
    assert (done.returncode, done.stdout) == (2, "")
    assert "4711" in done.stderr
    assert run(environment, name).returncode == 2


def test_supabase_away_is_no_vcon_that_is_not_there(environment: Environment) -> None:
    away = environment | {"SUPABASE_REST_URL": "http://127.0.0.1:1"}
    done = run(away, "get", new_uuid(), "-o", "total_timeout=0.5", "-o", "redis_url=")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: Supabase at http://127.0.0.1:1")


# delete


def test_delete(storage: SupabaseStorage, environment: Environment) -> None:
    first, second = saved(storage)["uuid"], saved(storage)["uuid"]
    away = new_uuid()
    done = run(environment, "delete", "--yes", first)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{first} deleted\n", "")
    done = run(environment, "delete", "--yes", away, second, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout) == [
        {"uuid": away, "deleted": False},
        {"uuid": second, "deleted": True},
    ]
    assert storage.get(first) is storage.get(second) is None


def test_delete_asks_on_a_terminal(storage: SupabaseStorage, environment: Environment) -> None:
    uuid = saved(storage)["uuid"]
    for answer, code in (("n", 1), ("", 1), ("\x04", 130)):
        with on_terminal(environment, "delete", uuid) as terminal:
            terminal.until("Delete this vCon for good? [y/N]")
            terminal.type(answer + ("" if answer == "\x04" else "\n"))
            assert terminal.end() == code
        assert "nothing was deleted" in terminal.shown
    with on_terminal(environment, "delete", uuid, new_uuid()) as terminal:
        terminal.until("Delete these 2 vCons")
        time.sleep(1)  # Python hears an interrupt between the question and its read only afterwards
        terminal.interrupt()
        assert terminal.end() == 130
    assert "interrupted; nothing was deleted" in terminal.shown
    assert storage.get(uuid) is not None
    with on_terminal(environment, "delete", uuid) as terminal:
        terminal.until("[y/N]")
        terminal.type("y\n")
        assert terminal.end() == 0
    assert f"{uuid} deleted" in terminal.shown
    assert storage.get(uuid) is None


def test_delete_wants_yes_where_nobody_answers(
    storage: SupabaseStorage, environment: Environment
) -> None:
    uuid = saved(storage)["uuid"]
    done = run(environment, "delete", uuid, stdin="y\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--yes" in done.stderr
    assert storage.get(uuid) is not None


# search


@pytest.fixture
def found(storage: SupabaseStorage) -> list[Json]:
    """Three that no other test finds, the newest first."""
    word = f"w{new_uuid().replace('-', '')}"
    return [
        saved(storage, subject=f"{word} {n}\t\x1b[31m", created_at=f"2026-03-0{9 - n}T10:00:00Z")
        for n in range(3)
    ]


def word_of(found: list[Json]) -> str:
    return str(found[0]["subject"]).split()[0]


def test_search_in_a_pipe(found: list[Json], environment: Environment) -> None:
    done = run(environment, "search", "--text", word_of(found), "--limit", "2")
    assert done.returncode == 0
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[:2] for row in rows] == [
        [found[0]["uuid"], "2026-03-09T10:00:00+00:00"],
        [found[1]["uuid"], "2026-03-08T10:00:00+00:00"],
    ]
    assert rows[0][2:4] == [f"{word_of(found)} 0 \ufffd[31m", "Ada Example, Ben Example"]
    assert word_of(found) in rows[0][4]
    assert "<mark>" not in done.stdout
    assert done.stderr.startswith("2 of 3; the next page: --cursor ")
    cursor = done.stderr.split()[-1]
    rest = run(environment, "search", "--text", word_of(found), "--cursor", cursor)
    assert [line.split("\t")[0] for line in rest.stdout.splitlines()] == [found[2]["uuid"]]
    assert rest.stderr == "1 of 3\n"


def test_search_as_json(found: list[Json], environment: Environment) -> None:
    text = ("--text", word_of(found), "--limit", "2", "--json")
    page = json.loads(run(environment, "search", *text).stdout)
    assert [hit["uuid"] for hit in page["hits"]] == [vcon["uuid"] for vcon in found[:2]]
    assert page["hits"][0]["subject"] == found[0]["subject"]
    assert page["hits"][0]["names"] == ["Ada Example", "Ben Example"]
    assert f"<mark>{word_of(found)}</mark>" in page["hits"][0]["snippet"]
    assert (page["total"], page["total_is_exact"], page["complete"]) == (3, True, True)
    rest = json.loads(run(environment, "search", *text, "--cursor", page["cursor"]).stdout)
    assert ([hit["uuid"] for hit in rest["hits"]], rest["cursor"]) == ([found[2]["uuid"]], None)


def test_search_all_pages(found: list[Json], environment: Environment) -> None:
    text = ("--text", word_of(found), "--limit", "1", "--all", "--order", "oldest")
    done = run(environment, "search", *text, "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["uuid"] for line in lines] == [vcon["uuid"] for vcon in reversed(found)]
    done = run(environment, "search", *text)
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [
        line["uuid"] for line in lines
    ]
    assert done.stderr.startswith("search: 3 of 3, ")


def test_search_on_a_terminal(found: list[Json], environment: Environment) -> None:
    wide = environment | {"COLUMNS": "250"}
    with on_terminal(wide, "search", "--text", word_of(found), "--limit", "2") as terminal:
        assert terminal.end() == 0
    assert "\x1b[31m" not in terminal.shown  # the subject's
    head, first, *_ = terminal.shown.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    assert head.split() == ["uuid", "created", "subject", "parties", "snippet"]
    assert first.startswith(f"{found[0]['uuid']}  2026-03-09 10:00:00  {word_of(found)} 0 ")
    assert "Ada Example, Ben Example" in first
    assert "the next page: --cursor " in terminal.shown


def test_search_that_cannot_be(environment: Environment) -> None:
    for wrong in (
        ["--start-date", "soon"],
        ["--limit", "0"],
        ["--order", "up"],
        ["--order", "rank"],
    ):
        done = run(environment, "search", *wrong)
        assert (done.returncode, done.stdout) == (2, ""), wrong
    cursor = run(environment, "search", "--cursor", "AAAA")
    assert (cursor.returncode, cursor.stdout) == (1, "")
    assert cursor.stderr.startswith("error: ")


def test_a_search_that_is_interrupted_says_where_to_go_on(
    storage: SupabaseStorage, environment: Environment
) -> None:
    subject = new_uuid()
    uuids = {saved(storage, subject=subject)["uuid"] for _ in range(60)}
    text = ("search", "--subject", subject, "--limit", "1", "--all")
    with started(environment, *text) as process:
        assert process.stdout
        seen = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        more, said = process.communicate(timeout=30)
    assert process.returncode == 130
    last = said.splitlines()[-1]
    assert last.startswith("interrupted; to go on: --cursor ")
    rest = run(environment, *text, "--cursor", last.split()[-1]).stdout
    lines = [*seen, *more.splitlines(), *rest.splitlines()]
    assert {line.split("\t")[0] for line in lines} == uuids
