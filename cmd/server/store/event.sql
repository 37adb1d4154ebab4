-- name: event_lock [postgres]
-- $1 workspace: until the transaction ends its events get their ids here alone
SELECT length(CAST(pg_advisory_xact_lock(1702257012, hashint8(CAST($1 AS bigint))) AS text))

-- name: event_put
-- $1 workspace, $2 agent, $3 time, $4 received_at, $5 severity, $6 kind, $7 device, $8 text, $9 attributes
INSERT INTO event (workspace_id, agent_id, time_us, received_at, severity, kind, device, text, attributes)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)

-- name: event_put_all [postgres]
-- $1 workspace, the rest arrays: $2 agents, $3 times, $4 received_at, $5 severities, $6 kinds, $7 devices, $8 texts, $9 attributes; ids in that order
INSERT INTO event (workspace_id, agent_id, time_us, received_at, severity, kind, device, text, attributes)
SELECT CAST($1 AS bigint), e.agent_id, e.time_us, e.received_at, e.severity, e.kind, e.device, e.text, e.attributes
FROM unnest(CAST($2 AS bigint[]), CAST($3 AS bigint[]), CAST($4 AS bigint[]), CAST($5 AS bigint[]),
            CAST($6 AS text[]), CAST($7 AS text[]), CAST($8 AS text[]), CAST($9 AS text[]))
  WITH ORDINALITY AS e (agent_id, time_us, received_at, severity, kind, device, text, attributes, place)
ORDER BY e.place

-- name: event_list
-- $1 workspace, $2 agent (0: any), $3 least severity, $4 kind prefix, $5 its length, $6 start, $7 end, $8 id before which the page starts (0: newest), $9 limit
SELECT e.id, e.agent_id, a.name, e.time_us, e.received_at, e.severity, e.kind, e.device, e.text, e.attributes, w.name
FROM event e
JOIN agent a ON a.workspace_id = e.workspace_id AND a.id = e.agent_id
JOIN workspace w ON w.id = e.workspace_id
WHERE e.workspace_id = $1 AND (CAST($2 AS bigint) = 0 OR e.agent_id = $2) AND e.severity >= $3
  AND substr(e.kind, 1, CAST($5 AS integer)) = $4 AND e.time_us >= $6 AND e.time_us < $7
  AND (CAST($8 AS bigint) = 0 OR e.id < $8)
ORDER BY e.id DESC
LIMIT $9

-- name: event_newer
-- $1 workspace, $2 agent (0: any), $3 least severity, $4 kind prefix, $5 its length, $6 id after which, $7 limit
SELECT e.id, e.agent_id, a.name, e.time_us, e.received_at, e.severity, e.kind, e.device, e.text, e.attributes, w.name
FROM event e
JOIN agent a ON a.workspace_id = e.workspace_id AND a.id = e.agent_id
JOIN workspace w ON w.id = e.workspace_id
WHERE e.workspace_id = $1 AND (CAST($2 AS bigint) = 0 OR e.agent_id = $2) AND e.severity >= $3
  AND substr(e.kind, 1, CAST($5 AS integer)) = $4 AND e.id > $6
ORDER BY e.id
LIMIT $7

-- name: event_last_id
-- $1 workspace
SELECT COALESCE(MAX(id), 0) FROM event WHERE workspace_id = $1

-- name: event_remove [postgres]
-- $1 received before, $2 how many at once
DELETE FROM event WHERE (workspace_id, id) IN (SELECT workspace_id, id FROM event WHERE received_at < $1 LIMIT CAST($2 AS integer))
-- name: event_remove [sqlite]
DELETE FROM event WHERE id IN (SELECT id FROM event WHERE received_at < $1 LIMIT $2)

-- name: event_of_device
-- $1 workspace, $2 device, $3 kind (1: lines of programs, 2: all else, 3: both), $4 least severity, $5 agent's time from, $6 limit; newest first
SELECT e.id, e.agent_id, a.name, e.time_us, e.received_at, e.severity, e.kind, e.device, e.text, e.attributes, w.name
FROM event e
JOIN agent a ON a.workspace_id = e.workspace_id AND a.id = e.agent_id
JOIN workspace w ON w.id = e.workspace_id
WHERE e.workspace_id = $1 AND e.device = $2 AND e.device <> '' AND (CAST($3 AS integer) = 3 OR (CAST($3 AS integer) = 1) = (e.kind = 'sandbox.log'))
  AND e.severity >= $4 AND e.time_us >= $5
ORDER BY e.id DESC
LIMIT $6

-- name: event_count_of_device
-- $1 workspace, $2 device: all of its log, whatever is asked of it
SELECT COUNT(*) FROM event e WHERE e.workspace_id = $1 AND e.device = $2 AND e.device <> ''

-- name: event_of_device_newer
-- $1 workspace, $2 device, $3 id after which, $4 limit; in order
SELECT e.id, e.agent_id, a.name, e.time_us, e.received_at, e.severity, e.kind, e.device, e.text, e.attributes, w.name
FROM event e
JOIN agent a ON a.workspace_id = e.workspace_id AND a.id = e.agent_id
JOIN workspace w ON w.id = e.workspace_id
WHERE e.workspace_id = $1 AND e.device = $2 AND e.device <> '' AND e.id > $3
ORDER BY e.id
LIMIT $4
