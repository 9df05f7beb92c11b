"""What a real Prometheus has of us: an answer to every query of the dashboard and of the rules."""

import math
import re
import time
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from redis import Redis

from ..conftest import options_without_cache
from ..home import Supabase
from ..integration.servers import closed_port
from . import files, programs, scraped

ROUNDS = 3


class Scene(NamedTuple):
    prometheus: scraped.Prometheus
    workers: list[scraped.Worker]


@pytest.fixture(scope="module")
def scene(stack: Supabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Two workers that did everything a few times, their exporters, and Prometheus."""
    place = programs.folder_or_skip()
    multiprocess = tmp_path_factory.mktemp("multiprocess")
    options = options_without_cache(stack) | {
        "redis_url": stack.redis_url,
        "redis_timeout": 2.0,
        "cache_prefix": f"monitoring-{uuid.uuid4()}:",
    }
    with (
        Redis.from_url(stack.redis_url) as redis,
        closed_port() as nobody,
        scraped.running(place, options, multiprocess) as prometheus,
    ):
        # The share of a bound is only there with one.
        redis.config_set("maxmemory", 1_000_000_000)
        away = options | {"rest_url": nobody, "total_timeout": 0.5}
        workers = [scraped.Worker(options, away, multiprocess) for _ in range(2)]
        try:
            for _ in range(ROUNDS):
                for worker in workers:
                    worker.work()
                # A rate is of what was counted between two scrapes.
                prometheus.wait_for("supabase_storage_breaker_open")
                time.sleep(1)
            prometheus.wait_for("job:supabase_storage_cache_hits:ratio_rate5m >= 0")
            prometheus.wait_for("supabase_storage_up == 1")
            yield Scene(prometheus, workers)
        finally:
            redis.config_set("maxmemory", 0)
            for worker in workers:
                worker.kill()


@pytest.mark.parametrize("query", files.queries())
def test_every_query_of_the_dashboard_has_an_answer(scene: Scene, query: str) -> None:
    assert scene.prometheus.query(query), query


@pytest.mark.parametrize("name", files.RECORDED)
def test_every_rule_records_what_its_expression_says(scene: Scene, name: str) -> None:
    assert scene.prometheus.query(files.RECORDED[name]), name
    assert scene.prometheus.query(name), name


@pytest.mark.parametrize("name", files.ALERTS)
def test_every_alert_reads_what_is_there(scene: Scene, name: str) -> None:
    """An alert that should not fire has no samples, but what it compares has."""
    expr = files.ALERTS[name]["expr"]
    scene.prometheus.query(expr)
    for selector in files.selectors(expr):
        assert scene.prometheus.query(selector), selector


def test_prometheus_finds_every_rule_in_order(scene: Scene) -> None:
    groups = scene.prometheus.ask("rules")["groups"]
    rules: list[dict[str, Any]] = [rule for group in groups for rule in group["rules"]]
    assert {rule["name"] for rule in rules} == {*files.RECORDED, *files.ALERTS}
    assert [rule for rule in rules if rule["health"] != "ok"] == []


def test_both_jobs_are_scraped(scene: Scene) -> None:
    targets = scene.prometheus.ask("targets")["activeTargets"]
    assert [(target["health"], target["lastError"]) for target in targets] == [("up", "")] * 2


@pytest.mark.parametrize(
    ("expr", "each"),
    [
        ('operation_duration_seconds_count{operation="save",outcome="ok"}', 1),
        ('operation_duration_seconds_count{operation="save",outcome="invalid"}', 1),
        ('operation_duration_seconds_count{operation="save",outcome="spooled"}', 1),
        ('operation_duration_seconds_count{operation="save_many",outcome="ok"}', 1),
        ('operation_duration_seconds_count{operation="get",outcome="ok"}', 1),
        ('operation_duration_seconds_count{operation="get",outcome="not_found"}', 1),
        ('operation_duration_seconds_count{operation="delete",outcome="ok"}', 1),
        ('operation_duration_seconds_count{operation="search",outcome="ok"}', 1),
        ('spool_events_total{event="spooled"}', 1),
        ('spool_events_total{event="replayed"}', 1),
    ],
)
def test_the_workers_are_added_up(scene: Scene, expr: str, each: int) -> None:
    expected = each * ROUNDS * len(scene.workers)
    scene.prometheus.wait_for(f"sum(supabase_storage_{expr}) == {expected}")


def test_nothing_fires_while_all_is_well(scene: Scene) -> None:
    firing = scene.prometheus.query('ALERTS{alertname=~"SupabaseStorage.*"}')
    # The workers were given something that is no vCon, and that is told.
    assert {alert["metric"]["alertname"] for alert in firing} <= {"SupabaseStorageSavesRefused"}


def test_what_was_refused_fires(scene: Scene) -> None:
    scene.prometheus.wait_for(
        'ALERTS{alertname="SupabaseStorageSavesRefused", alertstate="firing"}'
    )


def test_the_pages_tables_are_what_was_scraped(scene: Scene) -> None:
    found: dict[str, set[str]] = {}
    for sample in scene.prometheus.query('{__name__=~"supabase_storage_.+"}'):
        labels = dict(sample["metric"])
        name = re.sub(r"(duration_seconds)_(bucket|count|sum)$", r"\1", labels["__name__"])
        found.setdefault(name, set()).update(labels.keys() - {"__name__", "job", "instance", "le"})
    assert files.metrics_of_page() == found


def test_no_label_grows_with_the_data(scene: Scene) -> None:
    names = scene.prometheus.query('count by (__name__) ({__name__=~"supabase_storage_.+"})')
    for sample in names:
        assert float(sample["value"][1]) < 200, sample
    labels = set(scene.prometheus.ask("labels"))
    bounded = {"operation", "outcome", "le", "result", "what", "event", "direction", "table"}
    bounded |= {"version", "source"}
    # Prometheus' own, and those of its alerts.
    own = {"__name__", "instance", "job", "alertname", "alertstate", "severity"}
    assert labels <= bounded | own


def test_a_worker_that_was_killed_leaves_its_counts_and_not_its_gauges(scene: Scene) -> None:
    """The last test: the scene is one worker short afterwards."""
    count = 'sum(supabase_storage_operation_duration_seconds_count{operation="save",outcome="ok"})'
    before = scene.prometheus.value(count)
    assert before is not None
    scene.workers[0].kill()
    time.sleep(1.5)
    assert scene.prometheus.value(count) == before
    assert scene.prometheus.query("supabase_storage_breaker_open")  # the other one's
    scene.workers[1].kill()
    deadline = time.monotonic() + 20
    while scene.prometheus.query("supabase_storage_breaker_open"):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert math.isclose(scene.prometheus.value(count) or 0, before)
