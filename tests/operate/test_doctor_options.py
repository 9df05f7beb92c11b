"""Misconfigurations of options, key and packages, and what `doctor` says of each."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
from typer.testing import CliRunner

import conserver_supabase_storage
from conserver_supabase_storage.cli import app
from conserver_supabase_storage.local.keys import new_secret, sign

from ..conftest import options_without_cache
from ..home import Supabase
from ..vcons import Json
from .diagnosis import diagnose

ROOT = Path(conserver_supabase_storage.__file__).parents[1]


@pytest.fixture
def options(stack: Supabase) -> Json:
    return options_without_cache(stack) | {"redis_url": stack.redis_url, "redis_timeout": 2.0}


@pytest.mark.parametrize(
    ("wrong", "check", "words"),
    [
        pytest.param(
            {"cache_tll": 60}, "option cache_tll", ["Did you mean cache_ttl?"], id="misspelt"
        ),
        pytest.param(
            {"colour": 1}, "option colour", ["is no option", "Take it out."], id="unknown"
        ),
        pytest.param(
            {"key": "${NO_SUCH_VARIABLE}"},
            "option key",
            ["NO_SUCH_VARIABLE is not set", "Set it"],
            id="environment variable unset",
        ),
        pytest.param({"key": None}, "option key", ["is missing"], id="no key"),
        pytest.param({"rest_url": None}, "option url", ["is missing"], id="no URL"),
        pytest.param(
            {"rest_url": "$SUPABASE_URL"},
            "option rest_url",
            ["must be an http:// or https:// URL"],
            id="a URL that is not substituted",
        ),
        pytest.param(
            {"redis_url": "localhost:6379"},
            "option redis_url",
            ["redis://"],
            id="Redis without a scheme",
        ),
        pytest.param({"read_timeout": "soon"}, "option read_timeout", ["number"], id="wrong type"),
    ],
)
def test_options_that_cannot_be_used(
    tmp_path: Path, options: Json, wrong: Json, check: str, words: list[str]
) -> None:
    report = diagnose(tmp_path, options | wrong)
    report.assert_only(check, "broken", *words)
    assert report.checks("skipped") == ["supabase", "database", "redis"]


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path, options: Json) -> None:
    report = diagnose(tmp_path, options | {"cache_tll": 1, "tenant": "a b", "key": ""})
    assert set(report.checks("broken")) == {"option cache_tll", "option tenant", "option key"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "FileNotFoundError"),
        ("storages: [", "ParserError"),
        ("storages: {mine: {module: another.one}}", "--storage must say which of []"),
    ],
    ids=["no file", "no YAML", "no storage of ours"],
)
def test_a_config_that_cannot_be_used(tmp_path: Path, text: str | None, words: str) -> None:
    config = tmp_path / "config.yml"
    if text is not None:
        config.write_text(text, "utf-8")
    done = CliRunner().invoke(app, ["doctor", "--config", str(config)])
    assert done.exit_code == 1
    assert words in done.stdout
    assert "Name the conserver's config.yml by --config" in done.stdout


def test_options_that_are_no_mapping(tmp_path: Path) -> None:
    diagnose(tmp_path, ["url", "key"]).assert_only("configuration", "broken", "are no mapping")


KEYS: dict[str, tuple[Callable[[Supabase], str], str, str]] = {
    "anon": (lambda s: s.anon_key, "broken", "for the role anon"),
    "authenticated": (lambda s: s.key_for("authenticated"), "broken", "role authenticated"),
    "publishable": (lambda _: "sb_publishable_abc", "broken", "publishable key"),
    "expired": (lambda s: s.key_for("service_role", exp=1_600_000_000), "broken", "2020-09-13"),
    "placeholder": (lambda _: "<your-service-role-key>", "broken", "placeholder"),
    "without a role": (
        lambda s: jwt.encode({"iss": "supabase"}, s.jwt_secret),
        "broken",
        "names no role",
    ),
}


@pytest.mark.parametrize("name", KEYS)
def test_a_key_that_says_itself_that_it_is_wrong(
    tmp_path: Path, stack: Supabase, options: Json, name: str
) -> None:
    make, state, words = KEYS[name]
    report = diagnose(tmp_path, options | {"key": make(stack)})
    report.assert_only("key", state, words)
    assert {"access", "schema"} <= set(report.checks("skipped"))
    assert report.state("redis") == "ok"


def test_an_anon_key_that_came_from_the_environment(
    tmp_path: Path, stack: Supabase, options: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPABASE_ANON_KEY", stack.anon_key)
    del options["key"]
    diagnose(tmp_path, options).assert_only("key", "broken", "(from SUPABASE_ANON_KEY)")


def test_a_key_of_another_project(tmp_path: Path, options: Json) -> None:
    """By what it says; and by its signature, where it says nothing."""
    theirs = sign(new_secret(), "service_role", ref="abcdefghijklmnopqrst")
    away = {"rest_url": None, "url": "https://zyxwvutsrqponmlkjihg.supabase.co", "key": theirs}
    finding = diagnose(tmp_path, options | away)["key"]
    assert finding["state"] == "broken"
    assert "abcdefghijklmnopqrst" in finding["text"]
    report = diagnose(tmp_path, options | {"key": sign(new_secret(), "service_role")})
    report.assert_only("access", "broken", "is not accepted", "belongs to this project")
    assert report.state("key") == "ok"


def test_half_a_key(tmp_path: Path, stack: Supabase, options: Json) -> None:
    report = diagnose(tmp_path, options | {"key": stack.service_role_key[:40]})
    assert report["key"]["fix"].startswith("Copy the whole key")
    report.assert_only("access", "broken", "is not accepted")


def test_a_key_that_ends_soon(tmp_path: Path, stack: Supabase, options: Json) -> None:
    key = stack.key_for("service_role", exp=int(time.time()) + 86_400)
    diagnose(tmp_path, options | {"key": key}).assert_only("key", "warning", "it expires on")


def test_a_key_for_a_role_that_there_is_not(tmp_path: Path, stack: Supabase, options: Json) -> None:
    report = diagnose(tmp_path, options | {"key": stack.key_for("nobody_here")})
    report.assert_only("access", "broken", "role that the database does not have")
    assert report.state("key") == "warning"


def test_no_redis_at_all(tmp_path: Path, options: Json) -> None:
    report = diagnose(tmp_path, options | {"redis_url": None})
    report.assert_only("spool", "warning", "Give redis_url")


def installed(folder: Path, options: Json, name: str, version: str) -> str:
    """Run it where a package seems to have another version."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return elsewhere(folder, options)


def elsewhere(folder: Path, options: Json) -> str:
    given = [f"--option={name}={value or ''}" for name, value in options.items()]
    done = subprocess.run(
        [sys.executable, "-m", "conserver_supabase_storage", "doctor", *given],
        env=os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    ("name", "version", "line"),
    [
        ("redis", "5.0.0", "warning  package redis: 5.0.0; the conserver pins ==4.6.0"),
        ("tenacity", "8.0.0", "broken   package tenacity: 8.0.0; this package needs tenacity"),
        ("websockets", "99.0", "warning  package websockets: 99.0; supabase's realtime needs"),
        ("httpcore", "0.9", "broken   package httpcore: 0.9; this package needs httpcore"),
    ],
)
def test_a_version_that_does_not_fit(
    tmp_path: Path, options: Json, name: str, version: str, line: str
) -> None:
    said = installed(tmp_path, options, name, version)
    assert line in said
    assert "pip install '" in said


def test_the_conservers_pins_are_ok(tmp_path: Path, options: Json) -> None:
    assert "ok       package redis: 4.6.0" in installed(tmp_path, options, "redis", "4.6.0")


def test_a_package_that_cannot_be_loaded(tmp_path: Path, options: Json) -> None:
    (tmp_path / "supabase.py").write_text("raise ImportError('its half is missing')\n")
    said = elsewhere(tmp_path, options)
    assert "broken   package supabase: can't be loaded: its half is missing" in said
    assert "skipped  database: not looked at: a package can't be used" in said
