"""The command that deletes vCons."""

import sys
from typing import Annotated

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


def delete(
    uuids: Annotated[list[str], typer.Argument(metavar="UUID...")],
    config: Config = None,
    storage: Name = None,
    given: Given = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete vCons with all their parts. Exits with 1 if one was not there.

    It asks first on a terminal. Where nobody can answer, --yes has to be given.

    ```sh
    conserver-supabase-storage delete --yes 01928cb4-1c5f-8c4a-b5f0-0a1b2c3d4e5f
    ```
    """
    wanted = canonical(uuids)
    if not yes:
        _ask(len(wanted))
    deleted: dict[str, bool] = {}

    def report() -> None:
        if as_json:
            print_json([{"uuid": uuid, "deleted": was} for uuid, was in deleted.items()])
        else:
            for uuid, was in deleted.items():
                typer.echo(f"{uuid} {'deleted' if was else 'was not there'}")

    quiet = as_json or len(wanted) == 1
    with interruptible("run it again for those that are left", report):
        try:
            with (
                opened(config, storage, given) as opened_storage,
                progress("delete", len(wanted), quiet=quiet) as advance,
            ):
                for uuid in wanted:
                    deleted[uuid] = opened_storage.delete(uuid)
                    advance(1)
        except typer.Exit:  # an error, which was shown
            report()
            raise
    report()
    if not all(deleted.values()):
        raise typer.Exit(1)


def _ask(count: int) -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise typer.BadParameter("nobody is there to be asked: say --yes")
    what = "this vCon" if count == 1 else f"these {count} vCons"
    with interruptible("nothing was deleted"):
        try:
            sure = typer.confirm(f"Delete {what} for good?", err=True)
        except typer.Abort:  # what it makes of Ctrl-C and Ctrl-D
            raise KeyboardInterrupt from None
    if not sure:
        typer.echo("nothing was deleted", err=True)
        raise typer.Exit(1)
