-- An audit record is committed with its effect under a negative sequence, in the order of arrival; its place in the chain of its
-- workspace, and its hash, it gets a moment later, many at once (store/audit.h). So no call waits for another one's commit.
-- belay_audit_add stays for programs of the version before, which run on this schema until they are replaced.
CREATE SEQUENCE audit_arrival;
