"""A vCon document on its way in: read, checked that it can come back exactly, and named.

Pure. Whatever passes here, Postgres can keep and Python's json reads back as it was; what does not
pass is refused with the path of the member that is to blame.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import partial
from math import isfinite
from typing import Any

import orjson
import simplejson

from .errors import InvalidVconError

type Document = dict[str, Any]

PARTS = ("parties", "dialog", "analysis", "attachments")

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

# Python refuses to read or write an integer of more digits (sys.int_info); 14,280 bits stay below.
_INTEGER_BITS = 14_280


def read(vcon: object) -> Document:
    """Turn what a caller gives into a checked document.

    Args:
        vcon: a dict, an object with ``to_dict`` such as ``vcon.Vcon``, or JSON text (str or UTF-8
            bytes). It is not changed. Numbers in JSON text keep all their digits.

    Returns:
        The document. It may be the very dict that was given: treat it as read-only.

    Raises:
        InvalidVconError: it is no JSON object, or holds what would not come back exactly.
    """
    if isinstance(vcon, str | bytes | bytearray):
        vcon = _parse(vcon)
    elif not isinstance(vcon, Mapping) and callable(to_dict := getattr(vcon, "to_dict", None)):
        vcon = to_dict()
    if not isinstance(vcon, dict):
        raise InvalidVconError(f"a vCon is a JSON object, not {_kind(vcon)}")
    try:
        _check(vcon)
    except _UnstorableError as found:
        raise InvalidVconError(found.reason, found.path()) from None
    except RecursionError:
        raise InvalidVconError("is nested too deeply to be written as JSON") from None
    for part in PARTS:
        value = vcon.get(part, [])
        # A null list means itself and is kept; parties are never null in any form of a vCon.
        if not isinstance(value, list) and (value is not None or part == "parties"):
            raise InvalidVconError(f"must be a list, not {_kind(value)}", part)
        for index, item in enumerate(value or ()):
            if not isinstance(item, dict):
                raise InvalidVconError(f"must be an object, not {_kind(item)}", f"{part}[{index}]")
    return vcon


def uuid_of(document: Document) -> str:
    """Return the uuid under which a document is kept, in lower case.

    It is the member ``uuid``; in the signed form ``signatures[].header.uuid`` and in the encrypted
    form ``unprotected.uuid`` (draft-ietf-vcon-vcon-core, "Signed Form" and "Encrypted Form").

    Raises:
        InvalidVconError: there is none, it is malformed, or signatures name different ones.
    """
    if "uuid" in document:
        return canonical_uuid(document["uuid"], "uuid")
    found: dict[str, str] = {}
    signatures = document.get("signatures")
    for index, signature in enumerate(signatures if isinstance(signatures, list) else ()):
        header = signature.get("header") if isinstance(signature, dict) else None
        if isinstance(header, dict) and "uuid" in header:
            path = f"signatures[{index}].header.uuid"
            found[canonical_uuid(header["uuid"], path)] = path
    unprotected = document.get("unprotected")
    if isinstance(unprotected, dict) and "uuid" in unprotected:
        found[canonical_uuid(unprotected["uuid"], "unprotected.uuid")] = "unprotected.uuid"
    if not found:
        raise InvalidVconError(
            "is missing (a signed vCon has it in signatures[].header, an encrypted one in "
            "unprotected)",
            "uuid",
        )
    if len(found) > 1:
        raise InvalidVconError("differs between the headers", " and ".join(found.values()))
    return next(iter(found))


def canonical_uuid(value: object, path: str = "uuid") -> str:
    """Return a uuid in the one form that keys and queries use: hyphens, lower case.

    Raises:
        InvalidVconError: it is no string of the form 8-4-4-4-12 hexadecimal digits (RFC 9562).
    """
    text = str(value) if type(value).__name__ == "UUID" else value
    if not isinstance(text, str) or not _UUID.fullmatch(text):
        raise InvalidVconError("must be a uuid such as 01928cb4-1c5f-8c4a-b5f0-0a1b2c3d4e5f", path)
    return text.lower()


def dumps(value: object) -> bytes:
    """Write a checked value as JSON text in UTF-8, with all digits, without escapes."""
    try:
        return orjson.dumps(value)
    except TypeError:
        pass  # an integer beyond 64 bits, a Decimal, or hundreds of levels
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except TypeError:
        # Only a Decimal can get here; the standard library has no way to write its digits.
        text = simplejson.dumps(
            value, ensure_ascii=False, allow_nan=False, use_decimal=True, separators=(",", ":")
        )
    return text.encode()


def parser(
    text: bytes, parse_float: Callable[[str], Any] | None = None
) -> Callable[[bytes | str], Any]:
    """Return the fastest parser that keeps every number of a text, and of JSON texts within it.

    Args:
        text: JSON text.
        parse_float: how to read decimals, as in `json.loads`; None for floats.
    """
    # orjson reads an integer beyond 64 bits, which has 19 digits at the least, as a float.
    if parse_float is None:
        if len(text) > _STEP and text.count(b",") < len(text) >> 10:
            return _looking_after  # few values, so some are large: sooner looked at than read
        if not _has_long_number(text):
            return _quickly
    return partial(json.loads, parse_float=parse_float)


def loads(text: bytes | str) -> Any:
    """Parse JSON text; integers of any size stay exact.

    Raises:
        ValueError: it is no JSON.
    """
    return parser(text.encode() if isinstance(text, str) else text)(text)


def exact_number(text: str) -> float | Decimal:
    """Read a decimal as a float where `dumps` writes that as it was, else as a Decimal."""
    value = float(text)
    return value if repr(value) == text or orjson.dumps(value) == text.encode() else Decimal(text)


def path_of(steps: Iterable[str | int]) -> str:
    """Write the names and indices that lead to a value as one text, like ``dialog[2].body``."""
    text = ""
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.isidentifier():
            text += f".{step}"
        else:
            text += f"[{step!a}]"
    return text.removeprefix(".")


def _quickly(text: bytes | str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)  # which goes deeper, or says so as well


def _looking_after(text: bytes | str) -> Any:
    found = _quickly(text)
    return json.loads(text) if _has_large_float(found) else found


def _has_large_float(value: Any) -> bool:
    """Return whether a number may have been an integer beyond 64 bits."""
    left = [value]  # no recursion: it may be hundreds of levels deep
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list):
            left += value
        elif isinstance(value, float) and abs(value) >= _LARGE:
            return True
    return False


# The least integer that orjson reads as a float, or more of the negative ones.
_LARGE = 2.0**63

# Digits become zeros, all else spaces: a long number is then found by a search for zeros.
_DIGITS = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))
_LONG_NUMBER = b"0" * 19
_STEP = 1 << 20


def _has_long_number(text: bytes) -> bool:
    if len(text) <= _STEP:
        return _LONG_NUMBER in text.translate(_DIGITS)
    return any(
        _LONG_NUMBER in text[start : start + _STEP + len(_LONG_NUMBER)].translate(_DIGITS)
        for start in range(0, len(text), _STEP)
    )


def _parse(text: str | bytes | bytearray) -> object:
    """Parse JSON text without losing digits or members that stand twice."""
    try:
        return json.loads(
            text,
            parse_float=exact_number,
            parse_constant=_no_constant,
            object_pairs_hook=_no_duplicates,
        )
    except _UnstorableError as found:
        raise InvalidVconError(found.reason) from None
    except UnicodeDecodeError as error:
        raise InvalidVconError(f"is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise InvalidVconError(f"is not JSON: {error.msg} at {where}") from None
    except RecursionError:
        raise InvalidVconError("is nested too deeply to be read as JSON") from None
    except ValueError:
        raise InvalidVconError("holds an integer with more than 4,300 digits") from None


def _no_constant(name: str) -> object:
    raise _UnstorableError(f"{name} is no JSON number")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _UnstorableError(f"the member {twice[:40]!r} stands twice in one object")
    return found


class _UnstorableError(Exception):
    """Carries the reason up to the root; each level on the way adds its step of the path."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps: list[str | int] = []

    def path(self) -> str:
        return path_of(reversed(self.steps))


def _check(value: Any) -> None:
    """Raise _UnstorableError for the first thing below that would not come back as it is."""
    kind = type(value)
    if kind is str:
        _check_text(value)
    elif kind is dict:
        _check_object(value)
    elif kind is list:
        for index, item in enumerate(value):
            try:
                _check(item)
            except _UnstorableError as found:
                found.steps.append(index)
                raise
    elif kind is int:
        if value.bit_length() > _INTEGER_BITS:
            raise _UnstorableError("is an integer with more than 4,300 digits")
    elif kind is float or kind is Decimal:
        # Decimal('1E400') is finite, but reads back as infinity.
        if not (isfinite(value) if kind is float else _fits_a_float(value)):
            raise _UnstorableError("is no finite number that a float can hold")
    elif value is not None and kind is not bool:
        _check_subclass(value)


def _check_object(value: dict[Any, Any]) -> None:
    for name, member in value.items():
        if not isinstance(name, str):
            raise _UnstorableError(f"has the member name {name!r}, which is no string")
        if type(member) is str and _is_plain(name) and _is_plain(member):
            continue  # as most are: spares them two calls
        try:
            _check_text(name)
            _check(member)
        except _UnstorableError as found:
            found.steps.append(name)
            raise


def _is_plain(text: str) -> bool:
    return text.isascii() and "\0" not in text


def _fits_a_float(value: Decimal) -> bool:
    return value.is_finite() and isfinite(float(value))


def _check_subclass(value: Any) -> None:
    """Check what is JSON by inheritance, such as OrderedDict; refuse what is no JSON at all."""
    bases: tuple[type[Any], ...] = (str, int, dict, list, float)
    for base in bases:
        if isinstance(value, base):
            _check(base(value))
            return
    raise _UnstorableError(f"is {_kind(value)}, which JSON does not have")


def _check_text(text: str) -> None:
    """Refuse what Postgres can't keep in text (its manual, "Character Types" and "JSON Types")."""
    if "\0" in text:
        raise _UnstorableError("holds U+0000, which Postgres can't store")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _UnstorableError(
                "holds half of a surrogate pair, which is no Unicode text"
            ) from None


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    names |= {int: "a number", float: "a number", type(None): "null"}
    return names.get(type(value), f"a Python {type(value).__name__}")
