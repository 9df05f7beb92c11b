"""SupabaseStorage: what happens in which order."""

import hashlib
import json
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from .cache import Cache
from .database import Database
from .document import Document, canonical_uuid, dumps, read, uuid_of
from .errors import ConfigurationError, StorageError
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
        self._cache: Cache | None = None
        if o.redis_url:
            try:
                self._cache = Cache(
                    o.redis_url.get_secret_value(),
                    prefix=o.cache_prefix,
                    ttl=o.cache_ttl,
                    timeout=o.redis_timeout,
                )
            except ValueError as error:
                raise ConfigurationError(f"redis_url: {error}") from None

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
        answer = self._database.call(
            "vcon_storage_save_v1",
            f'{{"p_uuid":"{uuid}","p_digest":"{digest}",{arguments[1:]}',
        )
        if self._cache:
            self._cache.put(uuid, int(answer), dumps(vcon_rows.stored(rows)))

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
        if self._cache and (cached := self._cache.get(uuid)) is not None:
            return vcon_rows.from_stored(cached, parse_float)
        answer = self._database.call("vcon_storage_get_v1", f'{{"p_uuid":"{uuid}"}}')
        if answer == b"null":
            return None
        if self._cache:
            self._cache.put(uuid, json.loads(answer)["revision"] or 0, answer.decode())
        return vcon_rows.from_stored(answer, parse_float)

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
        answer = json.loads(self._database.call("vcon_storage_delete_v1", f'{{"p_uuid":"{uuid}"}}'))
        if self._cache:
            self._cache.drop(uuid)
        return bool(answer["deleted"])

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
        cache = (self._cache.error() or "ok") if self._cache else "off"
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
        if self._cache:
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
