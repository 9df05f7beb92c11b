-- What differed in vcon-mcp's databases before 2026: run after foreign_schema.sql. Foreign keys are on
-- vcons(id), a party's uuid has to be one, a session_id is a text in a B-tree, and dispositions are
-- checked.

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['parties', 'dialog', 'analysis', 'attachments', 'groups'] LOOP
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT %I', name, name || '_vcon_id_fkey');
    EXECUTE format(
      'ALTER TABLE %I ADD CONSTRAINT %I FOREIGN KEY (vcon_id) REFERENCES vcons (id)'
      ' ON DELETE CASCADE', name, name || '_vcon_id_fkey');
  END LOOP;
END
$$;

ALTER TABLE parties ALTER COLUMN uuid TYPE uuid USING uuid::uuid;
DROP INDEX idx_dialog_session;
ALTER TABLE dialog ALTER COLUMN session_id TYPE text USING session_id #>> '{}';
CREATE INDEX idx_dialog_session ON dialog (session_id);
ALTER TABLE dialog ADD CHECK (disposition IN ('no-answer', 'congestion', 'failed', 'busy',
  'hung-up', 'voicemail-no-message'));
ALTER TABLE party_history DROP COLUMN dtmf, ALTER COLUMN event SET NOT NULL;
