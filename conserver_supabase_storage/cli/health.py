"""The command for probes: whether a storage can be used."""

import json
from typing import Annotated

import typer

from .common import AsJson, Config, Given, Name, opened


def health(
    config: Config = None,
    storage: Name = None,
    given: Given = None,
    live: Annotated[
        bool, typer.Option("--live", help="Only whether the options can be used; asks no server.")
    ] = False,
    ready: Annotated[
        bool, typer.Option("--ready", help="Whether Supabase and Redis answer (the default).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say whether the storage can be used: exits with 0 if so, with 1 if not.

    `ok` and `degraded` can be used. Degraded is: Redis is away; slower, and nothing is lost. `down`
    is: Supabase does not answer, or refuses.

    For a liveness probe take --live: to start a worker again mends no server.
    """
    if live and ready:
        raise typer.BadParameter("--live and --ready exclude each other")
    with opened(config, storage, given) as opened_storage:
        found = {"status": "ok"} if live else opened_storage.health()
    if as_json:
        typer.echo(json.dumps(found))
    else:
        typer.echo("\n".join(f"{name}: {value}" for name, value in found.items()))
    if found["status"] == "down":
        raise typer.Exit(1)
