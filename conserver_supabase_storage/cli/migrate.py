"""The command that brings a database to the schema of this release."""

from pathlib import Path
from typing import Annotated

import typer

from .. import migrations
from .common import errors, fail


def migrate(
    database_url: Annotated[
        str | None,
        typer.Option(
            envvar="DATABASE_URL",
            help="The database's URL, postgresql://postgres:...@host:5432/postgres (in Supabase: "
            "Connect, direct connection or session pooler).",
        ),
    ] = None,
    schema: Annotated[str, typer.Option(help="The schema to migrate.")] = "public",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be applied; change nothing.")
    ] = False,
    print_sql: Annotated[
        bool,
        typer.Option("--print", help="Print the SQL of all migrations; needs no database."),
    ] = False,
    copy_to: Annotated[
        Path | None,
        typer.Option(
            "--copy-to",
            file_okay=False,
            help="Write the migrations' files to a folder, such as supabase/migrations, for "
            "`supabase db push`; needs no database.",
        ),
    ] = None,
) -> None:
    """Bring a database to the schema of this release.

    Safe to run twice, and on a database that has such tables already. Nothing is ever dropped.
    """
    if print_sql:
        if schema != "public":
            typer.echo(f"SET vcon_storage.schema = '{schema.replace("'", "''")}';\n")
        for migration in migrations.migrations():
            typer.echo(f"-- {migration.filename}\n{migration.sql}")
        return
    if copy_to is not None:
        copy_to.mkdir(parents=True, exist_ok=True)
        for migration in migrations.migrations():
            (copy_to / migration.filename).write_text(migration.sql, "utf-8")
            typer.echo(f"{copy_to / migration.filename}")
        return
    if not database_url:
        fail("--database-url is missing (or set DATABASE_URL); --print needs none")
    with errors():
        run = migrations.pending if dry_run else migrations.migrate
        found = run(database_url, schema=schema)
    verb = "would apply" if dry_run else "applied"
    for migration in found:
        typer.echo(f"{verb} {migration.filename}")
    if not found:
        typer.echo(f"nothing to do: the schema {schema!r} is up to date")
