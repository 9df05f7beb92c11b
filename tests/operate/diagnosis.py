"""What the tests of `doctor` share: a run of it, and its findings by check."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner

from conserver_supabase_storage.cli import app

from ..vcons import Json


@dataclass(frozen=True)
class Report:
    """What a run said."""

    exit_code: int
    findings: list[Json]
    output: str

    def __getitem__(self, check: str) -> Json:
        """The one finding of a check."""
        found = [finding for finding in self.findings if finding["check"] == check]
        assert len(found) == 1, (check, self.findings)
        return found[0]

    def state(self, check: str) -> str:
        return str(self[check]["state"])

    def checks(self, state: str) -> list[str]:
        """The checks that ended in a state."""
        return [finding["check"] for finding in self.findings if finding["state"] == state]

    def assert_only(self, check: str, state: str, *words: str) -> Json:
        """Assert that a check is in a state, with these words, and that nothing else is broken."""
        finding = self[check]
        said = f"{finding['text']} | {finding['fix']}"
        assert finding["state"] == state, finding
        assert all(word in said for word in words), said
        assert finding["fix"].endswith(".")
        assert self.checks("broken") == ([check] if state == "broken" else [])
        assert self.exit_code == (1 if state == "broken" else 0)
        return finding


def diagnose(folder: Path, options: object, *arguments: str) -> Report:
    """Run the command on a config with these options, as JSON."""
    done = invoke(folder, options, "--json", *arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    findings = json.loads(done.stdout)
    for finding in findings:
        assert set(finding) == {"check", "state", "text", "fix"}
        assert finding["state"] in {"ok", "warning", "broken", "skipped"}
        assert bool(finding["fix"]) == (finding["state"] in {"warning", "broken"})
    return Report(done.exit_code, findings, done.output)


def invoke(folder: Path, options: object, *arguments: str) -> Any:
    config = folder / "config.yml"
    ours = {"module": "conserver_supabase_storage", "options": options}
    config.write_text(yaml.safe_dump({"storages": {"supabase": ours}}), "utf-8")
    return CliRunner().invoke(app, ["doctor", "--config", str(config), *arguments])


def sql_of(fix: str) -> bytes:
    """The SQL that a fix says to run."""
    found = re.match(r"Run (?P<sql>[A-Z].*?)( as the tables' owner)?\.$", fix)
    assert found, fix
    return found["sql"].replace(", then ", "; ").encode()
