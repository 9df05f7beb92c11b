-- Search indexes many vCons in one statement.
--
-- Safe to run again. It goes into the schema "public"; for another one:
--   SET vcon_storage.schema = 'name';

DO $$
BEGIN
  PERFORM set_config('search_path', format('%I, pg_temp',
    coalesce(nullif(current_setting('vcon_storage.schema', true), ''), 'public')), false);
END
$$;

-- The rows of vcon_search for vCons, from their tables. p_careful: takes what says that it is JSON, but
-- is not, for text.
--
-- marks: the criteria that are met exactly or not at all. (The casts are for tables of another program
-- in which these columns have had another type.)
--
-- words: of the subject and the names (vcon_storage_words_v1), and of bodies: from the smallest to the
-- largest, up to p_room bytes together. JSON counts one part in p_json, as most of a transcript is no
-- words. The body that goes beyond is cut; the vCon has the mark "cut" then.
CREATE OR REPLACE FUNCTION vcon_storage_search_rows_v1(
  p_uuids uuid[], p_room integer, p_json integer, p_careful boolean
) RETURNS SETOF vcon_search
  LANGUAGE plpgsql STABLE
  SET search_path FROM CURRENT
  -- How many vCons there will be is not known when a plan is made: one for few or many, by index,
  -- and no planning at each call.
  SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off
  SET enable_hashjoin = off
  SET enable_mergejoin = off
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

-- Writes the rows that vCons are found by; with p_only_missing only where there is none. What is in
-- the vCons never makes it fail: what can't be indexed is not found, but saved.
--
-- A tsvector may have 1 MB (Postgres' manual, "Limitations" of text search). Where words are so many
-- and various, the bodies are cut further.
CREATE OR REPLACE FUNCTION vcon_storage_index_v2(
  p_uuids uuid[], p_only_missing boolean DEFAULT false
) RETURNS void
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
  SET client_min_messages = error
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

-- As before, of one vCon.
CREATE OR REPLACE FUNCTION vcon_storage_index_v1(
  p_uuid uuid, p_only_missing boolean DEFAULT false
) RETURNS void
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
AS $$
BEGIN
  PERFORM vcon_storage_index_v2(ARRAY[p_uuid], p_only_missing);
END
$$;

-- As before: indexes so many of the vCons that were noted. done: all that were noted before the call
-- are indexed. Now it stops after a second, or soon after, as long texts take long: it must not come
-- to the statement timeout, for then nothing of it counts.
--
-- One does it at a time; who comes next waits, and then sees what the one before did. A vCon that
-- somebody deletes just now is left for the next time: nobody waits for others' locks here while
-- holding some.
CREATE OR REPLACE FUNCTION vcon_storage_index_pending_v1(
  p_count integer DEFAULT 500, OUT indexed integer, OUT done boolean
)
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
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

-- As before: goes on with the walk through the vCons that were there before they were indexed, by so
-- many of them. Returns how many it saw, how many it indexed, and whether search is complete now. Now it
-- stops after a second, too.
CREATE OR REPLACE FUNCTION vcon_storage_index_step_v1(p_count integer DEFAULT 500) RETURNS json
  LANGUAGE plpgsql
  SET search_path FROM CURRENT
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

-- The newest migration that this schema has.
CREATE OR REPLACE FUNCTION vcon_storage_version_v1() RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  SET search_path FROM CURRENT
AS $$ SELECT '20261125180000' $$;

REVOKE ALL ON FUNCTION
  vcon_storage_search_rows_v1(uuid[], integer, integer, boolean),
  vcon_storage_index_v2(uuid[], boolean)
  FROM PUBLIC, anon, authenticated;
GRANT EXECUTE ON FUNCTION
  vcon_storage_search_rows_v1(uuid[], integer, integer, boolean),
  vcon_storage_index_v2(uuid[], boolean)
  TO service_role;

RESET search_path;
NOTIFY pgrst, 'reload schema';
