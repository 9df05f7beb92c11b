"""Who may do what in the database: the key's role, and others. Pure."""

from collections.abc import Iterable, Iterator

from .answer import TABLES, Answer, Table, some
from .finding import Finding, broken, ok, warning

# For the owner of the tables alone.
_OWNERS = frozenset({"vcon_storage_languages_v1", "vcon_storage_search_setup_v1"})


def examine(answer: Answer, newest: str) -> Iterator[Finding]:
    """Judge rights.

    Args:
        answer: of the function.
        newest: this release's newest migration.
    """
    yield _role(answer)
    yield _functions(answer, newest)
    yield _tables(answer, newest)
    yield _row_level_security(answer)
    yield _rights_of_others(answer)
    yield _functions_of_others(answer)


def _role(answer: Answer) -> Finding:
    if answer.bypasses_rls:
        return ok("role", f"{answer.role}, to whom row-level security does not apply")
    text = f"{answer.role}, to whom row-level security applies: it sees what policies let it see"
    return broken("role", text, "Use the service_role key.")


def _functions(answer: Answer, newest: str) -> Finding:
    # Not in the database of a newer release, which may have more that is its owner's alone.
    closed = [
        function.name
        for function in answer.functions
        if not (function.mine or function.trigger or function.name in _OWNERS)
        and (answer.version or "") <= newest
    ]
    if not closed:
        return ok("function rights", f"{answer.role} may call our functions")
    text = f"{answer.role} may not call {some(closed)}"
    fix = f"Run {answer.grant('EXECUTE ON FUNCTION', closed)}."
    return broken("function rights", text, fix)


def _tables(answer: Answer, newest: str) -> Finding:
    there = {table.name for table in answer.ours}
    missing = [name for name in TABLES if name not in there]
    lacks = [table.name for table in answer.ours if table.lacks]
    if missing and answer.version == newest:
        fix = "Restore it from a backup; `migrate --print` has the SQL that makes an empty one."
        return broken("tables", f"there is no {some(missing)}", fix)
    if lacks:
        text = f"{answer.role} lacks rights on {some(lacks)}"
        rights = "SELECT, INSERT, UPDATE, DELETE ON"
        return broken("tables", text, f"Run {answer.grant(rights, lacks)}.")
    return ok("tables", f"all are there, and {answer.role} may read and write them")


def _row_level_security(answer: Answer) -> Finding:
    check = "row-level security"
    off = [table for table in answer.ours if not table.rls]
    exposed = [table for table in off if table.open_to]
    if not off:
        return ok(check, "it is on for all our tables")
    enable = "; ".join(
        f"ALTER TABLE {answer.named([table.name])} ENABLE ROW LEVEL SECURITY" for table in off
    )
    if not exposed:
        return warning(check, f"it is off for {_some(off)}", f"Run {enable}.")
    text = (
        f"it is off for {_some(exposed)}, on which {_roles(exposed)} have rights: whoever has a "
        "public key can read or change what is there"
    )
    return broken(check, text, f"Run {enable}.")


def _rights_of_others(answer: Answer) -> Finding:
    check = "rights of others"
    guarded = [table for table in answer.ours if table.rls]
    let_in = [t for t in guarded if "anon" in t.open_to and "anon" in t.policies_for]
    # vcon-mcp grants more than it has policies for: its own affair.
    idle = [] if answer.other_program else [t for t in guarded if _idle(t)]
    if not let_in and not idle:
        return ok(check, "anon and authenticated have none that no policy is for")
    found = let_in or idle
    text = f"{_roles(found)} have rights on {_some(found)}, " + (
        "and a policy lets anon use them" if let_in else "and only row-level security stops them"
    )
    roles = ", ".join(sorted({role for table in found for role in table.open_to}))
    fix = f"Run REVOKE ALL ON {answer.named(table.name for table in found)} FROM {roles}."
    return warning(check, text, fix)


def _functions_of_others(answer: Answer) -> Finding:
    check = "functions of others"
    found = [function for function in answer.functions if function.open_to and not function.trigger]
    if not found:
        return ok(check, "anon and authenticated can't call ours")
    names = [function.name for function in found]
    text = f"{some(names)} can be called by anon or authenticated"
    fix = f"Run REVOKE ALL ON FUNCTION {answer.named(names)} FROM PUBLIC, anon, authenticated."
    # Some act with the rights of the tables' owner, whoever calls them.
    return (broken if any(f.definer for f in found) else warning)(check, text, fix)


def _idle(table: Table) -> bool:
    return not set(table.open_to) <= set(table.policies_for)


def _roles(tables: Iterable[Table]) -> str:
    return " and ".join(sorted({role for table in tables for role in table.open_to}))


def _some(tables: Iterable[Table]) -> str:
    return some(table.name for table in tables)
