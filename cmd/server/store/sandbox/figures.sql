-- name: figures_put
-- $1 workspace, $2 sandbox, $3 agent whose it must be, $4 interval, $5 taken at, $6 received at, $7 cpu, $8 read, $9 written, $10 sent, $11 received, $12 memory, $13 disk, $14 processes
INSERT INTO sandbox_figures (workspace_id, sandbox_id, interval_us, taken_at, received_at, cpu_us,
                             read_bytes, written_bytes, sent_bytes, received_bytes, memory_bytes, disk_bytes, processes)
SELECT s.workspace_id, s.id, CAST($4 AS bigint), CAST($5 AS bigint), CAST($6 AS bigint), CAST($7 AS bigint), CAST($8 AS bigint), CAST($9 AS bigint),
       CAST($10 AS bigint), CAST($11 AS bigint), CAST($12 AS bigint), CAST($13 AS bigint), CAST($14 AS bigint)
FROM sandbox s WHERE s.workspace_id = $1 AND s.id = $2 AND s.agent_id = $3
ON CONFLICT (workspace_id, sandbox_id) DO UPDATE
SET interval_us = excluded.interval_us, taken_at = excluded.taken_at, received_at = excluded.received_at, cpu_us = excluded.cpu_us,
    read_bytes = excluded.read_bytes, written_bytes = excluded.written_bytes, sent_bytes = excluded.sent_bytes, received_bytes = excluded.received_bytes,
    memory_bytes = excluded.memory_bytes, disk_bytes = excluded.disk_bytes, processes = excluded.processes

-- name: figures_list
-- $1 workspace (-1: all), $2 workspace and $3 name after which the page starts, $4 name ("": any), $5 limit
SELECT w.name, s.id, s.name, s.created_by, COALESCE(a.name, ''), COALESCE(a.last_seen_at, 0), s.phase, s.cpu_millis, s.memory_bytes,
       s.disk_bytes, COALESCE(f.interval_us, 0), COALESCE(f.taken_at, 0), COALESCE(f.received_at, 0), COALESCE(f.cpu_us, 0), COALESCE(f.read_bytes, 0),
       COALESCE(f.written_bytes, 0), COALESCE(f.sent_bytes, 0), COALESCE(f.received_bytes, 0), COALESCE(f.memory_bytes, 0),
       COALESCE(f.disk_bytes, 0), COALESCE(f.processes, 0), CAST(s.workspace_id AS text) || ':' || s.name
FROM sandbox s
JOIN workspace w ON w.id = s.workspace_id
LEFT JOIN agent a ON a.workspace_id = s.workspace_id AND a.id = s.agent_id
LEFT JOIN sandbox_figures f ON f.workspace_id = s.workspace_id AND f.sandbox_id = s.id
WHERE (CAST($1 AS bigint) < 0 OR s.workspace_id = $1) AND (s.workspace_id, s.name) > (CAST($2 AS bigint), CAST($3 AS text))
  AND (CAST($4 AS text) = '' OR s.name = $4)
ORDER BY s.workspace_id, s.name
LIMIT $5

-- name: figures_watch
-- $1 workspace (-1: all that have sandboxes), $2 until, $3 only where it ends before this: those it was written for; in their order,
-- so that two who look at all take turns
INSERT INTO sandbox_watch (workspace_id, until_us)
SELECT DISTINCT workspace_id, CAST($2 AS bigint) FROM sandbox WHERE CAST($1 AS bigint) < 0 OR workspace_id = $1
ORDER BY workspace_id
ON CONFLICT (workspace_id) DO UPDATE SET until_us = excluded.until_us WHERE sandbox_watch.until_us < $3
RETURNING workspace_id

-- name: figures_watched
-- $1 workspace
SELECT until_us FROM sandbox_watch WHERE workspace_id = $1
