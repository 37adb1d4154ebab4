-- name: audit_head [postgres]
-- $1 workspace: the next place of the chain, and its lock until the commit
SELECT audit_sequence + 1, audit_hash FROM workspace WHERE id = $1 FOR NO KEY UPDATE
-- name: audit_head [sqlite]
SELECT audit_sequence + 1, audit_hash FROM workspace WHERE id = $1

-- name: audit_set_head [sqlite]
-- $1 workspace, $2 sequence, $3 hash
UPDATE workspace SET audit_sequence = $2, audit_hash = $3 WHERE id = $1

-- name: audit_arrive [postgres]
-- $1 workspace, $2 time, $3 actor, $4 action, $5 target, $6 decision, $7 reason, $8 request id, $9 source, $10 record: without a place yet
INSERT INTO audit (workspace_id, sequence, time_us, actor, action, target, decision, reason, request_id, source, record, hash)
VALUES ($1, -nextval('audit_arrival'), $2, $3, $4, $5, $6, $7, $8, $9, $10, '')

-- name: audit_arrived [postgres]
-- $1 workspace, $2 limit: those without a place, as they came
SELECT sequence, record FROM audit WHERE workspace_id = $1 AND sequence < 0 ORDER BY sequence DESC LIMIT $2

-- name: audit_place [postgres]
-- $1 workspace, arrays: $2 sequences as they are, $3 as they become, $4 hashes; $5 sequence and $6 hash of the last
WITH head AS (UPDATE workspace SET audit_sequence = $5, audit_hash = $6 WHERE id = $1)
UPDATE audit u SET sequence = n.sequence, hash = n.hash
FROM unnest(CAST($2 AS bigint[]), CAST($3 AS bigint[]), CAST($4 AS bytea[])) AS n (arrival, sequence, hash)
WHERE u.workspace_id = $1 AND u.sequence = n.arrival

-- name: audit_unplaced [postgres]
-- $1 limit: workspaces with records that have no place
SELECT w.id FROM workspace w WHERE EXISTS (SELECT 1 FROM audit u WHERE u.workspace_id = w.id AND u.sequence < 0) LIMIT $1

-- name: audit_insert [sqlite]
-- $1 workspace, $2 sequence, $3 time, $4 actor, $5 action, $6 target, $7 decision, $8 reason, $9 request id, $10 source, $11 record, $12 hash
INSERT INTO audit (workspace_id, sequence, time_us, actor, action, target, decision, reason, request_id, source, record, hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)

-- name: audit_list
-- $1 workspace, $2 start, $3 end, $4 actor prefix, $5 its length, $6 action prefix, $7 its length, $8 sequence before which the page starts (0: newest), $9 limit
SELECT u.sequence, w.name, u.time_us, u.actor, u.action, u.target, u.decision, u.reason, u.request_id, u.source, u.record, u.hash
FROM audit u JOIN workspace w ON w.id = u.workspace_id
WHERE u.workspace_id = $1 AND u.sequence > 0 AND u.time_us >= $2 AND u.time_us < $3 AND substr(u.actor, 1, CAST($5 AS integer)) = $4
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
