"""The rules, alerts and dashboard of deploy/monitoring: promtool's tests, and the page."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import files, programs


def promtool(*arguments: str | Path) -> str:
    program = programs.folder_or_skip() / "promtool"
    done = subprocess.run(
        [program, *map(str, arguments)],
        cwd=files.FOLDER,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def read() -> set[str]:
    """What queries and rules read."""
    expressions = [*files.queries(), *files.RECORDED.values()]
    expressions += [alert["expr"] for alert in files.ALERTS.values()]
    return {name for expr in expressions for name in files.names(expr)}


def test_promtool_accepts_the_rules() -> None:
    said = promtool("check", "rules", "--lint=all", "--lint-fatal", *files.RULE_FILES)
    assert f"{len(files.RECORDED)} rules found" in said
    assert f"{len(files.ALERTS)} rules found" in said


@pytest.mark.parametrize("file", files.TEST_FILES, ids=lambda file: file.name)
def test_promtools_tests_pass(file: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", file)


def test_promtool_notices_a_rule_that_is_wrong(tmp_path: Path) -> None:
    for file in [*files.RULE_FILES, *files.TEST_FILES]:
        text = file.read_text("utf-8")
        (tmp_path / file.name).write_text(text.replace("fill > 0.8", "fill > 0.7"), "utf-8")
    with pytest.raises(AssertionError, match="SupabaseStorageSpoolNearlyFull"):
        promtool("test", "rules", tmp_path / files.TEST_FILES[1].name)


def test_promtool_accepts_the_configuration() -> None:
    assert "SUCCESS" in promtool("check", "config", "prometheus.yml")


def test_every_alert_is_seen_firing_and_not_firing() -> None:
    firing: set[str] = set()
    quiet: set[str] = set()
    for test in yaml.safe_load(files.TEST_FILES[1].read_text("utf-8"))["tests"]:
        asked = test["alert_rule_test"]
        firing |= {one["alertname"] for one in asked if one.get("exp_alerts")}
        if not any(one.get("exp_alerts") for one in asked):
            quiet |= {one["alertname"] for one in asked}
    assert firing == quiet == set(files.ALERTS)


def test_every_recorded_rule_is_tested_and_used() -> None:
    tested = files.names(files.TEST_FILES[0].read_text("utf-8"))
    assert set(files.RECORDED) <= tested
    assert set(files.RECORDED) <= read()


@pytest.mark.parametrize("name", files.ALERTS)
def test_an_alert_says_what_it_is_and_where_to_read_on(name: str) -> None:
    alert = files.ALERTS[name]
    assert alert["labels"]["severity"] in {"critical", "warning"}
    said = alert["annotations"]
    assert {"summary", "description", "runbook"} == said.keys()
    page, _, anchor = said["runbook"].partition("#")
    assert page == "docs/monitoring.md"
    assert anchor == name.lower()
    assert f"\n### {name}\n" in files.PAGE


def test_the_pages_table_of_alerts_is_the_rules() -> None:
    table = re.findall(r"^\| \[(\w+)\]\(#(\w+)\) \| (\w+) \|", files.PAGE, re.MULTILINE)
    assert {name: severity for name, _, severity in table} == {
        name: alert["labels"]["severity"] for name, alert in files.ALERTS.items()
    }
    assert all(anchor == name.lower() for name, anchor, _ in table)


def test_rules_and_dashboard_name_metrics_of_the_page() -> None:
    known = set(files.metrics_of_page())
    known |= {f"{name}_{part}" for name in known for part in ("bucket", "count")} | {"up"}
    assert read() <= known | set(files.RECORDED)


def test_the_panels_that_the_page_names_are_there() -> None:
    titles = {panel["title"] for panel in files.panels()}
    named = set(re.findall(r"[Pp]anel \*([^*]+)\*", files.PAGE))
    assert named
    assert named <= titles


# The dashboard


def test_the_dashboard_can_be_imported() -> None:
    board = files.DASHBOARD
    assert board["title"]
    assert board["schemaVersion"] >= 36
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    (variable,) = board["templating"]["list"]
    assert (variable["name"], variable["type"]) == ("datasource", "datasource")
    for panel in files.panels():
        places = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert all(place == {"type": "prometheus", "uid": "${datasource}"} for place in places)


def test_no_panel_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in files.DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken
        taken |= cells


@pytest.mark.parametrize("panel", files.panels(), ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_is_for(panel: dict[str, Any]) -> None:
    assert len(panel["description"]) > 20
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["expr"]
        assert target["legendFormat"]
    alerts = re.findall(r"SupabaseStorage\w+", panel["description"])
    assert set(alerts) <= set(files.ALERTS)


# Prometheus itself


def test_without_prometheus_tests_are_skipped_but_not_in_ci(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(programs.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs Prometheus"):
        programs.folder_or_skip()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="needs Prometheus"):
        programs.folder_or_skip()
