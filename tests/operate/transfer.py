"""What the tests of import, export and verify share: a database of their own, and the commands."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from typer.testing import CliRunner

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.cli import app
from conserver_supabase_storage.migrations import migrate

from ..conftest import Sql, options_without_cache
from ..home import Supabase
from ..vcons import Json, new_uuid


@dataclass
class Own:
    """A migrated database, and how to reach it."""

    sql: Sql
    storage: SupabaseStorage
    options: Json

    def run(self, *arguments: str, given: bytes | None = None, **more: Any) -> Any:
        """Run a command in this process."""
        flags = [f"-o{name}={value}" for name, value in (self.options | more).items() if value]
        return CliRunner().invoke(app, [*arguments, *flags], input=given)

    @property
    def environment(self) -> dict[str, str]:
        """How a process reaches it."""
        return {
            "SUPABASE_REST_URL": self.options["rest_url"],
            "SUPABASE_SERVICE_ROLE_KEY": self.options["key"],
        }

    def vcons(self) -> int:
        [found] = self.sql.execute("SELECT count(*) FROM vcons").fetchone() or [-1]
        return int(found)


@contextmanager
def own_database(stack: Supabase, before: bytes = b"") -> Iterator[Own]:
    """Make a database and migrate it; it goes with the stack.

    Args:
        stack: where to.
        before: SQL to run before the migrations.
    """
    url = stack.create_database(f"transfer_{new_uuid().replace('-', '')}")
    with psycopg.connect(url, autocommit=True) as connection:
        if before:
            connection.execute(before)
        migrate(url)
        with stack.postgrest(database=connection.info.dbname) as rest_url:
            options = options_without_cache(stack) | {"rest_url": rest_url}
            with SupabaseStorage(options) as storage:
                yield Own(connection, storage, options)
