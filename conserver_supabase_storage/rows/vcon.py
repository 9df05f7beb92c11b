"""A whole vCon: its header row and its parts' rows, and back again.

The header's ``as_written`` has all top-level members; a list of parts is an empty list there, which
keeps its place and says that the member was a list (and neither absent nor null).
"""

from collections.abc import Callable
from typing import Any

from ..document import PARTS, Document, parser
from . import analysis, attachments, dialog, parties
from . import columns as c
from .part import Parse, Row, fill, targets

_TABLES = {
    "parties": parties,
    "dialog": dialog,
    "analysis": analysis,
    "attachments": attachments,
}

COLUMNS = {
    "vcon_version": (("vcon",), c.version),
    "subject": (("subject",), c.subject),
    "created_at": (("created_at",), c.timestamp),
    "updated_at": (("updated_at",), c.timestamp),
    "extensions": (("extensions",), c.texts),
    "must_support": (("must_support",), c.texts),
    "critical": (("critical",), c.texts),
    "redacted": (("redacted",), c.document),
    "appended": (("appended",), c.document),
    "amended": (("amended",), c.document),
    "group_data": (("group",), c.document),
}

_TARGETS = targets(COLUMNS)

# The member of stored rows that has a table's large bodies, in the order of its rows.
_LARGE = {table: f"{table}_large" for table in _TABLES}

# Which member a header column of another program's row stands for, with the value that its schema
# gives to a vCon that has no such member.
_MEMBERS: dict[str, tuple[str, Any]] = {
    "vcon_version": ("vcon", ""),
    "uuid": ("uuid", None),
    "extensions": ("extensions", None),
    "critical": ("critical", None),
    "created_at": ("created_at", None),
    "updated_at": ("updated_at", None),
    "subject": ("subject", None),
    "redacted": ("redacted", {}),
    "amended": ("amended", {}),
    "group_data": ("group", []),
}


def to_rows(document: Document, uuid: str, *, careful: bool = False) -> dict[str, Any]:
    """Turn a checked document into its header row (``vcon``) and its parts' rows (by table).

    Args:
        document: from `document.read`; it is not changed.
        uuid: the vCon's, as `document.uuid_of` says; parts' rows have it as ``vcon_id``.
        careful: as in `Part.to_rows`.
    """
    written = {
        name: [] if name in _TABLES and value is not None else value
        for name, value in document.items()
    }
    header: Row = {"as_written": written}
    fill(header, _TARGETS, document)
    rows: dict[str, Any] = {"vcon": header}
    for table in PARTS:
        rows[table] = _TABLES[table].to_rows(document.get(table) or (), careful=careful)
        for row in rows[table]:
            row["vcon_id"] = uuid
    return rows


def stored(rows: dict[str, Any]) -> dict[str, Any]:
    """Return rows that are about to be written as the get function will return them."""
    return {
        "vcon": rows["vcon"]["as_written"],
        **{table: [[row["as_written"], row.get("body")] for row in rows[table]] for table in PARTS},
    }


def from_stored(text: bytes, parse_float: Callable[[str], Any] | None = None) -> Document:
    """Turn stored rows (JSON text) into the document.

    Args:
        text: an object with the header (``vcon``), a list of rows per table, and perhaps lists of
            large bodies.
        parse_float: how to read decimals, as in `json.loads`.

    Returns:
        A new document.
    """
    parse = parser(text, parse_float)
    return from_found(parse(text), parse)


def from_found(found: dict[str, Any], parse: Parse) -> Document:
    """Turn parsed rows into the document; they become part of it.

    Args:
        found: as in `from_stored`.
        parse: how to read a body that is JSON.
    """
    document: Document = found["vcon"] or _from_columns(found["columns"])
    for table in PARTS:
        rows = found[table]
        if bodies := found.get(_LARGE[table]):
            _put_back(rows, bodies)
        if rows or document.get(table) == []:
            document[table] = _TABLES[table].from_rows(rows, parse)
    return document


def _put_back(rows: list[Any], bodies: list[str]) -> None:
    """Put bodies where the get function took them from their rows, because they are large."""
    left = iter(bodies)
    for row in rows:
        if isinstance(row, list) and row[1] is True:
            row[1] = next(left)


def _from_columns(columns: dict[str, Any]) -> Document:
    """Build the header that another program's row stands for: absent where a column is null."""
    header = {
        member: columns[column]
        for column, (member, empty) in _MEMBERS.items()
        if columns.get(column) not in (None, empty)
    }
    return {**header, "parties": []}
