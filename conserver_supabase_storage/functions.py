"""The functions of ``sql/``, as the storage calls them: arguments made, answers taken apart."""

import hashlib
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from .database import Database
from .document import PARTS, Document, dumps, loads, uuid_of
from .errors import RefusedError
from .freshness import TRUST, Freshness
from .indexing import Indexer
from .options import Options
from .refusals import refusal
from .rows import vcon as vcon_rows
from .sharing import SharedSaves

# SQLSTATE "invalid text representation": a column's type does not take a value.
_OTHER_TYPE = "22P02"

# How json_build_object writes the first member of the rows, which come last: taken as they are,
# they need to be parsed only once.
_ROWS = b', "vcon" : '

# Rows of a vCon that is not there.
NOTHING = b"null"


class Prepared(NamedTuple):
    """A vCon as it is sent.

    Attributes:
        uuid: the vCon's.
        head: of ``p_vcons``: JSON text of an object that is not closed.
        parts: its rows of each table that it has any in, as JSON text.
        rows: the same, as `rows.vcon.to_rows` returns them; empty where no cache wants them.
        digest: of the rows; the database knows a vCon that is the same by it.
    """

    uuid: str
    head: bytes
    parts: dict[str, bytes]
    rows: dict[str, Any]
    digest: str

    @property
    def size(self) -> int:
        """How many bytes are sent."""
        return len(self.head) + sum(map(len, self.parts.values()))

    def stored(self) -> bytes:
        """Return the rows as `Functions.get` would, as JSON text."""
        return stored(self.rows)

    def touching(self, touch: bool) -> "Prepared":
        """Return it so that it counts as a change even where nothing differs, if `touch`."""
        return self._replace(head=self.head + b',"touch":true') if touch else self


class IndexStep(NamedTuple):
    """What a step of indexing came to.

    Attributes:
        indexed: how many vCons it indexed.
        done: whether none is left of those that were noted before it.
    """

    indexed: int
    done: bool

    @property
    def gets_on(self) -> bool:
        """Whether the next step can do something; what is being deleted just now it can't."""
        return not self.done and self.indexed > 0


class Functions:
    """Calls for one storage. Every answer tells the cache's state, which is noted.

    Args:
        options: the storage's.
        database: the storage's.
        freshness: notes the cache's state.
    """

    def __init__(
        self,
        options: Options,
        database: Database,
        freshness: Freshness,
    ) -> None:
        self._database = database
        self._freshness = freshness
        self._indexer: Indexer | None = None
        self._shared = SharedSaves(self.save_batch)
        # An argument of every function; a tenant's name has only plain characters (Options).
        self._tenant = {"p_tenant": dumps(options.tenant)} if options.tenant else {}

    def wake_on_save(self, indexer: Indexer) -> None:
        """Wake an indexer with each save that was made."""
        self._indexer = indexer

    def forget(self) -> None:
        """Start afresh in a forked child."""
        self._shared.forget()

    def prepare(
        self,
        document: Document,
        *,
        not_after: float | None = None,
        careful: bool = False,
        cached: bool = True,
    ) -> Prepared:
        """Turn a checked document into what is sent.

        Args:
            document: from `document.read`.
            not_after: when the save was made, if it was spooled.
            careful: as in `vcon_rows.to_rows`.
            cached: whether a cache wants its rows.
        """
        uuid = uuid_of(document)
        rows = vcon_rows.to_rows(document, uuid, careful=careful)
        parts = {table: dumps(rows[table]) for table in PARTS if rows[table]}
        header = dumps(rows["vcon"])
        # Of the rows, not of the document: a release that fills columns differently writes them
        # anew.
        digest = hashlib.sha256(header)
        for part in parts.values():
            digest.update(part)
        head = b'{"uuid":"%b","digest":"%b","row":%b' % (
            uuid.encode(),
            digest.hexdigest().encode(),
            header,
        )
        for table in PARTS:
            head += b',"%b":%d' % (table.encode(), len(rows[table]))
        if not_after is not None:
            head += b',"not_after":%b' % dumps(not_after)
        return Prepared(uuid, head, parts, rows if cached else {}, digest.hexdigest())

    def save(
        self,
        document: Document,
        until: float,
        *,
        once: bool = False,
        touch: bool = False,
        not_after: float | None = None,
    ) -> tuple[dict[str, Any], Prepared]:
        """Write a checked document, perhaps in one request with those of other threads.

        Args:
            document: from `document.read`.
            until: when to give up (time.monotonic()).
            once: whether to leave it at one attempt.
            touch: whether it counts as a change even where nothing differs.
            not_after: as in `prepare`.

        Returns:
            The answer (revision, left_out, the cache's state), and what was written.
        """
        prepared = self.prepare(document, not_after=not_after)
        try:
            answer = self._shared.save(prepared.touching(touch), until, once)
        except RefusedError as error:
            if error.code != _OTHER_TYPE:
                raise
            # The tables are another program's, from the time when a party's uuid had to be one.
            prepared = self.prepare(document, not_after=not_after, careful=True)
            answer = self._shared.save(prepared.touching(touch), until, once)
        if isinstance(answer, RefusedError):
            raise answer
        return answer, prepared

    def save_batch(
        self, batch: Sequence[Prepared], until: float, once: bool = False
    ) -> list[dict[str, Any] | RefusedError]:
        """Write vCons, each of another uuid, in one request: all, but for those that are refused.

        Returns:
            For each the answer, as `save`, or why it was refused.
        """
        lines = [b"[%b]" % b",".join(given.head + b"}" for given in batch)]
        lines += (
            _joined([given.parts[table] for given in batch if table in given.parts])
            for table in PARTS
        )
        answer = self._change("vcon_storage_save_v4", {}, until, once, lines)
        if self._indexer is not None:
            self._indexer.wake()
        outcomes = zip(answer["outcomes"], answer["revisions"], strict=True)
        return [
            refusal({"code": "PT409"}, status=409, where="", schema="", function="")
            if outcome == "refused"
            else {**answer, "revision": revision, "left_out": outcome == "left_out"}
            for outcome, revision in outcomes
        ]

    def delete(
        self, uuid: str, until: float, *, once: bool = False, touch: bool = False
    ) -> dict[str, Any]:
        """Delete a vCon; `touch` as in the SQL."""
        arguments = {"p_uuid": dumps(uuid), "p_touch": dumps(touch)}
        return self._change("vcon_storage_delete_v1", arguments, until, once)

    def get(
        self, uuid: str, until: float, *, once: bool = False, known: int | None = None
    ) -> tuple[dict[str, Any], bytes]:
        """Read a vCon: (its revision, and the cache's state; its rows as JSON text).

        The rows are NOTHING where there is no such vCon, or its revision is `known`.
        """
        arguments = {**self._tenant, "p_uuid": b'"%b"' % uuid.encode()}
        if known is not None:
            arguments["p_known"] = b"%d" % known
        asked = time.monotonic()
        answer = self._database.call("vcon_storage_get_v3", arguments, until=until, once=once)
        split = answer.find(_ROWS)
        found = self._database.parse(answer[:split] + b"}" if split > 0 else answer)
        self._freshness.note(asked, found)
        # memoryview: a slice would be a copy of what may be large.
        rows = memoryview(answer)[split + 2 :]
        return found, b"".join((b"{", rows)) if split > 0 else NOTHING

    def search(self, arguments: dict[str, bytes]) -> dict[str, Any]:
        """Return a page of a search (`Query.arguments`)."""
        return self._read("vcon_storage_search_v2", arguments)

    def search_state(self) -> dict[str, Any]:
        """Return what search has in this database."""
        return self._database.ask("vcon_storage_search_state_v1", {})

    def embed(self, arguments: dict[str, bytes]) -> dict[str, Any]:
        """Write an embedding."""
        return self._read("vcon_storage_embed_v1", arguments)

    def backfill(self, limit: int, after: str | None, *, count: bool) -> dict[str, Any]:
        """Give the next vCons without one a revision; as in the SQL."""
        arguments = {"p_limit": dumps(limit), "p_after": dumps(after), "p_count": dumps(count)}
        return self._database.ask("vcon_storage_backfill_v1", arguments)

    def index(self, limit: int) -> dict[str, Any]:
        """Index some of the vCons that search does not know yet; as in the SQL."""
        answer = self._database.call("vcon_storage_index_step_v2", {"p_count": dumps(limit)})
        found: dict[str, Any] = loads(answer)
        return found

    def index_pending(self, limit: int) -> IndexStep:
        """Index so many of the vCons that were written since."""
        answer = self._database.call("vcon_storage_index_pending_v1", {"p_count": dumps(limit)})
        return IndexStep(**loads(answer))

    def restored(self) -> None:
        """Tell the database that it was restored; as in the SQL."""
        asked = time.monotonic()
        self._freshness.note(asked, self._database.ask("vcon_storage_restored_v1", {}))

    def figures(self) -> dict[str, Any]:
        """Return what monitoring wants to know of the database; as in the SQL."""
        return self._database.ask("vcon_storage_figures_v1", {})

    def version(self) -> str:
        """Return the newest migration that the database has."""
        return str(loads(self._database.call("vcon_storage_version_v1", {})))

    def _read(self, function: str, arguments: dict[str, bytes]) -> dict[str, Any]:
        """Call a function that changes nothing a cache holds."""
        asked = time.monotonic()
        answer = self._database.ask(function, {**self._tenant, **arguments})
        self._freshness.note(asked, answer)
        return answer

    def _change(
        self,
        function: str,
        arguments: dict[str, bytes],
        until: float,
        once: bool,
        lines: Sequence[bytes] = (),
    ) -> dict[str, Any]:
        asked = time.monotonic()
        answer = self._database.ask(
            function,
            {**self._tenant, **arguments},
            lines=lines,
            until=until,
            once=once,
            clock=self._freshness.now,
        )
        self._freshness.note(asked, answer)
        if answer.get("new_episode"):
            time.sleep(TRUST)  # a tenant's vCon: that tenant's readers have to learn of it
        return answer


def _joined(lists: list[bytes]) -> bytes:
    """Join JSON lists to one. Of a single one, which may be large, no copy is made."""
    return b"[%b]" % b",".join(each[1:-1] for each in lists) if len(lists) > 1 else b"".join(lists)


def stored(rows: dict[str, Any]) -> bytes:
    """Return rows that are about to be written as the get function will, as JSON text."""
    return dumps(vcon_rows.stored(rows))
