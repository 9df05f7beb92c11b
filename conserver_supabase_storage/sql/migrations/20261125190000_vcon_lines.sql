-- Saves that are sent as lines of text: Postgres finds their ends at once, where it has to read an object
-- of JSON from end to end to find its members.
--
-- Safe to run again. It goes into the schema "public"; for another one:
--   SET vcon_storage.schema = 'name';

DO $$
BEGIN
  PERFORM set_config('search_path', format('%I, pg_temp',
    coalesce(nullif(current_setting('vcon_storage.schema', true), ''), 'public')), false);
END
$$;

-- Writes vCons; what it takes and returns is told at vcon_storage_save_v2.
--
-- The ids of a new vCon's parts begin as its uuid does, so that they are neighbours in their index.
CREATE OR REPLACE FUNCTION vcon_storage_write_v1(
  p_vcons json, p_parties json, p_dialog json, p_analysis json, p_attachments json, p_tenant text,
  p_deadline double precision
) RETURNS json
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
  -- How many vCons there will be is not known when a plan is made: one for few or many, by index,
  -- and no planning at each call.
  SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off
  SET enable_hashjoin = off
  SET enable_mergejoin = off
AS $$
DECLARE
  given record;
  outcome text;
  outcomes text[] := '{}';
  revisions bigint[] := '{}';
  fresh uuid[] := '{}';
  rewriting uuid[] := '{}';
  touched uuid[] := '{}';
  all_fresh boolean := true;
  has_tenant boolean := p_tenant IS NOT NULL;
  new_episode boolean := false;
  inserted bigint;
BEGIN
  -- Says to the triggers that heed the edits of other programs that this is none, and to the one that
  -- notes what is to be indexed for search that it is done below.
  PERFORM set_config('vcon_storage.saving', 'yes', true),
    set_config('vcon_storage.notes', 'itself', true);

  -- One writer per vCon at a time, in the same order for all: what follows sees the last committed
  -- state, and revisions are taken in the order of commits.
  PERFORM pg_advisory_xact_lock(key)
    FROM (SELECT hashtextextended(v.uuid::text, 8615) AS key
      FROM json_to_recordset(p_vcons) AS v(uuid uuid) ORDER BY 1) AS keys;

  -- Edits of other programs that could not be noted in the rows.
  IF EXISTS (SELECT FROM vcon_edited) THEN
    WITH gone AS (
      DELETE FROM vcon_edited e
      WHERE e.uuid IN (SELECT v.uuid FROM json_to_recordset(p_vcons) AS v(uuid uuid))
      RETURNING e.uuid)
    UPDATE vcons SET digest = NULL WHERE uuid IN (SELECT g.uuid FROM gone g);
  END IF;

  FOR given IN
    SELECT v.uuid, v.digest, v.touch, to_timestamp(v.not_after) AS not_after,
      old.uuid AS found, old.digest AS old_digest, old.revision, old.saved_at, old.tenant_id
    FROM json_to_recordset(p_vcons)
        AS v(uuid uuid, digest text, not_after double precision, touch boolean)
      LEFT JOIN vcons old ON old.uuid = v.uuid
  LOOP
    IF p_tenant IS NOT NULL AND given.found IS NOT NULL
        AND p_tenant IS DISTINCT FROM given.tenant_id THEN
      outcome := 'refused';
    ELSIF given.not_after IS NOT NULL AND (given.saved_at > given.not_after OR EXISTS (
        SELECT FROM vcon_tombstones t WHERE t.uuid = given.uuid AND t.deleted_at > given.not_after))
    THEN
      outcome := 'left_out';
    ELSE
      outcome := 'saved';
      IF given.old_digest IS DISTINCT FROM given.digest THEN
        given.revision := nextval('vcon_revision');
        new_episode := new_episode OR (p_tenant IS NULL AND given.tenant_id IS NOT NULL);
        has_tenant := has_tenant OR given.tenant_id IS NOT NULL;
        IF given.found IS NULL THEN
          fresh := fresh || given.uuid;
        ELSE
          rewriting := rewriting || given.uuid;
        END IF;
      ELSIF given.touch THEN
        UPDATE vcons SET saved_at = clock_timestamp() WHERE uuid = given.uuid;
        touched := touched || given.uuid;
      END IF;
    END IF;
    all_fresh := all_fresh AND given.uuid = ANY (fresh);
    outcomes := outcomes || outcome;
    revisions := revisions || given.revision;
  END LOOP;

  IF new_episode THEN
    UPDATE vcon_cache_state SET episode = vcon_cache_state.episode + 1;
  END IF;
  IF fresh <> '{}' THEN
    INSERT INTO vcons (
      id, uuid, tenant_id, vcon_version, subject, created_at, updated_at, extensions, must_support,
      critical, redacted, appended, amended, group_data, as_written, revision, digest, saved_at)
    SELECT
      v.uuid, v.uuid, p_tenant, coalesce(r.vcon_version, ''), r.subject,
      coalesce(r.created_at, now()), coalesce(r.updated_at, now()), r.extensions, r.must_support,
      r.critical, r.redacted, r.appended, r.amended, r.group_data, r.as_written,
      revisions[v.place], v.digest, coalesce(to_timestamp(v.not_after), clock_timestamp())
    FROM ROWS FROM (json_to_recordset(p_vcons)
          AS (uuid uuid, digest text, not_after double precision, "row" json))
        WITH ORDINALITY AS v(uuid, digest, not_after, "row", place)
      CROSS JOIN json_populate_record(NULL::vcons, v."row") AS r
    WHERE all_fresh OR v.uuid = ANY (fresh)
    ON CONFLICT (uuid) DO NOTHING;
    GET DIAGNOSTICS inserted = ROW_COUNT;
    IF inserted < cardinality(fresh) THEN
      -- The caller tries again, and finds what is there now.
      RAISE serialization_failure USING MESSAGE = 'another program adds the vCon just now';
    END IF;
    -- Nobody else can add parts to vCons that are not committed yet, so none is there.
    IF p_parties IS NOT NULL THEN
      INSERT INTO parties (
        id, vcon_id, tenant_id, party_index, tel, sip, stir, mailto, name, did, validation, gmlpos,
        timezone, uuid, jcard, civicaddress, data_subject_id, metadata, as_written)
      SELECT
        encode(substr(uuid_send(r.vcon_id), 1, 8)
          || int8send(hashtextextended('parties' || r.vcon_id, r.party_index)), 'hex')::uuid,
        r.vcon_id, p_tenant,
        r.party_index, r.tel, r.sip, r.stir, r.mailto, r.name, r.did, r.validation, r.gmlpos,
        r.timezone, r.uuid, r.jcard, r.civicaddress, r.data_subject_id, r.metadata, r.as_written
      FROM json_populate_recordset(NULL::parties, p_parties) r
      WHERE all_fresh OR r.vcon_id = ANY (fresh);
    END IF;

    IF p_dialog IS NOT NULL THEN
      INSERT INTO dialog (
        id, vcon_id, tenant_id, dialog_index, type, start_time, duration_seconds, parties, originator,
        mediatype, filename, body, encoding, url, content_hash, disposition, session_id, application,
        message_id, transferee, transferor, transfer_target, original, consultation, target_dialog,
        size_bytes, metadata, as_written)
      SELECT
        encode(substr(uuid_send(r.vcon_id), 1, 8)
          || int8send(hashtextextended('dialog' || r.vcon_id, r.dialog_index)), 'hex')::uuid,
        r.vcon_id, p_tenant,
        r.dialog_index, r.type, r.start_time, r.duration_seconds, r.parties, r.originator,
        r.mediatype, r.filename, r.body, r.encoding, r.url, r.content_hash, r.disposition,
        r.session_id, r.application, r.message_id, r.transferee, r.transferor, r.transfer_target,
        r.original, r.consultation, r.target_dialog, r.size_bytes, r.metadata, r.as_written
      FROM json_populate_recordset(NULL::dialog, p_dialog) r
      WHERE all_fresh OR r.vcon_id = ANY (fresh);
    END IF;

    IF p_analysis IS NOT NULL THEN
      INSERT INTO analysis (
        id, vcon_id, tenant_id, analysis_index, type, dialog_indices, mediatype, filename, vendor,
        product, schema, body, encoding, url, content_hash, created_at, confidence, metadata,
        as_written)
      SELECT
        encode(substr(uuid_send(r.vcon_id), 1, 8)
          || int8send(hashtextextended('analysis' || r.vcon_id, r.analysis_index)), 'hex')::uuid,
        r.vcon_id, p_tenant,
        r.analysis_index, r.type, r.dialog_indices, r.mediatype, r.filename, coalesce(r.vendor, ''),
        r.product, r.schema, r.body, r.encoding, r.url, r.content_hash, r.created_at, r.confidence,
        r.metadata, r.as_written
      FROM json_populate_recordset(NULL::analysis, p_analysis) r
      WHERE all_fresh OR r.vcon_id = ANY (fresh);
    END IF;

    IF p_attachments IS NOT NULL THEN
      INSERT INTO attachments (
        id, vcon_id, tenant_id, attachment_index, type, purpose, start_time, party, dialog, mimetype,
        filename, body, encoding, url, content_hash, size_bytes, metadata, as_written)
      SELECT
        encode(substr(uuid_send(r.vcon_id), 1, 8)
          || int8send(hashtextextended('attachments' || r.vcon_id, r.attachment_index)), 'hex')::uuid,
        r.vcon_id, p_tenant,
        r.attachment_index, r.type, r.purpose, r.start_time, r.party, r.dialog, r.mimetype,
        r.filename, r.body, r.encoding, r.url, r.content_hash, r.size_bytes, r.metadata, r.as_written
      FROM json_populate_recordset(NULL::attachments, p_attachments) r
      WHERE all_fresh OR r.vcon_id = ANY (fresh);
    END IF;
  END IF;
  IF rewriting <> '{}' THEN
    PERFORM vcon_storage_rewrite_v1(rewriting, revisions, p_vcons, p_parties, p_dialog,
      p_analysis, p_attachments, p_tenant, has_tenant);
  END IF;

  INSERT INTO vcon_search_pending SELECT unnest(fresh || rewriting || touched);

  -- What triggers have put off to the end of the transaction is done in the caller's time as well.
  SET CONSTRAINTS ALL IMMEDIATE;
  PERFORM vcon_storage_in_time_v1(p_deadline);
  RETURN (SELECT json_build_object('episode', s.episode, 'off', s.off, 'now', s.now,
      'new_episode', new_episode, 'revisions', revisions, 'outcomes', outcomes)
    FROM vcon_storage_cache_state_v1() s);
END
$$;

-- As vcon_storage_save_v2, with one text: a line of JSON for each argument. The first has p_tenant and
-- p_deadline in an object; the others are p_vcons, p_parties, p_dialog, p_analysis and p_attachments,
-- and empty for null. (JSON writes the ends of lines within strings as escapes.)
CREATE OR REPLACE FUNCTION vcon_storage_save_v4(text) RETURNS json
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
AS $$
DECLARE
  lines text[] := string_to_array($1, E'\n', '');
  given record;
BEGIN
  SELECT a.* INTO given
    FROM json_to_record(lines[1]::json) AS a(p_tenant text, p_deadline double precision);
  RETURN vcon_storage_write_v1(lines[2]::json, lines[3]::json, lines[4]::json, lines[5]::json,
    lines[6]::json, given.p_tenant, given.p_deadline);
END
$$;

-- As before: as vcon_storage_save_v2, but with one argument that has no name, so that PostgREST passes
-- the request's body on as it came: an object with those arguments as its members.
CREATE OR REPLACE FUNCTION vcon_storage_save_v3(json) RETURNS json
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
AS $$
DECLARE
  given record;
BEGIN
  SELECT a.* INTO given
    FROM json_to_record($1) AS a(p_vcons json, p_parties json, p_dialog json, p_analysis json,
      p_attachments json, p_tenant text, p_deadline double precision);
  RETURN vcon_storage_write_v1(given.p_vcons, given.p_parties, given.p_dialog, given.p_analysis,
    given.p_attachments, given.p_tenant, given.p_deadline);
END
$$;

-- The newest migration that this schema has.
CREATE OR REPLACE FUNCTION vcon_storage_version_v1() RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  SET search_path FROM CURRENT
AS $$ SELECT '20261125190000' $$;

REVOKE ALL ON FUNCTION
  vcon_storage_write_v1(json, json, json, json, json, text, double precision),
  vcon_storage_save_v4(text)
  FROM PUBLIC, anon, authenticated;
GRANT EXECUTE ON FUNCTION
  vcon_storage_write_v1(json, json, json, json, json, text, double precision),
  vcon_storage_save_v4(text)
  TO service_role;

RESET search_path;
NOTIFY pgrst, 'reload schema';
