-- no-transaction
-- A sandbox's id names it alone: calls that have nothing else find its workspace, for those who may use every one. Built beside
-- running writers.
DROP INDEX CONCURRENTLY IF EXISTS sandbox_id;
CREATE UNIQUE INDEX CONCURRENTLY sandbox_id ON sandbox (id);
