"""The command for vCons that were there before us: gives them what ours have beside."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from .cli_spool import AsJson, Config, Name, opened

# An interrupt from the keyboard, as shells report it.
_INTERRUPTED = 130


def backfill(
    config: Config = None,
    storage: Name = None,
    batch_size: Annotated[
        int,
        typer.Option(
            min=1,
            max=10_000,
            help="vCons of one transaction. Fewer, if the statement timeout is hit.",
        ),
    ] = 500,
    as_json: AsJson = False,
) -> None:
    """Give vCons that were there before the migrations what they lack.

    Those that only another program wrote get a revision: from then on a cache can keep them. All
    are indexed for search. Nothing else of them changes. Both programs can go on meanwhile; after
    an interrupt, run it again: it goes on with what is left.
    """
    filled = indexed = 0
    left: int | None = None
    interrupted = False
    with opened(config, storage) as opened_storage:
        try:
            total = opened_storage.backfill(0, count=True)["left"]
            last: str | None = None
            with _progress("revisions", total, quiet=as_json) as advance:
                while (done := opened_storage.backfill(batch_size, after=last))["filled"]:
                    last = done["last"]
                    filled += done["filled"]
                    advance(done["filled"])
            with _progress("search", None, quiet=as_json) as advance:
                complete = False
                while not complete:
                    done = opened_storage.index(batch_size)
                    complete = done["complete"]
                    indexed += done["indexed"]
                    if done["seen"]:
                        advance(done["seen"])
            # One that was locked may have its revision from whoever changed it.
            left = opened_storage.backfill(0, count=True)["left"]
        except KeyboardInterrupt:
            interrupted = True
    if as_json:
        typer.echo(json.dumps({"filled": filled, "indexed": indexed, "left": left}))
    else:
        more = f"; {left} are left, run it again" if left else ""
        typer.echo(f"filled {filled} vCons, indexed {indexed}{more}")
    if interrupted:
        typer.echo("interrupted; run it again to go on", err=True)
        raise typer.Exit(_INTERRUPTED)
    if left:
        raise typer.Exit(1)


@contextmanager
def _progress(name: str, total: int | None, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal, and elsewhere a line now and then."""
    from rich.console import Console  # noqa: PLC0415  not for the other commands
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True, quiet=quiet)
    if not console.is_terminal:
        done = 0

        def tell(count: int) -> None:
            nonlocal done
            done += count
            of = "" if total is None else f" of {total}"
            console.print(f"{name}: {done}{of}", highlight=False)

        yield tell
        return
    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(name, total=total)
        yield lambda count: progress.advance(task, count)
