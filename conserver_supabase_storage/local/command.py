"""`conserver-supabase-storage up`: a Supabase on this machine, for as long as it runs."""

import json
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from .errors import LocalSupabaseError

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
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the environment as one JSON object.")
    ] = False,
) -> None:
    """Run Postgres, PostgREST, Redis and Supabase's gateway here, until Ctrl-C.

    Prints the environment that points a program to them, as lines to paste into a shell.
    """
    if sys.platform == "win32":
        typer.echo("Error: a local Supabase needs Linux or macOS", err=True)
        raise typer.Exit(1)
    from .stack import LocalSupabase  # noqa: PLC0415 - only this command needs it and its extra

    # SIGTERM ends it in good order too; and a shell that starts it in the background has SIGINT
    # ignored, which is put right here.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        typer.echo("Starting a local Supabase ...", err=True)
        with LocalSupabase(data) as stack:
            typer.echo(_shown(stack.environment(), as_json=as_json))
            typer.echo("It is up. Press Ctrl-C to stop it.", err=True)
            while True:
                time.sleep(_CHECK_SECONDS)
                stack.check()
    except KeyboardInterrupt:
        typer.echo("Stopped.", err=True)
    except LocalSupabaseError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None


def _shown(environment: dict[str, str], *, as_json: bool) -> str:
    if as_json:
        return json.dumps(environment)
    return "\n".join(f"export {name}={_quoted(value)}" for name, value in environment.items())


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"
