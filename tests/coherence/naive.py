"""The order that suggests itself, to show that the race test finds what is wrong with it.

A get looks into Redis, else asks the database and sets the entry. A save commits, then sets the
entry; a delete commits, then removes it.
"""

import hashlib
import json
from typing import Any

from redis import Redis

from conserver_supabase_storage.database import Database
from conserver_supabase_storage.document import dumps
from conserver_supabase_storage.options import Options
from conserver_supabase_storage.rows import vcon as vcon_rows


class NaiveCache:
    """Redis, with one method per command."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url)

    def read(self, uuid: str) -> bytes | None:
        """Get an entry."""
        rows = self._redis.get(f"naive:{uuid}")
        return rows if isinstance(rows, bytes) else None

    def fill(self, uuid: str, rows: bytes) -> None:
        """Set the entry that a reader brings."""
        self._redis.set(f"naive:{uuid}", rows, ex=3600)

    def complete(self, uuid: str, rows: bytes | None) -> None:
        """Set or remove the entry after a change."""
        if rows is None:
            self._redis.delete(f"naive:{uuid}")
        else:
            self._redis.set(f"naive:{uuid}", rows, ex=3600)


class NaiveStorage:
    """As a SupabaseStorage, with the same database and rows."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.database = Database(Options.parse(options))
        self.cache = NaiveCache(options["redis_url"])

    def save(self, vcon: dict[str, Any]) -> None:
        """Commit, then set."""
        rows = vcon_rows.to_rows(vcon, vcon["uuid"])
        arguments = {f"p_{name}": dumps(value) for name, value in rows.items()}
        digest = hashlib.sha256(b"".join(arguments.values())).hexdigest()
        arguments |= {"p_uuid": dumps(vcon["uuid"]), "p_digest": dumps(digest)}
        self.database.call("vcon_storage_save_v1", arguments)
        self.cache.complete(vcon["uuid"], dumps(vcon_rows.stored(rows)))

    def get(self, uuid: str) -> dict[str, Any] | None:
        """Look into Redis, else ask and set."""
        rows = self.cache.read(uuid)
        if rows is None:
            answer = self.database.call("vcon_storage_get_v1", {"p_uuid": dumps(uuid)})
            found = json.loads(answer)["rows"]
            if found is None:
                return None
            rows = dumps(found)
            self.cache.fill(uuid, rows)
        return vcon_rows.from_stored(rows)

    def delete(self, uuid: str) -> bool:
        """Commit, then remove."""
        answer = self.database.call("vcon_storage_delete_v1", {"p_uuid": dumps(uuid)})
        self.cache.complete(uuid, None)
        return bool(json.loads(answer)["deleted"])
