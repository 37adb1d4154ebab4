-- name: audit_head [postgres]
-- $1 workspace: the next place of the chain, and its lock until commit
SELECT audit_sequence + 1, audit_hash FROM workspace WHERE id = $1 FOR NO KEY UPDATE
-- name: audit_head [sqlite]
SELECT audit_sequence + 1, audit_hash FROM workspace WHERE id = $1

-- name: audit_set_head [sqlite]
-- $1 workspace, $2 sequence, $3 hash
UPDATE workspace SET audit_sequence = $2, audit_hash = $3 WHERE id = $1

-- name: audit_insert [postgres]
-- as below, and moves the head: the chain is locked for one round trip less
WITH head AS (UPDATE workspace SET audit_sequence = $2, audit_hash = $12 WHERE id = $1)
INSERT INTO audit (workspace_id, sequence, time_us, actor, action, target, decision, reason, request_id, source, record, hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
-- name: audit_insert [sqlite]
-- $1 workspace, $2 sequence, $3 time, $4 actor, $5 action, $6 target, $7 decision, $8 reason, $9 request id, $10 source, $11 record, $12 hash
INSERT INTO audit (workspace_id, sequence, time_us, actor, action, target, decision, reason, request_id, source, record, hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)

-- name: audit_list
-- $1 workspace, $2 start, $3 end, $4 actor prefix, $5 its length, $6 action prefix, $7 its length, $8 sequence before which the page starts (0: newest), $9 limit
SELECT u.sequence, w.name, u.time_us, u.actor, u.action, u.target, u.decision, u.reason, u.request_id, u.source, u.record, u.hash
FROM audit u JOIN workspace w ON w.id = u.workspace_id
WHERE u.workspace_id = $1 AND u.time_us >= $2 AND u.time_us < $3 AND substr(u.actor, 1, CAST($5 AS integer)) = $4
  AND substr(u.action, 1, CAST($7 AS integer)) = $6 AND (CAST($8 AS bigint) = 0 OR u.sequence < $8)
ORDER BY u.sequence DESC
LIMIT $9

-- name: audit_newer
-- $1 workspace, $2 sequence after which, $3 limit
SELECT u.sequence, w.name, u.time_us, u.actor, u.action, u.target, u.decision, u.reason, u.request_id, u.source, u.record, u.hash
FROM audit u JOIN workspace w ON w.id = u.workspace_id
WHERE u.workspace_id = $1 AND u.sequence > $2
ORDER BY u.sequence
LIMIT $3
