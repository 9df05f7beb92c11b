"""What the key says of itself. It is never shown."""

import os
import re
import time
from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any

from ..options import Options
from ..urls import split
from .finding import Finding, broken, ok, warning

_DAY = 86_400
# Of a key's last days somebody should hear while there is time to change it everywhere.
_SOON = 30 * _DAY
# Seconds that a key may seem to be from the future: clocks differ.
_SKEW = 60

_TAKE = (
    "Take the service_role key, or an sb_secret_... key, of the project (Settings, API keys), and "
    "give it as SUPABASE_SERVICE_ROLE_KEY"
)
_PLACEHOLDER = re.compile(r"[${}<>]|your|change.?me|service.?role", re.IGNORECASE)


def examine(options: Options) -> Generator[Finding, None, bool]:
    """Look at the key; return whether it may fit."""
    finding = _look(options)
    yield finding
    return finding.state != "broken"


def _look(options: Options) -> Finding:
    secret = options.key.get_secret_value()
    if secret.startswith("sb_publishable_"):
        return broken("key", f"it is the publishable key{_origin(secret)}", f"{_TAKE}.")
    if secret.startswith("sb_secret_"):
        return ok("key", "it is an sb_secret_... key")
    import jwt  # noqa: PLC0415

    try:
        # What it says is only shown: whether it is true is for the server to say.
        claims: dict[str, Any] = jwt.decode(secret, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        if _PLACEHOLDER.search(secret):
            return broken("key", "it is a placeholder, no key", f"{_TAKE}.")
        return warning(
            "key",
            "it is neither a JWT nor an sb_secret_... key",
            "Copy the whole key, unless a gateway of yours takes keys of its own.",
        )
    return _of_claims(claims, options, _origin(secret))


def _of_claims(claims: dict[str, Any], options: Options, origin: str) -> Finding:
    role, expires, now = claims.get("role"), _number(claims.get("exp")), time.time()
    host = split(options.url).hostname or "" if options.url and not options.rest_url else ""
    project = claims.get("ref")
    if role is None:
        return broken("key", f"it names no role, and so counts as anon{origin}", f"{_TAKE}.")
    if role in {"anon", "authenticated"}:
        text = f"it is for the role {role}, which may do nothing with vCons{origin}"
        return broken("key", text, f"{_TAKE}.")
    if expires is not None and expires <= now:
        return broken("key", f"it expired on {_day(expires)}", f"{_TAKE}.")
    if project and host.endswith(".supabase.co") and host != f"{project}.supabase.co":
        text = f"it is of the project {project}, and url is {options.url}"
        return broken("key", text, "Take key and url from the same project.")
    if role != "service_role":
        text = f"it is for the role {role!r}, not service_role"
        return warning("key", text, f"{_TAKE}, unless you made this role for the storage.")
    return _of_times(_number(claims.get("nbf")) or _number(claims.get("iat")), expires, now)


def _of_times(begins: float | None, expires: float | None, now: float) -> Finding:
    if begins is not None and begins > now + _SKEW:
        text = f"it begins in the future, on {_day(begins)}"
        return warning("key", text, "Set the clock of this machine, or of the one that signed it.")
    if expires is not None and expires <= now + _SOON:
        text = f"it expires on {_day(expires)}"
        return warning("key", text, "Make a new one and give it to all processes before that day.")
    until = "has no end" if expires is None else f"ends on {_day(expires)}"
    return ok("key", f"it is a service_role key and {until}")


def _origin(secret: str) -> str:
    """Say where a key came from that nobody may have meant to give."""
    stands_in = secret == os.environ.get("SUPABASE_ANON_KEY")
    return " (from SUPABASE_ANON_KEY)" if stands_in else ""


def _number(claim: object) -> float | None:
    return float(claim) if isinstance(claim, (int, float)) else None


def _day(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return "a day that no calendar has"
