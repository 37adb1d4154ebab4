-- Relays between servers, and forwards counted over all of them.

-- Where the server that has the operator's stream is reached by the others: "host:port", or "" when nowhere.
ALTER TABLE relay ADD COLUMN owner TEXT NOT NULL DEFAULT '';

-- The control stream that has brought it to the agent, noted when one look at the table no longer holds all that wait.
ALTER TABLE relay ADD COLUMN stream INTEGER NOT NULL DEFAULT 0;

-- Forwards under way: counted before another one is opened. Whoever has the operator's stream renews its row.
CREATE TABLE sandbox_connection (
  workspace_id INTEGER NOT NULL,
  sandbox_id TEXT NOT NULL,
  relay_id TEXT NOT NULL,
  token_hash BLOB NOT NULL,
  until_us INTEGER NOT NULL,
  PRIMARY KEY (workspace_id, sandbox_id, relay_id),
  FOREIGN KEY (workspace_id, sandbox_id) REFERENCES sandbox (workspace_id, id) ON DELETE CASCADE
);
