-- What sandboxes use now, one row each, written over while somebody looks; and until when somebody does.
-- Unlogged: what a crash takes is a moment old.
CREATE UNLOGGED TABLE sandbox_figures (
  workspace_id bigint NOT NULL,
  sandbox_id text NOT NULL,
  interval_us bigint NOT NULL,
  taken_at bigint NOT NULL,
  received_at bigint NOT NULL,
  cpu_us bigint NOT NULL,
  read_bytes bigint NOT NULL,
  written_bytes bigint NOT NULL,
  sent_bytes bigint NOT NULL,
  received_bytes bigint NOT NULL,
  memory_bytes bigint NOT NULL,
  disk_bytes bigint NOT NULL,
  processes bigint NOT NULL,
  PRIMARY KEY (workspace_id, sandbox_id),
  FOREIGN KEY (workspace_id, sandbox_id) REFERENCES sandbox (workspace_id, id) ON DELETE CASCADE
) WITH (fillfactor = 70);

CREATE UNLOGGED TABLE sandbox_watch (
  workspace_id bigint NOT NULL PRIMARY KEY REFERENCES workspace (id),
  until_us bigint NOT NULL
);

DO $$
DECLARE
  noun text;
BEGIN
  FOREACH noun IN ARRAY ARRAY['sandbox_figures', 'sandbox_watch']
  LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', noun);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', noun);
    EXECUTE format('CREATE POLICY wall ON %I USING (belay_visible(workspace_id))', noun);
  END LOOP;
END
$$;
