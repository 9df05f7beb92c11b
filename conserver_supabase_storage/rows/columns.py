"""What a typed column can hold of a member: the value in the column's type, or None.

Each function takes the member as it was written and never raises: a value that does not fit leaves
the column null, and the truth stays in ``as_written``.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

type Convert = Callable[[Any], Any]

# A B-tree entry may have 2,704 bytes (Postgres' manual, "B-Tree Indexes"); readers index many of
# these columns, so a longer text stays out of them.
_INDEXABLE_BYTES = 2_000

# A tsvector may have 1 MB (its manual, "Limitations" of text search), and readers keep one of it.
_SUBJECT_BYTES = 200_000

_VERSION_CHARACTERS = 10

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_ENCODINGS = frozenset({"base64url", "json", "none"})

# jsonb keeps numbers as numeric, with up to 16,383 digits after the point.
_NUMERIC_SCALE = 16_000

_INT4 = range(-(2**31), 2**31)
_INT8 = range(-(2**63), 2**63)

# What `real` takes without "out of range": Postgres refuses to round a small number to zero.
_REAL_MAX = 3.4e38
_REAL_MIN = 1.2e-38


def text(value: Any) -> str | None:
    """Hold a text short enough to be indexed (2,000 bytes in UTF-8)."""
    return _bounded(value, _INDEXABLE_BYTES)


def version(value: Any) -> str | None:
    """Hold a version: vcon-mcp's column has 10 characters."""
    return _bounded(value, _VERSION_CHARACTERS)


def uuid(value: Any) -> str | None:
    """Hold a uuid in its usual form."""
    return value if isinstance(value, str) and _UUID.fullmatch(value) else None


def subject(value: Any) -> str | None:
    """Hold a text that is searched by its words (200,000 bytes in UTF-8)."""
    return _bounded(value, _SUBJECT_BYTES)


def long_text(value: Any) -> str | None:
    """Hold any text."""
    return value if isinstance(value, str) else None


def encoding(value: Any) -> str | None:
    """Hold one of the encodings that the draft knows (vcon-core, "Inline Files")."""
    return value if isinstance(value, str) and value in _ENCODINGS else None


def integer(value: Any) -> int | None:
    """Hold a 32-bit integer."""
    return _integer_in(_INT4, value)


def big_integer(value: Any) -> int | None:
    """Hold a 64-bit integer."""
    return _integer_in(_INT8, value)


def integers(value: Any) -> list[int] | None:
    """Hold the 32-bit integers of a number, a list, or a list of lists, in their order."""
    if not isinstance(value, list):
        single = integer(value)
        return None if single is None else [single]
    found: list[int] = []
    for item in value:
        found += (integers(item) or []) if isinstance(item, list) else ()
        if (number := integer(item)) is not None:
            found.append(number)
    return found


def real(value: Any) -> float | None:
    """Hold a 32-bit float."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if number == 0 or _REAL_MIN <= abs(number) <= _REAL_MAX else None


def timestamp(value: Any) -> str | None:
    """Hold a time (RFC 3339) in UTC, to the microsecond; without an offset it is taken as UTC."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        elif moment.tzinfo is not UTC:
            moment = moment.astimezone(UTC)
        return moment.isoformat()
    except (ValueError, OverflowError):
        return None


def texts(value: Any) -> list[str] | None:
    """Hold a list of texts, each short enough to be indexed."""
    if not isinstance(value, list) or any(text(item) is None for item in value):
        return None
    return value


def document(value: Any) -> Any:
    """Hold any JSON value whose numbers fit (jsonb)."""
    return value if _fits_jsonb(value) else None


def hash_text(value: Any) -> str | None:
    """Hold a content hash; several are joined by spaces, which no hash contains."""
    hashes = texts(value)
    return text(" ".join(hashes) if hashes else value)


def _bounded(value: Any, limit: int) -> str | None:
    if not isinstance(value, str) or len(value) > limit:
        return None
    return value if value.isascii() or len(value.encode()) <= limit else None


def _fits_jsonb(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_fits_jsonb, value.values()))
    if isinstance(value, list):
        return all(map(_fits_jsonb, value))
    if isinstance(value, Decimal):
        exponent = value.as_tuple().exponent
        return isinstance(exponent, int) and exponent > -_NUMERIC_SCALE
    return True


def _integer_in(range_: range, value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and value in range_ else None
