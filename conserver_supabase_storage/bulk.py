"""Saving many vCons, a batch in each request."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import NamedTuple

from .coherence import CoherentCache
from .document import Document, read
from .errors import RefusedError, StorageError, UnavailableError
from .functions import Functions, Prepared
from .spooling import Spooling

# A batch is sent when it has so many vCons or bytes: well within one statement's time, and small
# enough that writers of the same vCons don't wait for long.
_COUNT = 100
_BYTES = 2_000_000

# Batches under way: while Supabase saves some, the next is made.
_AT_ONCE = 3

type Results = list[StorageError | None]


class _Given(NamedTuple):
    """A vCon of a batch: its place among the results, itself, and what is sent of it."""

    place: int
    document: Document
    prepared: Prepared


type Batch = dict[str, _Given]


class Bulk:
    """Saves for one storage.

    Args:
        functions: the storage's.
        cache: the storage's.
        spooling: the storage's.
        save: saves one vCon.
        timeout: seconds for each batch.
    """

    def __init__(
        self,
        functions: Functions,
        cache: CoherentCache,
        spooling: Spooling,
        save: Callable[[Document], None],
        timeout: float,
    ) -> None:
        self._functions = functions
        self._cache = cache
        self._spooling = spooling
        self._save = save
        self._timeout = timeout

    def save(self, vcons: Iterable[object]) -> Results:
        """Save vCons in their order; return for each why it failed, or None."""
        results: Results = []
        under_way: deque[tuple[Batch, Future[None]]] = deque()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for batch in self._batches(vcons, results):
                while under_way and (
                    len(under_way) == _AT_ONCE
                    # One that comes twice is saved in that order.
                    or any(batch.keys() & earlier.keys() for earlier, _ in under_way)
                ):
                    under_way.popleft()[1].result()
                context = copy_context()  # the caller's, for traces
                under_way.append((batch, pool.submit(context.run, self._send, batch, results)))
            for _, sending in under_way:
                sending.result()
        return results

    def _batches(self, vcons: Iterable[object], results: Results) -> Iterator[Batch]:
        """Yield vCons by batches; enter a place for each, and what is wrong with it already."""
        batch: Batch = {}
        size = 0
        for vcon in vcons:
            try:
                document = read(vcon)
                # Made here, in one thread: those that send would only keep each other from Python.
                prepared = self._functions.prepare(document, cached=self._cache.is_on)
            except StorageError as error:
                results.append(error)
                continue
            if prepared.uuid in batch or len(batch) >= _COUNT or size >= _BYTES:
                yield batch
                batch, size = {}, 0
            batch[prepared.uuid] = _Given(len(results), document, prepared)
            size += prepared.size
            results.append(None)
        if batch:
            yield batch

    def _send(self, batch: Batch, results: Results) -> None:
        """Save a batch, and enter what went wrong with each."""
        began = time.monotonic()
        try:
            singly = self._try(batch, results, began)
        except UnavailableError as error:
            # The changes could not be announced to readers, so they are not done (`save` too).
            for each in batch.values():
                results[each.place] = self._kept(each, began, error, done=False)
            return
        for each in singly:
            try:
                self._save(each.document)
            except StorageError as error:
                results[each.place] = error

    def _try(self, batch: Batch, results: Results, began: float) -> list[_Given]:
        """Save a batch; return what is to be saved one by one."""
        until = began + self._timeout
        uuids = list(batch)
        with self._cache.changes(uuids, until) as changes:
            outlooks = self._spooling.outlooks(uuids)
            prepared = [
                each.prepared.touching(outlook.touch)
                for outlook, each in zip(outlooks, batch.values(), strict=True)
            ]
            try:
                answers = self._functions.save_batch(prepared, until)
            except UnavailableError as error:
                for change, each in zip(changes, batch.values(), strict=True):
                    change.failed(error)
                    results[each.place] = self._kept(each, began, error)
                return []
            except RefusedError:
                return list(batch.values())  # perhaps because of one of them: which one?
            singly = []
            for change, outlook, answer, each in zip(
                changes, outlooks, answers, batch.values(), strict=True
            ):
                if isinstance(answer, RefusedError):
                    singly.append(each)  # which sets it aside
                    continue
                if self._cache.is_on and not answer["left_out"]:
                    change.done(answer, each.prepared.stored())
                if not self._spooling.changed(each.prepared.uuid, outlook):
                    singly.append(each)
            return singly

    def _kept(
        self, given: _Given, began: float, error: UnavailableError, *, done: bool = True
    ) -> StorageError | None:
        """Spool what could not be saved; return the error that is left of that."""
        try:
            self._spooling.keep(given.prepared.uuid, given.document, began, error, done=done)
        except UnavailableError as left:
            return left
        return None
