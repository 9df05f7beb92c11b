"""The keys in a Redis: ours, those of others of us, and the conserver's."""

import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..options import CONSERVER_PREFIX, Options
from ..redis_client import text_of
from ..spool import Spool
from .finding import Finding, broken, ok, warning

if TYPE_CHECKING:
    from redis import Redis

# Where to stop in a large Redis. Each step looks at about so many keys.
_STEP, _STEPS, _SECONDS = 1_000, 200, 2.0

# A key of ours: the prefix, a vCon's uuid or the word spool in braces, the rest.
_KEY = re.compile(r"(?P<prefix>.*)\{(?P<whose>[^{}]+)\}(?P<rest>:[a-z]+)?", re.DOTALL)
_CONSERVERS = re.compile(re.escape(CONSERVER_PREFIX) + r"[0-9a-fA-F-]{36}")

_KINDS = {
    "entry": "string",
    ":gate": "hash",
    ":records": "hash",
    ":queue": "zset",
    ":bytes": "string",
    ":last": "string",
    ":failed": "hash",
    ":lock": "string",
}


class _Seen:
    """What a walk through the keys came across."""

    def __init__(self) -> None:
        self.ours = 0
        self.whole = True
        self.wrong: list[tuple[str, str]] = []
        self.spool_wrong: list[tuple[str, str]] = []
        self.prefixes: Counter[str] = Counter()
        self.spools: list[str] = []
        self.strings: list[str] = []
        self.records = 0


def examine(
    name: str, redis: "Redis", options: Options, *, ours: bool, conserver: bool
) -> Iterator[Finding]:
    """Look at the keys, at most as many as a second or two allows.

    Args:
        name: what the checks begin with.
        redis: the client.
        options: the storage's.
        ours: whether it is the cache's or the spool's.
        conserver: whether this is known to be the conserver's own Redis.
    """
    from redis import RedisError  # noqa: PLC0415

    try:
        seen = _walk(redis, options)
        if ours:
            yield _types(name, seen, options)
            yield from _others(name, redis, seen, options)
        yield _owner(name, seen, ours and options.shares_cache, conserver)
        if ours and not seen.spool_wrong:
            yield from _spooled(name, redis, options)
    except RedisError as error:
        text = f"they can't be looked at: {error}"
        fix = "Give its user +scan, +type, +hlen, +zcard and +get, or leave this to its operator."
        yield warning(f"{name} keys", text, fix)


def _walk(redis: "Redis", options: Options) -> _Seen:
    seen = _Seen()
    ours, base = options.key_prefix, _base(options)
    end = time.monotonic() + _SECONDS
    cursor, steps = 0, 0
    while True:
        cursor, found = redis.scan(cursor, count=_STEP)
        steps += 1
        names = [k.decode("utf-8", "replace") if isinstance(k, bytes) else k for k in found]
        parsed = [(name, _KEY.fullmatch(name)) for name in names]
        wanted: list[tuple[str, str | None]] = []
        for name, match in parsed:
            if match and match["prefix"] == ours and (match["rest"] or "entry") in _KINDS:
                wanted.append((name, match["rest"] or "entry"))
            elif match and match["rest"] == ":gate" and not match["prefix"].startswith(base):
                seen.prefixes[match["prefix"]] += 1
            elif match and match["whose"] == "spool" and match["rest"] in {":queue", ":failed"}:
                seen.spools.append(name)
            elif _CONSERVERS.fullmatch(name):
                wanted.append((name, None))
        _note(seen, wanted, _kinds(redis, [name for name, _ in wanted]))
        if cursor == 0:
            return seen
        if steps == _STEPS or time.monotonic() > end:
            seen.whole = False
            return seen


def _kinds(redis: "Redis", names: list[str]) -> list[str]:
    with redis.pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.type(name)
        return [text_of(kind) for kind in pipeline.execute()]


def _note(seen: _Seen, wanted: list[tuple[str, str | None]], kinds: list[str]) -> None:
    for (name, part), kind in zip(wanted, kinds, strict=True):
        if kind == "none":  # it expired just now
            continue
        if part is None:
            if kind == "string":
                seen.strings.append(name)
            elif kind.startswith("ReJSON"):
                seen.records += 1
            continue
        seen.ours += 1
        if kind != _KINDS[part]:
            (seen.wrong if part in {"entry", ":gate"} else seen.spool_wrong).append((name, kind))


def _types(name: str, seen: _Seen, options: Options) -> Finding:
    check = f"{name} keys"
    wrong = seen.spool_wrong or seen.wrong
    if not wrong:
        bound = "" if seen.whole else ", of those that were looked at"
        return ok(check, f"{seen.ours:,} begin with {options.key_prefix!r}{bound}")
    shown = ", ".join(f"{key} ({kind})" for key, kind in wrong[:3])
    fix = (
        "Find the program that writes there and give one of the two another prefix (cache_prefix); "
        "then delete these keys."
    )
    if seen.spool_wrong:
        text = f"the spool can't be used, as keys of it are of another type: {shown}"
        return broken(check, text, fix)
    text = f"{len(wrong):,} in our place are of another type, so that vCons aren't cached: {shown}"
    return warning(check, text, fix)


def _others(name: str, redis: "Redis", seen: _Seen, options: Options) -> Iterator[Finding]:
    """Those of another storage like this one, or of this one with another prefix."""
    if seen.prefixes:
        prefix, count = seen.prefixes.most_common(1)[0]
        yield warning(
            f"{name} prefix",
            f"{count:,} vCons were cached under {prefix!r}, and this storage's prefix is "
            f"{options.key_prefix!r}",
            "Give all processes that save to the same tables one cache_prefix; it is fine if that "
            "is another project's.",
        )
    for key in seen.spools:
        prefix = key.partition("{spool}")[0]
        if prefix == options.key_prefix or prefix.startswith(_base(options)):
            continue  # another tenant's, who replays it
        if key.endswith(":queue") and (waiting := redis.zcard(key)):
            yield warning(
                f"{name} other spool",
                f"{waiting:,} saves wait under {prefix!r}, which this storage does not replay",
                "If they are for this project: conserver-supabase-storage replay "
                f"-o cache_prefix={prefix}",
            )


def _owner(name: str, seen: _Seen, shares_cache: bool, conserver: bool) -> Finding:
    """Whether the conserver's live vCons, which are RedisJSON, are here and still theirs."""
    check = f"{name} owner"
    if not conserver and not seen.records:
        return ok(check, "nothing of a conserver is in it")
    if shares_cache:
        return broken(
            check,
            f"it is the conserver's own, and cache_prefix {CONSERVER_PREFIX!r} would overwrite its "
            "records",
            "Give the vcon-mcp server's Redis as redis_url, or leave cache_prefix out.",
        )
    if seen.strings:
        return broken(
            check,
            f"it is the conserver's own, and {len(seen.strings):,} of its records are strings, "
            f"which it can't read: {', '.join(seen.strings[:2])}",
            "Stop the program that writes strings there, such as a vcon-mcp server with the same "
            "REDIS_URL, and delete these keys.",
        )
    return ok(check, "it is the conserver's own, and nobody overwrote a record of it")


def _spooled(name: str, redis: "Redis", options: Options) -> Iterator[Finding]:
    spool = Spool(redis, prefix=options.key_prefix, max_count=0, max_bytes=0)
    size = spool.size()
    check = f"{name} spool"
    if size["failed"]:
        text = f"{size['failed']:,} saves were refused and are set aside"
        fix = (
            "Run `conserver-supabase-storage spool list`, mend the cause, then `spool retry --all`."
        )
        yield warning(check, text, fix)
    if size["waiting"]:
        text = f"{size['waiting']:,} saves wait"
        yield warning(check, text, "Run `conserver-supabase-storage replay`.")
    if not size["failed"] and not size["waiting"]:
        yield ok(check, "no save waits")


def _base(options: Options) -> str:
    """What the prefixes of all tenants begin with."""
    return (
        options.key_prefix.removesuffix(f"{options.tenant}:")
        if options.tenant
        else options.key_prefix
    )
