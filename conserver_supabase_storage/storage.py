"""SupabaseStorage: what happens in which order."""

import hashlib
import json
import os
import time
import weakref
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from .cache import Entry
from .coherence import CoherentCache
from .database import Database
from .document import Document, canonical_uuid, dumps, read, uuid_of
from .errors import ConfigurationError, StorageError, UnavailableError
from .flights import Flights
from .freshness import Freshness
from .options import Options
from .query import Query
from .rows import vcon as vcon_rows


class SupabaseStorage:
    """Keeps vCons in Supabase, exactly as they are, with Redis as a write-through cache.

    One instance serves all threads of a process and survives a fork. It is a context manager that
    closes its connections.

    Args:
        options: a mapping of options (README, "Options"), checked `Options`, or None to take
            everything from the environment.

    Raises:
        ConfigurationError: the options can't be used. Nothing is sent anywhere before the first
            operation.
    """

    def __init__(self, options: Mapping[str, Any] | Options | None = None) -> None:
        self._options = o = Options.parse(options)
        self._database = Database(o)
        self._freshness = Freshness()
        self._flights = Flights()
        try:
            self._cache = CoherentCache(o, self._database, self._freshness)
        except ValueError as error:
            raise ConfigurationError(f"redis_url: {error}") from None
        _storages.add(self)

    @property
    def options(self) -> Options:
        """The options in use."""
        return self._options

    def save(self, vcon: object) -> None:
        """Save a vCon, whole, in one transaction; in place of the older version, if there is one.

        Args:
            vcon: a dict, a ``vcon.Vcon``, or JSON text. It is not changed.

        Raises:
            InvalidVconError: it can't be stored exactly; nothing was written.
            UnavailableError: Supabase did not answer in time. Saving again is safe.
            RefusedError: Supabase refused it; nothing was written.
        """
        document = read(vcon)
        uuid = uuid_of(document)
        rows = vcon_rows.to_rows(document)
        arguments = dumps({f"p_{name}": value for name, value in rows.items()})
        # Of the arguments, not of the document: a release that fills columns differently writes
        # them anew.
        digest = hashlib.sha256(arguments.encode()).hexdigest()
        arguments = f'{{"p_uuid":"{uuid}","p_digest":"{digest}",{arguments[1:]}'
        until = self._until()
        with self._cache.change(uuid, until) as change:
            saved = self._change("vcon_storage_save_v1", arguments, until)
            if self._cache.is_on:
                change.done(saved["revision"], saved, dumps(vcon_rows.stored(rows)))

    def get(self, uuid: str, *, parse_float: Callable[[str], Any] | None = None) -> Document | None:
        """Return a vCon as it was saved, or None if there is none.

        Args:
            uuid: the vCon's uuid, in any case.
            parse_float: how to read decimals, as in `json.loads`: ``decimal.Decimal`` for those
                that have more digits than a float. Every digit that was saved is kept.

        Returns:
            A new dict on every call.

        Raises:
            InvalidVconError: `uuid` is no uuid.
            UnavailableError: Supabase did not answer in time.
            RefusedError: Supabase refused it.
        """
        uuid = canonical_uuid(uuid)
        rows = self._flights.read(uuid, self._look, self._fetch, self._options.total_timeout)
        return None if rows == _NOTHING else vcon_rows.from_stored(rows, parse_float)

    def delete(self, uuid: str) -> bool:
        """Delete a vCon with all its parts.

        Args:
            uuid: the vCon's uuid, in any case.

        Returns:
            Whether it was there.

        Raises:
            InvalidVconError: `uuid` is no uuid.
            UnavailableError: Supabase did not answer in time. Deleting again is safe.
            RefusedError: Supabase refused it; nothing was deleted.
        """
        uuid = canonical_uuid(uuid)
        until = self._until()
        with self._cache.change(uuid, until):
            deleted = self._change("vcon_storage_delete_v1", f'{{"p_uuid":"{uuid}"}}', until)
        return bool(deleted["deleted"])

    def search(self, query: Mapping[str, Any] | None = None) -> list[Document]:
        """Return the vCons that match, the newest (``created_at``) first.

        Args:
            query: a mapping with any of ``subject`` (a substring; every character stands for
                itself, case does not matter), ``start_date`` and ``end_date`` (both inclusive; a
                time with an offset, or a date for that day in UTC) and ``limit`` (1 to 1000,
                default 100).

        Raises:
            InvalidQueryError: a field is unknown or impossible.
            UnavailableError: Supabase did not answer in time.
            RefusedError: Supabase refused it.
        """
        answer = self._database.call("vcon_storage_search_v1", Query.parse(query).arguments())
        return [vcon_rows.from_found(found) for found in json.loads(answer)]

    def health(self) -> dict[str, Any]:
        """Ask Supabase and Redis whether they answer. Raises nothing.

        Returns:
            ``status``: ``ok``, ``degraded`` (Redis is away: slower, nothing lost) or ``down``;
            ``database`` and ``cache``: ``ok``, ``off`` (no Redis in the options) or what is wrong;
            ``schema_version``: the newest migration that the database has, or None.
        """
        version = None
        try:
            version = json.loads(self._database.call("vcon_storage_version_v1", "{}"))
            database = "ok"
        except StorageError as error:
            database = str(error)
        cache = self._cache.status()
        degraded = "ok" if cache in {"ok", "off"} else "degraded"
        return {
            "status": degraded if database == "ok" else "down",
            "database": database,
            "cache": cache,
            "schema_version": version,
        }

    def close(self) -> None:
        """Close the connections. May be called twice; a later operation opens new ones."""
        self._database.close()
        self._cache.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SupabaseStorage({self._options!r})"

    def _until(self) -> float:
        """Return when an operation that begins now gives up."""
        return time.monotonic() + self._options.total_timeout

    def _change(self, function: str, arguments: str, until: float) -> dict[str, Any]:
        """Call a function that changes a vCon."""
        asked = time.monotonic()
        answer: dict[str, Any] = json.loads(
            self._database.call(function, arguments, until=until, clock=self._freshness.now)
        )
        self._freshness.note(asked, answer)
        return answer

    def _look(self, uuid: str) -> tuple[bytes | None, Entry | None]:
        return self._cache.look(uuid)

    def _fetch(self, uuid: str, entry: Entry | None) -> bytes:
        """Ask the database for a vCon's rows, and bring them to the cache.

        An entry that the cache has, but can't vouch for, is compared: where the database still
        has its revision, the rows need not travel.
        """
        ticket = "" if entry else self._cache.ticket(uuid)
        known = f',"p_known":{entry.revision}' if entry else ""
        asked = time.monotonic()
        try:
            answer = self._database.call(
                "vcon_storage_get_v1", f'{{"p_uuid":"{uuid}"{known}}}', once=entry is not None
            )
        except UnavailableError as error:
            if entry is None:
                raise
            if error.silent:  # perhaps only slow, and others may be saving
                return self._fetch(uuid, None)
            self._freshness.prolong()
            return entry.rows
        header, _, rest = answer.partition(_ROWS)
        state, rows = json.loads(header + b"}"), rest[:-1]
        self._freshness.note(asked, state)
        if entry is None:
            self._cache.fill(uuid, ticket, state, rows)
            return rows
        same = state["revision"] == entry.revision
        if not same or state["episode"] != entry.episode:
            self._cache.discard(uuid, entry)
        return entry.rows if same else rows

    def _forget(self) -> None:
        """Start afresh in a forked child: connections, threads and locks are the parent's."""
        self._database.forget()
        self._cache.forget()
        self._flights.forget()


# How json_build_object writes the member before the rows, which are the last one; taken as they
# are, they need to be parsed only once.
_ROWS = b', "rows" : '
_NOTHING = b"null"

_storages: "weakref.WeakSet[SupabaseStorage]" = weakref.WeakSet()


def _forget_after_fork() -> None:
    for storage in _storages:
        storage._forget()


os.register_at_fork(after_in_child=_forget_after_fork)
