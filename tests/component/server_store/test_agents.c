/* Enrollments, agents, sessions, challenges and API keys: the same on both engines. */
#include "cmd/server/store/command.h"
#include "cmd/server/store/sandbox/relay.h"
#include "cmd/server/store/session.h"
#include "common/sys/thread.h"
#include "tests/component/server_store/fixture.h"

#include <poll.h>
#include <stdio.h>

static const struct wall_us later = { INT64_C(1767225600000000) + 60 * 1000000 };

static void add_enrollment(struct place *place, const char *id, uint8_t mark, int64_t expires_at)
{
    struct err_info err = ERR_INFO_INIT;
    uint8_t hash[32];
    const struct enrollment_record record = {
        .workspace_id = WORKSPACE_DEFAULT,
        .id = id,
        .labels = "{\"zone\":\"eu\"}",
        .auto_confirm = true,
        .state = ENROLLMENT_PENDING,
        .created_by = "user:local/0",
        .created_at = PLACE_NOW.value,
        .expires_at = expires_at,
    };
    assert_ok_err(err, store_enrollment_add(place->conn, &record, place_hash(mark, hash), &err));
}

static int64_t state_of(struct place *place, const char *id)
{
    struct err_info err = ERR_INFO_INIT;
    struct enrollment_record record;
    assert_ok_err(
        err,
        store_enrollment_get(
            place->conn, WORKSPACE_DEFAULT, str_of(id), place->arena, &record, &err));
    return record.state;
}

/* Of a pending one. */
static enum err_code move_enrollment(
    struct place *place, const char *id, enum enrollment_state to, struct err_info *err)
{
    const struct enrollment_move move = {
        .id = str_of(id),
        .from = ENROLLMENT_PENDING,
        .to = to,
    };
    return store_enrollment_move(place->conn, WORKSPACE_DEFAULT, &move, err);
}

static void test_an_enrollment_moves_once(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct enrollment_record record;
    uint8_t hash[32];
    place_begin(place, WORKSPACE_DEFAULT);
    add_enrollment(place, "enr_1", 1, PLACE_NOW.value + US_PER_HOUR);
    assert_ok_err(
        err,
        store_enrollment_by_token(place->conn, place_hash(1, hash), place->arena, &record, &err));
    assert_string_equal(record.id, "enr_1");
    assert_string_equal(record.labels, "{\"zone\":\"eu\"}");
    assert_string_equal(record.workspace, "default");
    assert_true(record.auto_confirm);
    assert_int_equal(record.agent_id, 0);
    assert_code(
        ERR_NOT_FOUND,
        store_enrollment_by_token(place->conn, place_hash(2, hash), place->arena, &record, &err));
    assert_ok_err(err, move_enrollment(place, "enr_1", ENROLLMENT_AWAITING_CONFIRMATION, &err));
    assert_code(ERR_CONFLICT, move_enrollment(place, "enr_1", ENROLLMENT_CANCELLED, &err));
    assert_int_equal(state_of(place, "enr_1"), ENROLLMENT_AWAITING_CONFIRMATION);
    place_commit(place);
}

static void test_pending_enrollments_expire(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    place_begin(place, SQL_ALL_WORKSPACES);
    add_enrollment(place, "enr_1", 1, PLACE_NOW.value + 1);
    add_enrollment(place, "enr_2", 2, PLACE_NOW.value + US_PER_HOUR);
    add_enrollment(place, "enr_3", 3, PLACE_NOW.value + 1);
    assert_ok(move_enrollment(place, "enr_3", ENROLLMENT_CANCELLED, &err));
    assert_ok_err(err, store_enrollment_expire(place->conn, later, &err));
    assert_int_equal(state_of(place, "enr_1"), ENROLLMENT_EXPIRED);
    assert_int_equal(state_of(place, "enr_2"), ENROLLMENT_PENDING);
    assert_int_equal(state_of(place, "enr_3"), ENROLLMENT_CANCELLED);
    place_commit(place);
}

static void test_enrollments_page_newest_first(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct store_list list;
    place_begin(place, WORKSPACE_DEFAULT);
    for (uint8_t i = 1; i <= 5; i++) {
        char id[8];
        (void)snprintf(id, sizeof(id), "enr_%u", i);
        add_enrollment(place, id, i, PLACE_NOW.value + US_PER_HOUR);
    }
    struct enrollment_filter filter = { .after = STR(""), .limit = 2 };
    assert_ok_err(
        err,
        store_enrollment_list(place->conn, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    const struct enrollment_record *records = list.records;
    assert_int_equal(list.count, 2);
    assert_string_equal(records[0].id, "enr_5");
    filter = (struct enrollment_filter){ .state = ENROLLMENT_PENDING,
                                         .after = STR("enr_4"),
                                         .limit = 9 };
    assert_ok_err(
        err,
        store_enrollment_list(place->conn, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    records = list.records;
    assert_int_equal(list.count, 3);
    assert_string_equal(records[0].id, "enr_3");
    filter =
        (struct enrollment_filter){ .state = ENROLLMENT_EXPIRED, .after = STR(""), .limit = 9 };
    assert_ok_err(
        err,
        store_enrollment_list(place->conn, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    assert_int_equal(list.count, 0);
    place_commit(place);
}

static enum err_code add_again(
    struct place *place, const char *enrollment, const char *name, uint8_t mark)
{
    struct err_info err = ERR_INFO_INIT;
    uint8_t hash[32];
    place_hash(mark, hash);
    struct agent_record agent = {
        .workspace_id = WORKSPACE_DEFAULT,
        .name = name,
        .state = AGENT_AWAITING_CONFIRMATION,
        .labels = "{}",
        .identity_key = str_from((const char *)hash, 32),
        .encryption_key = str_from((const char *)hash, 32),
        .version = "1",
        .host = STR(""),
        .enrollment_id = enrollment,
        .created_at = PLACE_NOW.value,
        .created_by = "x",
    };
    place_begin(place, WORKSPACE_DEFAULT);
    enum err_code code = store_agent_add(place->conn, &agent, &err);
    if (code == ERR_OK) {
        place_commit(place);
    } else {
        sql_rollback(place->conn);
        assert_non_null(strstr(err.text, "enrolled already"));
    }
    return code;
}

static void test_a_living_name_or_key_stands_once(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct agent_record found;
    int64_t id = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    assert_code(ERR_EXISTS, add_again(place, "enr_edge", "edge", 2));
    assert_code(ERR_EXISTS, add_again(place, "enr_edge", "other", 1));
    place_begin(place, WORKSPACE_DEFAULT);
    assert_ok_err(err, store_agent_revoke(place->conn, WORKSPACE_DEFAULT, id, &err));
    assert_code(ERR_CONFLICT, store_agent_revoke(place->conn, WORKSPACE_DEFAULT, id, &err));
    place_commit(place);
    assert_ok(add_again(place, "enr_edge", "edge", 1)); /* a revoked one's may enroll again */
    place_begin(place, WORKSPACE_DEFAULT);
    assert_ok_err(
        err,
        store_agent_find(place->conn, WORKSPACE_DEFAULT, STR("edge"), place->arena, &found, &err));
    assert_true(found.id > id); /* the living one */
    assert_code(
        ERR_NOT_FOUND,
        store_agent_find(place->conn, PLACE_OTHER, STR("edge"), place->arena, &found, &err));
    place_commit(place);
}

static void test_an_agents_keys_go_with_it(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct agent_record found;
    uint8_t old[32];
    uint8_t offered[32];
    int64_t id = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    place_hash(1, old);
    place_hash(2, offered);
    place_begin(place, SQL_ALL_WORKSPACES);
    assert_ok_err(err, store_agent_by_api_key(place->conn, old, place->arena, &found, &err));
    assert_int_equal(found.id, id);
    assert_ok_err(err, store_agent_offer_key(place->conn, WORKSPACE_DEFAULT, id, offered, &err));
    assert_ok(store_agent_by_api_key(place->conn, old, place->arena, &found, &err));
    assert_ok(store_agent_by_api_key(place->conn, offered, place->arena, &found, &err));
    struct str_view used = str_from((const char *)old, 32);
    assert_ok(store_agent_take_key(place->conn, WORKSPACE_DEFAULT, id, used, &err));
    assert_ok(store_agent_by_api_key(place->conn, offered, place->arena, &found, &err));
    used = str_from((const char *)offered, 32);
    assert_ok(store_agent_take_key(place->conn, WORKSPACE_DEFAULT, id, used, &err));
    assert_code(
        ERR_NOT_FOUND, store_agent_by_api_key(place->conn, old, place->arena, &found, &err));
    assert_ok(store_agent_revoke(place->conn, WORKSPACE_DEFAULT, id, &err));
    assert_code(
        ERR_NOT_FOUND, store_agent_by_api_key(place->conn, offered, place->arena, &found, &err));
    place_commit(place);
}

static int64_t begin_session(struct place *place, int64_t agent_id, uint8_t mark)
{
    struct err_info err = ERR_INFO_INIT;
    uint8_t hash[32];
    int64_t epoch = 0;
    assert_ok_err(
        err,
        store_agent_begin_session(
            place->conn, WORKSPACE_DEFAULT, agent_id, PLACE_NOW, &epoch, &err));
    const struct session_record session = {
        .workspace_id = WORKSPACE_DEFAULT,
        .agent_id = agent_id,
        .epoch = epoch,
        .expires_at = PLACE_NOW.value + US_PER_HOUR,
    };
    assert_ok_err(
        err, store_session_put(place->conn, &session, place_hash(mark, hash), PLACE_NOW, &err));
    return epoch;
}

static void test_one_live_session_per_agent(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct session_record session;
    struct agent_record agent;
    uint8_t first[32];
    uint8_t second[32];
    place_hash(11, first);
    place_hash(12, second);
    int64_t id = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    place_begin(place, SQL_ALL_WORKSPACES);
    assert_int_equal(begin_session(place, id, 11), 1);
    assert_ok(store_session_by_token(place->conn, first, PLACE_NOW, place->arena, &session, &err));
    assert_int_equal(begin_session(place, id, 12), 2);
    assert_code(
        ERR_NOT_FOUND,
        store_session_by_token(place->conn, first, PLACE_NOW, place->arena, &session, &err));
    assert_ok(store_session_by_token(place->conn, second, PLACE_NOW, place->arena, &session, &err));
    assert_int_equal(session.epoch, 2);
    assert_string_equal(session.workspace, "default");
    const struct wall_us end = { PLACE_NOW.value + US_PER_HOUR };
    assert_code(
        ERR_NOT_FOUND,
        store_session_by_token(place->conn, second, end, place->arena, &session, &err));
    assert_ok(store_agent_get(place->conn, WORKSPACE_DEFAULT, id, place->arena, &agent, &err));
    assert_true(agent.handshaken);
    assert_int_equal(agent.sealed_api_key.len, 0); /* the enrollment's answer is spent */
    assert_ok(store_agent_set_state(place->conn, WORKSPACE_DEFAULT, id, AGENT_EVICTED, &err));
    assert_code(
        ERR_NOT_FOUND,
        store_session_by_token(place->conn, second, PLACE_NOW, place->arena, &session, &err));
    assert_int_equal(begin_session(place, id, 13), 3); /* an evicted one may come back */
    assert_ok(store_agent_revoke(place->conn, WORKSPACE_DEFAULT, id, &err));
    int64_t epoch = 0;
    assert_code(
        ERR_PRECONDITION,
        store_agent_begin_session(place->conn, WORKSPACE_DEFAULT, id, PLACE_NOW, &epoch, &err));
    place_commit(place);
}

static void add_challenge(struct place *place, int64_t agent_id, uint8_t mark, int64_t expires_at)
{
    struct err_info err = ERR_INFO_INIT;
    uint8_t hash[32];
    const struct challenge_record record = {
        .workspace_id = WORKSPACE_DEFAULT,
        .agent_id = agent_id,
        .api_key_hash = STR("12345678901234567890123456789012"),
        .expires_at = expires_at,
    };
    assert_ok_err(
        err, store_challenge_add(place->conn, place_hash(mark, hash), &record, PLACE_NOW, &err));
}

static enum err_code take(struct place *place, uint8_t mark)
{
    struct err_info err = ERR_INFO_INIT;
    struct challenge_taken taken;
    uint8_t hash[32];
    return store_challenge_take(place->conn, place_hash(mark, hash), place->arena, &taken, &err);
}

static void test_challenges_are_few_and_used_once(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    int64_t id = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    place_begin(place, SQL_ALL_WORKSPACES);
    for (uint8_t i = 1; i <= 6; i++) {
        add_challenge(place, id, (uint8_t)(20 + i), PLACE_NOW.value + i * US_PER_SECOND);
    }
    assert_code(ERR_NOT_FOUND, take(place, 21)); /* the two oldest are gone */
    assert_code(ERR_NOT_FOUND, take(place, 22));
    assert_ok(take(place, 23));
    assert_code(ERR_NOT_FOUND, take(place, 23));
    const struct wall_us now = { PLACE_NOW.value + 5 * US_PER_SECOND };
    assert_ok_err(err, store_challenge_expire(place->conn, now, &err));
    assert_code(ERR_NOT_FOUND, take(place, 24));
    assert_code(ERR_NOT_FOUND, take(place, 25));
    assert_ok(take(place, 26));
    add_challenge(place, id, 31, PLACE_NOW.value + US_PER_SECOND);
    assert_ok_err(err, store_session_remove(place->conn, WORKSPACE_DEFAULT, id, &err));
    assert_code(ERR_NOT_FOUND, take(place, 31));
    place_commit(place);
}

static void test_agents_are_listed_by_filter(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct store_list list;
    int64_t total = 0;
    int64_t online = 0;
    int64_t first = place_add_agent(place, WORKSPACE_DEFAULT, "edge-1", 1);
    (void)place_add_agent(place, WORKSPACE_DEFAULT, "edge-2", 2);
    (void)place_add_agent(place, WORKSPACE_DEFAULT, "\xc3\xa4-3", 3);
    (void)place_add_agent(place, PLACE_OTHER, "edge-4", 4);
    place_begin(place, WORKSPACE_DEFAULT);
    struct agent_beat beat = {
        .workspace_id = WORKSPACE_DEFAULT, .id = first, .at = later, .status = STR("status")
    };
    assert_ok(store_agent_seen(place->conn, &beat, 1, &err));
    struct agent_filter filter = { .name_prefix = STR("edge"), .limit = 10 };
    assert_ok(store_agent_list(place->conn, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    struct agent_record *records = list.records;
    assert_int_equal(list.count, 2);
    assert_memory_equal(records[0].status.ptr, "status", 6);
    filter.name_prefix = STR("\xc3\xa4"); /* counted in characters */
    assert_ok(store_agent_list(place->conn, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    assert_int_equal(list.count, 1);
    filter = (struct agent_filter){ .seen_since = later.value, .limit = 10 };
    assert_ok(store_agent_list(place->conn, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    records = list.records;
    assert_int_equal(list.count, 1);
    assert_int_equal(records[0].id, first);
    assert_ok(
        store_agent_count(place->conn, WORKSPACE_DEFAULT, later.value, &total, &online, &err));
    assert_int_equal(total, 3);
    assert_int_equal(online, 1);
    /* A heartbeat that comes late moves nothing back. */
    beat.at = PLACE_NOW;
    beat.status = STR("old");
    assert_ok(store_agent_seen(place->conn, &beat, 1, &err));
    assert_ok(store_agent_get(place->conn, WORKSPACE_DEFAULT, first, place->arena, records, &err));
    assert_int_equal(records[0].last_seen_at, later.value);
    place_commit(place);
}

/* In a look-up of its own, between two transactions. */
static enum err_code find_key(struct place *place, uint8_t mark, struct wall_us now)
{
    struct err_info err = ERR_INFO_INIT;
    struct credential_record record;
    struct sql_rows *rows = NULL;
    uint8_t hash[32];
    place_commit(place);
    assert_ok_err(err, sql_begin_lookup(place->conn, SQL_OWN_WALL, &err));
    enum err_code code =
        store_credential_key(place->conn, place_hash(mark, hash), now, &record, &rows, &err);
    if (code == ERR_OK) {
        assert_int_equal(record.workspace_id, WORKSPACE_DEFAULT);
        assert_true(str_equal(record.key_id, STR("key_1")));
        assert_true(str_equal(record.scopes, STR("agent:read")));
    }
    sql_rows_close(rows);
    sql_rollback(place->conn);
    place_begin(place, SQL_ALL_WORKSPACES);
    return code;
}

static void test_api_keys_end(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    uint8_t hash[32];
    const struct api_key_record record = {
        .workspace_id = WORKSPACE_DEFAULT,
        .id = "key_1",
        .name = "ci",
        .scopes = "agent:read",
        .created_by = "user:local/0",
        .created_at = PLACE_NOW.value,
        .expires_at = PLACE_NOW.value + US_PER_SECOND,
    };
    struct api_key_record found;
    place_begin(place, SQL_ALL_WORKSPACES);
    assert_ok_err(err, store_api_key_add(place->conn, &record, place_hash(1, hash), &err));
    assert_ok(find_key(place, 1, PLACE_NOW));
    assert_code(ERR_NOT_FOUND, find_key(place, 2, PLACE_NOW));
    assert_code(ERR_NOT_FOUND, find_key(place, 1, later));
    const struct api_key_use uses[] = { { WORKSPACE_DEFAULT, STR("key_2"), later }, /* gone */
                                        { WORKSPACE_DEFAULT, STR("key_1"), later } };
    const struct api_key_use older = { WORKSPACE_DEFAULT, STR("key_1"), PLACE_NOW };
    assert_ok(store_api_key_used(place->conn, uses, ARRAY_LENGTH(uses), &err));
    assert_ok(store_api_key_used(place->conn, &older, 1, &err)); /* of a server behind */
    assert_ok(store_api_key_revoke(place->conn, WORKSPACE_DEFAULT, STR("key_1"), PLACE_NOW, &err));
    assert_code(ERR_NOT_FOUND, find_key(place, 1, PLACE_NOW));
    assert_code(
        ERR_PRECONDITION,
        store_api_key_revoke(place->conn, WORKSPACE_DEFAULT, STR("key_1"), PLACE_NOW, &err));
    assert_ok(store_api_key_get(
        place->conn, WORKSPACE_DEFAULT, STR("key_1"), place->arena, &found, &err));
    assert_int_equal(found.last_used_at, later.value);
    assert_int_equal(found.revoked_at, PLACE_NOW.value);
    assert_code(
        ERR_NOT_FOUND,
        store_api_key_get(place->conn, PLACE_OTHER, STR("key_1"), place->arena, &found, &err));
    place_commit(place);
}

static void test_the_first_fact_stays(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct str_view value;
    place_begin(place, SQL_ALL_WORKSPACES);
    assert_code(
        ERR_NOT_FOUND, store_meta_get(place->conn, "server_id", place->arena, &value, &err));
    assert_ok(store_meta_put(place->conn, "server_id", STR("one"), &err));
    assert_ok(store_meta_put(place->conn, "server_id", STR("two"), &err));
    assert_ok(store_meta_get(place->conn, "server_id", place->arena, &value, &err));
    assert_true(str_equal(value, STR("one")));
    place_commit(place);
}

static enum err_code fence(struct sql_conn *conn, int64_t agent, int64_t epoch)
{
    struct err_info err = ERR_INFO_INIT;
    return store_agent_fence(conn, WORKSPACE_DEFAULT, agent, epoch, &err);
}

static void test_an_older_session_may_not_write(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    int64_t epoch = 0;
    int64_t agent = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    place_begin(place, WORKSPACE_DEFAULT);
    assert_ok(
        store_agent_begin_session(place->conn, WORKSPACE_DEFAULT, agent, PLACE_NOW, &epoch, &err));
    place_commit(place);
    place_begin(place, WORKSPACE_DEFAULT);
    assert_ok(fence(place->conn, agent, epoch));
    assert_code(ERR_UNAUTHENTICATED, fence(place->conn, agent, epoch - 1));
    assert_code(ERR_UNAUTHENTICATED, fence(place->conn, agent, epoch + 1));
    assert_code(ERR_UNAUTHENTICATED, fence(place->conn, agent + 1, epoch));
    assert_ok(store_agent_set_state(place->conn, WORKSPACE_DEFAULT, agent, AGENT_EVICTED, &err));
    assert_code(ERR_UNAUTHENTICATED, fence(place->conn, agent, epoch));
    sql_rollback(place->conn);
}

/* What passed the fence is written before the next session begins. */
static void test_the_fence_holds_until_the_commit(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    int64_t agent = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    int64_t epoch = 0;
    struct sql_conn *other = place_connect(place);
    place_begin(place, WORKSPACE_DEFAULT);
    assert_ok(fence(place->conn, agent, 0));
    assert_ok_err(err, sql_begin(other, WORKSPACE_DEFAULT, &err));
    assert_ok_err(err, sql_exec_script(other, "SET LOCAL lock_timeout = '50ms'", &err));
    assert_code(
        ERR_BUSY,
        store_agent_begin_session(other, WORKSPACE_DEFAULT, agent, PLACE_NOW, &epoch, &err));
    sql_rollback(other);
    place_commit(place);
    sql_close(other);
}

/* ---- What a registration and a session's beginning do in few statements ---- */

static struct agent_record newcomer(const struct enrollment_record *taken, uint8_t key[32])
{
    const struct str_view view = str_from((const char *)key, 32);
    return (struct agent_record){
        .workspace_id = WORKSPACE_DEFAULT,
        .id = taken->agent_id,
        .name = "edge",
        .state = AGENT_CONFIRMED,
        .labels = "{}",
        .identity_key = view,
        .encryption_key = view,
        .version = "1",
        .host = STR(""),
        .enrollment_id = taken->id,
        .created_at = PLACE_NOW.value,
        .created_by = "x",
        .sealed_api_key = STR("sealed"),
    };
}

static enum err_code take_token(
    struct sql_conn *conn,
    const struct place *place,
    uint8_t mark,
    struct enrollment_record *ret_taken)
{
    struct err_info err = ERR_INFO_INIT;
    uint8_t hash[32];
    return store_enrollment_take(conn, place_hash(mark, hash), place->arena, ret_taken, &err);
}

static void test_a_taken_token_gives_a_confirmed_agent(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct enrollment_record taken;
    struct enrollment_record spent;
    struct agent_record found;
    uint8_t key[32];
    uint8_t api_key[32];
    uint8_t hash[32];
    place_hash(5, key);
    place_hash(6, api_key);
    place_begin(place, SQL_ALL_WORKSPACES);
    add_enrollment(place, "enr_1", 1, PLACE_NOW.value + US_PER_HOUR);
    assert_ok(take_token(place->conn, place, 1, &taken));
    assert_string_equal(taken.id, "enr_1");
    assert_string_equal(taken.labels, "{\"zone\":\"eu\"}");
    assert_int_equal(taken.expires_at, PLACE_NOW.value + US_PER_HOUR);
    assert_true(taken.auto_confirm && taken.agent_id > 0);
    const struct agent_record agent = newcomer(&taken, key);
    assert_ok_err(err, store_agent_enroll(place->conn, &agent, api_key, &err));
    assert_ok_err(err, store_enrollment_settle(place->conn, &taken, ENROLLMENT_CONFIRMED, &err));
    assert_code(ERR_NOT_FOUND, take_token(place->conn, place, 1, &taken));
    place_commit(place);
    place_begin(place, SQL_ALL_WORKSPACES);
    assert_ok(store_agent_by_api_key(place->conn, api_key, place->arena, &found, &err));
    assert_int_equal(found.id, agent.id);
    assert_int_equal(found.state, AGENT_CONFIRMED);
    assert_true(str_equal(found.sealed_api_key, STR("sealed")));
    assert_ok(
        store_enrollment_by_token(place->conn, place_hash(1, hash), place->arena, &spent, &err));
    assert_int_equal(spent.state, ENROLLMENT_CONFIRMED);
    assert_int_equal(spent.agent_id, agent.id);
    assert_true(str_equal(spent.identity_key, agent.identity_key));
    place_commit(place);
}

/* On PostgreSQL the statement after the one that failed tells. */
static void test_an_agent_that_stands_is_not_enrolled_again(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct enrollment_record taken;
    struct agent_record found;
    uint8_t key[32];
    int64_t standing = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    place_begin(place, WORKSPACE_DEFAULT);
    add_enrollment(place, "enr_2", 2, PLACE_NOW.value + US_PER_HOUR);
    assert_ok(take_token(place->conn, place, 2, &taken));
    assert_int_not_equal(taken.agent_id, standing);
    const struct agent_record agent = newcomer(&taken, (uint8_t *)(uintptr_t)place_hash(5, key));
    enum err_code code = store_agent_enroll(place->conn, &agent, NULL, &err);
    if (code == ERR_OK) {
        code =
            store_agent_get(place->conn, WORKSPACE_DEFAULT, standing, place->arena, &found, &err);
    }
    assert_code(ERR_EXISTS, code);
    assert_code(ERR_EXISTS, store_agent_exists(&err));
    assert_non_null(strstr(err.text, "enrolled already"));
    sql_rollback(place->conn);
}

static void test_a_token_is_one_transactions_at_a_time(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct enrollment_record taken;
    struct enrollment_record late;
    uint8_t key[32];
    struct sql_conn *other = place_connect(place);
    place_begin(place, WORKSPACE_DEFAULT);
    add_enrollment(place, "enr_1", 1, PLACE_NOW.value + US_PER_HOUR);
    place_commit(place);
    place_begin(place, WORKSPACE_DEFAULT);
    assert_ok(take_token(place->conn, place, 1, &taken));
    assert_ok_err(err, sql_begin(other, WORKSPACE_DEFAULT, &err));
    assert_ok_err(err, sql_exec_script(other, "SET LOCAL lock_timeout = '50ms'", &err));
    assert_code(ERR_BUSY, take_token(other, place, 1, &late));
    sql_rollback(other);
    const struct agent_record agent = newcomer(&taken, (uint8_t *)(uintptr_t)place_hash(5, key));
    assert_ok_err(err, store_agent_enroll(place->conn, &agent, NULL, &err));
    assert_ok_err(
        err, store_enrollment_settle(place->conn, &taken, ENROLLMENT_AWAITING_CONFIRMATION, &err));
    place_commit(place);
    assert_ok_err(err, sql_begin(other, WORKSPACE_DEFAULT, &err));
    assert_code(ERR_NOT_FOUND, take_token(other, place, 1, &late));
    sql_rollback(other);
    sql_close(other);
}

static void test_a_taken_challenge_tells_of_its_agent(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct challenge_taken taken;
    struct agent_record agent;
    uint8_t hash[32];
    int64_t id = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    place_begin(place, SQL_ALL_WORKSPACES);
    add_challenge(place, id, 21, PLACE_NOW.value + US_PER_SECOND);
    assert_ok_err(
        err, store_challenge_take(place->conn, place_hash(21, hash), place->arena, &taken, &err));
    assert_int_equal(taken.workspace_id, WORKSPACE_DEFAULT);
    assert_int_equal(taken.agent_id, id);
    assert_int_equal(taken.agent_state, AGENT_CONFIRMED);
    assert_int_equal(taken.session_epoch, 0);
    assert_memory_equal(taken.identity_key.ptr, place_hash(1, hash), 32);
    assert_false(taken.is_offered_key);
    assert_ok_err(
        err, store_agent_raise_epoch(place->conn, WORKSPACE_DEFAULT, id, PLACE_NOW, &err));
    assert_ok(store_agent_get(place->conn, WORKSPACE_DEFAULT, id, place->arena, &agent, &err));
    assert_int_equal(agent.session_epoch, 1);
    assert_true(agent.handshaken);
    assert_ok(store_agent_offer_key(
        place->conn, WORKSPACE_DEFAULT, id, (const uint8_t *)taken.api_key_hash.ptr, &err));
    add_challenge(place, id, 22, PLACE_NOW.value + US_PER_SECOND);
    assert_ok_err(
        err, store_challenge_take(place->conn, place_hash(22, hash), place->arena, &taken, &err));
    assert_true(taken.is_offered_key);
    assert_int_equal(taken.session_epoch, 1);
    place_commit(place);
}

struct taker {
    const struct place *place;
    struct sql_conn *conn;
    enum err_code code;
    struct challenge_taken taken;
};

static void take_aside(void *context)
{
    struct taker *taker = context;
    struct err_info err = ERR_INFO_INIT;
    uint8_t hash[32];
    taker->code = sql_begin(taker->conn, SQL_ALL_WORKSPACES, &err);
    if (taker->code == ERR_OK) {
        taker->code = store_challenge_take(
            taker->conn, place_hash(21, hash), taker->place->arena, &taker->taken, &err);
    }
    sql_rollback(taker->conn);
}

static const struct sql_statement waiting_locks = {
    .name = "test_waiting_locks",
    .postgres = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted",
};

/* Two of one agent's handshakes at once: the later one raises the epoch that the first has left. */
static void test_a_taken_challenge_waits_for_its_agents_row(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct thread thread = { .running = false };
    struct taker taker = { .place = place, .conn = place_connect(place), .code = ERR_INTERNAL };
    int64_t id = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    int64_t waiting = 0;
    place_begin(place, WORKSPACE_DEFAULT);
    add_challenge(place, id, 21, PLACE_NOW.value + US_PER_SECOND);
    place_commit(place);
    place_begin(place, WORKSPACE_DEFAULT);
    assert_int_equal(begin_session(place, id, 11), 1);
    assert_ok_err(err, thread_start(&thread, "taker", take_aside, &taker, &err));
    for (int i = 0; i < 2000 && waiting == 0; i++) {
        assert_ok_err(
            err,
            store_select_int(STORE_ASK(place->conn, &waiting_locks, SQL_NO_ARGS), &waiting, &err));
        (void)poll(NULL, 0, 5);
    }
    assert_true(waiting > 0);
    place_commit(place);
    thread_join(&thread);
    assert_ok(taker.code);
    assert_int_equal(taker.taken.session_epoch, 1);
    assert_int_equal(taker.taken.agent_id, id);
    sql_close(taker.conn);
}

static bool glimpse(struct place *place, const uint8_t token[32], struct session_sent sent)
{
    struct err_info err = ERR_INFO_INIT;
    struct session_record session;
    assert_ok_err(err, store_session_glimpse(place->conn, token, PLACE_NOW, &sent, &session, &err));
    assert_int_equal(session.epoch, 1);
    assert_int_equal(session.stream, 8);
    return session.has_waiting;
}

static void test_a_glimpse_tells_whether_anything_waits(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct session_record session;
    uint8_t token[32];
    int64_t id = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    const struct agent_hello hello = { .packed = STR("x"), .version = STR("1"), .stream = 8 };
    const struct command_record command = {
        .workspace_id = WORKSPACE_DEFAULT,
        .id = "cmd_1",
        .agent_id = id,
        .sequence = 3,
        .kind = "drain",
        .payload = STR("payload"),
        .actor = "x",
        .signature = STR("signature"),
        .created_at = PLACE_NOW.value,
        .expires_at = PLACE_NOW.value + US_PER_SECOND,
        .idempotency_key = "",
        .sandbox_id = "",
    };
    const struct relay_record relay = { .id = "rly_1",
                                        .packed = STR("x"),
                                        .expires_at = PLACE_NOW.value + US_PER_SECOND,
                                        .owner = "" };
    place_hash(11, token);
    place_begin(place, WORKSPACE_DEFAULT);
    (void)begin_session(place, id, 11);
    assert_ok_err(
        err, store_agent_hello(place->conn, WORKSPACE_DEFAULT, id, &hello, PLACE_NOW, &err));
    assert_false(glimpse(place, token, (struct session_sent){ 0, 8 }));
    assert_ok_err(err, store_command_add(place->conn, &command, &err));
    assert_true(glimpse(place, token, (struct session_sent){ 2, 8 }));
    assert_false(glimpse(place, token, (struct session_sent){ 3, 8 }));
    assert_ok_err(err, store_relay_add(place->conn, WORKSPACE_DEFAULT, id, &relay, &err));
    assert_true(glimpse(place, token, (struct session_sent){ 3, 8 }));
    const struct relay_filter sent = { .agent_id = id, .id = STR("rly_1"), .stream = 8 };
    assert_ok_err(err, store_relay_sent(place->conn, WORKSPACE_DEFAULT, &sent, &err));
    assert_false(glimpse(place, token, (struct session_sent){ 3, 8 }));
    assert_true(glimpse(place, token, (struct session_sent){ 3, 9 }));
    assert_ok_err(err, store_relay_remove(place->conn, WORKSPACE_DEFAULT, &sent, &err));
    assert_false(glimpse(place, token, (struct session_sent){ 3, 9 }));
    assert_ok(store_agent_set_state(place->conn, WORKSPACE_DEFAULT, id, AGENT_EVICTED, &err));
    assert_code(
        ERR_NOT_FOUND,
        store_session_glimpse(
            place->conn, token, PLACE_NOW, &(struct session_sent){ 0, 8 }, &session, &err));
    place_commit(place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_BOTH(test_an_enrollment_moves_once),
        PLACE_BOTH(test_pending_enrollments_expire),
        PLACE_BOTH(test_enrollments_page_newest_first),
        PLACE_BOTH(test_a_living_name_or_key_stands_once),
        PLACE_BOTH(test_an_agents_keys_go_with_it),
        PLACE_BOTH(test_one_live_session_per_agent),
        PLACE_BOTH(test_challenges_are_few_and_used_once),
        PLACE_BOTH(test_agents_are_listed_by_filter),
        PLACE_BOTH(test_api_keys_end),
        PLACE_BOTH(test_the_first_fact_stays),
        PLACE_BOTH(test_an_older_session_may_not_write),
        PLACE_BOTH(test_a_taken_token_gives_a_confirmed_agent),
        PLACE_BOTH(test_an_agent_that_stands_is_not_enrolled_again),
        PLACE_BOTH(test_a_taken_challenge_tells_of_its_agent),
        PLACE_BOTH(test_a_glimpse_tells_whether_anything_waits),
        cmocka_unit_test_setup_teardown(
            test_a_token_is_one_transactions_at_a_time, place_setup_postgres, place_teardown),
        cmocka_unit_test_setup_teardown(
            test_a_taken_challenge_waits_for_its_agents_row, place_setup_postgres, place_teardown),
        cmocka_unit_test_setup_teardown(
            test_the_fence_holds_until_the_commit, place_setup_postgres, place_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
