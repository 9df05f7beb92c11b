"""Cursors: where a page of a search ended, as text that only we can make. Pure.

A cursor holds the place (not a number of rows to skip), a digest of the query that it belongs to,
and a check (HMAC, RFC 2104) made with the storage's key, so that what comes back is what was given.
"""

import base64
import hashlib
import hmac
import json
import zlib
from typing import Any

from .errors import InvalidQueryError

# The largest has the rest of a list of some hundred uuids.
_CHARACTERS = 50_000
_CHECK = 16


class Cursors:
    """Makes and reads the cursors of one storage.

    Args:
        key: the storage's API key. With another key, cursors have to begin anew.
        tenant: whose vCons they go through.
    """

    def __init__(self, key: str, tenant: str | None) -> None:
        self._key = hmac.digest(key.encode(), b"cursors of conserver-supabase-storage", "sha256")
        self._tenant = tenant or ""

    def write(self, criteria: bytes, place: dict[str, Any]) -> str:
        """Return the cursor for a place in the answer to a query."""
        packed = self._digest(criteria) + zlib.compress(json.dumps(place).encode())
        return base64.urlsafe_b64encode(self._check(packed) + packed).decode().rstrip("=")

    def read(self, criteria: bytes, cursor: object) -> dict[str, Any]:
        """Return the place.

        Raises:
            InvalidQueryError: the cursor is none of ours, was changed, or is another query's.
        """
        if not isinstance(cursor, str) or not 0 < len(cursor) <= _CHARACTERS:
            raise InvalidQueryError("cursor: is none that search_page returned")
        try:
            data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        except ValueError:
            raise InvalidQueryError("cursor: is none that search_page returned") from None
        check, packed = data[:_CHECK], data[_CHECK:]
        if not hmac.compare_digest(check, self._check(packed)):
            raise InvalidQueryError("cursor: was changed, or made with another key")
        if not hmac.compare_digest(packed[:_CHECK], self._digest(criteria)):
            raise InvalidQueryError("cursor: belongs to another query, or another tenant")
        place: dict[str, Any] = json.loads(zlib.decompress(packed[_CHECK:]))
        return place

    def _digest(self, criteria: bytes) -> bytes:
        return hashlib.sha256(b"%b\n%b" % (self._tenant.encode(), criteria)).digest()[:_CHECK]

    def _check(self, packed: bytes) -> bytes:
        return hmac.digest(self._key, packed, "sha256")[:_CHECK]
