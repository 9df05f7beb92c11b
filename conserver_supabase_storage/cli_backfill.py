"""The command for vCons that only another program wrote: gives them what ours have beside."""

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
    """Give vCons that only another program wrote, before the migration, a revision.

    From then on a cache can keep them. Nothing else of them changes. Both programs can go on
    meanwhile; after an interrupt, run it again: it goes on with what is left.
    """
    filled = 0
    last: str | None = None
    interrupted = False
    with opened(config, storage) as opened_storage:
        left = opened_storage.backfill(0, count=True)["left"]
        with _progress(left, quiet=as_json) as advance:
            try:
                while (done := opened_storage.backfill(batch_size, after=last))["filled"]:
                    last = done["last"]
                    filled += done["filled"]
                    advance(done["filled"])
            except KeyboardInterrupt:
                interrupted = True
        # One that was locked may have its revision from whoever changed it.
        left = None if interrupted else opened_storage.backfill(0, count=True)["left"]
    if as_json:
        typer.echo(json.dumps({"filled": filled, "left": left}))
    else:
        typer.echo(f"filled {filled} vCons" + (f"; {left} are left, run it again" if left else ""))
    if interrupted:
        typer.echo("interrupted; run it again to go on", err=True)
        raise typer.Exit(_INTERRUPTED)
    if left:
        raise typer.Exit(1)


@contextmanager
def _progress(total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
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
            console.print(f"{done} of {total}", highlight=False)

        yield tell
        return
    columns = (TextColumn("vCons"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("backfill", total=total)
        yield lambda count: progress.advance(task, count)
