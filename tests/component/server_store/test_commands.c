/* Commands: the same on both engines. */
#include "cmd/server/store/command.h"
#include "tests/component/server_store/fixture.h"

enum {
    TTL_US = 10000000
};

static int64_t next_sequence(struct place *place, int64_t agent_id)
{
    struct err_info err = ERR_INFO_INIT;
    int64_t sequence = 0;
    assert_ok_err(
        err,
        store_agent_take_command_sequence(
            place->conn, WORKSPACE_DEFAULT, agent_id, &sequence, &err));
    return sequence;
}

static enum err_code add_kind(
    struct place *place,
    int64_t agent_id,
    const char *id,
    const char *kind,
    const char *idempotency_key)
{
    struct err_info err = ERR_INFO_INIT;
    const struct command_record record = {
        .workspace_id = WORKSPACE_DEFAULT,
        .id = id,
        .agent_id = agent_id,
        .sequence = next_sequence(place, agent_id),
        .kind = kind,
        .payload = STR("payload"),
        .actor = "user:local/0",
        .signature = STR("signature"),
        .created_at = PLACE_NOW.value,
        .expires_at = PLACE_NOW.value + TTL_US,
        .idempotency_key = idempotency_key,
        .sandbox_id = "",
    };
    return store_command_add(place->conn, &record, &err);
}

static enum err_code add_command(
    struct place *place, int64_t agent_id, const char *id, const char *idempotency_key)
{
    return add_kind(place, agent_id, id, "drain", idempotency_key);
}

static struct command_record get_command(struct place *place, const char *id)
{
    struct err_info err = ERR_INFO_INIT;
    struct command_record record;
    assert_ok_err(
        err,
        store_command_get(place->conn, WORKSPACE_DEFAULT, str_of(id), place->arena, &record, &err));
    return record;
}

static bool finish(struct place *place, const char *id, int64_t agent_id, bool succeeded)
{
    struct err_info err = ERR_INFO_INIT;
    bool changed = false;
    const struct command_ack ack = {
        .id = id,
        .workspace_id = WORKSPACE_DEFAULT,
        .agent_id = agent_id,
        .succeeded = succeeded,
        .code = 1,
        .error_message = succeeded ? "" : "no",
        .result = STR_NONE,
    };
    assert_ok_err(err, store_command_finish(place->conn, &ack, PLACE_NOW, &changed, &err));
    return changed;
}

static size_t count_open(struct place *place, int64_t agent_id, int64_t after, struct wall_us now)
{
    struct err_info err = ERR_INFO_INIT;
    struct store_list list;
    const struct command_filter filter = {
        .agent_id = agent_id, .after_sequence = after, .now = now, .limit = 100
    };
    assert_ok_err(
        err,
        store_command_open(place->conn, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    const struct command_record *records = list.records;
    for (size_t i = 1; i < list.count; i++) {
        assert_true(records[i].sequence > records[i - 1].sequence);
    }
    return list.count;
}

static void test_a_command_lives_and_ends(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    int64_t agent = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    place_begin(place, WORKSPACE_DEFAULT);
    assert_ok(add_command(place, agent, "cmd_1", ""));
    assert_ok(add_command(place, agent, "cmd_2", ""));
    assert_int_equal(get_command(place, "cmd_1").sequence, 1);
    assert_int_equal(get_command(place, "cmd_2").sequence, 2);
    assert_int_equal(count_open(place, agent, 0, PLACE_NOW), 2);
    assert_int_equal(count_open(place, agent, 1, PLACE_NOW), 1);
    assert_ok(store_command_sent(place->conn, WORKSPACE_DEFAULT, STR("cmd_1"), PLACE_NOW, &err));
    assert_int_equal(get_command(place, "cmd_1").state, COMMAND_SENT);
    assert_int_equal(count_open(place, agent, 0, PLACE_NOW), 2); /* sent is not yet seen */
    assert_code(
        ERR_PRECONDITION,
        store_command_cancel(place->conn, WORKSPACE_DEFAULT, STR("cmd_1"), PLACE_NOW, &err));
    assert_ok(store_command_cancel(place->conn, WORKSPACE_DEFAULT, STR("cmd_2"), PLACE_NOW, &err));
    assert_false(finish(place, "cmd_2", agent, true)); /* taken back: an answer changes nothing */
    assert_false(finish(place, "cmd_1", agent + 1, true)); /* another agent's answer */
    assert_true(finish(place, "cmd_1", agent, true));
    assert_false(finish(place, "cmd_1", agent, false)); /* the first answer wins */
    assert_int_equal(get_command(place, "cmd_1").state, COMMAND_SUCCEEDED);
    assert_int_equal(get_command(place, "cmd_2").state, COMMAND_CANCELLED);
    assert_int_equal(count_open(place, agent, 0, PLACE_NOW), 0);
    place_commit(place);
}

static void test_an_answer_after_the_expiry_counts(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    const struct wall_us end = { PLACE_NOW.value + TTL_US };
    int64_t agent = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    int64_t expired = 0;
    place_begin(place, SQL_ALL_WORKSPACES);
    assert_ok(add_command(place, agent, "cmd_1", ""));
    assert_ok(add_command(place, agent, "cmd_2", ""));
    assert_true(finish(place, "cmd_2", agent, true));
    assert_int_equal(count_open(place, agent, 0, end), 0);
    assert_ok_err(err, store_command_expire(place->conn, end, &expired, &err));
    assert_int_equal(expired, 1);
    assert_int_equal(get_command(place, "cmd_1").state, COMMAND_EXPIRED);
    assert_true(finish(place, "cmd_1", agent, false));
    const struct command_record record = get_command(place, "cmd_1");
    assert_int_equal(record.state, COMMAND_FAILED);
    assert_string_equal(record.error_message, "no");
    place_commit(place);
}

static void test_an_idempotency_key_stands_once(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct command_record record;
    int64_t agent = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    place_begin(place, WORKSPACE_DEFAULT);
    assert_ok(add_command(place, agent, "cmd_1", "once"));
    assert_ok(add_command(place, agent, "cmd_2", ""));
    assert_ok(add_command(place, agent, "cmd_3", "")); /* "": none, any number of them */
    place_commit(place);
    place_begin(place, WORKSPACE_DEFAULT);
    assert_code(ERR_EXISTS, add_command(place, agent, "cmd_4", "once"));
    sql_rollback(place->conn);
    place_begin(place, WORKSPACE_DEFAULT);
    assert_ok(store_command_by_idempotency_key(
        place->conn, WORKSPACE_DEFAULT, STR("once"), place->arena, &record, &err));
    assert_string_equal(record.id, "cmd_1");
    assert_int_equal(next_sequence(place, agent), 4); /* a refused one took no number */
    place_commit(place);
}

static void test_commands_page_newest_first(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct store_list list;
    int64_t agent = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    place_begin(place, WORKSPACE_DEFAULT);
    assert_ok(add_command(place, agent, "cmd_1", ""));
    assert_ok(add_command(place, agent, "cmd_2", ""));
    assert_ok(add_command(place, agent, "cmd_3", ""));
    const struct command_filter filter = {
        .agent_id = agent, .state = COMMAND_QUEUED, .before = STR("cmd_3"), .limit = 1
    };
    assert_ok(
        store_command_list(place->conn, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    const struct command_record *records = list.records;
    assert_int_equal(list.count, 1);
    assert_string_equal(records[0].id, "cmd_2");
    assert_string_equal(records[0].agent_name, "edge");
    place_commit(place);
}

static bool has_payload(struct place *place, const char *id)
{
    return get_command(place, id).payload.len > 0;
}

/* What a sandbox was made with may hold secrets: it goes as soon as nobody needs it. */
static void test_the_payload_of_a_create_ends_with_it(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    int64_t agent = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    int64_t expired = 0;
    place_begin(place, SQL_ALL_WORKSPACES);
    static const char *const ids[] = { "cmd_1", "cmd_2", "cmd_3" };
    for (size_t i = 0; i < ARRAY_LENGTH(ids); i++) {
        assert_ok(add_kind(place, agent, ids[i], "sandbox_create", ""));
        assert_true(has_payload(place, ids[i]));
    }
    assert_ok(add_command(place, agent, "cmd_4", ""));
    assert_ok(store_command_sent(place->conn, WORKSPACE_DEFAULT, STR("cmd_1"), PLACE_NOW, &err));
    assert_true(has_payload(place, "cmd_1"));
    assert_true(finish(place, "cmd_1", agent, true));
    assert_ok(store_command_cancel(place->conn, WORKSPACE_DEFAULT, STR("cmd_2"), PLACE_NOW, &err));
    const struct wall_us end = { PLACE_NOW.value + TTL_US };
    assert_ok_err(err, store_command_expire(place->conn, end, &expired, &err));
    assert_int_equal(expired, 2);
    for (size_t i = 0; i < ARRAY_LENGTH(ids); i++) {
        assert_false(has_payload(place, ids[i]));
    }
    assert_true(has_payload(place, "cmd_4"));
    place_commit(place);
}

/* An answer to one that is gone changes nothing, and its number is not given again. */
static void test_finished_commands_go_in_time(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    int64_t agent = place_add_agent(place, WORKSPACE_DEFAULT, "edge", 1);
    bool more = true;
    place_begin(place, SQL_ALL_WORKSPACES);
    assert_ok(add_command(place, agent, "cmd_1", "once"));
    assert_ok(add_command(place, agent, "cmd_2", ""));
    assert_true(finish(place, "cmd_1", agent, true));
    assert_ok_err(err, store_command_remove(place->conn, PLACE_NOW, &more, &err));
    assert_int_equal(get_command(place, "cmd_1").state, COMMAND_SUCCEEDED); /* not yet */
    const struct wall_us later = { PLACE_NOW.value + 1 };
    assert_ok_err(err, store_command_remove(place->conn, later, &more, &err));
    assert_false(more);
    struct command_record record;
    assert_code(
        ERR_NOT_FOUND,
        store_command_get(
            place->conn, WORKSPACE_DEFAULT, STR("cmd_1"), place->arena, &record, &err));
    assert_int_equal(count_open(place, agent, 0, PLACE_NOW), 1); /* the other is under way */
    assert_false(finish(place, "cmd_1", agent, true));
    assert_ok(add_command(place, agent, "cmd_3", "once")); /* the key is free again */
    assert_int_equal(get_command(place, "cmd_3").sequence, 3);
    place_commit(place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_BOTH(test_a_command_lives_and_ends),
        PLACE_BOTH(test_an_answer_after_the_expiry_counts),
        PLACE_BOTH(test_an_idempotency_key_stands_once),
        PLACE_BOTH(test_commands_page_newest_first),
        PLACE_BOTH(test_the_payload_of_a_create_ends_with_it),
        PLACE_BOTH(test_finished_commands_go_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
