-- What the command doctor asks of a database, in one request.
--
-- Safe to run again. It goes into the schema "public"; for another one:
--   SET vcon_storage.schema = 'name';

DO $$
BEGIN
  PERFORM set_config('search_path', format('%I, pg_temp',
    coalesce(nullif(current_setting('vcon_storage.schema', true), ''), 'public')), false);
END
$$;

-- Tells how this database is set up; no row of a vCon is read. It judges nothing: what is wrong is for
-- its caller to say. It answers as far as it can where tables or rights are missing, since that is
-- what it is asked for; so each table of ours is looked at in a statement of its own.
CREATE OR REPLACE FUNCTION vcon_storage_doctor_v1(p_tenant text DEFAULT NULL) RETURNS json
  LANGUAGE plpgsql STABLE
  SET search_path FROM CURRENT
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

-- The newest migration that this schema has.
CREATE OR REPLACE FUNCTION vcon_storage_version_v1() RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  SET search_path FROM CURRENT
AS $$ SELECT '20261125130000' $$;

REVOKE ALL ON FUNCTION vcon_storage_doctor_v1(text) FROM PUBLIC, anon, authenticated;
GRANT EXECUTE ON FUNCTION vcon_storage_doctor_v1(text) TO service_role;

RESET search_path;
NOTIFY pgrst, 'reload schema';
