-- A loan: the enrollment, in the borrowing workspace, of an agent that another one runs with part of its room. The one
-- key that leads out of a workspace; only the server itself follows it, for platform admins.
ALTER TABLE enrollment ADD COLUMN lender_id bigint REFERENCES agent (id);
CREATE INDEX enrollment_lender ON enrollment (lender_id) WHERE lender_id IS NOT NULL;
