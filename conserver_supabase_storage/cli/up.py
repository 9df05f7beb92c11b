"""The command that runs a Supabase on this machine."""

import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from ..local.errors import LocalSupabaseError
from .common import AsJson, fail, print_json

_CHECK_SECONDS = 1.0


def up(
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep the data, the ports and the keys here. Default: everything is thrown away.",
            file_okay=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run Postgres, PostgREST, Redis and Supabase's gateway here, until Ctrl-C.

    Prints the environment that points a program to them, as lines to paste into a shell (or as one
    JSON object), once they answer. Needs the extra `local`.

    ```sh
    conserver-supabase-storage up
    conserver-supabase-storage up --data ./supabase      # and later goes on with the same data
    ```

    Ctrl-C is its proper end: it exits with 0 then, and with 1 where it can't start or a server
    ends.
    """
    if sys.platform == "win32":
        fail("a local Supabase needs Linux or macOS")
    from ..local.stack import LocalSupabase  # noqa: PLC0415 - only this command needs its extra

    # SIGTERM ends it in good order too; and a shell that starts it in the background has SIGINT
    # ignored, which is put right here.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        typer.echo("Starting a local Supabase ...", err=True)
        with LocalSupabase(data) as stack:
            if as_json:
                print_json(stack.environment())
            else:
                typer.echo(_exports(stack.environment()))
            typer.echo("It is up. Press Ctrl-C to stop it.", err=True)
            while True:
                time.sleep(_CHECK_SECONDS)
                stack.check()
    except KeyboardInterrupt:
        left = "its data is gone (--data keeps it)"
        if data is not None:
            left = f"with --data {data} it goes on with the same data"
        typer.echo(f"Stopped; {left}.", err=True)
    except LocalSupabaseError as error:
        fail(str(error))


def _exports(environment: dict[str, str]) -> str:
    return "\n".join(f"export {name}={_quoted(value)}" for name, value in environment.items())


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"
