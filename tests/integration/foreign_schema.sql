-- Stands for the tables that vcon-mcp owns, as its databases have them before we come: their
-- columns, constraints, triggers, indexes and policies that matter to us, in our own words. It is
-- not that project's schema and has nothing of what we never touch (embeddings, logs, dashboards).

CREATE TABLE vcons (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  uuid uuid NOT NULL UNIQUE,
  vcon_version varchar(10) NOT NULL DEFAULT '0.3.0',
  subject text,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  basename text,
  filename text,
  processed_by text,
  tenant_id text,
  done boolean DEFAULT false,
  corrupt boolean DEFAULT false,
  privacy_processed boolean DEFAULT false,
  redaction_rules jsonb,
  redacted jsonb DEFAULT '{}',
  appended jsonb DEFAULT '{}',
  amended jsonb DEFAULT '{}',
  group_data jsonb DEFAULT '[]',
  extensions text[],
  must_support text[],
  critical text[],
  subject_tsvector tsvector
);

CREATE TABLE parties (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  vcon_id uuid NOT NULL REFERENCES vcons (uuid) ON DELETE CASCADE,
  tenant_id text,
  party_index integer NOT NULL,
  tel text, sip text, stir text, mailto text, name text, did text, validation text, gmlpos text,
  timezone text, uuid text, data_subject_id text,
  jcard jsonb, civicaddress jsonb, metadata jsonb DEFAULT '{}',
  party_tsvector tsvector,
  UNIQUE (vcon_id, party_index)
);

CREATE TABLE dialog (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  vcon_id uuid NOT NULL REFERENCES vcons (uuid) ON DELETE CASCADE,
  tenant_id text,
  dialog_index integer NOT NULL,
  type text NOT NULL CHECK (type IN ('recording', 'text', 'transfer', 'incomplete')),
  start_time timestamptz,
  duration_seconds real,
  parties integer[],
  originator integer,
  mediatype text, filename text, body text,
  encoding text CHECK (encoding IN ('base64url', 'json', 'none')),
  url text, content_hash text, disposition text,
  session_id jsonb, session_id_legacy text,
  application text, message_id text,
  transferee integer, transferor integer,
  transfer_target integer[], original integer[], consultation integer[], target_dialog integer[],
  size_bytes bigint,
  metadata jsonb DEFAULT '{}',
  body_tsvector tsvector,
  UNIQUE (vcon_id, dialog_index)
);

CREATE TABLE party_history (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  dialog_id uuid NOT NULL REFERENCES dialog (id) ON DELETE CASCADE,
  party_index integer NOT NULL,
  time timestamptz NOT NULL,
  event text CHECK (event IN ('join', 'drop', 'hold', 'unhold', 'mute', 'unmute',
    'dtmfdown', 'dtmfup')),
  dtmf text,
  tenant_id text
);

CREATE TABLE groups (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  vcon_id uuid NOT NULL REFERENCES vcons (uuid) ON DELETE CASCADE,
  tenant_id text,
  group_index integer NOT NULL,
  uuid uuid,
  body text,
  encoding text CHECK (encoding = 'json'),
  url text,
  content_hash text,
  UNIQUE (vcon_id, group_index)
);

CREATE TABLE analysis (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  vcon_id uuid NOT NULL REFERENCES vcons (uuid) ON DELETE CASCADE,
  tenant_id text,
  analysis_index integer NOT NULL,
  type text NOT NULL,
  vendor text NOT NULL,
  dialog_indices integer[],
  mediatype text, filename text, product text, schema text, body text,
  encoding text CHECK (encoding IN ('base64url', 'json', 'none')),
  url text, content_hash text,
  created_at timestamptz DEFAULT now(),
  confidence real,
  metadata jsonb DEFAULT '{}',
  body_tsvector tsvector,
  UNIQUE (vcon_id, analysis_index)
);

CREATE TABLE attachments (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  vcon_id uuid NOT NULL REFERENCES vcons (uuid) ON DELETE CASCADE,
  tenant_id text,
  attachment_index integer NOT NULL,
  type text, purpose text,
  start_time timestamptz,
  party integer, dialog integer,
  mimetype text, filename text, body text,
  encoding text CHECK (encoding IN ('base64url', 'json', 'none')),
  url text, content_hash text,
  size_bytes bigint,
  metadata jsonb DEFAULT '{}',
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (vcon_id, attachment_index)
);

CREATE INDEX idx_parties_name ON parties (name);
CREATE INDEX idx_parties_tel ON parties (tel);
CREATE INDEX idx_parties_mailto ON parties (mailto);
CREATE INDEX idx_analysis_schema ON analysis (schema);
CREATE INDEX idx_analysis_type ON analysis (type, vendor, product);
CREATE INDEX idx_attachments_type ON attachments (type);
CREATE INDEX idx_dialog_type ON dialog (type);
CREATE INDEX idx_parties_uuid ON parties (uuid);
CREATE INDEX idx_analysis_dialog ON analysis USING gin (dialog_indices);
CREATE INDEX idx_dialog_session ON dialog USING gin (session_id);
CREATE INDEX idx_vcons_critical ON vcons USING gin (critical);
CREATE INDEX idx_vcons_subject ON vcons USING gin (subject_tsvector);

CREATE INDEX idx_attachments_tags ON attachments (vcon_id, body) WHERE type = 'tags';

-- The tags of a vCon by name, as of the view's last refresh, and the search that uses it.
CREATE MATERIALIZED VIEW vcon_tags_mv AS
  SELECT a.tenant_id, a.vcon_id,
    jsonb_object_agg(split_part(tag, ':', 1), split_part(tag, ':', 2)) AS tags
  FROM attachments a, jsonb_array_elements_text(a.body::jsonb) AS tag
  WHERE a.type = 'tags' AND a.body ~ '^\s*\[.*\]\s*$'
  GROUP BY a.tenant_id, a.vcon_id;
CREATE FUNCTION find_by_tags(wanted jsonb) RETURNS TABLE (uuid uuid) LANGUAGE sql STABLE AS $$
  SELECT v.uuid FROM public.vcons v JOIN public.vcon_tags_mv t ON t.vcon_id = v.id
  WHERE t.tags @> wanted
$$;

-- What the vCon's children inherit from it.
CREATE FUNCTION copy_tenant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.tenant_id := coalesce(
    NEW.tenant_id, (SELECT v.tenant_id FROM public.vcons v WHERE v.id = NEW.vcon_id));
  RETURN NEW;
END
$$;
CREATE TRIGGER copy_tenant BEFORE INSERT ON parties
  FOR EACH ROW EXECUTE FUNCTION copy_tenant();
CREATE TRIGGER copy_tenant BEFORE INSERT ON dialog
  FOR EACH ROW EXECUTE FUNCTION copy_tenant();
CREATE TRIGGER copy_tenant BEFORE INSERT ON analysis
  FOR EACH ROW EXECUTE FUNCTION copy_tenant();
CREATE TRIGGER copy_tenant BEFORE INSERT ON attachments
  FOR EACH ROW EXECUTE FUNCTION copy_tenant();

-- The old and the new names of two members are kept the same.
CREATE FUNCTION keep_names_in_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.critical := coalesce(NEW.critical, NEW.must_support);
  NEW.must_support := NEW.critical;
  IF NEW.amended IS NULL OR NEW.amended = '{}' THEN NEW.amended := NEW.appended; END IF;
  IF NEW.amended <> '{}' THEN NEW.appended := NEW.amended; END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER keep_names_in_step BEFORE INSERT OR UPDATE ON vcons
  FOR EACH ROW EXECUTE FUNCTION keep_names_in_step();

-- Words to search by.
CREATE FUNCTION index_words() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_TABLE_NAME = 'vcons' THEN
    NEW.subject_tsvector := to_tsvector('english', coalesce(NEW.subject, ''));
  ELSIF TG_TABLE_NAME = 'parties' THEN
    NEW.party_tsvector := to_tsvector(
      'english', concat_ws(' ', NEW.name, NEW.mailto, NEW.tel));
  ELSE
    NEW.body_tsvector := to_tsvector('english', coalesce(NEW.body, ''));
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER index_words BEFORE INSERT OR UPDATE ON vcons
  FOR EACH ROW EXECUTE FUNCTION index_words();
CREATE TRIGGER index_words BEFORE INSERT OR UPDATE ON parties
  FOR EACH ROW EXECUTE FUNCTION index_words();
CREATE TRIGGER index_words BEFORE INSERT OR UPDATE ON dialog
  FOR EACH ROW EXECUTE FUNCTION index_words();
CREATE TRIGGER index_words BEFORE INSERT OR UPDATE ON analysis
  FOR EACH ROW EXECUTE FUNCTION index_words();

-- Work for a program that comes by later.
CREATE TABLE embedding_queue (id bigserial PRIMARY KEY, vcon_id uuid NOT NULL);
CREATE FUNCTION queue_embedding() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.embedding_queue (vcon_id) VALUES (NEW.uuid);
  RETURN NEW;
END
$$;
CREATE TRIGGER queue_embedding AFTER INSERT ON vcons
  FOR EACH ROW EXECUTE FUNCTION queue_embedding();

-- Rows are for the tenant in the caller's token, or for all where they have none.
DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['vcons', 'parties', 'dialog', 'analysis', 'attachments'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format(
      'CREATE POLICY tenant ON %I FOR ALL TO authenticated USING (tenant_id IS NULL OR tenant_id ='
      ' current_setting(''request.jwt.claims'', true)::jsonb ->> ''tenant_id'')', name);
  END LOOP;
END
$$;

-- A vCon that the other program wrote, and one that it has of a tenant.
INSERT INTO vcons (id, uuid, vcon_version, subject, created_at, updated_at)
VALUES ('0195544a-0000-8000-8000-000000000001', '0195544a-0000-8000-8000-000000000001', '0.3.0',
  'Written by another program', '2026-01-02T03:04:05Z', '2026-01-02T03:04:06Z');
INSERT INTO parties (vcon_id, party_index, name, tel, metadata)
VALUES ('0195544a-0000-8000-8000-000000000001', 0, 'Ada Example', '+12025550143', '{}'),
  ('0195544a-0000-8000-8000-000000000001', 1, 'Ben Example', NULL, '{}');
INSERT INTO dialog (vcon_id, dialog_index, type, start_time, duration_seconds, parties, body,
  encoding)
VALUES ('0195544a-0000-8000-8000-000000000001', 0, 'text', '2026-01-02T03:04:05Z', 1.5, '{0,1}',
  'Hello', 'none');
INSERT INTO analysis (vcon_id, analysis_index, type, vendor, dialog_indices, body, encoding,
  created_at)
VALUES ('0195544a-0000-8000-8000-000000000001', 0, 'summary', 'example', '{0}', 'A greeting',
  'none', '2026-01-02T03:04:07Z');
INSERT INTO attachments (vcon_id, attachment_index, type, body, encoding)
VALUES ('0195544a-0000-8000-8000-000000000001', 0, 'tags', '["queue:billing"]', 'json');
INSERT INTO vcons (id, uuid, subject, tenant_id)
VALUES ('0195544a-0000-8000-8000-000000000002', '0195544a-0000-8000-8000-000000000002',
  'Of a tenant', 'acme');
