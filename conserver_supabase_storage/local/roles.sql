-- The roles, timeouts and privileges that a database of a Supabase project starts with.
-- Run by a superuser, once per database; running it again changes nothing.
-- The password of authenticator is set apart from this file.

DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('anon', 'NOLOGIN'),
            ('authenticated', 'NOLOGIN'),
            ('service_role', 'NOLOGIN BYPASSRLS'),
            ('authenticator', 'LOGIN NOINHERIT')
        ) AS roles (name, attributes)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted.name) THEN
            EXECUTE format('CREATE ROLE %I %s', wanted.name, wanted.attributes);
        END IF;
    END LOOP;
END
$$;

-- PostgREST logs in as authenticator and becomes one of these for each request.
GRANT anon, authenticated, service_role TO authenticator;

-- service_role has no limit of its own: the session's, that is authenticator's, holds for it.
ALTER ROLE anon SET statement_timeout = '3s';
ALTER ROLE authenticated SET statement_timeout = '8s';
ALTER ROLE authenticator SET statement_timeout = '8s';
ALTER ROLE authenticator SET lock_timeout = '8s';

CREATE SCHEMA IF NOT EXISTS extensions;
ALTER ROLE CURRENT_USER SET search_path = "$user", public, extensions;

GRANT USAGE ON SCHEMA public, extensions TO anon, authenticated, service_role;

-- Whatever the owner of the database creates in public is open to all three, anon included:
-- a migration has to take back what it doesn't want to give.
ALTER DEFAULT PRIVILEGES IN SCHEMA public
    GRANT ALL ON TABLES TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public
    GRANT ALL ON FUNCTIONS TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public
    GRANT ALL ON SEQUENCES TO anon, authenticated, service_role;
