-- name: enrollment_insert
-- $1 workspace, $2 id, $3 token hash, $4 state, $5 labels (JSON), $6 auto_confirm, $7 created_by, $8 created_at, $9 expires_at
INSERT INTO enrollment (workspace_id, id, token_hash, state, labels, auto_confirm, created_by, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)

-- name: enrollment_by_token
-- $1 token hash
SELECT e.workspace_id, e.id, e.state, e.labels, e.auto_confirm, e.created_by, e.created_at, e.expires_at,
       COALESCE(e.agent_id, 0), COALESCE(a.name, ''), a.identity_key, w.name
FROM enrollment e
JOIN workspace w ON w.id = e.workspace_id
LEFT JOIN agent a ON a.workspace_id = e.workspace_id AND a.id = e.agent_id
WHERE e.token_hash = $1

-- name: enrollment_take [postgres]
-- $1 token hash: of a token that nobody has used, with an id for its agent; locked until commit, so that of many at once one wins
SELECT workspace_id, id, state, labels, auto_confirm, created_by, created_at, expires_at, nextval('agent_id')
FROM enrollment WHERE token_hash = $1 AND state = 1 FOR NO KEY UPDATE
-- name: enrollment_take [sqlite]
SELECT workspace_id, id, state, labels, auto_confirm, created_by, created_at, expires_at, (SELECT COALESCE(MAX(id), 0) + 1 FROM agent)
FROM enrollment WHERE token_hash = $1 AND state = 1

-- name: enrollment_by_id
-- $1 workspace, $2 id
SELECT e.workspace_id, e.id, e.state, e.labels, e.auto_confirm, e.created_by, e.created_at, e.expires_at,
       COALESCE(e.agent_id, 0), COALESCE(a.name, ''), a.identity_key, w.name
FROM enrollment e
JOIN workspace w ON w.id = e.workspace_id
LEFT JOIN agent a ON a.workspace_id = e.workspace_id AND a.id = e.agent_id
WHERE e.workspace_id = $1 AND e.id = $2

-- name: enrollment_list
-- $1 workspace, $2 state (0: any), $3 id after which the page starts ('': from the newest), $4 limit
SELECT e.workspace_id, e.id, e.state, e.labels, e.auto_confirm, e.created_by, e.created_at, e.expires_at,
       COALESCE(e.agent_id, 0), COALESCE(a.name, ''), a.identity_key, w.name
FROM enrollment e
JOIN workspace w ON w.id = e.workspace_id
LEFT JOIN agent a ON a.workspace_id = e.workspace_id AND a.id = e.agent_id
WHERE e.workspace_id = $1 AND (CAST($2 AS bigint) = 0 OR e.state = $2) AND (CAST($3 AS text) = '' OR e.id < $3)
ORDER BY e.id DESC
LIMIT $4

-- name: enrollment_move
-- $1 workspace, $2 id, $3 state it must have, $4 new state, $5 agent id (NULL: as it is)
UPDATE enrollment SET state = $4, agent_id = COALESCE($5, agent_id)
WHERE workspace_id = $1 AND id = $2 AND state = $3

-- name: enrollment_settle
-- $1 workspace, $2 id, $3 state, $4 agent id: of one that this transaction has taken
UPDATE enrollment SET state = $3, agent_id = $4 WHERE workspace_id = $1 AND id = $2

-- name: enrollment_expire
-- $1 now: pending tokens past their time
UPDATE enrollment SET state = 4 WHERE state = 1 AND expires_at <= $1
