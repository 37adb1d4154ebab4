-- The next place in a workspace's chain of audit records is taken, hashed and filled where the chain is locked: what has
-- gone out with its commit waits for no answer between the lock and the commit. The hash is that of store/audit.h.
CREATE FUNCTION belay_audit_add(
  workspace bigint, at_us bigint, actor text, action text, target text, decision text, reason text, request_id text, source text,
  record text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  domain CONSTANT bytea := convert_to('belay.audit.v2', 'UTF8');
  content CONSTANT bytea := convert_to(record, 'UTF8');
  place bigint;
  head bytea;
BEGIN
  SELECT w.audit_sequence + 1, w.audit_hash INTO STRICT place, head FROM workspace w WHERE w.id = workspace FOR NO KEY UPDATE;
  head := sha256(int8send(length(domain)) || domain || int8send(length(head)) || head || int8send(8) || int8send(place)
                 || int8send(length(content)) || content);
  UPDATE workspace w SET audit_sequence = place, audit_hash = head WHERE w.id = workspace;
  INSERT INTO audit VALUES (workspace, place, at_us, actor, action, target, decision, reason, request_id, source, record, head);
END
$$;
