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

NOTIFY pgrst, 'reload schema';
