"""Brings a database to the schema that this release needs, forward only.

The SQL is in ``sql/migrations/`` under the names that the Supabase CLI gives
(``<timestamp>_<name>.sql``); what is applied is recorded in its history table, so that
``supabase db push`` and this module see the same state. Needs psycopg (the extra ``cli``).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

from .errors import ConfigurationError, RefusedError, UnavailableError

if TYPE_CHECKING:
    from psycopg import Connection

# Anything, as long as it is ours: two migrations at once take turns.
_LOCK = 8615_2026

# As the Supabase CLI makes it.
_HISTORY = """
CREATE SCHEMA IF NOT EXISTS supabase_migrations;
CREATE TABLE IF NOT EXISTS supabase_migrations.schema_migrations (version text PRIMARY KEY);
ALTER TABLE supabase_migrations.schema_migrations ADD COLUMN IF NOT EXISTS statements text[];
ALTER TABLE supabase_migrations.schema_migrations ADD COLUMN IF NOT EXISTS name text;
"""


class Migration(NamedTuple):
    """One file of ``sql/migrations``."""

    version: str
    name: str
    sql: str

    @property
    def filename(self) -> str:
        """The name under which the Supabase CLI wants it in ``supabase/migrations``."""
        return f"{self.version}_{self.name}.sql"


def migrations() -> list[Migration]:
    """Return all migrations of this release, the oldest first."""
    files = resources.files(__package__).joinpath("sql/migrations").iterdir()
    found = []
    for file in files:
        if file.name.endswith(".sql"):
            version, _, name = file.name.removesuffix(".sql").partition("_")
            found.append(Migration(version, name, file.read_text("utf-8")))
    return sorted(found)


def pending(database_url: str, *, schema: str = "public") -> list[Migration]:
    """Return what `migrate` would apply. Changes nothing. Arguments and errors as there."""
    with _connect(database_url, schema) as connection:
        return _pending(connection, schema)


def migrate(
    database_url: str,
    *,
    schema: str = "public",
    applied: Callable[[Migration], None] | None = None,
) -> list[Migration]:
    """Apply what is missing, each migration in a transaction of its own.

    Args:
        database_url: a libpq URL of a role that may create tables, such as Supabase's
            ``postgres`` (its direct or session-pooler connection string).
        schema: the schema to migrate; made if it is not there.
        applied: called with each migration once it is applied.

    Returns:
        The migrations that were applied now.

    Raises:
        UnavailableError: the database can't be reached or the login failed.
        RefusedError: a migration failed; what it did was rolled back.
        ConfigurationError: psycopg is not installed.
    """
    found = []
    with _connect(database_url, schema) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        for migration in _pending(connection, schema):
            _apply(connection, migration)
            found.append(migration)
            if applied is not None:
                applied(migration)
    return found


def _apply(connection: "Connection", migration: Migration) -> None:
    import psycopg  # noqa: PLC0415  an extra

    try:
        with connection.transaction():
            connection.execute(migration.sql.encode())
            connection.execute(_HISTORY.encode())
            connection.execute(
                "INSERT INTO supabase_migrations.schema_migrations (version, name, statements)"
                " VALUES (%s, %s, %s) ON CONFLICT (version) DO NOTHING",
                [migration.version, migration.name, [migration.sql]],
            )
    except psycopg.Error as error:
        hint = f" ({error.diag.message_hint})" if error.diag.message_hint else ""
        raise RefusedError(
            f"{migration.filename} failed and was rolled back: {error.diag.message_primary}{hint}",
            status=0,
            code=error.sqlstate,
        ) from error


def _pending(connection: "Connection", schema: str) -> list[Migration]:
    """Compare with the version that the schema itself says it has.

    Not with the history table: that is one for the whole database, and would call a second schema
    migrated, or a schema that was dropped.
    """
    found = connection.execute(
        "SELECT to_regprocedure(format('%%I.vcon_storage_version_v1()', %s::text))", [schema]
    ).fetchone()
    if found is None or found[0] is None:
        return migrations()
    row = connection.execute(f"SELECT {found[0]}".encode()).fetchone()
    version = str(row[0]) if row else ""
    return [migration for migration in migrations() if migration.version > version]


@contextmanager
def _connect(database_url: str, schema: str) -> "Iterator[Connection]":
    try:
        import psycopg  # noqa: PLC0415  an extra
    except ImportError:
        raise ConfigurationError(
            "migrating needs psycopg: pip install 'conserver-supabase-storage[cli]' "
            "(or apply the output of `migrate --print` by other means)"
        ) from None

    try:
        connection = psycopg.connect(database_url, autocommit=True, connect_timeout=10)
    except psycopg.Error as error:
        # libpq's text names host and user, never the password.
        raise UnavailableError(f"the database can't be reached: {error}".strip()) from None
    with connection:
        connection.execute("SELECT set_config('vcon_storage.schema', %s, false)", [schema])
        yield connection
