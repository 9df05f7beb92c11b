"""SupabaseStorage: what happens in which order."""

import os
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from .bulk import Bulk
from .coherence import Change, CoherentCache
from .database import Database
from .document import Document, canonical_uuid, read, uuid_of
from .errors import (
    InvalidVconError,
    RefusedError,
    StorageError,
    UnavailableError,
)
from .freshness import Freshness
from .functions import NOTHING, Functions
from .indexing import Indexer
from .options import Options
from .query import Query, embedding
from .reading import Reading
from .redis_client import client
from .rows import vcon as vcon_rows
from .searching import Hit, Search, SearchPage
from .source import live_vcon
from .spool import Record, Spool
from .spooling import Spooling
from .telemetry import Telemetry


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
        self._telemetry = Telemetry()
        self._functions = Functions(o, self._database, self._freshness)
        self._indexer = Indexer(lambda count: self._functions.index_pending(count).gets_on)
        self._functions.wake_on_save(self._indexer)
        self._search = Search(o, self._functions)
        redis = client("redis_url", o.redis_url, o.redis_timeout)
        spool = redis
        if o.spool_max_count == 0:
            spool = None
        elif o.spool_url is not None and o.spool_url != o.redis_url:
            spool = client("spool_url", o.spool_url, o.redis_timeout)
        self._redis = [each for each in (redis, spool) if each is not None]
        self._cache = CoherentCache(redis, o, self._database, self._freshness, self._telemetry)
        breaker = self._cache.breaker if redis is not None and spool is redis else None
        self._spooling = Spooling(spool, breaker, o, self._freshness, self._replay, self._telemetry)
        self._bulk = Bulk(self._functions, self._cache, self._spooling, self._save, o.total_timeout)
        self._reading = Reading(self._functions, self._cache, self._spooling)
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
        with self._telemetry.operation("save") as operation:
            document = read(vcon)
            operation.uuid = uuid_of(document)
            self._save(document)

    def save_live(self, vcon_uuid: str) -> None:
        """Save the vCon that the conserver is working on (`conserver_supabase_storage.save`)."""
        with self._telemetry.operation("save") as operation:
            operation.uuid = uuid = canonical_uuid(vcon_uuid)
            document = read(live_vcon(str(vcon_uuid), self._options))
            if uuid_of(document) != uuid:
                raise InvalidVconError(
                    f"differs from the uuid {uuid} that it is kept under", "uuid"
                )
            self._save(document)

    def save_many(self, vcons: Iterable[object]) -> list[StorageError | None]:
        """Save many vCons: about ten times as fast as one by one, a request for each 100 or so.

        Three requests are under way at once, each one transaction. Where Supabase refuses one, its
        vCons are saved one by one, so that each has its own success or error.

        Args:
            vcons: each as for `save`; read as they are needed. One that comes twice is saved twice,
                in that order.

        Returns:
            For each, in their order, None or the error that `save` would have raised.
        """
        with self._telemetry.operation("save_many") as operation:
            results = self._bulk.save(vcons)
            operation.ended(results)
            return results

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
        with self._telemetry.operation("get") as operation:
            operation.uuid = canonical_uuid(uuid)
            rows = self._reading.rows(operation.uuid, self._until())
            if rows == NOTHING:
                operation.outcome = "not_found"
                return None
            return vcon_rows.from_stored(rows, parse_float)

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
        with self._telemetry.operation("delete") as operation:
            operation.uuid = uuid = canonical_uuid(uuid)
            was_there = self._delete(uuid)
            if not was_there:
                operation.outcome = "not_found"
            return was_there

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
        with self._telemetry.operation("search"):
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
        with self._telemetry.operation("search"):
            return self._search.page(Query.parse(query), cursor)

    def iter_search(self, query: Mapping[str, Any] | Query | None = None) -> Iterator[Hit]:
        """Go through all that match, page by page (of ``limit`` hits). Raises as `search_page`."""
        return self._search.hits(Query.parse(query), self.search_page)

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
        return self._telemetry.counts()

    def replay(self, done: Callable[[str], None] | None = None) -> dict[str, int]:
        """Replay the spooled saves now, in their order, as far as Supabase takes them.

        Args:
            done: called with ``replayed`` or ``failed`` after each, for those who want to see how
                far it is.

        Returns:
            How many were ``replayed``, set aside as ``failed``, and are still ``waiting`` (another
            process may be replaying them).

        Raises:
            UnavailableError: Supabase, or the spool's Redis, is away.
            RefusedError: Supabase would refuse any vCon, for example because of the key.
        """
        return self._spooling.replay(done)

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
        self._telemetry.close()
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

    def _save(self, document: Document) -> None:
        """Save a checked document, or spool it."""
        began = time.monotonic()
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

    def _delete(self, uuid: str) -> bool:
        until = self._until()
        with self._cache.change(uuid, until):
            outlook = self._spooling.outlook(uuid)
            answer = self._functions.delete(uuid, until, once=self._hurries, touch=outlook.touch)
            if not self._spooling.changed(uuid, outlook):
                self._functions.delete(uuid, until, touch=True)
        return bool(answer["deleted"]) or outlook.number is not None

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

    def _forget(self) -> None:
        """Start afresh in a forked child: connections, threads and locks are the parent's."""
        self._indexer.forget()
        self._functions.forget()
        self._database.forget()
        self._cache.forget()
        self._spooling.forget()
        self._reading.forget()
        self._telemetry.forget()


_storages: "weakref.WeakSet[SupabaseStorage]" = weakref.WeakSet()


def _forget_after_fork() -> None:
    for storage in _storages:
        storage._forget()


os.register_at_fork(after_in_child=_forget_after_fork)
