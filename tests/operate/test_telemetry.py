"""What OpenTelemetry is told, read by its SDK: every count right, every label of a fixed set.

Needs the local Supabase.
"""

import json
import re
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from opentelemetry import metrics, trace
from opentelemetry.sdk.trace import Event, ReadableSpan, sampling
from opentelemetry.trace import SpanKind, StatusCode
from redis import Redis

import conserver_supabase_storage as module
from conserver_supabase_storage import (
    InvalidQueryError,
    InvalidVconError,
    StorageError,
    SupabaseStorage,
    UnavailableError,
    VconNotFoundError,
)
from conserver_supabase_storage.registry import registry
from conserver_supabase_storage.telemetry import names, sinks

from ..home import Supabase
from ..integration.servers import (
    SAVED,
    RedisWithJson,
    ScriptedServer,
    answer,
    closed_port,
    hang_up,
)
from ..spool.support import ROOT, away, environment, eventually, spool_of, spooled
from ..vcons import Json, new_uuid, small_vcon, uuid_in, vcons
from .recorded import PREFIX, Recorded, recording

BUSY = answer(503, "{}")
REFUSED = answer(403, '{"code": "42501", "message": "permission denied for Ada Example"}')


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    with recording() as recorded:
        yield recorded


@pytest.fixture
def cached(options: Json, stack: Supabase) -> Json:
    """Options with a cache and a spool that no other test sees."""
    return options | {"redis_url": stack.redis_url, "cache_prefix": f"test-{new_uuid()}:"}


def ended(spans: list[ReadableSpan], name: str) -> ReadableSpan:
    """The one span of this name."""
    [span] = [span for span in spans if span.name == name]
    return span


def children(spans: list[ReadableSpan], parent: ReadableSpan) -> list[str]:
    context = parent.get_span_context()
    assert context is not None
    return [
        span.name.removeprefix("storage.supabase.")
        for span in spans
        if span.parent is not None and span.parent.span_id == context.span_id
    ]


def attributes(span: ReadableSpan | Event) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_every_operation_is_counted_once_with_its_outcome(recorded: Recorded, cached: Json) -> None:
    one, two = small_vcon(subject=new_uuid()), small_vcon()  # found on one page
    with SupabaseStorage(cached) as storage:
        for document in (one, one, two):
            storage.save(document)
        with pytest.raises(InvalidVconError):
            storage.save(one | {"subject": "\0"})
        for _ in range(4):
            assert storage.get(one["uuid"]) is not None
        assert storage.get(new_uuid()) is None
        with pytest.raises(InvalidVconError):
            storage.get("no uuid")
        assert storage.delete(two["uuid"])
        assert not storage.delete(two["uuid"])
        storage.search({"uuid": one["uuid"]})
        assert len(list(storage.iter_search({"subject": one["subject"], "limit": 1000}))) >= 1
        with pytest.raises(InvalidQueryError):
            storage.search({"nothing": 1})
        assert storage.save_many([one, two]) == [None, None]
        assert storage.save_many([one, {}])[0] is None
        storage.replay()
        counted = storage.stats()
    assert recorded.counts("operation.duration") == {
        "save ok": 3,
        "save invalid": 1,
        "get ok": 4,
        "get not_found": 1,
        "get invalid": 1,
        "delete ok": 1,
        "delete not_found": 1,
        "search ok": 2,
        "search invalid": 1,
        "save_many ok": 1,
        "save_many invalid": 1,
        "replay ok": 1,
    }
    assert recorded.counts("cache") == counted
    looks = [counted.get(result, 0) for result in ("hit", "compare", "miss")]
    assert sum(looks) == 5
    assert looks[0] > 0
    metric = recorded.metrics()["operation.duration"]
    assert metric.unit == "s"
    for point in metric.data.data_points:
        assert point.explicit_bounds == names.BUCKETS
        assert 0 < point.sum < 10 * point.count


def test_threads_lose_no_count(recorded: Recorded, cached: Json) -> None:
    document = small_vcon()
    with SupabaseStorage(cached) as storage, ThreadPoolExecutor(8) as pool:
        storage.save(document)
        list(pool.map(storage.get, [document["uuid"]] * 400))
    counts = recorded.counts("operation.duration")
    assert counts == {"save ok": 1, "get ok": 400}


def test_bytes_are_those_of_the_bodies_on_the_wire(recorded: Recorded, options: Json) -> None:
    with (
        ScriptedServer(SAVED) as site,
        SupabaseStorage(options | {"rest_url": site.url}) as storage,
    ):
        storage.save(small_vcon())
        counts = recorded.counts("bytes")
    # The save, and the indexing that may or may not have begun.
    body = '{"episode" : 1, "off" : false, "now" : 0.0, "revision" : null, '
    body += '"outcomes" : ["saved"], "revisions" : [1]}'
    assert counts["received"] % len(body) == 0
    assert 3_000 < counts["sent"] < 10_000


def test_the_conservers_span_is_the_parent_in_the_thread_that_it_calls_in(
    recorded: Recorded, cached: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = small_vcon()

    def process_storage() -> None:
        with trace.get_tracer("conserver").start_as_current_span("storage.supabase"):
            module.save(document["uuid"], cached)

    with RedisWithJson({f"vcon:{document['uuid']}": json.dumps(document)}) as redis:
        monkeypatch.setenv("REDIS_URL", redis.redis_url)
        thread = threading.Thread(target=process_storage)
        thread.start()
        thread.join()
        registry.close()
    spans = recorded.spans
    parent = ended(spans, "storage.supabase")
    assert children(spans, parent) == ["save"]
    save = ended(spans, "storage.supabase.save")
    assert children(spans, save) == [
        "redis.begin",
        "redis.peek",
        "postgrest.vcon_storage_save_v4",
        "redis.complete",
    ]
    assert attributes(save) == {
        "operation": "save",
        "outcome": "ok",
        "attempts": 1,
        "vcon_id": document["uuid"],
    }
    assert save.kind is SpanKind.INTERNAL
    assert save.status.status_code is StatusCode.UNSET
    call = ended(spans, "storage.supabase.postgrest.vcon_storage_save_v4")
    assert call.kind is SpanKind.CLIENT
    assert attributes(call) == {"http.response.status_code": 200, "attempts": 1}
    assert {span.context.trace_id for span in spans if span.context} == {
        parent.context.trace_id if parent.context else None
    }


def test_nothing_stays_current_after_an_operation(recorded: Recorded, cached: Json) -> None:
    with SupabaseStorage(cached) as storage, trace.get_tracer("x").start_as_current_span("mine"):
        mine = trace.get_current_span()
        storage.save(small_vcon())
        with pytest.raises(InvalidVconError):
            storage.get("no uuid")
        assert trace.get_current_span() is mine


def test_a_save_that_the_conserver_does_not_hold_is_not_found(
    recorded: Recorded, cached: Json, stack: Supabase
) -> None:
    with pytest.raises(VconNotFoundError):
        module.save(new_uuid(), cached)
    registry.close()
    assert recorded.counts("operation.duration") == {"save not_found": 1}


def test_attempts_are_counted_and_told(recorded: Recorded, options: Json) -> None:
    with (
        ScriptedServer(BUSY, hang_up, SAVED) as site,
        SupabaseStorage(options | {"rest_url": site.url}) as storage,
    ):
        storage.save(small_vcon())
        storage.close()  # ends the indexing, whose requests this server takes for saves
        assert recorded.counts("retries") == {"": 2}
        assert recorded.counts("operation.duration") == {"save ok": 1}
    call = ended(recorded.spans, "storage.supabase.postgrest.vcon_storage_save_v4")
    assert attributes(call) == {"http.response.status_code": 200, "attempts": 3}
    assert [dict(event.attributes or {}) for event in call.events] == [
        {"attempt": 1, "http.response.status_code": 503},
        {"attempt": 2, "error.type": "RemoteProtocolError"},
    ]
    assert attributes(ended(recorded.spans, "storage.supabase.save"))["attempts"] == 3


@pytest.mark.parametrize(
    ("script", "outcome", "status"),
    [(REFUSED, "refused", 403), (BUSY, "unavailable", 503), (hang_up, "unavailable", None)],
    ids=["refused", "busy", "hung up"],
)
def test_errors_are_told_without_what_they_say(
    recorded: Recorded, options: Json, script: Any, outcome: str, status: int | None
) -> None:
    with (
        ScriptedServer(script) as site,
        SupabaseStorage(options | {"rest_url": site.url, "total_timeout": 0.3}) as storage,
        pytest.raises(StorageError) as raised,
    ):
        storage.get(new_uuid())
    assert recorded.counts("operation.duration") == {f"get {outcome}": 1}
    get = ended(recorded.spans, "storage.supabase.get")
    call = ended(recorded.spans, "storage.supabase.postgrest.vcon_storage_get_v3")
    for span in (get, call):
        assert attributes(span)["error.type"] == type(raised.value).__name__
        assert span.status.status_code is StatusCode.ERROR
        assert "Ada" not in span.to_json()
    assert attributes(call).get("http.response.status_code") == status
    assert not get.events


def test_an_outage_of_supabase(recorded: Recorded, cached: Json, stack: Supabase) -> None:
    documents = [small_vcon() for _ in range(3)]
    cached |= {"total_timeout": 1.0}
    with SupabaseStorage(cached) as storage:
        storage.save(small_vcon())
        with away(stack):
            for document in documents[:2]:
                storage.save(document)
            assert storage.save_many(documents[2:]) == [None]
            with pytest.raises(UnavailableError):
                storage.delete(documents[0]["uuid"])
            assert recorded.counts("spool.waiting") == {"": 3}
            age = recorded.counts("spool.age")[""]
            assert 0 < age < 30
            assert recorded.counts("spool.events") == {"spooled": 3}
            assert recorded.counts("breaker.open") == {"cache": 0, "spool": 0}
        assert eventually(lambda: storage.replay()["waiting"] == 0)
        assert recorded.counts("spool.events") == {"spooled": 3, "replayed": 3}
        counts = recorded.counts("operation.duration")
    assert (counts["save spooled"], counts["save_many spooled"]) == (2, 1)
    assert counts["delete unavailable"] == 1
    replays = [span for span in recorded.spans if span.name == "storage.supabase.replay"]
    assert sum(attributes(span)["replayed"] for span in replays) == 3


def test_the_spool_is_asked_every_few_seconds_at_most(
    recorded: Recorded, cached: Json, stack: Supabase
) -> None:
    with SupabaseStorage(cached) as storage, Redis.from_url(stack.redis_url) as redis:
        storage.get(new_uuid())
        spooled(storage, small_vcon())

        def asked() -> int:
            stats: Any = redis.info("commandstats")
            return int(stats["cmdstat_zcard"]["calls"])

        recorded.metrics()
        before = asked()
        for _ in range(10):
            assert recorded.counts("spool.waiting") == {"": 1}
        assert asked() == before


def test_a_redis_that_hangs_holds_the_exporter_up_for_its_timeout_only(
    recorded: Recorded, cached: Json, stack: Supabase
) -> None:
    with SupabaseStorage(cached) as storage:
        storage.get(new_uuid())
        stack.pause_service("redis")
        try:
            began = time.monotonic()
            assert recorded.counts("spool.waiting") == {}
            assert time.monotonic() - began < 3 * cached.get("redis_timeout", 0.25) + 0.5
        finally:
            stack.resume_service("redis")


def test_an_outage_of_redis(recorded: Recorded, options: Json) -> None:
    with closed_port() as url:
        redis_url = url.replace("http", "redis")
        with SupabaseStorage(options | {"redis_url": redis_url}) as storage:
            storage.get(new_uuid())
            storage.get(new_uuid())
            assert recorded.counts("breaker.open") == {"cache": 1, "spool": 1}
            assert recorded.counts("cache") == {"error": 1, "bypass": 2}
            assert "spool.waiting" not in recorded.metrics()
    assert recorded.counts("breaker.open") == {"cache": 0, "spool": 0}  # closed: nobody asks


def test_a_spool_of_its_own_has_a_breaker_of_its_own(
    recorded: Recorded, cached: Json, stack: Supabase
) -> None:
    with closed_port() as url:
        spool_url = url.replace("http", "redis")
        with SupabaseStorage(cached | {"spool_url": spool_url}) as storage:
            storage.save(small_vcon())
            assert recorded.counts("breaker.open") == {"cache": 0, "spool": 1}


def test_spools_of_a_process_are_told_together(recorded: Recorded, cached: Json) -> None:
    other = cached | {"cache_prefix": f"test-{new_uuid()}:"}
    with (
        SupabaseStorage(cached) as one,
        SupabaseStorage(cached) as the_same,
        SupabaseStorage(other) as two,
    ):
        spooled(one, small_vcon(), small_vcon())
        spooled(two, small_vcon())
        for storage in (one, the_same, two):
            storage.search_capabilities()
            storage.search({"limit": 1, "uuid": new_uuid()})
        assert recorded.counts("spool.waiting") == {"": 3}
        assert spool_of(one).size()["waiting"] == 2


def test_a_call_outside_of_an_operation_has_no_span(recorded: Recorded, cached: Json) -> None:
    with SupabaseStorage(cached) as storage:
        assert storage.health()["status"] == "ok"
        storage.clear_cache()
        assert storage.index(1)
    assert recorded.spans == []


def test_a_replay_of_many_has_a_bounded_number_of_spans(recorded: Recorded, cached: Json) -> None:
    with SupabaseStorage(cached) as storage:
        spooled(storage, *(small_vcon() for _ in range(30)))
        assert storage.replay()["replayed"] == 30
    [replay] = [span for span in recorded.spans if span.name == "storage.supabase.replay"]
    assert len([span for span in recorded.spans if span.kind is SpanKind.CLIENT]) == 100
    assert attributes(replay)["attempts"] == 30


def test_what_is_not_sampled_has_no_children(recorded: Recorded, cached: Json) -> None:
    recorded.tracers.sampler = sampling.ALWAYS_OFF
    with SupabaseStorage(cached) as storage:
        storage.save(small_vcon())
    assert recorded.spans == []
    assert recorded.counts("operation.duration") == {"save ok": 1}


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(document=vcons)
def wild(document: Json, storages: list[SupabaseStorage]) -> None:
    """Save, read and search something wild, also where that is refused."""
    for storage in storages:
        for operation in (
            lambda: storage.save(document),  # noqa: B023  called at once
            lambda: storage.get(uuid_in(document)),  # noqa: B023
            lambda: storage.save_many([document]),  # noqa: B023
            lambda: storage.search({"subject": document.get("subject")}),  # noqa: B023
            lambda: storage.search(document),  # noqa: B023
            lambda: storage.delete(uuid_in(document)),  # noqa: B023
        ):
            with suppress(StorageError):
                operation()


def test_every_label_is_of_a_fixed_set_whatever_comes(
    recorded: Recorded, cached: Json, options: Json
) -> None:
    with (
        ScriptedServer(REFUSED) as refusing,
        closed_port() as nobody,
        SupabaseStorage(cached) as fine,
        SupabaseStorage(options | {"rest_url": refusing.url}) as refused,
        SupabaseStorage(options | {"rest_url": nobody, "total_timeout": 0.01}) as unavailable,
    ):
        wild(storages=[fine, refused, unavailable])
        with pytest.raises(InvalidVconError):
            fine.save({"uuid": "Ada Example"})
        known = {metric.otel: metric.labels for metric in names.METRICS}
        found = recorded.metrics()
    assert {"operation.duration", "cache", "bytes", "breaker.open", "spool.waiting"} <= set(found)
    for name, metric in found.items():
        for point in metric.data.data_points:
            assert set(point.attributes) == set(known[name])
            for label, value in point.attributes.items():
                assert value in known[name][label]
    outcomes = {key.split()[1] for key in recorded.counts("operation.duration")}
    assert outcomes >= {"ok", "refused", "unavailable", "invalid"}
    # A span has numbers, our own words and the uuid; an event numbers and a class' name.
    ours = {"operation": names.OPERATIONS, "outcome": names.OUTCOMES}
    for span in recorded.spans:
        for key, value in attributes(span).items():
            if key in ours:
                assert value in ours[key]
            elif key == "error.type":
                assert value in {*module.__all__, "ConnectionError"}
            elif key != "vcon_id":
                assert isinstance(value, int)
        assert all(set(e.attributes or {}) <= {"attempt", "error.type"} for e in span.events)


def test_a_conservers_own_metrics_are_told_where_they_are(
    cached: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its workers each have a provider of their own; the global one has their parent's name."""
    with recording() as everybodys:
        conservers = Recorded()
        lib = types.ModuleType("lib.metrics")

        def register(name: str, callback: Any, description: str | None = None) -> None:
            lib.meter = conservers.meters.get_meter("lib.metrics")  # type: ignore[attr-defined]
            lib.meter.create_observable_gauge(
                name=name, callbacks=[lambda _: callback()], description=description or ""
            )

        lib.register_observable_gauge = register  # type: ignore[attr-defined]
        lib.meter = None  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "lib.metrics", lib)
        with SupabaseStorage(cached) as storage:
            storage.save(small_vcon())
            assert conservers.counts("operation.duration") == {"save ok": 1}
            assert conservers.counts("spool.waiting") == {"": 0}
            assert everybodys.metrics() == {}
            assert ended(everybodys.spans, "storage.supabase.save")


def test_a_conserver_that_exports_no_metrics(
    recorded: Recorded, cached: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    lib = types.ModuleType("lib.metrics")
    lib.register_observable_gauge = lambda *_: None  # type: ignore[attr-defined]
    lib.meter = None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lib.metrics", lib)
    with SupabaseStorage(cached) as storage:
        storage.save(small_vcon())
    assert recorded.counts("operation.duration") == {"save ok": 1}


def program(code: str, options: Json, **variables: str) -> str:
    """Run Python in another process, with `storage` and `vcon`; return what it printed last."""
    preamble = """
import json, sys
options, vcon = json.loads(sys.argv[1])
"""
    done = subprocess.run(
        [sys.executable, "-c", preamble + code, json.dumps([options, small_vcon()])],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


USE = """
from conserver_supabase_storage import SupabaseStorage
with SupabaseStorage(options) as storage:
    storage.save(vcon)
    assert storage.get(vcon["uuid"]) == vcon
"""


def test_without_opentelemetry_nothing_is_loaded(cached: Json) -> None:
    code = f"""
sys.modules["opentelemetry"] = None
{USE}
print([name for name in sys.modules if name.startswith(("opentelemetry.", "prometheus_client"))])
"""
    assert program(code, cached) == "[]"


def test_without_an_sdk_nothing_is_set_up(cached: Json) -> None:
    code = f"""
{USE}
from opentelemetry import metrics, trace
print(type(metrics.get_meter_provider()).__name__, type(trace.get_tracer_provider()).__name__)
print("prometheus_client" in sys.modules)
"""
    assert program(code, cached) == "_ProxyMeterProvider ProxyTracerProvider\nFalse"


def test_an_sdk_that_is_set_up_later_is_told_what_follows(cached: Json) -> None:
    code = f"""
{USE}
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
{USE}
    [resource] = reader.get_metrics_data().resource_metrics
    print(sorted(m.name for scope in resource.scope_metrics for m in scope.metrics))
"""
    found = program(code, cached)
    assert f"'{PREFIX}operation.duration'" in found
    assert f"'{PREFIX}spool.waiting'" in found


def test_a_forked_child_counts_what_it_did_itself(recorded: Recorded, cached: Json) -> None:
    document = small_vcon()
    with SupabaseStorage(cached) as storage:
        storage.save(document)
        assert sinks.chosen().counts
        code = """
import os, warnings
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.telemetry import watched
warnings.simplefilter("ignore", DeprecationWarning)
with SupabaseStorage(options) as storage:
    storage.save(vcon)
    read, write = os.pipe()
    if not os.fork():
        try:
            # As the conserver's worker does.
            reader = InMemoryMetricReader()
            metrics._internal._METER_PROVIDER = MeterProvider([reader])
            assert watched.spool_figures() is None  # its parent's storage is not in use here
            storage.get(vcon["uuid"])
            assert watched.spool_figures() is not None
            [resource] = reader.get_metrics_data().resource_metrics
            counts = {
                (m.name.rpartition(".")[2], *point.attributes.values()): point.count
                for scope in resource.scope_metrics for m in scope.metrics
                if m.name.endswith("duration") for point in m.data.data_points
            }
            os.write(write, repr((counts, storage.stats())).encode())
        finally:
            os._exit(0)
    os.wait()
    print(os.read(read, 10_000).decode())
"""
        found = program(code, cached)
    # Compared, if more than a second has gone by since the save.
    assert found in {
        f"({{('duration', 'get', 'ok'): 1}}, {{'{event}': 1}})" for event in ("hit", "compare")
    }


def test_a_fork_while_threads_count_leaves_the_child_able_to_count(
    tmp_path: Any, cached: Json
) -> None:
    code = """
import os, signal, threading, warnings
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from conserver_supabase_storage.telemetry import Telemetry
warnings.simplefilter("ignore", DeprecationWarning)
metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
telemetry = Telemetry()
stop = threading.Event()
sys.setswitchinterval(1e-5)

def count():
    while not stop.is_set():
        with telemetry.operation("get"):
            telemetry.cache("hit")

threads = [threading.Thread(target=count) for _ in range(4)]
for thread in threads:
    thread.start()
fine = 0
for _ in range(60):
    if not (pid := os.fork()):
        signal.alarm(5)
        telemetry.forget()
        with telemetry.operation("get"):
            telemetry.cache("hit")
        os._exit(0)
    fine += os.waitpid(pid, 0)[1] == 0
stop.set()
print(fine)
"""
    assert program(code, cached, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)) == "60"


def test_the_meter_is_the_global_one_by_default(recorded: Recorded) -> None:
    assert metrics.get_meter_provider() is recorded.meters


def test_the_page_has_what_is_really_told(recorded: Recorded, cached: Json) -> None:
    page = (ROOT / "docs" / "telemetry.md").read_text("utf-8")
    row = r"^\| `([\w.]+)` \| (?:`\w+`)? \| (\w+)(?:, (\w+))? \|"
    said = {name: (kind, unit) for name, kind, unit in re.findall(row, page, re.MULTILINE)}
    with ScriptedServer(BUSY, SAVED) as site, SupabaseStorage(cached) as storage:
        with SupabaseStorage(cached | {"rest_url": site.url}) as hindered:
            hindered.save(small_vcon())
        spooled(storage, small_vcon())
        storage.replay()
        storage.save_many([small_vcon(), {}])
        storage.get(new_uuid())
        metrics_told, spans = recorded.metrics(), recorded.spans
    units = {"s": "seconds", "By": "bytes", "1": "", "": ""}
    kinds = {"Histogram": "histogram", "Sum": "counter", "Gauge": "gauge"}
    assert said == {
        name: (kinds[type(metric.data).__name__], units[metric.unit])
        for name, metric in metrics_told.items()
    }
    section = page.partition("\n## Spans\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([\w.]+)`", section))
    for span in spans:
        events = [attributes(event) for event in span.events]
        assert {*attributes(span), *(key for each in events for key in each)} <= named
        assert re.match(r"storage\.supabase\.(\w+$|postgrest\.|redis\.)", span.name)
    assert any(span.events for span in spans)
