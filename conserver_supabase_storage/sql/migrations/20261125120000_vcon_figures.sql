-- Figures for monitoring: how large the tables are, and what waits in them.
--
-- Safe to run again. It goes into the schema "public"; for another one:
--   SET vcon_storage.schema = 'name';

DO $$
BEGIN
  PERFORM set_config('search_path', format('%I, pg_temp',
    coalesce(nullif(current_setting('vcon_storage.schema', true), ''), 'public')), false);
END
$$;

-- Returns the cache's state, doubts (how many are in force), pending (entries that wait for the search
-- index, counted up to p_most), and tables: of each that is there its rows (an estimate), dead (rows
-- that vacuum has not come to, an estimate) and bytes (with indexes and TOAST).
--
-- Reads no row but those of the two small tables that it counts. The size of a table is not known while
-- somebody alters it: rather no figures then than a wait.
CREATE OR REPLACE FUNCTION vcon_storage_figures_v1(p_most integer DEFAULT 100000) RETURNS json
  LANGUAGE sql STABLE
  SET search_path FROM CURRENT
  SET lock_timeout = '500ms'
AS $$
  SELECT json_build_object('episode', s.episode, 'off', s.off, 'now', s.now,
    'doubts', (SELECT count(*) FROM vcon_cache_doubts d WHERE d.until > now()),
    'pending', (SELECT count(*) FROM (SELECT FROM vcon_search_pending LIMIT p_most) AS p),
    'tables', (
      SELECT json_object_agg(t.name, json_build_object(
        -- reltuples is of the last vacuum; the counters are newer, and 0 after a crash.
        'rows', greatest(c.reltuples::bigint, pg_stat_get_live_tuples(c.oid), 0),
        'dead', pg_stat_get_dead_tuples(c.oid),
        'bytes', pg_total_relation_size(c.oid)))
      FROM unnest(ARRAY['vcons', 'parties', 'dialog', 'analysis', 'attachments', 'groups',
          'party_history', 'vcon_search', 'vcon_search_pending', 'vcon_vectors', 'vcon_tombstones',
          'vcon_edited']) AS t (name)
        JOIN pg_class c ON c.oid = to_regclass(t.name) AND c.relkind = 'r'))
  FROM vcon_storage_cache_state_v1() s
$$;

-- The newest migration that this schema has.
CREATE OR REPLACE FUNCTION vcon_storage_version_v1() RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  SET search_path FROM CURRENT
AS $$ SELECT '20261125120000' $$;

REVOKE ALL ON FUNCTION vcon_storage_figures_v1(integer) FROM PUBLIC, anon, authenticated;
GRANT EXECUTE ON FUNCTION vcon_storage_figures_v1(integer) TO service_role;

RESET search_path;
NOTIFY pgrst, 'reload schema';
