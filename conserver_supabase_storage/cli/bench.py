"""The command that measures the storage on the user's own Supabase."""

import signal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import (
    AsJson,
    Config,
    Given,
    Name,
    errors,
    interruptible,
    options_of,
    print_json,
    progress,
)

if TYPE_CHECKING:
    from ..bench.cases import Cases
    from ..bench.measure import Case, Figures

_WARM_UP = 3

# A round of save_many takes so much longer.
_FEWER = 10


def bench(
    config: Config = None,
    storage: Name = None,
    given: Given = None,
    write: Annotated[
        bool,
        typer.Option("--write", help="Also measure saves and deletes, with vCons of its own."),
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, max=10_000, help="Calls of each.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Measure what the storage takes on your Supabase, beside a bare request to it.

    Health, search, and gets from the database and from the cache, one call of each in turns, and
    the ratio of their medians to that of the smallest request there is. It reads what is there, and
    changes nothing; a get may fill the cache, as ever.

    With --write also saves and deletes, with vCons whose subject is `conserver-supabase-storage
    bench`. They are removed at the end, also after Ctrl-C or an error. A conserver or other
    programs see them until then.

    ```sh
    conserver-supabase-storage bench
    conserver-supabase-storage bench --write --rounds 20 --json
    ```
    """
    if write:  # what ends it from outside shall leave nothing either
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    bench_run = _Run(rounds, quiet=as_json)

    def report() -> None:
        bench_run.report(as_json=as_json)

    with interruptible("run it again; nothing can be gone on with", report), errors():
        from ..bench.cases import Cases  # noqa: PLC0415
        from ..options import Options  # noqa: PLC0415

        options = Options.parse(options_of(config, storage, given))
        bench_run.where = options.rest_url or options.url or ""
        with Cases(options) as cases:
            bench_run.has_cache = cases.has_cache
            try:
                bench_run.measure("reading", cases.reading())
                if write:
                    bench_run.measure("writing", cases.writing())
                    bench_run.measure("writing many", cases.together(), fewer=_FEWER)
            finally:
                if write:
                    bench_run.remove(cases)
    report()
    if bench_run.left:
        raise typer.Exit(1)


class _Run:
    """What was measured until now, and what is left of the vCons that were saved for it."""

    def __init__(self, rounds: int, *, quiet: bool) -> None:
        self._rounds = rounds
        self._quiet = quiet
        self._sections: dict[str, Figures] = {}
        self._removed = 0
        self.where = ""
        self.has_cache = False
        self.left: list[str] = []

    def measure(self, section: str, cases: "list[Case]", fewer: int = 1) -> None:
        from ..bench.measure import interleave  # noqa: PLC0415

        rounds = max(self._rounds // fewer, min(self._rounds, 3))
        with progress(section, _WARM_UP + rounds, quiet=self._quiet) as advance:
            self._sections[section] = interleave(cases, rounds, _WARM_UP, advance)

    def remove(self, cases: "Cases") -> None:
        from ..bench.own import SUBJECT  # noqa: PLC0415

        own = cases.own
        try:
            with progress("removing its vCons", len(own.left), quiet=self._quiet) as advance:
                self._removed = own.remove(cases.storage, advance)
        finally:
            self.left = own.left
            if self.left:
                typer.echo(
                    f"error: {len(self.left)} vCons of its own may be left: search --subject "
                    f"'{SUBJECT}' --all finds them, and delete removes them",
                    err=True,
                )
            elif not self._quiet:
                typer.echo(f"removed the {self._removed} vCons of its own that were left", err=True)

    def report(self, *, as_json: bool) -> None:
        if as_json:
            sections = {name: _as_json(figures) for name, figures in self._sections.items()}
            print_json(
                {
                    "url": self.where,
                    "cache": self.has_cache,
                    "sections": sections,
                    "removed": self._removed,
                    "left": self.left,
                }
            )
            return
        for name, figures in self._sections.items():
            typer.echo(f"{name:<24} {'median':>10} {'p25 to p75':>22} {'ratio':>7} {'calls':>6}")
            for line in _rows(figures):
                typer.echo(line)


def _rows(figures: "Figures") -> list[str]:
    from ..bench.measure import ratio  # noqa: PLC0415

    rows = []
    for figure in figures.values():
        low, median, high = (f"{seconds * 1e3:,.2f}" for seconds in figure.quartiles)
        times = ratio(figure, figure.case.floor, figures)
        shown = f"{times:.2f}" if times is not None else ""
        rows.append(
            f"{figure.case.name:<24} {median + ' ms':>10} {f'{low} to {high} ms':>22}"
            f" {shown:>7} {len(figure.seconds):>6}"
        )
    return rows


def _as_json(figures: "Figures") -> list[dict[str, Any]]:
    from ..bench.measure import ratio  # noqa: PLC0415

    found = []
    for figure in figures.values():
        low, median, high = figure.quartiles
        found.append(
            {
                "case": figure.case.name,
                "median_seconds": median,
                "p25_seconds": low,
                "p75_seconds": high,
                "ratio": ratio(figure, figure.case.floor, figures),
                "calls": len(figure.seconds),
            }
        )
    return found
