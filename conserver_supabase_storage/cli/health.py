"""The command for probes: whether a storage can be used."""

from typing import Annotated, Any

import typer

from .common import AsJson, Config, Given, Name, errors, opened, options_of, print_json


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

    - `ok`: Supabase answers, and Redis does, if there is one in the options.
    - `degraded`: Redis is away. Gets and saves go on without the cache, slower; nothing is lost. It
      exits with 0.
    - `down`: Supabase does not answer, or refuses. It exits with 1.

    For a liveness probe take --live: to start a worker again mends no server. A readiness probe
    waits for `total_timeout` (10 seconds) at the most.

    ```sh
    conserver-supabase-storage health --live
    conserver-supabase-storage health --ready --json --option total_timeout=2
    ```
    """
    if live and ready:
        raise typer.BadParameter("--live and --ready exclude each other")
    found: dict[str, Any] = {"status": "ok"}
    if live:
        from ..options import Options  # noqa: PLC0415

        with errors():
            Options.parse(options_of(config, storage, given))
    else:
        with opened(config, storage, given) as opened_storage:
            found = opened_storage.health()
    if as_json:
        print_json(found)
    else:
        typer.echo("\n".join(f"{name}: {value}" for name, value in found.items()))
    if found["status"] == "degraded":
        typer.echo("degraded: slower without Redis; nothing is lost", err=True)
    if found["status"] == "down":
        raise typer.Exit(1)
