-- name: figures_put [postgres]
-- $1 workspace, $2 agent whose they must be, $3 JSON array of [sandbox, interval, taken at, cpu, read, written, sent, received, memory, disk,
-- processes], each sandbox once, $4 received at; in the order in which everybody takes sandboxes
INSERT INTO sandbox_figures (workspace_id, sandbox_id, interval_us, taken_at, received_at, cpu_us,
                             read_bytes, written_bytes, sent_bytes, received_bytes, memory_bytes, disk_bytes, processes)
SELECT s.workspace_id, s.id, CAST(n.said ->> 1 AS bigint), CAST(n.said ->> 2 AS bigint), CAST($4 AS bigint), CAST(n.said ->> 3 AS bigint),
       CAST(n.said ->> 4 AS bigint), CAST(n.said ->> 5 AS bigint), CAST(n.said ->> 6 AS bigint), CAST(n.said ->> 7 AS bigint),
       CAST(n.said ->> 8 AS bigint), CAST(n.said ->> 9 AS bigint), CAST(n.said ->> 10 AS bigint)
FROM json_array_elements(CAST($3 AS json)) AS n (said)
JOIN sandbox s ON s.workspace_id = $1 AND s.id = n.said ->> 0 AND s.agent_id = $2
ORDER BY s.id
ON CONFLICT (workspace_id, sandbox_id) DO UPDATE
SET interval_us = excluded.interval_us, taken_at = excluded.taken_at, received_at = excluded.received_at, cpu_us = excluded.cpu_us,
    read_bytes = excluded.read_bytes, written_bytes = excluded.written_bytes, sent_bytes = excluded.sent_bytes, received_bytes = excluded.received_bytes,
    memory_bytes = excluded.memory_bytes, disk_bytes = excluded.disk_bytes, processes = excluded.processes
-- name: figures_put [sqlite]
INSERT INTO sandbox_figures (workspace_id, sandbox_id, interval_us, taken_at, received_at, cpu_us,
                             read_bytes, written_bytes, sent_bytes, received_bytes, memory_bytes, disk_bytes, processes)
SELECT s.workspace_id, s.id, json_extract(n.value, '$[1]'), json_extract(n.value, '$[2]'), CAST($4 AS bigint), json_extract(n.value, '$[3]'),
       json_extract(n.value, '$[4]'), json_extract(n.value, '$[5]'), json_extract(n.value, '$[6]'), json_extract(n.value, '$[7]'),
       json_extract(n.value, '$[8]'), json_extract(n.value, '$[9]'), json_extract(n.value, '$[10]')
FROM json_each($3) AS n
JOIN sandbox s ON s.workspace_id = $1 AND s.id = json_extract(n.value, '$[0]') AND s.agent_id = $2
WHERE true
ON CONFLICT (workspace_id, sandbox_id) DO UPDATE
SET interval_us = excluded.interval_us, taken_at = excluded.taken_at, received_at = excluded.received_at, cpu_us = excluded.cpu_us,
    read_bytes = excluded.read_bytes, written_bytes = excluded.written_bytes, sent_bytes = excluded.sent_bytes, received_bytes = excluded.received_bytes,
    memory_bytes = excluded.memory_bytes, disk_bytes = excluded.disk_bytes, processes = excluded.processes

-- name: figures_list [postgres]
-- $1 workspace (-1: all), $2 workspace and $3 name after which the page starts, $4 JSON array of names ("": all), $5 limit
SELECT w.name, s.id, s.name, s.created_by, COALESCE(a.name, ''), COALESCE(a.last_seen_at, 0), s.phase, s.cpu_millis, s.memory_bytes,
       s.disk_bytes, COALESCE(f.interval_us, 0), COALESCE(f.taken_at, 0), COALESCE(f.received_at, 0), COALESCE(f.cpu_us, 0), COALESCE(f.read_bytes, 0),
       COALESCE(f.written_bytes, 0), COALESCE(f.sent_bytes, 0), COALESCE(f.received_bytes, 0), COALESCE(f.memory_bytes, 0),
       COALESCE(f.disk_bytes, 0), COALESCE(f.processes, 0), CAST(s.workspace_id AS text) || ':' || s.name
FROM sandbox s
JOIN workspace w ON w.id = s.workspace_id
LEFT JOIN agent a ON a.workspace_id = s.workspace_id AND a.id = s.agent_id
LEFT JOIN sandbox_figures f ON f.workspace_id = s.workspace_id AND f.sandbox_id = s.id
WHERE (CAST($1 AS bigint) < 0 OR s.workspace_id = $1) AND (s.workspace_id, s.name) > (CAST($2 AS bigint), CAST($3 AS text))
  AND (CAST($4 AS text) = '' OR s.name IN (SELECT json_array_elements_text(CAST(NULLIF($4, '') AS json))))
ORDER BY s.workspace_id, s.name
LIMIT $5
-- name: figures_list [sqlite]
SELECT w.name, s.id, s.name, s.created_by, COALESCE(a.name, ''), COALESCE(a.last_seen_at, 0), s.phase, s.cpu_millis, s.memory_bytes,
       s.disk_bytes, COALESCE(f.interval_us, 0), COALESCE(f.taken_at, 0), COALESCE(f.received_at, 0), COALESCE(f.cpu_us, 0), COALESCE(f.read_bytes, 0),
       COALESCE(f.written_bytes, 0), COALESCE(f.sent_bytes, 0), COALESCE(f.received_bytes, 0), COALESCE(f.memory_bytes, 0),
       COALESCE(f.disk_bytes, 0), COALESCE(f.processes, 0), CAST(s.workspace_id AS text) || ':' || s.name
FROM sandbox s
JOIN workspace w ON w.id = s.workspace_id
LEFT JOIN agent a ON a.workspace_id = s.workspace_id AND a.id = s.agent_id
LEFT JOIN sandbox_figures f ON f.workspace_id = s.workspace_id AND f.sandbox_id = s.id
WHERE (CAST($1 AS bigint) < 0 OR s.workspace_id = $1) AND (s.workspace_id, s.name) > (CAST($2 AS bigint), CAST($3 AS text))
  AND (CAST($4 AS text) = '' OR s.name IN (SELECT value FROM json_each(NULLIF($4, ''))))
ORDER BY s.workspace_id, s.name
LIMIT $5

-- name: figures_list_bare [postgres]
-- As figures_list, without the readings: a standby has none of them
SELECT w.name, s.id, s.name, s.created_by, COALESCE(a.name, ''), COALESCE(a.last_seen_at, 0), s.phase, s.cpu_millis, s.memory_bytes,
       s.disk_bytes, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, CAST(s.workspace_id AS text) || ':' || s.name
FROM sandbox s
JOIN workspace w ON w.id = s.workspace_id
LEFT JOIN agent a ON a.workspace_id = s.workspace_id AND a.id = s.agent_id
WHERE (CAST($1 AS bigint) < 0 OR s.workspace_id = $1) AND (s.workspace_id, s.name) > (CAST($2 AS bigint), CAST($3 AS text))
  AND (CAST($4 AS text) = '' OR s.name IN (SELECT json_array_elements_text(CAST(NULLIF($4, '') AS json))))
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
