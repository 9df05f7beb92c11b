-- Search: one row per vCon with all that is searched by, and the functions that keep and read it.
--
-- Safe to run again. It goes into the schema "public"; for another one:
--   SET vcon_storage.schema = 'name';

DO $$
BEGIN
  PERFORM set_config('search_path', format('%I, pg_temp',
    coalesce(nullif(current_setting('vcon_storage.schema', true), ''), 'public')), false);
END
$$;

-- marks: every criterion that is met exactly or not at all, in the shape that a query has
-- (vcon_storage_marks_v1). An index of class jsonb_path_ops keeps hashes of its values, so none can
-- be too long for it; that a party has this name and that number is one containment.
-- words: what full-text search finds. A row is written by a save, and goes with its vCon.
CREATE TABLE IF NOT EXISTS vcon_search (
  uuid uuid PRIMARY KEY REFERENCES vcons (uuid) ON DELETE CASCADE ON UPDATE CASCADE,
  tenant_id text,
  created_at timestamptz NOT NULL,
  saved_at timestamptz NOT NULL,
  subject text,
  marks jsonb NOT NULL,
  words tsvector NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_vcon_search_created ON vcon_search (created_at, uuid);
CREATE INDEX IF NOT EXISTS idx_vcon_search_saved ON vcon_search (saved_at, uuid);
CREATE INDEX IF NOT EXISTS idx_vcon_search_tenant ON vcon_search (tenant_id, created_at, uuid)
  WHERE tenant_id IS NOT NULL;
-- A small list of pending entries: searches read it from end to end, and the save that fills it up
-- sorts it in.
CREATE INDEX IF NOT EXISTS idx_vcon_search_marks ON vcon_search USING gin (marks jsonb_path_ops)
  WITH (gin_pending_list_limit = 1024);
CREATE INDEX IF NOT EXISTS idx_vcon_search_words ON vcon_search USING gin (words)
  WITH (gin_pending_list_limit = 1024);

-- Which languages' words are indexed, and how far a walk through older vCons has come: after it,
-- search answers are complete.
CREATE TABLE IF NOT EXISTS vcon_search_state (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  languages text[] NOT NULL DEFAULT '{english}',
  walked_to uuid,
  complete boolean NOT NULL DEFAULT true
);
INSERT INTO vcon_search_state DEFAULT VALUES ON CONFLICT DO NOTHING;

ALTER TABLE vcon_search ENABLE ROW LEVEL SECURITY;
ALTER TABLE vcon_search_state ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON vcon_search, vcon_search_state FROM PUBLIC, anon, authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE ON vcon_search, vcon_search_state TO service_role;

-- A telephone number in one notation: +DIGITS where it names its country (by + or 00), else its
-- digits without a trunk prefix (leading zeros). What has letters or no digits is no number and
-- stays a text. Left out: tel:, parameters (RFC 3966, section 3) and an extension.
CREATE OR REPLACE FUNCTION vcon_storage_tel_v1(p_tel text) RETURNS text
  LANGUAGE plpgsql IMMUTABLE
  SET search_path FROM CURRENT
AS $$
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
$$;

-- The ends of a number by which it is found: itself, and what is left of it without a country or
-- area code. Seven digits is the shortest subscriber number that is taken for the end of another.
CREATE OR REPLACE FUNCTION vcon_storage_tel_ends_v1(p_digits text) RETURNS text[]
  LANGUAGE plpgsql IMMUTABLE
  SET search_path FROM CURRENT
AS $$
BEGIN
  -- E.164 has at most 15 digits; what is longer is no number that somebody writes in two ways.
  IF length(p_digits) NOT BETWEEN 8 AND 15 THEN
    RETURN ARRAY[p_digits];
  END IF;
  RETURN ARRAY(SELECT substr(p_digits, n) FROM generate_series(1, length(p_digits) - 6) AS n);
END
$$;

-- The words of a name in lower case, as they stand between spaces.
CREATE OR REPLACE FUNCTION vcon_storage_name_v1(p_name text) RETURNS text[]
  LANGUAGE plpgsql IMMUTABLE
  SET search_path FROM CURRENT
AS $$
BEGIN
  RETURN array_remove(
    string_to_array(translate(lower(p_name), E'\t\n\r\u00a0\u3000', '     '), ' '), '');
END
$$;

CREATE OR REPLACE FUNCTION vcon_storage_mailto_v1(p_mailto text) RETURNS text
  LANGUAGE plpgsql IMMUTABLE
  SET search_path FROM CURRENT
AS $$
BEGIN
  RETURN regexp_replace(regexp_replace(lower(btrim(p_mailto)), '^mailto:\s*', ''), '\?.*$', '');
END
$$;

-- A party as the index has it. tel: +N a number with its country, ~N one without, N each of its
-- ends. name: each word, and each without the punctuation around it.
CREATE OR REPLACE FUNCTION vcon_storage_party_marks_v1(
  p_tel text, p_mailto text, p_name text, p_uuid text
) RETURNS jsonb
  LANGUAGE plpgsql IMMUTABLE
  SET search_path FROM CURRENT
AS $$
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
    mark := mark || jsonb_build_object('name', words || array_remove(ARRAY(
      SELECT btrim(word, '.,;:!?()[]{}<>"''`') FROM unnest(words) AS word
      WHERE word ~ '^[.,;:!?()\[\]{}<>"''`]|[.,;:!?()\[\]{}<>"''`]$'), ''));
  END IF;
  IF p_mailto IS NOT NULL THEN
    mark := mark || jsonb_build_object('mailto', vcon_storage_mailto_v1(p_mailto));
  END IF;
  IF p_uuid IS NOT NULL THEN
    mark := mark || jsonb_build_object('uuid', lower(btrim(p_uuid)));
  END IF;
  RETURN mark;
END
$$;

-- A vCon's tags as a list of name:value, from the body of an attachment: such a list, or an object.
-- A body that is something else has none.
CREATE OR REPLACE FUNCTION vcon_storage_tags_v1(p_body text) RETURNS text[]
  LANGUAGE plpgsql IMMUTABLE
  SET search_path FROM CURRENT
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

-- Whether a body can be text at all: no base64, no sound, no picture.
CREATE OR REPLACE FUNCTION vcon_storage_is_text_v1(
  p_encoding text, p_mediatype text, p_start text
) RETURNS boolean
  LANGUAGE plpgsql IMMUTABLE
  SET search_path FROM CURRENT
AS $$
BEGIN
  RETURN coalesce(p_encoding, '') !~* '^base64' AND coalesce(p_mediatype, '') !~*
      '^\s*((audio|video|image|font|model)/|application/(octet-stream|pdf|zip|gzip))'
    -- Some who write base64 don't say so.
    AND (length(p_start) < 1000 OR p_start !~ '^[A-Za-z0-9+/_=\r\n-]*$');
END
$$;

-- A body as JSON in which full-text search looks for strings: itself where it is JSON that can be
-- read, else the text that it is.
CREATE OR REPLACE FUNCTION vcon_storage_body_v1(p_body text) RETURNS json
  LANGUAGE plpgsql IMMUTABLE
  SET search_path FROM CURRENT
AS $$
BEGIN
  PERFORM json_to_tsvector('simple'::regconfig, p_body::json, '["string"]');
  RETURN p_body::json;
EXCEPTION WHEN OTHERS THEN
  RETURN to_json(p_body);
END
$$;

-- The words of a vCon in each of the languages: its subject and names (weight A) and its bodies.
CREATE OR REPLACE FUNCTION vcon_storage_words_v1(p_languages text[], p_names json, p_bodies json)
  RETURNS tsvector
  LANGUAGE plpgsql IMMUTABLE
  SET search_path FROM CURRENT
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

-- The bodies of a vCon in which full-text search looks, as a JSON list of texts and of JSON, and
-- whether something was left out. From the smallest to the largest, up to p_room bytes together;
-- JSON counts one part in p_json, as most of a transcript is no words. The body that goes beyond is
-- cut. p_careful: takes what says that it is JSON, but is not, for text.
CREATE OR REPLACE FUNCTION vcon_storage_bodies_v1(
  p_uuid uuid, p_room integer, p_json integer, p_careful boolean, OUT bodies json, OUT cut boolean
)
  LANGUAGE plpgsql STABLE
  SET search_path FROM CURRENT
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
            SELECT d.dialog_index AS n, coalesce(d.body, d.as_written ->> 'body') AS body,
              coalesce(d.encoding, d.as_written ->> 'encoding', '') AS encoding,
              coalesce(d.mediatype, d.as_written ->> 'mediatype') AS mediatype
            FROM dialog d WHERE d.vcon_id = p_uuid
            UNION ALL
            SELECT y.analysis_index, coalesce(y.body, y.as_written ->> 'body'),
              coalesce(y.encoding, y.as_written ->> 'encoding', ''),
              coalesce(y.mediatype, y.as_written ->> 'mediatype')
            FROM analysis y WHERE y.vcon_id = p_uuid
          ) AS f
          WHERE f.body <> '' AND vcon_storage_is_text_v1(f.encoding, f.mediatype, left(f.body, 1000))
        ) AS a
      ) AS c
    ) AS b;
END
$$;

-- The marks of a vCon: its criteria that are met exactly or not at all.
CREATE OR REPLACE FUNCTION vcon_storage_marks_v1(p_uuid uuid) RETURNS jsonb
  LANGUAGE plpgsql STABLE
  SET search_path FROM CURRENT
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
        THEN vcon_storage_tags_v1(coalesce(t.body, t.as_written ->> 'body')) END) AS tag ON true
    ) AS a;
  RETURN jsonb_strip_nulls(jsonb_build_object(
    'party', (
      SELECT jsonb_agg(vcon_storage_party_marks_v1(
        coalesce(p.tel, p.as_written ->> 'tel'), coalesce(p.mailto, p.as_written ->> 'mailto'),
        coalesce(p.name, p.as_written ->> 'name'), coalesce(p.uuid, p.as_written ->> 'uuid')))
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
    'tagged', ARRAY(SELECT DISTINCT split_part(tag, ':', 1) FROM unnest(tags) AS tag)));
END
$$;

-- Writes the row that a vCon is found by, from its tables; with p_only_missing only where there is
-- none. It never fails: what can't be indexed is not found, but saved.
-- A tsvector may have 1 MB (Postgres' manual, "Limitations" of text search). Where words are so
-- many and various, the bodies are cut further; a vCon that was cut has the mark "cut".
CREATE OR REPLACE FUNCTION vcon_storage_index_v1(
  p_uuid uuid, p_only_missing boolean DEFAULT false
) RETURNS void
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
  SET client_min_messages = error
AS $$
DECLARE
  header record;
  names json;
  text record;
  words tsvector := '';
  marks jsonb := '{}';
  cut boolean := false;
BEGIN
  SELECT v.tenant_id, v.created_at, coalesce(v.saved_at, v.updated_at) AS saved_at,
      left(coalesce(v.subject, v.as_written ->> 'subject'), 200000) AS subject, s.languages
    INTO header
    FROM vcons v, vcon_search_state s WHERE v.uuid = p_uuid;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  BEGIN
    marks := vcon_storage_marks_v1(p_uuid);
  EXCEPTION WHEN OTHERS THEN
    cut := true;
  END;
  names := json_build_array(left(header.subject, 10000), (
    SELECT json_agg(left(coalesce(p.name, p.as_written ->> 'name'), 1000))
    FROM parties p WHERE p.vcon_id = p_uuid), '0partend0');
  FOR attempt IN 1..4 LOOP
    BEGIN
      text := CASE attempt
        WHEN 1 THEN vcon_storage_bodies_v1(p_uuid, 262144, 4, false)
        WHEN 2 THEN vcon_storage_bodies_v1(p_uuid, 262144, 4, true)
        WHEN 3 THEN vcon_storage_bodies_v1(p_uuid, 65536, 1, true)
        ELSE ROW('[]'::json, true) END;
      words := vcon_storage_words_v1(header.languages, names, text.bodies);
      cut := cut OR text.cut OR attempt > 2;
      EXIT;
    EXCEPTION WHEN OTHERS THEN
      cut := cut OR attempt = 4;
    END;
  END LOOP;
  INSERT INTO vcon_search AS old
    VALUES (p_uuid, header.tenant_id, header.created_at, header.saved_at, header.subject,
      CASE WHEN cut THEN marks || '{"cut": true}' ELSE marks END, words)
    ON CONFLICT (uuid) DO UPDATE SET
      tenant_id = excluded.tenant_id, created_at = excluded.created_at,
      saved_at = excluded.saved_at, subject = excluded.subject, marks = excluded.marks,
      words = excluded.words
    WHERE NOT p_only_missing;
END
$$;

-- Indexes what a transaction has changed, at its end: also what other programs write, whoever they
-- are (hence with the rights of the owner). Our own save calls the function above itself and says
-- so by a setting. Of a row that was changed several times only the last change counts.
CREATE OR REPLACE FUNCTION vcon_storage_index_change_v1() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path FROM CURRENT
AS $$
BEGIN
  IF NEW.revision IS NOT DISTINCT FROM (SELECT revision FROM vcons WHERE uuid = NEW.uuid) THEN
    PERFORM vcon_storage_index_v1(NEW.uuid);
  END IF;
  RETURN NULL;
END
$$;
DROP TRIGGER IF EXISTS vcon_storage_index ON vcons;
CREATE CONSTRAINT TRIGGER vcon_storage_index AFTER INSERT OR UPDATE ON vcons
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
  WHEN (current_setting('vcon_storage.saving', true) IS DISTINCT FROM 'yes')
  EXECUTE FUNCTION vcon_storage_index_change_v1();

-- Goes on with the walk through the vCons that were there before they were indexed, by so many of
-- them. Returns how many it saw, how many it indexed, and whether search is complete now. It can be
-- called at any time and by several at once; what is saved meanwhile is indexed by its save.
CREATE OR REPLACE FUNCTION vcon_storage_index_step_v1(p_count integer DEFAULT 500) RETURNS json
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
AS $$
DECLARE
  state vcon_search_state;
  next_uuid uuid;
  seen integer := 0;
  indexed integer := 0;
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
    END LOOP;
    state.complete := seen < p_count;
    UPDATE vcon_search_state SET walked_to = state.walked_to, complete = state.complete;
  END IF;
  RETURN json_build_object('seen', seen, 'indexed', indexed, 'complete', state.complete);
END
$$;

-- Chooses the languages (text search configurations) whose words are indexed. Everything is indexed
-- anew then, by the walk: until it ends, answers are not complete.
CREATE OR REPLACE FUNCTION vcon_storage_languages_v1(p_languages text[]) RETURNS void
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
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
