"""The example config: loads as a conserver's, names every option once, and says the defaults."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import conserver_supabase_storage as package
from conserver_supabase_storage import Options

EXAMPLE = Path(__file__).parents[2] / "config.example.yml"


def options() -> dict[str, Any]:
    config = yaml.safe_load(EXAMPLE.read_text("utf-8"))
    storage = config["storages"]["supabase"]
    assert storage["module"] == package.__name__
    assert "supabase" in config["chains"]["main"]["storages"]
    assert set(config["chains"]["main"]["links"]) <= set(config["links"])
    found: dict[str, Any] = storage["options"]
    return found


def test_it_has_every_option_once() -> None:
    names = {field.alias or name for name, field in Options.model_fields.items()}
    assert set(options()) == names
    text = EXAMPLE.read_text("utf-8")
    for name in names:
        assert len(re.findall(rf"^ +{name}:", text, re.MULTILINE)) == 1, name


def test_it_is_accepted_and_says_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", "https://example.supabase.co")
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", "key")
    monkeypatch.setenv("REDIS_URL", "redis://localhost")
    assert Options.parse(options()) == Options.parse(None)
