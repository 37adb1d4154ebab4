-- name: series_put [postgres]
-- $1 workspace, $2 agent, $3 metrics, $4 devices, $5 instances, $6 units (arrays)
INSERT INTO series (workspace_id, agent_id, metric, device, instance, unit)
SELECT CAST($1 AS bigint), CAST($2 AS bigint), n.metric, n.device, n.instance, n.unit
FROM unnest(CAST($3 AS text[]), CAST($4 AS text[]), CAST($5 AS text[]), CAST($6 AS text[])) AS n (metric, device, instance, unit)
ON CONFLICT (workspace_id, agent_id, metric, device, instance) DO NOTHING

-- name: series_put_one [sqlite]
-- $1 workspace, $2 agent, $3 metric, $4 device, $5 instance, $6 unit
INSERT INTO series (workspace_id, id, agent_id, metric, device, instance, unit)
VALUES ($1, (SELECT COALESCE(MAX(id), 0) + 1 FROM series), $2, $3, $4, $5, $6)
ON CONFLICT (workspace_id, agent_id, metric, device, instance) DO NOTHING

-- name: series_of_agent
-- $1 workspace, $2 agent
SELECT id, metric, device, instance FROM series WHERE workspace_id = $1 AND agent_id = $2

-- name: series_find
-- $1 workspace, $2 agent, $3 metric, $4 device, $5 instance
SELECT id FROM series WHERE workspace_id = $1 AND agent_id = $2 AND metric = $3 AND device = $4 AND instance = $5

-- name: sample_add [postgres]
-- as sample_put, but fails when one stands already: without that test, PostgreSQL writes half as much
INSERT INTO sample (workspace_id, series_id, time_us, value)
SELECT s.workspace_id, s.id, unnest((CAST($5 AS bigint[]))[n.first:n.last]), unnest((CAST($6 AS double precision[]))[n.first:n.last])
FROM unnest(CAST($1 AS bigint[]), CAST($2 AS bigint[]), CAST($3 AS bigint[]), CAST($4 AS bigint[])) AS n (workspace_id, series_id, first, last)
JOIN series s ON s.workspace_id = n.workspace_id AND s.id = n.series_id

-- name: sample_put [postgres]
-- $1 workspaces, $2 series, $3 first, $4 last place of each in $5 times and $6 values (arrays): the series row, read once
-- for all its samples, gives the workspace, so no row can cross
INSERT INTO sample (workspace_id, series_id, time_us, value)
SELECT s.workspace_id, s.id, unnest((CAST($5 AS bigint[]))[n.first:n.last]), unnest((CAST($6 AS double precision[]))[n.first:n.last])
FROM unnest(CAST($1 AS bigint[]), CAST($2 AS bigint[]), CAST($3 AS bigint[]), CAST($4 AS bigint[])) AS n (workspace_id, series_id, first, last)
JOIN series s ON s.workspace_id = n.workspace_id AND s.id = n.series_id
ON CONFLICT (workspace_id, series_id, time_us) DO NOTHING

-- name: sample_put_one [sqlite]
-- $1 workspace, $2 series, $3 time, $4 value
INSERT INTO sample (workspace_id, series_id, time_us, value) VALUES ($1, $2, $3, $4)
ON CONFLICT (workspace_id, series_id, time_us) DO NOTHING

-- name: series_latest [postgres]
-- $1 workspaces, $2 series, $3 times, $4 values (arrays, one row per series), $5 now
UPDATE series s SET last_time = n.time_us, last_value = n.value, received_at = CAST($5 AS bigint)
FROM unnest(CAST($1 AS bigint[]), CAST($2 AS bigint[]), CAST($3 AS bigint[]), CAST($4 AS double precision[])) AS n (workspace_id, series_id, time_us, value)
WHERE s.workspace_id = n.workspace_id AND s.id = n.series_id AND s.last_time <= n.time_us

-- name: series_latest_one [sqlite]
-- $1 workspace, $2 series, $3 time, $4 value, $5 now
UPDATE series SET last_time = $3, last_value = $4, received_at = $5 WHERE workspace_id = $1 AND id = $2 AND last_time <= $3

-- name: series_list
-- $1 workspace, $2 agent (0: any), $3 metric prefix, $4 its length, $5 id after which the page starts, $6 limit
SELECT s.id, s.agent_id, a.name, s.metric, s.device, s.instance, s.unit, s.last_time, s.last_value
FROM series s JOIN agent a ON a.workspace_id = s.workspace_id AND a.id = s.agent_id
WHERE s.workspace_id = $1 AND (CAST($2 AS bigint) = 0 OR s.agent_id = $2)
  AND substr(s.metric, 1, CAST($4 AS integer)) = $3 AND s.id > $5 AND a.state <> 4
ORDER BY s.id
LIMIT $6

-- name: series_match
-- $1 workspace, $2 agent (0: any), $3 metric, $4 device ('*': any), $5 instance ('*': any), $6 limit
SELECT s.id, s.agent_id, a.name, s.metric, s.device, s.instance, s.unit, s.last_time, s.last_value
FROM series s JOIN agent a ON a.workspace_id = s.workspace_id AND a.id = s.agent_id
WHERE s.workspace_id = $1 AND (CAST($2 AS bigint) = 0 OR s.agent_id = $2) AND s.metric = $3
  AND (CAST($4 AS text) = '*' OR s.device = $4) AND (CAST($5 AS text) = '*' OR s.instance = $5) AND a.state <> 4
ORDER BY s.agent_id, s.id
LIMIT $6

-- name: series_newer
-- $1 workspace, $2 agent (0: any), $3 metric or prefix, $4 its length, $5 device ('*': any), $6 instance ('*': any), $7 received after, $8 id after which the page starts, $9 limit
SELECT s.id, s.agent_id, a.name, s.metric, s.device, s.instance, s.unit, s.last_time, s.last_value
FROM series s JOIN agent a ON a.workspace_id = s.workspace_id AND a.id = s.agent_id
WHERE s.workspace_id = $1 AND (CAST($2 AS bigint) = 0 OR s.agent_id = $2)
  AND (CASE WHEN CAST($4 AS integer) > 0 THEN substr(s.metric, 1, CAST($4 AS integer)) ELSE s.metric END) = $3
  AND (CAST($5 AS text) = '*' OR s.device = $5) AND (CAST($6 AS text) = '*' OR s.instance = $6) AND s.received_at > $7 AND s.id > $8
ORDER BY s.id
LIMIT $9

-- name: sample_raw
-- $1 workspace, $2 series, $3 start, $4 end, $5 limit
SELECT time_us, value FROM sample
WHERE workspace_id = $1 AND series_id = $2 AND time_us >= $3 AND time_us < $4
ORDER BY time_us
LIMIT $5

-- name: sample_steps
-- $1 workspace, $2 series, $3 start, $4 end, $5 step in microseconds, $6 limit: start of the step, count, sum, min, max, time of the last
SELECT CAST($3 AS bigint) + ((time_us - CAST($3 AS bigint)) / CAST($5 AS bigint)) * CAST($5 AS bigint) AS step_start,
       COUNT(*), SUM(value), MIN(value), MAX(value), MAX(time_us)
FROM sample
WHERE workspace_id = $1 AND series_id = $2 AND time_us >= $3 AND time_us < $4
GROUP BY 1
ORDER BY 1
LIMIT $6

-- name: sample_at
-- $1 workspace, $2 series, $3 time
SELECT value FROM sample WHERE workspace_id = $1 AND series_id = $2 AND time_us = $3

-- name: sample_partitions [postgres]
-- $1 from, $2 days; -1: somebody held a lock, to be called again
SELECT belay_sample_partitions(CAST($1 AS bigint), CAST($2 AS integer))

-- name: sample_retain [postgres]
-- $1 before, $2 how many rows at once; 1: there is more to do
SELECT belay_sample_retain(CAST($1 AS bigint), CAST($2 AS integer))

-- name: series_all [sqlite]
-- $1 id after which to start, $2 limit
SELECT workspace_id, id FROM series WHERE id > $1 ORDER BY id LIMIT $2

-- name: sample_remove [sqlite]
-- $1 workspace, $2 series, $3 before
DELETE FROM sample WHERE workspace_id = $1 AND series_id = $2 AND time_us < $3

-- name: upload_put
-- $1 workspace, $2 agent, $3 stream (1 telemetry, 2 events), $4 sequence, $5 captured_at, $6 received_at, $7 payload
INSERT INTO upload (workspace_id, agent_id, stream, sequence, captured_at, received_at, payload) VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: upload_remove [postgres]
-- $1 received before, $2 how many at once
DELETE FROM upload WHERE (workspace_id, id) IN (SELECT workspace_id, id FROM upload WHERE received_at < $1 LIMIT CAST($2 AS integer))
-- name: upload_remove [sqlite]
DELETE FROM upload WHERE id IN (SELECT id FROM upload WHERE received_at < $1 LIMIT $2)
