-- Fills a migrated database with vCons to search: %(rows)s of them, from number %(first)s on, with
-- rare and common values of each criterion. The rows are made by the server, not saved one by one.
SET session_replication_role = replica;
INSERT INTO vcons (uuid, subject, created_at, saved_at, revision, as_written)
  SELECT md5(n::text)::uuid, 'call ' || n || ' about ' || md5((n % 5000)::text),
    '2020-01-01'::timestamptz + n * interval '1 minute',
    '2022-01-01'::timestamptz + n * interval '1 minute', n,
    json_build_object('vcon', '0.4.0', 'uuid', md5(n::text)::uuid, 'parties', '[]'::json)
  FROM generate_series(%(first)s, %(first)s + %(rows)s - 1) AS n;
INSERT INTO vcon_search
  SELECT v.uuid, NULL, v.created_at, v.saved_at, v.subject,
    jsonb_build_object(
      'party', jsonb_build_array(vcon_storage_party_marks_v1('+1202' || (5550000 + n),
        'user' || n || '@example.com', 'Name' || n || ' Family' || n % 500, v.uuid::text)),
      'tag', ARRAY['queue:' || n % 5000, 'language:en'], 'tagged', ARRAY['queue', 'language'],
      'dialog', ARRAY[CASE WHEN n % 1000 = 0 THEN 'transfer' ELSE 'recording' END],
      'analysis', jsonb_build_array(jsonb_build_object(
        'type', 'summary', 'vendor', CASE WHEN n % 1000 = 0 THEN 'rare' ELSE 'example' END)),
      'attached', true, 'attachment', ARRAY['tags', CASE WHEN n % 1000 = 0 THEN 'contract' END]),
    to_tsvector('english', concat_ws(' ', 'the caller asked about an invoice', 'number' || n,
      (SELECT string_agg('w' || (n * k) % (2000 * k), ' ') FROM generate_series(1, 60) AS k)))
  FROM generate_series(%(first)s, %(first)s + %(rows)s - 1) AS n
  JOIN vcons v ON v.uuid = md5(n::text)::uuid;
SET session_replication_role = origin;
