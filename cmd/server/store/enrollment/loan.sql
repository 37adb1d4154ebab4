-- name: loan_add
-- $1 borrower's workspace, $2 id of the enrollment, $3 lender
UPDATE enrollment SET lender_id = $3 WHERE workspace_id = $1 AND id = $2

-- name: loan_by_id
-- $1 lender's workspace, $2 id of the enrollment
SELECT e.id, l.id, l.name, l.state, lw.name, e.workspace_id, w.name, COALESCE(g.id, 0), COALESCE(g.name, ''), COALESCE(g.last_seen_at, 0),
       CASE WHEN g.state = 4 THEN 6 ELSE e.state END, e.created_by, e.created_at, e.expires_at
FROM enrollment e
JOIN agent l ON l.id = e.lender_id
JOIN workspace lw ON lw.id = l.workspace_id
JOIN workspace w ON w.id = e.workspace_id
LEFT JOIN agent g ON g.workspace_id = e.workspace_id AND g.id = e.agent_id
WHERE l.workspace_id = $1 AND e.id = $2

-- name: loan_list
-- $1 lender's workspace, $2 lender (0: any), $3 1: those that were reclaimed too, $4 id after which the page starts ('': from
-- the newest), $5 limit
SELECT e.id, l.id, l.name, l.state, lw.name, e.workspace_id, w.name, COALESCE(g.id, 0), COALESCE(g.name, ''), COALESCE(g.last_seen_at, 0),
       CASE WHEN g.state = 4 THEN 6 ELSE e.state END, e.created_by, e.created_at, e.expires_at
FROM enrollment e
JOIN agent l ON l.id = e.lender_id
JOIN workspace lw ON lw.id = l.workspace_id
JOIN workspace w ON w.id = e.workspace_id
LEFT JOIN agent g ON g.workspace_id = e.workspace_id AND g.id = e.agent_id
WHERE l.workspace_id = $1 AND (CAST($2 AS bigint) = 0 OR l.id = $2) AND (CAST($3 AS bigint) = 1 OR e.state < 5)
  AND (CAST($4 AS text) = '' OR e.id < $4)
ORDER BY e.id DESC
LIMIT $5

-- name: loan_of_agent
-- $1 workspace, $2 agent: how many loans it exists by (1: another agent runs it)
SELECT COUNT(*)
FROM agent a JOIN enrollment e ON e.workspace_id = a.workspace_id AND e.id = a.enrollment_id
WHERE a.workspace_id = $1 AND a.id = $2 AND e.lender_id IS NOT NULL

-- name: loan_end
-- $1 borrower's workspace, $2 id of the enrollment: a token that nobody used is cancelled, a used one revoked
UPDATE enrollment SET state = CASE WHEN state IN (2, 3) THEN 6 ELSE 5 END
WHERE workspace_id = $1 AND id = $2 AND state < 5
