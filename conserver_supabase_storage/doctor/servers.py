"""Each Redis that the options and the conserver's REDIS_URL name."""

import os
import secrets
import statistics
import time
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from ..options import Options
from ..redis_client import connect, script
from ..urls import database_of, mask_url, split
from . import keys
from .configuration import is_near
from .finding import Finding, broken, ok, skipped, warning
from .limits import LIMIT, within
from .network import resolve

if TYPE_CHECKING:
    from redis import Redis

# Ours are tried from 6.2 on; before 5, scripts that ask for the time must not write.
_OLDEST, _TRIED = (5, 0), (6, 2)
# How much of its memory may be in use before somebody should hear of it.
_NEARLY_FULL = 0.8


class Target(NamedTuple):
    """A Redis, and what it is there for.

    Attributes:
        name: what its checks begin with.
        url: where it is.
        cache: whether it is the cache's.
        spool: whether it is the spool's.
        conserver: whether it is the conserver's own.
    """

    name: str
    url: str
    cache: bool
    spool: bool
    conserver: bool


def examine(options: Options) -> Iterator[Finding]:
    """Look at each Redis once."""
    targets = _targets(options)
    if not targets:
        yield ok("redis", "there is none in the options")
    # By what servers say of themselves: one of them can be reached by several names.
    known: dict[tuple[str, int], Target] = {}
    for target in targets:
        yield from _look(target, options, known)


def _targets(options: Options) -> list[Target]:
    cache = options.redis_url.get_secret_value() if options.redis_url else None
    spool = options.spool_url.get_secret_value() if options.spool_url else cache
    conserver = os.environ.get("REDIS_URL")
    named = {"redis": cache, "spool redis": spool, "conserver redis": conserver}
    found: dict[object, Target] = {}
    for name, url in named.items():
        if not url:
            continue
        try:
            place: object = database_of(url)
        except ValueError:
            place = url
        found.setdefault(place, Target(name, url, cache=False, spool=False, conserver=False))
        found[place] = found[place]._replace(
            cache=found[place].cache or url == cache,
            spool=found[place].spool or url == spool,
            conserver=found[place].conserver or url == conserver,
        )
    return list(found.values())


def _look(
    target: Target, options: Options, known: dict[tuple[str, int], Target]
) -> Iterator[Finding]:
    try:
        redis = connect(target.url, LIMIT)
        parts = split(target.url)
    except ValueError as error:
        yield broken(target.name, str(error), "Correct its URL.")
        return
    if parts.scheme != "unix":
        name = resolve(f"{target.name} dns", parts.hostname or "localhost", "Correct its URL.")
        if name.state == "broken":
            yield name
            yield skipped(target.name, "its name does not resolve")
            return
    with redis:
        info = yield from _connected(target, redis)
        if info is None:
            yield skipped(f"{target.name} state", "it does not answer")
            return
        number = redis.connection_pool.connection_kwargs.get("db", 0)
        same = known.setdefault((info.get("run_id", target.url), number), target)
        if same is target:
            yield from _server(target, info)
        if target.cache or target.spool:
            yield from _writes(target, redis, options)
            yield from _memory(target, info)
        if target.spool:
            yield _persistence(target, info, _snapshots(redis))
        ours = same.cache or same.spool
        yield from keys.examine(target.name, redis, options, ours=ours, conserver=target.conserver)


def _connected(target: Target, redis: "Redis") -> Generator[Finding, None, dict[str, Any] | None]:
    from redis import RedisError  # noqa: PLC0415
    from redis.exceptions import AuthenticationError, NoPermissionError  # noqa: PLC0415

    where = mask_url(target.url)
    try:
        info: dict[str, Any] = within(LIMIT, redis.info)
    except AuthenticationError:
        fix = "Put the right user and password into its URL, percent-encoded."
        yield broken(target.name, f"{where} does not accept the login", fix)
    except NoPermissionError:
        text = f"the user of {where} may not execute INFO, which the storage needs"
        yield broken(target.name, text, "Give the user +info, +@scripting, +@read and +@write.")
    except (RedisError, TimeoutError) as error:
        said = str(error).rstrip(".") or type(error).__name__
        fix = _permit(said) or _way(target.url)
        yield broken(target.name, f"{where} can't be used: {said}", fix)
    else:
        yield ok(target.name, f"{where} answers")
        if target.url.startswith("redis://") and not is_near(split(target.url).hostname or ""):
            text = f"vCons go to {where} unencrypted"
            fix = "Write rediss://, unless the network between is your own."
            yield warning(f"{target.name} encryption", text, fix)
        return info
    return None


def _way(url: str) -> str:
    if url.startswith("unix:"):
        return "Start it, or correct the path in its URL."
    other = "redis://" if url.startswith("rediss:") else "rediss://"
    return (
        "Start it, or correct host, port or database in its URL; "
        f"if it is there, see whether it wants {other}."
    )


def _server(target: Target, info: dict[str, Any]) -> Iterator[Finding]:
    version = str(info.get("redis_version", ""))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    shown = f"{info.get('server_name', 'redis')} {info.get('valkey_version', version)}"
    check = f"{target.name} version"
    if numbers < _OLDEST:
        yield broken(check, f"{shown}: scripts can't do what ours do", "Upgrade to Redis 7.")
    elif numbers < _TRIED:
        yield warning(check, f"{shown}: nobody tried it below 6.2", "Upgrade to Redis 7.")
    else:
        yield ok(check, shown)
    if info.get("cluster_enabled"):
        yield broken(
            f"{target.name} cluster",
            "it is in cluster mode, and the storage speaks to one server",
            "Use a Redis without cluster mode (docs/scaling.md).",
        )


def _writes(target: Target, redis: "Redis", options: Options) -> Iterator[Finding]:
    """Whether scripts may write, and how long that takes."""
    from redis import RedisError  # noqa: PLC0415

    run = script(redis, "doctor")
    key = f"{options.key_prefix}{{doctor-{secrets.token_hex(8)}}}"
    took = []
    try:
        run([key])  # loads it
        for _ in range(5):
            began = time.monotonic()
            run([key])
            took.append(time.monotonic() - began)
    except RedisError as error:
        fix = _permit(str(error)) or "Look up the error in the manual of Redis."
        yield broken(f"{target.name} writes", f"refused: {error}", fix)
        return
    yield ok(f"{target.name} writes", "scripts may write")
    usual = statistics.median(took)
    text = f"{usual * 1000:.1f} ms, of {options.redis_timeout * 1000:g} ms (redis_timeout)"
    if usual > options.redis_timeout / 2:
        fix = "Raise redis_timeout, or use a Redis that is nearer: one so slow is done without."
        yield warning(f"{target.name} latency", text, fix)
    else:
        yield ok(f"{target.name} latency", text)


def _permit(said: str) -> str | None:
    """Return what makes Redis do what it refuses."""
    fixes = {
        "read only replica": "Give the URL of the primary, not of a replica.",
        "unknown command": "Allow EVAL and EVALSHA: without them there is no cache and no spool.",
        "no permissions": "Give its user +@scripting, +@read and +@write on our keys.",
        "used memory": "Raise its maxmemory, or give cache and spool a Redis of their own.",
        "misconf": "Free the disk that it saves to: it refuses all until a snapshot works.",
        "replicas": "Start its replicas, or lower min-replicas-to-write.",
    }
    return next((fix for words, fix in fixes.items() if words in said.lower()), None)


def _memory(target: Target, info: dict[str, Any]) -> Iterator[Finding]:
    """What happens when its memory is full (docs/cache.md, docs/reliability.md)."""
    policy, most = str(info.get("maxmemory_policy", "")), int(info.get("maxmemory", 0))
    used = int(info.get("used_memory", 0))
    check = f"{target.name} memory policy"
    if not most:
        yield ok(check, f"{policy}, and maxmemory has no limit")
        return
    text = f"{policy} at {most:,} bytes, of which {used / most:.0%} are used"
    own = "Give the spool a Redis of its own by spool_url, with maxmemory-policy noeviction."
    if target.spool and policy.startswith("allkeys-"):
        yield broken(check, f"{text}: spooled saves can be thrown away", own)
    elif target.spool and policy != "noeviction":
        yield warning(check, f"{text}: it spares spooled saves only as they have no expiry", own)
    elif target.cache and policy == "volatile-ttl":
        yield warning(
            check,
            f"{text}: what guards a change goes first, and then nothing is cached",
            "Set maxmemory-policy allkeys-lru, or volatile-lru where other programs need it.",
        )
    elif policy == "noeviction" and used > most * _NEARLY_FULL:
        fix = "Raise maxmemory" + (f", or: {own[0].lower()}{own[1:]}" if target.cache else ".")
        yield warning(check, f"{text}: when it is full, nothing more is cached or spooled", fix)
    else:
        yield ok(check, text)


def _snapshots(redis: "Redis") -> bool | None:
    """Whether it makes snapshots; None where it does not tell (managed ones don't)."""
    from redis import RedisError  # noqa: PLC0415

    try:
        return bool(redis.config_get("save").get("save"))
    except RedisError:
        return None


def _persistence(target: Target, info: dict[str, Any], snapshots: bool | None) -> Finding:
    check = f"{target.name} persistence"
    statuses = {
        "snapshot": info.get("rdb_last_bgsave_status"),
        "write to its append-only file": info.get("aof_last_write_status"),
    }
    failed = [what for what, status in statuses.items() if status not in {"ok", None}]
    if failed:
        fix = "See its log, and whether its disk is full."
        return broken(check, f"its last {' and '.join(failed)} failed", fix)
    if info.get("aof_enabled"):
        return ok(check, "appendonly: what is spooled outlives a restart")
    fix = "Set appendonly yes, or give the spool a Redis of its own by spool_url."
    if snapshots is False:
        return warning(check, "none: a restart loses what is spooled", fix)
    kind = "snapshots" if snapshots else "no append-only file"
    return warning(check, f"{kind}: a crash loses what was spooled since the last one", fix)
