-- Search indexes a vCon after its save, not in it: a save notes what is to be indexed, and a search
-- indexes what was noted before it looks. So a search still finds all that was saved before it.
--
-- Safe to run again. It goes into the schema "public"; for another one:
--   SET vcon_storage.schema = 'name';

DO $$
BEGIN
  PERFORM set_config('search_path', format('%I, pg_temp',
    coalesce(nullif(current_setting('vcon_storage.schema', true), ''), 'public')), false);
END
$$;

-- The vCons that were written and are not indexed since; some several times. It has no index and no
-- foreign key, so that a save pays little for it. Rows come and go: vacuum has to follow soon.
CREATE TABLE IF NOT EXISTS vcon_search_pending (uuid uuid NOT NULL)
  WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
ALTER TABLE vcon_search_pending ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON vcon_search_pending FROM PUBLIC, anon, authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE ON vcon_search_pending TO service_role;

-- Notes a vCon that was written, whoever wrote it (hence with the rights of the owner).
CREATE OR REPLACE FUNCTION vcon_storage_pending_v1() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path FROM CURRENT
AS $$
BEGIN
  INSERT INTO vcon_search_pending VALUES (NEW.uuid);
  RETURN NULL;
END
$$;
DROP TRIGGER IF EXISTS vcon_storage_index ON vcons;
DROP TRIGGER IF EXISTS vcon_storage_pending ON vcons;
CREATE TRIGGER vcon_storage_pending AFTER INSERT OR UPDATE ON vcons
  FOR EACH ROW EXECUTE FUNCTION vcon_storage_pending_v1();

-- Indexes so many of the vCons that were noted. done: all that were noted before the call are indexed.
--
-- One does it at a time; who comes next waits, and then sees what the one before did. A vCon that
-- somebody deletes just now is left for the next time: nobody waits for others' locks here while
-- holding some.
CREATE OR REPLACE FUNCTION vcon_storage_index_pending_v1(
  p_count integer DEFAULT 500, OUT indexed integer, OUT done boolean
)
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
AS $$
DECLARE
  places tid[];
  noted uuid[];
  free uuid[];
  next_uuid uuid;
BEGIN
  indexed := 0;
  done := NOT EXISTS (SELECT FROM vcon_search_pending);
  IF done OR current_setting('transaction_read_only') = 'on' THEN
    RETURN;
  END IF;
  PERFORM pg_advisory_xact_lock(
    hashtextextended('vcon_search_pending'::regclass::oid::text, 8616));
  SELECT array_agg(p.ctid), array_agg(DISTINCT p.uuid) INTO places, noted
    FROM (SELECT ctid, uuid FROM vcon_search_pending LIMIT p_count) AS p;
  IF places IS NULL THEN
    done := true;
    RETURN;
  END IF;
  free := ARRAY(SELECT uuid FROM vcons WHERE uuid = ANY (noted) FOR KEY SHARE SKIP LOCKED);
  done := cardinality(places) < p_count
    AND NOT EXISTS (SELECT FROM vcons WHERE uuid = ANY (noted) AND uuid <> ALL (free));
  DELETE FROM vcon_search_pending p
    WHERE p.ctid = ANY (places)
      AND (p.uuid = ANY (free) OR NOT EXISTS (SELECT FROM vcons v WHERE v.uuid = p.uuid));
  FOREACH next_uuid IN ARRAY free LOOP
    PERFORM vcon_storage_index_v1(next_uuid);
    indexed := indexed + 1;
  END LOOP;
END
$$;

-- As vcon_storage_index_step_v1, with what was noted first.
CREATE OR REPLACE FUNCTION vcon_storage_index_step_v2(p_count integer DEFAULT 500) RETURNS json
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
AS $$
DECLARE
  pending record;
BEGIN
  pending := vcon_storage_index_pending_v1(p_count);
  IF pending.indexed > 0 THEN
    RETURN json_build_object(
      'seen', pending.indexed, 'indexed', pending.indexed, 'complete', false);
  END IF;
  RETURN vcon_storage_index_step_v1(p_count);
END
$$;

-- What vcon_storage_search_v2 was, under another name: looks into the index as it is.
DO $$
BEGIN
  IF to_regprocedure('vcon_storage_find_v1(json, text)') IS NULL THEN
    ALTER FUNCTION vcon_storage_search_v2(json, text) RENAME TO vcon_storage_find_v1;
  END IF;
END
$$;

-- As before: finds all that was saved before it. Where more is to be indexed than one statement
-- should do, its answer is not complete and says "pending": to be asked again, after
-- vcon_storage_index_pending_v1.
CREATE OR REPLACE FUNCTION vcon_storage_search_v2(p_query json, p_tenant text DEFAULT NULL)
  RETURNS json
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
AS $$
DECLARE
  pending record;
BEGIN
  pending := vcon_storage_index_pending_v1(500);
  IF pending.done THEN
    RETURN vcon_storage_find_v1(p_query, p_tenant);
  END IF;
  -- The first such member is the answer's own: it stands before the hits, and in a string the quotes
  -- would be escaped.
  RETURN regexp_replace(vcon_storage_find_v1(p_query, p_tenant)::text,
    '"complete" : (true|false)', '"complete" : false, "pending" : true')::json;
END
$$;

-- The newest migration that this schema has.
CREATE OR REPLACE FUNCTION vcon_storage_version_v1() RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  SET search_path FROM CURRENT
AS $$ SELECT '20261125100000' $$;

REVOKE ALL ON FUNCTION
  vcon_storage_pending_v1(), vcon_storage_index_pending_v1(integer),
  vcon_storage_index_step_v2(integer), vcon_storage_search_v2(json, text),
  vcon_storage_find_v1(json, text)
  FROM PUBLIC, anon, authenticated;
GRANT EXECUTE ON FUNCTION
  vcon_storage_index_pending_v1(integer), vcon_storage_index_step_v2(integer),
  vcon_storage_search_v2(json, text), vcon_storage_find_v1(json, text)
  TO service_role;

RESET search_path;
NOTIFY pgrst, 'reload schema';
