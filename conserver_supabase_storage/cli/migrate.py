"""The command that brings a database to the schema of this release."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import StorageError
from .common import AsJson, fail, interruptible, print_json, progress

if TYPE_CHECKING:
    from ..migrations import Migration


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
    as_json: AsJson = False,
) -> None:
    """Bring a database to the schema of this release.

    Safe to run twice, and on a database that has such tables already. Nothing is ever dropped. Each
    migration is a transaction of its own, so that after Ctrl-C it goes on where it was.

    ```sh
    conserver-supabase-storage migrate --dry-run         # DATABASE_URL from the environment
    conserver-supabase-storage migrate --json
    conserver-supabase-storage migrate --copy-to supabase/migrations
    ```
    """
    if print_sql and (as_json or copy_to is not None):
        raise typer.BadParameter("--print prints SQL, and goes with neither --json nor --copy-to")
    if print_sql:
        _print(schema)
    elif copy_to is not None:
        _copy(copy_to, as_json=as_json)
    elif not database_url:
        raise typer.BadParameter(
            "--database-url is missing (or set DATABASE_URL); --print needs none"
        )
    else:
        _migrate(database_url, schema, dry_run=dry_run, as_json=as_json)


def _print(schema: str) -> None:
    from ..migrations import migrations  # noqa: PLC0415

    if schema != "public":
        typer.echo(f"SET vcon_storage.schema = '{schema.replace("'", "''")}';\n")
    for migration in migrations():
        typer.echo(f"-- {migration.filename}\n{migration.sql}")


def _copy(folder: Path, *, as_json: bool) -> None:
    from ..migrations import migrations  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for migration in migrations():
        path = folder / migration.filename
        path.write_text(migration.sql, "utf-8")
        written.append(str(path))
    if as_json:
        print_json({"written": written})
    else:
        typer.echo("\n".join(written))


def _migrate(database_url: str, schema: str, *, dry_run: bool, as_json: bool) -> None:
    from .. import migrations  # noqa: PLC0415

    applied: list[str] = []
    left: list[str] = []

    def note(migration: "Migration") -> None:
        applied.append(migration.filename)
        left.remove(migration.filename)
        advance(1)

    def report() -> None:
        if as_json:
            print_json({"schema": schema, "applied": applied, "pending": left})
            return
        for filename in applied:
            typer.echo(f"applied {filename}")
        for filename in left:
            typer.echo(f"would apply {filename}" if dry_run else f"left {filename}")

    with interruptible("what was under way is rolled back; run it again to go on", report):
        try:
            left += [found.filename for found in migrations.pending(database_url, schema=schema)]
            if left and not dry_run:
                with progress("migrations", len(left), quiet=as_json) as advance:
                    migrations.migrate(database_url, schema=schema, applied=note)
                left.clear()  # what another process applied meanwhile
        except StorageError as error:
            if applied:
                report()
            fail(str(error))
    report()
    if not as_json and not applied and not left:
        typer.echo(f"nothing to do: the schema {schema!r} is up to date")
