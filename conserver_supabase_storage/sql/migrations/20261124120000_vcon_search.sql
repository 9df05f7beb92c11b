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

-- The marks of a vCon: its criteria that are met exactly or not at all. (The casts are for tables of
-- another program in which these columns have had another type.)
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
  SELECT left(v.tenant_id, 500) AS tenant_id, v.created_at, coalesce(v.saved_at, v.updated_at) AS saved_at,
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
-- are (hence with the rights of the owner). Our own save has it done before it ends. Of a row that was changed several times only the last change counts.
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

-- A vCon's header and rows as vcon_storage_rows_v1 has them, but only the parts that are named, and
-- bodies only where "bodies" is.
CREATE OR REPLACE FUNCTION vcon_storage_parts_v1(v vcons, p_include text[]) RETURNS json
  LANGUAGE sql STABLE
  SET search_path FROM CURRENT
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

-- A piece of a vCon's text around the first words that match, which stand between U+E000 and
-- U+E001; null where none is found. It looks for the words' stems in the first 262,144 characters of
-- each text and reads only some lines around them: ts_headline alone would parse all.
CREATE OR REPLACE FUNCTION vcon_storage_snippet_v1(p_uuid uuid, p_query tsquery, p_language text)
  RETURNS text
  LANGUAGE plpgsql STABLE
  SET search_path FROM CURRENT
  SET client_min_messages = error
AS $$
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
$$;

-- In which shapes a party that is asked for may stand in the index: any of these.
CREATE OR REPLACE FUNCTION vcon_storage_party_shapes_v1(p_party json) RETURNS jsonb[]
  LANGUAGE plpgsql IMMUTABLE
  SET search_path FROM CURRENT
AS $$
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
$$;

-- One page of the vCons that match all criteria of p_query, with the rows of each.
--
-- p_query (query.py makes it; every member may be absent):
--   text, language, subject, party {name, tel, mailto, uuid}, anybody, tags {name: value or null},
--   dialog_type, analysis_type, vendor, attached, attachment, start, end, since, uuids, tenant
--   vector, model, part    nearest embeddings; with text too: both, fused by rank
--   order                  newest, oldest, updated or rank
--   limit, include (null: all), details, total
--   after                  where the page before ended: {at or rank, uuid, floor}, or {rest} of a
--                          list that was ranked as a whole
--   explain                returns plans (and runs nothing) instead
-- Returns the cache's state, and hits, more (whether another page follows), floor, rest, complete,
-- total and exact; or what is wrong with the query in this database: refused.
--
-- The SQL is put together from fixed pieces, so that the planner sees what is asked and no more;
-- everything that a user gave is a parameter.
CREATE OR REPLACE FUNCTION vcon_storage_search_v2(p_query json, p_tenant text DEFAULT NULL)
  RETURNS json
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
  SET client_min_messages = error
AS $$
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
$$;

-- The schema of the extension vector where embeddings can be kept, else null.
CREATE OR REPLACE FUNCTION vcon_storage_vector_schema_v1() RETURNS text
  LANGUAGE sql STABLE
  SET search_path FROM CURRENT
AS $$
  SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
  WHERE e.extname = 'vector' AND to_regclass('vcon_vectors') IS NOT NULL
$$;

-- Keeps an embedding of a part of a vCon, in place of the one of the same model. Returns whether
-- there is such a vCon (of that tenant); refused where the database can't keep embeddings.
CREATE OR REPLACE FUNCTION vcon_storage_embed_v1(
  p_uuid uuid, p_part text, p_model text, p_vector json, p_tenant text DEFAULT NULL
) RETURNS json
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
AS $$
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
$$;

-- What search has in this database.
CREATE OR REPLACE FUNCTION vcon_storage_search_state_v1() RETURNS json
  LANGUAGE sql STABLE
  SET search_path FROM CURRENT
AS $$
  SELECT json_build_object('episode', c.episode, 'off', c.off, 'now', c.now,
    'complete', s.complete, 'languages', s.languages,
    'substring_index', to_regclass('idx_vcon_search_subject') IS NOT NULL,
    'embeddings', vcon_storage_vector_schema_v1() IS NOT NULL)
  FROM vcon_storage_cache_state_v1() c, vcon_search_state s
$$;

-- Makes what depends on extensions: the index for substrings (pg_trgm), the table of embeddings
-- (vector). An extension that is not there is made where this role may make it. To be called again,
-- by the owner, when an extension came later. Returns what there is.
CREATE OR REPLACE FUNCTION vcon_storage_search_setup_v1() RETURNS json
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
  SET client_min_messages = warning
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
        ' USING gin (subject %I.gin_trgm_ops) WITH (gin_pending_list_limit = 1024)', place);
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
DO $$ BEGIN PERFORM vcon_storage_search_setup_v1(); END $$;

-- The vCons that are there already: a few now, many by the walk.
DO $$
BEGIN
  IF (SELECT count(*) FROM (SELECT FROM vcons v LEFT JOIN vcon_search s USING (uuid)
      WHERE s.uuid IS NULL LIMIT 10001) AS missing) > 10000 THEN
    UPDATE vcon_search_state SET walked_to = NULL, complete = false;
  ELSE
    PERFORM vcon_storage_index_v1(v.uuid, true)
      FROM vcons v LEFT JOIN vcon_search s USING (uuid) WHERE s.uuid IS NULL;
  END IF;
END
$$;

-- The newest migration that this schema has.
CREATE OR REPLACE FUNCTION vcon_storage_version_v1() RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  SET search_path FROM CURRENT
AS $$ SELECT '20261124120000' $$;

-- Closed to all but service_role; what changes the schema or all rows, to all but the owner.
DO $$
DECLARE
  name regprocedure;
BEGIN
  FOREACH name IN ARRAY ARRAY[
    'vcon_storage_tel_v1(text)', 'vcon_storage_tel_ends_v1(text)', 'vcon_storage_name_v1(text)',
    'vcon_storage_mailto_v1(text)', 'vcon_storage_party_marks_v1(text, text, text, text)',
    'vcon_storage_tags_v1(text)', 'vcon_storage_is_text_v1(text, text, text)',
    'vcon_storage_body_v1(text)', 'vcon_storage_words_v1(text[], json, json)',
    'vcon_storage_bodies_v1(uuid, integer, integer, boolean)', 'vcon_storage_marks_v1(uuid)',
    'vcon_storage_index_v1(uuid, boolean)', 'vcon_storage_index_change_v1()',
    'vcon_storage_index_step_v1(integer)', 'vcon_storage_languages_v1(text[])',
    'vcon_storage_parts_v1(vcons, text[])', 'vcon_storage_snippet_v1(uuid, tsquery, text)',
    'vcon_storage_party_shapes_v1(json)', 'vcon_storage_search_v2(json, text)',
    'vcon_storage_vector_schema_v1()', 'vcon_storage_embed_v1(uuid, text, text, json, text)',
    'vcon_storage_search_state_v1()', 'vcon_storage_search_setup_v1()']::regprocedure[]
  LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC, anon, authenticated, service_role', name);
    IF name NOT IN ('vcon_storage_languages_v1(text[])'::regprocedure,
        'vcon_storage_search_setup_v1()'::regprocedure,
        'vcon_storage_index_change_v1()'::regprocedure) THEN
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO service_role', name);
    END IF;
  END LOOP;
END
$$;

RESET search_path;
NOTIFY pgrst, 'reload schema';
