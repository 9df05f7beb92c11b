"""Where a vCon is read from: the cache, the database, or the spool."""

from typing import Any

from .coherence import CoherentCache
from .document import read
from .entry import Entry
from .errors import UnavailableError
from .flights import Flights
from .functions import Functions, stored
from .rows import vcon as vcon_rows
from .spool import Record
from .spooling import Spooling


class Reading:
    """Reads for one storage.

    Args:
        functions: the storage's.
        cache: the storage's.
        spooling: the storage's.
    """

    def __init__(self, functions: Functions, cache: CoherentCache, spooling: Spooling) -> None:
        self._functions = functions
        self._cache = cache
        self._spooling = spooling
        self._flights = Flights()

    def rows(self, uuid: str, until: float) -> bytes:
        """Return a vCon's rows as JSON text, or `functions.NOTHING`.

        Args:
            uuid: the vCon's.
            until: when to give up (time.monotonic()).
        """
        return self._flights.read(uuid, self._cache.look, self._fetch, until)

    def forget(self) -> None:
        """Start afresh in a forked child."""
        self._flights.forget()

    def _fetch(self, uuid: str, entry: Entry | None, until: float) -> bytes:
        """Ask the database for a vCon's rows, and bring them to the cache.

        An entry that the cache has, but can't vouch for, is compared: where the database still
        has its revision, the rows need not travel.
        """
        ticket = "" if entry else self._cache.ticket(uuid)
        record = self._spooling.find(uuid)
        try:
            state, rows = self._functions.get(
                uuid, until, once=entry is not None, known=entry.revision if entry else None
            )
        except UnavailableError as error:
            if record is not None:
                return _rows_of(record)
            if entry is None:
                raise
            if error.away and self._cache.stands_in(entry):
                return entry.rows
            return self._fetch(uuid, None, until)  # it may only be slow, and others may be saving
        if record is not None and (state["changed_at"] or 0) <= record.not_after:
            return _rows_of(record)
        if entry is None:
            self._cache.fill(uuid, ticket, state, rows)
            return rows
        return self._compared(uuid, entry, state, rows, until)

    def _compared(
        self, uuid: str, entry: Entry, state: dict[str, Any], rows: bytes, until: float
    ) -> bytes:
        """Return a vCon's rows, after an entry's revision was compared with the database's."""
        same = state["revision"] == entry.revision
        if not same or state["episode"] != entry.episode:
            self._cache.discard(uuid, entry)
        if same and not entry.is_of(state["episode"]):
            return self._fetch(uuid, None, until)
        return entry.rows if same else rows


def _rows_of(record: Record) -> bytes:
    """Return a spooled document's rows, as the get function would."""
    return stored(vcon_rows.to_rows(read(record.document), record.uuid))
