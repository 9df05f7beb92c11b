"""What tests look up in the database itself, behind the storage's back."""

from typing import Any

from psycopg import sql

from ..conftest import Sql

TABLES = ("vcons", "parties", "dialog", "analysis", "attachments")


def rows_of(psql: Sql, table: str, vcon_uuid: str, columns: str) -> list[tuple[Any, ...]]:
    """Return some columns of a vCon's rows in a table, in the order of their index."""
    owner, order = ("uuid", "id") if table == "vcons" else ("vcon_id", index_of(table))
    query = f"SELECT {columns} FROM {table} WHERE {owner} = %s ORDER BY {order}"
    return psql.execute(query.encode(), [vcon_uuid]).fetchall()


def versions(psql: Sql, vcon_uuid: str) -> dict[str, list[str]]:
    """Return for every row of a vCon the transaction that wrote it, by table."""
    return {
        table: [str(row[0]) for row in rows_of(psql, table, vcon_uuid, "xmin::text")]
        for table in TABLES
    }


def count(psql: Sql, table: str) -> int:
    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
    row = psql.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def value(psql: Sql, query: str, *arguments: object) -> Any:
    """Return the one value of a query."""
    row = psql.execute(query.encode(), arguments).fetchone()
    assert row is not None, query
    return row[0]


def columns_with(psql: Sql, marker: str) -> list[str]:
    """Return ``table.column`` for every stored value, of any type, in which a text occurs.

    Except in the search's rows, which are an index.
    """
    columns = psql.execute(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name NOT LIKE 'vcon_search%'"
    ).fetchall()
    found = []
    for table, column in columns:
        query = sql.SQL("SELECT count(*) FROM {} WHERE strpos({}::text, %s) > 0").format(
            sql.Identifier(table), sql.Identifier(column)
        )
        row = psql.execute(query, [marker]).fetchone()
        found += [f"{table}.{column}"] * (row[0] if row else 0)
    return found


def index_of(table: str) -> str:
    """Return the column with a part's place in its list."""
    return {"parties": "party_index", "attachments": "attachment_index"}.get(
        table, f"{table}_index"
    )
