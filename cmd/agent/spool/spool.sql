-- stream $1, sequence $2, captured_at $3, stored_at $4, format $5, compression $6, checksum $7, payload $8
-- name: record_insert
INSERT INTO record (stream, sequence, captured_at, stored_at, format, compression, checksum, payload)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- after sequence $2, at most $3 rows
-- name: record_peek
SELECT sequence, captured_at, format, compression, checksum, payload FROM record
WHERE stream = $1 AND sequence > $2 ORDER BY sequence LIMIT $3

-- name: record_oldest
SELECT sequence, LENGTH(payload), stored_at FROM record WHERE stream = $1 ORDER BY sequence LIMIT $2

-- name: record_sum_through
SELECT COUNT(*), COALESCE(SUM(LENGTH(payload)), 0) FROM record WHERE stream = $1 AND sequence <= $2

-- name: record_delete_through
DELETE FROM record WHERE stream = $1 AND sequence <= $2

-- name: record_delete
DELETE FROM record WHERE stream = $1 AND sequence = $2

-- Two steps, since the sequences in between may be taken: up by $2, negative, and back.
-- name: record_shift
UPDATE record SET sequence = -(sequence + $2) WHERE stream = $1

-- name: record_shift_end
UPDATE record SET sequence = -sequence WHERE stream = $1 AND sequence < 0

-- name: stream_get
SELECT next_sequence, acked_sequence, records, bytes, dropped_records, dropped_bytes, quarantined, adopted
FROM stream WHERE stream = $1

-- name: stream_put
UPDATE stream SET next_sequence = $2, acked_sequence = $3, records = $4, bytes = $5,
    dropped_records = $6, dropped_bytes = $7, quarantined = $8, adopted = $9
WHERE stream = $1

-- name: quarantine_insert
INSERT INTO quarantine (stream, sequence, captured_at, found_at, reason, payload)
SELECT stream, sequence, captured_at, $3, $4, payload FROM record WHERE stream = $1 AND sequence = $2

-- name: quarantine_prune
DELETE FROM quarantine WHERE id <= (SELECT MAX(id) FROM quarantine) - $1

-- name: setting_get
SELECT value FROM setting WHERE name = $1

-- name: setting_put
INSERT INTO setting (name, value) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- name: command_insert
INSERT INTO command (command_id, sequence, actor, action, received_at, status, succeeded, code, error, payload)
VALUES ($1, $2, $3, $4, $5, 1, 0, 0, '', x'')

-- name: command_get
SELECT status, succeeded, code, error, payload FROM command WHERE command_id = $1

-- name: command_finish
UPDATE command SET status = 2, finished_at = $2, succeeded = $3, code = $4, error = $5, payload = $6
WHERE command_id = $1 AND status = 1

-- name: command_acked
UPDATE command SET status = 3 WHERE command_id = $1 AND status = 2

-- name: command_unacked
SELECT command_id, succeeded, code, error, payload FROM command WHERE status = 2 ORDER BY sequence LIMIT $1

-- Left running by a process that ended: nobody knows how far they came, and they must not run again. Orders about
-- sandboxes and loans may, since they do what is not so already: they wait to be given again, unless received before $4.
-- name: command_interrupt
UPDATE command SET status = 2, finished_at = $1, succeeded = 0, code = $2, error = $3
WHERE status = 1
    AND ((action NOT LIKE 'sandbox!_%' ESCAPE '!' AND action NOT IN ('lend', 'reclaim')) OR received_at < $4)

-- name: command_recent
SELECT command_id, action, actor, received_at, status, succeeded, code, error FROM command
ORDER BY sequence DESC LIMIT $1

-- The newest $1 stay, and whatever is not acknowledged.
-- name: command_prune
DELETE FROM command WHERE status = 3
    AND sequence <= (SELECT COALESCE(MAX(sequence), 0) FROM command) - $1

-- name: file_check
PRAGMA quick_check(1)

-- name: file_check_whole
PRAGMA integrity_check(1)
