"""The API keys of a local Supabase: JWTs signed with its own secret."""

import secrets
import time
from typing import Any

# As long as the keys of a Supabase project are good for.
_TEN_YEARS_SECONDS = 10 * 365 * 24 * 3600


def new_secret() -> str:
    """64 random hexadecimal digits, for the JWT secret and the passwords."""
    return secrets.token_hex(32)


def sign(secret: str, role: str, issued_at: int | None = None, **claims: Any) -> str:
    """A key for a database role, in the form of Supabase's own.

    Args:
        secret: what it is signed with (HS256).
        role: the claim that PostgREST switches to.
        issued_at: seconds since the epoch; now if left out.
        claims: more claims, or others in place of `iss`, `iat` and `exp`.
    """
    import jwt  # noqa: PLC0415 - an optional dependency, needed when a stack starts

    now = int(time.time()) if issued_at is None else issued_at
    payload = {"iss": "supabase", "role": role, "iat": now, "exp": now + _TEN_YEARS_SECONDS}
    return jwt.encode(payload | claims, secret, algorithm="HS256")
