"""Searches: pages of hits, and the vCons with them."""

import html
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .cursor import Cursors
from .document import PARTS, Document, dumps, loads
from .errors import InvalidQueryError, RefusedError, VconNotFoundError
from .functions import Functions
from .options import Options
from .query import Query
from .rows import vcon as vcon_rows

# vCons that one statement indexes where more wait than a search does by itself.
_INDEXED = 1000

# Seconds to wait for a delete that is under way, before a search answers without it.
_PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2)

# Between these the database marks what matches; they are in no text that it marks.
_MARKED = str.maketrans({"\ue000": "<mark>", "\ue001": "</mark>"})


@dataclass(frozen=True, slots=True)
class Hit:
    """A vCon that was found.

    Attributes:
        uuid: its uuid.
        subject: its subject, if it has one.
        created_at: when it was created; None where the time is beyond Python's years.
        saved_at: when it was last saved, by the database's clock.
        names: its parties' names in their order; None for a party without one.
        rank: how well it matches, the larger the better; None without text and embedding.
        snippet: a piece of text around the first match, as HTML: escaped, and the match between
            ``<mark>`` and ``</mark>``; None without text, or where none was found.
        vcon: the vCon, with the parts that the query includes.
    """

    uuid: str
    subject: str | None
    created_at: datetime | None
    saved_at: datetime | None
    names: list[str | None]
    rank: float | None
    snippet: str | None
    vcon: Document


@dataclass(frozen=True, slots=True)
class SearchPage:
    """A page of hits.

    Attributes:
        hits: the hits in their order.
        cursor: for the next page; None after the last.
        total: how many vCons match in all; None if it was not asked for.
        total_is_exact: False where `total` is the planner's estimate (beyond 10,000), or the
            length of a list of nearest embeddings.
        complete: False while vCons wait to be indexed: there may be more.
        ranked_from: where more than 10,000 match and are ranked: the oldest that was.
        as_of: the database's time at the search; the next `updated_since` of an incremental
            reader, less an overlap.
    """

    hits: list[Hit]
    cursor: str | None
    total: int | None
    total_is_exact: bool
    complete: bool
    ranked_from: datetime | None
    as_of: datetime


class Search:
    """Searches of one storage."""

    def __init__(self, options: Options, functions: Functions) -> None:
        self._functions = functions
        self._tenant = options.tenant
        self._timeout = options.total_timeout
        self._cursors = Cursors(options.key.get_secret_value(), options.tenant)

    def vcons(self, query: Query) -> list[Document]:
        """Return the vCons of the first page."""
        return [_document(hit["rows"], query) for hit in self._ask(query)["hits"]]

    def page(self, query: Query, cursor: str | None = None) -> SearchPage:
        """Return a page: the first, or the one to which a cursor leads."""
        criteria = query.criteria()
        after = None if cursor is None else self._cursors.read(criteria, cursor)
        answer = self._ask(query, after, details=True)
        place = _place(query, answer)
        return SearchPage(
            hits=[_hit(hit, query) for hit in answer["hits"]],
            cursor=self._cursors.write(criteria, place) if place else None,
            total=answer["total"],
            total_is_exact=bool(answer["exact"]),
            complete=answer["complete"],
            ranked_from=_time(answer["floor"]),
            as_of=datetime.fromtimestamp(answer["now"], UTC),
        )

    def hits(self, query: Query, ask: Callable[[Query, str | None], SearchPage]) -> Iterator[Hit]:
        """Go through all pages; the next is asked for when the last one is used up."""
        query = query.model_copy(update={"total": False})
        cursor = None
        while True:
            page = ask(query, cursor)
            yield from page.hits
            if (cursor := page.cursor) is None:
                return

    def save_embedding(self, uuid: str, part: str, vector: tuple[float, ...], model: str) -> None:
        """Keep a checked embedding of a part of a vCon."""
        arguments = {"p_uuid": uuid, "p_part": part, "p_model": model, "p_vector": vector}
        answer = self._functions.embed({name: dumps(value) for name, value in arguments.items()})
        if answer["refused"]:
            raise _no_embeddings(answer["refused"])
        if not answer["found"]:
            raise VconNotFoundError(f"there is no vCon {uuid} to save an embedding of")

    def capabilities(self) -> dict[str, Any]:
        """Return what search has in this database."""
        state = self._functions.search_state()
        names = ("complete", "languages", "substring_index", "embeddings")
        return {name: state[name] for name in names}

    def _ask(
        self, query: Query, after: dict[str, Any] | None = None, *, details: bool = False
    ) -> dict[str, Any]:
        if query.tenant is not None and self._tenant is not None:
            raise InvalidQueryError("tenant: this storage is one tenant's (option tenant)")
        try:
            answer = self._complete(query.arguments(after, details=details))
        except RefusedError as error:
            if (text := _too_much(error.code or "")) is None:
                raise
            raise RefusedError(text, status=error.status, code=error.code) from None
        refused = answer.get("refused")
        if refused is None:
            return answer
        if refused.startswith("embedding"):
            raise _no_embeddings(refused)
        raise InvalidQueryError(refused)

    def _complete(self, arguments: dict[str, bytes]) -> dict[str, Any]:
        """Search; where many vCons wait to be indexed, see to that first, while there is time."""
        until = time.monotonic() + self._timeout
        pauses = iter(_PAUSES)
        while (answer := self._functions.search(arguments)).get("pending"):
            while not (step := self._functions.index_pending(_INDEXED)).done:
                # What somebody deletes just now can't be indexed: a moment's patience, no more.
                pause = 0.0 if step.gets_on else next(pauses, None)
                if pause is None:
                    return self._functions.search(arguments)
                if time.monotonic() + pause > until:
                    return answer
                time.sleep(pause)
        return answer


def _no_embeddings(text: str) -> RefusedError:
    return RefusedError(
        f"{text}; enable the extension vector, then run `SELECT vcon_storage_search_setup_v1()`",
        status=501,
    )


def _too_much(code: str) -> str | None:
    """Say what to do about a limit of the database that a search has hit."""
    if code == "57014":
        return (
            "the search took longer than the statement timeout of the key's role: narrow it, by "
            "dates for example, or raise the timeout (ALTER ROLE ... SET statement_timeout)"
        )
    if code.startswith("54") or code == "XX000":
        return (
            "the page is larger than one answer of the database can be: ask for a smaller limit, "
            "or include no bodies"
        )
    return None


def _place(query: Query, answer: dict[str, Any]) -> dict[str, Any] | None:
    """Return where a page ended, if another follows."""
    if not answer["more"]:
        return None
    if "rest" in answer and answer["rest"] is not None:
        return {"rest": answer["rest"]}
    last = answer["hits"][-1]
    if query.order == "rank":
        return {"rank": last["rank"], "uuid": last["uuid"], "floor": answer["floor"]}
    by = "saved_at" if query.order == "updated" else "created_at"
    return {"at": last[by], "uuid": last["uuid"]}


def _hit(hit: dict[str, Any], query: Query) -> Hit:
    snippet = hit["snippet"]
    return Hit(
        uuid=hit["uuid"],
        subject=hit["subject"],
        created_at=_time(hit["created_at"]),
        saved_at=_time(hit["saved_at"]),
        names=hit["names"] or [],
        rank=hit["rank"],
        snippet=None if snippet is None else html.escape(snippet).translate(_MARKED),
        vcon=_document(hit["rows"], query),
    )


def _time(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return None


def _document(rows: dict[str, Any], query: Query) -> Document:
    """Build a document; a part that is not included is absent, and so is a body."""
    include = query.include
    if include is None:
        return vcon_rows.from_found(rows, loads)
    header = rows["vcon"]
    for table in PARTS:
        if header is not None and table not in include:
            header.pop(table, None)
        rows[table] = rows[table] or []
        if "bodies" not in include:
            for row in rows[table]:
                if isinstance(row, list):
                    row[0].pop("body", None)
    return vcon_rows.from_found(rows, loads)
