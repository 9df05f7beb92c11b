"""SupabaseStorage: what happens in which order."""

import os
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pydantic import SecretStr

from .bulk import Bulk
from .coherence import Change, CoherentCache
from .database import Database
from .document import Document, canonical_uuid, read, uuid_of
from .entry import Entry
from .errors import ConfigurationError, RefusedError, StorageError, UnavailableError
from .flights import Flights
from .freshness import Freshness
from .functions import NOTHING, Functions, stored
from .indexing import Indexer
from .options import Options
from .query import Query, embedding
from .redis_client import connect
from .rows import vcon as vcon_rows
from .searching import Hit, Search, SearchPage
from .spool import Record, Spool
from .spooling import Spooling
from .stats import Stats

if TYPE_CHECKING:
    from redis import Redis


class SupabaseStorage:
    """Keeps vCons in Supabase, exactly as they are, with Redis as a write-through cache.

    One instance serves all threads of a process and survives a fork. It is a context manager that
    closes its connections.

    Args:
        options: a mapping of options (docs/configuration.md), checked `Options`, or None to take
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
        self._stats = Stats()
        self._functions = Functions(o, self._database, self._freshness)
        self._indexer = Indexer(lambda count: self._functions.index_pending(count).gets_on)
        self._functions.wake_on_save(self._indexer)
        self._search = Search(o, self._functions)
        redis = _redis("redis_url", o.redis_url, o)
        spool = redis
        if o.spool_url is not None and o.spool_url != o.redis_url:
            spool = _redis("spool_url", o.spool_url, o)
        self._redis = [client for client in (redis, spool) if client is not None]
        self._cache = CoherentCache(redis, o, self._database, self._freshness, self._stats)
        breaker = self._cache.breaker if redis is not None and spool is redis else None
        self._spooling = Spooling(spool, breaker, o, self._freshness, self._replay, self._stats)
        self._bulk = Bulk(self._functions, self._cache, self._spooling, self.save, o.total_timeout)
        _storages.add(self)

    @property
    def options(self) -> Options:
        """The options in use."""
        return self._options

    def save(self, vcon: object) -> None:
        """Save a vCon, whole, in one transaction; in place of the older version, if there is one.

        Args:
            vcon: a dict, a ``vcon.Vcon``, or JSON text. It is not changed.

        Returns:
            Nothing, once it is committed; or once it is safe in the spool, if Supabase is away
            and there is a spool.

        Raises:
            InvalidVconError: it can't be stored exactly; nothing was written.
            UnavailableError: Supabase did not answer in time, and it could not be spooled. Saving
                again is safe.
            RefusedError: Supabase refused it; nothing was written.
        """
        began = time.monotonic()
        document = read(vcon)
        uuid = uuid_of(document)
        until = self._until()
        announced = False
        try:
            with self._cache.change(uuid, until) as change:
                announced = True
                outlook = self._spooling.outlook(uuid)
                try:
                    self._write(document, change, until, touch=outlook.touch)
                except UnavailableError as error:
                    # While the gate is shut: no reader brings the older version in between.
                    self._spooling.keep(uuid, document, began, error)
                    change.failed(error)
                    return
                except RefusedError as error:
                    self._spooling.set_aside(uuid, document, error)
                    raise
                if not self._spooling.changed(uuid, outlook):
                    self._write(document, change, until, touch=True)
        except UnavailableError as error:
            if not announced:
                # Redis is away, and so is the database, which could have kept readers from an
                # older entry. So it is not done; but not lost, if the spool is in another Redis.
                self._spooling.keep(uuid, document, began, error, done=False)
            raise

    def save_many(self, vcons: Iterable[object]) -> list[StorageError | None]:
        """Save many vCons: about ten times as fast as one by one, a request for each 200 or so.

        A request is one transaction. Where Supabase refuses it, its vCons are saved one by one, so
        that each has its own success or error.

        Args:
            vcons: each as for `save`; read as they are needed. One that comes twice is saved twice,
                in that order.

        Returns:
            For each, in their order, None or the error that `save` would have raised.
        """
        return self._bulk.save(vcons)

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
        rows = self._flights.read(uuid, self._cache.look, self._fetch, self._until())
        return None if rows == NOTHING else vcon_rows.from_stored(rows, parse_float)

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
            outlook = self._spooling.outlook(uuid)
            answer = self._functions.delete(uuid, until, once=self._hurries, touch=outlook.touch)
            if not self._spooling.changed(uuid, outlook):
                self._functions.delete(uuid, until, touch=True)
        return bool(answer["deleted"]) or outlook.number is not None

    def search(self, query: Mapping[str, Any] | Query | None = None) -> list[Document]:
        """Return the vCons that match, the newest (``created_at``) first.

        Args:
            query: a `Query`, or a mapping with its fields (docs/search.md): ``text``,
                ``language``, ``subject``, ``party``, ``tags``, ``start_date``, ``end_date``,
                ``dialog_type``, ``analysis_type``, ``vendor``, ``has_attachment``, ``uuid``,
                ``updated_since``, ``tenant``, ``embedding``, ``order``, ``limit`` (1 to 1000,
                default 100), ``include``. All that are given must match.

        Raises:
            InvalidQueryError: a field is unknown, impossible, or contradicts another.
            UnavailableError: Supabase did not answer in time.
            RefusedError: Supabase refused it.
        """
        return self._search.vcons(Query.parse(query))

    def search_page(
        self, query: Mapping[str, Any] | Query | None = None, cursor: str | None = None
    ) -> SearchPage:
        """Return a page of hits, with the vCons, in one request.

        Args:
            query: as for `search`; ``limit`` is the size of the page.
            cursor: that of the page before, with the same query; None for the first page. It
                marks a place, so that vCons which come or go meanwhile shift nothing.

        Raises:
            InvalidQueryError: as `search`; or the cursor was changed, or is another query's.
            UnavailableError: Supabase did not answer in time.
            RefusedError: Supabase refused it.
        """
        return self._search.page(Query.parse(query), cursor)

    def iter_search(self, query: Mapping[str, Any] | Query | None = None) -> Iterator[Hit]:
        """Go through all that match, page by page (of ``limit`` hits). Raises as `search_page`."""
        return self._search.hits(Query.parse(query))

    def save_embedding(self, uuid: str, part: str, vector: Iterable[float], model: str) -> None:
        """Keep an embedding of a part of a vCon, in place of the part's older one of that model.

        Args:
            uuid: the vCon's uuid.
            part: what was embedded, such as ``summary`` or ``dialog[0]``.
            vector: its numbers, 1 to 16,000; the same many for all of a model.
            model: what made it. A query names the same.

        Raises:
            VconNotFoundError: there is no such vCon.
            InvalidQueryError: it is no vector, or a name is no text.
            RefusedError: the database has no pgvector, or refused it.
            UnavailableError: Supabase did not answer in time.
        """
        checked = embedding(vector=vector, model=model, part=part)
        self._search.save_embedding(canonical_uuid(uuid), part, checked.vector, model)

    def search_capabilities(self) -> dict[str, Any]:
        """Ask what search has in this database.

        Returns:
            ``complete`` (False while vCons that were there before search are still being
            indexed), ``languages`` of ``text``, ``substring_index`` (whether pg_trgm serves
            ``subject``; without it the answers are the same, later) and ``embeddings``
            (whether pgvector is there).

        Raises:
            UnavailableError: Supabase did not answer in time.
            RefusedError: Supabase refused it.
        """
        return self._search.capabilities()

    def health(self) -> dict[str, Any]:
        """Ask Supabase and Redis whether they answer. Raises nothing.

        Returns:
            ``status``: ``ok``, ``degraded`` (Redis is away: slower, nothing lost) or ``down``;
            ``database`` and ``cache``: ``ok``, ``off`` (no Redis in the options) or what is wrong;
            ``schema_version``: the newest migration that the database has, or None.
        """
        version = None
        try:
            version = self._functions.version()
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

    def stats(self) -> dict[str, int]:
        """Return what was counted in this process since the storage was made.

        Returns:
            By event: ``hit`` (the cache answered), ``compare`` (the database confirmed or replaced
            what the cache had), ``miss``, ``bypass`` (Redis is away), ``fill``, ``refused_fill``,
            ``error``, ``spooled``, ``spool_full``, ``replayed``, ``replay_failed``.
        """
        return self._stats.read()

    def replay(self) -> dict[str, int]:
        """Replay the spooled saves now, in their order, as far as Supabase takes them.

        Returns:
            How many were ``replayed``, set aside as ``failed``, and are still ``waiting`` (another
            process may be replaying them).

        Raises:
            UnavailableError: Supabase, or the spool's Redis, is away.
            RefusedError: Supabase would refuse any vCon, for example because of the key.
        """
        return self._spooling.replay()

    def backfill(
        self, limit: int, *, after: str | None = None, count: bool = False
    ) -> dict[str, Any]:
        """Give vCons that only another program wrote a revision, so that a cache can keep them.

        Args:
            limit: how many of them, by uuid, in one transaction.
            after: the uuid after which to begin.
            count: whether to count first how many have none (it looks at all vCons).

        Returns:
            How many were ``filled``; the uuid of the ``last``, or None; and how many were ``left``
            before, if that was asked for.

        Raises:
            UnavailableError: Supabase did not answer in time. Repeating it is safe.
            RefusedError: Supabase refused it.
        """
        answer = self._functions.backfill(limit, after, count=count)
        return {name: answer[name] for name in ("filled", "last", "left")}

    def index(self, limit: int) -> dict[str, Any]:
        """Let search know some of the vCons that were there before it was.

        Args:
            limit: how many to look at, in one transaction.

        Returns:
            How many were ``seen`` and ``indexed``, and whether search is ``complete`` with that.

        Raises:
            UnavailableError: Supabase did not answer in time. Repeating it is safe.
            RefusedError: Supabase refused it.
        """
        return self._functions.index(limit)

    def restored(self) -> int:
        """Begin anew after the database was restored from a backup (docs/backup.md).

        What was cached before is not used any more, by no process that begins a get a second after
        this or later; and no revision is handed out again that a cache may know.

        Returns:
            How many vCons were thrown away from the cache, as `clear_cache`.

        Raises:
            UnavailableError: Supabase did not answer in time. Repeating it is safe.
            RefusedError: Supabase refused it.
        """
        self._functions.restored()
        return self.clear_cache()

    def clear_cache(self) -> int:
        """Throw away what is cached under this storage's prefix (and tenant).

        Returns:
            How many vCons were cached.
        """
        return self._cache.clear()

    @property
    def spool(self) -> Spool | None:
        """The spool, for looking into it; None where there is no Redis for one."""
        return self._spooling.spool

    def close(self) -> None:
        """Close the connections. May be called twice; a later operation opens new ones."""
        self._indexer.close()
        self._cache.close()  # may have a last word for the database
        self._spooling.close()
        self._database.close()
        for redis in self._redis:
            redis.close()
            redis.connection_pool.disconnect()

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

    def _write(
        self,
        document: Document,
        change: Change,
        until: float,
        *,
        touch: bool = False,
        not_after: float | None = None,
    ) -> None:
        """Write a document to the database, and tell the cache what came of it."""
        answer, prepared = self._functions.save(
            document, until, once=self._hurries, touch=touch, not_after=not_after
        )
        if self._cache.is_on and not answer["left_out"]:
            change.done(answer, prepared.stored())

    @property
    def _hurries(self) -> bool:
        """Whether one attempt is enough: with a spool, an outage costs not every save its time."""
        return self.spool is not None and self._database.seems_away

    def _replay(self, record: Record) -> None:
        """Save a spooled record, unless something newer was saved, and take it from the spool."""
        until = self._until()
        with self._cache.change(record.uuid, until) as change:
            self._write(read(record.document), change, until, not_after=record.not_after)
            if self.spool:
                self.spool.remove(record.uuid, record.number)

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

    def _forget(self) -> None:
        """Start afresh in a forked child: connections, threads and locks are the parent's."""
        self._indexer.forget()
        self._database.forget()
        self._cache.forget()
        self._spooling.forget()
        self._flights.forget()
        self._stats.forget()


def _redis(name: str, url: SecretStr | None, options: Options) -> "Redis | None":
    """Make the client for a URL of the options."""
    if url is None:
        return None
    try:
        return connect(url.get_secret_value(), options.redis_timeout)
    except ValueError as error:
        raise ConfigurationError(f"{name}: {error}") from None


def _rows_of(record: Record) -> bytes:
    """Return a spooled document's rows, as the get function would."""
    return stored(vcon_rows.to_rows(read(record.document), record.uuid))


_storages: "weakref.WeakSet[SupabaseStorage]" = weakref.WeakSet()


def _forget_after_fork() -> None:
    for storage in _storages:
        storage._forget()


os.register_at_fork(after_in_child=_forget_after_fork)
