"""What a run found, as Markdown tables."""

from collections.abc import Sequence

from conserver_supabase_storage.bench.measure import Case, Figure, Figures, missed, ratio

from .counts import Count
from .fresh import Peak

_MISSED = "**missed**"
_FIGURES = (
    ["case", "median", "p25 to p75", "ratio", "ratio, raw body", "must", "hope", ""],
    ["---", *["---:"] * 6, "---"],
)
_COUNTS = (
    [
        "operation",
        "vCon",
        "document",
        "requests",
        "sent",
        "received",
        "Redis trips",
        "Redis sent",
        "Redis received",
        "SQL statements",
        "WAL",
    ],
    ["---", "---", *["---:"] * 9],
)
_PEAKS = (
    ["operation", "vCon", "document", "traced", "resident", "ratio", "must", "hope", ""],
    ["---", "---", *["---:"] * 6, "---"],
)


def page(
    machine: dict[str, str],
    sections: dict[str, Figures],
    counts: Sequence[Count],
    peaks: Sequence[Peak],
    remarks: Sequence[str],
) -> str:
    """Return the whole report."""
    parts = [
        "# Benchmarks: results\n",
        "Made by `scripts/bench`; [how to read it](../benchmarks.md).\n",
    ]
    parts.append(_table([["", ""], ["---", "---"], *(list(item) for item in machine.items())]))
    if sections:
        parts.append("![Ratios to the floors](ratios.svg)\n")
    for title, figures in sections.items():
        parts += [
            f"## {title}\n",
            _table([*_FIGURES, *(_row(f, figures) for f in figures.values())]),
        ]
    if counts:
        parts += ["## What one operation takes\n", _table([*_COUNTS, *map(_counted, counts)])]
    if peaks:
        parts += ["## Peak memory\n", _table([*_PEAKS, *map(_peak, peaks)])]
    parts += [f"- {remark}" for remark in remarks]
    return "\n".join(parts)


def _table(rows: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(figure: Figure, figures: Figures) -> list[str]:
    case = figure.case
    if figure.error or not figure.seconds:
        return [case.name, "failed", *[""] * 5, figure.error.replace("|", "/").replace("\n", " ")]
    low, median, high = figure.quartiles
    if case.rate:
        low, high = high, low
    ratios = (ratio(figure, name, figures) for name in (case.floor, case.other_floor))
    return [
        case.name,
        _shown(median, case),
        f"{_shown(low, case)} to {_shown(high, case)}",
        *(f"{value:.2f}" if value else "" for value in ratios),
        *_musts(case),
        _MISSED if missed(figure, figures) else "",
    ]


def _musts(case: Case) -> list[str]:
    if case.must is None:
        return ["", ""]
    sign = ">=" if case.rate else "<="
    values = (case.must.limit, case.must.hope)
    return [f"{sign} {value:g}" if case.floor else f"{sign} {_time(value)}" for value in values]


def _counted(count: Count) -> list[str]:
    http, redis = count.http, count.redis
    numbers = (
        count.document,
        http.trips,
        http.sent,
        http.received,
        redis.trips,
        redis.sent,
        redis.received,
        count.statements,
        count.wal,
    )
    return [count.name, count.kind, *(f"{number:,}" for number in numbers)]


def _peak(peak: Peak) -> list[str]:
    must = [f"<= {peak.must.limit:g}", f"<= {peak.must.hope:g}"] if peak.must else ["", ""]
    return [
        peak.operation,
        peak.kind,
        *(f"{size / 1e6:.1f} MB" for size in (peak.document, peak.traced, peak.rss)),
        f"{peak.ratio:.2f}",
        *must,
        _MISSED if peak.missed else "",
    ]


def _shown(seconds: float, case: Case) -> str:
    return f"{1 / seconds:,.0f}/s" if case.rate else _time(seconds)


def _time(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} us"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
