-- name: task_lock [postgres]
-- $1 name: 1 when no other server is at it; held until the transaction ends
SELECT CAST(pg_try_advisory_xact_lock(1650814049, hashtext(CAST($1 AS text))) AS integer)

-- name: task_ran_at
-- $1 name
SELECT value FROM server_meta WHERE name = $1

-- name: task_note
-- $1 name, $2 time, eight bytes
INSERT INTO server_meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value
