"""The ratios of a run as a picture."""

from pathlib import Path

from matplotlib.figure import Figure as Picture

from conserver_supabase_storage.bench.measure import Figures, missed, ratio

_KEPT, _MISSED, _FREE = "#2a6f97", "#c8553d", "#9aa5ad"
_TICKS = (0.25, 0.5, 1, 2, 5, 10, 20)


def draw(sections: dict[str, Figures], folder: Path) -> None:
    """Write ratios.png and ratios.svg: a bar for each ratio, a tick for what it must keep to."""
    bars = [
        (f"{title}: {name}", value, figure.case.must, missed(figure, figures))
        for title, figures in sections.items()
        for name, figure in figures.items()
        if (value := ratio(figure, figure.case.floor, figures)) is not None
    ]
    if not bars:
        return
    picture = Picture(figsize=(10, 1.2 + 0.24 * len(bars)), layout="constrained")
    axes = picture.subplots()
    places = range(len(bars))
    colors = [_FREE if must is None else _MISSED if bad else _KEPT for _, _, must, bad in bars]
    drawn = axes.barh(places, [bar[1] for bar in bars], color=colors, height=0.7)
    axes.bar_label(drawn, fmt="%.2f", padding=3, fontsize=7)
    for place, (_, _, must, _) in zip(places, bars, strict=True):
        if must is not None:
            axes.plot([must.limit] * 2, [place - 0.45, place + 0.45], color="black", linewidth=2)
    axes.axvline(1, color="black", linewidth=0.8, linestyle=":")
    axes.set_yticks(places, [bar[0] for bar in bars], fontsize=7)
    axes.set_xscale("log")
    axes.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
    axes.minorticks_off()
    axes.invert_yaxis()
    axes.set_xlabel(
        "ratio to the floor's time (for rates, to the floor's rate); a tick is what must hold"
    )
    for kind in ("png", "svg"):
        picture.savefig(folder / f"ratios.{kind}", dpi=120)
