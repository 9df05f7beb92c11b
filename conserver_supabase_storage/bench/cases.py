"""What is measured of a Supabase, beside a bare request to it."""

import itertools
from contextlib import ExitStack
from typing import Any, Self

import httpx

from ..errors import UnavailableError
from ..options import Options
from ..storage import SupabaseStorage
from .measure import Case
from .own import Own

BARE = "bare request"

# vCons that are read, in turns, and hits of a page.
_SAMPLE = 20

# vCons that are saved together.
BATCH = 50


class Cases:
    """The storage on a Supabase, and a bare request to it.

    A context manager, which closes its connections.

    Args:
        options: the storage's.

    Raises:
        StorageError: Supabase can't be used with them.
    """

    def __init__(self, options: Options) -> None:
        self.own = Own()
        self._closing = ExitStack()
        # No room in the spool: a save of a benchmark must not come after its end.
        self.storage = self._open(options.model_copy(update={"spool_max_count": 0}))
        self._plain = self._open(options.model_copy(update={"redis_url": None, "spool_url": None}))
        self._bare = self._closing.enter_context(_bare(options))
        self.has_cache = options.redis_url is not None

    def reading(self) -> list[Case]:
        """Return what changes nothing: the cache may be filled, as by any get.

        Raises:
            StorageError: the vCons to be read can't be had.
        """
        page = {"limit": _SAMPLE, "include": (), "total": False}
        uuids = [hit.uuid for hit in self._plain.search_page(page).hits]
        cases = [
            Case(BARE, _nothing, self._ask),
            Case("health", _nothing, lambda _: self.storage.health(), BARE),
            Case("search page", _nothing, lambda _: self._plain.search_page(page), BARE),
        ]
        if uuids:
            next_uuid = itertools.cycle(uuids).__next__
            cases.append(Case("get from the database", next_uuid, self._plain.get, BARE))
            if cached := self._cached(uuids):
                next_cached = itertools.cycle(cached).__next__

                def prepare() -> str:
                    uuid = next_cached()
                    self.storage.get(uuid)  # which sees to what a get does once a second
                    return uuid

                cases.append(Case("get from the cache", prepare, self.storage.get, BARE))
        return cases

    def writing(self) -> list[Case]:
        """Return what saves and deletes vCons of its own."""
        own, storage = self.own, self.storage
        kept = own.make()

        def saved() -> str:
            vcon = own.make()
            storage.save(vcon)
            return str(vcon["uuid"])

        def delete(uuid: str) -> None:
            storage.delete(uuid)
            own.gone(uuid)

        storage.save(kept)
        return [
            Case(BARE, _nothing, self._ask),
            Case("save new", own.make, storage.save, BARE),
            Case("save again, unchanged", lambda: kept, storage.save, BARE),
            Case("delete", saved, delete, BARE),
        ]

    def together(self) -> list[Case]:
        """Return what saves many vCons of its own at once."""
        own = self.own
        return [
            Case(BARE, _nothing, self._ask),
            Case(
                f"save_many of {BATCH}, each",
                lambda: [own.make() for _ in range(BATCH)],
                self._save_many,
                BARE,
                per=BATCH,
            ),
        ]

    def _save_many(self, vcons: list[dict[str, Any]]) -> None:
        for error in self.storage.save_many(vcons):
            if error is not None:
                raise error

    def _cached(self, uuids: list[str]) -> list[str]:
        """Fill the cache; return those that it keeps."""
        if not self.has_cache:
            return []
        found = []
        for uuid in uuids:
            self.storage.get(uuid)
            before = self.storage.stats().get("hit", 0)
            self.storage.get(uuid)
            if self.storage.stats().get("hit", 0) > before:
                found.append(uuid)
        return found

    def _ask(self, _: object) -> None:
        try:
            self._bare.post("rpc/vcon_storage_version_v1", content=b"{}").raise_for_status()
        except httpx.HTTPError as error:
            text = f"a bare request to Supabase failed: {type(error).__name__}"
            raise UnavailableError(text) from error

    def _open(self, options: Options) -> SupabaseStorage:
        return self._closing.enter_context(SupabaseStorage(options))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()


def _nothing() -> None:
    """Prepare a case that needs nothing."""


def _bare(options: Options) -> httpx.Client:
    """Return a client for one request after the other, on a connection that is kept open."""
    key = options.key.get_secret_value()
    return httpx.Client(
        base_url=options.rest_url or f"{options.url}/rest/v1",
        headers={
            "apikey": key,
            "Authorization": f"Bearer {key}",
            "Content-Type": "application/json",
            "Content-Profile": options.schema_,
        },
        timeout=options.total_timeout,
    )
