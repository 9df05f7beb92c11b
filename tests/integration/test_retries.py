"""What is tried again, how often, and when it ends. Scripted servers on real sockets."""

import time
from typing import Any

import pytest

from conserver_supabase_storage import RefusedError, SupabaseStorage, UnavailableError

from ..vcons import Json, new_uuid, small_vcon
from .servers import (
    NOTHING,
    SAVED,
    STATE,
    Script,
    ScriptedServer,
    answer,
    hang_up,
    silence,
    slow_reader,
    trickle,
)

# For a machine that is busy with other things.
MARGIN = 2.5


def storage_at(site: ScriptedServer, **more: Any) -> SupabaseStorage:
    return SupabaseStorage({"rest_url": site.url, "key": "key", "redis_url": None, **more})


@pytest.mark.parametrize("status", [429, 502, 503, 504, 520])
def test_what_can_pass_is_tried_again(status: int) -> None:
    with ScriptedServer(answer(status), answer(status, "<html>"), SAVED) as site:
        with storage_at(site) as storage:
            storage.save(small_vcon())
        assert site.requests == 3


def test_a_connection_that_breaks_is_tried_again() -> None:
    with ScriptedServer(hang_up, hang_up, NOTHING) as site:
        with storage_at(site) as storage:
            assert storage.get(new_uuid()) is None
        assert site.requests == 3


def test_a_silent_server_is_tried_again_while_there_is_time() -> None:
    with ScriptedServer(silence, NOTHING) as site:
        with storage_at(site, read_timeout=0.2) as storage:
            assert storage.get(new_uuid()) is None
        assert site.requests == 2


def test_an_idle_connection_that_the_server_closed_is_no_failure() -> None:
    with ScriptedServer(answer(200, f'{{{STATE}, "rows" : null}}', connection="close")) as site:
        with storage_at(site, total_timeout=1) as storage:
            for _ in range(3):
                assert storage.get(new_uuid()) is None
        assert site.requests == 3


def test_it_waits_as_long_as_the_server_asks() -> None:
    with ScriptedServer(answer(429, retry_after="1"), NOTHING) as site:
        with storage_at(site) as storage:
            assert storage.get(new_uuid()) is None
        first, second = site.times
    assert second - first >= 1


@pytest.mark.parametrize("asked", ["30", "Wed, 21 Oct 2099 07:28:00 GMT", "-1", "soon", "9" * 30])
def test_no_wish_of_the_server_outlasts_the_deadline(asked: str) -> None:
    with (
        ScriptedServer(answer(503, retry_after=asked)) as site,
        storage_at(site, total_timeout=0.5) as storage,
    ):
        before = time.monotonic()
        with pytest.raises(UnavailableError, match="HTTP 503"):
            storage.get(new_uuid())
        assert time.monotonic() - before < 0.5 + MARGIN


@pytest.mark.parametrize("status", [400, 404, 409])
def test_a_client_error_is_never_tried_again(status: int) -> None:
    with ScriptedServer(answer(status), NOTHING) as site:
        with storage_at(site) as storage, pytest.raises(RefusedError):
            storage.get(new_uuid())
        assert site.requests == 1


def test_a_refusal_after_a_passing_error_ends_it() -> None:
    with ScriptedServer(answer(503), answer(400), NOTHING) as site:
        with storage_at(site) as storage, pytest.raises(RefusedError):
            storage.get(new_uuid())
        assert site.requests == 2


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(silence, id="silent"),
        pytest.param(hang_up, id="hangs up"),
        pytest.param(answer(503), id="always busy"),
        pytest.param(trickle(HEAD + b"\r\n", b" "), id="trickles the body"),
        pytest.param(trickle(HEAD, b"X-More: x\r\n"), id="trickles header lines"),
        pytest.param(trickle(HEAD + b"X-Long: ", b"x"), id="trickles one header"),
        pytest.param(
            trickle(HEAD.replace(b"200 OK", b"400 No") + b"\r\n", b" "), id="trickles an error"
        ),
    ],
)
@pytest.mark.parametrize("operation", ["get", "save"])
def test_no_server_holds_an_operation_past_its_deadline(script: Script, operation: str) -> None:
    document: Json = small_vcon()
    with ScriptedServer(script) as site, storage_at(site, total_timeout=1) as storage:
        before = time.monotonic()
        with pytest.raises(UnavailableError) as found:
            storage.save(document) if operation == "save" else storage.get(document["uuid"])
        assert time.monotonic() - before < 1 + MARGIN
    assert site.url in str(found.value)
    assert " times in " in str(found.value)


def test_no_server_that_reads_slowly_holds_a_save_past_its_deadline() -> None:
    document = small_vcon()
    document["dialog"][0]["body"] = "x" * 20_000_000
    with (
        ScriptedServer(slow_reader, read_requests=False) as site,
        storage_at(site, total_timeout=1) as storage,
    ):
        before = time.monotonic()
        with pytest.raises(UnavailableError):
            storage.save(document)
        assert time.monotonic() - before < 1 + MARGIN
