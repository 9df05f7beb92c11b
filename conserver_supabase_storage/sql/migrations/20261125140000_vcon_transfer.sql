-- What import, export and verify ask: about many vCons in one request. Nothing here changes anything.
--
-- Safe to run again. It goes into the schema "public"; for another one:
--   SET vcon_storage.schema = 'name';

DO $$
BEGIN
  PERFORM set_config('search_path', format('%I, pg_temp',
    coalesce(nullif(current_setting('vcon_storage.schema', true), ''), 'public')), false);
END
$$;

-- Those of some vCons that are there, in the given order. It ends after the vCon with which the
-- answer has p_bytes, since nobody knows before how large they are.
--
-- Returns the cache's state; seen: how many of p_uuids it came to; and for each that is there
-- [uuid, revision, digest, rows]:
--   revision: that of vcon_storage_get_v2;
--   digest: of what was saved last; null where another program has changed the vCon since;
--   rows: as vcon_storage_get_v2 returns them, with p_rows; else null.
CREATE OR REPLACE FUNCTION vcon_storage_many_v1(
  p_uuids uuid[], p_rows boolean DEFAULT false, p_bytes integer DEFAULT 8000000,
  p_tenant text DEFAULT NULL
) RETURNS json
  LANGUAGE plpgsql STABLE
  SET search_path FROM CURRENT
AS $$
DECLARE
  next_uuid uuid;
  v vcons;
  edited boolean;
  answers json[] := '{}';
  answer json;
  bytes bigint := 0;
  seen integer := 0;
BEGIN
  FOREACH next_uuid IN ARRAY p_uuids LOOP
    seen := seen + 1;
    SELECT * INTO v FROM vcons
      WHERE uuid = next_uuid AND (p_tenant IS NULL OR tenant_id = p_tenant);
    CONTINUE WHEN NOT FOUND;
    edited := EXISTS (SELECT FROM vcon_edited e WHERE e.uuid = next_uuid);
    answer := json_build_array(v.uuid,
      CASE WHEN NOT edited AND v.tenant_id IS NOT DISTINCT FROM p_tenant THEN v.revision END,
      CASE WHEN NOT edited THEN v.digest END,
      CASE WHEN p_rows THEN vcon_storage_rows_v2(v) END);
    answers := answers || answer;
    bytes := bytes + octet_length(answer::text);
    EXIT WHEN bytes >= p_bytes;
  END LOOP;
  RETURN (SELECT json_build_object('episode', s.episode, 'off', s.off, 'now', s.now,
      'seen', seen, 'vcons', array_to_json(answers))
    FROM vcon_storage_cache_state_v1() s);
END
$$;

-- The next vCons by uuid: for each [uuid, created_at], the time as the vCon says it.
CREATE OR REPLACE FUNCTION vcon_storage_walk_v1(
  p_after uuid, p_limit integer, p_tenant text DEFAULT NULL
) RETURNS json
  LANGUAGE plpgsql STABLE
  SET search_path FROM CURRENT
AS $$
BEGIN
  RETURN (SELECT json_build_object('episode', s.episode, 'off', s.off, 'now', s.now, 'vcons', (
      SELECT coalesce(json_agg(json_build_array(v.uuid, CASE WHEN v.as_written IS NULL
          THEN to_json(v.created_at) ELSE v.as_written -> 'created_at' END) ORDER BY v.uuid), '[]')
      FROM (
        SELECT * FROM vcons
        WHERE (p_after IS NULL OR uuid > p_after) AND (p_tenant IS NULL OR tenant_id = p_tenant)
        ORDER BY uuid LIMIT p_limit) AS v))
    FROM vcon_storage_cache_state_v1() s);
END
$$;

-- The typed columns of the next vCons by uuid, with the truth beside them (as_written). Bodies stay
-- out: a body stands in its column alone. It ends after the vCon with which the answer has p_bytes.
--
-- Returns the cache's state; foreign: whether another program made the tables, whose constraints and
-- triggers vcon_storage_fit_v1 heeds; and for each vCon its uuid, its digest (as
-- vcon_storage_many_v1), the row of vcons, and the rows of its parts in their order.
CREATE OR REPLACE FUNCTION vcon_storage_columns_v1(
  p_after uuid, p_limit integer, p_bytes integer DEFAULT 8000000, p_tenant text DEFAULT NULL
) RETURNS json
  LANGUAGE plpgsql STABLE
  SET search_path FROM CURRENT
  SET timezone = 'UTC'
AS $$
DECLARE
  v vcons;
  answers json[] := '{}';
  answer json;
  bytes bigint := 0;
BEGIN
  FOR v IN
    SELECT * FROM vcons
    WHERE (p_after IS NULL OR uuid > p_after) AND (p_tenant IS NULL OR tenant_id = p_tenant)
    ORDER BY uuid LIMIT p_limit
  LOOP
    answer := json_build_object(
      'uuid', v.uuid,
      'digest', CASE WHEN NOT EXISTS (SELECT FROM vcon_edited e WHERE e.uuid = v.uuid)
        THEN v.digest END,
      'vcons', json_build_object(
        'as_written', v.as_written, 'vcon_version', v.vcon_version, 'subject', v.subject,
        'created_at', v.created_at, 'updated_at', v.updated_at, 'extensions', v.extensions,
        'must_support', v.must_support, 'critical', v.critical, 'redacted', v.redacted,
        'appended', v.appended, 'amended', v.amended, 'group_data', v.group_data),
      'parties', (
        SELECT coalesce(json_agg(row_to_json(r) ORDER BY r.party_index), '[]') FROM (
          SELECT p.as_written, p.party_index, p.tel, p.sip, p.stir, p.mailto, p.name, p.did,
            p.validation, p.gmlpos, p.timezone, p.uuid, p.jcard, p.civicaddress, p.data_subject_id,
            p.metadata
          FROM parties p WHERE p.vcon_id IN (v.uuid, v.id)) AS r),
      'dialog', (
        SELECT coalesce(json_agg(row_to_json(r) ORDER BY r.dialog_index), '[]') FROM (
          SELECT d.as_written, d.dialog_index, d.type, d.start_time, d.duration_seconds, d.parties,
            d.originator, d.mediatype, d.filename, d.encoding, d.url, d.content_hash, d.disposition,
            d.session_id, d.application, d.message_id, d.transferee, d.transferor,
            d.transfer_target, d.original, d.consultation, d.target_dialog, d.size_bytes, d.metadata
          FROM dialog d WHERE d.vcon_id IN (v.uuid, v.id)) AS r),
      'analysis', (
        SELECT coalesce(json_agg(row_to_json(r) ORDER BY r.analysis_index), '[]') FROM (
          SELECT a.as_written, a.analysis_index, a.type, a.dialog_indices, a.mediatype, a.filename,
            a.vendor, a.product, a.schema, a.encoding, a.url, a.content_hash, a.created_at,
            a.confidence, a.metadata
          FROM analysis a WHERE a.vcon_id IN (v.uuid, v.id)) AS r),
      'attachments', (
        SELECT coalesce(json_agg(row_to_json(r) ORDER BY r.attachment_index), '[]') FROM (
          SELECT t.as_written, t.attachment_index, t.type, t.purpose, t.start_time, t.party,
            t.dialog, t.mimetype, t.filename, t.encoding, t.url, t.content_hash, t.size_bytes,
            t.metadata
          FROM attachments t WHERE t.vcon_id IN (v.uuid, v.id)) AS r));
    answers := answers || answer;
    bytes := bytes + octet_length(answer::text);
    EXIT WHEN bytes >= p_bytes;
  END LOOP;
  RETURN (SELECT json_build_object('episode', s.episode, 'off', s.off, 'now', s.now,
      'foreign', EXISTS (SELECT FROM pg_trigger
        WHERE tgrelid = 'dialog'::regclass AND tgname = 'aa_vcon_storage_fit'),
      'vcons', array_to_json(answers))
    FROM vcon_storage_cache_state_v1() s);
END
$$;

-- The newest migration that this schema has.
CREATE OR REPLACE FUNCTION vcon_storage_version_v1() RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  SET search_path FROM CURRENT
AS $$ SELECT '20261125140000' $$;

REVOKE ALL ON FUNCTION
  vcon_storage_many_v1(uuid[], boolean, integer, text),
  vcon_storage_walk_v1(uuid, integer, text),
  vcon_storage_columns_v1(uuid, integer, integer, text)
  FROM PUBLIC, anon, authenticated;
GRANT EXECUTE ON FUNCTION
  vcon_storage_many_v1(uuid[], boolean, integer, text),
  vcon_storage_walk_v1(uuid, integer, text),
  vcon_storage_columns_v1(uuid, integer, integer, text)
  TO service_role;

RESET search_path;
NOTIFY pgrst, 'reload schema';
