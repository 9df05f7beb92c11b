"""How long a page of a search takes, by criterion, and how that grows with the vCons.

Run: python benchmarks/search.py [--million]
One request through PostgREST per page of 20 hits, without their parts; p50 and p95 of 40 requests
each, the criteria in turn. The growth is p50 with the most vCons to p50 with the fewest.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.local import LocalSupabase

FILL = (Path(__file__).parent / "search.sql").read_text("utf-8")
BATCH = 50_000
ROUNDS = 40
CRITERIA: dict[str, dict[str, Any]] = {
    "nothing": {},
    "text, rare": {"text": "number4321"},
    "text, common": {"text": "invoice"},
    "text, rare, by rank": {"text": "number4321", "order": "rank"},
    "text, common, by rank": {"text": "invoice", "order": "rank"},
    "phrase": {"text": '"asked about" number4321'},
    "subject": {"subject": "call 4321 "},
    "party tel": {"party": {"tel": "(202) 555-4321"}},
    "party name": {"party": {"name": "name4321"}},
    "party mailto": {"party": {"mailto": "user4321@example.com"}},
    "tag, rare": {"tags": {"queue": "4321"}},
    "tag, common": {"tags": {"language": "en"}},
    "a week": {"start_date": "2020-01-02", "end_date": "2020-01-08"},
    "dialog_type, rare": {"dialog_type": "transfer"},
    "vendor, rare": {"vendor": "rare"},
    "has_attachment": {"has_attachment": "contract"},
    "updated_since": {"updated_since": "2022-01-02", "order": "updated"},
    "total of all": {"total": True},
}


def main() -> None:
    """Print a table per number of vCons, and the growth between the first and the last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--million", action="store_true", help="also with a million vCons")
    sizes = [10_000, 100_000, *([1_000_000] if parser.parse_args().million else [])]
    medians: dict[str, list[float]] = {name: [] for name in CRITERIA}
    with (
        LocalSupabase() as stack,
        SupabaseStorage({"rest_url": stack.rest_url, "key": stack.service_role_key}) as storage,
        psycopg.connect(stack.database_url, autocommit=True) as connection,
    ):
        print(f"capabilities: {storage.search_capabilities()}")
        filled = 0
        for size in sizes:
            for first in range(filled + 1, size + 1, BATCH):
                rows = min(BATCH, size - first + 1)
                text = FILL.replace("%(first)s", str(first)).replace("%(rows)s", str(rows))
                connection.execute(text.encode())
            filled = size
            connection.execute("VACUUM ANALYZE vcons, vcon_search")
            print(f"\n{size:,} vCons{'p50':>24} {'p95':>9} ms")
            for name, times in measured(storage):
                p50, p95 = statistics.median(times), statistics.quantiles(times, n=20)[18]
                medians[name].append(p50)
                print(f"{name:<28}{p50:9.2f} {p95:9.2f}")
    print(f"\ngrowth from {sizes[0]:,} to {sizes[-1]:,}")
    for name, values in medians.items():
        print(f"{name:<28}{values[-1] / values[0]:9.2f}")


def measured(storage: SupabaseStorage) -> Iterator[tuple[str, list[float]]]:
    """Give each criterion's times in milliseconds; the first round only warms up."""
    times: dict[str, list[float]] = {name: [] for name in CRITERIA}
    for _ in range(ROUNDS + 1):
        for name, query in CRITERIA.items():
            began = time.perf_counter()
            storage.search_page({"limit": 20, "include": [], "total": False, **query})
            times[name].append((time.perf_counter() - began) * 1000)
    return iter((name, found[1:]) for name, found in times.items())


if __name__ == "__main__":
    main()
