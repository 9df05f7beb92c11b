"""Runs the benchmarks: scripts/bench, or python -m benchmarks."""

import argparse
import logging

from conserver_supabase_storage.local import LocalSupabase

from . import floors, report
from .cases import Bench, operations
from .measure import interleave


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=300, metavar="N", help="calls of each case")
    arguments = parser.parse_args()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with LocalSupabase() as stack:
        floors.install(stack.database_url)
        stack.reload_schema()
        with Bench(stack) as bench:
            found = {"small": interleave(operations(bench, "small"), arguments.rounds)}
    print(report.figures(found))


if __name__ == "__main__":
    main()
