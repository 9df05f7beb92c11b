"""The command that searches."""

import html
import json
import re
import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import AsJson, Config, Given, Name, interruptible, opened, print_json, progress
from .criteria import query_of, with_criteria

if TYPE_CHECKING:
    from ..query import Query
    from ..searching import Hit, SearchPage
    from ..storage import SupabaseStorage


class Order(StrEnum):
    """In which order hits come; those of `Query`."""

    newest = "newest"
    oldest = "oldest"
    updated = "updated"
    rank = "rank"


@with_criteria
def search(
    criteria: dict[str, Any],
    order: Annotated[
        Order | None, typer.Option(help="Default: newest. updated is the one saved longest ago.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Hits of a page.")] = 20,
    cursor: Annotated[
        str | None, typer.Option(help="Go on there; the page before said where.")
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="All pages, one after the other; a hit in each line.")
    ] = False,
    config: Config = None,
    storage: Name = None,
    given: Given = None,
    as_json: AsJson = False,
) -> None:
    """Find vCons: when each was created, its subject, its parties and where the text was found.

    A table on a terminal; elsewhere lines of values between tabs: uuid, created, subject, parties,
    snippet. With --json one JSON object with the page's `hits` and its `cursor`, or with --all a
    JSON object in each line.

    ```sh
    conserver-supabase-storage search --text invoice --tag queue:billing
    conserver-supabase-storage search --party-tel '+1 (202) 555-0143' --start-date 2026-01-01 --json
    conserver-supabase-storage search --subject invoice --all | cut -f 1
    ```
    """
    # Neither bodies nor parts travel: what is shown comes beside them.
    query = query_of(criteria, order=order and order.value, limit=limit, include=())
    if all_:
        with opened(config, storage, given) as opened_storage:
            _print_all(opened_storage, query, cursor, as_json=as_json)
        return
    with opened(config, storage, given) as opened_storage:
        page = opened_storage.search_page(query, cursor)
    if as_json:
        print_json(_page(page))
        return
    if sys.stdout.isatty():
        _table(page.hits)
    else:
        for hit in page.hits:
            typer.echo(_line(hit))
    typer.echo(_summary(page), err=True)


def _print_all(
    storage: "SupabaseStorage", query: "Query", cursor: str | None, *, as_json: bool
) -> None:
    """Print page after page. After an interrupt, the page that was under way can be had again."""
    write = _json_line if as_json else _line
    quiet = as_json or sys.stdout.isatty()  # where the hits themselves show how far it is

    def advice() -> str:
        return f"to go on: --cursor {cursor}" if cursor else "run it again"

    with interruptible(advice):
        page = storage.search_page(query, cursor)
        rest = query.model_copy(update={"total": False})
        # A total is that of all pages, also of those before a cursor.
        with progress("search", None if cursor else page.total, quiet=quiet) as advance:
            while True:
                for hit in page.hits:
                    typer.echo(write(hit))
                advance(len(page.hits))
                if page.cursor is None:
                    return
                cursor = page.cursor
                page = storage.search_page(rest, cursor)


def _page(page: "SearchPage") -> dict[str, Any]:
    return {
        "hits": [_fields(hit) for hit in page.hits],
        "cursor": page.cursor,
        "total": page.total,
        "total_is_exact": page.total_is_exact,
        "complete": page.complete,
    }


def _fields(hit: "Hit") -> dict[str, Any]:
    return {
        "uuid": hit.uuid,
        "subject": hit.subject,
        "created_at": hit.created_at and hit.created_at.isoformat(),
        "saved_at": hit.saved_at and hit.saved_at.isoformat(),
        "names": hit.names,
        "rank": hit.rank,
        "snippet": hit.snippet,
    }


def _json_line(hit: "Hit") -> str:
    return json.dumps(_fields(hit), ensure_ascii=False)


def _line(hit: "Hit") -> str:
    return "\t".join(_cells(hit, _unmarked(hit.snippet)))


def _cells(hit: "Hit", snippet: str) -> Iterator[str]:
    created = "" if hit.created_at is None else hit.created_at.isoformat(timespec="seconds")
    names = ", ".join(name for name in hit.names if name)
    return (_printable(text) for text in (hit.uuid, created, hit.subject or "", names, snippet))


def _printable(text: str) -> str:
    """Return a text in one line, without what would move a terminal's cursor."""
    spaced = re.sub(r"\s", " ", text)
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in spaced)


def _unmarked(snippet: str | None) -> str:
    return html.unescape(re.sub("</?mark>", "", snippet or ""))


def _table(hits: "Iterable[Hit]") -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("uuid", no_wrap=True, min_width=36)
    table.add_column("created", no_wrap=True)
    for name in ("subject", "parties", "snippet"):
        table.add_column(name, overflow="fold")
    for hit in hits:
        uuid, created, subject, names, _ = _cells(hit, "")
        found = Text()
        for number, piece in enumerate(re.split("</?mark>", hit.snippet or "")):
            found.append(_printable(html.unescape(piece)), "bold" if number % 2 else "")
        table.add_row(*map(Text, (uuid, created[:19].replace("T", " "), subject, names)), found)
    Console().print(table)


def _summary(page: "SearchPage") -> str:
    about = "" if page.total_is_exact else "about "
    text = f"{len(page.hits)} of {about}{page.total:,}"
    if not page.complete:
        text += "; more are still being indexed (backfill)"
    if page.cursor is not None:
        text += f"; the next page: --cursor {page.cursor}"
    return text
