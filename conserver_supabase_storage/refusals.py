"""What Supabase's errors mean to the person who reads them. Pure."""

from collections.abc import Mapping

from .errors import RefusedError


def takes_no_changes(said: Mapping[str, str | None]) -> bool:
    """Whether it is the database that takes none from anybody: a standby, or made read-only."""
    code, message = said.get("code"), said.get("message") or ""
    return code == "25006" or (code == "0A000" and "during recovery" in message)


def refusal(  # noqa: PLR0912  one branch for each thing that is wrong
    said: Mapping[str, str | None],
    *,
    status: int,
    where: str,
    schema: str,
    function: str,
    location: str | None = None,
) -> RefusedError:
    """Turn an error answer into an error that says what to do.

    Of the server's words only those are passed on that can hold no data of a vCon.

    Args:
        said: PostgREST's error object (its manual, "Errors"); empty where the body was none.
        status: the HTTP status.
        where: the URL that was asked.
        schema: the schema that was asked for.
        function: the function that was called.
        location: where a redirect points to.
    """
    code, message = said.get("code"), said.get("message") or ""
    if 300 <= status < 400:
        text = f"{where} redirects to {location}: correct the option url (or rest_url)"
    elif code in {"PGRST202", "42883"}:
        text = (
            f"the function {function} is missing in the schema {schema!r}: run "
            "`conserver-supabase-storage migrate --database-url ...` for this project"
        )
    elif code in {"PGRST106", "3F000"}:
        text = (
            f"the schema {schema!r} is not exposed by PostgREST: correct the option schema, or "
            "add it to the project's exposed schemas (Settings, Data API)"
        )
    elif code == "22023" and "role" in message:
        text = "the key is for a role that the database does not have: check the option key"
    elif code is not None and code.startswith("54"):
        text = f"the vCon exceeds a limit of the database or of an index or trigger in it ({code})"
    elif code == "PT409":
        text = "a vCon with this uuid belongs to another tenant (option tenant)"
    elif code == "57014":
        text = (
            "the statement timeout of the key's role was hit: the vCon is too large for it, or "
            "the database is overloaded (raise it with ALTER ROLE ... SET statement_timeout)"
        )
    elif code == "42501" and "row-level security" in message:
        text = (
            "row-level security denies this: the key's role needs a policy on these tables; use "
            "the service_role key, which is not subject to it"
        )
    elif code == "42501":
        # Only Postgres' own words: a trigger may raise this code with words about the vCon.
        what = f" ({message})" if message.startswith("permission denied for ") else ""
        text = f"the key's role may not do this{what}: use the service_role key"
    elif status == 401 or (code or "").startswith("PGRST30"):
        reason = f" ({message})" if message else ""
        text = (
            f"the key is not accepted by {where}{reason}: check the option key, and that it "
            "belongs to this project and has not expired"
        )
    elif status == 413:
        text = "the vCon is larger than the server takes (HTTP 413)"
    elif status == 404 or not said:
        text = (
            f"{where} answers, but not as PostgREST does (HTTP {status}): url is the Supabase "
            "project's URL, rest_url is PostgREST's own"
        )
    else:
        text = f"Supabase refused it: HTTP {status}, code {code}"
    return RefusedError(text, status=status, code=code)
