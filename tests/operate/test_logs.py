"""What is logged: one line for what matters, with fields, and no content.

Needs the local Supabase.
"""

import logging
import re
from typing import Any

import pytest

import conserver_supabase_storage as module
from conserver_supabase_storage import (
    InvalidVconError,
    RefusedError,
    SupabaseStorage,
    UnavailableError,
    VconNotFoundError,
)
from conserver_supabase_storage.registry import registry

from ..home import Supabase
from ..integration.servers import ScriptedServer, answer, closed_port
from ..spool.support import ROOT, away, eventually, spooled
from ..vcons import Json, new_uuid, small_vcon

PACKAGE = "conserver_supabase_storage"

# What a log record has by itself, and what handlers add.
OWN = {*vars(logging.makeLogRecord({})), "message", "asctime"}

FIELDS = {
    *("operation", "outcome", "uuid", "duration", "attempt"),
    *("vcons", "failed", "replayed", "waiting"),
}


@pytest.fixture
def cached(options: Json, stack: Supabase) -> Json:
    own = {"cache_prefix": f"test-{new_uuid()}:", "total_timeout": 1.0}
    return options | {"redis_url": stack.redis_url} | own


@pytest.fixture(autouse=True)
def _everything_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "httpx")


def lines(caplog: pytest.LogCaptureFixture, above: int = logging.DEBUG) -> list[Any]:
    """The records above a level, of whatever logger."""
    return [record for record in caplog.records if record.levelno > above]


def ours(caplog: pytest.LogCaptureFixture, operation: str) -> list[tuple[str, str, str]]:
    """For each line about an operation: (level, outcome, uuid)."""
    return [
        (record.levelname, record.outcome, getattr(record, "uuid", ""))
        for record in lines(caplog)
        if getattr(record, "operation", "") == operation
    ]


def fields(record: logging.LogRecord) -> Json:
    return {name: value for name, value in vars(record).items() if name not in OWN}


def test_on_the_happy_path_nothing_is_logged_above_debug(
    caplog: pytest.LogCaptureFixture, cached: Json
) -> None:
    document = small_vcon()
    with SupabaseStorage(cached) as storage:
        storage.save(document)
        storage.save_many([document, small_vcon()])
        for _ in range(2):
            assert storage.get(document["uuid"]) is not None
        assert storage.get(new_uuid()) is None
        storage.search({"uuid": document["uuid"]})
        storage.replay()
        assert storage.delete(document["uuid"])
        assert not storage.delete(document["uuid"])
    assert lines(caplog) == []
    told = [fields(record) for record in caplog.records if record.name == f"{PACKAGE}.storage"]
    assert [(each["operation"], each["outcome"]) for each in told] == [
        ("save", "ok"),
        ("save_many", "ok"),
        ("get", "ok"),
        ("get", "ok"),
        ("get", "not_found"),
        ("search", "ok"),
        ("replay", "ok"),
        ("delete", "ok"),
        ("delete", "not_found"),
    ]
    assert told[0].keys() == {"operation", "outcome", "uuid", "duration", "attempt"}
    assert told[0]["uuid"] == document["uuid"]
    assert told[0]["attempt"] == 1
    assert 0 < told[0]["duration"] < 10
    assert told[1] | {"duration": 0, "operation": ""} == {
        "operation": "",
        "outcome": "ok",
        "duration": 0,
        "attempt": 1,
        "vcons": 2,
        "failed": 0,
    }


def test_an_outage_of_supabase_with_a_spool(
    caplog: pytest.LogCaptureFixture, cached: Json, stack: Supabase
) -> None:
    saved, new, many = small_vcon(), small_vcon(), [small_vcon(), small_vcon()]
    with SupabaseStorage(cached) as storage:
        with away(stack):
            storage.save(new)
            storage.save_many(many)
            with pytest.raises(UnavailableError):
                storage.get(saved["uuid"])
            with pytest.raises(UnavailableError):
                storage.delete(saved["uuid"])
            with pytest.raises(UnavailableError):
                storage.replay()
        assert eventually(lambda: storage.replay()["waiting"] == 0)
    assert ours(caplog, "save") == [("WARNING", "spooled", new["uuid"])]
    assert ours(caplog, "save_many") == [("WARNING", "spooled", each["uuid"]) for each in many]
    assert ours(caplog, "get") == [("WARNING", "unavailable", saved["uuid"])]
    assert ours(caplog, "delete") == [("ERROR", "unavailable", saved["uuid"])]
    replays = ours(caplog, "replay")
    assert replays[0] == ("WARNING", "unavailable", "")
    assert replays[-1] == ("INFO", "ok", "")
    assert len([record for record in lines(caplog) if not fields(record)]) == 0
    [first, *_] = [record for record in lines(caplog) if record.outcome == "spooled"]
    assert first.duration > 0
    assert first.attempt >= 1


def test_saves_that_are_lost_are_errors(
    caplog: pytest.LogCaptureFixture, options: Json, stack: Supabase
) -> None:
    away_uuid, gone = small_vcon(), new_uuid()
    with SupabaseStorage(options | {"total_timeout": 0.3}) as storage:
        with away(stack), pytest.raises(UnavailableError):
            storage.save(away_uuid)
        with pytest.raises(InvalidVconError):
            storage.save(small_vcon(subject="\0"))
        storage.save_many([{}, small_vcon(), {}])
    with pytest.raises(VconNotFoundError):
        module.save(gone, options | {"redis_url": stack.redis_url})
    registry.close()
    assert ours(caplog, "save") == [
        ("ERROR", "unavailable", away_uuid["uuid"]),
        ("ERROR", "invalid", ""),
        ("ERROR", "not_found", gone),
    ]
    assert ours(caplog, "save_many") == [("ERROR", "invalid", "")]
    [many] = [record for record in lines(caplog) if record.operation == "save_many"]
    assert (many.vcons, many.failed) == (3, 2)


def test_what_the_caller_asked_wrongly_is_for_the_caller(
    caplog: pytest.LogCaptureFixture, options: Json
) -> None:
    with SupabaseStorage(options) as storage:
        with pytest.raises(InvalidVconError):
            storage.get("no uuid")
        with pytest.raises(ValueError, match="nothing"):
            storage.search({"nothing": 1})
    assert lines(caplog) == []


def test_redis_that_goes_and_comes_back_is_said_once_each(
    caplog: pytest.LogCaptureFixture, cached: Json, stack: Supabase
) -> None:
    with SupabaseStorage(cached) as storage:
        storage.get(new_uuid())
        stack.stop_service("redis")
        try:
            for _ in range(3):
                storage.get(new_uuid())
        finally:
            stack.start_service("redis")
        assert eventually(lambda: len(lines(caplog)) >= 2)
        storage.get(new_uuid())
    assert [(record.levelname, record.getMessage()) for record in lines(caplog)] == [
        ("WARNING", "cache: Redis fails (ConnectionError), going on without it"),
        ("INFO", "cache: Redis is back"),
    ]


def test_the_redis_of_a_spool_is_named(caplog: pytest.LogCaptureFixture, cached: Json) -> None:
    with closed_port() as url:
        spool_url = url.replace("http", "redis")
        with SupabaseStorage(cached | {"spool_url": spool_url}) as storage:
            storage.save(small_vcon())
    [line] = lines(caplog)
    assert line.getMessage().startswith("spool: Redis fails")


def test_no_line_has_content_a_key_or_a_password(
    caplog: pytest.LogCaptureFixture, cached: Json, stack: Supabase
) -> None:
    """Under every error that there is a line for, with all fields and at every level."""
    content, password = "Ada said nothing", "PASSWORD"
    document = small_vcon(subject=content)
    document["dialog"][1]["body"] = content
    refusing = answer(400, f'{{"code": "23514", "message": "{content}", "details": "{content}"}}')
    with closed_port() as url, ScriptedServer(refusing) as site:
        redis_away = url.replace("http://", f"redis://:{password}@")
        wrong: list[Json] = [
            {"rest_url": site.url},
            {"rest_url": url},
            {"redis_url": redis_away},
            {"redis_url": redis_away, "rest_url": url},
            {"key": "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl"},
        ]
        for options in wrong:
            with SupabaseStorage(cached | {"total_timeout": 0.3} | options) as storage:
                for operation in (
                    lambda: storage.save(document),
                    lambda: storage.save(document | {"parties": content}),
                    lambda: storage.save_many([document, {}]),
                    lambda: storage.get(document["uuid"]),
                    lambda: storage.search({"text": content}),
                    lambda: storage.delete(document["uuid"]),
                ):
                    try:
                        operation()
                    except module.StorageError:
                        continue
        with SupabaseStorage(cached | {"rest_url": site.url}) as storage:
            spooled(storage, document)
            storage.replay()
    told = [f"{record.getMessage()} {vars(record)}" for record in caplog.records]
    assert {getattr(record, "outcome", "") for record in lines(caplog)} >= {
        "refused",
        "unavailable",
        "invalid",
        "spooled",
    }
    for line in told:
        for secret in (content, password, cached["key"], "c2lnbmF0dXJl"):
            assert secret not in line
    assert any("set aside" in line for line in told)


def test_fields_have_no_name_that_a_record_has_already(
    caplog: pytest.LogCaptureFixture, cached: Json
) -> None:
    with SupabaseStorage(cached) as storage, closed_port() as url:
        storage.save(small_vcon())
        spooled(storage, small_vcon())
        storage.replay()
        storage.save_many([small_vcon()])
        with SupabaseStorage(cached | {"rest_url": url, "total_timeout": 0.3}) as without:
            without.save(small_vcon())
    found = {
        name
        for record in caplog.records
        if record.name.startswith(PACKAGE)
        for name in fields(record)
    }
    assert found == FIELDS
    assert not FIELDS & OWN
    page = (ROOT / "docs" / "telemetry.md").read_text("utf-8").partition("\n## Logs\n")[2]
    rows = "".join(line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(\w+)`", rows)) == FIELDS


def test_a_refusal_names_its_vcon_and_needs_a_person(
    caplog: pytest.LogCaptureFixture, options: Json
) -> None:
    document = small_vcon()
    with (
        SupabaseStorage(options | {"key": "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl"}) as storage,
        pytest.raises(RefusedError) as raised,
    ):
        storage.save(document)
    [line] = lines(caplog)
    assert (line.levelname, line.outcome, line.uuid) == ("ERROR", "refused", document["uuid"])
    assert line.getMessage() == f"save {document['uuid']}: refused: {raised.value}"
