"""vCons in the table of the conserver's postgres storage (id, uuid, vcon_json)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .found import Found, Place, SourceError

if TYPE_CHECKING:
    from psycopg import Connection

    type Database = Connection[tuple[Any, ...]]

# Rows that are asked for at once: this many, and about this many bytes as they are stored.
_COUNT = 200
_BYTES = 4_000_000


class PostgresTable:
    """The table, in the order of its ids, by short queries and not in one long transaction.

    Args:
        address: a libpq URL, or its parts as keywords.
        table: the option ``table_name``.

    Raises:
        SourceError: psycopg is not installed.
    """

    def __init__(self, address: "str | dict[str, Any]", table: str = "vcons") -> None:
        try:
            import psycopg  # noqa: F401, PLC0415  an extra
        except ImportError:
            text = "postgres needs psycopg: pip install 'conserver-supabase-storage[cli]'"
            raise SourceError(text) from None
        self._address = address
        self._table = table
        self._connection: Database | None = None

    def count(self) -> int | None:
        """Return how many rows there are."""
        [row] = self._ask("SELECT count(*) FROM {table}")
        return int(row[0])

    def read(self, after: Place | None) -> Iterator[Found]:
        """Yield the rows; see `found.Source`."""
        last = after[0] if after else None
        while ids := self._next_ids(last):
            # As text, all digits stay.
            rows = self._ask(
                "SELECT id::text, vcon_json::text FROM {table} WHERE id = ANY(%s::uuid[])", [ids]
            )
            texts = dict(rows)
            for row_id in ids:
                if row_id in texts:  # else it was deleted just now
                    yield self._found(row_id, texts[row_id])
            last = ids[-1]

    def _found(self, row_id: str, text: str | None) -> Found:
        name = f"{self._table}:{row_id}"
        if text is None:
            return Found(name, row_id, error="has no vcon_json")
        return Found(name, row_id, text=text.encode())

    def _next_ids(self, last: str | None) -> list[str]:
        rows = self._ask(
            "SELECT id::text, pg_column_size(vcon_json) FROM {table}"
            " WHERE %s::uuid IS NULL OR id > %s::uuid ORDER BY id LIMIT %s",
            [last, last, _COUNT],
        )
        ids: list[str] = []
        size = 0
        for row_id, row_size in rows:
            ids.append(row_id)
            size += row_size or 0
            if size >= _BYTES:
                break
        return ids

    def _ask(self, query: str, arguments: list[Any] | None = None) -> list[tuple[Any, ...]]:
        import psycopg  # noqa: PLC0415
        from psycopg import sql  # noqa: PLC0415

        composed = sql.SQL(query).format(table=sql.Identifier(self._table))
        try:
            return self._connected().execute(composed, arguments).fetchall()
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
            text = (
                f"the table {self._table!r} is none of the conserver's postgres storage: "
                f"{error.diag.message_primary}"
            )
            raise SourceError(text) from None
        except psycopg.Error as error:
            # libpq's text names host and user, never the password.
            what = error.diag.message_primary or f"{error}".strip() or type(error).__name__
            raise SourceError(f"the source's database: {what}") from None

    def _connected(self) -> "Database":
        import psycopg  # noqa: PLC0415

        if self._connection is None:
            address = self._address
            self._connection = (
                psycopg.connect(address, autocommit=True, connect_timeout=10)
                if isinstance(address, str)
                else psycopg.connect(autocommit=True, connect_timeout=10, **address)
            )
        return self._connection
