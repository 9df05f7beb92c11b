"""The gateway answers as Supabase's does, and passes on what PostgREST says."""

import http.client
import json
from collections.abc import Iterator

import httpx
import jwt
import psycopg
import pytest

from conserver_supabase_storage.local import LocalSupabase

NO_KEY = {
    "message": "No API key found in request",
    "hint": "No `apikey` request header or url param was found.",
}
WRONG_KEY = {
    "message": "Invalid API key",
    "hint": "Double check your Supabase `anon` or `service_role` API key.",
}


@pytest.fixture(scope="module", autouse=True)
def echo(local: LocalSupabase) -> None:
    with psycopg.connect(local.database_url, autocommit=True) as connection:
        connection.execute(
            "CREATE OR REPLACE FUNCTION size_of(doc text) RETURNS int LANGUAGE sql"
            " AS 'SELECT length(doc)'"
        )
        connection.execute(
            "CREATE OR REPLACE FUNCTION big(n int) RETURNS text LANGUAGE sql"
            " AS $$ SELECT repeat('x', n) $$"
        )
        connection.execute(
            "CREATE OR REPLACE FUNCTION who() RETURNS text LANGUAGE sql AS 'SELECT current_user'"
        )
    local.reload_schema()


def test_without_a_key(local: LocalSupabase) -> None:
    answer = httpx.post(f"{local.url}/rest/v1/rpc/who", json={})
    assert (answer.status_code, answer.json()) == (401, NO_KEY)
    only_bearer = {"Authorization": f"Bearer {local.service_role_key}"}
    answer = httpx.get(f"{local.url}/rest/v1/", headers=only_bearer)
    assert (answer.status_code, answer.json()) == (401, NO_KEY)


def test_with_a_wrong_key(local: LocalSupabase) -> None:
    forged = jwt.encode({"role": "service_role"}, "x" * 64, algorithm="HS256")
    unsigned = jwt.encode({"role": "service_role"}, "", algorithm="none")
    for key in ("nonsense", "a.b.c", "\u00e9.", forged, unsigned, local.anon_key[:-3]):
        answer = httpx.get(f"{local.url}/rest/v1/", headers={b"apikey": key.encode()})
        assert (answer.status_code, answer.json()) == (401, WRONG_KEY)


def test_the_key_decides_the_role_unless_there_is_authorization(local: LocalSupabase) -> None:
    url = f"{local.url}/rest/v1/rpc/who"
    assert httpx.get(url, headers={"apikey": local.service_role_key}).json() == "service_role"
    assert httpx.get(url, params={"apikey": local.anon_key}).json() == "anon"
    user = {"Authorization": f"Bearer {local.key_for('authenticated')}"}
    assert httpx.get(url, headers={"apikey": local.anon_key} | user).json() == "authenticated"
    expired = local.key_for("anon", exp=1)
    answer = httpx.get(url, headers={"apikey": expired})
    assert (answer.status_code, answer.json()["code"]) == (401, "PGRST301")


def test_other_paths_are_not_there(local: LocalSupabase) -> None:
    for path in ("/", "/auth/v1/user", "/rest/v2/", "/rest/v10"):
        key = {"apikey": local.anon_key}
        assert httpx.get(f"{local.url}{path}", headers=key).status_code == 404


def test_errors_and_headers_of_postgrest_come_through(local: LocalSupabase) -> None:
    key = {"apikey": local.anon_key}
    url = f"{local.url}/rest/v1/nothing"
    answer = httpx.get(url, headers=key)
    direct = httpx.get(f"{local.rest_url}/nothing")
    assert answer.status_code == direct.status_code == 404
    assert answer.json() == direct.json()
    assert answer.headers["content-type"] == direct.headers["content-type"]
    head = httpx.head(f"{local.url}/rest/v1/rpc/who", headers=key)
    assert (head.status_code, head.content) == (200, b"")


def test_40_mb_both_ways_on_one_connection(local: LocalSupabase) -> None:
    size = 40_000_000
    headers = {"apikey": local.service_role_key, "Content-Type": "application/json"}
    body = json.dumps({"doc": "x" * size}).encode()

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(body), 1_000_000):
            yield body[start : start + 1_000_000]

    with httpx.Client(base_url=f"{local.url}/rest/v1", headers=headers, timeout=60) as client:
        for content in (body, chunks()):
            sent = client.post("/rpc/size_of", content=content)
            assert (sent.status_code, sent.json()) == (200, size)
        got = client.post("/rpc/big", json={"n": size})
        assert len(got.json()) == size
        assert client.get("/rpc/who").json() == "service_role"


def test_a_refused_body_does_not_break_the_connection(local: LocalSupabase) -> None:
    connection = http.client.HTTPConnection(local.url.removeprefix("http://"), timeout=10)
    for _ in range(2):
        connection.request("POST", "/rest/v1/rpc/who", body=b"{}" * 1000)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())) == (401, NO_KEY)
    connection.close()


def test_a_postgrest_that_is_down_is_a_bad_gateway(local: LocalSupabase) -> None:
    headers = {"apikey": local.anon_key}
    with httpx.Client(base_url=f"{local.url}/rest/v1", headers=headers) as client:
        assert client.get("/rpc/who").status_code == 200
        local.stop_service("postgrest")
        assert client.get("/rpc/who").status_code == 502
        local.start_service("postgrest")
        assert client.get("/rpc/who").status_code == 200
