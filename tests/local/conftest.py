"""A stack without our migrations, for what the tests of this folder do to it."""

from collections.abc import Iterator

import pytest

from conserver_supabase_storage.local import LocalSupabase


@pytest.fixture(scope="package")
def local() -> Iterator[LocalSupabase]:
    """One running stack, shared: whoever stops a service of it starts it again."""
    with LocalSupabase(migrate=False) as stack:
        yield stack
