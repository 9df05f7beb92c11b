"""The table of a run, in Markdown."""

from collections.abc import Iterable, Sequence

from .measure import Figure, Must

_HEAD = (
    "case",
    "vCon",
    "median",
    "p25 to p75",
    "floor",
    "ratio",
    "ratio, raw body",
    "must",
    "hope",
    "",
)


def table(rows: Iterable[Sequence[str]]) -> str:
    """Return rows, the first one the head, as a Markdown table."""
    head, *others = rows
    lines = [head, ["---"] * len(head), *others]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def figures(found: dict[str, dict[str, Figure]]) -> str:
    """Return the table of all figures, by the kind of vCon and the case."""
    rows = [list(_HEAD)]
    for kind, by_name in found.items():
        for figure in by_name.values():
            rows.append([figure.case.name, kind, *_row(figure, by_name)])
    return table(rows)


def ratio(figure: Figure, floor: str, by_name: dict[str, Figure]) -> float | None:
    """Return the ratio of two medians, where both are there."""
    if not floor or floor not in by_name or not by_name[floor].seconds or not figure.seconds:
        return None
    return figure.median / by_name[floor].median


def _row(figure: Figure, by_name: dict[str, Figure]) -> list[str]:
    case = figure.case
    if figure.error:
        return ["failed", "", case.floor, "", "", "", "", figure.error]
    low, median, high = figure.quartiles
    against, other = (ratio(figure, name, by_name) for name in (case.floor, case.other_floor))
    missed = against is not None and case.must is not None and not case.must.holds(against)
    return [
        shown(median),
        f"{shown(low)} to {shown(high)}",
        case.floor,
        f"{against:.2f}" if against else "",
        f"{other:.2f}" if other else "",
        *_musts(case.must),
        "**missed**" if missed else "",
    ]


def _musts(must: Must | None) -> tuple[str, str]:
    if must is None:
        return "", ""
    sign = ">=" if must.at_least else "<="
    return f"{sign} {must.limit:g}", f"{sign} {must.hope:g}"


def shown(seconds: float) -> str:
    """Return a time that can be read."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} us"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"
