-- name: agent_next_id [postgres]
SELECT nextval('agent_id')
-- name: agent_next_id [sqlite]
SELECT COALESCE(MAX(id), 0) + 1 FROM agent

-- name: agent_insert
-- $1 workspace, $2 id, $3 name, $4 state, $5 labels, $6 identity key, $7 encryption key, $8 version, $9 host, $10 enrollment, $11 created_at, $12 created_by, $13 api key hash, $14 sealed api key (both NULL until it is confirmed)
INSERT INTO agent (workspace_id, id, name, state, labels, identity_key, encryption_key, version, host, enrollment_id, created_at, created_by,
                   api_key_hash, sealed_api_key)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)

-- name: agent_by_id
-- $1 workspace, $2 id
SELECT a.workspace_id, a.id, a.name, a.state, a.labels, a.cordoned, a.identity_key, a.encryption_key, a.version, a.host,
       a.enrollment_id, a.created_at, a.created_by, a.last_seen_at, a.status, a.telemetry_sequence, a.events_sequence,
       a.session_epoch, a.command_sequence, a.hello, a.handshaken, a.revision, a.sealed_api_key, w.name
FROM agent a JOIN workspace w ON w.id = a.workspace_id
WHERE a.workspace_id = $1 AND a.id = $2

-- name: agent_by_name
-- $1 workspace, $2 name; the living one first: its index has no revoked ones
SELECT a.workspace_id, a.id, a.name, a.state, a.labels, a.cordoned, a.identity_key, a.encryption_key, a.version, a.host,
       a.enrollment_id, a.created_at, a.created_by, a.last_seen_at, a.status, a.telemetry_sequence, a.events_sequence,
       a.session_epoch, a.command_sequence, a.hello, a.handshaken, a.revision, a.sealed_api_key, w.name
FROM agent a JOIN workspace w ON w.id = a.workspace_id
WHERE a.workspace_id = $1
  AND a.id = COALESCE((SELECT l.id FROM agent l WHERE l.workspace_id = $1 AND l.name = $2 AND l.state <> 4),
                      (SELECT MAX(r.id) FROM agent r WHERE r.workspace_id = $1 AND r.name = $2))

-- name: agent_by_api_key
-- $1 hash: the key in force or the one offered to replace it; two look-ups, as an OR of both would read every agent
SELECT a.workspace_id, a.id, a.name, a.state, a.labels, a.cordoned, a.identity_key, a.encryption_key, a.version, a.host,
       a.enrollment_id, a.created_at, a.created_by, a.last_seen_at, a.status, a.telemetry_sequence, a.events_sequence,
       a.session_epoch, a.command_sequence, a.hello, a.handshaken, a.revision, a.sealed_api_key, w.name
FROM agent a JOIN workspace w ON w.id = a.workspace_id
WHERE a.id = (SELECT k.id FROM agent k WHERE k.api_key_hash = $1
              UNION ALL SELECT n.id FROM agent n WHERE n.next_api_key_hash = $1 LIMIT 1)

-- name: agent_list
-- $1 workspace, $2 state (0: any), $3 first name, $4 name prefix's length, $5 id after which the page starts, $6 only seen since, $7 limit
SELECT a.workspace_id, a.id, a.name, a.state, a.labels, a.cordoned, a.identity_key, a.encryption_key, a.version, a.host,
       a.enrollment_id, a.created_at, a.created_by, a.last_seen_at, a.status, a.telemetry_sequence, a.events_sequence,
       a.session_epoch, a.command_sequence, a.hello, a.handshaken, a.revision, a.sealed_api_key, w.name
FROM agent a JOIN workspace w ON w.id = a.workspace_id
WHERE a.workspace_id = $1 AND (CAST($2 AS bigint) = 0 OR a.state = $2)
  AND substr(a.name, 1, CAST($4 AS integer)) = $3 AND a.id > $5 AND a.last_seen_at >= $6
ORDER BY a.id
LIMIT $7

-- name: agent_offers
-- $1 workspace, $2 id after which the page starts, $3 limit: what placement looks at, of confirmed agents
SELECT id, name, labels, cordoned, last_seen_at, hello
FROM agent
WHERE workspace_id = $1 AND state = 2 AND id > $2
ORDER BY id
LIMIT $3

-- name: agent_last_seen
-- when the last of all agents was seen; 0: none ever
SELECT COALESCE(MAX(last_seen_at), 0) FROM agent

-- name: agent_count
-- $1 workspace, $2 seen since
SELECT COUNT(*), COALESCE(SUM(CASE WHEN last_seen_at >= $2 THEN 1 ELSE 0 END), 0)
FROM agent WHERE workspace_id = $1 AND state IN (1, 2, 3)

-- name: agent_set_state
-- $1 workspace, $2 id, $3 state
UPDATE agent SET state = $3, revision = revision + 1 WHERE workspace_id = $1 AND id = $2

-- name: agent_confirm
-- $1 workspace, $2 id, $3 api key hash, $4 sealed api key
UPDATE agent SET state = 2, api_key_hash = $3, sealed_api_key = $4, revision = revision + 1
WHERE workspace_id = $1 AND id = $2 AND state = 1

-- name: agent_offer_key
-- $1 workspace, $2 id, $3 hash of the offered key
UPDATE agent SET next_api_key_hash = $3 WHERE workspace_id = $1 AND id = $2

-- name: agent_take_key
-- $1 workspace, $2 id, $3 hash of the key that was used: an offered one replaces the old
UPDATE agent SET api_key_hash = $3, next_api_key_hash = NULL
WHERE workspace_id = $1 AND id = $2 AND next_api_key_hash = $3

-- name: agent_revoke
-- $1 workspace, $2 id: state and every key in one statement
UPDATE agent SET state = 4, api_key_hash = NULL, next_api_key_hash = NULL, sealed_api_key = NULL, revision = revision + 1
WHERE workspace_id = $1 AND id = $2 AND state <> 4

-- name: agent_begin_session
-- $1 workspace, $2 id, $3 now: raises the epoch, whose streams are counted anew; the enrollment answer is spent
UPDATE agent SET session_epoch = session_epoch + 1, stream = 0, handshaken = 1, sealed_api_key = NULL, last_seen_at = $3,
       state = CASE WHEN state = 3 THEN 2 ELSE state END, revision = revision + 1
WHERE workspace_id = $1 AND id = $2 AND state IN (2, 3)
RETURNING session_epoch

-- name: agent_update
-- $1 workspace, $2 id, $3 labels, $4 cordoned
UPDATE agent SET labels = $3, cordoned = $4, revision = revision + 1 WHERE workspace_id = $1 AND id = $2

-- name: agent_hello
-- $1 workspace, $2 id, $3 packed ControlHello, $4 version, $5 now, $6 number of its stream
UPDATE agent SET hello = $3, version = $4, last_seen_at = $5, stream = $6, revision = revision + 1 WHERE workspace_id = $1 AND id = $2

-- name: agent_seen_all [postgres]
-- $1 workspaces, $2 ids, $3 times, $4 packed AgentStatus (empty: as it is), $5 epochs (arrays): as agent_seen for each; locked
-- in the order of their ids, as agent_marks_all does
WITH beat AS MATERIALIZED (
  SELECT * FROM unnest(CAST($1 AS bigint[]), CAST($2 AS bigint[]), CAST($3 AS bigint[]), CAST($4 AS bytea[]), CAST($5 AS bigint[]))
    AS n (workspace_id, id, at, status, epoch)
), locked AS MATERIALIZED (
  SELECT a.id FROM agent a JOIN beat b ON a.workspace_id = b.workspace_id AND a.id = b.id ORDER BY a.id FOR NO KEY UPDATE OF a
)
UPDATE agent a SET last_seen_at = b.at, status = CASE WHEN length(b.status) = 0 THEN a.status ELSE b.status END, revision = a.revision + 1
FROM beat b JOIN locked l ON l.id = b.id
WHERE a.workspace_id = b.workspace_id AND a.id = b.id AND (a.last_seen_at <= b.at OR a.last_seen_at > b.at + 3600000000)
  AND a.session_epoch = b.epoch AND a.state = 2

-- name: agent_seen [sqlite]
-- $1 workspace, $2 id, $3 time, $4 packed AgentStatus (NULL: as it is), $5 epoch; replicas may come in any order, but a
-- time an hour ahead is from a clock that was wrong
UPDATE agent SET last_seen_at = $3, status = COALESCE($4, status), revision = revision + 1
WHERE workspace_id = $1 AND id = $2 AND (last_seen_at <= $3 OR last_seen_at > CAST($3 AS bigint) + 3600000000)
  AND session_epoch = $5 AND state = 2

-- name: agent_take_command_sequence
-- $1 workspace, $2 id
UPDATE agent SET command_sequence = command_sequence + 1 WHERE workspace_id = $1 AND id = $2 AND state IN (2, 3)
RETURNING command_sequence

-- name: agent_takes_commands
-- $1 workspace, $2 id: 1 or 0
SELECT COUNT(*) FROM agent WHERE workspace_id = $1 AND id = $2 AND state IN (2, 3)

-- name: agent_marks_all [postgres]
-- $1 workspaces, $2 ids (arrays): as agent_marks for each; locked in the order of their ids, so that replicas take turns
SELECT a.id, a.telemetry_sequence, a.events_sequence, a.session_epoch, a.state
FROM agent a JOIN unnest(CAST($1 AS bigint[]), CAST($2 AS bigint[])) AS n (workspace_id, id) ON a.workspace_id = n.workspace_id AND a.id = n.id
ORDER BY a.id FOR NO KEY UPDATE OF a

-- name: agent_mark_all [postgres]
-- $1 workspaces, $2 ids, $3 telemetry, $4 events sequences (arrays): the high-water marks, in the transaction of the rows
UPDATE agent a SET telemetry_sequence = GREATEST(a.telemetry_sequence, n.telemetry), events_sequence = GREATEST(a.events_sequence, n.events)
FROM unnest(CAST($1 AS bigint[]), CAST($2 AS bigint[]), CAST($3 AS bigint[]), CAST($4 AS bigint[])) AS n (workspace_id, id, telemetry, events)
WHERE a.workspace_id = n.workspace_id AND a.id = n.id AND (a.telemetry_sequence < n.telemetry OR a.events_sequence < n.events)

-- name: agent_mark_telemetry [sqlite]
-- $1 workspace, $2 id, $3 sequence: the high-water mark, in the transaction of the rows
UPDATE agent SET telemetry_sequence = $3 WHERE workspace_id = $1 AND id = $2 AND telemetry_sequence < $3

-- name: agent_mark_events [sqlite]
-- $1 workspace, $2 id, $3 sequence
UPDATE agent SET events_sequence = $3 WHERE workspace_id = $1 AND id = $2 AND events_sequence < $3

-- name: agent_marks [postgres]
-- $1 workspace, $2 id: telemetry and events marks, the epoch, the state, its newest stream, locked until commit
SELECT telemetry_sequence, events_sequence, session_epoch, state, stream FROM agent WHERE workspace_id = $1 AND id = $2 FOR NO KEY UPDATE
-- name: agent_marks [sqlite]
SELECT telemetry_sequence, events_sequence, session_epoch, state, stream FROM agent WHERE workspace_id = $1 AND id = $2
