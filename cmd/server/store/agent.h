/* Agents and their high-water marks. Inside the caller's transaction; records live in its arena. */
#ifndef SERVER_STORE_AGENT_H
#define SERVER_STORE_AGENT_H

#include "cmd/server/store/row.h"

/* Values are those of agentgateway.v1.AgentState. */
enum agent_state {
    AGENT_AWAITING_CONFIRMATION = 1,
    AGENT_CONFIRMED,
    AGENT_EVICTED,
    AGENT_REVOKED
};

struct agent_record {
    int64_t workspace_id;
    int64_t id;
    const char *name;
    int64_t state;      /* enum agent_state */
    const char *labels; /* JSON object */
    bool cordoned;
    struct str_view identity_key;
    struct str_view encryption_key;
    const char *version;
    struct str_view host; /* packed HostFacts */
    const char *enrollment_id;
    int64_t created_at;
    const char *created_by;
    int64_t last_seen_at;
    struct str_view status; /* packed AgentStatus */
    int64_t telemetry_sequence;
    int64_t events_sequence;
    int64_t session_epoch;
    int64_t command_sequence;
    struct str_view hello; /* packed ControlHello */
    bool handshaken;
    int64_t revision;
    struct str_view sealed_api_key; /* until the first handshake */
    const char *workspace;
};

struct agent_filter {
    int64_t state; /* 0: any */
    struct str_view name_prefix;
    int64_t after_id;
    int64_t seen_since; /* 0: ever */
    int64_t limit;
};

struct agent_hello {
    struct str_view packed; /* ControlHello */
    struct str_view version;
    int64_t stream; /* a number of the stream that it opened: see session_record.stream */
};

struct agent_marks {
    int64_t telemetry_sequence;
    int64_t events_sequence;
    int64_t session_epoch;
    bool is_confirmed;
    int64_t stream; /* of store_agent_marks: its session's newest control stream; 0: none yet */
};

struct agent_beat {
    int64_t workspace_id;
    int64_t id;
    int64_t epoch; /* of the session that sent it */
    struct wall_us at;
    struct str_view status; /* packed AgentStatus; STR_NONE: as it is */
};

/* ERR_EXISTS: a living agent of that name or key stands already. Gives record->id. */
enum err_code store_agent_add(
    struct sql_conn *conn, struct agent_record *record, struct err_info *err) MUST_CHECK;
/*
 * As store_agent_add, with the id that record has, and at once confirmed where api_key_hash is not
 * NULL (sealed_api_key is stored then). By sql_exec_later: whatever comes next in the transaction
 * gives its ERR_EXISTS.
 */
enum err_code store_agent_enroll(
    struct sql_conn *conn,
    const struct agent_record *record,
    const uint8_t *api_key_hash,
    struct err_info *err) MUST_CHECK;
/* The text of that ERR_EXISTS; err is set to it. */
enum err_code store_agent_exists(struct err_info *err);
enum err_code store_agent_get(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t id,
    struct arena *arena,
    struct agent_record *ret_record,
    struct err_info *err) MUST_CHECK;

/* By id (digits) or by name; ERR_NOT_FOUND with a text. */
enum err_code store_agent_find(
    struct sql_conn *conn,
    int64_t workspace_id,
    struct str_view id_or_name,
    struct arena *arena,
    struct agent_record *ret_record,
    struct err_info *err) MUST_CHECK;
enum err_code store_agent_by_api_key(
    struct sql_conn *conn,
    const uint8_t hash[32],
    struct arena *arena,
    struct agent_record *ret_record,
    struct err_info *err) MUST_CHECK;
/* struct agent_record, by id. */
enum err_code store_agent_list(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct agent_filter *filter,
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;

/* What placement looks at. */
struct agent_offer {
    int64_t id;
    const char *name;
    const char *labels; /* JSON object */
    bool cordoned;
    int64_t last_seen_at;
    struct str_view hello; /* packed ControlHello, up to 256 KiB */
};

/* struct agent_offer of confirmed agents, by id. */
enum err_code store_agent_offers(
    struct sql_conn *conn,
    int64_t workspace_id,
    const struct agent_filter *filter, /* after_id and limit */
    struct arena *arena,
    struct store_list *ret_list,
    struct err_info *err) MUST_CHECK;
/* Of the agents of all workspaces; 0: none was ever seen. */
enum err_code store_agent_last_seen(struct sql_conn *conn, int64_t *ret_time, struct err_info *err)
    MUST_CHECK;

enum err_code store_agent_count(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t seen_since,
    int64_t *ret_total,
    int64_t *ret_online,
    struct err_info *err) MUST_CHECK;

enum err_code store_agent_set_state(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t id,
    enum agent_state state,
    struct err_info *err) MUST_CHECK;
/* ERR_CONFLICT unless it awaits confirmation. sealed_key may be STR_NONE (revealed instead). */
enum err_code store_agent_confirm(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t id,
    const uint8_t api_key_hash[32],
    struct str_view sealed_key,
    struct err_info *err) MUST_CHECK;
enum err_code store_agent_offer_key(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t id,
    const uint8_t hash[32],
    struct err_info *err) MUST_CHECK;
/* An offered key that was used replaces the old one; for any other key nothing happens. */
enum err_code store_agent_take_key(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t id,
    struct str_view hash,
    struct err_info *err) MUST_CHECK;
/* State, keys, session and challenges; ERR_CONFLICT when revoked already. */
enum err_code store_agent_revoke(
    struct sql_conn *conn, int64_t workspace_id, int64_t id, struct err_info *err) MUST_CHECK;
/* ERR_PRECONDITION when it may not have one. */
enum err_code store_agent_begin_session(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t id,
    struct wall_us now,
    int64_t *ret_epoch,
    struct err_info *err) MUST_CHECK;
/* Of an agent that may have one and that this transaction has locked (store_challenge_take): the
 * epoch rises by one (sql_exec_later). */
enum err_code store_agent_raise_epoch(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t id,
    struct wall_us now,
    struct err_info *err) MUST_CHECK;
enum err_code store_agent_update(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t id,
    const char *labels,
    bool cordoned,
    struct err_info *err) MUST_CHECK;
/* Of an agent that this transaction has fenced (sql_exec_later). */
enum err_code store_agent_hello(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t id,
    const struct agent_hello *hello,
    struct wall_us now,
    struct err_info *err) MUST_CHECK;
/* Of agents by their rising ids, each once. One of an older session, or older than the last,
 * changes nothing. */
enum err_code store_agent_seen(
    struct sql_conn *conn, const struct agent_beat *beats, size_t count, struct err_info *err)
    MUST_CHECK;
/*
 * ERR_UNAUTHENTICATED: the session of this epoch is not the agent's any more; what it would write
 * must not be written. Else the agent gets no other session until the transaction ends.
 */
enum err_code store_agent_fence(
    struct sql_conn *conn, int64_t workspace_id, int64_t id, int64_t epoch, struct err_info *err)
    MUST_CHECK;
/* As store_agent_fence, of { workspace, id }, with what was read. */
enum err_code store_agent_fence_marks(
    struct sql_conn *conn,
    const int64_t agent[2],
    int64_t epoch,
    struct agent_marks *ret_marks,
    struct err_info *err) MUST_CHECK;
/* Of one that awaits confirmation or was revoked, or of none: false. */
enum err_code store_agent_takes_commands(
    struct sql_conn *conn, int64_t workspace_id, int64_t id, bool *ret_takes, struct err_info *err)
    MUST_CHECK;
/* ERR_PRECONDITION: it takes no commands. */
enum err_code store_agent_take_command_sequence(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t id,
    int64_t *ret_sequence,
    struct err_info *err) MUST_CHECK;
/* Locks the agent's marks until commit. */
enum err_code store_agent_marks(
    struct sql_conn *conn,
    int64_t workspace_id,
    int64_t id,
    struct agent_marks *ret_marks,
    struct err_info *err) MUST_CHECK;

/* Of agents by their rising ids, each once. */
struct agent_columns {
    size_t count;
    const int64_t *workspace_ids;
    const int64_t *ids;
};

/* As store_agent_marks for each, at the price of one: ret_marks holds agents->count. */
enum err_code store_agent_marks_all(
    struct sql_conn *conn,
    const struct agent_columns *agents,
    struct agent_marks *ret_marks,
    struct err_info *err) MUST_CHECK;

/* Raises each agent's marks to marks[i]; one that is higher already stays. */
enum err_code store_agent_mark_all(
    struct sql_conn *conn,
    const struct agent_columns *agents,
    const struct agent_marks *marks,
    struct err_info *err) MUST_CHECK;

#endif
