"""Whether typed columns say what is written beside them (``as_written``). Pure.

A column holds what its type can of the first of its members that is there (rows/). What another
program made of a column is in ``as_written`` too, by a trigger; where its tables refuse a value,
another stands in for it (docs/interop.md). Neither is a difference.
"""

import struct
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from ..document import PARTS
from ..rows import analysis, attachments, dialog, parties, vcon
from ..rows import columns as c
from ..rows.part import NOT_MEMBERS, Columns
from .questions import exactly

_COLUMNS: Mapping[str, Columns] = {
    "vcons": vcon.COLUMNS,
    "parties": parties.COLUMNS,
    "dialog": dialog.COLUMNS,
    "analysis": analysis.COLUMNS,
    "attachments": attachments.COLUMNS,
}

_INDEX = {
    "parties": "party_index",
    "dialog": "dialog_index",
    "analysis": "analysis_index",
    "attachments": "attachment_index",
}

# Another program keeps these two by two the same, whichever is written.
_TWINS = {
    "must_support": "critical",
    "critical": "must_support",
    "appended": "amended",
    "amended": "appended",
}

# What stands in a column that must not be null where there is no member; None for anything.
_INSTEAD: Mapping[tuple[str, str], Any] = {
    ("vcons", "vcon_version"): "",
    ("vcons", "created_at"): None,
    ("vcons", "updated_at"): None,
    ("analysis", "vendor"): "",
}

# What another program's tables have in place of a value that they refuse.
_REFUSED: Mapping[tuple[str, str], Any] = {
    ("dialog", "type"): "incomplete",
    ("dialog", "disposition"): None,
    ("dialog", "session_id"): None,
    ("analysis", "type"): "",
    ("parties", "uuid"): None,
}

_DIALOG_TYPES = frozenset({"recording", "text", "transfer", "incomplete"})


def differing_columns(found: Mapping[str, Any], *, foreign: bool) -> Iterator[str]:
    """Yield which columns of a vCon do not say what is written beside them.

    Args:
        found: a vCon as ``vcon_storage_columns_v1`` returns it.
        foreign: whether another program made the tables.
    """
    edited = found["digest"] is None
    for column in _differing("vcons", found["vcons"], foreign=foreign, edited=edited):
        yield f"vcons.{column}"
    for table in PARTS:
        for place, row in enumerate(found[table]):
            # Another program may leave gaps.
            if not edited and row[_INDEX[table]] != place:
                yield f"{table}[{place}].{_INDEX[table]}"
            for column in _differing(table, row, foreign=foreign, edited=edited):
                yield f"{table}[{place}].{column}"


def _differing(table: str, row: Mapping[str, Any], *, foreign: bool, edited: bool) -> Iterator[str]:
    written = row["as_written"]
    if written is None:
        return  # another program's row, whose columns are the truth
    for column, (members, convert) in _COLUMNS[table].items():
        member = next((name for name in members if name in written), None)
        raw = None if member is None else written[member]
        expected = None if raw is None else convert(raw)
        held = row[column]
        if _holds(expected, held, convert) or _holds(raw, held, convert):
            continue
        if expected is None and _stands_in(table, column, held):
            continue
        if member is None and column in NOT_MEMBERS:
            continue  # what another program keeps for itself there
        if edited and (table, column) == ("attachments", "type") and "type" not in written:
            continue  # filled from the purpose, which was edited
        if foreign and _is_foreign(table, column, expected, row):
            continue
        yield column


def _stands_in(table: str, column: str, held: Any) -> bool:
    if (table, column) in _INSTEAD:
        return _INSTEAD[table, column] in (None, held)
    # How another program writes that there is none.
    return held in ({}, []) and column in {"redacted", "appended", "amended", "group_data"}


def _is_foreign(table: str, column: str, expected: Any, row: Mapping[str, Any]) -> bool:
    """Whether another program's constraints and triggers make a column what it is."""
    held = row[column]
    if table == "vcons" and column in _TWINS:
        return _alike(held, row[_TWINS[column]])
    if (table, column) in _REFUSED and held == _REFUSED[table, column]:
        return column != "type" or expected not in _DIALOG_TYPES
    match table, column:
        case "parties", "uuid":  # of the type uuid
            return isinstance(expected, str) and expected.lower() == held
        case "dialog", "session_id":  # of the type text
            return isinstance(held, str) and _alike(expected, _parsed(held))
    return False


def _parsed(text: str) -> Any:
    try:
        return exactly(text)
    except ValueError:
        return None


def _holds(expected: Any, held: Any, convert: c.Convert) -> bool:
    if isinstance(expected, str) and isinstance(held, str) and convert is c.timestamp:
        return _moment(expected) == _moment(held)
    if convert is c.real and _is_number(expected) and _is_number(held):
        return _real(expected) == _real(held)
    return _alike(expected, held)


def _alike(one: Any, other: Any) -> bool:
    """Compare as jsonb does: numbers by their value, objects without order."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if _is_number(one) and _is_number(other):
        return _decimal(one) == _decimal(other)
    return type(one) is type(other) and bool(one == other)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _decimal(number: float | Decimal) -> Decimal:
    return Decimal(repr(number)) if isinstance(number, float) else Decimal(number)


def _real(number: float | Decimal) -> bytes | None:
    try:
        return struct.pack("f", float(number) or 0.0)  # a column's -0 is read as an integer: as 0
    except OverflowError:
        return None


def _moment(text: str) -> datetime | None:
    moment = c.timestamp(text)
    return None if moment is None else datetime.fromisoformat(moment)
