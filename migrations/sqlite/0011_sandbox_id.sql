-- A sandbox's id names it alone: calls that have nothing else find its workspace, for those who may use every one.
CREATE UNIQUE INDEX sandbox_id ON sandbox (id);
