-- Relays between servers, and forwards counted over all of them.

-- Where the server that has the operator's stream is reached by the others: "host:port", or "" when nowhere.
ALTER TABLE relay ADD COLUMN owner text NOT NULL DEFAULT '';

-- The control stream that has brought it to the agent, noted when one look at the table no longer holds all that wait.
ALTER TABLE relay ADD COLUMN stream bigint NOT NULL DEFAULT 0;

-- Forwards under way: counted before another one is opened. Whoever has the operator's stream renews its row.
CREATE TABLE sandbox_connection (
  workspace_id bigint NOT NULL,
  sandbox_id text NOT NULL,
  relay_id text NOT NULL,
  token_hash bytea NOT NULL,
  until_us bigint NOT NULL,
  PRIMARY KEY (workspace_id, sandbox_id, relay_id),
  FOREIGN KEY (workspace_id, sandbox_id) REFERENCES sandbox (workspace_id, id) ON DELETE CASCADE
);
ALTER TABLE sandbox_connection ENABLE ROW LEVEL SECURITY;
ALTER TABLE sandbox_connection FORCE ROW LEVEL SECURITY;
CREATE POLICY wall ON sandbox_connection USING (belay_visible(workspace_id));
