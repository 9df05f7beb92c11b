-- The tables and functions of conserver-supabase-storage.
--
-- Safe on an empty Supabase database, and on one in which these tables already exist with data:
-- there it only adds columns that are missing, and leaves rows, rights and policies as they are.
--
-- It goes into the schema "public"; for another one:  SET vcon_storage.schema = 'name';

DO $$
DECLARE
  wanted text := coalesce(nullif(current_setting('vcon_storage.schema', true), ''), 'public');
  missing text;
BEGIN
  SELECT string_agg(role, ', ') INTO missing
  FROM unnest(ARRAY['anon', 'authenticated', 'service_role']) AS role
  WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role);
  IF missing IS NOT NULL THEN
    RAISE EXCEPTION 'this is no Supabase database: it lacks the roles %', missing
      USING HINT = 'Give the database URL of the Supabase project (Project Settings, Database).';
  END IF;
  EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I', wanted);
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO service_role', wanted);
  -- Functions below keep this as their own search_path (SET search_path FROM CURRENT).
  PERFORM set_config('search_path', format('%I, pg_temp', wanted), false);
END
$$;

-- Tables: made where they are not there yet, closed to everybody but their owner and service_role.
DO $$
BEGIN
  IF to_regclass('vcons') IS NULL THEN
    CREATE TABLE vcons (
      id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      uuid uuid NOT NULL UNIQUE,
      created_at timestamptz NOT NULL DEFAULT now(),
      updated_at timestamptz NOT NULL DEFAULT now()
    );
    ALTER TABLE vcons ENABLE ROW LEVEL SECURITY;
    REVOKE ALL ON vcons FROM PUBLIC, anon, authenticated;
  END IF;
  IF to_regclass('parties') IS NULL THEN
    CREATE TABLE parties (
      id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      vcon_id uuid NOT NULL REFERENCES vcons (uuid) ON DELETE CASCADE,
      party_index integer NOT NULL,
      UNIQUE (vcon_id, party_index)
    );
    ALTER TABLE parties ENABLE ROW LEVEL SECURITY;
    REVOKE ALL ON parties FROM PUBLIC, anon, authenticated;
  END IF;
  IF to_regclass('dialog') IS NULL THEN
    CREATE TABLE dialog (
      id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      vcon_id uuid NOT NULL REFERENCES vcons (uuid) ON DELETE CASCADE,
      dialog_index integer NOT NULL,
      UNIQUE (vcon_id, dialog_index)
    );
    ALTER TABLE dialog ENABLE ROW LEVEL SECURITY;
    REVOKE ALL ON dialog FROM PUBLIC, anon, authenticated;
  END IF;
  IF to_regclass('analysis') IS NULL THEN
    CREATE TABLE analysis (
      id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      vcon_id uuid NOT NULL REFERENCES vcons (uuid) ON DELETE CASCADE,
      analysis_index integer NOT NULL,
      UNIQUE (vcon_id, analysis_index)
    );
    ALTER TABLE analysis ENABLE ROW LEVEL SECURITY;
    REVOKE ALL ON analysis FROM PUBLIC, anon, authenticated;
  END IF;
  IF to_regclass('attachments') IS NULL THEN
    CREATE TABLE attachments (
      id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      vcon_id uuid NOT NULL REFERENCES vcons (uuid) ON DELETE CASCADE,
      attachment_index integer NOT NULL,
      UNIQUE (vcon_id, attachment_index)
    );
    ALTER TABLE attachments ENABLE ROW LEVEL SECURITY;
    REVOKE ALL ON attachments FROM PUBLIC, anon, authenticated;
  END IF;
END
$$;

-- Columns: as_written holds a part exactly as it was written (json, not jsonb, so that numbers and
-- the order of members stay as they are); the others are for queries and hold what they can.
-- A table made above gets them all here, an older one those that it lacks.
ALTER TABLE vcons
  ADD COLUMN IF NOT EXISTS tenant_id text,
  ADD COLUMN IF NOT EXISTS vcon_version text,
  ADD COLUMN IF NOT EXISTS subject text,
  ADD COLUMN IF NOT EXISTS extensions text[],
  ADD COLUMN IF NOT EXISTS must_support text[],
  ADD COLUMN IF NOT EXISTS critical text[],
  ADD COLUMN IF NOT EXISTS redacted jsonb,
  ADD COLUMN IF NOT EXISTS appended jsonb,
  ADD COLUMN IF NOT EXISTS amended jsonb,
  ADD COLUMN IF NOT EXISTS group_data jsonb,
  ADD COLUMN IF NOT EXISTS as_written json,
  ADD COLUMN IF NOT EXISTS revision bigint,
  ADD COLUMN IF NOT EXISTS digest text,
  ADD COLUMN IF NOT EXISTS saved_at timestamptz;

ALTER TABLE parties
  ADD COLUMN IF NOT EXISTS tenant_id text,
  ADD COLUMN IF NOT EXISTS tel text,
  ADD COLUMN IF NOT EXISTS sip text,
  ADD COLUMN IF NOT EXISTS stir text,
  ADD COLUMN IF NOT EXISTS mailto text,
  ADD COLUMN IF NOT EXISTS name text,
  ADD COLUMN IF NOT EXISTS did text,
  ADD COLUMN IF NOT EXISTS validation text,
  ADD COLUMN IF NOT EXISTS gmlpos text,
  ADD COLUMN IF NOT EXISTS timezone text,
  ADD COLUMN IF NOT EXISTS uuid text,
  ADD COLUMN IF NOT EXISTS jcard jsonb,
  ADD COLUMN IF NOT EXISTS civicaddress jsonb,
  ADD COLUMN IF NOT EXISTS data_subject_id text,
  ADD COLUMN IF NOT EXISTS metadata jsonb,
  ADD COLUMN IF NOT EXISTS as_written json;

ALTER TABLE dialog
  ADD COLUMN IF NOT EXISTS tenant_id text,
  ADD COLUMN IF NOT EXISTS type text,
  ADD COLUMN IF NOT EXISTS start_time timestamptz,
  ADD COLUMN IF NOT EXISTS duration_seconds real,
  ADD COLUMN IF NOT EXISTS parties integer[],
  ADD COLUMN IF NOT EXISTS originator integer,
  ADD COLUMN IF NOT EXISTS mediatype text,
  ADD COLUMN IF NOT EXISTS filename text,
  ADD COLUMN IF NOT EXISTS body text,
  ADD COLUMN IF NOT EXISTS encoding text,
  ADD COLUMN IF NOT EXISTS url text,
  ADD COLUMN IF NOT EXISTS content_hash text,
  ADD COLUMN IF NOT EXISTS disposition text,
  ADD COLUMN IF NOT EXISTS session_id jsonb,
  ADD COLUMN IF NOT EXISTS application text,
  ADD COLUMN IF NOT EXISTS message_id text,
  ADD COLUMN IF NOT EXISTS transferee integer,
  ADD COLUMN IF NOT EXISTS transferor integer,
  ADD COLUMN IF NOT EXISTS transfer_target integer[],
  ADD COLUMN IF NOT EXISTS original integer[],
  ADD COLUMN IF NOT EXISTS consultation integer[],
  ADD COLUMN IF NOT EXISTS target_dialog integer[],
  ADD COLUMN IF NOT EXISTS size_bytes bigint,
  ADD COLUMN IF NOT EXISTS metadata jsonb,
  ADD COLUMN IF NOT EXISTS as_written json;

ALTER TABLE analysis
  ADD COLUMN IF NOT EXISTS tenant_id text,
  ADD COLUMN IF NOT EXISTS type text,
  ADD COLUMN IF NOT EXISTS dialog_indices integer[],
  ADD COLUMN IF NOT EXISTS mediatype text,
  ADD COLUMN IF NOT EXISTS filename text,
  ADD COLUMN IF NOT EXISTS vendor text,
  ADD COLUMN IF NOT EXISTS product text,
  ADD COLUMN IF NOT EXISTS schema text,
  ADD COLUMN IF NOT EXISTS body text,
  ADD COLUMN IF NOT EXISTS encoding text,
  ADD COLUMN IF NOT EXISTS url text,
  ADD COLUMN IF NOT EXISTS content_hash text,
  ADD COLUMN IF NOT EXISTS created_at timestamptz,
  ADD COLUMN IF NOT EXISTS confidence real,
  ADD COLUMN IF NOT EXISTS metadata jsonb,
  ADD COLUMN IF NOT EXISTS as_written json;

ALTER TABLE attachments
  ADD COLUMN IF NOT EXISTS tenant_id text,
  ADD COLUMN IF NOT EXISTS type text,
  ADD COLUMN IF NOT EXISTS purpose text,
  ADD COLUMN IF NOT EXISTS start_time timestamptz,
  ADD COLUMN IF NOT EXISTS party integer,
  ADD COLUMN IF NOT EXISTS dialog integer,
  ADD COLUMN IF NOT EXISTS mimetype text,
  ADD COLUMN IF NOT EXISTS filename text,
  ADD COLUMN IF NOT EXISTS body text,
  ADD COLUMN IF NOT EXISTS encoding text,
  ADD COLUMN IF NOT EXISTS url text,
  ADD COLUMN IF NOT EXISTS content_hash text,
  ADD COLUMN IF NOT EXISTS size_bytes bigint,
  ADD COLUMN IF NOT EXISTS metadata jsonb,
  ADD COLUMN IF NOT EXISTS as_written json;

CREATE INDEX IF NOT EXISTS idx_vcons_created_at ON vcons (created_at);

-- Every committed change of a vCon, deletes included, takes the next number: of two states of one
-- vCon the one with the larger number is the newer, also across a delete and a new save.
CREATE SEQUENCE IF NOT EXISTS vcon_revision;
REVOKE ALL ON SEQUENCE vcon_revision FROM PUBLIC, anon, authenticated;
GRANT USAGE ON SEQUENCE vcon_revision TO service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON vcons, parties, dialog, analysis, attachments
  TO service_role;

-- The newest migration that this schema has.
CREATE OR REPLACE FUNCTION vcon_storage_version_v1() RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  SET search_path FROM CURRENT
AS $$ SELECT '20261123120000' $$;

-- What readers of a cache have to know. A writer that can't reach the cache's Redis enters a doubt;
-- while one is in force, no reader uses the cache. Each doubt begins a new episode, and what was
-- cached in an older episode is never used again (docs/cache.md).
CREATE TABLE IF NOT EXISTS vcon_cache_state (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  episode bigint NOT NULL DEFAULT 1
);
INSERT INTO vcon_cache_state DEFAULT VALUES ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS vcon_cache_doubts (
  writer uuid PRIMARY KEY,
  until timestamptz NOT NULL
);
-- When a vCon was deleted, for saves that were spooled before: they must not bring it back.
CREATE TABLE IF NOT EXISTS vcon_tombstones (
  uuid uuid PRIMARY KEY,
  deleted_at timestamptz NOT NULL
);
ALTER TABLE vcon_cache_state ENABLE ROW LEVEL SECURITY;
ALTER TABLE vcon_cache_doubts ENABLE ROW LEVEL SECURITY;
ALTER TABLE vcon_tombstones ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON vcon_cache_state, vcon_cache_doubts, vcon_tombstones FROM PUBLIC, anon, authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE ON vcon_cache_state, vcon_cache_doubts, vcon_tombstones
  TO service_role;

CREATE OR REPLACE FUNCTION vcon_storage_cache_state_v1(
  OUT episode bigint, OUT off boolean, OUT now double precision
)
  LANGUAGE sql STABLE
  SET search_path FROM CURRENT
AS $$
  -- now() is the transaction's beginning: a doubt counts a little longer than it has to.
  SELECT s.episode, EXISTS (SELECT FROM vcon_cache_doubts d WHERE d.until > now()),
    extract(epoch FROM clock_timestamp())
  FROM vcon_cache_state s
$$;

-- Ends a change that its caller has given up: it was delayed on the way, and by now something newer
-- may have been done. The caller names the time (seconds since 1970, by this clock). PostgREST turns
-- the code into HTTP 504.
CREATE OR REPLACE FUNCTION vcon_storage_in_time_v1(p_deadline double precision) RETURNS void
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
AS $$
BEGIN
  IF extract(epoch FROM clock_timestamp()) > p_deadline THEN
    RAISE SQLSTATE 'PT504' USING MESSAGE = 'given up by its caller';
  END IF;
END
$$;

-- Enters a doubt for so many seconds from now, or prolongs it; with 0 seconds leaves it.
CREATE OR REPLACE FUNCTION vcon_storage_doubt_v1(
  p_writer uuid, p_seconds double precision, p_deadline double precision DEFAULT NULL
) RETURNS json
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
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

-- One writer per vCon at a time: what follows in the transaction sees the last committed state,
-- and revisions are taken in the order of commits.
CREATE OR REPLACE FUNCTION vcon_storage_lock_v1(p_uuid uuid) RETURNS void
  LANGUAGE sql
  SET search_path FROM CURRENT
AS $$ SELECT pg_advisory_xact_lock(hashtextextended(p_uuid::text, 8615)) $$;

-- Saves a whole vCon: its header and its parts' rows, as the package's rows/ makes them.
-- Parts that are no longer there go, rows that are the same stay untouched, and a vCon that is the
-- same as a whole (digest) is no change at all.
-- p_not_after (seconds since 1970): a save that was spooled at that time. It is left out where the
-- vCon was saved or deleted later. p_touch: counts as a change even where nothing differs, so that
-- a save spooled earlier is left out. p_deadline: see vcon_storage_in_time_v1.
-- p_tenant: whose vCon it is; a uuid that is another tenant's is refused. Null: a tenant's vCon
-- stays the tenant's, whose caches learn of it by a new episode.
-- Returns the revision, whether it was left out, and the cache's state.
CREATE OR REPLACE FUNCTION vcon_storage_save_v1(
  p_uuid uuid, p_digest text, p_vcon json,
  p_parties json, p_dialog json, p_analysis json, p_attachments json,
  p_tenant text DEFAULT NULL,
  p_not_after double precision DEFAULT NULL, p_touch boolean DEFAULT false,
  p_deadline double precision DEFAULT NULL
) RETURNS json
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
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

-- A vCon's header and rows as one JSON object; the package's rows/ makes the document from it.
-- A row is [as_written, body]; one that another program wrote is an object of its columns.
CREATE OR REPLACE FUNCTION vcon_storage_rows_v1(v vcons) RETURNS json
  LANGUAGE sql STABLE
  SET search_path FROM CURRENT
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

-- A vCon's revision and rows, when it was last saved or deleted (seconds since 1970), and the
-- cache's state. With p_tenant only that tenant's are seen; without, everybody's, but a tenant's
-- have no revision then: a cache that is not the tenant's can't keep them. The rows are null where
-- there is no such vCon, and where its revision is the one that the caller knows already.
CREATE OR REPLACE FUNCTION vcon_storage_get_v1(
  p_uuid uuid, p_known bigint DEFAULT NULL, p_tenant text DEFAULT NULL
) RETURNS json
  LANGUAGE sql STABLE
  SET search_path FROM CURRENT
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

-- Deletes a vCon with its parts. p_touch: leaves a tombstone even where there was none, so that a
-- save spooled earlier is left out. Returns whether it was there, and the cache's state.
CREATE OR REPLACE FUNCTION vcon_storage_delete_v1(
  p_uuid uuid, p_tenant text DEFAULT NULL, p_touch boolean DEFAULT false,
  p_deadline double precision DEFAULT NULL
) RETURNS json
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
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

-- The rows of the vCons that match all that is not null, the newest first; and the cache's state.
-- The subject is a substring in which every character stands for itself; case does not matter.
CREATE OR REPLACE FUNCTION vcon_storage_search_v1(
  p_subject text, p_start timestamptz, p_end timestamptz, p_limit integer,
  p_tenant text DEFAULT NULL
) RETURNS json
  LANGUAGE sql STABLE
  SET search_path FROM CURRENT
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

-- Functions are open to PUBLIC when made, and Supabase's default privileges add anon and
-- authenticated: closed here, so that only the service_role key reads and writes vCons.
REVOKE ALL ON FUNCTION
  vcon_storage_version_v1(), vcon_storage_lock_v1(uuid),
  vcon_storage_cache_state_v1(), vcon_storage_doubt_v1(uuid, double precision, double precision),
  vcon_storage_save_v1(
    uuid, text, json, json, json, json, json, text, double precision, boolean,
    double precision),
  vcon_storage_in_time_v1(double precision),
  vcon_storage_rows_v1(vcons), vcon_storage_get_v1(uuid, bigint, text),
  vcon_storage_delete_v1(uuid, text, boolean, double precision),
  vcon_storage_search_v1(text, timestamptz, timestamptz, integer, text)
  FROM PUBLIC, anon, authenticated;
GRANT EXECUTE ON FUNCTION
  vcon_storage_version_v1(), vcon_storage_lock_v1(uuid),
  vcon_storage_cache_state_v1(), vcon_storage_doubt_v1(uuid, double precision, double precision),
  vcon_storage_save_v1(
    uuid, text, json, json, json, json, json, text, double precision, boolean,
    double precision),
  vcon_storage_in_time_v1(double precision),
  vcon_storage_rows_v1(vcons), vcon_storage_get_v1(uuid, bigint, text),
  vcon_storage_delete_v1(uuid, text, boolean, double precision),
  vcon_storage_search_v1(text, timestamptz, timestamptz, integer, text)
  TO service_role;

RESET search_path;
NOTIFY pgrst, 'reload schema';
