-- A database that was restored from a backup hands out revisions and episodes again that caches know
-- already, for other content. So the episode names the database that it is of, too: another one is
-- another "home", and what was cached in one home is never used, nor compared, in another.
--
-- Safe to run again. It goes into the schema "public"; for another one:
--   SET vcon_storage.schema = 'name';

DO $$
BEGIN
  PERFORM set_config('search_path', format('%I, pg_temp',
    coalesce(nullif(current_setting('vcon_storage.schema', true), ''), 'public')), false);
END
$$;

-- One row that is never changed, but by vcon_storage_restored_v1: the transaction that wrote it
-- (xmin) is another one after each restore of rows into a running server.
CREATE TABLE IF NOT EXISTS vcon_cache_home (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  since timestamptz NOT NULL DEFAULT now()
);
INSERT INTO vcon_cache_home DEFAULT VALUES ON CONFLICT DO NOTHING;
ALTER TABLE vcon_cache_home ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON vcon_cache_home FROM PUBLIC, anon, authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE ON vcon_cache_home TO service_role;
GRANT SELECT, UPDATE ON SEQUENCE vcon_revision TO service_role;

-- As before. The upper 30 of the episode's 62 bits are the home, the lower 32 count its episodes.
-- The home is another one
-- - after each start of the server: with the files of a backup, at an earlier point in time, as a
--   standby that was promoted, as another server. Nothing else that can be read here tells all of
--   these from a start with the data as they were, so that one is a new home, too;
-- - after the rows were restored into a running server.
CREATE OR REPLACE FUNCTION vcon_storage_cache_state_v1(
  OUT episode bigint, OUT off boolean, OUT now double precision
)
  LANGUAGE plpgsql STABLE
  SET search_path FROM CURRENT
AS $$
BEGIN
  -- now() is the transaction's beginning: a doubt counts a little longer than it has to.
  SELECT ((hashtextextended(concat((SELECT h.xmin FROM vcon_cache_home h), ' ',
        extract(epoch FROM pg_postmaster_start_time())), 0) & 1073741823) << 32)
      + (s.episode + coalesce((SELECT sum(e.n) FROM vcon_cache_edits e), 0))::bigint % 4294967296,
      EXISTS (SELECT FROM vcon_cache_doubts d WHERE d.until > pg_catalog.now()),
      extract(epoch FROM clock_timestamp())
    INTO episode, off, now
    FROM vcon_cache_state s;
END
$$;

-- To be called after a restore by which the home may have stayed the same, such as one of some tables
-- alone: begins a new one, and hands out no revision again that was ever handed out (it goes on from
-- the microseconds since 1970, which no count of changes comes up with).
CREATE OR REPLACE FUNCTION vcon_storage_restored_v1() RETURNS json
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
AS $$
BEGIN
  INSERT INTO vcon_cache_state DEFAULT VALUES ON CONFLICT DO NOTHING;
  INSERT INTO vcon_cache_home DEFAULT VALUES
    ON CONFLICT (only_row) DO UPDATE SET since = excluded.since;
  PERFORM setval('vcon_revision', greatest(last_value,
    (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)) FROM vcon_revision;
  RETURN (SELECT to_json(s) FROM vcon_storage_cache_state_v1() s);
END
$$;

-- The newest migration that this schema has.
CREATE OR REPLACE FUNCTION vcon_storage_version_v1() RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  SET search_path FROM CURRENT
AS $$ SELECT '20261125160000' $$;

REVOKE ALL ON FUNCTION vcon_storage_restored_v1() FROM PUBLIC, anon, authenticated;
GRANT EXECUTE ON FUNCTION vcon_storage_restored_v1() TO service_role;

RESET search_path;
NOTIFY pgrst, 'reload schema';
