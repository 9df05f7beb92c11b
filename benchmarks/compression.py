"""What compressing cached vCons saves in Redis, and what it costs.

Run: python benchmarks/compression.py
Ratios to the uncompressed entry, measured in the same run, interleaved; medians.
"""

import json
import statistics
import time
from collections.abc import Callable
from functools import partial

from redis import Redis

from conserver_supabase_storage.cache import Cache, token
from conserver_supabase_storage.entry import Entry
from conserver_supabase_storage.local import LocalSupabase

ROUNDS = 300
WORDS = "the caller asked about an invoice and the agent explained how it was made up ".split()


def transcript(words: int) -> bytes:
    """Return rows with a body of so many words, no two alike in a row."""
    body = " ".join(f"{WORDS[i % len(WORDS)]}{i % 97}" for i in range(words))
    return json.dumps({"dialog": [[{"type": "text", "body": None}, body]]}).encode()


def main() -> None:
    """Print a table: size in Redis, write and read, each as a ratio to the uncompressed entry."""
    with LocalSupabase(migrate=False) as stack, Redis.from_url(stack.redis_url) as redis:
        plain, packed = (
            Cache(redis, prefix=f"bench{limit}:", ttl=60, span=60, compress_bytes=limit)
            for limit in (0, 1)
        )
        print(f"{'rows':>12} {'in Redis':>9} {'write':>6} {'read':>6}")
        for words in (500, 5_000, 100_000):
            rows = transcript(words)
            times: dict[str, list[float]] = {}
            for _ in range(ROUNDS):
                for name, cache in (("plain", plain), ("packed", packed)):
                    writer = token()
                    cache.begin([("x", writer)])
                    entry = Entry(1, 1, rows)
                    clock(times, f"{name} write", partial(cache.complete, [("x", writer, entry)]))
                    clock(times, f"{name} read", partial(cache.read, "x"))
            sizes = [redis.strlen("bench1:{x}"), redis.strlen("bench0:{x}")]
            medians = {name: statistics.median(values) for name, values in times.items()}
            ratios = [
                sizes[0] / sizes[1],
                medians["packed write"] / medians["plain write"],
                medians["packed read"] / medians["plain read"],
            ]
            shown = " ".join(f"{ratio:6.2f}" for ratio in ratios[1:])
            print(f"{len(rows):>10} B {ratios[0]:9.2f} {shown}")


def clock(times: dict[str, list[float]], name: str, call: Callable[[], object]) -> None:
    """Measure one call."""
    began = time.perf_counter()
    call()
    times.setdefault(name, []).append(time.perf_counter() - began)


if __name__ == "__main__":
    main()
