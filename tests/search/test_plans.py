"""Every criterion is served by an index: the plans of the very SQL that a search runs."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from conserver_supabase_storage import Query
from conserver_supabase_storage.migrations import migrate

from ..conftest import Sql
from ..home import Supabase

ROWS = 30_000

# Rare and common values of each criterion; one tenant has most of the vCons and one has few.
FILL = """
CREATE FUNCTION pg_temp.fill() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  ALTER TABLE vcons DISABLE TRIGGER ALL;
  INSERT INTO vcons (uuid, tenant_id, subject, created_at, saved_at)
    SELECT md5(n::text)::uuid, CASE WHEN n % 1000 = 0 THEN 'small' WHEN n % 3 > 0 THEN 'large' END,
      'subject ' || md5(n::text), '2020-01-01'::timestamptz + n * interval '1 hour',
      '2021-01-01'::timestamptz + n * interval '1 hour'
    FROM generate_series(1, %(rows)s) AS n;
  INSERT INTO vcon_search
    SELECT v.uuid, v.tenant_id, v.created_at, v.saved_at, v.subject,
      jsonb_build_object(
        'party', jsonb_build_array(vcon_storage_party_marks_v1('+1202' || (5550000 + n),
          'user' || n || '@example.com', 'Name' || n || ' Family' || n %% 50, v.uuid::text)),
        'tag', ARRAY['queue:' || n %% 2000], 'tagged', ARRAY['queue'],
        'dialog', ARRAY[CASE WHEN n %% 2000 = 0 THEN 'transfer' ELSE 'recording' END],
        'analysis', jsonb_build_array(jsonb_build_object(
          'type', 'summary', 'vendor', 'vendor' || n %% 2000)),
        'attached', n %% 2000 > 0, 'attachment', ARRAY['purpose' || n %% 2000]),
      to_tsvector('english', 'common words number' || n || ' ' || md5((n %% 3000)::text))
    FROM generate_series(1, %(rows)s) AS n JOIN vcons v ON v.uuid = md5(n::text)::uuid;
  ALTER TABLE vcons ENABLE TRIGGER ALL;
END
$$;
"""


@pytest.fixture(scope="module")
def big(stack: Supabase) -> Iterator[Sql]:
    url = stack.create_database("search_plans")
    migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        fill = FILL.replace("%(rows)s", str(ROWS)).replace("%%", "%")
        connection.execute(fill.encode())
        connection.execute("SELECT pg_temp.fill()")
        connection.execute("VACUUM ANALYZE vcon_search, vcons")
        yield connection


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


def plan_of(
    big: Sql, query: dict[str, Any], after: dict[str, Any] | None = None, tenant: str | None = None
) -> list[dict[str, Any]]:
    asked = json.loads(Query.parse(query).arguments(after)["p_query"]) | {"explain": True}
    row = big.execute(
        "SELECT vcon_storage_search_v2(%s::json, %s) -> 'plan'", [json.dumps(asked), tenant]
    ).fetchone()
    assert row is not None
    return list(nodes(row[0][0]["Plan"]))


CRITERIA: dict[str, tuple[dict[str, Any], str | None]] = {
    "nothing": ({}, "created"),
    "oldest": ({"order": "oldest"}, "created"),
    "updated": ({"order": "updated"}, "saved"),
    "text": ({"text": "number77"}, "words"),
    "phrase": ({"text": '"words number77"'}, "words"),
    "text by rank": ({"text": "number77", "order": "rank"}, "words"),
    "common text": ({"text": "common words"}, None),
    "common text by rank": ({"text": "common words", "order": "rank"}, None),
    "party tel": ({"party": {"tel": "+1 202 555 0077"}}, "marks"),
    "party tel without country": ({"party": {"tel": "(202) 555-0077"}}, "marks"),
    "party name": ({"party": {"name": "Name77"}}, "marks"),
    "party mailto": ({"party": {"mailto": "user77@example.com"}}, "marks"),
    "party uuid": ({"party": {"uuid": "28dd2c79-55ce-9264-5624-0b50e9522e80"}}, "marks"),
    "party anyhow": ({"party": "(202) 555-0077"}, "marks"),
    "party and tag": ({"party": {"name": "Name77"}, "tags": {"queue": "77"}}, "marks"),
    "tag": ({"tags": {"queue": "77"}}, "marks"),
    "common tag": ({"tags": {"queue": None}}, None),
    "start": ({"start_date": "2023-05-01"}, "created"),
    "range": ({"start_date": "2022-05-01", "end_date": "2022-05-02"}, "created"),
    "end, oldest": ({"end_date": "2020-05-01", "order": "oldest"}, "created"),
    "dialog_type": ({"dialog_type": "transfer"}, "marks"),
    "common dialog_type": ({"dialog_type": "recording"}, "created"),
    "analysis_type and vendor": ({"analysis_type": "summary", "vendor": "vendor77"}, "marks"),
    "vendor": ({"vendor": "vendor77"}, "marks"),
    "has_attachment": ({"has_attachment": True}, "created"),
    "no attachment": ({"has_attachment": False}, "marks"),
    "purpose": ({"has_attachment": "purpose77"}, "marks"),
    "uuid": ({"uuid": ["28dd2c79-55ce-9264-5624-0b50e9522e80"]}, "pkey"),
    "updated_since": ({"updated_since": "2024-05-20", "order": "updated"}, "saved"),
    "updated_since, newest": ({"updated_since": "2024-05-31"}, None),
    "tenant": ({"tenant": "small"}, "tenant"),
    "large tenant": ({"tenant": "large"}, "tenant"),
}


@pytest.mark.parametrize("name", CRITERIA)
def test_every_criterion_is_served_by_an_index(big: Sql, name: str) -> None:
    query, index = CRITERIA[name]
    check(plan_of(big, query), index)


@pytest.mark.parametrize("order", ["newest", "oldest", "updated", "rank"])
def test_a_later_page_begins_where_the_one_before_ended(big: Sql, order: str) -> None:
    place = {"at": "2022-05-01T00:00:00Z", "uuid": "28dd2c79-55ce-9264-5624-0b50e9522e80"}
    if order == "rank":
        check(plan_of(big, {"text": "number77", "order": "rank"}, place | {"rank": 0.1}), "words")
        return
    found = plan_of(big, {"order": order}, place)
    check(found, "saved" if order == "updated" else "created")
    assert any("uuid" in node.get("Index Cond", "") for node in found)


def test_a_tenants_storage(big: Sql) -> None:
    check(plan_of(big, {}, tenant="small"), "tenant")


def test_a_substring_is_found_by_pg_trgm_where_it_is(big: Sql) -> None:
    found = plan_of(big, {"subject": "6c8349cc7260ae62e3b1396831a8398f"})
    row = big.execute("SELECT vcon_storage_search_state_v1() -> 'substring_index'").fetchone()
    assert row is not None
    if not row[0]:
        # It is looked for all the same, in the narrow table.
        assert {node.get("Relation Name") for node in found} <= {None, "vcon_search"}
        pytest.skip("this Postgres has no pg_trgm, so no index serves a substring")
    check(found, "subject")


def test_a_sequential_scan_would_be_seen(big: Sql) -> None:
    """Without this the tests above could not fail."""
    with big.transaction(force_rollback=True):
        big.execute("DROP INDEX idx_vcon_search_marks, idx_vcon_search_created")
        found = plan_of(big, {"tags": {"queue": "77"}})
        with pytest.raises(AssertionError):
            check(found, None)


def check(found: list[dict[str, Any]], index: str | None) -> None:
    scanned = [node["Relation Name"] for node in found if "Seq Scan" in node["Node Type"]]
    assert scanned == []
    used = {node["Index Name"] for node in found if "Index Name" in node}
    names = {name.removeprefix("idx_vcon_search_").removeprefix("vcon_search_") for name in used}
    assert names
    if index is not None:
        assert index in names
