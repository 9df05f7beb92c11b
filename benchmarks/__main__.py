"""What the storage costs, as ratios to one bare request (docs/benchmarks.md)."""

import argparse
import logging
import sys
from contextlib import ExitStack
from pathlib import Path

from conserver_supabase_storage.bench.measure import Case, Figures, chosen, interleave, missed
from conserver_supabase_storage.local import LocalSupabase

from . import floors, plot, report
from .cases import Bench, operations
from .counts import Count, count
from .fresh import Peak, imports, peaks
from .load import bulk, growth, threads
from .machine import describe
from .peers import Peer, postgres
from .vcons import KINDS

_RESULTS = Path(__file__).parent.parent / "docs" / "benchmarks"
# A round of these takes so much longer.
_FEWER = {"200 dialogs": 3, "1 MB text": 6, "25 MB body": 30}
_QUICK_ROUNDS = 30


# What --only can name beside the kinds of vCons.
_SECTIONS = ("threads", "bulk", "import", "growth", "counts", "memory")


class Run:
    """One run: what was asked for, and what was found."""

    def __init__(self, asked: argparse.Namespace, stack: LocalSupabase) -> None:
        self._asked = asked
        self._stack = stack
        self._rounds = asked.rounds or (_QUICK_ROUNDS if asked.quick else 300)
        only, _, self._case = asked.only.partition(": ")
        if only not in (*KINDS, *_SECTIONS):  # the name of a case, wherever it is
            only, self._case = "", asked.only
        self._section = only
        self.sections: dict[str, Figures] = {}
        self.counts: list[Count] = []
        self.peaks: list[Peak] = []
        self.remarks: list[str] = []

    def all(self) -> None:
        """Measure everything that was asked for."""
        asked, stack = self._asked, self._stack
        kinds = KINDS[:2] if asked.quick else KINDS
        with ExitStack() as closing:
            bench = closing.enter_context(Bench(stack))
            for kind in kinds:
                if self._wants(kind):
                    self._measure(kind, operations(bench, kind), fewer=_FEWER.get(kind, 1))
            if self._wants("threads"):
                burst = 80 if asked.quick else 320
                self._measure("threads", list(threads(bench, burst)), fewer=15)
            if self._wants("bulk"):
                self._measure("bulk", bulk(bench), fewer=15)
            if self._wants("import"):
                self._measure("import", imports(stack), fewer=15)
            if asked.peer_postgres:
                cases = closing.enter_context(postgres(bench, stack.database_url))
                self._measure("psycopg", cases)
            if asked.peer:
                peer = closing.enter_context(Peer(asked.peer, asked.peer_sql))
                self._measure(f"{peer.name}, through the gateway", peer.cases(stack))
                self.remarks.append(peer.differences())
        if self._wants("growth") and (asked.growth or not asked.quick):
            sizes = (1_000, asked.growth or 30_000)
            _say(f"filling tables with {sizes[1]:,} vCons ...")
            with growth(stack, sizes) as grown:
                self._measure("growth", grown)
        if self._wants("counts") and not self._case:
            _say("counts ...")
            self.counts += count(stack, kinds)
        if self._wants("memory") and not self._case:
            _say("memory ...")
            self.peaks += peaks(stack, KINDS[2:3] if asked.quick else KINDS[2:])

    @property
    def missed(self) -> bool:
        """Whether anything is not what it must be."""
        return any(peak.missed for peak in self.peaks) or any(
            missed(figure, figures)
            for figures in self.sections.values()
            for figure in figures.values()
        )

    def _wants(self, section: str) -> bool:
        return self._section in {"", section}

    def _measure(self, title: str, cases: list[Case], fewer: int = 1) -> None:
        if self._case:
            cases = chosen(cases, self._case)
        if not cases:
            return
        rounds = max(self._rounds // fewer, 3)
        _say(f"{title}: {len(cases)} cases, {rounds} rounds ...")
        self.sections[title] = interleave(cases, rounds, warm_up=min(5, 1 + rounds // 4))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="a run of a minute: less of everything")
    add("--rounds", type=int, metavar="N", help="calls of each case (300; slow ones less)")
    sections = ", ".join((*KINDS, *_SECTIONS))
    add(
        "--only",
        default="",
        metavar="CASE",
        help=f"a section ({sections}), a case (save new), or both (small: save new)",
    )
    add(
        "--growth",
        type=int,
        nargs="?",
        const=300_000,
        metavar="N",
        help="fill tables with N vCons (300,000; without this option 30,000)",
    )
    add("--peer", type=Path, metavar="FILE.py", help="a class SupabaseStorage to measure as well")
    add(
        "--peer-sql",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE.sql",
        help="the peer's tables; without, it finds ours",
    )
    add("--peer-postgres", action="store_true", help="measure upserts by psycopg as well")
    add("--out", type=Path, default=_RESULTS, metavar="DIR", help="where the results are written")
    add("--strict", action="store_true", help="exit with 1 where a ratio misses what must hold")
    return parser.parse_args()


def main() -> int:
    """Measure, print the tables and write them with the plot; return the exit code."""
    asked = _arguments()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with LocalSupabase() as stack:
        floors.install(stack.database_url)
        stack.reload_schema()
        machine = describe(stack)
        run = Run(asked, stack)
        run.all()
    page = report.page(machine, run.sections, run.counts, run.peaks, run.remarks)
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "results.md").write_text(page)
    plot.draw(run.sections, asked.out)
    print(page)
    return int(asked.strict and run.missed)


if __name__ == "__main__":
    sys.exit(main())
