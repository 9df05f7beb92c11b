"""What the answer of vcon_storage_doctor_v1 means. Pure."""

from collections.abc import Iterator

from ..migrations import migrations
from ..options import Options
from . import rights
from .answer import PARTS, Answer, some
from .finding import Finding, broken, ok, skipped, warning

TRIGGERS = (
    ("vcons", "vcon_storage_pending"),
    ("vcons", "zz_vcon_storage_comes"),
    ("vcons", "zz_vcon_storage_went"),
    *((table, "zz_vcon_storage_edit") for table in PARTS),
    *((table, "zz_vcon_storage_edited") for table in PARTS if table != "vcons"),
)
# The oldest that the tests run on.
_SERVER = 15
# Milliseconds: below the first saves will fail, below the second large ones may.
_TIMEOUT_BROKEN, _TIMEOUT_SHORT = 1_000, 5_000
_PENDING = 10_000
# Dead rows that are nothing yet.
_DEAD = 100_000

RAISE_TIMEOUT = (
    "Run ALTER ROLE service_role SET statement_timeout = '8s' as postgres, then "
    "NOTIFY pgrst, 'reload config'."
)


def examine(answer: Answer, options: Options) -> Iterator[Finding]:
    """Judge how a database is set up.

    Args:
        answer: of the function.
        options: the storage's.
    """
    newest = migrations()[-1].version
    yield _version(answer, newest)
    yield from rights.examine(answer, newest)
    yield _constraints(answer)
    yield _triggers(answer, newest)
    yield _timeout(answer)
    yield _server(answer)
    yield from _extensions(answer)
    yield _search(answer)
    yield _vacuum(answer)
    yield _cache(answer)
    if options.tenant:
        yield _tenant(answer, options.tenant)


def _version(answer: Answer, newest: str) -> Finding:
    version = answer.version
    whose = "; the tables were made by another program" if answer.other_program else ""
    if version is None:
        return skipped("migrations", "the function that tells it may not be called")
    if version < newest:
        text = f"the database has {version}, and this release needs {newest}"
        fix = "Run `conserver-supabase-storage migrate --database-url ...`."
        return broken("migrations", text, fix)
    if version > newest:
        return ok("migrations", f"{version}, of a newer release than this one{whose}")
    return ok("migrations", f"{version}, the newest{whose}")


def _constraints(answer: Answer) -> Finding:
    keys = {name: key if name == "vcons" else f"{key},vcon_id" for name, key in PARTS.items()}
    lacking = [t.name for t in answer.ours if t.name in keys and keys[t.name] not in t.unique]
    if not lacking:
        return ok("constraints", "each part has its place in its vCon once")
    fix = "; ".join(
        f"ALTER TABLE {answer.named([name])} ADD UNIQUE ({keys[name]})" for name in lacking
    )
    text = f"{some(lacking)} may have a row twice, and saves fail"
    return broken("constraints", text, f"Run {fix}.")


def _triggers(answer: Answer, newest: str) -> Finding:
    found = {(trigger.table, trigger.name): trigger.on for trigger in answer.triggers}
    off = [key for key in TRIGGERS if found.get(key) is False]
    gone = [key for key in TRIGGERS if key not in found and answer.version == newest]
    if not off and not gone:
        return ok("triggers", "all are there and on")
    named = some(f"{name} of {table}" for table, name in off or gone)
    text = f"{named} {'is off' if off else 'is gone'}: search, or caches, don't hear of changes"
    if not off:
        fix = "Have the SQL of `migrate --print` applied again: it makes what is gone."
        return broken("triggers", text, fix)
    enable = "; ".join(
        f"ALTER TABLE {answer.named([table])} ENABLE TRIGGER {name}" for table, name in off
    )
    return broken("triggers", text, f"Run {enable}.")


def _timeout(answer: Answer) -> Finding:
    milliseconds = answer.statement_timeout
    if milliseconds == 0:
        return ok("statement timeout", "there is none")
    text = f"{milliseconds / 1000:g} s"
    if milliseconds < _TIMEOUT_BROKEN:
        return broken("statement timeout", f"{text}: saves will fail", RAISE_TIMEOUT)
    if milliseconds < _TIMEOUT_SHORT:
        return warning("statement timeout", f"{text}: large vCons may fail", RAISE_TIMEOUT)
    return ok("statement timeout", text)


def _server(answer: Answer) -> Finding:
    major = answer.server // 10_000
    if answer.replica:
        fix = "Give the URL of the project itself, not of its read replica."
        return broken("postgres", f"{major}, a read replica: saves fail", fix)
    if answer.read_only:
        fix = "Free or add disk space, as Supabase does this when the disk is nearly full."
        return warning(
            "postgres", f"{major}, in read-only mode (default_transaction_read_only)", fix
        )
    if major < _SERVER:
        fix = "Upgrade the project (Settings, Infrastructure)."
        return warning("postgres", f"{major}; nobody tried it below {_SERVER}", fix)
    return ok("postgres", f"{major}, read and write")


def _extensions(answer: Answer) -> Iterator[Finding]:
    uses = {
        "pg_trgm": (answer.substring_index, "searches for a part of a subject look at every vCon"),
        "vector": (answer.embeddings, "embeddings can't be kept"),
    }
    for name, (there, without) in uses.items():
        setup = f"SELECT {answer.schema_name}.vcon_storage_search_setup_v1() as the tables' owner"
        version = answer.extensions.get(name)
        if there:
            yield ok(f"extension {name}", version or "in use")
        elif version:
            text = f"{version}, but it came after the migrations: {without}"
            yield warning(f"extension {name}", text, f"Run {setup}.")
        elif name in answer.extensions:
            fix = f"Run CREATE EXTENSION {name} SCHEMA extensions, then {setup}."
            yield warning(f"extension {name}", f"not enabled: {without}", fix)
        else:
            yield ok(f"extension {name}", f"not to be had here: {without}")


def _search(answer: Answer) -> Finding:
    if answer.search_complete is False:
        text = "vCons that were there before it are not all found yet"
        return warning("search", text, "Run `conserver-supabase-storage backfill`.")
    pending = answer.search_pending
    if pending is not None and pending > _PENDING:
        text = f"more than {_PENDING:,} saved vCons wait to be indexed: the next searches are slow"
        return warning("search", text, "Run `conserver-supabase-storage backfill`.")
    return ok("search", f"complete, {pending or 0:,} saved vCons to be indexed")


def _vacuum(answer: Answer) -> Finding:
    if not answer.autovacuum:
        fix = "Run ALTER SYSTEM SET autovacuum = on, then SELECT pg_reload_conf(), as a superuser."
        return warning("autovacuum", "it is off: tables grow, and all gets slower", fix)
    if off := [table.name for table in answer.ours if not table.vacuumed]:
        fix = "; ".join(
            f"ALTER TABLE {answer.named([name])} RESET (autovacuum_enabled)" for name in off
        )
        return warning("autovacuum", f"it is off for {some(off)}", f"Run {fix}.")
    if late := [t.name for t in answer.ours if t.dead > max(t.rows, _DEAD)]:
        fix = f"Run VACUUM {answer.named(late)}, and look for a transaction that stays open."
        return warning("autovacuum", f"{some(late)} has more dead rows than live ones", fix)
    return ok("autovacuum", "it is on, and keeps up")


def _cache(answer: Answer) -> Finding:
    if answer.off:
        text = "a process that can't reach its Redis keeps all from using their caches"
        return warning("cache state", text, "Look at the Redis, and the log, of each worker.")
    return ok("cache state", "no process keeps others from using their caches")


def _tenant(answer: Answer, tenant: str) -> Finding:
    if answer.any_vcons and not answer.tenant_has_vcons:
        text = f"{tenant!r} has no vCon here, and others have"
        fix = "Correct the option tenant, whose upper and lower case count, unless it is a new one."
        return warning("tenant", text, fix)
    return ok("tenant", repr(tenant) if answer.any_vcons else f"{tenant!r}; there is no vCon yet")
