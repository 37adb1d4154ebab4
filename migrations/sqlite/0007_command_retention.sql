-- Finished commands go in time, and what a sandbox was made with (its environment) at once; which sandbox a command is
-- about is known without its payload.
ALTER TABLE command ADD COLUMN sandbox_id TEXT NOT NULL DEFAULT '';
CREATE INDEX command_finished ON command (finished_at) WHERE state >= 3;
UPDATE command SET payload = x'' WHERE kind = 'sandbox_create' AND state >= 3;
