"""What PostgREST and the database behind it answer to this key."""

import json
import time
from collections.abc import Generator, Iterator
from typing import Any

from ..database import Database
from ..document import dumps
from ..errors import RefusedError, UnavailableError
from ..migrations import migrations
from ..options import Options
from . import network, schema
from .answer import Answer
from .finding import Finding, broken, ok, skipped, warning

# Seconds for PostgREST's answer. Over that of the way there: it may wake a database connection.
_ANSWER = 5.0

# Seconds by which clocks may differ. Saves are ordered by them only where a process had to spool
# before it heard from the database at all.
_SKEW = 2.0

_MISSING = frozenset({"PGRST202", "42883"})
_MIGRATE = "Run `conserver-supabase-storage migrate --database-url ...`"
_RELOAD = "if it finds nothing to do, run NOTIFY pgrst, 'reload schema' in the database"


def examine(options: Options, *, key_fits: bool) -> Iterator[Finding]:
    """Ask the database how it is set up, in one request, and look at the answer.

    Args:
        options: the storage's.
        key_fits: whether nothing was found wrong with the key yet.
    """
    database = Database(options)
    try:
        answer = yield from _ask(database, options, key_fits)
    finally:
        database.close()
    if answer is not None:
        yield from schema.examine(answer, options)


def _ask(
    database: Database, options: Options, key_fits: bool
) -> Generator[Finding, None, Answer | None]:
    arguments = {"p_tenant": dumps(options.tenant)} if options.tenant else {}
    began = time.time()
    try:
        answer = Answer.model_validate(_call(database, "vcon_storage_doctor_v1", arguments))
    except UnavailableError as error:
        yield from _unavailable(error, options)
        return None
    except RefusedError as error:
        if error.code in _MISSING:
            yield ok("postgrest", "it answers, and takes the key")
            yield _older(database, options)
        else:
            yield _refused(error, options, key_fits)
        yield skipped("schema", "the database does not tell how it is set up")
        return None
    took = time.time() - began
    yield ok("postgrest", f"it answers in {took * 1000:.0f} ms, and takes the key")
    yield _clock(answer.now - (began + took / 2), took)
    return answer


def _call(database: Database, function: str, arguments: dict[str, bytes]) -> Any:
    until = time.monotonic() + _ANSWER
    return json.loads(database.call(function, arguments, until=until, once=True))


def _clock(ahead: float, took: float) -> Finding:
    if abs(ahead) <= _SKEW + took / 2:
        return ok("clock", f"the database's is the same to {max(abs(ahead), 0.1):.1f} s")
    which = "ahead of" if ahead > 0 else "behind"
    return warning(
        "clock",
        f"the database's clock is {abs(ahead):,.0f} s {which} this machine's",
        "Keep this machine's clock in step (NTP): keys expire by it, and spooled saves may be "
        "ordered by it.",
    )


def _older(database: Database, options: Options) -> Finding:
    """Say what is wrong where our newest function is missing."""
    newest = migrations()[-1].version
    try:
        version = _call(database, "vcon_storage_version_v1", {})
    except (RefusedError, UnavailableError):
        text = f"there is none in the schema {options.schema_}, or PostgREST has not noticed it"
        return broken("migrations", text, f"{_MIGRATE}; {_RELOAD}.")
    if version < newest:
        text = f"the database has {version}, and this release needs {newest}"
        return broken("migrations", text, f"{_MIGRATE}, before the workers are started.")
    text = f"the database has {version}, and PostgREST has not noticed all of it"
    return broken("migrations", text, "Run NOTIFY pgrst, 'reload schema' in the database.")


def _unavailable(error: UnavailableError, options: Options) -> Iterator[Finding]:
    import httpcore  # noqa: PLC0415

    # Who is silent now would be so again; one that wants TLS hangs up.
    silent = isinstance(error.__cause__, httpcore.TimeoutException)
    if not silent and (finding := _wants_tls(options)):
        yield finding
    else:
        yield broken(
            "postgrest",
            str(error),
            "See whether the project is paused, and the log of PostgREST: it may be starting, or "
            "without a connection to Postgres.",
        )
    yield skipped("schema", "PostgREST does not answer")


def _wants_tls(options: Options) -> Finding | None:
    where = options.rest_url or options.url or ""
    if not where.startswith("http://") or not network.speaks_tls(where):
        return None
    text = f"{where} speaks TLS, and the URL begins with http://"
    return broken("postgrest", text, "Write https:// in the option url (or rest_url).")


def _refused(error: RefusedError, options: Options, key_fits: bool) -> Finding:
    # Our errors say what to do last.
    text, _, fix = str(error).rpartition(": ")
    fix = f"{fix[:1].upper()}{fix[1:]}."
    schema_name = options.schema_
    if error.code == "57014":
        return broken(
            "statement timeout",
            "it is so short that not even this question was answered",
            schema.RAISE_TIMEOUT,
        )
    if error.code in {"PGRST106", "3F000"}:
        return broken("exposed schemas", text, fix)
    if error.status in {401, 403} or error.code in {"42501", "22023"}:
        if not key_fits:
            return skipped("access", "the key can't be right")
        if error.code == "42501":
            fix = (
                "If the key is the service_role key, run as the owner of the tables: "
                f"GRANT USAGE ON SCHEMA {schema_name} TO service_role; GRANT EXECUTE ON FUNCTION "
                f"{schema_name}.vcon_storage_doctor_v1 TO service_role. Then run doctor again."
            )
        return broken("access", text, fix)
    if "not as PostgREST does" in text:
        fix = "Give the Supabase project's URL as url, or PostgREST's own as rest_url."
    return _wants_tls(options) or broken("postgrest", text, fix)
