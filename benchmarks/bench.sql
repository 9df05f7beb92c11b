-- The floors: what one bare request to a function of one statement costs, over one jsonb row.
-- Run in the throw-away database of a benchmark, beside the storage's own tables.

CREATE TABLE bench_rows (uuid uuid PRIMARY KEY, doc jsonb NOT NULL);
ALTER TABLE bench_rows ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON bench_rows FROM PUBLIC, anon, authenticated;

CREATE FUNCTION bench_insert(doc jsonb) RETURNS void LANGUAGE sql AS $$
  INSERT INTO bench_rows VALUES ((doc ->> 'uuid')::uuid, doc)
$$;

-- An argument without a name: PostgREST hands the request's body over as it came.
CREATE FUNCTION bench_insert_raw(jsonb) RETURNS void LANGUAGE sql AS $$
  INSERT INTO bench_rows VALUES (($1 ->> 'uuid')::uuid, $1)
$$;

CREATE FUNCTION bench_upsert(doc jsonb) RETURNS void LANGUAGE sql AS $$
  INSERT INTO bench_rows VALUES ((doc ->> 'uuid')::uuid, doc)
    ON CONFLICT (uuid) DO UPDATE SET doc = excluded.doc
$$;

CREATE FUNCTION bench_upsert_raw(jsonb) RETURNS void LANGUAGE sql AS $$
  INSERT INTO bench_rows VALUES (($1 ->> 'uuid')::uuid, $1)
    ON CONFLICT (uuid) DO UPDATE SET doc = excluded.doc
$$;

CREATE FUNCTION bench_get(p_uuid uuid) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT doc FROM bench_rows WHERE uuid = p_uuid
$$;

CREATE FUNCTION bench_page(p_uuids uuid[]) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT jsonb_agg(doc) FROM bench_rows WHERE uuid = ANY (p_uuids)
$$;

CREATE FUNCTION bench_delete(p_uuid uuid) RETURNS void LANGUAGE sql AS $$
  DELETE FROM bench_rows WHERE uuid = p_uuid
$$;

-- Fills the tables: copies one vCon, with all its rows, so often, and its document beside it.
-- The columns are looked up, so that they need not be known here. The caller sees to it that no
-- triggers and foreign keys look at each row (session_replication_role).
CREATE PROCEDURE bench_fill(template uuid, copies integer) LANGUAGE plpgsql AS $$
DECLARE
  target record;
BEGIN
  CREATE TEMP TABLE bench_new AS
    SELECT gen_random_uuid() AS uuid, n FROM generate_series(1, copies - 1) AS n;
  FOR target IN
    SELECT c.table_name, c.table_name IN ('vcons', 'vcon_search') AS is_header,
      string_agg(quote_ident(c.column_name), ', ') AS columns,
      string_agg(CASE c.column_name
        WHEN 'vcon_id' THEN 'bench_new.uuid'
        WHEN 'uuid' THEN CASE c.data_type WHEN 'uuid' THEN 'bench_new.uuid' ELSE 'old.uuid' END
        WHEN 'id' THEN CASE c.table_name WHEN 'vcons' THEN 'bench_new.uuid'
          ELSE 'gen_random_uuid()' END
        WHEN 'created_at' THEN CASE WHEN c.table_name IN ('vcons', 'vcon_search')
          THEN 'old.created_at - bench_new.n * interval ''1 second'''
          ELSE 'old.created_at' END
        ELSE 'old.' || quote_ident(c.column_name) END, ', ') AS source
    FROM information_schema.columns c
    WHERE c.table_schema = 'public' AND c.is_generated = 'NEVER'
      AND c.table_name IN (
        'vcons', 'parties', 'dialog', 'analysis', 'attachments', 'vcon_search')
    GROUP BY c.table_name
    ORDER BY is_header DESC
  LOOP
    EXECUTE format(
      'INSERT INTO %1$I (%2$s) SELECT %3$s FROM bench_new, %1$I AS old WHERE old.%4$I = $1',
      target.table_name, target.columns, target.source,
      CASE WHEN target.is_header THEN 'uuid' ELSE 'vcon_id' END)
      USING template;
  END LOOP;
  INSERT INTO bench_rows
    SELECT bench_new.uuid, old.doc FROM bench_new, bench_rows AS old WHERE old.uuid = template;
  DROP TABLE bench_new;
END
$$;

NOTIFY pgrst, 'reload schema';
