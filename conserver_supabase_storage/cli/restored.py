"""The command that follows a restore of the database."""

import json

import typer

from .common import AsJson, Config, Given, Name, opened


def restored(
    config: Config = None, storage: Name = None, given: Given = None, as_json: AsJson = False
) -> None:
    """Begin anew after the database was restored from a backup: run it before the workers start.

    A restored database goes back in its revisions, while Redis still has what was cached later.
    This has no process use any of that, and throws away what this storage has cached. It is safe to
    repeat, and at any time: it costs the cache, and no vCon. What waits in the spool stays, for the
    next replay.

    ```sh
    conserver-supabase-storage restored --config config.yml
    ```
    """
    with opened(config, storage, given) as opened_storage:
        cleared = opened_storage.restored()
        cache = opened_storage.health()["cache"]
    if as_json:
        typer.echo(json.dumps({"cleared": cleared, "cache": cache}))
        return
    typer.echo(f"nothing that was cached before is used any more; {cleared} entries thrown away")
    if cache not in {"ok", "off"}:
        typer.echo(f"{cache}: what it still holds expires by itself, unused", err=True)
