-- What the migrations make of an empty Supabase database, for reading. Kept in step by a test; the
-- migrations themselves are in conserver_supabase_storage/sql/migrations. Left out: what is there
-- only with an extension, the table vcon_vectors (vector) and an index on subjects (pg_trgm).
CREATE SCHEMA public;

COMMENT ON SCHEMA public IS 'standard public schema';

CREATE FUNCTION public.vcon_storage_backfill_v1(p_limit integer, p_after uuid DEFAULT NULL::uuid, p_count boolean DEFAULT false) RETURNS json
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
  given uuid[];
  left_over bigint;
BEGIN
  PERFORM set_config('vcon_storage.saving', 'yes', true);
  IF p_count THEN
    SELECT count(*) INTO left_over FROM vcons WHERE revision IS NULL;
  END IF;
  SELECT array_agg(v.uuid ORDER BY v.uuid) INTO given FROM (
    SELECT uuid FROM vcons
    WHERE revision IS NULL AND (p_after IS NULL OR uuid > p_after)
    ORDER BY uuid LIMIT p_limit
    FOR NO KEY UPDATE SKIP LOCKED  -- somebody changes it, and gives it one
  ) AS v;
  UPDATE vcons SET revision = nextval('vcon_revision'),
      -- A spooled save must not be left out for the sake of this.
      saved_at = coalesce(saved_at, least(updated_at, clock_timestamp()))
    WHERE uuid = ANY (given);
  RETURN (SELECT json_build_object('episode', s.episode, 'off', s.off, 'now', s.now,
      'filled', coalesce(cardinality(given), 0), 'last', given[cardinality(given)],
      'left', left_over)
    FROM vcon_storage_cache_state_v1() s);
END
$$;

CREATE FUNCTION public.vcon_storage_bodies_v1(p_uuid uuid, p_room integer, p_json integer, p_careful boolean, OUT bodies json, OUT cut boolean) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  SELECT coalesce(json_agg(CASE
        WHEN b.upto > p_room THEN to_json(left(b.body, (p_room - b.upto + b.size)::integer))
        WHEN NOT b.is_json THEN to_json(b.body)
        WHEN p_careful THEN vcon_storage_body_v1(b.body)
        ELSE b.body::json END) FILTER (WHERE b.upto - b.size < p_room), '[]'),
      coalesce(max(b.upto), 0) > p_room
    INTO bodies, cut
    FROM (
      SELECT c.*, sum(c.size) OVER (ORDER BY c.size, c.n) AS upto
      FROM (
        SELECT a.body, a.n, a.is_json,
          octet_length(a.body) / CASE WHEN a.is_json THEN p_json ELSE 1 END AS size
        FROM (
          SELECT f.body, f.n, f.encoding = 'json' OR left(f.body, 1) IN ('{', '[') AS is_json
          FROM (
            SELECT d.dialog_index AS n, coalesce(d.body::text, d.as_written ->> 'body') AS body,
              coalesce(d.encoding, d.as_written ->> 'encoding', '') AS encoding,
              coalesce(d.mediatype, d.as_written ->> 'mediatype') AS mediatype
            FROM dialog d WHERE d.vcon_id = p_uuid
            UNION ALL
            SELECT y.analysis_index, coalesce(y.body::text, y.as_written ->> 'body'),
              coalesce(y.encoding, y.as_written ->> 'encoding', ''),
              coalesce(y.mediatype, y.as_written ->> 'mediatype')
            FROM analysis y WHERE y.vcon_id = p_uuid
          ) AS f
          -- Most are known by the first two lines.
          WHERE f.body <> '' AND f.encoding <> 'base64url' AND (
            octet_length(f.body) < 1000 AND f.encoding IN ('none', 'json')
              AND coalesce(f.mediatype, 'text/plain') = 'text/plain'
            OR vcon_storage_is_text_v1(f.encoding, f.mediatype, left(f.body, 1000)))
        ) AS a
      ) AS c
    ) AS b;
END
$$;

CREATE FUNCTION public.vcon_storage_body_v1(p_body text) RETURNS json
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  PERFORM json_to_tsvector('simple'::regconfig, p_body::json, '["string"]');
  RETURN p_body::json;
EXCEPTION WHEN OTHERS THEN
  RETURN to_json(p_body);
END
$$;

CREATE FUNCTION public.vcon_storage_cache_state_v1(OUT episode bigint, OUT off boolean, OUT now double precision) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
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

CREATE FUNCTION public.vcon_storage_columns_v1(p_after uuid, p_limit integer, p_bytes integer DEFAULT 8000000, p_tenant text DEFAULT NULL::text) RETURNS json
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
    SET "TimeZone" TO 'UTC'
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

CREATE FUNCTION public.vcon_storage_dialog_columns_v1(p_dialog public.dialog) RETURNS json
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    AS $$
BEGIN
  RETURN to_jsonb(p_dialog)
    || jsonb_build_object('party_history', vcon_storage_history_of_v1(p_dialog.id));
END
$$;

CREATE FUNCTION public.vcon_storage_doctor_v1(p_tenant text DEFAULT NULL::text) RETURNS json
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
  here CONSTANT oid := current_schema()::regnamespace;
  rights CONSTANT text := 'SELECT, INSERT, UPDATE, DELETE';
  version text;
  search_complete boolean;
  pending bigint;
  off boolean;
  tenant_has_vcons boolean;
  any_vcons boolean;
BEGIN
  IF has_function_privilege(to_regprocedure('vcon_storage_version_v1()'), 'EXECUTE') THEN
    version := vcon_storage_version_v1();
  END IF;
  IF has_table_privilege(to_regclass('vcon_search_state'), 'SELECT') THEN
    SELECT complete INTO search_complete FROM vcon_search_state;
  END IF;
  IF has_table_privilege(to_regclass('vcon_search_pending'), 'SELECT') THEN
    SELECT count(*) INTO pending FROM (SELECT FROM vcon_search_pending LIMIT 10001) AS p;
  END IF;
  IF has_table_privilege(to_regclass('vcon_cache_doubts'), 'SELECT') THEN
    off := EXISTS (SELECT FROM vcon_cache_doubts WHERE until > now());
  END IF;
  IF p_tenant IS NOT NULL AND has_table_privilege(to_regclass('vcon_search'), 'SELECT') THEN
    -- Here, and not in vcons: this table has an index of tenants.
    tenant_has_vcons := EXISTS (SELECT FROM vcon_search WHERE tenant_id = p_tenant);
    any_vcons := EXISTS (SELECT FROM vcon_search);
  END IF;
  RETURN json_build_object(
    'schema_name', current_schema(),
    'role', current_user,
    'bypasses_rls', (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user),
    'server', current_setting('server_version_num')::integer,
    'replica', pg_is_in_recovery(),
    'read_only', current_setting('default_transaction_read_only') = 'on',
    -- In ms, 0 for none.
    'statement_timeout', extract(epoch FROM current_setting('statement_timeout')::interval) * 1000,
    'now', extract(epoch FROM clock_timestamp()),
    'version', version,
    'off', off,
    'search_complete', search_complete,
    'search_pending', pending,
    'tenant_has_vcons', tenant_has_vcons,
    'any_vcons', any_vcons,
    'autovacuum', current_setting('autovacuum') = 'on',
    'extensions', (
      SELECT coalesce(json_object_agg(name, installed_version), '{}') FROM pg_available_extensions
      WHERE name IN ('pg_trgm', 'vector')),
    'substring_index', to_regclass('idx_vcon_search_subject') IS NOT NULL,
    'embeddings', to_regclass('vcon_vectors') IS NOT NULL,
    -- Our own tables have no check.
    'other_program', EXISTS (
      SELECT FROM pg_constraint WHERE conrelid = to_regclass('dialog') AND contype = 'c'),
    'tables', (
      SELECT coalesce(json_agg(json_build_object(
          'name', c.relname,
          'rls', c.relrowsecurity,
          'lacks', ARRAY(
            SELECT r FROM unnest(string_to_array(rights, ', ')) AS r
            WHERE NOT has_table_privilege(c.oid, r)),
          'open_to', ARRAY(
            SELECT r.rolname FROM pg_roles r
            WHERE r.rolname IN ('anon', 'authenticated') AND has_table_privilege(r.oid, c.oid, rights)
            ORDER BY 1),
          'policies_for', ARRAY(
            SELECT DISTINCT r.rolname FROM pg_policy p, pg_roles r
            WHERE p.polrelid = c.oid AND r.rolname IN ('anon', 'authenticated')
              AND (r.oid = ANY (p.polroles) OR 0::oid = ANY (p.polroles))
            ORDER BY 1),
          'unique', ARRAY(
            SELECT (SELECT string_agg(a.attname, ',' ORDER BY a.attname) FROM pg_attribute a
              WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey))
            FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid
              AND i.indpred IS NULL),
          'vacuumed', NOT coalesce('{autovacuum_enabled=false,autovacuum_enabled=off}' && c.reloptions,
            false),
          'rows', coalesce(s.n_live_tup, 0),
          'dead', coalesce(s.n_dead_tup, 0)) ORDER BY c.relname), '[]')
      FROM pg_class c LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
      WHERE c.relnamespace = here AND c.relkind IN ('r', 'p') AND (c.relname LIKE 'vcon\_%'
        OR c.relname IN ('vcons', 'parties', 'dialog', 'analysis', 'attachments'))),
    'functions', (
      SELECT coalesce(json_agg(json_build_object(
          'name', p.proname,
          'mine', has_function_privilege(p.oid, 'EXECUTE'),
          'trigger', p.prorettype = 'trigger'::regtype,
          'definer', p.prosecdef,
          'open_to', ARRAY(
            SELECT r.rolname FROM pg_roles r
            WHERE r.rolname IN ('anon', 'authenticated')
              AND has_function_privilege(r.oid, p.oid, 'EXECUTE')
            ORDER BY 1)) ORDER BY p.proname), '[]')
      FROM pg_proc p WHERE p.pronamespace = here AND p.proname LIKE 'vcon\_storage\_%'),
    'triggers', (
      SELECT coalesce(json_agg(json_build_object(
          'table', c.relname, 'name', t.tgname, 'on', t.tgenabled IN ('O', 'A'))
          ORDER BY c.relname, t.tgname), '[]')
      FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
      WHERE c.relnamespace = here AND NOT t.tgisinternal AND t.tgname LIKE '%vcon\_storage\_%'));
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

CREATE FUNCTION public.vcon_storage_edit_v1() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    AS $$
DECLARE
  old_row record;
  new_row record;
  was jsonb;
  is_now jsonb;
  rewritten boolean;
  old_value jsonb;
  new_value jsonb;
  written json := OLD.as_written;
  kind text;
  given record;
  member text;
  names text[] := '{}';
  found_values json[] := '{}';
  removed text[] := '{}';
BEGIN
  IF TG_TABLE_NAME = 'vcons' THEN
    IF NEW.revision IS DISTINCT FROM OLD.revision THEN
      RETURN NEW;  -- by vcon_storage_edited_v1
    END IF;
  END IF;
  -- Without as_written: it may hold numbers that jsonb can't.
  old_row := OLD;
  old_row.as_written := NULL;
  was := to_jsonb(old_row);
  new_row := NEW;
  new_row.as_written := NULL;
  is_now := to_jsonb(new_row);
  rewritten := NEW.as_written::text IS DISTINCT FROM written::text;
  IF was = is_now AND NOT rewritten THEN
    RETURN NEW;
  END IF;

  IF written IS NOT NULL AND NOT rewritten THEN
    FOR given IN
      -- The members that a column stands for, the first that is there. "if_there": the other program
      -- keeps the column for itself, so it adds no member.
      SELECT c.name, c.members, c.if_there FROM (VALUES
        ('vcons', 'vcon_version', ARRAY['vcon'], false),
        ('vcons', 'subject', ARRAY['subject'], false),
        ('vcons', 'created_at', ARRAY['created_at'], false),
        ('vcons', 'updated_at', ARRAY['updated_at'], false),
        ('vcons', 'extensions', ARRAY['extensions'], false),
        ('vcons', 'critical', ARRAY['critical', 'must_support'], false),
        -- These two are kept in step with the one before and after, under their newer names.
        ('vcons', 'must_support', ARRAY['must_support'], true),
        ('vcons', 'appended', ARRAY['appended'], true),
        ('vcons', 'amended', ARRAY['amended', 'appended'], false),
        ('vcons', 'redacted', ARRAY['redacted'], false),
        ('vcons', 'group_data', ARRAY['group'], false),
        ('parties', 'tel', ARRAY['tel'], false),
        ('parties', 'sip', ARRAY['sip'], false),
        ('parties', 'stir', ARRAY['stir'], false),
        ('parties', 'mailto', ARRAY['mailto'], false),
        ('parties', 'name', ARRAY['name'], false),
        ('parties', 'did', ARRAY['did'], false),
        ('parties', 'validation', ARRAY['validation'], false),
        ('parties', 'gmlpos', ARRAY['gmlpos'], false),
        ('parties', 'timezone', ARRAY['timezone'], false),
        ('parties', 'uuid', ARRAY['uuid'], false),
        ('parties', 'jcard', ARRAY['jcard'], false),
        ('parties', 'civicaddress', ARRAY['civicaddress'], false),
        ('parties', 'data_subject_id', ARRAY['data_subject_id'], true),
        ('parties', 'metadata', ARRAY['metadata', 'meta'], true),
        ('dialog', 'type', ARRAY['type'], false),
        ('dialog', 'start_time', ARRAY['start'], false),
        ('dialog', 'duration_seconds', ARRAY['duration'], false),
        ('dialog', 'parties', ARRAY['parties'], false),
        ('dialog', 'originator', ARRAY['originator'], false),
        ('dialog', 'disposition', ARRAY['disposition'], false),
        ('dialog', 'session_id', ARRAY['session_id'], false),
        ('dialog', 'application', ARRAY['application'], false),
        ('dialog', 'message_id', ARRAY['message_id'], false),
        ('dialog', 'transferee', ARRAY['transferee'], false),
        ('dialog', 'transferor', ARRAY['transferor'], false),
        ('dialog', 'transfer_target', ARRAY['transfer_target', 'transfer-target'], false),
        ('dialog', 'original', ARRAY['original'], false),
        ('dialog', 'consultation', ARRAY['consultation'], false),
        ('dialog', 'target_dialog', ARRAY['target_dialog', 'target-dialog'], false),
        ('analysis', 'type', ARRAY['type'], false),
        ('analysis', 'dialog_indices', ARRAY['dialog'], false),
        ('analysis', 'vendor', ARRAY['vendor'], false),
        ('analysis', 'product', ARRAY['product'], false),
        ('analysis', 'schema', ARRAY['schema', 'schema_version'], false),
        ('analysis', 'created_at', ARRAY['created_at'], true),
        ('analysis', 'confidence', ARRAY['confidence'], false),
        ('attachments', 'type', ARRAY['type'], false),
        ('attachments', 'purpose', ARRAY['purpose'], false),
        ('attachments', 'start_time', ARRAY['start'], false),
        ('attachments', 'party', ARRAY['party'], false),
        ('attachments', 'dialog', ARRAY['dialog'], false),
        ('attachments', 'mimetype', ARRAY['mediatype', 'mimetype'], false),
        ('file', 'mediatype', ARRAY['mediatype', 'mimetype'], false),
        ('file', 'filename', ARRAY['filename'], false),
        ('file', 'encoding', ARRAY['encoding'], false),
        ('file', 'url', ARRAY['url'], false),
        ('file', 'content_hash', ARRAY['content_hash'], false),
        ('file', 'size_bytes', ARRAY['size_bytes'], true),
        ('file', 'metadata', ARRAY['metadata', 'meta'], true)
      ) AS c (table_name, name, members, if_there)
      WHERE c.table_name = TG_TABLE_NAME
        OR (c.table_name = 'file' AND TG_TABLE_NAME IN ('dialog', 'analysis', 'attachments'))
    LOOP
      old_value := was -> given.name;
      new_value := is_now -> given.name;
      IF given.name IN ('redacted', 'appended', 'amended', 'group_data') THEN
        -- Empty means absent there.
        old_value := nullif(nullif(old_value, '{}'), '[]');
        new_value := nullif(nullif(new_value, '{}'), '[]');
      END IF;
      old_value := nullif(old_value, 'null');
      new_value := nullif(new_value, 'null');
      CONTINUE WHEN new_value IS NOT DISTINCT FROM old_value;
      member := (SELECT m FROM unnest(given.members) AS m WHERE written -> m IS NOT NULL LIMIT 1);
      IF new_value IS NULL THEN
        removed := removed || coalesce(member, '');
      ELSIF member IS NOT NULL OR NOT given.if_there THEN
        kind := json_typeof(written -> member);
        IF kind = 'number' AND jsonb_typeof(new_value) = 'array' AND jsonb_array_length(new_value) = 1
        THEN
          new_value := new_value -> 0;
        ELSIF kind = 'array' AND given.name = 'content_hash' THEN
          new_value := to_jsonb(string_to_array(new_value #>> '{}', ' '));
        END IF;
        names := names || coalesce(member, given.members[1]);
        found_values := found_values || new_value::json;
      END IF;
    END LOOP;

    IF TG_TABLE_NAME IN ('dialog', 'analysis', 'attachments') THEN
      kind := json_typeof(written -> 'body');
      IF NEW.body IS DISTINCT FROM OLD.body THEN
        IF NEW.body IS NULL THEN
          removed := removed || 'body'::text;
        ELSE
          -- What stands for it says whether it is a text, or the JSON text of an object or a list.
          names := names || 'body'::text;
          found_values := found_values || CASE
            WHEN kind IN ('object', 'array') AND OLD.body IS NOT NULL THEN
              CASE vcon_storage_json_type_v1(NEW.body)
                WHEN 'object' THEN '{}' WHEN 'array' THEN '[]' ELSE 'null' END
            ELSE 'null' END::json;
        END IF;
      ELSIF OLD.body IS NULL AND kind IS NOT NULL AND kind <> 'null'
          AND OLD.encoding IS NOT NULL AND NEW.encoding IS NULL THEN
        removed := removed || 'body'::text;  -- too long for the column; it goes with its encoding
      END IF;
    END IF;
    IF names <> '{}' OR removed <> '{}' THEN
      NEW.as_written := vcon_storage_members_v1(written, names, found_values, removed);
    END IF;
  END IF;

  IF TG_TABLE_NAME = 'vcons' THEN
    NEW.revision := nextval('vcon_revision');
    NEW.digest := NULL;
    NEW.saved_at := clock_timestamp();
    DELETE FROM vcon_edited WHERE ctid = ANY (ARRAY(
      SELECT e.ctid FROM vcon_edited e WHERE e.uuid = NEW.uuid FOR UPDATE SKIP LOCKED));
    PERFORM vcon_storage_new_episode_v1();
  ELSE
    PERFORM vcon_storage_edited_v1(NEW.vcon_id);
    IF NEW.vcon_id <> OLD.vcon_id THEN
      PERFORM vcon_storage_edited_v1(OLD.vcon_id);
    END IF;
  END IF;
  RETURN NEW;
END
$$;

CREATE FUNCTION public.vcon_storage_edited_v1(p_vcon uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
  its_uuid uuid;
BEGIN
  IF current_setting('vcon_storage.edited', true) = p_vcon::text THEN
    RETURN;
  END IF;
  SELECT uuid INTO its_uuid FROM vcons WHERE uuid = p_vcon;
  IF NOT FOUND THEN
    SELECT uuid INTO its_uuid FROM vcons WHERE id = p_vcon;
  END IF;
  IF NOT FOUND THEN
    RETURN;  -- gone with its vCon
  END IF;
  PERFORM FROM vcons WHERE uuid = its_uuid FOR NO KEY UPDATE SKIP LOCKED;
  IF FOUND THEN
    UPDATE vcons
      SET revision = nextval('vcon_revision'), digest = NULL, saved_at = clock_timestamp()
      WHERE uuid = its_uuid;
    DELETE FROM vcon_edited WHERE ctid = ANY (ARRAY(
      SELECT e.ctid FROM vcon_edited e WHERE e.uuid = its_uuid FOR UPDATE SKIP LOCKED));
  ELSE
    INSERT INTO vcon_edited VALUES (its_uuid);
  END IF;
  PERFORM vcon_storage_new_episode_v1();
  PERFORM set_config('vcon_storage.edited', p_vcon::text, true);
END
$$;

CREATE FUNCTION public.vcon_storage_embed_v1(p_uuid uuid, p_part text, p_model text, p_vector json, p_tenant text DEFAULT NULL::text) RETURNS json
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $_$
DECLARE
  vector_schema text := vcon_storage_vector_schema_v1();
  was_there boolean := false;
  state record;
BEGIN
  SELECT * INTO state FROM vcon_storage_cache_state_v1();
  IF vector_schema IS NOT NULL THEN
    PERFORM FROM vcons WHERE uuid = p_uuid AND (p_tenant IS NULL OR tenant_id = p_tenant)
      FOR KEY SHARE;
    was_there := FOUND;
  END IF;
  IF was_there THEN
    EXECUTE format('INSERT INTO vcon_vectors (vcon, part, model, dimension, vector)'
        ' VALUES ($1, $2, $3, $4, $5::text::%I.vector) ON CONFLICT (vcon, model, part) DO UPDATE'
        ' SET dimension = excluded.dimension, vector = excluded.vector, saved_at = now()',
        vector_schema)
      USING p_uuid, p_part, p_model, json_array_length(p_vector), p_vector;
  END IF;
  RETURN json_build_object('episode', state.episode, 'off', state.off, 'now', state.now,
    'found', was_there, 'refused', CASE WHEN vector_schema IS NULL THEN
      'embedding: this database has no pgvector, or had none when search was set up' END);
END
$_$;

CREATE FUNCTION public.vcon_storage_figures_v1(p_most integer DEFAULT 100000) RETURNS json
    LANGUAGE sql STABLE
    SET search_path TO 'public', 'pg_temp'
    SET lock_timeout TO '500ms'
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

CREATE FUNCTION public.vcon_storage_fill_groups_v1() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
  members json := NEW.as_written -> 'group';
  entry record;
BEGIN
  IF NEW.as_written IS NULL THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'UPDATE' THEN
    DELETE FROM groups WHERE vcon_id = NEW.uuid;
  END IF;
  IF members IS NULL OR json_typeof(members) <> 'array' THEN
    RETURN NULL;
  END IF;
  FOR entry IN
    SELECT value, place FROM json_array_elements(members) WITH ORDINALITY AS e (value, place)
    WHERE json_typeof(value) = 'object'
  LOOP
    BEGIN
      INSERT INTO groups (vcon_id, group_index, uuid, body, encoding, url, content_hash)
        VALUES (NEW.uuid, entry.place - 1, (entry.value ->> 'uuid')::uuid, entry.value ->> 'body',
          nullif(entry.value ->> 'encoding', ''), entry.value ->> 'url',
          entry.value ->> 'content_hash');
    EXCEPTION WHEN data_exception OR integrity_constraint_violation OR program_limit_exceeded THEN
      CONTINUE;
    END;
  END LOOP;
  RETURN NULL;
END
$$;

CREATE FUNCTION public.vcon_storage_fill_history_v1() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
  history json := NEW.as_written -> 'party_history';
  entry json;
  added uuid;
BEGIN
  IF NEW.as_written IS NULL THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'UPDATE' THEN
    DELETE FROM party_history WHERE dialog_id = NEW.id;
  END IF;
  IF history IS NULL OR json_typeof(history) <> 'array' THEN
    RETURN NULL;
  END IF;
  FOR entry IN SELECT e FROM json_array_elements(history) AS e WHERE json_typeof(e) = 'object' LOOP
    BEGIN
      INSERT INTO party_history (dialog_id, party_index, time, event)
        VALUES (NEW.id, (entry ->> 'party')::integer, (entry ->> 'time')::timestamptz,
          entry ->> 'event')
        RETURNING id INTO added;
    EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
      CONTINUE;  -- the member has it, and get returns that
    END;
    IF coalesce(entry ->> 'dtmf', entry ->> 'button') IS NOT NULL THEN
      BEGIN
        UPDATE party_history SET dtmf = coalesce(entry ->> 'dtmf', entry ->> 'button')
          WHERE id = added;
      EXCEPTION WHEN undefined_column THEN
        CONTINUE;  -- older tables have none
      END;
    END IF;
  END LOOP;
  RETURN NULL;
END
$$;

CREATE FUNCTION public.vcon_storage_find_v1(p_query json, p_tenant text DEFAULT NULL::text) RETURNS json
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    SET client_min_messages TO 'error'
    AS $_$
DECLARE
  counted CONSTANT integer := 10000;  -- so many are counted one by one
  ranked CONSTANT integer := 10000;   -- so many of the newest are ranked by their words
  listed CONSTANT integer := 200;     -- so many of each list are fused
  state record;
  language text;
  words tsquery;
  subject text;
  mark jsonb := '{}';
  marks jsonb[];
  criteria text := 'true';
  matching text;
  after json := p_query -> 'after';
  sort text := coalesce(p_query ->> 'order', 'newest');
  key text;
  floor timestamptz := (p_query -> 'after' ->> 'floor')::timestamptz;
  uuids uuid[];
  vector_schema text;
  dimension integer := json_array_length(p_query -> 'vector');
  nearest text;
  fused text;
  list_uuids uuid[];
  list_ranks double precision[];
  page text;
  answer json;
  total bigint;
  plan json;
  explained text;
BEGIN
  SELECT c.episode, c.off, c.now, s.languages, s.complete INTO state
    FROM vcon_storage_cache_state_v1() c, vcon_search_state s;
  language := coalesce(p_query ->> 'language', state.languages[1]);

  -- Criteria. $1 marks, $2 words, $3 subject, $4 tenant, $5 start, $6 end, $7 since, $8 uuids
  IF p_query -> 'tags' IS NOT NULL THEN
    mark := mark || jsonb_strip_nulls(jsonb_build_object(
      'tag', (SELECT jsonb_agg(concat(t.key, ':', t.value)) FROM json_each_text(p_query -> 'tags') t
        WHERE t.value IS NOT NULL),
      'tagged', (SELECT jsonb_agg(t.key) FROM json_each_text(p_query -> 'tags') t)));
  END IF;
  IF p_query ->> 'dialog_type' IS NOT NULL THEN
    mark := mark || jsonb_build_object('dialog', jsonb_build_array(p_query ->> 'dialog_type'));
  END IF;
  IF coalesce(p_query ->> 'analysis_type', p_query ->> 'vendor') IS NOT NULL THEN
    mark := mark || jsonb_build_object('analysis', jsonb_build_array(jsonb_strip_nulls(
      jsonb_build_object('type', p_query ->> 'analysis_type', 'vendor', p_query ->> 'vendor'))));
  END IF;
  IF p_query ->> 'attached' IS NOT NULL THEN
    mark := mark || jsonb_build_object('attached', (p_query ->> 'attached')::boolean);
  END IF;
  IF p_query ->> 'attachment' IS NOT NULL THEN
    mark := mark || jsonb_build_object('attachment', jsonb_build_array(p_query ->> 'attachment'));
  END IF;
  IF p_query -> 'party' IS NOT NULL THEN
    marks := ARRAY(SELECT mark || jsonb_build_object('party', jsonb_build_array(shape))
      FROM unnest(vcon_storage_party_shapes_v1(p_query -> 'party')) AS shape);
  ELSIF p_query ->> 'anybody' IS NOT NULL THEN
    marks := ARRAY(SELECT mark || jsonb_build_object('party', jsonb_build_array(shape))
      FROM unnest(ARRAY['name', 'mailto', 'uuid', 'tel']) AS field,
        unnest(vcon_storage_party_shapes_v1(
          json_build_object(field, p_query ->> 'anybody'))) AS shape);
  ELSIF mark <> '{}' THEN
    marks := ARRAY[mark];
  END IF;
  IF cardinality(marks) = 1 THEN
    criteria := criteria || ' AND s.marks @> $1[1]';
  ELSIF marks IS NOT NULL THEN
    criteria := criteria || ' AND s.marks @> ANY ($1)';
  END IF;
  IF p_query ->> 'subject' IS NOT NULL THEN
    subject := '%' || replace(replace(replace(
      p_query ->> 'subject', '\', '\\'), '%', '\%'), '_', '\_') || '%';
    criteria := criteria || ' AND s.subject ILIKE $3';
  END IF;
  IF coalesce(p_tenant, p_query ->> 'tenant') IS NOT NULL THEN
    criteria := criteria || ' AND s.tenant_id = $4';
  END IF;
  IF p_query ->> 'start' IS NOT NULL THEN
    criteria := criteria || ' AND s.created_at >= $5';
  END IF;
  IF p_query ->> 'end' IS NOT NULL THEN
    criteria := criteria || ' AND s.created_at <= $6';
  END IF;
  IF p_query ->> 'since' IS NOT NULL THEN
    criteria := criteria || ' AND s.saved_at >= $7';
  END IF;
  IF p_query -> 'uuids' IS NOT NULL THEN
    uuids := ARRAY(SELECT value::uuid FROM json_array_elements_text(p_query -> 'uuids') AS value);
    criteria := criteria || ' AND s.uuid = ANY ($8)';
  END IF;
  matching := criteria;
  IF p_query ->> 'text' IS NOT NULL THEN
    IF NOT language = ANY (state.languages) THEN
      RETURN json_build_object('episode', state.episode, 'off', state.off, 'now', state.now,
        'refused', format('language: this database indexes %s',
          array_to_string(state.languages, ', ')));
    END IF;
    words := websearch_to_tsquery(language::regconfig, p_query ->> 'text');
    IF numnode(words) = 0 THEN
      RETURN json_build_object('episode', state.episode, 'off', state.off, 'now', state.now,
        'refused', format('text: has no word to search by in the language %s', language));
    END IF;
    matching := matching || ' AND s.words @@ $2';
  END IF;

  -- The nearest embeddings, and what they are fused with. The dimension is a number and the schema
  -- the extension's, so that an index made for this dimension serves.
  IF dimension IS NOT NULL THEN
    vector_schema := vcon_storage_vector_schema_v1();
    IF vector_schema IS NULL THEN
      RETURN json_build_object('episode', state.episode, 'off', state.off, 'now', state.now,
        'refused', 'embedding: this database has no pgvector, or had none when search was set up');
    END IF;
    BEGIN
      -- With an index: goes on until enough of the nearest meet the criteria too.
      PERFORM set_config('hnsw.iterative_scan', 'strict_order', true);
    EXCEPTION WHEN OTHERS THEN
      NULL;  -- pgvector before 0.8
    END;
    nearest := format($sql$
      SELECT f.uuid, 1 - min(f.distance) AS rank FROM (
        SELECT e.vcon AS uuid,
          (e.vector::%1$I.vector(%2$s)) OPERATOR(%1$I.<=>) $9::text::%1$I.vector(%2$s) AS distance
        FROM vcon_vectors e JOIN vcon_search s ON s.uuid = e.vcon
        WHERE e.dimension = %2$s AND e.model = $10%3$s AND %4$s
        ORDER BY (e.vector::%1$I.vector(%2$s)) OPERATOR(%1$I.<=>) $9::text::%1$I.vector(%2$s)
        LIMIT %5$s) AS f
      GROUP BY f.uuid$sql$, vector_schema, dimension,
      CASE WHEN p_query ->> 'part' IS NOT NULL THEN ' AND e.part = $11' END, criteria, listed);
  END IF;
  IF words IS NOT NULL AND sort = 'rank' THEN
    page := format('SELECT s.*, ts_rank(s.words, $2) AS rank FROM (SELECT * FROM vcon_search s'
      ' WHERE %s%s ORDER BY s.created_at DESC%s) AS s', matching,
      CASE WHEN floor IS NOT NULL THEN ' AND s.created_at >= $12' END,
      CASE WHEN after IS NULL OR nearest IS NOT NULL THEN format(' LIMIT %s', ranked) END);
  END IF;
  IF nearest IS NOT NULL AND words IS NOT NULL THEN
    -- Reciprocal rank fusion with k = 60: Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion
    -- outperforms Condorcet and individual Rank Learning Methods", SIGIR 2009.
    fused := format($sql$
      SELECT uuid, sum(1.0::double precision / (60 + place)) AS rank FROM (
        (SELECT n.uuid, row_number() OVER (ORDER BY n.rank DESC, n.uuid) AS place FROM (%s) AS n)
        UNION ALL
        (SELECT t.uuid, row_number() OVER (ORDER BY t.rank DESC, t.uuid) AS place FROM (%s) AS t
          ORDER BY 2 LIMIT %s)) AS both_lists
      GROUP BY uuid$sql$, nearest, page, listed);
  ELSE
    fused := nearest;
  END IF;
  IF after -> 'rest' IS NOT NULL THEN
    list_uuids := ARRAY(SELECT (e ->> 0)::uuid FROM json_array_elements(after -> 'rest') AS e);
    list_ranks := ARRAY(
      SELECT (e ->> 1)::double precision FROM json_array_elements(after -> 'rest') AS e);
  ELSIF fused IS NOT NULL AND p_query ->> 'explain' IS NULL THEN
    EXECUTE format('SELECT coalesce(array_agg(uuid ORDER BY rank DESC, uuid), ''{}''),'
        ' array_agg(rank ORDER BY rank DESC, uuid) FROM (%s) AS l', fused)
      INTO list_uuids, list_ranks
      USING marks, words, subject, coalesce(p_tenant, p_query ->> 'tenant'),
        (p_query ->> 'start')::timestamptz, (p_query ->> 'end')::timestamptz,
        (p_query ->> 'since')::timestamptz, uuids, p_query ->> 'vector', p_query ->> 'model',
        p_query ->> 'part', floor;
  END IF;

  -- The page: $13 limit, $14 and $15 where the one before ended, $16 its rank.
  IF fused IS NOT NULL THEN
    page := format('SELECT s.*, l.rank, l.n FROM unnest($17, $18) WITH ORDINALITY AS l (uuid, rank, n)'
      ' JOIN vcon_search s ON s.uuid = l.uuid WHERE %s ORDER BY l.n LIMIT $13 + 1', criteria);
    key := 'n';
  ELSIF words IS NOT NULL AND sort = 'rank' THEN
    page := format('SELECT *, row_number() OVER (ORDER BY rank DESC, uuid DESC) AS n,'
      ' count(*) OVER () AS all_ranked, min(created_at) OVER () AS oldest FROM (%s) AS r', page);
    page := format('SELECT * FROM (%s) AS p%s ORDER BY rank DESC, uuid DESC LIMIT $13 + 1', page,
      CASE WHEN after IS NOT NULL THEN ' WHERE (rank, uuid) < ($16, $15)' END);
    key := 'n';
  ELSE
    page := CASE sort
      WHEN 'newest' THEN format(
        'SELECT s.*, %%s AS rank FROM vcon_search s WHERE %s%s'
        ' ORDER BY s.created_at DESC, s.uuid DESC LIMIT $13 + 1', matching,
        CASE WHEN after IS NOT NULL THEN ' AND (s.created_at, s.uuid) < ($14, $15)' END)
      WHEN 'oldest' THEN format(
        'SELECT s.*, %%s AS rank FROM vcon_search s WHERE %s%s'
        ' ORDER BY s.created_at, s.uuid LIMIT $13 + 1', matching,
        CASE WHEN after IS NOT NULL THEN ' AND (s.created_at, s.uuid) > ($14, $15)' END)
      ELSE format(
        'SELECT s.*, %%s AS rank FROM vcon_search s WHERE %s%s'
        ' ORDER BY s.saved_at, s.uuid LIMIT $13 + 1', matching,
        CASE WHEN after IS NOT NULL THEN ' AND (s.saved_at, s.uuid) > ($14, $15)' END) END;
    page := format(page, CASE WHEN words IS NULL THEN 'NULL::real' ELSE 'ts_rank(s.words, $2)' END);
    key := NULL;
  END IF;
  explained := page;
  page := format($sql$
    SELECT json_build_object(
      'more', count(*) > $13,
      'floor', %1$s,
      'hits', coalesce(json_agg(json_build_object(
        'uuid', f.uuid, 'created_at', f.created_at, 'saved_at', f.saved_at, 'rank', f.rank,
        'subject', CASE WHEN $19 THEN f.subject END,
        'names', CASE WHEN $19 THEN (SELECT json_agg(coalesce(p.name, p.as_written ->> 'name')
          ORDER BY p.party_index) FROM parties p WHERE p.vcon_id = f.uuid) END,
        'snippet', CASE WHEN $19 AND $2 IS NOT NULL
          THEN vcon_storage_snippet_v1(f.uuid, $2, $20) END,
        'rows', CASE WHEN $21 IS NULL THEN vcon_storage_rows_v1(v)
          ELSE vcon_storage_parts_v1(v, $21) END
      ) ORDER BY f.place) FILTER (WHERE f.place <= $13), '[]'))
    FROM (SELECT page.*, row_number() OVER () AS place FROM (%2$s) AS page) AS f
    JOIN vcons v ON v.uuid = f.uuid$sql$,
    CASE WHEN words IS NOT NULL AND sort = 'rank' AND fused IS NULL AND after IS NULL
      THEN format('CASE WHEN max(f.all_ranked) >= %s THEN min(f.oldest) END', ranked)
      ELSE '$12' END, page);
  IF p_query ->> 'explain' IS NOT NULL THEN
    page := 'EXPLAIN (FORMAT JSON) ' || coalesce(CASE WHEN after IS NULL THEN fused END, explained);
  END IF;
  EXECUTE page INTO answer
    USING marks, words, subject, coalesce(p_tenant, p_query ->> 'tenant'),
      (p_query ->> 'start')::timestamptz, (p_query ->> 'end')::timestamptz,
      (p_query ->> 'since')::timestamptz, uuids, p_query ->> 'vector', p_query ->> 'model',
      p_query ->> 'part', floor, coalesce((p_query ->> 'limit')::integer, 100),
      (after ->> 'at')::timestamptz, (after ->> 'uuid')::uuid, (after ->> 'rank')::real,
      list_uuids, list_ranks, coalesce((p_query ->> 'details')::boolean, false), language,
      CASE WHEN p_query -> 'include' IS NOT NULL THEN ARRAY(
        SELECT part FROM json_array_elements_text(p_query -> 'include') AS part) END;
  IF p_query ->> 'explain' IS NOT NULL THEN
    RETURN json_build_object('episode', state.episode, 'off', state.off, 'now', state.now,
      'plan', answer);
  END IF;

  IF fused IS NOT NULL THEN
    total := cardinality(list_uuids);
  ELSIF (p_query ->> 'total')::boolean THEN
    EXECUTE format('SELECT count(*) FROM (SELECT FROM vcon_search s WHERE %s LIMIT %s) AS c',
        matching, counted + 1)
      INTO total
      USING marks, words, subject, coalesce(p_tenant, p_query ->> 'tenant'),
        (p_query ->> 'start')::timestamptz, (p_query ->> 'end')::timestamptz,
        (p_query ->> 'since')::timestamptz, uuids;
    IF total > counted THEN
      EXECUTE format('EXPLAIN (FORMAT JSON) SELECT FROM vcon_search s WHERE %s', matching)
        INTO plan
        USING marks, words, subject, coalesce(p_tenant, p_query ->> 'tenant'),
          (p_query ->> 'start')::timestamptz, (p_query ->> 'end')::timestamptz,
          (p_query ->> 'since')::timestamptz, uuids;
      total := greatest(total, (plan -> 0 -> 'Plan' ->> 'Plan Rows')::numeric::bigint);
    END IF;
  END IF;
  RETURN json_build_object('episode', state.episode, 'off', state.off, 'now', state.now,
    'complete', state.complete, 'total', total,
    'exact', fused IS NULL AND total <= counted, 'more', answer -> 'more',
    'floor', answer -> 'floor', 'hits', answer -> 'hits',
    'rest', CASE WHEN fused IS NOT NULL THEN (
      SELECT coalesce(json_agg(json_build_array(l.uuid, l.rank) ORDER BY l.n), '[]')
      FROM unnest(list_uuids, list_ranks) WITH ORDINALITY AS l (uuid, rank, n)
      WHERE l.n > coalesce((
        SELECT max(array_position(list_uuids, (hit ->> 'uuid')::uuid))
        FROM json_array_elements(answer -> 'hits') AS hit), 0)) END);
END
$_$;

CREATE FUNCTION public.vcon_storage_fit_v1() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $_$
DECLARE
  fits boolean := true;
BEGIN
  IF TG_TABLE_NAME = 'dialog' THEN
    IF NEW.type IS NULL OR NEW.type NOT IN ('recording', 'text', 'transfer', 'incomplete') THEN
      NEW.type := 'incomplete';
    END IF;
    IF NEW.disposition NOT IN ('no-answer', 'congestion', 'failed', 'busy', 'hung-up',
        'voicemail-no-message') AND EXISTS (
        SELECT FROM pg_constraint WHERE conrelid = TG_RELID AND contype = 'c'
          AND pg_get_constraintdef(oid) LIKE '%disposition%') THEN
      NEW.disposition := NULL;
    END IF;
    IF octet_length(NEW.session_id::text) > 2000 THEN
      NEW.session_id := NULL;  -- it is indexed whole where it is a text
    END IF;
  ELSIF TG_TABLE_NAME = 'analysis' THEN
    NEW.type := coalesce(NEW.type, '');
  END IF;
  IF NEW.body IS NULL THEN
    RETURN NEW;
  END IF;
  IF TG_TABLE_NAME = 'attachments' THEN
    -- Tags have a B-tree on their body, and a view that takes whatever has brackets for JSON.
    IF NEW.type = 'tags' THEN
      fits := octet_length(NEW.body) <= 2000 AND (NEW.body !~ '^\s*\[.*\]\s*$'
        OR vcon_storage_json_type_v1(NEW.body) IS NOT NULL);
    END IF;
  ELSIF length(NEW.body) > 100000 THEN
    -- A tsvector has at most 1 MB. That of base64 is larger than its text, and that of a long text
    -- takes seconds to fail: so it is tried only where it may work.
    fits := length(NEW.body) <= CASE WHEN NEW.encoding = 'base64url' THEN 500000 ELSE 4000000 END;
    IF fits THEN
      BEGIN
        PERFORM to_tsvector('english', NEW.body);
      EXCEPTION WHEN program_limit_exceeded THEN
        fits := false;
      END;
    END IF;
  END IF;
  IF NOT fits THEN
    NEW.as_written := vcon_storage_members_v1(NEW.as_written, '{body}',
      ARRAY[CASE WHEN json_typeof(NEW.as_written -> 'body') = 'null'
        THEN to_json(NEW.body) ELSE NEW.body::json END], '{}');
    NEW.body := NULL;
  END IF;
  RETURN NEW;
END
$_$;

CREATE FUNCTION public.vcon_storage_get_v1(p_uuid uuid, p_known bigint DEFAULT NULL::bigint, p_tenant text DEFAULT NULL::text) RETURNS json
    LANGUAGE sql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
  SELECT json_build_object(
    'episode', s.episode, 'off', s.off, 'now', s.now,
    'revision', r.revision,
    'changed_at', extract(epoch FROM coalesce(v.saved_at,
      (SELECT t.deleted_at FROM vcon_tombstones t WHERE t.uuid = p_uuid))),
    'rows', CASE WHEN v.uuid IS NOT NULL AND (p_known IS NULL
      OR r.revision IS DISTINCT FROM p_known) THEN vcon_storage_rows_v1(v) END)
  FROM vcon_storage_cache_state_v1() s LEFT JOIN vcons v
    ON v.uuid = p_uuid AND (p_tenant IS NULL OR v.tenant_id = p_tenant)
  CROSS JOIN LATERAL (SELECT CASE WHEN v.tenant_id IS NOT DISTINCT FROM p_tenant
    AND NOT EXISTS (SELECT FROM vcon_edited e WHERE e.uuid = p_uuid) THEN v.revision END
  ) AS r (revision)
$$;

CREATE FUNCTION public.vcon_storage_get_v2(p_uuid uuid, p_known bigint DEFAULT NULL::bigint, p_tenant text DEFAULT NULL::text) RETURNS json
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
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

CREATE FUNCTION public.vcon_storage_get_v3(p_uuid uuid, p_known bigint DEFAULT NULL::bigint, p_tenant text DEFAULT NULL::text) RETURNS json
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
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

CREATE FUNCTION public.vcon_storage_history_edited_v1() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
  of_dialog uuid := CASE TG_OP WHEN 'DELETE' THEN OLD.dialog_id ELSE NEW.dialog_id END;
  edited record;
  history json;
BEGIN
  SELECT d.id, d.vcon_id, d.as_written INTO edited FROM dialog d WHERE d.id = of_dialog
    FOR NO KEY UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN NULL;  -- gone with its dialog, or a save is about to write them all
  END IF;
  IF edited.as_written IS NOT NULL THEN
    history := vcon_storage_history_of_v1(of_dialog);
    UPDATE dialog SET as_written = vcon_storage_members_v1(edited.as_written,
        CASE WHEN history IS NULL THEN '{}' ELSE '{party_history}' END::text[],
        CASE WHEN history IS NULL THEN '{}' ELSE ARRAY[history] END,
        CASE WHEN history IS NULL THEN '{party_history}' ELSE '{}' END::text[])
      WHERE id = of_dialog;
  END IF;
  PERFORM vcon_storage_edited_v1(edited.vcon_id);
  RETURN NULL;
END
$$;

CREATE FUNCTION public.vcon_storage_history_of_v1(p_dialog uuid) RETURNS json
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    AS $$
BEGIN
  IF to_regclass('party_history') IS NULL THEN
    RETURN NULL;
  END IF;
  RETURN (
    SELECT json_agg(json_strip_nulls(json_build_object('party', h.party_index, 'time', h.time,
      'event', h.event, 'dtmf', to_json(h) -> 'dtmf')) ORDER BY h.time, h.party_index)
    FROM party_history h WHERE h.dialog_id = p_dialog);
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

CREATE FUNCTION public.vcon_storage_index_change_v1() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  IF NEW.revision IS NOT DISTINCT FROM (SELECT revision FROM vcons WHERE uuid = NEW.uuid) THEN
    PERFORM vcon_storage_index_v1(NEW.uuid);
  END IF;
  RETURN NULL;
END
$$;

CREATE FUNCTION public.vcon_storage_index_pending_v1(p_count integer DEFAULT 500, OUT indexed integer, OUT done boolean) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
  step CONSTANT integer := 25;
  n integer;
  places tid[];
  noted uuid[];
  part uuid[];
  free uuid[];
  upto integer := 0;
  held boolean := false;
BEGIN
  indexed := 0;
  done := NOT EXISTS (SELECT FROM vcon_search_pending);
  IF done OR current_setting('transaction_read_only') = 'on' THEN
    RETURN;
  END IF;
  PERFORM pg_advisory_xact_lock(
    hashtextextended('vcon_search_pending'::regclass::oid::text, 8616));
  -- One that was noted several times is indexed once, as a rule.
  SELECT count(*), array_agg(p.ctid ORDER BY p.uuid), array_agg(p.uuid ORDER BY p.uuid)
    INTO n, places, noted
    FROM (SELECT ctid, uuid FROM vcon_search_pending LIMIT p_count) AS p;
  WHILE upto < n LOOP
    part := noted[upto + 1 : upto + step];
    free := ARRAY(SELECT uuid FROM vcons WHERE uuid = ANY (part) FOR KEY SHARE SKIP LOCKED);
    held := held OR EXISTS (SELECT FROM vcons WHERE uuid = ANY (part) AND uuid <> ALL (free));
    DELETE FROM vcon_search_pending p
      WHERE p.ctid = ANY (places[upto + 1 : upto + step])
        AND (p.uuid = ANY (free) OR NOT EXISTS (SELECT FROM vcons v WHERE v.uuid = p.uuid));
    PERFORM vcon_storage_index_v2(free);
    indexed := indexed + cardinality(free);
    upto := upto + step;
    EXIT WHEN clock_timestamp() > statement_timestamp() + interval '1 second';
  END LOOP;
  done := upto >= n AND n < p_count AND NOT held;
END
$$;

CREATE FUNCTION public.vcon_storage_index_step_v1(p_count integer DEFAULT 500) RETURNS json
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
  state vcon_search_state;
  next_uuid uuid;
  seen integer := 0;
  indexed integer := 0;
  late boolean := false;
BEGIN
  SELECT * INTO state FROM vcon_search_state FOR UPDATE;
  IF NOT state.complete THEN
    FOR next_uuid IN
      SELECT uuid FROM vcons WHERE state.walked_to IS NULL OR uuid > state.walked_to
      ORDER BY uuid LIMIT p_count
    LOOP
      seen := seen + 1;
      state.walked_to := next_uuid;
      IF NOT EXISTS (SELECT FROM vcon_search WHERE uuid = next_uuid) THEN
        BEGIN
          PERFORM vcon_storage_index_v1(next_uuid, true);
          indexed := indexed + 1;
        EXCEPTION WHEN foreign_key_violation THEN
          NULL;  -- It was deleted meanwhile.
        END;
      END IF;
      late := clock_timestamp() > statement_timestamp() + interval '1 second';
      EXIT WHEN late;
    END LOOP;
    state.complete := seen < p_count AND NOT late;
    UPDATE vcon_search_state SET walked_to = state.walked_to, complete = state.complete;
  END IF;
  RETURN json_build_object('seen', seen, 'indexed', indexed, 'complete', state.complete);
END
$$;

CREATE FUNCTION public.vcon_storage_index_step_v2(p_count integer DEFAULT 500) RETURNS json
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
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

CREATE FUNCTION public.vcon_storage_index_v1(p_uuid uuid, p_only_missing boolean DEFAULT false) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  PERFORM vcon_storage_index_v2(ARRAY[p_uuid], p_only_missing);
END
$$;

CREATE FUNCTION public.vcon_storage_index_v2(p_uuids uuid[], p_only_missing boolean DEFAULT false) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    SET client_min_messages TO 'error'
    AS $$
DECLARE
  half integer := cardinality(p_uuids) / 2;
BEGIN
  FOR attempt IN 1..5 LOOP
    BEGIN
      INSERT INTO vcon_search AS old
        SELECT * FROM vcon_storage_search_rows_v1(p_uuids, 262144, 4, attempt > 1)
          WHERE attempt < 3
        UNION ALL
        SELECT uuid, tenant_id, created_at, saved_at, subject, marks || '{"cut": true}', words
          FROM vcon_storage_search_rows_v1(p_uuids, CASE attempt WHEN 3 THEN 65536 ELSE 0 END, 1, true)
          WHERE attempt IN (3, 4)
        UNION ALL
        SELECT uuid, left(tenant_id, 500), created_at, coalesce(saved_at, updated_at), NULL,
          '{"cut": true}', ''
          FROM vcons WHERE uuid = ANY (p_uuids) AND attempt = 5
      ON CONFLICT (uuid) DO UPDATE SET
        tenant_id = excluded.tenant_id, created_at = excluded.created_at,
        saved_at = excluded.saved_at, subject = excluded.subject, marks = excluded.marks,
        words = excluded.words
      WHERE NOT p_only_missing;
      RETURN;
    EXCEPTION
      WHEN foreign_key_violation OR transaction_rollback OR lock_not_available THEN
        RAISE;  -- It is not because of what is in them.
      WHEN OTHERS THEN
        IF attempt = 5 THEN
          RAISE;
        END IF;
    END;
    EXIT WHEN half > 0;
  END LOOP;
  -- Which one was it?
  PERFORM vcon_storage_index_v2(p_uuids[:half], p_only_missing);
  PERFORM vcon_storage_index_v2(p_uuids[half + 1:], p_only_missing);
END
$$;

CREATE FUNCTION public.vcon_storage_is_text_v1(p_encoding text, p_mediatype text, p_start text) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'public', 'pg_temp'
    AS $_$
BEGIN
  RETURN coalesce(p_encoding, '') !~* '^base64' AND coalesce(p_mediatype, '') !~*
      '^\s*((audio|video|image|font|model)/|application/(octet-stream|pdf|zip|gzip))'
    -- Some who write base64 don't say so.
    AND (length(p_start) < 1000 OR p_start !~ '^[A-Za-z0-9+/_=\r\n-]*$');
END
$_$;

CREATE FUNCTION public.vcon_storage_json_type_v1(p_text text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  RETURN json_typeof(p_text::json);
EXCEPTION WHEN data_exception THEN
  RETURN NULL;
END
$$;

CREATE FUNCTION public.vcon_storage_languages_v1(p_languages text[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  IF coalesce(cardinality(p_languages), 0) = 0 THEN
    RAISE 'name at least one language';
  END IF;
  PERFORM language::regconfig FROM unnest(p_languages) AS language;
  UPDATE vcon_search_state SET languages = p_languages, walked_to = NULL, complete = false;
  DELETE FROM vcon_search;
END
$$;

CREATE FUNCTION public.vcon_storage_lock_v1(p_uuid uuid) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  PERFORM set_config('vcon_storage.saving', 'yes', true);
  PERFORM pg_advisory_xact_lock(hashtextextended(p_uuid::text, 8615));
  DELETE FROM vcon_edited WHERE uuid = p_uuid;
  IF FOUND THEN
    UPDATE vcons SET digest = NULL WHERE uuid = p_uuid;
  END IF;
END
$$;

CREATE FUNCTION public.vcon_storage_mailto_v1(p_mailto text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'public', 'pg_temp'
    AS $_$
BEGIN
  RETURN regexp_replace(regexp_replace(lower(btrim(p_mailto)), '^mailto:\s*', ''), '\?.*$', '');
END
$_$;

CREATE FUNCTION public.vcon_storage_many_v1(p_uuids uuid[], p_rows boolean DEFAULT false, p_bytes integer DEFAULT 8000000, p_tenant text DEFAULT NULL::text) RETURNS json
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
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

CREATE FUNCTION public.vcon_storage_marks_v1(p_uuid uuid) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
  tags text[];
  purposes text[];
  attached boolean;
BEGIN
  SELECT count(*) > 0, array_agg(a.purpose) || array_agg(a.type),
      array_agg(a.tag) FILTER (WHERE a.tag IS NOT NULL)
    INTO attached, purposes, tags
    FROM (
      SELECT t.purpose, t.type, tag
      FROM (
        SELECT body, as_written,
          CASE WHEN as_written IS NULL THEN purpose ELSE as_written ->> 'purpose' END AS purpose,
          CASE WHEN as_written IS NULL THEN type ELSE as_written ->> 'type' END AS type
        FROM attachments WHERE vcon_id = p_uuid OFFSET 0
      ) AS t
      LEFT JOIN LATERAL unnest(CASE WHEN 'tags' IN (t.purpose, t.type)
        THEN vcon_storage_tags_v1(coalesce(t.body::text, t.as_written ->> 'body')) END) AS tag ON true
    ) AS a;
  RETURN jsonb_strip_nulls(jsonb_build_object(
    'party', (
      SELECT jsonb_agg(vcon_storage_party_marks_v1(
        coalesce(p.tel, p.as_written ->> 'tel'), coalesce(p.mailto, p.as_written ->> 'mailto'),
        coalesce(p.name, p.as_written ->> 'name'), coalesce(p.uuid::text, p.as_written ->> 'uuid')))
      FROM parties p WHERE p.vcon_id = p_uuid),
    'dialog', (
      SELECT array_agg(DISTINCT
        CASE WHEN d.as_written IS NULL THEN d.type ELSE d.as_written ->> 'type' END)
      FROM dialog d WHERE d.vcon_id = p_uuid),
    'analysis', (
      SELECT jsonb_agg(CASE WHEN y.as_written IS NULL
        THEN jsonb_build_object('type', y.type, 'vendor', y.vendor)
        ELSE jsonb_build_object('type', y.as_written ->> 'type',
          'vendor', y.as_written ->> 'vendor') END)
      FROM analysis y WHERE y.vcon_id = p_uuid),
    'attached', attached,
    'attachment', array_remove(purposes, NULL),
    'tag', tags,
    'tagged', CASE WHEN tags IS NOT NULL THEN
      ARRAY(SELECT split_part(tag, ':', 1) FROM unnest(tags) AS tag) END));
END
$$;

CREATE FUNCTION public.vcon_storage_members_v1(p_object json, p_names text[], p_values json[], p_removed text[]) RETURNS json
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
  given record;
  pieces text[] := '{}';
BEGIN
  -- In a loop: json_object_agg would sort values that may have megabytes.
  FOR given IN
    SELECT e.name, e.value, array_position(p_names, e.name) AS place
    FROM json_each(p_object) AS e (name, value)
    WHERE e.name <> ALL (p_removed)
  LOOP
    IF given.place IS NOT NULL THEN
      given.value := p_values[given.place];
    END IF;
    pieces := pieces || (to_json(given.name)::text || ':' || given.value::text);
  END LOOP;
  FOR place IN 1 .. cardinality(p_names) LOOP
    IF p_object -> p_names[place] IS NULL THEN
      pieces := pieces || (to_json(p_names[place])::text || ':' || p_values[place]::text);
    END IF;
  END LOOP;
  RETURN '{' || array_to_string(pieces, ',') || '}';
END
$$;

CREATE FUNCTION public.vcon_storage_name_v1(p_name text) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  RETURN array_remove(
    string_to_array(translate(lower(p_name), E'\t\n\r\u00a0\u3000', '     '), ' '), '');
END
$$;

CREATE FUNCTION public.vcon_storage_new_episode_v1() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  IF current_setting('vcon_storage.counted', true) = 'yes' THEN
    RETURN;
  END IF;
  UPDATE vcon_cache_edits SET n = n + 1
    WHERE stripe = (SELECT stripe FROM vcon_cache_edits LIMIT 1 FOR UPDATE SKIP LOCKED);
  IF NOT FOUND THEN
    INSERT INTO vcon_cache_edits (n) VALUES (1);
  END IF;
  PERFORM set_config('vcon_storage.counted', 'yes', true);
END
$$;

CREATE FUNCTION public.vcon_storage_part_came_or_went_v1() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  PERFORM vcon_storage_edited_v1(CASE TG_OP WHEN 'DELETE' THEN OLD.vcon_id ELSE NEW.vcon_id END);
  RETURN NULL;
END
$$;

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

CREATE FUNCTION public.vcon_storage_parts_v1(v public.vcons, p_include text[]) RETURNS json
    LANGUAGE sql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
  SELECT json_build_object(
    'vcon', v.as_written,
    'columns', CASE WHEN v.as_written IS NULL THEN to_json(v) END,
    'parties', CASE WHEN 'parties' = ANY (p_include) THEN (
      SELECT json_agg(CASE WHEN p.as_written IS NULL THEN to_json(p)
        ELSE json_build_array(p.as_written, NULL) END ORDER BY p.party_index)
      FROM parties p WHERE p.vcon_id = v.uuid) END,
    'dialog', CASE WHEN 'dialog' = ANY (p_include) THEN (
      SELECT json_agg(CASE WHEN d.as_written IS NULL THEN CASE WHEN 'bodies' = ANY (p_include)
          THEN to_json(d) ELSE (to_jsonb(d) - 'body')::json END
        ELSE json_build_array(d.as_written, CASE WHEN 'bodies' = ANY (p_include) THEN d.body END)
        END ORDER BY d.dialog_index)
      FROM dialog d WHERE d.vcon_id = v.uuid) END,
    'analysis', CASE WHEN 'analysis' = ANY (p_include) THEN (
      SELECT json_agg(CASE WHEN a.as_written IS NULL THEN CASE WHEN 'bodies' = ANY (p_include)
          THEN to_json(a) ELSE (to_jsonb(a) - 'body')::json END
        ELSE json_build_array(a.as_written, CASE WHEN 'bodies' = ANY (p_include) THEN a.body END)
        END ORDER BY a.analysis_index)
      FROM analysis a WHERE a.vcon_id = v.uuid) END,
    'attachments', CASE WHEN 'attachments' = ANY (p_include) THEN (
      SELECT json_agg(CASE WHEN t.as_written IS NULL THEN CASE WHEN 'bodies' = ANY (p_include)
          THEN to_json(t) ELSE (to_jsonb(t) - 'body')::json END
        ELSE json_build_array(t.as_written, CASE WHEN 'bodies' = ANY (p_include) THEN t.body END)
        END ORDER BY t.attachment_index)
      FROM attachments t WHERE t.vcon_id = v.uuid) END)
$$;

CREATE FUNCTION public.vcon_storage_party_marks_v1(p_tel text, p_mailto text, p_name text, p_uuid text) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'public', 'pg_temp'
    AS $_$
DECLARE
  tel text;
  words text[];
  mark jsonb := '{}';
BEGIN
  IF p_tel IS NOT NULL THEN
    tel := vcon_storage_tel_v1(p_tel);
    mark := jsonb_build_object('tel', CASE
      WHEN tel ~ '^\+[0-9]+$' THEN tel || vcon_storage_tel_ends_v1(substr(tel, 2))
      WHEN tel ~ '^[0-9]+$' THEN ('~' || tel) || vcon_storage_tel_ends_v1(tel)
      ELSE ARRAY[tel] END);
  END IF;
  IF p_name IS NOT NULL THEN
    words := vcon_storage_name_v1(p_name);
    IF p_name ~ '[.,;:!?()\[\]{}<>"''`]' THEN
      words := words || array_remove(ARRAY(
        SELECT btrim(word, '.,;:!?()[]{}<>"''`') FROM unnest(words) AS word), '');
    END IF;
    mark := mark || jsonb_build_object('name', words);
  END IF;
  IF p_mailto IS NOT NULL THEN
    mark := mark || jsonb_build_object('mailto', vcon_storage_mailto_v1(p_mailto));
  END IF;
  IF p_uuid IS NOT NULL THEN
    mark := mark || jsonb_build_object('uuid', lower(btrim(p_uuid)));
  END IF;
  RETURN mark;
END
$_$;

CREATE FUNCTION public.vcon_storage_party_shapes_v1(p_party json) RETURNS jsonb[]
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'public', 'pg_temp'
    AS $_$
DECLARE
  shape jsonb := '{}';
  tel text := vcon_storage_tel_v1(p_party ->> 'tel');
  digits text := ltrim(tel, '+');
BEGIN
  IF p_party ->> 'name' IS NOT NULL THEN
    shape := shape || jsonb_build_object('name', vcon_storage_name_v1(p_party ->> 'name'));
  END IF;
  IF p_party ->> 'mailto' IS NOT NULL THEN
    shape := shape || jsonb_build_object('mailto', vcon_storage_mailto_v1(p_party ->> 'mailto'));
  END IF;
  IF p_party ->> 'uuid' IS NOT NULL THEN
    shape := shape || jsonb_build_object('uuid', lower(btrim(p_party ->> 'uuid')));
  END IF;
  IF tel IS NULL THEN
    RETURN ARRAY[shape];
  ELSIF digits !~ '^[0-9]+$' THEN
    RETURN ARRAY[shape || jsonb_build_object('tel', ARRAY[tel])];
  END IF;
  -- The number as it is, or one without a country that it ends with.
  RETURN ARRAY(
    SELECT shape || jsonb_build_object('tel', ARRAY[token])
    FROM unnest(tel || ARRAY(
      SELECT '~' || ending FROM unnest(vcon_storage_tel_ends_v1(digits)) AS ending)) AS token);
END
$_$;

CREATE FUNCTION public.vcon_storage_pending_v1() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  INSERT INTO vcon_search_pending VALUES (NEW.uuid);
  RETURN NULL;
END
$$;

CREATE FUNCTION public.vcon_storage_restored_v1() RETURNS json
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
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

CREATE FUNCTION public.vcon_storage_rewrite_v1(p_rewriting uuid[], p_revisions bigint[], p_vcons json, p_parties json, p_dialog json, p_analysis json, p_attachments json, p_tenant text, p_has_tenant boolean) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
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
      FROM attachments t WHERE t.vcon_id IN (v.uuid, v.id)))
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

CREATE FUNCTION public.vcon_storage_save_v3(json) RETURNS json
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $_$
DECLARE
  given record;
BEGIN
  SELECT a.* INTO given
    FROM json_to_record($1) AS a(p_vcons json, p_parties json, p_dialog json, p_analysis json,
      p_attachments json, p_tenant text, p_deadline double precision);
  RETURN vcon_storage_write_v1(given.p_vcons, given.p_parties, given.p_dialog, given.p_analysis,
    given.p_attachments, given.p_tenant, given.p_deadline);
END
$_$;

CREATE FUNCTION public.vcon_storage_save_v4(text) RETURNS json
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $_$
DECLARE
  lines text[] := string_to_array($1, E'\n', '');
  given record;
BEGIN
  SELECT a.* INTO given
    FROM json_to_record(lines[1]::json) AS a(p_tenant text, p_deadline double precision);
  RETURN vcon_storage_write_v1(lines[2]::json, lines[3]::json, lines[4]::json, lines[5]::json,
    lines[6]::json, given.p_tenant, given.p_deadline);
END
$_$;

CREATE TABLE public.vcon_search (
    uuid uuid NOT NULL,
    tenant_id text,
    created_at timestamp with time zone NOT NULL,
    saved_at timestamp with time zone NOT NULL,
    subject text,
    marks jsonb NOT NULL,
    words tsvector NOT NULL
);

CREATE FUNCTION public.vcon_storage_search_rows_v1(p_uuids uuid[], p_room integer, p_json integer, p_careful boolean) RETURNS SETOF public.vcon_search
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
  used text[] := (SELECT languages FROM vcon_search_state);
BEGIN
  RETURN QUERY
  -- Each vCon by itself, so that one after the other is in memory.
  SELECT v.uuid, left(v.tenant_id, 500), v.created_at, coalesce(v.saved_at, v.updated_at),
    left(h.subject, 200000),
    jsonb_strip_nulls(jsonb_build_object(
      'party', party.marks,
      'dialog', CASE WHEN text.dialog IS NOT NULL THEN
        ARRAY(SELECT DISTINCT type FROM unnest(text.dialog) AS type) END,
      'analysis', text.analysis,
      'attached', attachment.is_there,
      'attachment', attachment.purposes,
      'tag', attachment.tags,
      'tagged', CASE WHEN attachment.tags IS NOT NULL THEN
        ARRAY(SELECT split_part(tag, ':', 1) FROM unnest(attachment.tags) AS tag) END,
      'cut', CASE WHEN text.size > p_room THEN true END)),
    vcon_storage_words_v1(used,
      json_build_array(left(h.subject, 10000), party.names, '0partend0'), text.bodies)
  FROM vcons v
  CROSS JOIN LATERAL coalesce(v.subject, v.as_written ->> 'subject') AS h (subject)
  CROSS JOIN LATERAL (
    SELECT json_agg(left(p.name, 1000)) AS names,
      jsonb_agg(vcon_storage_party_marks_v1(p.tel, p.mailto, p.name, p.uuid)) AS marks
    FROM (
      SELECT coalesce(tel, as_written ->> 'tel') AS tel,
        coalesce(mailto, as_written ->> 'mailto') AS mailto,
        coalesce(name, as_written ->> 'name') AS name,
        coalesce(parties.uuid::text, as_written ->> 'uuid') AS uuid
      FROM parties WHERE vcon_id = v.uuid
    ) AS p
  ) AS party
  CROSS JOIN LATERAL (
    -- No DISTINCT in here: for it, Postgres would put the bodies in another order.
    SELECT array_agg(b.type) FILTER (WHERE b.is_dialog) AS dialog,
      jsonb_agg(jsonb_build_object('type', b.type, 'vendor', b.vendor))
        FILTER (WHERE NOT b.is_dialog) AS analysis,
      coalesce(json_agg(CASE
          WHEN b.upto > p_room THEN to_json(left(b.body, (p_room - b.upto + b.size)::integer))
          WHEN NOT b.is_json THEN to_json(b.body)
          WHEN p_careful THEN vcon_storage_body_v1(b.body)
          ELSE b.body::json END) FILTER (WHERE b.upto - b.size < p_room), '[]') AS bodies,
      coalesce(max(b.upto), 0) AS size
    FROM (
      -- What is no text has no size, and adds nothing.
      SELECT c.*, sum(c.size) OVER (ORDER BY c.size, c.n) AS upto
      FROM (
        SELECT f.*, k.is_json,
          -- Most are known by the first two lines.
          CASE WHEN f.body <> '' AND f.encoding <> 'base64url' AND (
              octet_length(f.body) < 1000 AND f.encoding IN ('none', 'json')
                AND coalesce(f.mediatype, 'text/plain') = 'text/plain'
              OR vcon_storage_is_text_v1(f.encoding, f.mediatype, left(f.body, 1000)))
            THEN octet_length(f.body) / CASE WHEN k.is_json THEN p_json ELSE 1 END END AS size
        FROM (
          SELECT true AS is_dialog, d.dialog_index AS n,
            CASE WHEN d.as_written IS NULL THEN d.type ELSE d.as_written ->> 'type' END AS type,
            NULL AS vendor,
            coalesce(d.body::text, d.as_written ->> 'body') AS body,
            coalesce(d.encoding, d.as_written ->> 'encoding', '') AS encoding,
            coalesce(d.mediatype, d.as_written ->> 'mediatype') AS mediatype
          FROM dialog d WHERE d.vcon_id = v.uuid
          UNION ALL
          SELECT false, y.analysis_index,
            CASE WHEN y.as_written IS NULL THEN y.type ELSE y.as_written ->> 'type' END,
            CASE WHEN y.as_written IS NULL THEN y.vendor ELSE y.as_written ->> 'vendor' END,
            coalesce(y.body::text, y.as_written ->> 'body'),
            coalesce(y.encoding, y.as_written ->> 'encoding', ''),
            coalesce(y.mediatype, y.as_written ->> 'mediatype')
          FROM analysis y WHERE y.vcon_id = v.uuid
        ) AS f
        CROSS JOIN LATERAL (
          SELECT f.encoding = 'json' OR left(f.body, 1) IN ('{', '[')
        ) AS k (is_json)
      ) AS c
    ) AS b
  ) AS text
  CROSS JOIN LATERAL (
    SELECT count(*) > 0 AS is_there,
      array_remove(array_agg(a.purpose) || array_agg(a.type), NULL) AS purposes,
      array_agg(tag) FILTER (WHERE tag IS NOT NULL) AS tags
    FROM (
      SELECT body, as_written,
        CASE WHEN as_written IS NULL THEN purpose ELSE as_written ->> 'purpose' END AS purpose,
        CASE WHEN as_written IS NULL THEN type ELSE as_written ->> 'type' END AS type
      FROM attachments WHERE vcon_id = v.uuid OFFSET 0
    ) AS a
    LEFT JOIN LATERAL unnest(CASE WHEN 'tags' IN (a.purpose, a.type) THEN
      vcon_storage_tags_v1(coalesce(a.body::text, a.as_written ->> 'body')) END) AS tag ON true
  ) AS attachment
  WHERE v.uuid = ANY (p_uuids);
END
$$;

CREATE FUNCTION public.vcon_storage_search_setup_v1() RETURNS json
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    SET client_min_messages TO 'warning'
    AS $$
DECLARE
  wanted text;
  place text;
BEGIN
  FOREACH wanted IN ARRAY ARRAY['pg_trgm', 'vector'] LOOP
    IF EXISTS (SELECT FROM pg_available_extensions
        WHERE name = wanted AND installed_version IS NULL) THEN
      BEGIN
        EXECUTE format('CREATE EXTENSION %I SCHEMA %I', wanted,
          coalesce(to_regnamespace('extensions')::text, current_schema()));
      EXCEPTION WHEN insufficient_privilege OR feature_not_supported OR undefined_file THEN
        NULL;
      END;
    END IF;
    SELECT n.nspname INTO place FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
      WHERE e.extname = wanted;
    IF NOT FOUND THEN
      CONTINUE;
    ELSIF wanted = 'pg_trgm' THEN
      EXECUTE format('CREATE INDEX IF NOT EXISTS idx_vcon_search_subject ON vcon_search'
    ELSE
      EXECUTE format('CREATE TABLE IF NOT EXISTS vcon_vectors ('
        ' vcon uuid NOT NULL REFERENCES vcons (uuid) ON DELETE CASCADE ON UPDATE CASCADE,'
        ' part text NOT NULL, model text NOT NULL, dimension integer NOT NULL,'
        ' vector %I.vector NOT NULL, saved_at timestamptz NOT NULL DEFAULT now(),'
        ' PRIMARY KEY (vcon, model, part))', place);
      ALTER TABLE vcon_vectors ENABLE ROW LEVEL SECURITY;
      REVOKE ALL ON vcon_vectors FROM PUBLIC, anon, authenticated;
      GRANT SELECT, INSERT, UPDATE, DELETE ON vcon_vectors TO service_role;
      EXECUTE format('GRANT USAGE ON SCHEMA %I TO service_role', place);
    END IF;
  END LOOP;
  RETURN vcon_storage_search_state_v1();
END
$$;

CREATE FUNCTION public.vcon_storage_search_state_v1() RETURNS json
    LANGUAGE sql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
  SELECT json_build_object('episode', c.episode, 'off', c.off, 'now', c.now,
    'complete', s.complete, 'languages', s.languages,
    'substring_index', to_regclass('idx_vcon_search_subject') IS NOT NULL,
    'embeddings', vcon_storage_vector_schema_v1() IS NOT NULL)
  FROM vcon_storage_cache_state_v1() c, vcon_search_state s
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

CREATE FUNCTION public.vcon_storage_search_v2(p_query json, p_tenant text DEFAULT NULL::text) RETURNS json
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
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

CREATE FUNCTION public.vcon_storage_snippet_v1(p_uuid uuid, p_query tsquery, p_language text) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
    SET client_min_messages TO 'error'
    AS $_$
DECLARE
  stems text[] := ARRAY(
    SELECT left(stem, CASE WHEN length(stem) > 4 THEN length(stem) - 1 ELSE 4 END)
    FROM (SELECT replace(m[1], '''''', '''') AS stem
      FROM regexp_matches(querytree(p_query), '''((?:[^'']|'''')+)''', 'g') AS m) AS s);
  shown text;
  small text;
  piece text;
  place integer;
  passed integer;
BEGIN
  FOR shown IN
    SELECT left(subject, 200000) FROM vcons WHERE uuid = p_uuid
    UNION ALL (SELECT coalesce(name, as_written ->> 'name') FROM parties
      WHERE vcon_id = p_uuid ORDER BY party_index)
    UNION ALL (SELECT CASE WHEN left(f.body, 1) IN ('{', '[') OR f.encoding = 'json' THEN (
          SELECT string_agg(said #>> '{}', ' ') FROM jsonb_path_query(
            vcon_storage_body_v1(f.body)::jsonb, 'strict $.** ? (@.type() == "string")') AS said)
        ELSE f.body END
      FROM (
        SELECT 1 AS part, analysis_index AS n,
          left(coalesce(body::text, as_written ->> 'body'), 262144) AS body,
          coalesce(encoding, as_written ->> 'encoding', '') AS encoding,
          coalesce(mediatype, as_written ->> 'mediatype') AS mediatype
        FROM analysis WHERE vcon_id = p_uuid
        UNION ALL
        SELECT 2, dialog_index, left(coalesce(body::text, as_written ->> 'body'), 262144),
          coalesce(encoding, as_written ->> 'encoding', ''),
          coalesce(mediatype, as_written ->> 'mediatype')
        FROM dialog WHERE vcon_id = p_uuid
        ORDER BY part, n
      ) AS f
      WHERE f.body <> '' AND vcon_storage_is_text_v1(f.encoding, f.mediatype, left(f.body, 1000)))
  LOOP
    shown := translate(shown, U&'\E000\E001', '');
    small := lower(shown);
    passed := 0;
    FOR attempt IN 1..5 LOOP
      SELECT min(strpos(substr(small, passed + 1), stem)) INTO place
        FROM unnest(stems) AS stem WHERE strpos(substr(small, passed + 1), stem) > 0;
      EXIT WHEN place IS NULL;
      piece := ts_headline(p_language::regconfig,
        CASE WHEN passed + place <= 200 THEN left(shown, 1000)
          ELSE regexp_replace(substr(shown, passed + place - 200, 1000), '^\S+\s', '') END,
        p_query, U&'StartSel="\E000", StopSel="\E001", MaxWords=30, MinWords=12');
      IF piece LIKE U&'%\E000%' THEN
        RETURN piece;
      END IF;
      passed := passed + place + 200;
    END LOOP;
  END LOOP;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  RETURN NULL;  -- A snippet is a help, not an answer.
END
$_$;

CREATE FUNCTION public.vcon_storage_tags_v1(p_body text) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  RETURN CASE left(ltrim(p_body, E' \t\r\n'), 1)
    WHEN '[' THEN ARRAY(
      SELECT tag FROM json_array_elements_text(p_body::json) AS tag WHERE tag IS NOT NULL)
    WHEN '{' THEN ARRAY(
      SELECT concat(key, ':', value) FROM json_each_text(p_body::json)) END;
EXCEPTION WHEN OTHERS THEN
  RETURN NULL;
END
$$;

CREATE FUNCTION public.vcon_storage_tel_ends_v1(p_digits text) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
  ends text[] := ARRAY[p_digits];
BEGIN
  -- E.164 has at most 15 digits; what is longer is no number that somebody writes in two ways.
  IF length(p_digits) <= 15 THEN
    FOR n IN 2..length(p_digits) - 6 LOOP
      ends := ends || substr(p_digits, n);
    END LOOP;
  END IF;
  RETURN ends;
END
$$;

CREATE FUNCTION public.vcon_storage_tel_v1(p_tel text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'public', 'pg_temp'
    AS $_$
DECLARE
  shown text := lower(btrim(left(p_tel, 2000)));
  number text := regexp_replace(split_part(regexp_replace(shown, '^tel:', ''), ';', 1),
    '[\s,]*(x|ext\.?|extension|#)\s*[0-9]+$', '');
  digits text := regexp_replace(replace(number, '(0)', ''), '[^0-9]', '', 'g');
BEGIN
  IF digits = '' OR number ~ '[[:alpha:]@]' THEN
    RETURN shown;
  ELSIF number ~ '^[^0-9]*\+' THEN
    RETURN '+' || digits;
  ELSIF digits LIKE '00_%' THEN
    RETURN '+' || substr(digits, 3);
  END IF;
  RETURN coalesce(nullif(ltrim(digits, '0'), ''), digits);
END
$_$;

CREATE FUNCTION public.vcon_storage_vcon_comes_v1() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  IF NEW.revision IS NULL THEN
    NEW.revision := nextval('vcon_revision');
    NEW.saved_at := clock_timestamp();  -- and no new episode: that there is no vCon is not cached
  END IF;
  RETURN NEW;
END
$$;

CREATE FUNCTION public.vcon_storage_vcon_went_v1() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  INSERT INTO vcon_tombstones VALUES (OLD.uuid, clock_timestamp())
    ON CONFLICT (uuid) DO UPDATE SET deleted_at = excluded.deleted_at;
  DELETE FROM vcon_edited WHERE ctid = ANY (ARRAY(
      SELECT e.ctid FROM vcon_edited e WHERE e.uuid = OLD.uuid FOR UPDATE SKIP LOCKED));
  PERFORM vcon_storage_new_episode_v1();
  RETURN NULL;
END
$$;

CREATE FUNCTION public.vcon_storage_vector_schema_v1() RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
  SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
  WHERE e.extname = 'vector' AND to_regclass('vcon_vectors') IS NOT NULL
$$;

CREATE FUNCTION public.vcon_storage_version_v1() RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path TO 'public', 'pg_temp'
    AS $$ SELECT '20261125190000' $$;

CREATE FUNCTION public.vcon_storage_walk_v1(p_after uuid, p_limit integer, p_tenant text DEFAULT NULL::text) RETURNS json
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
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

CREATE FUNCTION public.vcon_storage_words_v1(p_languages text[], p_names json, p_bodies json) RETURNS tsvector
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
  language text;
  words tsvector := '';
BEGIN
  FOREACH language IN ARRAY p_languages LOOP
    -- The last name is a word that nobody writes, and keeps phrases from reaching into a body.
    words := words || setweight(json_to_tsvector(language::regconfig, p_names, '["string"]'), 'A')
      || json_to_tsvector(language::regconfig, p_bodies, '["string"]');
  END LOOP;
  RETURN ts_delete(words, '0partend0');
END
$$;

CREATE FUNCTION public.vcon_storage_write_v1(p_vcons json, p_parties json, p_dialog json, p_analysis json, p_attachments json, p_tenant text, p_deadline double precision) RETURNS json
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

CREATE TABLE public.vcon_cache_edits (
    stripe bigint NOT NULL,
    n bigint NOT NULL
);

ALTER TABLE public.vcon_cache_edits ALTER COLUMN stripe ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.vcon_cache_edits_stripe_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.vcon_cache_home (
    only_row boolean DEFAULT true NOT NULL,
    since timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT vcon_cache_home_only_row_check CHECK (only_row)
);

CREATE TABLE public.vcon_cache_state (
    only_row boolean DEFAULT true NOT NULL,
    episode bigint DEFAULT 1 NOT NULL,
    CONSTRAINT vcon_cache_state_only_row_check CHECK (only_row)
);

CREATE TABLE public.vcon_edited (
    uuid uuid NOT NULL
);

CREATE SEQUENCE public.vcon_revision
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE public.vcon_search_pending (
    uuid uuid NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000');

CREATE TABLE public.vcon_search_state (
    only_row boolean DEFAULT true NOT NULL,
    languages text[] DEFAULT '{english}'::text[] NOT NULL,
    walked_to uuid,
    complete boolean DEFAULT true NOT NULL,
    CONSTRAINT vcon_search_state_only_row_check CHECK (only_row)
);

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

ALTER TABLE ONLY public.vcon_cache_edits
    ADD CONSTRAINT vcon_cache_edits_pkey PRIMARY KEY (stripe);

ALTER TABLE ONLY public.vcon_cache_home
    ADD CONSTRAINT vcon_cache_home_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY public.vcon_cache_state
    ADD CONSTRAINT vcon_cache_state_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY public.vcon_search
    ADD CONSTRAINT vcon_search_pkey PRIMARY KEY (uuid);

ALTER TABLE ONLY public.vcon_search_state
    ADD CONSTRAINT vcon_search_state_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY public.vcon_tombstones
    ADD CONSTRAINT vcon_tombstones_pkey PRIMARY KEY (uuid);

ALTER TABLE ONLY public.vcons
    ADD CONSTRAINT vcons_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.vcons
    ADD CONSTRAINT vcons_uuid_key UNIQUE (uuid);

CREATE INDEX idx_vcon_edited ON public.vcon_edited USING btree (uuid);

CREATE INDEX idx_vcon_search_created ON public.vcon_search USING btree (created_at, uuid);

CREATE INDEX idx_vcon_search_marks ON public.vcon_search USING gin (marks jsonb_path_ops) WITH (gin_pending_list_limit='1024');

CREATE INDEX idx_vcon_search_saved ON public.vcon_search USING btree (saved_at, uuid);

CREATE INDEX idx_vcon_search_tenant ON public.vcon_search USING btree (tenant_id, created_at, uuid) WHERE (tenant_id IS NOT NULL);

CREATE INDEX idx_vcon_search_words ON public.vcon_search USING gin (words) WITH (gin_pending_list_limit='1024');

CREATE INDEX idx_vcons_created_at ON public.vcons USING btree (created_at);

CREATE TRIGGER vcon_storage_pending AFTER INSERT OR UPDATE ON public.vcons FOR EACH ROW WHEN ((current_setting('vcon_storage.notes'::text, true) IS DISTINCT FROM 'itself'::text)) EXECUTE FUNCTION public.vcon_storage_pending_v1();

CREATE TRIGGER zz_vcon_storage_comes BEFORE INSERT ON public.vcons FOR EACH ROW WHEN ((current_setting('vcon_storage.saving'::text, true) IS DISTINCT FROM 'yes'::text)) EXECUTE FUNCTION public.vcon_storage_vcon_comes_v1();

CREATE TRIGGER zz_vcon_storage_edit BEFORE UPDATE ON public.analysis FOR EACH ROW WHEN ((current_setting('vcon_storage.saving'::text, true) IS DISTINCT FROM 'yes'::text)) EXECUTE FUNCTION public.vcon_storage_edit_v1();

CREATE TRIGGER zz_vcon_storage_edit BEFORE UPDATE ON public.attachments FOR EACH ROW WHEN ((current_setting('vcon_storage.saving'::text, true) IS DISTINCT FROM 'yes'::text)) EXECUTE FUNCTION public.vcon_storage_edit_v1();

CREATE TRIGGER zz_vcon_storage_edit BEFORE UPDATE ON public.dialog FOR EACH ROW WHEN ((current_setting('vcon_storage.saving'::text, true) IS DISTINCT FROM 'yes'::text)) EXECUTE FUNCTION public.vcon_storage_edit_v1();

CREATE TRIGGER zz_vcon_storage_edit BEFORE UPDATE ON public.parties FOR EACH ROW WHEN ((current_setting('vcon_storage.saving'::text, true) IS DISTINCT FROM 'yes'::text)) EXECUTE FUNCTION public.vcon_storage_edit_v1();

CREATE TRIGGER zz_vcon_storage_edit BEFORE UPDATE ON public.vcons FOR EACH ROW WHEN ((current_setting('vcon_storage.saving'::text, true) IS DISTINCT FROM 'yes'::text)) EXECUTE FUNCTION public.vcon_storage_edit_v1();

CREATE TRIGGER zz_vcon_storage_edited AFTER INSERT OR DELETE ON public.analysis FOR EACH ROW WHEN ((current_setting('vcon_storage.saving'::text, true) IS DISTINCT FROM 'yes'::text)) EXECUTE FUNCTION public.vcon_storage_part_came_or_went_v1();

CREATE TRIGGER zz_vcon_storage_edited AFTER INSERT OR DELETE ON public.attachments FOR EACH ROW WHEN ((current_setting('vcon_storage.saving'::text, true) IS DISTINCT FROM 'yes'::text)) EXECUTE FUNCTION public.vcon_storage_part_came_or_went_v1();

CREATE TRIGGER zz_vcon_storage_edited AFTER INSERT OR DELETE ON public.dialog FOR EACH ROW WHEN ((current_setting('vcon_storage.saving'::text, true) IS DISTINCT FROM 'yes'::text)) EXECUTE FUNCTION public.vcon_storage_part_came_or_went_v1();

CREATE TRIGGER zz_vcon_storage_edited AFTER INSERT OR DELETE ON public.parties FOR EACH ROW WHEN ((current_setting('vcon_storage.saving'::text, true) IS DISTINCT FROM 'yes'::text)) EXECUTE FUNCTION public.vcon_storage_part_came_or_went_v1();

CREATE TRIGGER zz_vcon_storage_went AFTER DELETE ON public.vcons FOR EACH ROW WHEN ((current_setting('vcon_storage.saving'::text, true) IS DISTINCT FROM 'yes'::text)) EXECUTE FUNCTION public.vcon_storage_vcon_went_v1();

ALTER TABLE ONLY public.analysis
    ADD CONSTRAINT analysis_vcon_id_fkey FOREIGN KEY (vcon_id) REFERENCES public.vcons(uuid) ON DELETE CASCADE;

ALTER TABLE ONLY public.attachments
    ADD CONSTRAINT attachments_vcon_id_fkey FOREIGN KEY (vcon_id) REFERENCES public.vcons(uuid) ON DELETE CASCADE;

ALTER TABLE ONLY public.dialog
    ADD CONSTRAINT dialog_vcon_id_fkey FOREIGN KEY (vcon_id) REFERENCES public.vcons(uuid) ON DELETE CASCADE;

ALTER TABLE ONLY public.parties
    ADD CONSTRAINT parties_vcon_id_fkey FOREIGN KEY (vcon_id) REFERENCES public.vcons(uuid) ON DELETE CASCADE;

ALTER TABLE ONLY public.vcon_search
    ADD CONSTRAINT vcon_search_uuid_fkey FOREIGN KEY (uuid) REFERENCES public.vcons(uuid) ON UPDATE CASCADE ON DELETE CASCADE;

ALTER TABLE public.analysis ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.attachments ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.dialog ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.parties ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.vcon_cache_doubts ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.vcon_cache_edits ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.vcon_cache_home ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.vcon_cache_state ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.vcon_edited ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.vcon_search ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.vcon_search_pending ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.vcon_search_state ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.vcon_tombstones ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.vcons ENABLE ROW LEVEL SECURITY;

GRANT USAGE ON SCHEMA public TO anon;
GRANT USAGE ON SCHEMA public TO authenticated;
GRANT USAGE ON SCHEMA public TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_backfill_v1(p_limit integer, p_after uuid, p_count boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_backfill_v1(p_limit integer, p_after uuid, p_count boolean) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_bodies_v1(p_uuid uuid, p_room integer, p_json integer, p_careful boolean, OUT bodies json, OUT cut boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_bodies_v1(p_uuid uuid, p_room integer, p_json integer, p_careful boolean, OUT bodies json, OUT cut boolean) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_body_v1(p_body text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_body_v1(p_body text) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_cache_state_v1(OUT episode bigint, OUT off boolean, OUT now double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_cache_state_v1(OUT episode bigint, OUT off boolean, OUT now double precision) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_columns_v1(p_after uuid, p_limit integer, p_bytes integer, p_tenant text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_columns_v1(p_after uuid, p_limit integer, p_bytes integer, p_tenant text) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_delete_v1(p_uuid uuid, p_tenant text, p_touch boolean, p_deadline double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_delete_v1(p_uuid uuid, p_tenant text, p_touch boolean, p_deadline double precision) TO service_role;

GRANT ALL ON TABLE public.dialog TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_dialog_columns_v1(p_dialog public.dialog) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_dialog_columns_v1(p_dialog public.dialog) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_doctor_v1(p_tenant text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_doctor_v1(p_tenant text) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_doubt_v1(p_writer uuid, p_seconds double precision, p_deadline double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_doubt_v1(p_writer uuid, p_seconds double precision, p_deadline double precision) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_edit_v1() FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_edit_v1() TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_edited_v1(p_vcon uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_edited_v1(p_vcon uuid) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_embed_v1(p_uuid uuid, p_part text, p_model text, p_vector json, p_tenant text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_embed_v1(p_uuid uuid, p_part text, p_model text, p_vector json, p_tenant text) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_figures_v1(p_most integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_figures_v1(p_most integer) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_fill_groups_v1() FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_fill_groups_v1() TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_fill_history_v1() FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_fill_history_v1() TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_find_v1(p_query json, p_tenant text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_find_v1(p_query json, p_tenant text) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_fit_v1() FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_fit_v1() TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_get_v1(p_uuid uuid, p_known bigint, p_tenant text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_get_v1(p_uuid uuid, p_known bigint, p_tenant text) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_get_v2(p_uuid uuid, p_known bigint, p_tenant text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_get_v2(p_uuid uuid, p_known bigint, p_tenant text) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_get_v3(p_uuid uuid, p_known bigint, p_tenant text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_get_v3(p_uuid uuid, p_known bigint, p_tenant text) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_history_edited_v1() FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_history_edited_v1() TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_history_of_v1(p_dialog uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_history_of_v1(p_dialog uuid) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_in_time_v1(p_deadline double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_in_time_v1(p_deadline double precision) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_index_change_v1() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.vcon_storage_index_pending_v1(p_count integer, OUT indexed integer, OUT done boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_index_pending_v1(p_count integer, OUT indexed integer, OUT done boolean) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_index_step_v1(p_count integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_index_step_v1(p_count integer) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_index_step_v2(p_count integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_index_step_v2(p_count integer) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_index_v1(p_uuid uuid, p_only_missing boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_index_v1(p_uuid uuid, p_only_missing boolean) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_index_v2(p_uuids uuid[], p_only_missing boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_index_v2(p_uuids uuid[], p_only_missing boolean) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_is_text_v1(p_encoding text, p_mediatype text, p_start text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_is_text_v1(p_encoding text, p_mediatype text, p_start text) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_json_type_v1(p_text text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_json_type_v1(p_text text) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_languages_v1(p_languages text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.vcon_storage_lock_v1(p_uuid uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_lock_v1(p_uuid uuid) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_mailto_v1(p_mailto text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_mailto_v1(p_mailto text) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_many_v1(p_uuids uuid[], p_rows boolean, p_bytes integer, p_tenant text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_many_v1(p_uuids uuid[], p_rows boolean, p_bytes integer, p_tenant text) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_marks_v1(p_uuid uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_marks_v1(p_uuid uuid) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_members_v1(p_object json, p_names text[], p_values json[], p_removed text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_members_v1(p_object json, p_names text[], p_values json[], p_removed text[]) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_name_v1(p_name text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_name_v1(p_name text) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_new_episode_v1() FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_new_episode_v1() TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_part_came_or_went_v1() FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_part_came_or_went_v1() TO service_role;

GRANT ALL ON TABLE public.vcons TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_parts_v1(v public.vcons, p_include text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_parts_v1(v public.vcons, p_include text[]) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_party_marks_v1(p_tel text, p_mailto text, p_name text, p_uuid text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_party_marks_v1(p_tel text, p_mailto text, p_name text, p_uuid text) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_party_shapes_v1(p_party json) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_party_shapes_v1(p_party json) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_pending_v1() FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_pending_v1() TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_restored_v1() FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_restored_v1() TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_rewrite_v1(p_rewriting uuid[], p_revisions bigint[], p_vcons json, p_parties json, p_dialog json, p_analysis json, p_attachments json, p_tenant text, p_has_tenant boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_rewrite_v1(p_rewriting uuid[], p_revisions bigint[], p_vcons json, p_parties json, p_dialog json, p_analysis json, p_attachments json, p_tenant text, p_has_tenant boolean) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_rows_v1(v public.vcons) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_rows_v1(v public.vcons) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_rows_v2(v public.vcons) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_rows_v2(v public.vcons) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_save_v1(p_uuid uuid, p_digest text, p_vcon json, p_parties json, p_dialog json, p_analysis json, p_attachments json, p_tenant text, p_not_after double precision, p_touch boolean, p_deadline double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_save_v1(p_uuid uuid, p_digest text, p_vcon json, p_parties json, p_dialog json, p_analysis json, p_attachments json, p_tenant text, p_not_after double precision, p_touch boolean, p_deadline double precision) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_save_v2(p_vcons json, p_parties json, p_dialog json, p_analysis json, p_attachments json, p_tenant text, p_deadline double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_save_v2(p_vcons json, p_parties json, p_dialog json, p_analysis json, p_attachments json, p_tenant text, p_deadline double precision) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_save_v3(json) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_save_v3(json) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_save_v4(text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_save_v4(text) TO service_role;

GRANT ALL ON TABLE public.vcon_search TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_search_rows_v1(p_uuids uuid[], p_room integer, p_json integer, p_careful boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_search_rows_v1(p_uuids uuid[], p_room integer, p_json integer, p_careful boolean) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_search_setup_v1() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.vcon_storage_search_state_v1() FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_search_state_v1() TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_search_v1(p_subject text, p_start timestamp with time zone, p_end timestamp with time zone, p_limit integer, p_tenant text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_search_v1(p_subject text, p_start timestamp with time zone, p_end timestamp with time zone, p_limit integer, p_tenant text) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_search_v2(p_query json, p_tenant text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_search_v2(p_query json, p_tenant text) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_snippet_v1(p_uuid uuid, p_query tsquery, p_language text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_snippet_v1(p_uuid uuid, p_query tsquery, p_language text) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_tags_v1(p_body text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_tags_v1(p_body text) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_tel_ends_v1(p_digits text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_tel_ends_v1(p_digits text) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_tel_v1(p_tel text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_tel_v1(p_tel text) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_vcon_comes_v1() FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_vcon_comes_v1() TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_vcon_went_v1() FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_vcon_went_v1() TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_vector_schema_v1() FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_vector_schema_v1() TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_version_v1() FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_version_v1() TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_walk_v1(p_after uuid, p_limit integer, p_tenant text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_walk_v1(p_after uuid, p_limit integer, p_tenant text) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_words_v1(p_languages text[], p_names json, p_bodies json) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_words_v1(p_languages text[], p_names json, p_bodies json) TO service_role;

REVOKE ALL ON FUNCTION public.vcon_storage_write_v1(p_vcons json, p_parties json, p_dialog json, p_analysis json, p_attachments json, p_tenant text, p_deadline double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vcon_storage_write_v1(p_vcons json, p_parties json, p_dialog json, p_analysis json, p_attachments json, p_tenant text, p_deadline double precision) TO service_role;

GRANT ALL ON TABLE public.analysis TO service_role;

GRANT ALL ON TABLE public.attachments TO service_role;

GRANT ALL ON TABLE public.parties TO service_role;

GRANT ALL ON TABLE public.vcon_cache_doubts TO service_role;

GRANT ALL ON TABLE public.vcon_cache_edits TO service_role;

GRANT ALL ON SEQUENCE public.vcon_cache_edits_stripe_seq TO service_role;

GRANT ALL ON TABLE public.vcon_cache_home TO service_role;

GRANT ALL ON TABLE public.vcon_cache_state TO service_role;

GRANT ALL ON TABLE public.vcon_edited TO service_role;

GRANT ALL ON SEQUENCE public.vcon_revision TO service_role;

GRANT ALL ON TABLE public.vcon_search_pending TO service_role;

GRANT ALL ON TABLE public.vcon_search_state TO service_role;

GRANT ALL ON TABLE public.vcon_tombstones TO service_role;
