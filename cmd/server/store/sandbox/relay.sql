-- name: relay_insert
-- $1 workspace, $2 id, $3 agent, $4 packed ControlRelayOpen, $5 expires_at, $6 owner
INSERT INTO relay (workspace_id, id, agent_id, packed, expires_at, owner) VALUES ($1, $2, $3, $4, $5, $6)

-- name: relay_by_id
-- $1 workspace, $2 agent, $3 id, $4 now
SELECT id, packed, expires_at, owner FROM relay WHERE workspace_id = $1 AND agent_id = $2 AND id = $3 AND expires_at > $4

-- name: relay_waiting
-- $1 workspace, $2 agent, $3 now, $4 control stream, $5 limit, $6 bytes of an order that comes along
SELECT id, CASE WHEN length(packed) <= $6 THEN packed ELSE substr(packed, 1, 0) END AS packed, expires_at, owner FROM relay
WHERE workspace_id = $1 AND agent_id = $2 AND expires_at > $3 AND stream <> $4
ORDER BY id
LIMIT $5

-- name: relay_mark_sent
-- $1 workspace, $2 agent, $3 id, $4 control stream
UPDATE relay SET stream = $4 WHERE workspace_id = $1 AND agent_id = $2 AND id = $3

-- name: relay_remove
-- $1 workspace, $2 agent, $3 id
DELETE FROM relay WHERE workspace_id = $1 AND agent_id = $2 AND id = $3

-- name: relay_expire
-- $1 now
DELETE FROM relay WHERE expires_at <= $1

-- name: relay_connection_lock
-- $1 workspace, $2 sandbox: whoever counts its connections waits until the transaction ends
UPDATE sandbox SET revision = revision WHERE workspace_id = $1 AND id = $2

-- name: relay_connection_count
-- $1 workspace, $2 sandbox, $3 token hash (null: any), $4 now
SELECT COUNT(*) FROM sandbox_connection
WHERE workspace_id = $1 AND sandbox_id = $2 AND (CAST($3 AS bytea) IS NULL OR token_hash = $3) AND until_us > $4

-- name: relay_connection_put
-- $1 workspace, $2 sandbox, $3 relay, $4 token hash, $5 until
INSERT INTO sandbox_connection (workspace_id, sandbox_id, relay_id, token_hash, until_us) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (workspace_id, sandbox_id, relay_id) DO UPDATE SET until_us = excluded.until_us

-- name: relay_connection_remove
-- $1 workspace, $2 sandbox, $3 relay
DELETE FROM sandbox_connection WHERE workspace_id = $1 AND sandbox_id = $2 AND relay_id = $3

-- name: relay_connection_expire
-- $1 now
DELETE FROM sandbox_connection WHERE until_us <= $1
