-- Faster functions: saves come in batches (a single save is a batch of one) and every plan is kept.
--
-- The functions of the migration before stay as they are, for processes that still call them.

DO $$
BEGIN
  PERFORM set_config('search_path', format('%I, pg_temp',
    coalesce(nullif(current_setting('vcon_storage.schema', true), ''), 'public')), false);
END
$$;

CREATE OR REPLACE FUNCTION vcon_storage_version_v1() RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  SET search_path FROM CURRENT
AS $$ SELECT '20261124100000' $$;

-- The functions below are in PL/pgSQL, also where SQL would do: a session plans their statements
-- once, those of an SQL function at every call.

-- As before, with a plan that is kept.
CREATE OR REPLACE FUNCTION vcon_storage_cache_state_v1(
  OUT episode bigint, OUT off boolean, OUT now double precision
)
  LANGUAGE plpgsql STABLE
  SET search_path FROM CURRENT
AS $$
BEGIN
  -- now() is the transaction's beginning: a doubt counts a little longer than it has to.
  SELECT s.episode, EXISTS (SELECT FROM vcon_cache_doubts d WHERE d.until > pg_catalog.now()),
      extract(epoch FROM clock_timestamp())
    INTO episode, off, now
    FROM vcon_cache_state s;
END
$$;

-- Saves vCons, all or none: their headers and their parts' rows, as the package's rows/ makes them.
-- Parts that are no longer there go, rows that are the same stay untouched, and a vCon that is the
-- same as a whole (digest) is no change at all.
--
-- p_vcons: for each vCon, each once, an object with
--   uuid, digest;
--   row: the row of vcons;
--   parties, dialog, analysis, attachments: how many of them it has;
--   not_after (seconds since 1970): it was spooled at that time, and is left out where the vCon was
--     saved or deleted later;
--   touch: it counts as a change even where nothing differs, so that what was spooled earlier is
--     left out.
-- p_parties, p_dialog, p_analysis, p_attachments: the rows of all of them, with their vcon_id.
-- p_tenant: whose vCons they are; one that is another tenant's is refused. Null: a tenant's vCon
--   stays the tenant's, whose caches learn of it by a new episode.
-- p_deadline: see vcon_storage_in_time_v1.
--
-- Returns the cache's state, whether there is a new episode, and for each vCon, in the same order,
-- its revision and what became of it: saved, left_out, or refused.
CREATE OR REPLACE FUNCTION vcon_storage_save_v2(
  p_vcons json, p_parties json DEFAULT NULL, p_dialog json DEFAULT NULL,
  p_analysis json DEFAULT NULL, p_attachments json DEFAULT NULL,
  p_tenant text DEFAULT NULL, p_deadline double precision DEFAULT NULL
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
  writing uuid[] := '{}';
  rewriting uuid[] := '{}';
  all_written boolean := true;
  has_tenant boolean := p_tenant IS NOT NULL;
  new_episode boolean := false;
BEGIN
  -- Says to the triggers that heed the edits of other programs that this is none.
  PERFORM set_config('vcon_storage.saving', 'yes', true);

  -- One writer per vCon at a time, in the same order for all: what follows sees the last committed
  -- state, and revisions are taken in the order of commits.
  PERFORM pg_advisory_xact_lock(key)
    FROM (SELECT hashtextextended(uuid::text, 8615) AS key
      FROM json_to_recordset(p_vcons) AS v(uuid uuid) ORDER BY 1) AS keys;

  -- Edits of other programs that could not be noted in the rows (the next migration has the table).
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
        writing := writing || given.uuid;
        IF given.found IS NOT NULL THEN
          rewriting := rewriting || given.uuid;
        END IF;
      ELSIF given.touch THEN
        UPDATE vcons SET saved_at = clock_timestamp() WHERE uuid = given.uuid;
      END IF;
    END IF;
    all_written := all_written AND given.uuid = ANY (writing);
    outcomes := outcomes || outcome;
    revisions := revisions || given.revision;
  END LOOP;

  IF new_episode THEN
    UPDATE vcon_cache_state SET episode = vcon_cache_state.episode + 1;
  END IF;
  IF writing <> '{}' THEN
    INSERT INTO vcons AS old (
      id, uuid, tenant_id, vcon_version, subject, created_at, updated_at, extensions, must_support,
      critical, redacted, appended, amended, group_data, as_written, revision, digest, saved_at)
    SELECT
      v.uuid, v.uuid, coalesce(p_tenant, old.tenant_id), coalesce(r.vcon_version, ''), r.subject,
      -- A vCon that names no time of creation keeps the one of its first save.
      coalesce(r.created_at,
        CASE WHEN r.as_written ->> 'created_at' IS NULL THEN old.created_at END, now()),
      coalesce(r.updated_at, now()), r.extensions, r.must_support,
      r.critical, r.redacted, r.appended, r.amended, r.group_data, r.as_written,
      revisions[v.place], v.digest,
      -- A spooled save counts as of when it was made: one spooled after it must still win.
      coalesce(to_timestamp(v.not_after), clock_timestamp())
    FROM ROWS FROM (json_to_recordset(p_vcons)
          AS (uuid uuid, digest text, not_after double precision, "row" json))
        WITH ORDINALITY AS v(uuid, digest, not_after, "row", place)
      CROSS JOIN json_populate_record(NULL::vcons, v."row") AS r
      LEFT JOIN vcons old ON old.uuid = v.uuid
    WHERE v.uuid = ANY (writing)
    ON CONFLICT (uuid) DO UPDATE SET
      vcon_version = excluded.vcon_version, subject = excluded.subject,
      created_at = excluded.created_at, updated_at = excluded.updated_at,
      extensions = excluded.extensions, must_support = excluded.must_support,
      critical = excluded.critical, redacted = excluded.redacted, appended = excluded.appended,
      amended = excluded.amended, group_data = excluded.group_data,
      as_written = excluded.as_written, revision = excluded.revision, digest = excluded.digest,
      saved_at = excluded.saved_at;
    IF p_parties IS NOT NULL THEN
      INSERT INTO parties AS old (
        vcon_id, tenant_id, party_index, tel, sip, stir, mailto, name, did, validation, gmlpos,
        timezone, uuid, jcard, civicaddress, data_subject_id, metadata, as_written)
      SELECT
        r.vcon_id,
        CASE WHEN has_tenant THEN (SELECT v.tenant_id FROM vcons v WHERE v.uuid = r.vcon_id) END,
        r.party_index, r.tel, r.sip, r.stir, r.mailto, r.name, r.did, r.validation, r.gmlpos,
        r.timezone, r.uuid, r.jcard, r.civicaddress, r.data_subject_id, r.metadata, r.as_written
      FROM json_populate_recordset(NULL::parties, p_parties) r
      WHERE all_written OR r.vcon_id = ANY (writing)
      ON CONFLICT (vcon_id, party_index) DO UPDATE SET
        tel = excluded.tel, sip = excluded.sip, stir = excluded.stir, mailto = excluded.mailto,
        name = excluded.name, did = excluded.did, validation = excluded.validation,
        gmlpos = excluded.gmlpos, timezone = excluded.timezone, uuid = excluded.uuid,
        jcard = excluded.jcard, civicaddress = excluded.civicaddress,
        data_subject_id = excluded.data_subject_id, metadata = excluded.metadata,
        as_written = excluded.as_written
      WHERE (
        old.tel, old.sip, old.stir, old.mailto, old.name, old.did, old.validation, old.gmlpos,
        old.timezone, old.uuid, old.jcard, old.civicaddress, old.data_subject_id, old.metadata,
        old.as_written::text
      ) IS DISTINCT FROM (
        excluded.tel, excluded.sip, excluded.stir, excluded.mailto, excluded.name, excluded.did,
        excluded.validation, excluded.gmlpos, excluded.timezone, excluded.uuid, excluded.jcard,
        excluded.civicaddress, excluded.data_subject_id, excluded.metadata, excluded.as_written::text);
    END IF;

    IF p_dialog IS NOT NULL THEN
      INSERT INTO dialog AS old (
        vcon_id, tenant_id, dialog_index, type, start_time, duration_seconds, parties, originator,
        mediatype, filename, body, encoding, url, content_hash, disposition, session_id, application,
        message_id, transferee, transferor, transfer_target, original, consultation, target_dialog,
        size_bytes, metadata, as_written)
      SELECT
        r.vcon_id,
        CASE WHEN has_tenant THEN (SELECT v.tenant_id FROM vcons v WHERE v.uuid = r.vcon_id) END,
        r.dialog_index, r.type, r.start_time, r.duration_seconds, r.parties, r.originator,
        r.mediatype, r.filename, r.body, r.encoding, r.url, r.content_hash, r.disposition,
        r.session_id, r.application, r.message_id, r.transferee, r.transferor, r.transfer_target,
        r.original, r.consultation, r.target_dialog, r.size_bytes, r.metadata, r.as_written
      FROM json_populate_recordset(NULL::dialog, p_dialog) r
      WHERE all_written OR r.vcon_id = ANY (writing)
      ON CONFLICT (vcon_id, dialog_index) DO UPDATE SET
        type = excluded.type, start_time = excluded.start_time,
        duration_seconds = excluded.duration_seconds, parties = excluded.parties,
        originator = excluded.originator, mediatype = excluded.mediatype,
        filename = excluded.filename, body = excluded.body, encoding = excluded.encoding,
        url = excluded.url, content_hash = excluded.content_hash, disposition = excluded.disposition,
        session_id = excluded.session_id, application = excluded.application,
        message_id = excluded.message_id, transferee = excluded.transferee,
        transferor = excluded.transferor, transfer_target = excluded.transfer_target,
        original = excluded.original, consultation = excluded.consultation,
        target_dialog = excluded.target_dialog, size_bytes = excluded.size_bytes,
        metadata = excluded.metadata, as_written = excluded.as_written
      WHERE (
        old.type, old.start_time, old.duration_seconds, old.parties, old.originator, old.mediatype,
        old.filename, old.body, old.encoding, old.url, old.content_hash, old.disposition,
        old.session_id, old.application, old.message_id, old.transferee, old.transferor,
        old.transfer_target, old.original, old.consultation, old.target_dialog, old.size_bytes,
        old.metadata, old.as_written::text
      ) IS DISTINCT FROM (
        excluded.type, excluded.start_time, excluded.duration_seconds, excluded.parties,
        excluded.originator, excluded.mediatype, excluded.filename, excluded.body, excluded.encoding,
        excluded.url, excluded.content_hash, excluded.disposition, excluded.session_id,
        excluded.application, excluded.message_id, excluded.transferee, excluded.transferor,
        excluded.transfer_target, excluded.original, excluded.consultation, excluded.target_dialog,
        excluded.size_bytes, excluded.metadata, excluded.as_written::text);
    END IF;

    IF p_analysis IS NOT NULL THEN
      INSERT INTO analysis AS old (
        vcon_id, tenant_id, analysis_index, type, dialog_indices, mediatype, filename, vendor,
        product, schema, body, encoding, url, content_hash, created_at, confidence, metadata,
        as_written)
      SELECT
        r.vcon_id,
        CASE WHEN has_tenant THEN (SELECT v.tenant_id FROM vcons v WHERE v.uuid = r.vcon_id) END,
        r.analysis_index, r.type, r.dialog_indices, r.mediatype, r.filename, coalesce(r.vendor, ''),
        r.product, r.schema, r.body, r.encoding, r.url, r.content_hash, r.created_at, r.confidence,
        r.metadata, r.as_written
      FROM json_populate_recordset(NULL::analysis, p_analysis) r
      WHERE all_written OR r.vcon_id = ANY (writing)
      ON CONFLICT (vcon_id, analysis_index) DO UPDATE SET
        type = excluded.type, dialog_indices = excluded.dialog_indices,
        mediatype = excluded.mediatype, filename = excluded.filename, vendor = excluded.vendor,
        product = excluded.product, schema = excluded.schema, body = excluded.body,
        encoding = excluded.encoding, url = excluded.url, content_hash = excluded.content_hash,
        created_at = excluded.created_at, confidence = excluded.confidence,
        metadata = excluded.metadata, as_written = excluded.as_written
      WHERE (
        old.type, old.dialog_indices, old.mediatype, old.filename, old.vendor, old.product,
        old.schema, old.body, old.encoding, old.url, old.content_hash, old.created_at, old.confidence,
        old.metadata, old.as_written::text
      ) IS DISTINCT FROM (
        excluded.type, excluded.dialog_indices, excluded.mediatype, excluded.filename,
        excluded.vendor, excluded.product, excluded.schema, excluded.body, excluded.encoding,
        excluded.url, excluded.content_hash, excluded.created_at, excluded.confidence,
        excluded.metadata, excluded.as_written::text);
    END IF;

    IF p_attachments IS NOT NULL THEN
      INSERT INTO attachments AS old (
        vcon_id, tenant_id, attachment_index, type, purpose, start_time, party, dialog, mimetype,
        filename, body, encoding, url, content_hash, size_bytes, metadata, as_written)
      SELECT
        r.vcon_id,
        CASE WHEN has_tenant THEN (SELECT v.tenant_id FROM vcons v WHERE v.uuid = r.vcon_id) END,
        r.attachment_index, r.type, r.purpose, r.start_time, r.party, r.dialog, r.mimetype,
        r.filename, r.body, r.encoding, r.url, r.content_hash, r.size_bytes, r.metadata, r.as_written
      FROM json_populate_recordset(NULL::attachments, p_attachments) r
      WHERE all_written OR r.vcon_id = ANY (writing)
      ON CONFLICT (vcon_id, attachment_index) DO UPDATE SET
        type = excluded.type, purpose = excluded.purpose, start_time = excluded.start_time,
        party = excluded.party, dialog = excluded.dialog, mimetype = excluded.mimetype,
        filename = excluded.filename, body = excluded.body, encoding = excluded.encoding,
        url = excluded.url, content_hash = excluded.content_hash, size_bytes = excluded.size_bytes,
        metadata = excluded.metadata, as_written = excluded.as_written
      WHERE (
        old.type, old.purpose, old.start_time, old.party, old.dialog, old.mimetype, old.filename,
        old.body, old.encoding, old.url, old.content_hash, old.size_bytes, old.metadata,
        old.as_written::text
      ) IS DISTINCT FROM (
        excluded.type, excluded.purpose, excluded.start_time, excluded.party, excluded.dialog,
        excluded.mimetype, excluded.filename, excluded.body, excluded.encoding, excluded.url,
        excluded.content_hash, excluded.size_bytes, excluded.metadata, excluded.as_written::text);
    END IF;
  END IF;
  IF rewriting <> '{}' THEN
    FOR given IN
      SELECT v.* FROM json_to_recordset(p_vcons)
        AS v(uuid uuid, parties int, dialog int, analysis int, attachments int)
      WHERE v.uuid = ANY (rewriting)
    LOOP
      DELETE FROM parties WHERE vcon_id = given.uuid AND party_index >= given.parties;
      DELETE FROM dialog WHERE vcon_id = given.uuid AND dialog_index >= given.dialog;
      DELETE FROM analysis WHERE vcon_id = given.uuid AND analysis_index >= given.analysis;
      DELETE FROM attachments WHERE vcon_id = given.uuid AND attachment_index >= given.attachments;
    END LOOP;
  END IF;

  -- What triggers have put off to the end of the transaction is done in the caller's time as well.
  SET CONSTRAINTS ALL IMMEDIATE;
  PERFORM vcon_storage_in_time_v1(p_deadline);
  RETURN (SELECT json_build_object('episode', s.episode, 'off', s.off, 'now', s.now,
      'new_episode', new_episode, 'revisions', revisions, 'outcomes', outcomes)
    FROM vcon_storage_cache_state_v1() s);
END
$$;

-- A vCon's header and rows as one JSON object; the package's rows/ makes the document from it.
-- A row is [as_written, body]; one that another program wrote is an object of its columns. Where an
-- older one named vCons by an id that is not the uuid, their parts are found by that.
CREATE OR REPLACE FUNCTION vcon_storage_rows_v2(v vcons) RETURNS json
  LANGUAGE plpgsql STABLE
  SET search_path FROM CURRENT
AS $$
BEGIN
  RETURN json_build_object(
    'vcon', v.as_written,
    'columns', CASE WHEN v.as_written IS NULL THEN to_json(v) END,
    'parties', (
      SELECT coalesce(json_agg(CASE WHEN p.as_written IS NULL THEN to_json(p)
        ELSE json_build_array(p.as_written, NULL) END ORDER BY p.party_index), '[]')
      FROM parties p WHERE p.vcon_id IN (v.uuid, v.id)),
    'dialog', (
      SELECT coalesce(json_agg(CASE WHEN d.as_written IS NULL
        THEN vcon_storage_dialog_columns_v1(d)
        ELSE json_build_array(d.as_written, d.body) END ORDER BY d.dialog_index), '[]')
      FROM dialog d WHERE d.vcon_id IN (v.uuid, v.id)),
    'analysis', (
      SELECT coalesce(json_agg(CASE WHEN a.as_written IS NULL THEN to_json(a)
        ELSE json_build_array(a.as_written, a.body) END ORDER BY a.analysis_index), '[]')
      FROM analysis a WHERE a.vcon_id IN (v.uuid, v.id)),
    'attachments', (
      SELECT coalesce(json_agg(CASE WHEN t.as_written IS NULL THEN to_json(t)
        ELSE json_build_array(t.as_written, t.body) END ORDER BY t.attachment_index), '[]')
      FROM attachments t WHERE t.vcon_id IN (v.uuid, v.id)));
END
$$;

-- As vcon_storage_get_v1. A vCon with an edit that could not be noted in its row has no revision.
CREATE OR REPLACE FUNCTION vcon_storage_get_v2(
  p_uuid uuid, p_known bigint DEFAULT NULL, p_tenant text DEFAULT NULL
) RETURNS json
  LANGUAGE plpgsql STABLE
  SET search_path FROM CURRENT
AS $$
BEGIN
  RETURN (
    SELECT json_build_object(
      'episode', s.episode, 'off', s.off, 'now', s.now,
      'revision', r.revision,
      'changed_at', extract(epoch FROM coalesce(v.saved_at,
        (SELECT t.deleted_at FROM vcon_tombstones t WHERE t.uuid = p_uuid))),
      'rows', CASE WHEN v.uuid IS NOT NULL AND (p_known IS NULL
        OR r.revision IS DISTINCT FROM p_known) THEN vcon_storage_rows_v2(v) END)
    FROM vcon_storage_cache_state_v1() s LEFT JOIN vcons v
      ON v.uuid = p_uuid AND (p_tenant IS NULL OR v.tenant_id = p_tenant)
    CROSS JOIN LATERAL (SELECT CASE WHEN v.tenant_id IS NOT DISTINCT FROM p_tenant
      AND NOT EXISTS (SELECT FROM vcon_edited e WHERE e.uuid = p_uuid) THEN v.revision END
    ) AS r (revision));
END
$$;

REVOKE ALL ON FUNCTION
  vcon_storage_save_v2(json, json, json, json, json, text, double precision),
  vcon_storage_rows_v2(vcons), vcon_storage_get_v2(uuid, bigint, text)
  FROM PUBLIC, anon, authenticated;
GRANT EXECUTE ON FUNCTION
  vcon_storage_save_v2(json, json, json, json, json, text, double precision),
  vcon_storage_rows_v2(vcons), vcon_storage_get_v2(uuid, bigint, text)
  TO service_role;

RESET search_path;
NOTIFY pgrst, 'reload schema';
