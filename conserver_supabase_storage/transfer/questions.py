"""What the database is asked about many vCons: the functions of the migration vcon_transfer."""

import json
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from ..database import Database
from ..document import Document, dumps, exact_number
from ..freshness import Freshness
from ..functions import Functions
from ..options import Options
from ..rows import vcon as vcon_rows

# vCons of one request.
COUNT = 200


class Stored(NamedTuple):
    """A vCon that is in the database.

    Attributes:
        uuid: its uuid.
        revision: that of its last change; None where a cache may not keep it.
        digest: of what was saved last; None where another program has changed it since.
        rows: its rows as the get function returns them, parsed; None if they were not asked for.
    """

    uuid: str
    revision: int | None
    digest: str | None
    rows: dict[str, Any] | None

    def document(self) -> Document:
        """Return the vCon, with every number as it was written. Once: it takes the rows."""
        return vcon_rows.from_found(self.rows or {}, exactly)


class State(NamedTuple):
    """Whether entries of a cache are returned: those of this episode, unless it is off."""

    episode: int
    off: bool


class Walked(NamedTuple):
    """A vCon that a walk came by, and its ``created_at`` as the vCon says it."""

    uuid: str
    created_at: Any


class Questions:
    """Asks the database of one storage. Methods raise UnavailableError and RefusedError.

    Args:
        options: the storage's.
    """

    def __init__(self, options: Options) -> None:
        self._database = Database(options)
        self._functions = Functions(options, self._database, Freshness())
        self._tenant = {"p_tenant": dumps(options.tenant)} if options.tenant else {}

    def state_of(
        self, uuids: Sequence[str], *, rows: bool = False
    ) -> tuple[State, list[Stored], int]:
        """Ask about some vCons.

        Returns:
            The cache's state, those that are there, and how many of the uuids were looked at: large
            vCons come in several answers.
        """
        answer = self._ask("vcon_storage_many_v1", p_uuids=list(uuids), p_rows=rows)
        found = [Stored(*vcon) for vcon in answer["vcons"]]
        return State(answer["episode"], answer["off"]), found, answer["seen"]

    def many(self, uuids: Sequence[str], *, rows: bool = False) -> Iterator[Stored]:
        """Yield those of some vCons that are there, in the given order."""
        while uuids:
            _, found, seen = self.state_of(uuids[:COUNT], rows=rows)
            yield from found
            uuids = uuids[seen:]

    def digest(self, document: Document) -> str:
        """Return the digest that a checked document has once it is saved."""
        return self._functions.prepare(document).digest

    def walk(self, after: str | None = None) -> Iterator[list[Walked]]:
        """Yield all vCons by their uuid, some at a time."""
        while True:
            answer = self._ask("vcon_storage_walk_v1", p_after=after, p_limit=COUNT)
            found = [Walked(*vcon) for vcon in answer["vcons"]]
            if not found:
                return
            yield found
            after = found[-1].uuid

    def columns(self, after: str | None = None) -> Iterator[tuple[bool, list[dict[str, Any]]]]:
        """Yield the typed columns of all vCons by their uuid, some at a time.

        With them, whether another program made the tables.
        """
        while True:
            answer = self._ask("vcon_storage_columns_v1", p_after=after, p_limit=COUNT)
            if not answer["vcons"]:
                return
            yield answer["foreign"], answer["vcons"]
            after = answer["vcons"][-1]["uuid"]

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, function: str, **arguments: Any) -> dict[str, Any]:
        texts = {name: dumps(value) for name, value in arguments.items()}
        answer: dict[str, Any] = exactly(self._database.call(function, self._tenant | texts))
        return answer


def exactly(text: bytes | str) -> Any:
    """Parse JSON text so that every number is written again as it was."""
    return json.loads(text, parse_float=exact_number)
