"""Each service stops, starts, freezes and goes on, and finds its place again."""

import httpx
import psycopg
import pytest
import redis

from conserver_supabase_storage.local import LocalSupabase, LocalSupabaseError
from conserver_supabase_storage.local.services import ServiceName

SERVICES: tuple[ServiceName, ...] = ("postgres", "postgrest", "redis", "gateway")


def ask(stack: LocalSupabase, name: ServiceName) -> None:
    """Ask a service something itself; any of `ERRORS` if it doesn't answer."""
    if name == "postgres":
        with psycopg.connect(stack.database_url, connect_timeout=2) as connection:
            connection.execute("SELECT 1")
    elif name == "redis":
        redis.Redis.from_url(stack.redis_url, socket_timeout=0.5).ping()
    else:
        url = stack.rest_url if name == "postgrest" else f"{stack.url}/rest/v1/"
        httpx.get(url, headers={"apikey": stack.anon_key}, timeout=0.5).raise_for_status()


ERRORS = (psycopg.OperationalError, redis.RedisError, httpx.HTTPError)


@pytest.mark.parametrize("kill", [False, True])
@pytest.mark.parametrize("name", SERVICES)
def test_stop_and_start(local: LocalSupabase, name: ServiceName, kill: bool) -> None:
    before = local.environment()
    ask(local, name)
    local.stop_service(name, kill=kill)
    with pytest.raises(ERRORS):
        ask(local, name)
    with pytest.raises(LocalSupabaseError, match="stopped already"):
        local.stop_service(name)
    local.start_service(name)
    with pytest.raises(LocalSupabaseError, match="runs already"):
        local.start_service(name)
    ask(local, name)
    assert local.environment() == before
    local.wait_until_ready()


@pytest.mark.parametrize("name", SERVICES)
def test_pause_and_resume(local: LocalSupabase, name: ServiceName) -> None:
    local.pause_service(name)
    with pytest.raises(ERRORS):
        ask(local, name)
    local.resume_service(name)
    ask(local, name)
    local.wait_until_ready()


def test_a_paused_postgres_is_silent_on_open_connections_too(local: LocalSupabase) -> None:
    local.wait_until_ready()
    url, headers = f"{local.url}/rest/v1/", {"apikey": local.anon_key}
    with httpx.Client(headers=headers, timeout=0.5) as client:
        assert client.get(url).status_code == 200
        local.pause_service("postgres")
        with pytest.raises(httpx.TimeoutException):
            client.get(url)
        local.resume_service("postgres")
        assert client.get(url, timeout=10).status_code == 200


@pytest.mark.parametrize("name", SERVICES)
def test_a_paused_service_can_be_stopped(local: LocalSupabase, name: ServiceName) -> None:
    local.pause_service(name)
    local.stop_service(name)
    local.start_service(name)
    local.wait_until_ready()
    ask(local, name)


def test_what_was_committed_outlives_a_killed_postgres(local: LocalSupabase) -> None:
    with psycopg.connect(local.database_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS said (n int)")
        connection.execute("INSERT INTO said VALUES (1)")
    local.stop_service("postgres", kill=True)
    local.start_service("postgres")
    with psycopg.connect(local.database_url) as connection:
        assert connection.execute("SELECT n FROM said").fetchone() == (1,)
    local.wait_until_ready()


def test_a_server_that_ends_by_itself_is_noticed(local: LocalSupabase) -> None:
    local.check()
    redis.Redis.from_url(local.redis_url).shutdown(nosave=True)
    with pytest.raises(LocalSupabaseError, match="redis has ended"):
        check_often(local)
    local.stop_service("redis")
    local.start_service("redis")
    local.check()


def check_often(stack: LocalSupabase) -> None:
    for _ in range(1000):
        stack.check()
