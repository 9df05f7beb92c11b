-- Reading a vCon, with fewer copies of large bodies made on the way.
--
-- Safe to run again. It goes into the schema "public"; for another one:
--   SET vcon_storage.schema = 'name';

DO $$
BEGIN
  PERFORM set_config('search_path', format('%I, pg_temp',
    coalesce(nullif(current_setting('vcon_storage.schema', true), ''), 'public')), false);
END
$$;

-- As vcon_storage_get_v2, but for four things, since a body can be large. Each json value within another
-- one is written out and copied once more.
-- - The tables' rows are members of the answer itself, after its others. They are left out where there is
--   no such vCon, or its revision is p_known.
-- - Bodies of more than a million bytes are not in the rows, which have true in their place, but in lists
--   of their own: that of dialog is "dialog_large", in the order of the rows, or null.
-- - The state has a statement of its own, and no parts are looked for where it is all that is asked. Both
--   statements see the same: a stable function has the snapshot of its caller.
-- - Rows are put in order before they are turned into json. An aggregate's own ORDER BY would sort
--   whole rows here, with their bodies fetched already, and out on disk.
CREATE OR REPLACE FUNCTION vcon_storage_get_v3(
  p_uuid uuid, p_known bigint DEFAULT NULL, p_tenant text DEFAULT NULL
) RETURNS json
  LANGUAGE plpgsql STABLE
  SET search_path FROM CURRENT
AS $$
DECLARE
  state record;
BEGIN
  SELECT s.*, r.revision, v.uuid IS NULL OR r.revision = p_known AS is_all,
      extract(epoch FROM coalesce(v.saved_at,
        (SELECT t.deleted_at FROM vcon_tombstones t WHERE t.uuid = p_uuid))) AS changed_at
    INTO state
    FROM vcon_storage_cache_state_v1() s LEFT JOIN vcons v
      ON v.uuid = p_uuid AND (p_tenant IS NULL OR v.tenant_id = p_tenant)
    CROSS JOIN LATERAL (SELECT CASE WHEN v.tenant_id IS NOT DISTINCT FROM p_tenant
      AND NOT EXISTS (SELECT FROM vcon_edited e WHERE e.uuid = p_uuid) THEN v.revision END
    ) AS r (revision);
  IF state.is_all THEN
    RETURN json_build_object('episode', state.episode, 'off', state.off, 'now', state.now,
      'revision', state.revision, 'changed_at', state.changed_at);
  END IF;
  RETURN (
    SELECT json_build_object('episode', state.episode, 'off', state.off, 'now', state.now,
      'revision', state.revision, 'changed_at', state.changed_at,
      'vcon', v.as_written,
      'columns', CASE WHEN v.as_written IS NULL THEN to_json(v) END,
      'parties', coalesce(parties.rows, '[]'),
      'dialog', coalesce(dialog.rows, '[]'), 'dialog_large', dialog.large,
      'analysis', coalesce(analysis.rows, '[]'), 'analysis_large', analysis.large,
      'attachments', coalesce(attachments.rows, '[]'), 'attachments_large', attachments.large)
    FROM vcons v
    CROSS JOIN LATERAL (
      SELECT json_agg(CASE WHEN p.as_written IS NULL
        THEN to_json(p) ELSE json_build_array(p.as_written, NULL) END)
      FROM (
        SELECT * FROM parties WHERE vcon_id IN (v.uuid, v.id) ORDER BY party_index
      ) AS p
    ) AS parties (rows)
    CROSS JOIN LATERAL (
      SELECT json_agg(CASE
          WHEN d.as_written IS NULL THEN vcon_storage_dialog_columns_v1(ROW(d.*)::dialog)
          WHEN octet_length(d.body) > 1000000 THEN json_build_array(d.as_written, true)
          ELSE json_build_array(d.as_written, d.body) END),
        json_agg(d.body) FILTER (
          WHERE d.as_written IS NOT NULL AND octet_length(d.body) > 1000000)
      FROM (
        SELECT * FROM dialog WHERE vcon_id IN (v.uuid, v.id) ORDER BY dialog_index
      ) AS d
    ) AS dialog (rows, large)
    CROSS JOIN LATERAL (
      SELECT json_agg(CASE
          WHEN a.as_written IS NULL THEN to_json(a)
          WHEN octet_length(a.body) > 1000000 THEN json_build_array(a.as_written, true)
          ELSE json_build_array(a.as_written, a.body) END),
        json_agg(a.body) FILTER (
          WHERE a.as_written IS NOT NULL AND octet_length(a.body) > 1000000)
      FROM (
        SELECT * FROM analysis WHERE vcon_id IN (v.uuid, v.id) ORDER BY analysis_index
      ) AS a
    ) AS analysis (rows, large)
    CROSS JOIN LATERAL (
      SELECT json_agg(CASE
          WHEN t.as_written IS NULL THEN to_json(t)
          WHEN octet_length(t.body) > 1000000 THEN json_build_array(t.as_written, true)
          ELSE json_build_array(t.as_written, t.body) END),
        json_agg(t.body) FILTER (
          WHERE t.as_written IS NOT NULL AND octet_length(t.body) > 1000000)
      FROM (
        SELECT * FROM attachments WHERE vcon_id IN (v.uuid, v.id) ORDER BY attachment_index
      ) AS t
    ) AS attachments (rows, large)
    WHERE v.uuid = p_uuid);
END
$$;

-- The newest migration that this schema has.
CREATE OR REPLACE FUNCTION vcon_storage_version_v1() RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  SET search_path FROM CURRENT
AS $$ SELECT '20261125170000' $$;

REVOKE ALL ON FUNCTION vcon_storage_get_v3(uuid, bigint, text) FROM PUBLIC, anon, authenticated;
GRANT EXECUTE ON FUNCTION vcon_storage_get_v3(uuid, bigint, text) TO service_role;

RESET search_path;
NOTIFY pgrst, 'reload schema';
