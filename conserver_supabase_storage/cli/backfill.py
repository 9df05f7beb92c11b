"""The command for vCons that were there before us: gives them what ours have beside."""

from typing import Annotated

import typer

from .common import AsJson, Config, Given, Name, interruptible, opened, print_json, progress


def backfill(
    config: Config = None,
    storage: Name = None,
    given: Given = None,
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

    ```sh
    conserver-supabase-storage backfill
    conserver-supabase-storage backfill --batch-size 100 --json
    ```
    """
    filled = indexed = 0
    left: int | None = None

    def report() -> None:
        if as_json:
            print_json({"filled": filled, "indexed": indexed, "left": left})
        else:
            more = f"; {left} are left, run it again" if left else ""
            typer.echo(f"filled {filled} vCons, indexed {indexed}{more}")

    with (
        interruptible("run it again to go on", report),
        opened(config, storage, given) as opened_storage,
    ):
        total = opened_storage.backfill(0, count=True)["left"]
        last: str | None = None
        with progress("revisions", total, quiet=as_json) as advance:
            while (done := opened_storage.backfill(batch_size, after=last))["filled"]:
                last = done["last"]
                filled += done["filled"]
                advance(done["filled"])
        with progress("search", None, quiet=as_json) as advance:
            complete = False
            while not complete:
                done = opened_storage.index(batch_size)
                complete = done["complete"]
                indexed += done["indexed"]
                advance(done["seen"])
        # One that was locked may have its revision from whoever changed it.
        left = opened_storage.backfill(0, count=True)["left"]
    report()
    if left:
        raise typer.Exit(1)
