"""The page on metrics, spans and logs has the names that the code has: UPDATE_DOCS=1 writes them.

That these are what is really told is shown in tests/operate.
"""

import os
import re

from conserver_supabase_storage.telemetry.names import METRICS, OPERATIONS, OUTCOMES, Metric

from .pages import ROOT

PAGE = ROOT / "docs" / "telemetry.md"

_KINDS = {"breaker.open": "gauge", "spool.waiting": "gauge", "spool.age": "gauge"}


def kind(metric: Metric) -> str:
    return _KINDS.get(metric.otel, "histogram" if metric.unit == "s" else "counter")


def table() -> str:
    rows = [
        "| OpenTelemetry | Prometheus | kind, unit | labels | what it is |",
        "|---|---|---|---|---|",
    ]
    for metric in METRICS:
        total = "_total" if kind(metric) == "counter" else ""
        unit = {"s": ", seconds", "By": ", bytes"}.get(metric.unit, "")
        labels = "; ".join(
            f"`{label}`: {', '.join(f'`{value}`' for value in values)}"
            for label, values in metric.labels.items()
        )
        prometheus = f"`{metric.prometheus}{total}`" if metric.prometheus else ""
        cells = [f"`{metric.otel}`", prometheus, kind(metric) + unit, labels, metric.text]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def test_the_table_of_metrics_is_made_from_the_code() -> None:
    page = PAGE.read_text("utf-8")
    wanted = re.sub(
        r"(?s)(<!-- metrics: made [^>]*-->\n).*?(<!-- metrics: end -->)",
        lambda found: f"{found[1]}{table()}\n{found[2]}",
        page,
    )
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(wanted, "utf-8")
        return
    assert page == wanted, "renew it by UPDATE_DOCS=1 (docs/contributing.md)"


def test_every_operation_and_outcome_is_explained() -> None:
    page = PAGE.read_text("utf-8")
    for heading, values in (("Operations", OPERATIONS), ("Outcomes", OUTCOMES)):
        section = page.partition(f"**{heading}.**")[2].partition("- **")[0]
        assert set(values) <= set(re.findall(r"`(\w+)`", section))
