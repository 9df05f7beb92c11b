-- At home in a database in which other programs write too: vcon-mcp, or a person with SQL.
--
-- What they change through the columns goes, by triggers, into as_written, which alone is what a get
-- returns; it makes the vCon a new revision and begins a new episode of the cache. Where another
-- program made the tables, triggers also keep to what its constraints and triggers accept, and fill
-- the tables that only it has. docs/interop.md says what is relied on.
--
-- No trigger names a column in its definition: the other program's later migrations may change the
-- type of any.

DO $$
BEGIN
  PERFORM set_config('search_path', format('%I, pg_temp',
    coalesce(nullif(current_setting('vcon_storage.schema', true), ''), 'public')), false);
END
$$;

CREATE OR REPLACE FUNCTION vcon_storage_version_v1() RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  SET search_path FROM CURRENT
AS $$ SELECT '20261124110000' $$;

-- How many transactions of other programs changed vCons. Each counts itself in a row that no other
-- holds at the moment, so that they never wait for each other; the sum is part of the episode.
CREATE TABLE IF NOT EXISTS vcon_cache_edits (
  stripe bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  n bigint NOT NULL
);
-- vCons that another program changed while their row of vcons was locked by somebody: to wait for it
-- could be a deadlock. They have no revision, hence no place in a cache, until they are changed again.
CREATE TABLE IF NOT EXISTS vcon_edited (
  uuid uuid NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_vcon_edited ON vcon_edited (uuid);
ALTER TABLE vcon_cache_edits ENABLE ROW LEVEL SECURITY;
ALTER TABLE vcon_edited ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON vcon_cache_edits, vcon_edited FROM PUBLIC, anon, authenticated;
REVOKE ALL ON SEQUENCE vcon_cache_edits_stripe_seq FROM PUBLIC, anon, authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE ON vcon_cache_edits, vcon_edited TO service_role;

-- As before; the episode counts the transactions of other programs, too.
CREATE OR REPLACE FUNCTION vcon_storage_cache_state_v1(
  OUT episode bigint, OUT off boolean, OUT now double precision
)
  LANGUAGE plpgsql STABLE
  SET search_path FROM CURRENT
AS $$
BEGIN
  -- now() is the transaction's beginning: a doubt counts a little longer than it has to.
  SELECT s.episode + coalesce((SELECT sum(e.n) FROM vcon_cache_edits e), 0),
      EXISTS (SELECT FROM vcon_cache_doubts d WHERE d.until > pg_catalog.now()),
      extract(epoch FROM clock_timestamp())
    INTO episode, off, now
    FROM vcon_cache_state s;
END
$$;

-- As before, and says to the triggers below that what follows is no other program's edit. An edit
-- that could not be noted in the vCon's row is noted now, when nobody else saves it.
CREATE OR REPLACE FUNCTION vcon_storage_lock_v1(p_uuid uuid) RETURNS void
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
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

-- As before; a vCon with an edit that could not be noted in its row has no revision.
CREATE OR REPLACE FUNCTION vcon_storage_get_v1(
  p_uuid uuid, p_known bigint DEFAULT NULL, p_tenant text DEFAULT NULL
) RETURNS json
  LANGUAGE sql STABLE
  SET search_path FROM CURRENT
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

-- Begins a new episode, once in a transaction. Everybody sees it when the transaction commits.
CREATE OR REPLACE FUNCTION vcon_storage_new_episode_v1() RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path FROM CURRENT
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

-- Notes that another program changed a vCon, of which it named the uuid or an id. Waits for no lock:
-- its transaction may hold a part's row that a save wants, which holds the row of vcons.
CREATE OR REPLACE FUNCTION vcon_storage_edited_v1(p_vcon uuid) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path FROM CURRENT
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

-- Changes members of a JSON object, and leaves the text and the order of all others as they are.
CREATE OR REPLACE FUNCTION vcon_storage_members_v1(
  p_object json, p_names text[], p_values json[], p_removed text[]
) RETURNS json
  LANGUAGE plpgsql IMMUTABLE
  SET search_path FROM CURRENT
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

-- What kind of JSON a text is; null if it is none.
CREATE OR REPLACE FUNCTION vcon_storage_json_type_v1(p_text text) RETURNS text
  LANGUAGE plpgsql IMMUTABLE
  SET search_path FROM CURRENT
AS $$
BEGIN
  RETURN json_typeof(p_text::json);
EXCEPTION WHEN data_exception THEN
  RETURN NULL;
END
$$;

-- Before another program's update of a row: a member whose column changed becomes what the column
-- says, in as_written. All others stay as they were written, also where their column holds less.
CREATE OR REPLACE FUNCTION vcon_storage_edit_v1() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path FROM CURRENT
  SET timezone = 'UTC'
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

-- After another program added or deleted a part.
CREATE OR REPLACE FUNCTION vcon_storage_part_came_or_went_v1() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path FROM CURRENT
AS $$
BEGIN
  PERFORM vcon_storage_edited_v1(CASE TG_OP WHEN 'DELETE' THEN OLD.vcon_id ELSE NEW.vcon_id END);
  RETURN NULL;
END
$$;

-- Before another program adds a vCon.
CREATE OR REPLACE FUNCTION vcon_storage_vcon_comes_v1() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path FROM CURRENT
AS $$
BEGIN
  IF NEW.revision IS NULL THEN
    NEW.revision := nextval('vcon_revision');
    NEW.saved_at := clock_timestamp();  -- and no new episode: that there is no vCon is not cached
  END IF;
  RETURN NEW;
END
$$;

-- After another program deleted a vCon: as vcon_storage_delete_v1 does.
CREATE OR REPLACE FUNCTION vcon_storage_vcon_went_v1() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path FROM CURRENT
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

-- The rows of party_history of one dialog, as its member, and null where there are none.
CREATE OR REPLACE FUNCTION vcon_storage_history_of_v1(p_dialog uuid) RETURNS json
  LANGUAGE plpgsql STABLE SECURITY DEFINER
  SET search_path FROM CURRENT
  SET timezone = 'UTC'
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

-- A dialog that another program wrote, as the get function returns it: its columns, and its history.
CREATE OR REPLACE FUNCTION vcon_storage_dialog_columns_v1(p_dialog dialog) RETURNS json
  LANGUAGE plpgsql STABLE
  SET search_path FROM CURRENT
  SET timezone = 'UTC'
AS $$
BEGIN
  RETURN to_jsonb(p_dialog)
    || jsonb_build_object('party_history', vcon_storage_history_of_v1(p_dialog.id));
END
$$;

-- As before; a dialog that another program wrote has its history. Where an
-- older one named vCons by an id that is not the uuid, their parts are found by that.
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

-- After another program changed the party_history of a dialog.
CREATE OR REPLACE FUNCTION vcon_storage_history_edited_v1() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path FROM CURRENT
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

-- After our save of a dialog: fills party_history with what it accepts of the member.
CREATE OR REPLACE FUNCTION vcon_storage_fill_history_v1() RETURNS trigger
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
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

-- After our save of a vCon: fills groups with what it accepts of the member group.
CREATE OR REPLACE FUNCTION vcon_storage_fill_groups_v1() RETURNS trigger
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
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

-- Before our save of a row of another program's table: what its constraints and triggers refuse
-- stays in as_written alone, and a value that they accept stands in for it.
CREATE OR REPLACE FUNCTION vcon_storage_fit_v1() RETURNS trigger
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
AS $$
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
$$;

-- Triggers. Edits are looked at last, after the other program's own triggers: what the columns then
-- hold is what a get returns. Rows to be saved are fitted first.
DO $$
DECLARE
  name text;
  edits CONSTANT text :=
    'FOR EACH ROW WHEN (current_setting(''vcon_storage.saving'', true) IS DISTINCT FROM ''yes'')';
  saves CONSTANT text :=
    'FOR EACH ROW WHEN (current_setting(''vcon_storage.saving'', true) = ''yes'')';
BEGIN
  FOREACH name IN ARRAY ARRAY['vcons', 'parties', 'dialog', 'analysis', 'attachments'] LOOP
    EXECUTE format('CREATE OR REPLACE TRIGGER zz_vcon_storage_edit BEFORE UPDATE ON %I %s'
      ' EXECUTE FUNCTION vcon_storage_edit_v1()', name, edits);
    CONTINUE WHEN name = 'vcons';
    EXECUTE format('CREATE OR REPLACE TRIGGER zz_vcon_storage_edited AFTER INSERT OR DELETE ON %I %s'
      ' EXECUTE FUNCTION vcon_storage_part_came_or_went_v1()', name, edits);
    -- Our own tables have no constraint of this kind.
    IF name <> 'parties' AND EXISTS (
        SELECT FROM pg_constraint WHERE conrelid = name::regclass AND contype = 'c') THEN
      EXECUTE format('CREATE OR REPLACE TRIGGER aa_vcon_storage_fit BEFORE INSERT OR UPDATE ON %I %s'
        ' EXECUTE FUNCTION vcon_storage_fit_v1()', name, saves);
    END IF;
  END LOOP;
  EXECUTE format('CREATE OR REPLACE TRIGGER zz_vcon_storage_comes BEFORE INSERT ON vcons %s'
    ' EXECUTE FUNCTION vcon_storage_vcon_comes_v1()', edits);
  EXECUTE format('CREATE OR REPLACE TRIGGER zz_vcon_storage_went AFTER DELETE ON vcons %s'
    ' EXECUTE FUNCTION vcon_storage_vcon_went_v1()', edits);
  IF to_regclass('party_history') IS NOT NULL THEN
    EXECUTE format('CREATE OR REPLACE TRIGGER zz_vcon_storage_edited'
      ' AFTER INSERT OR UPDATE OR DELETE ON party_history %s'
      ' EXECUTE FUNCTION vcon_storage_history_edited_v1()', edits);
    EXECUTE format('CREATE OR REPLACE TRIGGER zz_vcon_storage_history'
      ' AFTER INSERT OR UPDATE ON dialog %s'
      ' EXECUTE FUNCTION vcon_storage_fill_history_v1()', saves);
    GRANT SELECT, INSERT, UPDATE, DELETE ON party_history TO service_role;
  END IF;
  IF to_regclass('groups') IS NOT NULL THEN
    EXECUTE format('CREATE OR REPLACE TRIGGER zz_vcon_storage_groups'
      ' AFTER INSERT OR UPDATE ON vcons %s EXECUTE FUNCTION vcon_storage_fill_groups_v1()', saves);
    GRANT SELECT, INSERT, UPDATE, DELETE ON groups TO service_role;
  END IF;
END
$$;

-- Gives the next vCons, by uuid after p_after, that only other programs wrote before this migration,
-- a revision, so that a cache can keep them. Returns how many it was, the last one looked at, and with
-- p_count the number of all that are left.
CREATE OR REPLACE FUNCTION vcon_storage_backfill_v1(
  p_limit integer, p_after uuid DEFAULT NULL, p_count boolean DEFAULT false
) RETURNS json
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
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

DO $$
DECLARE
  name text;
BEGIN
  FOR name IN
    SELECT p.oid::regprocedure::text FROM pg_proc p
    WHERE p.pronamespace = current_schema()::regnamespace AND p.proname LIKE 'vcon\_storage\_%'
  LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC, anon, authenticated', name);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO service_role', name);
  END LOOP;
END
$$;

RESET search_path;
NOTIFY pgrst, 'reload schema';
