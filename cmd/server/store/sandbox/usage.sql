-- name: usage_account_put
-- $1 workspace, $2 sandbox, $3 name, $4 agent, $5 owner, $6 labels, $7 created_at
INSERT INTO sandbox_account (workspace_id, sandbox_id, name, agent_id, owner, labels, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: usage_account
-- $1 workspace, $2 sandbox, $3 agent
SELECT owner, created_at FROM sandbox_account WHERE workspace_id = $1 AND sandbox_id = $2 AND agent_id = $3

-- name: usage_put
-- $1 workspace, $2 sandbox, $3 boot, $4 sequence, $5 agent, $6 owner, $7 from, $8 until, $9 cpu, $10 memory integral, $11 memory peak, $12 read, $13 written, $14 sent, $15 received, $16 disk, $17 processes, $18 final
INSERT INTO sandbox_usage (workspace_id, sandbox_id, boot_id, sequence, agent_id, owner, from_us, until_us, cpu_us, memory_byte_seconds,
                           memory_peak_bytes, read_bytes, written_bytes, sent_bytes, received_bytes, disk_bytes, processes_peak, is_final)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
ON CONFLICT DO NOTHING

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
