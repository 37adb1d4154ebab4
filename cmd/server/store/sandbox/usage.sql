-- name: usage_account_put
-- $1 workspace, $2 sandbox, $3 name, $4 agent, $5 owner, $6 labels, $7 created_at
INSERT INTO sandbox_account (workspace_id, sandbox_id, name, agent_id, owner, labels, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: usage_account
-- $1 workspace, $2 sandbox, $3 agent
SELECT owner, created_at FROM sandbox_account WHERE workspace_id = $1 AND sandbox_id = $2 AND agent_id = $3

-- name: usage_accounts [postgres]
-- $1 workspace, arrays: $2 sandboxes, $3 agents; place of each that is there, from 1
SELECT i.place, a.owner, a.created_at
FROM unnest(CAST($2 AS text[]), CAST($3 AS bigint[])) WITH ORDINALITY AS i (sandbox_id, agent_id, place)
JOIN sandbox_account a ON a.workspace_id = CAST($1 AS bigint) AND a.sandbox_id = i.sandbox_id AND a.agent_id = i.agent_id

-- name: usage_put
-- $1 workspace, $2 sandbox, $3 boot, $4 owner, $5 sequence, $6 agent, $7 from, $8 until, $9 cpu, $10 memory integral, $11 memory peak, $12 read, $13 written, $14 sent, $15 received, $16 disk, $17 processes, $18 final
INSERT INTO sandbox_usage (workspace_id, sandbox_id, boot_id, owner, sequence, agent_id, from_us, until_us, cpu_us, memory_byte_seconds, memory_peak_bytes,
                           read_bytes, written_bytes, sent_bytes, received_bytes, disk_bytes, processes_peak, is_final)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
ON CONFLICT DO NOTHING

-- name: usage_put_all [postgres]
-- As usage_put, arrays but for the workspace, in their order
INSERT INTO sandbox_usage (workspace_id, sandbox_id, boot_id, owner, sequence, agent_id, from_us, until_us, cpu_us, memory_byte_seconds, memory_peak_bytes,
                           read_bytes, written_bytes, sent_bytes, received_bytes, disk_bytes, processes_peak, is_final)
SELECT CAST($1 AS bigint), u.sandbox_id, u.boot_id, u.owner, u.sequence, u.agent_id, u.from_us, u.until_us, u.cpu_us,
       u.memory_byte_seconds, u.memory_peak_bytes, u.read_bytes, u.written_bytes, u.sent_bytes, u.received_bytes, u.disk_bytes,
       u.processes_peak, u.is_final
FROM unnest(CAST($2 AS text[]), CAST($3 AS text[]), CAST($4 AS text[]), CAST($5 AS bigint[]), CAST($6 AS bigint[]),
            CAST($7 AS bigint[]), CAST($8 AS bigint[]), CAST($9 AS bigint[]), CAST($10 AS bigint[]), CAST($11 AS bigint[]),
            CAST($12 AS bigint[]), CAST($13 AS bigint[]), CAST($14 AS bigint[]), CAST($15 AS bigint[]), CAST($16 AS bigint[]),
            CAST($17 AS bigint[]), CAST($18 AS bigint[]))
  WITH ORDINALITY AS u (sandbox_id, boot_id, owner, sequence, agent_id, from_us, until_us, cpu_us, memory_byte_seconds,
                        memory_peak_bytes, read_bytes, written_bytes, sent_bytes, received_bytes, disk_bytes, processes_peak,
                        is_final, place)
ORDER BY u.place
ON CONFLICT DO NOTHING

-- name: usage_report [postgres]
-- $1 workspace (-1: all), $2 ended after, $3 ended not after, $4 group (enum usage_group), $5 label key, $6 1: by hour, $7 sandbox ("": any), $8 owner ("": any), $9 hour, $10 workspace, $11 key after which the page starts, $12 limit
SELECT w.name, g.sandbox_id, g.sandbox_name, g.owner, g.label_value, g.hour_us, g.until_us, g.sandboxes, g.running_us, g.cpu_us,
       g.memory_byte_seconds, g.disk_byte_seconds, g.memory_peak_bytes, g.processes_peak, g.read_bytes, g.written_bytes, g.sent_bytes,
       g.received_bytes, CAST(g.hour_us AS text) || ':' || CAST(g.workspace_id AS text) || ':' || g.key
FROM (SELECT u.workspace_id,
             CASE WHEN CAST($6 AS bigint) = 1 THEN (u.until_us - 1) / 3600000000 * 3600000000 ELSE 0 END AS hour_us,
             CASE CAST($4 AS bigint) WHEN 1 THEN u.sandbox_id WHEN 2 THEN u.owner
                                     WHEN 4 THEN COALESCE(CAST(a.labels AS jsonb) ->> CAST($5 AS text), '') ELSE '' END AS key,
             CASE CAST($4 AS bigint) WHEN 1 THEN MAX(u.sandbox_id) ELSE '' END AS sandbox_id,
             CASE CAST($4 AS bigint) WHEN 1 THEN MAX(a.name) ELSE '' END AS sandbox_name,
             CASE WHEN CAST($4 AS bigint) < 3 THEN MAX(u.owner) ELSE '' END AS owner,
             CASE CAST($4 AS bigint) WHEN 4 THEN MAX(COALESCE(CAST(a.labels AS jsonb) ->> CAST($5 AS text), '')) ELSE '' END AS label_value,
             MAX(u.until_us) AS until_us, COUNT(DISTINCT u.sandbox_id) AS sandboxes,
             CAST(LEAST(SUM(u.until_us - u.from_us), 9223372036854775807) AS bigint) AS running_us,
             CAST(LEAST(SUM(u.cpu_us), 9223372036854775807) AS bigint) AS cpu_us,
             CAST(LEAST(SUM(u.memory_byte_seconds), 9223372036854775807) AS bigint) AS memory_byte_seconds,
             CAST(LEAST(SUM(ROUND(CAST(u.disk_bytes AS numeric) * (u.until_us - u.from_us) / 1000000)), 9223372036854775807) AS bigint) AS disk_byte_seconds,
             MAX(u.memory_peak_bytes) AS memory_peak_bytes, MAX(u.processes_peak) AS processes_peak,
             CAST(LEAST(SUM(u.read_bytes), 9223372036854775807) AS bigint) AS read_bytes,
             CAST(LEAST(SUM(u.written_bytes), 9223372036854775807) AS bigint) AS written_bytes,
             CAST(LEAST(SUM(u.sent_bytes), 9223372036854775807) AS bigint) AS sent_bytes,
             CAST(LEAST(SUM(u.received_bytes), 9223372036854775807) AS bigint) AS received_bytes
      FROM sandbox_usage u
      JOIN sandbox_account a ON a.workspace_id = u.workspace_id AND a.sandbox_id = u.sandbox_id
      WHERE (CAST($1 AS bigint) < 0 OR u.workspace_id = $1) AND u.until_us > $2 AND u.until_us <= $3
        AND (CAST($7 AS text) = '' OR u.sandbox_id = $7 OR a.name = $7) AND (CAST($8 AS text) = '' OR u.owner = $8)
      GROUP BY 1, 2, 3) g
JOIN workspace w ON w.id = g.workspace_id
WHERE (g.hour_us, g.workspace_id, g.key COLLATE "C") > (CAST($9 AS bigint), CAST($10 AS bigint), CAST($11 AS text))
ORDER BY g.hour_us, g.workspace_id, g.key COLLATE "C"
LIMIT CAST($12 AS bigint)
-- name: usage_report [sqlite]
SELECT w.name, g.sandbox_id, g.sandbox_name, g.owner, g.label_value, g.hour_us, g.until_us, g.sandboxes, g.running_us, g.cpu_us,
       g.memory_byte_seconds, g.disk_byte_seconds, g.memory_peak_bytes, g.processes_peak, g.read_bytes, g.written_bytes, g.sent_bytes,
       g.received_bytes, CAST(g.hour_us AS text) || ':' || CAST(g.workspace_id AS text) || ':' || g.key
FROM (SELECT u.workspace_id,
             CASE WHEN CAST($6 AS bigint) = 1 THEN (u.until_us - 1) / 3600000000 * 3600000000 ELSE 0 END AS hour_us,
             CASE CAST($4 AS bigint) WHEN 1 THEN u.sandbox_id WHEN 2 THEN u.owner
                                     WHEN 4 THEN COALESCE(json_extract(a.labels, '$."' || $5 || '"'), '') ELSE '' END AS key,
             CASE CAST($4 AS bigint) WHEN 1 THEN MAX(u.sandbox_id) ELSE '' END AS sandbox_id,
             CASE CAST($4 AS bigint) WHEN 1 THEN MAX(a.name) ELSE '' END AS sandbox_name,
             CASE WHEN CAST($4 AS bigint) < 3 THEN MAX(u.owner) ELSE '' END AS owner,
             CASE CAST($4 AS bigint) WHEN 4 THEN MAX(COALESCE(json_extract(a.labels, '$."' || $5 || '"'), '')) ELSE '' END AS label_value,
             MAX(u.until_us) AS until_us, COUNT(DISTINCT u.sandbox_id) AS sandboxes,
             CAST(TOTAL(u.until_us - u.from_us) AS INTEGER) AS running_us,
             CAST(TOTAL(u.cpu_us) AS INTEGER) AS cpu_us,
             CAST(TOTAL(u.memory_byte_seconds) AS INTEGER) AS memory_byte_seconds,
             CAST(TOTAL(ROUND(CAST(u.disk_bytes AS REAL) * (u.until_us - u.from_us) / 1000000)) AS INTEGER) AS disk_byte_seconds,
             MAX(u.memory_peak_bytes) AS memory_peak_bytes, MAX(u.processes_peak) AS processes_peak,
             CAST(TOTAL(u.read_bytes) AS INTEGER) AS read_bytes,
             CAST(TOTAL(u.written_bytes) AS INTEGER) AS written_bytes,
             CAST(TOTAL(u.sent_bytes) AS INTEGER) AS sent_bytes,
             CAST(TOTAL(u.received_bytes) AS INTEGER) AS received_bytes
      FROM sandbox_usage u
      JOIN sandbox_account a ON a.workspace_id = u.workspace_id AND a.sandbox_id = u.sandbox_id
      WHERE (CAST($1 AS bigint) < 0 OR u.workspace_id = $1) AND u.until_us > $2 AND u.until_us <= $3
        AND (CAST($7 AS text) = '' OR u.sandbox_id = $7 OR a.name = $7) AND (CAST($8 AS text) = '' OR u.owner = $8)
      GROUP BY 1, 2, 3) g
JOIN workspace w ON w.id = g.workspace_id
WHERE (g.hour_us, g.workspace_id, g.key) > (CAST($9 AS bigint), CAST($10 AS bigint), CAST($11 AS text))
ORDER BY g.hour_us, g.workspace_id, g.key
LIMIT CAST($12 AS bigint)

-- name: usage_remove [postgres]
-- $1 ended before, $2 how many at once
DELETE FROM sandbox_usage WHERE ctid IN (SELECT ctid FROM sandbox_usage WHERE until_us < $1 LIMIT CAST($2 AS integer))
-- name: usage_remove [sqlite]
DELETE FROM sandbox_usage WHERE rowid IN (SELECT rowid FROM sandbox_usage WHERE until_us < $1 LIMIT $2)

-- name: usage_account_remove
-- $1 made before: of sandboxes that are gone, with nothing left to account for
DELETE FROM sandbox_account
WHERE created_at < $1
  AND NOT EXISTS (SELECT 1 FROM sandbox s WHERE s.workspace_id = sandbox_account.workspace_id AND s.id = sandbox_account.sandbox_id)
  AND NOT EXISTS (SELECT 1 FROM sandbox_usage u
                  WHERE u.workspace_id = sandbox_account.workspace_id AND u.sandbox_id = sandbox_account.sandbox_id)
