"""The servers come up as a Supabase would, each reachable in every way that is promised."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import jwt
import psycopg
import pytest
import redis

from conserver_supabase_storage.local import LocalSupabase, LocalSupabaseError
from conserver_supabase_storage.local.ports import LOOPBACK
from conserver_supabase_storage.local.supervisor import descendants, is_running


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def execute(stack: LocalSupabase, *statements: str) -> None:
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_keys_are_like_supabases(local: LocalSupabase) -> None:
    for role, key in (("anon", local.anon_key), ("service_role", local.service_role_key)):
        claims = jwt.decode(key, local.jwt_secret, algorithms=["HS256"])
        assert claims["role"] == role
        assert claims["iss"] == "supabase"
        assert claims["exp"] - claims["iat"] > 9 * 365 * 24 * 3600
    claims = jwt.decode(
        local.key_for("authenticated", tenant_id="t", sub="s"),
        local.jwt_secret,
        algorithms=["HS256"],
    )
    assert (claims["role"], claims["tenant_id"], claims["sub"]) == ("authenticated", "t", "s")


def test_environment_is_complete(local: LocalSupabase) -> None:
    assert local.environment() == {
        "SUPABASE_URL": local.url,
        "SUPABASE_REST_URL": local.rest_url,
        "SUPABASE_SERVICE_ROLE_KEY": local.service_role_key,
        "SUPABASE_ANON_KEY": local.anon_key,
        "REDIS_URL": local.redis_url,
        "DATABASE_URL": local.database_url,
    }


def test_postgrest_knows_the_roles_by_the_key(local: LocalSupabase) -> None:
    execute(
        local,
        "CREATE OR REPLACE FUNCTION whoami() RETURNS json LANGUAGE sql AS $$ SELECT"
        " json_build_object('role', current_user, 'login', session_user, 'timeout',"
        " current_setting('statement_timeout'), 'path', current_setting('search_path')) $$",
    )
    local.reload_schema()
    found = {}
    for role in ("anon", "authenticated", "service_role"):
        answer = httpx.get(f"{local.rest_url}/rpc/whoami", headers=bearer(local.key_for(role)))
        found[role] = answer.json()
        assert found[role]["role"] == role
        assert found[role]["login"] == "authenticator"
        assert (
            found[role]["path"] == '"public", "extensions"' or "extensions" in found[role]["path"]
        )
    assert {role: who["timeout"] for role, who in found.items()} == {
        "anon": "3s",
        "authenticated": "8s",
        "service_role": "8s",
    }
    assert httpx.get(f"{local.rest_url}/rpc/whoami").json()["role"] == "anon"
    forged = jwt.encode({"role": "service_role"}, "x" * 64, algorithm="HS256")
    assert httpx.get(f"{local.rest_url}/rpc/whoami", headers=bearer(forged)).status_code == 401


def test_roles_have_supabases_attributes(local: LocalSupabase) -> None:
    with psycopg.connect(local.database_url) as connection:
        rows = connection.execute(
            "SELECT rolname, rolcanlogin, rolbypassrls, rolinherit, rolsuper FROM pg_roles"
            " WHERE rolname = ANY(%s)",
            (["anon", "authenticated", "service_role", "authenticator"],),
        ).fetchall()
    assert sorted(rows) == [
        ("anon", False, False, True, False),
        ("authenticated", False, False, True, False),
        ("authenticator", True, False, False, False),
        ("service_role", False, True, True, False),
    ]


def test_default_privileges_are_as_generous_as_supabases(local: LocalSupabase) -> None:
    execute(local, "CREATE TABLE open_door (id serial PRIMARY KEY, note text)")
    local.reload_schema()
    written = httpx.post(
        f"{local.rest_url}/open_door", json={"note": "hi"}, headers=bearer(local.anon_key)
    )
    assert written.status_code == 201
    execute(local, "ALTER TABLE open_door ENABLE ROW LEVEL SECURITY")
    for key, seen in ((local.anon_key, 0), (local.service_role_key, 1)):
        assert len(httpx.get(f"{local.rest_url}/open_door", headers=bearer(key)).json()) == seen


def test_rows_are_capped_as_on_supabase(local: LocalSupabase) -> None:
    execute(local, "CREATE VIEW many AS SELECT generate_series(1, 1500) AS n")
    local.reload_schema()
    assert len(httpx.get(f"{local.rest_url}/many").json()) == 1000


def test_nothing_listens_beyond_loopback_or_without_a_password(local: LocalSupabase) -> None:
    for url in (local.url, local.rest_url, local.redis_url, local.database_url):
        assert "127.0.0.1" in url
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(local.database_url, password="wrong")
    without = redis.Redis.from_url("redis://" + local.redis_url.partition("@")[2])
    with pytest.raises(redis.AuthenticationError):
        without.ping()
    assert redis.Redis.from_url(local.redis_url).ping()


def test_another_database_and_another_postgrest(local: LocalSupabase) -> None:
    url = local.create_database("second")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA other")
        connection.execute("GRANT USAGE ON SCHEMA other TO anon")
        connection.execute("CREATE VIEW other.numbers AS SELECT generate_series(1, 9) AS n")
        connection.execute("GRANT SELECT ON other.numbers TO anon")
    with local.postgrest(
        database="second", PGRST_DB_SCHEMAS="other", PGRST_DB_MAX_ROWS=3
    ) as rest_url:
        assert len(httpx.get(f"{rest_url}/numbers").json()) == 3
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE VIEW other.late AS SELECT 1 AS n")
            connection.execute("GRANT SELECT ON other.late TO anon")
        local.reload_schema("second")
        assert httpx.get(f"{rest_url}/late").json() == [{"n": 1}]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{rest_url}/numbers")


def test_a_postgrest_that_cannot_start_says_why(local: LocalSupabase) -> None:
    with (
        pytest.raises(LocalSupabaseError, match=r"(?s)postgrest-1 .*logging level"),
        local.postgrest(PGRST_LOG_LEVEL="loud"),
    ):
        pass


def test_several_at_once_do_not_meet(tmp_path: Path) -> None:
    stacks = [LocalSupabase(migrate=False), LocalSupabase(tmp_path / "kept", migrate=False)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(LocalSupabase.start, stacks))
    try:
        ports = [url for stack in stacks for url in stack.environment().values()]
        assert len(set(ports)) == len(ports)
        for stack, other in (stacks, reversed(stacks)):
            mine = httpx.get(f"{stack.url}/rest/v1/", headers={"apikey": stack.anon_key})
            assert mine.status_code == 200
            foreign = httpx.get(f"{stack.url}/rest/v1/", headers={"apikey": other.anon_key})
            assert foreign.status_code == 401
    finally:
        with ThreadPoolExecutor() as pool:
            list(pool.map(LocalSupabase.stop, stacks))


def test_kept_data_survives_with_its_ports_and_keys(tmp_path: Path) -> None:
    stack = LocalSupabase(tmp_path / "kept", migrate=False)
    with stack:
        before = stack.environment()
        execute(stack, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (42)")
        redis.Redis.from_url(stack.redis_url).set("kept", "42")
        with psycopg.connect(stack.database_url) as connection:
            durable = connection.execute("SHOW fsync").fetchone()
        assert durable == ("on",)
        with pytest.raises(LocalSupabaseError, match="is in use"):
            LocalSupabase(tmp_path / "kept", migrate=False).start()
    for secret in ("stack.json", "redis.conf"):
        assert (tmp_path / "kept" / secret).stat().st_mode & 0o077 == 0
    with stack:
        assert stack.environment() == before
        with psycopg.connect(stack.database_url) as connection:
            assert connection.execute("SELECT n FROM kept").fetchone() == (42,)
        assert redis.Redis.from_url(stack.redis_url).get("kept") == b"42"
        taken = httpx.URL(stack.rest_url).port
    assert taken
    with socket.create_server((LOOPBACK, taken)), stack:
        # A port that belongs to another by now is left to it, the others stay.
        assert stack.rest_url != before["SUPABASE_REST_URL"]
        assert stack.url == before["SUPABASE_URL"]
        assert httpx.get(stack.rest_url, headers=bearer(stack.anon_key)).status_code == 200


def test_stopping_leaves_nothing_and_may_be_repeated() -> None:
    stack = LocalSupabase(migrate=False)
    stack.start()
    with pytest.raises(LocalSupabaseError, match="started already"):
        stack.start()
    folder, processes = stack.folder, descendants(os.getpid())
    stack.stop()
    stack.stop()
    assert not folder.exists()
    left = set(descendants(os.getpid())) & set(processes)
    assert not [pid for pid in left if is_running(pid) and str(folder) in cmdline(pid)]
    with pytest.raises(LocalSupabaseError, match="not started"):
        _ = stack.url


def cmdline(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("POSTGREST_BIN", "REDIS_SERVER_BIN"):
        with monkeypatch.context() as patched:
            patched.setenv(variable, str(tmp_path / "none"))
            with pytest.raises(LocalSupabaseError, match=variable):
                LocalSupabase(migrate=False).start()
    with monkeypatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(tmp_path))
        patched.setenv("PATH", str(tmp_path))
        with pytest.raises(LocalSupabaseError, match="npm"):
            LocalSupabase(migrate=False).start()


def test_postgres_16_may_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSERVER_LOCAL_POSTGRES", "16")
    with (
        LocalSupabase(migrate=False) as stack,
        psycopg.connect(stack.database_url) as connection,
    ):
        assert connection.info.server_version // 10000 == 16
