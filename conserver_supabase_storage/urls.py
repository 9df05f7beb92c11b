"""URLs as options have them: taken apart, compared, and shown without their passwords. Pure."""

import re
from urllib.parse import SplitResult, urlsplit


def mask_url(url: str) -> str:
    """Return the URL with its password, and a password among its query, replaced by ``***``."""
    # By hand, not by urlsplit: that takes a password with a bare / # or ? for something else.
    scheme, separator, rest = url.partition("://")
    login, at, host = rest.rpartition("@")
    if at:
        user, colon, _ = login.partition(":")
        rest = f"{user}{colon and ':***'}@{host}"
    return scheme + separator + re.sub(r"(?i)(password=)[^&]*", r"\1***", rest)


def split(url: str) -> SplitResult:
    """Split a URL; the error names no part of it, which may be a password."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  raises if it is none
    except ValueError:
        msg = "must be a URL, with a port from 0 to 65535 if any, and / # ? @ [ ] in a password "
        raise ValueError(msg + "percent-encoded") from None
    return parts


def database_of(url: str) -> tuple[str, int, str]:
    """Return which Redis database a URL means, so that two ways to write it are the same."""
    parts = split(url)
    if parts.scheme == "unix":
        return parts.path, 0, parts.query
    host = {"127.0.0.1": "localhost", "::1": "localhost"}.get(parts.hostname or "", parts.hostname)
    return host or "localhost", parts.port or 6379, parts.path.strip("/") or "0"
