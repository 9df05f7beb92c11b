-- What the migrations make of an empty Supabase database, for reading. Kept in step by a test; the
-- migrations themselves are in conserver_supabase_storage/sql/migrations.
CREATE SCHEMA public;

COMMENT ON SCHEMA public IS 'standard public schema';

CREATE FUNCTION public.vcon_storage_cache_state_v1(OUT episode bigint, OUT off boolean, OUT now double precision) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  -- now() is the transaction's beginning: a doubt counts a little longer than it has to.
  SELECT s.episode, EXISTS (SELECT FROM vcon_cache_doubts d WHERE d.until > pg_catalog.now()),
      extract(epoch FROM clock_timestamp())
    INTO episode, off, now
    FROM vcon_cache_state s;
END
$$;

CREATE FUNCTION public.vcon_storage_delete_v1(p_uuid uuid, p_tenant text DEFAULT NULL::text, p_touch boolean DEFAULT false, p_deadline double precision DEFAULT NULL::double precision) RETURNS json
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
  was_there boolean;
  new_episode boolean;
BEGIN
  PERFORM vcon_storage_lock_v1(p_uuid);
  new_episode := p_tenant IS NULL AND EXISTS (
    SELECT FROM vcons WHERE uuid = p_uuid AND tenant_id IS NOT NULL);
  IF new_episode THEN
    UPDATE vcon_cache_state SET episode = vcon_cache_state.episode + 1;
  END IF;
  DELETE FROM vcons WHERE uuid = p_uuid AND (p_tenant IS NULL OR tenant_id = p_tenant);
  was_there := FOUND;
  IF was_there OR p_touch THEN
    INSERT INTO vcon_tombstones VALUES (p_uuid, clock_timestamp())
      ON CONFLICT (uuid) DO UPDATE SET deleted_at = excluded.deleted_at;
    -- They matter for as long as a spooled save may wait; once in a while the old ones go.
    IF random() < 0.001 THEN
      DELETE FROM vcon_tombstones WHERE deleted_at < now() - interval '90 days';
    END IF;
  END IF;
  PERFORM vcon_storage_in_time_v1(p_deadline);
  RETURN (SELECT json_build_object('deleted', was_there, 'new_episode', new_episode, 'revision', nextval('vcon_revision'),
    'episode', s.episode, 'off', s.off, 'now', s.now) FROM vcon_storage_cache_state_v1() s);
END
$$;

CREATE FUNCTION public.vcon_storage_doubt_v1(p_writer uuid, p_seconds double precision, p_deadline double precision DEFAULT NULL::double precision) RETURNS json
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  IF p_seconds > 0 THEN
    UPDATE vcon_cache_state SET episode = vcon_cache_state.episode + 1;
    INSERT INTO vcon_cache_doubts VALUES (p_writer, now() + make_interval(secs => p_seconds))
      ON CONFLICT (writer) DO UPDATE SET until = greatest(vcon_cache_doubts.until, excluded.until);
    DELETE FROM vcon_cache_doubts WHERE until < now() - interval '1 day';
  ELSE
    DELETE FROM vcon_cache_doubts WHERE writer = p_writer;
  END IF;
  PERFORM vcon_storage_in_time_v1(p_deadline);
  RETURN (SELECT to_json(s) FROM vcon_storage_cache_state_v1() s);
END
$$;

CREATE FUNCTION public.vcon_storage_get_v1(p_uuid uuid, p_known bigint DEFAULT NULL::bigint, p_tenant text DEFAULT NULL::text) RETURNS json
    LANGUAGE sql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
  SELECT json_build_object(
    'episode', s.episode, 'off', s.off, 'now', s.now,
    'revision', CASE WHEN v.tenant_id IS NOT DISTINCT FROM p_tenant THEN v.revision END,
    'changed_at', extract(epoch FROM coalesce(v.saved_at,
      (SELECT t.deleted_at FROM vcon_tombstones t WHERE t.uuid = p_uuid))),
    'rows', CASE WHEN v.uuid IS NOT NULL AND (p_known IS NULL
      OR v.revision IS DISTINCT FROM p_known) THEN vcon_storage_rows_v1(v) END)
  FROM vcon_storage_cache_state_v1() s LEFT JOIN vcons v
    ON v.uuid = p_uuid AND (p_tenant IS NULL OR v.tenant_id = p_tenant)
$$;

CREATE FUNCTION public.vcon_storage_get_v2(p_uuid uuid, p_known bigint DEFAULT NULL::bigint, p_tenant text DEFAULT NULL::text) RETURNS json
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  RETURN (
    SELECT json_build_object(
      'episode', s.episode, 'off', s.off, 'now', s.now,
      'revision', CASE WHEN v.tenant_id IS NOT DISTINCT FROM p_tenant THEN v.revision END,
      'changed_at', extract(epoch FROM coalesce(v.saved_at,
        (SELECT t.deleted_at FROM vcon_tombstones t WHERE t.uuid = p_uuid))),
      'rows', CASE WHEN v.uuid IS NOT NULL AND (p_known IS NULL
        OR v.revision IS DISTINCT FROM p_known) THEN vcon_storage_rows_v2(v) END)
    FROM vcon_storage_cache_state_v1() s LEFT JOIN vcons v
      ON v.uuid = p_uuid AND (p_tenant IS NULL OR v.tenant_id = p_tenant));
END
$$;

CREATE FUNCTION public.vcon_storage_in_time_v1(p_deadline double precision) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  IF extract(epoch FROM clock_timestamp()) > p_deadline THEN
    RAISE SQLSTATE 'PT504' USING MESSAGE = 'given up by its caller';
  END IF;
END
$$;

CREATE FUNCTION public.vcon_storage_lock_v1(p_uuid uuid) RETURNS void
    LANGUAGE sql
    SET search_path TO 'public', 'pg_temp'
    AS $$ SELECT pg_advisory_xact_lock(hashtextextended(p_uuid::text, 8615)) $$;

CREATE TABLE public.vcons (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    uuid uuid NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    tenant_id text,
    vcon_version text,
    subject text,
    extensions text[],
    must_support text[],
    critical text[],
    redacted jsonb,
    appended jsonb,
    amended jsonb,
    group_data jsonb,
    as_written json,
    revision bigint,
    digest text,
    saved_at timestamp with time zone
);

CREATE FUNCTION public.vcon_storage_rows_v1(v public.vcons) RETURNS json
    LANGUAGE sql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
  SELECT json_build_object(
    'vcon', v.as_written,
    'columns', CASE WHEN v.as_written IS NULL THEN to_json(v) END,
    'parties', (
      SELECT coalesce(json_agg(CASE WHEN p.as_written IS NULL THEN to_json(p)
        ELSE json_build_array(p.as_written, NULL) END ORDER BY p.party_index), '[]')
      FROM parties p WHERE p.vcon_id = v.uuid),
    'dialog', (
      SELECT coalesce(json_agg(CASE WHEN d.as_written IS NULL THEN to_json(d)
        ELSE json_build_array(d.as_written, d.body) END ORDER BY d.dialog_index), '[]')
      FROM dialog d WHERE d.vcon_id = v.uuid),
    'analysis', (
      SELECT coalesce(json_agg(CASE WHEN a.as_written IS NULL THEN to_json(a)
        ELSE json_build_array(a.as_written, a.body) END ORDER BY a.analysis_index), '[]')
      FROM analysis a WHERE a.vcon_id = v.uuid),
    'attachments', (
      SELECT coalesce(json_agg(CASE WHEN t.as_written IS NULL THEN to_json(t)
        ELSE json_build_array(t.as_written, t.body) END ORDER BY t.attachment_index), '[]')
      FROM attachments t WHERE t.vcon_id = v.uuid))
$$;

CREATE FUNCTION public.vcon_storage_rows_v2(v public.vcons) RETURNS json
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  RETURN json_build_object(
    'vcon', v.as_written,
    'columns', CASE WHEN v.as_written IS NULL THEN to_json(v) END,
    'parties', (
      SELECT coalesce(json_agg(CASE WHEN p.as_written IS NULL THEN to_json(p)
        ELSE json_build_array(p.as_written, NULL) END ORDER BY p.party_index), '[]')
      FROM parties p WHERE p.vcon_id = v.uuid),
    'dialog', (
      SELECT coalesce(json_agg(CASE WHEN d.as_written IS NULL THEN to_json(d)
        ELSE json_build_array(d.as_written, d.body) END ORDER BY d.dialog_index), '[]')
      FROM dialog d WHERE d.vcon_id = v.uuid),
    'analysis', (
      SELECT coalesce(json_agg(CASE WHEN a.as_written IS NULL THEN to_json(a)
        ELSE json_build_array(a.as_written, a.body) END ORDER BY a.analysis_index), '[]')
      FROM analysis a WHERE a.vcon_id = v.uuid),
    'attachments', (
      SELECT coalesce(json_agg(CASE WHEN t.as_written IS NULL THEN to_json(t)
        ELSE json_build_array(t.as_written, t.body) END ORDER BY t.attachment_index), '[]')
      FROM attachments t WHERE t.vcon_id = v.uuid));
END
$$;

CREATE FUNCTION public.vcon_storage_save_v1(p_uuid uuid, p_digest text, p_vcon json, p_parties json, p_dialog json, p_analysis json, p_attachments json, p_tenant text DEFAULT NULL::text, p_not_after double precision DEFAULT NULL::double precision, p_touch boolean DEFAULT false, p_deadline double precision DEFAULT NULL::double precision) RETURNS json
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
  found_digest text;
  found_revision bigint;
  found_saved_at timestamptz;
  found_tenant text;
  next_revision bigint;
BEGIN
  PERFORM vcon_storage_lock_v1(p_uuid);
  SELECT digest, revision, saved_at, tenant_id
    INTO found_digest, found_revision, found_saved_at, found_tenant
    FROM vcons WHERE uuid = p_uuid;
  IF FOUND AND p_tenant IS NOT NULL AND p_tenant IS DISTINCT FROM found_tenant THEN
    RAISE SQLSTATE 'PT409' USING MESSAGE = 'the uuid belongs to another tenant';
  END IF;
  IF p_not_after IS NOT NULL AND (found_saved_at > to_timestamp(p_not_after) OR EXISTS (
      SELECT FROM vcon_tombstones WHERE uuid = p_uuid AND deleted_at > to_timestamp(p_not_after)))
  THEN
    RETURN (SELECT json_build_object('revision', found_revision, 'left_out', true,
      'episode', s.episode, 'off', s.off, 'now', s.now) FROM vcon_storage_cache_state_v1() s);
  END IF;
  IF found_digest = p_digest THEN
    IF p_touch THEN
      UPDATE vcons SET saved_at = clock_timestamp() WHERE uuid = p_uuid;
      PERFORM vcon_storage_in_time_v1(p_deadline);
    END IF;
    RETURN (SELECT json_build_object('revision', found_revision, 'left_out', false,
      'episode', s.episode, 'off', s.off, 'now', s.now) FROM vcon_storage_cache_state_v1() s);
  END IF;
  next_revision := nextval('vcon_revision');
  IF p_tenant IS NULL AND found_tenant IS NOT NULL THEN
    UPDATE vcon_cache_state SET episode = vcon_cache_state.episode + 1;
  END IF;

  INSERT INTO vcons AS old (
    id, uuid, tenant_id, vcon_version, subject, created_at, updated_at, extensions, must_support, critical,
    redacted, appended, amended, group_data, as_written, revision, digest, saved_at)
  SELECT
    p_uuid, p_uuid, p_tenant, coalesce(vcon_version, ''), subject, coalesce(created_at, now()),
    coalesce(updated_at, now()), extensions, must_support, critical,
    redacted, appended, amended, group_data, as_written, next_revision, p_digest,
    -- A spooled save counts as of when it was made: one spooled after it must still win.
    coalesce(to_timestamp(p_not_after), clock_timestamp())
  FROM json_populate_record(NULL::vcons, p_vcon)
  ON CONFLICT (uuid) DO UPDATE SET
    vcon_version = excluded.vcon_version, subject = excluded.subject,
    -- A vCon that names no time of creation keeps the one of its first save.
    created_at = CASE WHEN p_vcon ->> 'created_at' IS NULL
      THEN old.created_at ELSE excluded.created_at END,
    updated_at = excluded.updated_at, extensions = excluded.extensions,
    must_support = excluded.must_support, critical = excluded.critical,
    redacted = excluded.redacted, appended = excluded.appended, amended = excluded.amended,
    group_data = excluded.group_data, as_written = excluded.as_written,
    revision = excluded.revision, digest = excluded.digest, saved_at = excluded.saved_at;

  INSERT INTO parties AS old (
    vcon_id, tenant_id, party_index, tel, sip, stir, mailto, name, did, validation, gmlpos, timezone, uuid,
    jcard, civicaddress, data_subject_id, metadata, as_written)
  SELECT
    p_uuid, coalesce(p_tenant, found_tenant), party_index, tel, sip, stir, mailto, name, did, validation, gmlpos, timezone, uuid,
    jcard, civicaddress, data_subject_id, metadata, as_written
  FROM json_populate_recordset(NULL::parties, p_parties)
  ON CONFLICT (vcon_id, party_index) DO UPDATE SET
    tel = excluded.tel, sip = excluded.sip, stir = excluded.stir, mailto = excluded.mailto,
    name = excluded.name, did = excluded.did, validation = excluded.validation,
    gmlpos = excluded.gmlpos, timezone = excluded.timezone, uuid = excluded.uuid,
    jcard = excluded.jcard, civicaddress = excluded.civicaddress,
    data_subject_id = excluded.data_subject_id, metadata = excluded.metadata,
    as_written = excluded.as_written
  WHERE (old.tel, old.sip, old.stir, old.mailto, old.name, old.did, old.validation, old.gmlpos,
      old.timezone, old.uuid, old.jcard, old.civicaddress, old.data_subject_id, old.metadata,
      old.as_written::text)
    IS DISTINCT FROM (excluded.tel, excluded.sip, excluded.stir, excluded.mailto, excluded.name,
      excluded.did, excluded.validation, excluded.gmlpos, excluded.timezone, excluded.uuid,
      excluded.jcard, excluded.civicaddress, excluded.data_subject_id, excluded.metadata,
      excluded.as_written::text);

  INSERT INTO dialog AS old (
    vcon_id, tenant_id, dialog_index, type, start_time, duration_seconds, parties, originator, mediatype,
    filename, body, encoding, url, content_hash, disposition, session_id, application, message_id,
    transferee, transferor, transfer_target, original, consultation, target_dialog, size_bytes,
    metadata, as_written)
  SELECT
    p_uuid, coalesce(p_tenant, found_tenant), dialog_index, type, start_time, duration_seconds, parties, originator, mediatype,
    filename, body, encoding, url, content_hash, disposition, session_id, application, message_id,
    transferee, transferor, transfer_target, original, consultation, target_dialog, size_bytes,
    metadata, as_written
  FROM json_populate_recordset(NULL::dialog, p_dialog)
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
  WHERE (old.type, old.start_time, old.duration_seconds, old.parties, old.originator,
      old.mediatype, old.filename, old.body, old.encoding, old.url, old.content_hash,
      old.disposition, old.session_id, old.application, old.message_id, old.transferee,
      old.transferor, old.transfer_target, old.original, old.consultation, old.target_dialog,
      old.size_bytes, old.metadata, old.as_written::text)
    IS DISTINCT FROM (excluded.type, excluded.start_time, excluded.duration_seconds,
      excluded.parties, excluded.originator, excluded.mediatype, excluded.filename, excluded.body,
      excluded.encoding, excluded.url, excluded.content_hash, excluded.disposition,
      excluded.session_id, excluded.application, excluded.message_id, excluded.transferee,
      excluded.transferor, excluded.transfer_target, excluded.original, excluded.consultation,
      excluded.target_dialog, excluded.size_bytes, excluded.metadata, excluded.as_written::text);

  INSERT INTO analysis AS old (
    vcon_id, tenant_id, analysis_index, type, dialog_indices, mediatype, filename, vendor, product, schema,
    body, encoding, url, content_hash, created_at, confidence, metadata, as_written)
  SELECT
    p_uuid, coalesce(p_tenant, found_tenant), analysis_index, type, dialog_indices, mediatype, filename, coalesce(vendor, ''),
    product, schema, body, encoding, url, content_hash, created_at, confidence, metadata,
    as_written
  FROM json_populate_recordset(NULL::analysis, p_analysis)
  ON CONFLICT (vcon_id, analysis_index) DO UPDATE SET
    type = excluded.type, dialog_indices = excluded.dialog_indices,
    mediatype = excluded.mediatype, filename = excluded.filename, vendor = excluded.vendor,
    product = excluded.product, schema = excluded.schema, body = excluded.body,
    encoding = excluded.encoding, url = excluded.url, content_hash = excluded.content_hash,
    created_at = excluded.created_at, confidence = excluded.confidence,
    metadata = excluded.metadata, as_written = excluded.as_written
  WHERE (old.type, old.dialog_indices, old.mediatype, old.filename, old.vendor, old.product,
      old.schema, old.body, old.encoding, old.url, old.content_hash, old.created_at,
      old.confidence, old.metadata, old.as_written::text)
    IS DISTINCT FROM (excluded.type, excluded.dialog_indices, excluded.mediatype,
      excluded.filename, excluded.vendor, excluded.product, excluded.schema, excluded.body,
      excluded.encoding, excluded.url, excluded.content_hash, excluded.created_at,
      excluded.confidence, excluded.metadata, excluded.as_written::text);

  INSERT INTO attachments AS old (
    vcon_id, tenant_id, attachment_index, type, purpose, start_time, party, dialog, mimetype, filename, body,
    encoding, url, content_hash, size_bytes, metadata, as_written)
  SELECT
    p_uuid, coalesce(p_tenant, found_tenant), attachment_index, type, purpose, start_time, party, dialog, mimetype, filename, body,
    encoding, url, content_hash, size_bytes, metadata, as_written
  FROM json_populate_recordset(NULL::attachments, p_attachments)
  ON CONFLICT (vcon_id, attachment_index) DO UPDATE SET
    type = excluded.type, purpose = excluded.purpose, start_time = excluded.start_time,
    party = excluded.party, dialog = excluded.dialog, mimetype = excluded.mimetype,
    filename = excluded.filename, body = excluded.body, encoding = excluded.encoding,
    url = excluded.url, content_hash = excluded.content_hash, size_bytes = excluded.size_bytes,
    metadata = excluded.metadata, as_written = excluded.as_written
  WHERE (old.type, old.purpose, old.start_time, old.party, old.dialog, old.mimetype,
      old.filename, old.body, old.encoding, old.url, old.content_hash, old.size_bytes,
      old.metadata, old.as_written::text)
    IS DISTINCT FROM (excluded.type, excluded.purpose, excluded.start_time, excluded.party,
      excluded.dialog, excluded.mimetype, excluded.filename, excluded.body, excluded.encoding,
      excluded.url, excluded.content_hash, excluded.size_bytes, excluded.metadata,
      excluded.as_written::text);

  DELETE FROM parties
    WHERE vcon_id = p_uuid AND party_index >= json_array_length(p_parties);
  DELETE FROM dialog
    WHERE vcon_id = p_uuid AND dialog_index >= json_array_length(p_dialog);
  DELETE FROM analysis
    WHERE vcon_id = p_uuid AND analysis_index >= json_array_length(p_analysis);
  DELETE FROM attachments
    WHERE vcon_id = p_uuid AND attachment_index >= json_array_length(p_attachments);

  PERFORM vcon_storage_in_time_v1(p_deadline);
  RETURN (SELECT json_build_object('revision', next_revision, 'left_out', false,
    'new_episode', p_tenant IS NULL AND found_tenant IS NOT NULL,
    'episode', s.episode, 'off', s.off, 'now', s.now) FROM vcon_storage_cache_state_v1() s);
END
$$;

CREATE FUNCTION public.vcon_storage_save_v2(p_vcons json, p_parties json DEFAULT NULL::json, p_dialog json DEFAULT NULL::json, p_analysis json DEFAULT NULL::json, p_attachments json DEFAULT NULL::json, p_tenant text DEFAULT NULL::text, p_deadline double precision DEFAULT NULL::double precision) RETURNS json
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
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

  PERFORM vcon_storage_in_time_v1(p_deadline);
  RETURN (SELECT json_build_object('episode', s.episode, 'off', s.off, 'now', s.now,
      'new_episode', new_episode, 'revisions', revisions, 'outcomes', outcomes)
    FROM vcon_storage_cache_state_v1() s);
END
$$;

CREATE FUNCTION public.vcon_storage_search_v1(p_subject text, p_start timestamp with time zone, p_end timestamp with time zone, p_limit integer, p_tenant text DEFAULT NULL::text) RETURNS json
    LANGUAGE sql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
  SELECT json_build_object('episode', s.episode, 'off', s.off, 'now', s.now, 'found', (
    SELECT coalesce(
      json_agg(vcon_storage_rows_v1(found) ORDER BY found.created_at DESC, found.uuid), '[]')
    FROM (
      SELECT v.* FROM vcons v
      WHERE (p_subject IS NULL OR v.subject ILIKE
          '%' || replace(replace(replace(p_subject, '\', '\\'), '%', '\%'), '_', '\_') || '%')
        AND (p_tenant IS NULL OR v.tenant_id = p_tenant)
        AND (p_start IS NULL OR v.created_at >= p_start)
        AND (p_end IS NULL OR v.created_at <= p_end)
      ORDER BY v.created_at DESC, v.uuid
      LIMIT p_limit
    ) AS found))
  FROM vcon_storage_cache_state_v1() s
$$;

CREATE FUNCTION public.vcon_storage_version_v1() RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path TO 'public', 'pg_temp'
    AS $$ SELECT '20261124100000' $$;

CREATE TABLE public.analysis (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    vcon_id uuid NOT NULL,
    analysis_index integer NOT NULL,
    tenant_id text,
    type text,
    dialog_indices integer[],
    mediatype text,
    filename text,
    vendor text,
    product text,
    schema text,
    body text,
    encoding text,
    url text,
    content_hash text,
    created_at timestamp with time zone,
    confidence real,
    metadata jsonb,
    as_written json
);

CREATE TABLE public.attachments (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    vcon_id uuid NOT NULL,
    attachment_index integer NOT NULL,
    tenant_id text,
    type text,
    purpose text,
    start_time timestamp with time zone,
    party integer,
    dialog integer,
    mimetype text,
    filename text,
    body text,
    encoding text,
    url text,
    content_hash text,
    size_bytes bigint,
    metadata jsonb,
    as_written json
);

CREATE TABLE public.dialog (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    vcon_id uuid NOT NULL,
    dialog_index integer NOT NULL,
    tenant_id text,
    type text,
    start_time timestamp with time zone,
    duration_seconds real,
    parties integer[],
    originator integer,
    mediatype text,
    filename text,
    body text,
    encoding text,
    url text,
    content_hash text,
    disposition text,
    session_id jsonb,
    application text,
    message_id text,
    transferee integer,
    transferor integer,
    transfer_target integer[],
    original integer[],
    consultation integer[],
    target_dialog integer[],
    size_bytes bigint,
    metadata jsonb,
    as_written json
);

CREATE TABLE public.parties (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    vcon_id uuid NOT NULL,
    party_index integer NOT NULL,
    tenant_id text,
    tel text,
    sip text,
    stir text,
    mailto text,
    name text,
    did text,
    validation text,
    gmlpos text,
    timezone text,
    uuid text,
    jcard jsonb,
    civicaddress jsonb,
    data_subject_id text,
    metadata jsonb,
    as_written json
);

CREATE TABLE public.vcon_cache_doubts (
    writer uuid NOT NULL,
    until timestamp with time zone NOT NULL
);

CREATE TABLE public.vcon_cache_state (
    only_row boolean DEFAULT true NOT NULL,
    episode bigint DEFAULT 1 NOT NULL,
    CONSTRAINT vcon_cache_state_only_row_check CHECK (only_row)
);

CREATE SEQUENCE public.vcon_revision
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE public.vcon_tombstones (
    uuid uuid NOT NULL,
    deleted_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY public.analysis
    ADD CONSTRAINT analysis_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.analysis
    ADD CONSTRAINT analysis_vcon_id_analysis_index_key UNIQUE (vcon_id, analysis_index);

ALTER TABLE ONLY public.attachments
    ADD CONSTRAINT attachments_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.attachments
    ADD CONSTRAINT attachments_vcon_id_attachment_index_key UNIQUE (vcon_id, attachment_index);

ALTER TABLE ONLY public.dialog
    ADD CONSTRAINT dialog_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.dialog
    ADD CONSTRAINT dialog_vcon_id_dialog_index_key UNIQUE (vcon_id, dialog_index);

ALTER TABLE ONLY public.parties
    ADD CONSTRAINT parties_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.parties
    ADD CONSTRAINT parties_vcon_id_party_index_key UNIQUE (vcon_id, party_index);

ALTER TABLE ONLY public.vcon_cache_doubts
    ADD CONSTRAINT vcon_cache_doubts_pkey PRIMARY KEY (writer);

ALTER TABLE ONLY public.vcon_cache_state
    ADD CONSTRAINT vcon_cache_state_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY public.vcon_tombstones
    ADD CONSTRAINT vcon_tombstones_pkey PRIMARY KEY (uuid);

ALTER TABLE ONLY public.vcons
    ADD CONSTRAINT vcons_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.vcons
    ADD CONSTRAINT vcons_uuid_key UNIQUE (uuid);

CREATE INDEX idx_vcons_created_at ON public.vcons USING btree (created_at);

ALTER TABLE ONLY public.analysis
    ADD CONSTRAINT analysis_vcon_id_fkey FOREIGN KEY (vcon_id) REFERENCES public.vcons(uuid) ON DELETE CASCADE;

ALTER TABLE ONLY public.attachments
    ADD CONSTRAINT attachments_vcon_id_fkey FOREIGN KEY (vcon_id) REFERENCES public.vcons(uuid) ON DELETE CASCADE;

ALTER TABLE ONLY public.dialog
    ADD CONSTRAINT dialog_vcon_id_fkey FOREIGN KEY (vcon_id) REFERENCES public.vcons(uuid) ON DELETE CASCADE;

ALTER TABLE ONLY public.parties
    ADD CONSTRAINT parties_vcon_id_fkey FOREIGN KEY (vcon_id) REFERENCES public.vcons(uuid) ON DELETE CASCADE;

ALTER TABLE public.analysis ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.attachments ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.dialog ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.parties ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.vcon_cache_doubts ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.vcon_cache_state ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.vcon_tombstones ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.vcons ENABLE ROW LEVEL SECURITY;

GRANT USAGE ON SCHEMA public TO anon;
GRANT USAGE ON SCHEMA public TO authenticated;
GRANT USAGE ON SCHEMA public TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_cache_state_v1(OUT episode bigint, OUT off boolean, OUT now double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_cache_state_v1(OUT episode bigint, OUT off boolean, OUT now double precision) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_delete_v1(p_uuid uuid, p_tenant text, p_touch boolean, p_deadline double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_delete_v1(p_uuid uuid, p_tenant text, p_touch boolean, p_deadline double precision) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_doubt_v1(p_writer uuid, p_seconds double precision, p_deadline double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_doubt_v1(p_writer uuid, p_seconds double precision, p_deadline double precision) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_get_v1(p_uuid uuid, p_known bigint, p_tenant text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_get_v1(p_uuid uuid, p_known bigint, p_tenant text) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_get_v2(p_uuid uuid, p_known bigint, p_tenant text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_get_v2(p_uuid uuid, p_known bigint, p_tenant text) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_in_time_v1(p_deadline double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_in_time_v1(p_deadline double precision) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_lock_v1(p_uuid uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_lock_v1(p_uuid uuid) TO service_role;

GRANT ALL ON TABLE public.vcons TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_rows_v1(v public.vcons) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_rows_v1(v public.vcons) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_rows_v2(v public.vcons) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_rows_v2(v public.vcons) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_save_v1(p_uuid uuid, p_digest text, p_vcon json, p_parties json, p_dialog json, p_analysis json, p_attachments json, p_tenant text, p_not_after double precision, p_touch boolean, p_deadline double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_save_v1(p_uuid uuid, p_digest text, p_vcon json, p_parties json, p_dialog json, p_analysis json, p_attachments json, p_tenant text, p_not_after double precision, p_touch boolean, p_deadline double precision) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_save_v2(p_vcons json, p_parties json, p_dialog json, p_analysis json, p_attachments json, p_tenant text, p_deadline double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_save_v2(p_vcons json, p_parties json, p_dialog json, p_analysis json, p_attachments json, p_tenant text, p_deadline double precision) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_search_v1(p_subject text, p_start timestamp with time zone, p_end timestamp with time zone, p_limit integer, p_tenant text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_search_v1(p_subject text, p_start timestamp with time zone, p_end timestamp with time zone, p_limit integer, p_tenant text) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_version_v1() FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_version_v1() TO service_role;

GRANT ALL ON TABLE public.analysis TO service_role;

GRANT ALL ON TABLE public.attachments TO service_role;

GRANT ALL ON TABLE public.dialog TO service_role;

GRANT ALL ON TABLE public.parties TO service_role;

GRANT ALL ON TABLE public.vcon_cache_doubts TO service_role;

GRANT ALL ON TABLE public.vcon_cache_state TO service_role;

GRANT ALL ON SEQUENCE public.vcon_revision TO service_role;

GRANT ALL ON TABLE public.vcon_tombstones TO service_role;
