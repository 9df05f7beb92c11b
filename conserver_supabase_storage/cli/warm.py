"""The command that fills the cache."""

import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import (
    AsJson,
    Config,
    Given,
    Name,
    canonical,
    interruptible,
    opened,
    print_json,
    progress,
)
from .criteria import query_of, with_criteria

if TYPE_CHECKING:
    from ..warming import Warmed

# vCons of which only the uuids travel; one page is asked for when the last one is used up.
_PAGE = 500


@with_criteria
def warm(
    criteria: dict[str, Any],
    days: Annotated[
        int | None, typer.Option(min=1, max=36_500, help="Those created in so many days until now.")
    ] = None,
    uuids: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Those in a file, a uuid at the beginning of each line; - for standard input.",
        ),
    ] = None,
    max_bytes: Annotated[
        int, typer.Option(min=1, help="Stop once so many bytes (as JSON) were filled.")
    ] = 100_000_000,
    rate: Annotated[float | None, typer.Option(min=0.01, help="The most vCons per second.")] = None,
    config: Config = None,
    storage: Name = None,
    given: Given = None,
    as_json: AsJson = False,
) -> None:
    """Fill the cache with vCons before somebody asks for them, the newest first.

    By criteria, days or a list; without any of them all vCons, until --max-bytes. It gets them as
    everybody does, so that the cache is as right as ever. What is there already stays as it is, and
    expires when it would have. Says how many were there, how many are filled, and how many were
    skipped, because they are too large for the cache (`cache_max_bytes`) or are just being changed.

    ```sh
    conserver-supabase-storage warm --days 7 --max-bytes 50000000 --rate 100
    conserver-supabase-storage warm --tag queue:billing --json
    conserver-supabase-storage search --text invoice --all > found.txt
    conserver-supabase-storage warm --uuids found.txt
    ```

    Exits with 1 where there is no Redis, or a vCon of the list does not exist.
    """
    if uuids is not None and (criteria or days is not None):
        raise typer.BadParameter("--uuids goes with no other choice of vCons")
    if days is not None and "start_date" in criteria:
        raise typer.BadParameter("--days and --start-date exclude each other")
    if days is not None:
        criteria["start_date"] = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    query = query_of(criteria, limit=_PAGE, include=())
    listed = None if uuids is None else _listed(uuids)

    from ..warming import Warming  # noqa: PLC0415

    with opened(config, storage, given) as opened_storage:
        warming = Warming(opened_storage, max_bytes=max_bytes, rate=rate)
        with interruptible(
            "run it again: what is filled is there already",
            lambda: _report(warming.warmed, as_json=as_json),
        ):
            wanted: Iterable[str]
            if listed is not None:
                wanted, total = listed, len(listed)
            else:
                first = query.model_copy(update={"limit": 1})
                total = opened_storage.search_page(first).total or 0
                wanted = (hit.uuid for hit in opened_storage.iter_search(query))
            with progress("warm", total, quiet=as_json) as advance:
                warmed = warming.run(wanted, advance)
    _report(warmed, as_json=as_json)
    if warmed.missing and listed is not None:
        raise typer.Exit(1)


def _listed(name: str) -> list[str]:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"--uuids can't be read: {error}") from None
    return canonical([line.split()[0] for line in text.splitlines() if line.strip()])


def _report(warmed: "Warmed", *, as_json: bool) -> None:
    if as_json:
        print_json(warmed.as_dict())
        return
    text = f"{warmed.there} were there, {warmed.filled} filled ({warmed.bytes:,} bytes), "
    text += f"{warmed.skipped} skipped"
    if warmed.missing:
        text += f", {warmed.missing} do not exist"
    typer.echo(f"{text}; stopped at --max-bytes" if warmed.full else text)
