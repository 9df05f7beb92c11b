"""The functions of ``sql/``, as the storage calls them: arguments made, answers taken apart."""

import hashlib
import json
import time
from typing import Any, NamedTuple

from .database import Database
from .document import Document, dumps, uuid_of
from .errors import RefusedError
from .freshness import TRUST, Freshness
from .options import Options
from .rows import vcon as vcon_rows

# Classes of SQLSTATE: data exception, integrity constraint violation, program limit exceeded.
_DATA_ERRORS = frozenset({"22", "23", "54"})

# How json_build_object writes the member before the rows, which are the last one: taken as they
# are, they need to be parsed only once.
_ROWS = b', "rows" : '

# Rows of a vCon that is not there.
NOTHING = b"null"


class Saved(NamedTuple):
    """What a save led to: the answer (revision, left_out, the cache's state), and the new rows."""

    answer: dict[str, Any]
    rows: dict[str, Any]

    def stored(self) -> bytes:
        """Return the rows as `Functions.get` would, as JSON text."""
        return stored(self.rows)


class Functions:
    """Calls for one storage. Every answer tells the cache's state, which is noted."""

    def __init__(self, options: Options, database: Database, freshness: Freshness) -> None:
        self._database = database
        self._freshness = freshness
        self._careful = False
        # An argument of every function; a tenant's name has only plain characters (Options).
        self._tenant = f'"p_tenant":"{options.tenant}",' if options.tenant else ""

    def save(
        self,
        document: Document,
        until: float,
        *,
        once: bool = False,
        touch: bool = False,
        not_after: float | None = None,
    ) -> Saved:
        """Write a checked document; `touch` and `not_after` as in the SQL.

        Args:
            document: from `document.read`.
            until: when to give up (time.monotonic()).
            once: whether to leave it at one attempt.
            touch: whether it counts as a change even where nothing differs.
            not_after: when the save was made, if it was spooled.
        """
        try:
            return self._save(document, until, once, touch, not_after)
        except RefusedError as error:
            if self._careful or (error.code or "")[:2] not in _DATA_ERRORS:
                raise
        # The tables are another program's, which checks more than we do. From now on we keep to it.
        self._careful = True
        return self._save(document, until, once, touch, not_after)

    def delete(
        self, uuid: str, until: float, *, once: bool = False, touch: bool = False
    ) -> dict[str, Any]:
        """Delete a vCon; `touch` as in the SQL."""
        arguments = f'{{{self._tenant}"p_uuid":"{uuid}","p_touch":{json.dumps(touch)}}}'
        return self._change("vcon_storage_delete_v1", arguments, until, once)

    def get(
        self, uuid: str, until: float, *, once: bool = False, known: int | None = None
    ) -> tuple[dict[str, Any], bytes]:
        """Read a vCon: (its revision, and the cache's state; its rows as JSON text).

        The rows are NOTHING where there is no such vCon, or its revision is `known`.
        """
        head = f'{{{self._tenant}"p_uuid":"{uuid}"'
        arguments = head + (f',"p_known":{known}}}' if known is not None else "}")
        asked = time.monotonic()
        answer = self._database.call("vcon_storage_get_v1", arguments, until=until, once=once)
        header, _, rest = answer.partition(_ROWS)
        found = self._database.parse(header + b"}")
        self._freshness.note(asked, found)
        return found, rest[:-1]

    def search(self, arguments: str) -> dict[str, Any]:
        """Return a page of a search (`Query.arguments`)."""
        return self._read("vcon_storage_search_v2", arguments)

    def search_state(self) -> dict[str, Any]:
        """Return what search has in this database."""
        return self._database.ask("vcon_storage_search_state_v1", "{}")

    def embed(self, arguments: str) -> dict[str, Any]:
        """Write an embedding."""
        return self._read("vcon_storage_embed_v1", arguments)

    def version(self) -> str:
        """Return the newest migration that the database has."""
        return str(json.loads(self._database.call("vcon_storage_version_v1", "{}")))

    def _read(self, function: str, arguments: str) -> dict[str, Any]:
        """Call a function that changes nothing a cache holds."""
        asked = time.monotonic()
        answer = self._database.ask(function, f"{{{self._tenant}{arguments[1:]}")
        self._freshness.note(asked, answer)
        return answer

    def _save(
        self,
        document: Document,
        until: float,
        once: bool,
        touch: bool,
        not_after: float | None,
    ) -> Saved:
        rows = vcon_rows.to_rows(document, careful=self._careful)
        arguments = dumps({f"p_{name}": value for name, value in rows.items()})
        # Of the arguments, not of the document: a release that fills columns differently writes
        # them anew.
        digest = hashlib.sha256(arguments.encode()).hexdigest()
        head = f'{{"p_uuid":"{uuid_of(document)}","p_digest":"{digest}",{self._tenant}'
        if touch:
            head += '"p_touch":true,'
        if not_after is not None:
            head += f'"p_not_after":{not_after!r},'
        return Saved(self._change("vcon_storage_save_v1", head + arguments[1:], until, once), rows)

    def _change(self, function: str, arguments: str, until: float, once: bool) -> dict[str, Any]:
        asked = time.monotonic()
        answer = self._database.ask(
            function, arguments, until=until, once=once, clock=self._freshness.now
        )
        self._freshness.note(asked, answer)
        if answer.get("new_episode"):
            time.sleep(TRUST)  # a tenant's vCon: that tenant's readers have to learn of it
        return answer


def stored(rows: dict[str, Any]) -> bytes:
    """Return rows that are about to be written as the get function will, as JSON text."""
    return dumps(vcon_rows.stored(rows)).encode()
