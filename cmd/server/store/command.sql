-- name: command_insert
-- $1 workspace, $2 id, $3 agent, $4 sequence, $5 kind, $6 payload, $7 actor, $8 signature, $9 created_at, $10 expires_at, $11 idempotency key, $12 sandbox ('': none)
INSERT INTO command (workspace_id, id, agent_id, sequence, state, kind, payload, actor, signature, created_at, expires_at, idempotency_key,
                     sandbox_id)
VALUES ($1, $2, $3, $4, 1, $5, $6, $7, $8, $9, $10, $11, $12)

-- name: command_by_id
-- $1 workspace, $2 id
SELECT c.workspace_id, c.id, c.agent_id, a.name, c.sequence, c.state, c.kind, c.payload, c.actor, c.signature, c.created_at,
       c.expires_at, c.sent_at, c.finished_at, c.code, c.error_message, c.result, COALESCE(c.idempotency_key, ''), c.revision, w.name,
       c.sandbox_id
FROM command c
JOIN agent a ON a.workspace_id = c.workspace_id AND a.id = c.agent_id
JOIN workspace w ON w.id = c.workspace_id
WHERE c.workspace_id = $1 AND c.id = $2

-- name: command_by_idempotency_key
-- $1 workspace, $2 key
SELECT c.workspace_id, c.id, c.agent_id, a.name, c.sequence, c.state, c.kind, c.payload, c.actor, c.signature, c.created_at,
       c.expires_at, c.sent_at, c.finished_at, c.code, c.error_message, c.result, COALESCE(c.idempotency_key, ''), c.revision, w.name,
       c.sandbox_id
FROM command c
JOIN agent a ON a.workspace_id = c.workspace_id AND a.id = c.agent_id
JOIN workspace w ON w.id = c.workspace_id
WHERE c.workspace_id = $1 AND c.idempotency_key = $2

-- name: command_list
-- $1 workspace, $2 agent (0: any), $3 state (0: any), $4 id before which the page starts ('': newest), $5 limit
SELECT c.workspace_id, c.id, c.agent_id, a.name, c.sequence, c.state, c.kind, c.payload, c.actor, c.signature, c.created_at,
       c.expires_at, c.sent_at, c.finished_at, c.code, c.error_message, c.result, COALESCE(c.idempotency_key, ''), c.revision, w.name,
       c.sandbox_id
FROM command c
JOIN agent a ON a.workspace_id = c.workspace_id AND a.id = c.agent_id
JOIN workspace w ON w.id = c.workspace_id
WHERE c.workspace_id = $1 AND (CAST($2 AS bigint) = 0 OR c.agent_id = $2) AND (CAST($3 AS bigint) = 0 OR c.state = $3)
  AND (CAST($4 AS text) = '' OR c.id < $4)
ORDER BY c.id DESC
LIMIT $5

-- name: command_open
-- $1 workspace, $2 agent, $3 sequence after which to start, $4 now, $5 limit: what the agent has yet to get or to acknowledge
SELECT c.workspace_id, c.id, c.agent_id, '', c.sequence, c.state, c.kind, c.payload, c.actor, c.signature, c.created_at,
       c.expires_at, c.sent_at, c.finished_at, c.code, c.error_message, c.result, COALESCE(c.idempotency_key, ''), c.revision, '',
       c.sandbox_id
FROM command c
WHERE c.workspace_id = $1 AND c.agent_id = $2 AND c.state IN (1, 2) AND c.sequence > $3 AND c.expires_at > $4
ORDER BY c.sequence
LIMIT $5

-- name: command_waiting
-- $1 now: agents, also those that shall open a relay
SELECT agent_id FROM command WHERE state = 1 AND expires_at > $1
UNION
SELECT agent_id FROM relay WHERE expires_at > $1

-- name: command_mark_sent
-- $1 workspace, $2 id, $3 now
UPDATE command SET state = 2, sent_at = $3, revision = revision + 1 WHERE workspace_id = $1 AND id = $2 AND state = 1

-- name: command_finish
-- $1 workspace, $2 id, $3 agent, $4 state, $5 code, $6 error, $7 result, $8 now: the first acknowledgement wins. What a sandbox was made with, its environment too, does
-- not outlast the order: the same in the two below.
UPDATE command SET state = $4, code = $5, error_message = $6, result = $7, finished_at = $8, revision = revision + 1,
                   payload = CASE WHEN kind = 'sandbox_create' THEN substr(payload, 1, 0) ELSE payload END
WHERE workspace_id = $1 AND id = $2 AND agent_id = $3 AND state IN (1, 2, 5)

-- name: command_cancel
-- $1 workspace, $2 id, $3 now: only what was not sent and is not over
UPDATE command SET state = 6, finished_at = $3, revision = revision + 1,
                   payload = CASE WHEN kind = 'sandbox_create' THEN substr(payload, 1, 0) ELSE payload END
WHERE workspace_id = $1 AND id = $2 AND state = 1 AND expires_at > $3

-- name: command_expire
-- $1 now
UPDATE command SET state = 5, finished_at = $1, revision = revision + 1,
                   payload = CASE WHEN kind = 'sandbox_create' THEN substr(payload, 1, 0) ELSE payload END
WHERE state IN (1, 2) AND expires_at <= $1

-- name: command_open_count
-- $1 workspace, $2 agent, $3 kind, $4 sandbox ('': any), $5 now
SELECT COUNT(*) FROM command
WHERE workspace_id = $1 AND agent_id = $2 AND state IN (1, 2) AND expires_at > $5 AND kind = $3
  AND (CAST($4 AS text) = '' OR sandbox_id = $4)

-- name: command_remove [postgres]
-- $1 finished before, $2 how many at once
DELETE FROM command WHERE ctid IN (SELECT ctid FROM command WHERE state >= 3 AND finished_at < $1 LIMIT CAST($2 AS integer))
-- name: command_remove [sqlite]
DELETE FROM command WHERE rowid IN (SELECT rowid FROM command WHERE state >= 3 AND finished_at < $1 LIMIT $2)
