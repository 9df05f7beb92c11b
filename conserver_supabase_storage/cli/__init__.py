"""The commands. Each does one thing that an operator does, and exits with 0 only if it did it."""

import typer

from ..local.command import up
from .backfill import backfill
from .health import health
from .migrate import migrate
from .restored import restored
from .spool import replay, spool_app

app = typer.Typer(
    name="conserver-supabase-storage",
    help="Supabase storage for the vCon conserver.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

app.command()(up)
app.command()(migrate)
app.command()(health)
app.command()(replay)
app.add_typer(spool_app, name="spool")
app.command()(backfill)
app.command()(restored)
