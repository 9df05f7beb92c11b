"""The commands. Each does one thing that an operator does, and exits with 0 only if it did it.

A module here imports what is light at its top, and the rest in its command: `health` is called
every few seconds, and imports them all (tests/operate/test_startup.py).
"""

from typing import Annotated

import typer

from .backfill import backfill
from .bench import bench
from .common import Commands
from .delete import delete
from .doctor import doctor
from .export import export
from .get import get
from .health import health
from .import_ import import_
from .metrics import metrics
from .migrate import migrate
from .restored import restored
from .search import search
from .spool import replay, spool_app
from .up import up
from .verify import verify
from .warm import warm

app = typer.Typer(
    name="conserver-supabase-storage",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",  # --help and docs/commands.md are made of the same docstrings
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version  # noqa: PLC0415

        typer.echo(f"conserver-supabase-storage {version('conserver-supabase-storage')}")
        raise typer.Exit


@app.callback()
def conserver_supabase_storage(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Supabase storage for the vCon conserver.

    The storage's options come from the environment (`SUPABASE_URL`, `SUPABASE_SERVICE_ROLE_KEY`,
    `REDIS_URL`), from a conserver's config, or from flags, which win:

    ```sh
    conserver-supabase-storage health
    conserver-supabase-storage health --config config.yml --storage supabase
    conserver-supabase-storage health --option total_timeout=2 --json
    ```

    Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 not
    (all) done or something is wrong, 2 wrong usage, 130 interrupted.
    """


app.command()(up)
app.command()(migrate)
app.command()(doctor)
app.command()(health)
app.command()(metrics)
app.command()(get)
app.command()(search)
app.command()(delete)
app.command()(warm)
app.command()(replay)
app.add_typer(spool_app, name="spool")
app.command()(backfill)
app.command()(bench)
app.command("import")(import_)
app.command()(export)
app.command()(verify)
app.command()(restored)
