-- Faster saves: a new vCon's rows are plain inserts, PostgREST hands a request over unparsed, and what
-- search has to index is noted by the save itself.
--
-- The functions of the migrations before stay as they are, for processes that still call them.
-- Safe to run again. It goes into the schema "public"; for another one:
--   SET vcon_storage.schema = 'name';

DO $$
BEGIN
  PERFORM set_config('search_path', format('%I, pg_temp',
    coalesce(nullif(current_setting('vcon_storage.schema', true), ''), 'public')), false);
END
$$;

-- Part of vcon_storage_save_v3: writes vCons that are there already (p_rewriting). Their rows that
-- are the same stay untouched, and parts that are no longer there go. p_revisions are in the order of
-- p_vcons.
CREATE OR REPLACE FUNCTION vcon_storage_rewrite_v1(
  p_rewriting uuid[], p_revisions bigint[], p_vcons json, p_parties json, p_dialog json,
  p_analysis json, p_attachments json, p_tenant text, p_has_tenant boolean
) RETURNS void
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
  SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off
  SET enable_hashjoin = off
  SET enable_mergejoin = off
AS $$
DECLARE
  given record;
BEGIN
  UPDATE vcons AS old SET
    tenant_id = coalesce(p_tenant, old.tenant_id), vcon_version = coalesce(r.vcon_version, ''),
    subject = r.subject,
    -- A vCon that names no time of creation keeps the one of its first save.
    created_at = coalesce(r.created_at,
      CASE WHEN r.as_written ->> 'created_at' IS NULL THEN old.created_at END, now()),
    updated_at = coalesce(r.updated_at, now()), extensions = r.extensions,
    must_support = r.must_support, critical = r.critical, redacted = r.redacted,
    appended = r.appended, amended = r.amended, group_data = r.group_data,
    as_written = r.as_written, revision = p_revisions[v.place], digest = v.digest,
    -- A spooled save counts as of when it was made: one spooled after it must still win.
    saved_at = coalesce(to_timestamp(v.not_after), clock_timestamp())
  FROM ROWS FROM (json_to_recordset(p_vcons)
        AS (uuid uuid, digest text, not_after double precision, "row" json))
      WITH ORDINALITY AS v(uuid, digest, not_after, "row", place)
    CROSS JOIN json_populate_record(NULL::vcons, v."row") AS r
  WHERE old.uuid = v.uuid AND v.uuid = ANY (p_rewriting);

  IF p_parties IS NOT NULL THEN
    INSERT INTO parties AS old (
      vcon_id, tenant_id, party_index, tel, sip, stir, mailto, name, did, validation, gmlpos,
      timezone, uuid, jcard, civicaddress, data_subject_id, metadata, as_written)
    SELECT
      r.vcon_id,
      CASE WHEN p_has_tenant THEN (SELECT v.tenant_id FROM vcons v WHERE v.uuid = r.vcon_id) END,
      r.party_index, r.tel, r.sip, r.stir, r.mailto, r.name, r.did, r.validation, r.gmlpos,
      r.timezone, r.uuid, r.jcard, r.civicaddress, r.data_subject_id, r.metadata, r.as_written
    FROM json_populate_recordset(NULL::parties, p_parties) r
    WHERE r.vcon_id = ANY (p_rewriting)
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
      CASE WHEN p_has_tenant THEN (SELECT v.tenant_id FROM vcons v WHERE v.uuid = r.vcon_id) END,
      r.dialog_index, r.type, r.start_time, r.duration_seconds, r.parties, r.originator,
      r.mediatype, r.filename, r.body, r.encoding, r.url, r.content_hash, r.disposition,
      r.session_id, r.application, r.message_id, r.transferee, r.transferor, r.transfer_target,
      r.original, r.consultation, r.target_dialog, r.size_bytes, r.metadata, r.as_written
    FROM json_populate_recordset(NULL::dialog, p_dialog) r
    WHERE r.vcon_id = ANY (p_rewriting)
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
      CASE WHEN p_has_tenant THEN (SELECT v.tenant_id FROM vcons v WHERE v.uuid = r.vcon_id) END,
      r.analysis_index, r.type, r.dialog_indices, r.mediatype, r.filename, coalesce(r.vendor, ''),
      r.product, r.schema, r.body, r.encoding, r.url, r.content_hash, r.created_at, r.confidence,
      r.metadata, r.as_written
    FROM json_populate_recordset(NULL::analysis, p_analysis) r
    WHERE r.vcon_id = ANY (p_rewriting)
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
      CASE WHEN p_has_tenant THEN (SELECT v.tenant_id FROM vcons v WHERE v.uuid = r.vcon_id) END,
      r.attachment_index, r.type, r.purpose, r.start_time, r.party, r.dialog, r.mimetype,
      r.filename, r.body, r.encoding, r.url, r.content_hash, r.size_bytes, r.metadata, r.as_written
    FROM json_populate_recordset(NULL::attachments, p_attachments) r
    WHERE r.vcon_id = ANY (p_rewriting)
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

  FOR given IN
    SELECT v.* FROM json_to_recordset(p_vcons)
      AS v(uuid uuid, parties int, dialog int, analysis int, attachments int)
    WHERE v.uuid = ANY (p_rewriting)
  LOOP
    DELETE FROM parties WHERE vcon_id = given.uuid AND party_index >= given.parties;
    DELETE FROM dialog WHERE vcon_id = given.uuid AND dialog_index >= given.dialog;
    DELETE FROM analysis WHERE vcon_id = given.uuid AND analysis_index >= given.analysis;
    DELETE FROM attachments WHERE vcon_id = given.uuid AND attachment_index >= given.attachments;
  END LOOP;
END
$$;

-- As vcon_storage_save_v2, but with one argument that has no name, so that PostgREST passes the
-- request's body on as it came: an object with those arguments as its members.
--
-- The ids of a new vCon's parts begin as its uuid does, so that they are neighbours in their index.
CREATE OR REPLACE FUNCTION vcon_storage_save_v3(json) RETURNS json
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
  p_vcons json;
  p_parties json;
  p_dialog json;
  p_analysis json;
  p_attachments json;
  p_tenant text;
  p_deadline double precision;
  given record;
  outcome text;
  outcomes text[] := '{}';
  revisions bigint[] := '{}';
  fresh uuid[] := '{}';
  rewriting uuid[] := '{}';
  touched uuid[] := '{}';
  all_fresh boolean := true;
  has_tenant boolean;
  new_episode boolean := false;
  inserted bigint;
BEGIN
  SELECT a.* INTO p_vcons, p_parties, p_dialog, p_analysis, p_attachments, p_tenant, p_deadline
    FROM json_to_record($1) AS a(p_vcons json, p_parties json, p_dialog json, p_analysis json,
      p_attachments json, p_tenant text, p_deadline double precision);
  has_tenant := p_tenant IS NOT NULL;

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

-- Notes a vCon that was written by anything but vcon_storage_save_v3, which does it itself.
CREATE OR REPLACE TRIGGER vcon_storage_pending AFTER INSERT OR UPDATE ON vcons
  FOR EACH ROW
  WHEN (current_setting('vcon_storage.notes', true) IS DISTINCT FROM 'itself')
  EXECUTE FUNCTION vcon_storage_pending_v1();

-- The newest migration that this schema has.
CREATE OR REPLACE FUNCTION vcon_storage_version_v1() RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  SET search_path FROM CURRENT
AS $$ SELECT '20261125110000' $$;

REVOKE ALL ON FUNCTION
  vcon_storage_save_v3(json),
  vcon_storage_rewrite_v1(uuid[], bigint[], json, json, json, json, json, text, boolean)
  FROM PUBLIC, anon, authenticated;
GRANT EXECUTE ON FUNCTION
  vcon_storage_save_v3(json),
  vcon_storage_rewrite_v1(uuid[], bigint[], json, json, json, json, json, text, boolean)
  TO service_role;

RESET search_path;
NOTIFY pgrst, 'reload schema';
