"""One way from a list of parts to rows and back, for the tables that have a row per part.

A row that we wrote has ``as_written``: the part, with its body taken out. In the body's place
stands null where the column ``body`` has it as text, and ``{}`` or ``[]`` where the column has it
as JSON text of an object or a list; any other body (a number, null, none at all) needs no column.
A row that another program wrote has no ``as_written``: its part is what its columns say.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..document import dumps
from .columns import Convert

type Row = dict[str, Any]
type Parse = Callable[[str], Any]

# As the get function returns a row: [as_written, body], or an object of all columns where another
# program wrote it.
type StoredRow = list[Any] | Row


class Part:
    """How one kind of part is kept in its table.

    Args:
        index: the column that keeps the part's place in its list.
        columns: for each typed column the members that it is filled from, the first that is
            there, and how.
        has_body: whether the table has a column ``body``.
        careful: columns that have a stricter type in older databases of another program, with
            what it takes.
    """

    def __init__(
        self,
        index: str,
        columns: "Columns",
        *,
        has_body: bool = True,
        careful: Mapping[str, Convert] | None = None,
    ) -> None:
        self._index = index
        self._columns = columns
        self._targets = targets(columns)
        self._has_body = has_body
        self._careful = careful or {}

    @property
    def columns(self) -> "Columns":
        """The typed columns."""
        return self._columns

    def to_rows(self, parts: Iterable[Mapping[str, Any]], *, careful: bool = False) -> list[Row]:
        """Turn parts into rows; a column that would be null is left out.

        Args:
            parts: the parts in their order, checked by `document.read`; they are not changed.
            careful: whether to keep to the types of another program's older tables.

        Returns:
            A row per part, with the columns' names as keys.
        """
        rows = []
        for index, part in enumerate(parts):
            written, body = _take_body(part) if self._has_body else (part, None)
            row: Row = {self._index: index, "as_written": written}
            if body is not None:
                row["body"] = body
            fill(row, self._targets, part)
            if careful:
                for column, convert in self._careful.items():
                    row[column] = convert(row.get(column))
            rows.append(row)
        return rows

    def from_rows(
        self, rows: Iterable[StoredRow], parse: Parse = json.loads
    ) -> list[dict[str, Any]]:
        """Turn stored rows, in their order, into the parts that they were written from.

        Args:
            rows: as the get function returns them; they become part of the result.
            parse: how to read a body that is JSON.

        Returns:
            The parts.
        """
        parts: list[dict[str, Any]] = []
        for row in rows:
            if isinstance(row, dict):
                parts.append(self._from_columns(row))
                continue
            part, body = row
            if body is not None:
                is_json = isinstance(part.get("body"), (dict, list))
                part["body"] = parse(body) if is_json else body
            parts.append(part)
        return parts

    def _from_columns(self, row: Row) -> dict[str, Any]:
        """Build the part that another program's row stands for: absent where a column is null."""
        part = {
            members[0]: row[column]
            for column, (members, _) in self._columns.items()
            if row.get(column) is not None and members[0] not in NOT_MEMBERS
        }
        for member in _AS_IT_IS:
            if row.get(member) is not None:
                part[member] = row[member]
        return part


# Members that another program's row has beside the typed columns.
_AS_IT_IS = ("party_history", "body")

# Columns that another program keeps for itself: what it writes there is no member of the vCon.
NOT_MEMBERS = frozenset({"metadata", "size_bytes", "data_subject_id", "created_at"})


# Of a typed column: the members that it is filled from, the first that is there, and how.
type Columns = Mapping[str, tuple[tuple[str, ...], Convert]]

# Of a member: the columns that it fills, how, and the members that come before it.
type Targets = Mapping[str, list[tuple[str, Convert, tuple[str, ...]]]]


def targets(columns: Columns) -> Targets:
    """Turn a table's columns around: a part has few of the members that there are columns for."""
    found: dict[str, list[tuple[str, Convert, tuple[str, ...]]]] = {}
    for column, (members, convert) in columns.items():
        for place, member in enumerate(members):
            found.setdefault(member, []).append((column, convert, members[:place]))
    return found


def fill(row: Row, targets: Targets, part: Mapping[str, Any]) -> None:
    """Put into a row the typed columns that a part fills."""
    for member, value in part.items():
        for column, convert, earlier in targets.get(member, ()):
            if earlier and any(name in part for name in earlier):
                continue
            if (held := convert(value)) is not None:
                row[column] = held


def _take_body(part: Mapping[str, Any]) -> tuple[Mapping[str, Any], str | None]:
    body = part.get("body")
    if isinstance(body, str):
        return {**part, "body": None}, body
    if isinstance(body, dict | list):
        return {**part, "body": type(body)()}, dumps(body).decode()
    return part, None
