"""The gateway before PostgREST, as on Supabase: the key's check, and the path /rest/v1."""

import time
from collections.abc import Iterator

import httpx
import pytest

from conserver_supabase_storage import SupabaseStorage

from ..home import Supabase
from ..vcons import assert_same, small_vcon

NEVER_SAVED = "vcons?uuid=eq.00000000-0000-4000-8000-000000000000&select=uuid"


@pytest.fixture
def http(stack: Supabase) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=10) as client:
        yield client


def test_without_a_key(http: httpx.Client) -> None:
    response = http.get(f"/rest/v1/{NEVER_SAVED}")
    assert response.status_code == 401
    assert response.json()["message"] == "No API key found in request"


@pytest.mark.parametrize("key", ["nonsense", "a.b.c"])
def test_with_a_wrong_key(http: httpx.Client, key: str) -> None:
    response = http.get(f"/rest/v1/{NEVER_SAVED}", headers={"apikey": key})
    assert response.status_code == 401
    assert response.json()["message"] == "Invalid API key"


def test_the_key_is_the_authorization_where_there_is_no_other(
    stack: Supabase, http: httpx.Client
) -> None:
    ours = {"apikey": stack.service_role_key}
    anyones = {"apikey": stack.anon_key}
    assert http.get(f"/rest/v1/{NEVER_SAVED}", headers=ours).json() == []
    assert http.get(f"/rest/v1/{NEVER_SAVED}", headers=anyones).status_code == 401
    both = anyones | {"Authorization": f"Bearer {stack.service_role_key}"}
    assert http.get(f"/rest/v1/{NEVER_SAVED}", headers=both).json() == []


@pytest.mark.parametrize("query", ["apikey={key}&select=uuid", "select=uuid&apikey={key}"])
def test_the_key_as_a_parameter_is_not_passed_on(
    stack: Supabase, http: httpx.Client, query: str
) -> None:
    path = f"/rest/v1/vcons?limit=0&{query.format(key=stack.service_role_key)}"
    response = http.get(path)
    assert (response.status_code, response.json()) == (200, [])


def test_another_path(http: httpx.Client, stack: Supabase) -> None:
    response = http.get("/auth/v1/user", headers={"apikey": stack.service_role_key})
    assert response.status_code == 404
    assert response.json()["message"] == "no Route matched with those values"


def test_what_is_encoded_in_a_query_arrives_as_it_was(stack: Supabase, http: httpx.Client) -> None:
    document = small_vcon(subject="100% & more + ünïcode / 2?")
    with SupabaseStorage(
        {"url": stack.url, "key": stack.service_role_key, "redis_url": None}
    ) as storage:
        storage.save(document)
    found = http.get(
        "/rest/v1/vcons",
        params={"subject": f"eq.{document['subject']}", "select": "uuid"},
        headers={"apikey": stack.service_role_key},
    )
    assert {"uuid": document["uuid"]} in found.json()


def test_a_large_vcon_passes(stack: Supabase) -> None:
    document = small_vcon()
    document["dialog"][0]["body"] = "A" * 20_000_000
    with SupabaseStorage(
        {"url": stack.url, "key": stack.service_role_key, "redis_url": None}
    ) as storage:
        storage.save(document)
        assert_same(storage.get(document["uuid"]), document)


def test_postgrest_away(stack: Supabase, http: httpx.Client) -> None:
    path, headers = f"/rest/v1/{NEVER_SAVED}", {"apikey": stack.service_role_key}
    stack.stop_service("postgrest")
    try:
        response = http.get(path, headers=headers)
    finally:
        stack.start_service("postgrest")
    assert response.status_code in (502, 503)
    assert "message" in response.json()
    # A gateway that looks PostgREST up by name may take a moment to find it again.
    deadline = time.monotonic() + 30
    while (after := http.get(path, headers=headers)).is_error and time.monotonic() < deadline:
        time.sleep(0.1)
    assert after.json() == []
