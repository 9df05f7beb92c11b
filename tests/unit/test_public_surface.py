"""What the package shows, and that importing it does nothing."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import conserver_supabase_storage as package
from conserver_supabase_storage import ConfigurationError, Options

PUBLIC = [
    "ConfigurationError",
    "Hit",
    "InvalidQueryError",
    "InvalidVconError",
    "Options",
    "Query",
    "RefusedError",
    "SearchPage",
    "StorageError",
    "SupabaseStorage",
    "UnavailableError",
    "VconNotFoundError",
    "default_options",
    "delete",
    "get",
    "save",
    "search",
]


def run(code: str) -> str:
    """Run code in a new Python that knows the package; return what it printed."""
    folder = Path(package.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_public_names_are_these() -> None:
    assert package.__all__ == PUBLIC
    assert dir(package) == PUBLIC
    for name in PUBLIC:
        assert getattr(package, name) is not None


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = package.nothing


def test_errors_are_one_tree() -> None:
    for name in PUBLIC:
        if name.endswith("Error"):
            assert issubclass(getattr(package, name), package.StorageError)


def test_importing_it_loads_no_client_and_opens_no_socket() -> None:
    code = """
import socket
def no(*_, **__): raise AssertionError("a socket")
socket.socket.__init__ = no
import conserver_supabase_storage
heavy = {"supabase", "httpx", "redis", "pydantic", "vcon", "tenacity", "psycopg"}
print(sorted(heavy & set(sys.modules)))
"""
    assert run(code) == "[]"


def test_the_default_options_are_what_options_have_anyway() -> None:
    """Passing default_options, as the conserver does, is the same as passing nothing."""
    needed: dict[str, Any] = {"url": "https://example.supabase.co", "key": "key"}
    assert Options.parse(needed | package.default_options) == Options.parse(needed)
    assert Options.parse(needed | {"read_timeout": 7}) != Options.parse(needed)


def test_the_default_options_name_every_option_that_has_a_fixed_default() -> None:
    fields = {field.alias or name: field for name, field in Options.model_fields.items()}
    from_the_environment = {"url", "rest_url", "key", "redis_url", "cache_ttl"}
    assert set(package.default_options) == set(fields) - from_the_environment


def test_the_default_options_stay_as_they_are() -> None:
    before = dict(package.default_options)
    with pytest.raises(ConfigurationError):
        package.get("01928cb4-1c5f-8c4a-b5f0-0a1b2c3d4e5f", package.default_options)
    assert package.default_options == before
