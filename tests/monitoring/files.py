"""What stands in deploy/monitoring (rules, alerts, the dashboard) and in docs/monitoring.md."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "monitoring"
PAGE = (ROOT / "docs" / "monitoring.md").read_text("utf-8")
RULE_FILES = [FOLDER / f"supabase-storage.{kind}.yml" for kind in ("rules", "alerts")]
TEST_FILES = [FOLDER / f"supabase-storage.{kind}.test.yml" for kind in ("rules", "alerts")]
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana-dashboard.json").read_text("utf-8"))

_RULES: list[dict[str, Any]] = [
    rule
    for file in RULE_FILES
    for group in yaml.safe_load(file.read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
RECORDED: dict[str, str] = {rule["record"]: rule["expr"] for rule in _RULES if "record" in rule}
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in _RULES if "alert" in rule}

# A metric, or what a rule records, with its matchers.
_SELECTOR = re.compile(r"((?:\w+:)?(?:supabase_storage_\w+|up\b)(?::\w+)?)(\{[^}]*\})?")


def metrics_of_page() -> dict[str, set[str]]:
    """The metrics in the tables of docs/monitoring.md, with their labels."""
    rows = re.findall(r"^\| `(supabase_storage_\w+)` \| (.*?)\|", PAGE, re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def panels() -> list[dict[str, Any]]:
    """The dashboard's panels, without the rows that are only headings."""
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> list[str]:
    """The dashboard's queries, with a window where Grafana puts one in."""
    return [
        target["expr"].replace("$__rate_interval", "1m")
        for panel in panels()
        for target in panel["targets"]
    ]


def selectors(expr: str) -> set[str]:
    """What an expression reads: names with their matchers."""
    return {name + re.sub(r"\s+", "", matchers) for name, matchers in _SELECTOR.findall(expr)}


def names(expr: str) -> set[str]:
    """The names in an expression."""
    return {name for name, _ in _SELECTOR.findall(expr)}
