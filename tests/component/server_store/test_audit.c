/* The audit chain: the same on both engines, but that PostgreSQL gives places later. */
#include "cmd/server/store/audit.h"
#include "common/crypto/audit_chain.h"
#include "common/sys/thread.h"
#include "tests/component/server_store/fixture.h"

static enum err_code add_audit(struct sql_conn *conn, const char *reason)
{
    struct err_info err = ERR_INFO_INIT;
    const struct audit_entry entry = {
        .workspace_id = WORKSPACE_DEFAULT,
        .actor = "user:local/0",
        .action = "agent.registered",
        .target = "agent/1",
        .decision = "allowed",
        .reason = reason,
        .request_id = "req_1",
        .source = "unix:uid=0",
    };
    return store_audit_add(conn, &entry, PLACE_NOW, &err);
}

static void check_chain(struct place *place, size_t expected)
{
    struct err_info err = ERR_INFO_INIT;
    struct store_list list;
    struct str_view previous = STR_NONE;
    uint8_t hash[AUDIT_HASH_BYTES];
    const struct audit_filter filter = { .limit = 1000 };
    place_begin(place, WORKSPACE_DEFAULT);
    assert_ok_err(err, store_audit_place(place->conn, WORKSPACE_DEFAULT, &err));
    assert_ok_err(
        err, store_audit_newer(place->conn, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    const struct audit_record *records = list.records;
    place_commit(place);
    assert_int_equal(list.count, expected);
    for (size_t i = 0; i < list.count; i++) {
        assert_int_equal(records[i].sequence, i + 1); /* no gap */
        audit_chain_hash(previous, records[i].sequence, str_of(records[i].record), hash);
        assert_int_equal(records[i].hash.len, sizeof(hash));
        assert_memory_equal(records[i].hash.ptr, hash, sizeof(hash));
        previous = records[i].hash;
    }
}

static void test_the_chain_holds(void **state)
{
    struct place *place = place_of(state);
    for (int i = 0; i < 3; i++) {
        place_begin(place, WORKSPACE_DEFAULT);
        assert_ok(add_audit(place->conn, "quotes \" and \x01"));
        if (i == 1) {
            sql_rollback(place->conn); /* an effect that did not happen leaves no gap */
        } else {
            place_commit(place);
        }
    }
    check_chain(place, 2);
    place_script(place, "UPDATE audit SET record = '{}' WHERE sequence = 1 AND workspace_id = 1");
    struct err_info err = ERR_INFO_INIT;
    struct store_list list;
    uint8_t hash[AUDIT_HASH_BYTES];
    const struct audit_filter filter = { .limit = 9 };
    place_begin(place, WORKSPACE_DEFAULT);
    assert_ok(
        store_audit_newer(place->conn, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    const struct audit_record *records = list.records;
    place_commit(place);
    audit_chain_hash(STR_NONE, 1, str_of(records[0].record), hash);
    assert_memory_not_equal(records[0].hash.ptr, hash, sizeof(hash)); /* an edit shows */
}

/* The longest error text of an agent must not keep its command from ending. */
static void test_long_reasons_are_cut(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct store_list list;
    char reason[4 * 4096 + 1] = "";
    for (size_t i = 0; i < 4096; i++) {
        memcpy(reason + 4 * i, "\xf0\x9f\x90\x80", 4);
    }
    reason[4 * 4096] = '\0';
    place_begin(place, WORKSPACE_DEFAULT);
    assert_ok(add_audit(place->conn, reason));
    memset(reason, 1, 4096);
    assert_ok(add_audit(place->conn, reason));
    place_commit(place);
    check_chain(place, 2);
    const struct audit_filter filter = { .end = INT64_MAX, .limit = 9 };
    place_begin(place, WORKSPACE_DEFAULT);
    assert_ok(store_audit_list(place->conn, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    const struct audit_record *records = list.records;
    place_commit(place);
    assert_int_equal(list.count, 2);
    assert_true(str_is_utf8(str_of(records[1].reason), NULL));
    assert_int_equal(strlen(records[1].reason), 1024);
}

/* A record that is not committed keeps nobody, and none is in a list before it has its place. */
static void test_records_arrive_beside_each_other(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct store_list list;
    int64_t unplaced[STORE_AUDIT_UNPLACED_MAX];
    size_t count = 0;
    struct sql_conn *other = place_connect(place);
    place_begin(place, WORKSPACE_DEFAULT);
    assert_ok(add_audit(place->conn, "arrived first, committed last"));
    assert_ok_err(err, store_audit_place(place->conn, PLACE_OTHER, &err)); /* and is on its way */
    assert_ok_err(err, sql_begin(other, WORKSPACE_DEFAULT, &err));
    assert_ok(add_audit(other, "arrived second"));
    assert_ok_err(err, sql_commit(other, &err));
    const struct audit_filter filter = { .end = INT64_MAX, .limit = 9 };
    assert_ok_err(err, sql_begin(other, SQL_ALL_WORKSPACES, &err));
    assert_ok(store_audit_list(other, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    assert_int_equal(list.count, 0);
    assert_ok(store_audit_newer(other, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    assert_int_equal(list.count, 0);
    assert_ok_err(err, store_audit_unplaced(other, unplaced, &count, &err));
    assert_int_equal(count, 1);
    assert_int_equal(unplaced[0], WORKSPACE_DEFAULT);
    assert_ok_err(err, store_audit_place(other, WORKSPACE_DEFAULT, &err));
    assert_ok_err(err, sql_commit(other, &err));
    place_commit(place);
    check_chain(place, 2);
    place_begin(place, SQL_ALL_WORKSPACES);
    assert_ok_err(err, store_audit_unplaced(place->conn, unplaced, &count, &err));
    assert_int_equal(count, 0);
    assert_ok(store_audit_list(place->conn, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    const struct audit_record *records = list.records;
    assert_string_equal(records[1].reason, "arrived second");
    place_commit(place);
    sql_close(other);
}

/* While servers are replaced, one of the version before takes its places itself, in the database.
 */
static void test_a_program_of_the_version_before_goes_on(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    for (int i = 0; i < 2; i++) {
        place_begin(place, WORKSPACE_DEFAULT);
        assert_ok(add_audit(place->conn, "arrives"));
        place_commit(place);
        place_script(
            place,
            "SELECT belay_audit_add(1, 5, 'agent:1', 'agent.registered', 'agent/1', 'allowed', '', "
            "'req_2', 'unix:uid=0', '{\"of\":\"the version before\"}')");
    }
    place_begin(place, WORKSPACE_DEFAULT);
    assert_ok_err(err, store_audit_place(place->conn, WORKSPACE_DEFAULT, &err));
    place_commit(place);
    check_chain(place, 4);
}

static void test_more_than_are_placed_at_once(void **state)
{
    struct place *place = place_of(state);
    for (int i = 0; i < 3; i++) {
        place_begin(place, WORKSPACE_DEFAULT);
        for (int k = 0; k < 200; k++) {
            assert_ok(add_audit(place->conn, ""));
        }
        place_commit(place);
    }
    check_chain(place, 600);
}

struct writer {
    const struct place *place;
    bool places; /* gives places meanwhile */
    int failures;
};

static enum err_code place_arrived(struct sql_conn *conn, struct err_info *err)
{
    TRY(sql_begin(conn, WORKSPACE_DEFAULT, err));
    TRY(store_audit_place(conn, WORKSPACE_DEFAULT, err));
    return sql_commit(conn, err);
}

static void write_audits(void *context)
{
    struct writer *writer = context;
    struct sql_conn *conn = place_connect(writer->place);
    struct err_info err = ERR_INFO_INIT;
    for (int i = 0; i < 20; i++) {
        if (sql_begin(conn, WORKSPACE_DEFAULT, &err) != ERR_OK || add_audit(conn, "") != ERR_OK
            || sql_commit(conn, &err) != ERR_OK
            || (writer->places && place_arrived(conn, &err) != ERR_OK)) {
            writer->failures++;
            sql_rollback(conn);
        }
    }
    sql_close(conn);
}

static void test_writers_at_once_make_one_chain(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct thread threads[4] = { { .running = false } };
    struct writer writers[4];
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        writers[i] = (struct writer){ .place = place, .places = i % 2 == 0 };
        assert_ok_err(err, thread_start(&threads[i], "writer", write_audits, &writers[i], &err));
    }
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        thread_join(&threads[i]);
        assert_int_equal(writers[i].failures, 0);
    }
    check_chain(place, 80);
}

static void test_audit_is_filtered(void **state)
{
    struct place *place = place_of(state);
    struct err_info err = ERR_INFO_INIT;
    struct store_list list;
    place_begin(place, WORKSPACE_DEFAULT);
    for (int i = 0; i < 3; i++) {
        assert_ok(add_audit(place->conn, ""));
    }
    assert_ok(store_audit_place(place->conn, WORKSPACE_DEFAULT, &err));
    struct audit_filter filter = { .end = INT64_MAX, .limit = 9, .before = 3 };
    assert_ok(store_audit_list(place->conn, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    const struct audit_record *records = list.records;
    assert_int_equal(list.count, 2);
    assert_int_equal(records[0].sequence, 2);
    filter = (struct audit_filter){ .end = INT64_MAX, .limit = 9, .actor_prefix = STR("key:") };
    assert_ok(store_audit_list(place->conn, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    assert_int_equal(list.count, 0);
    filter = (struct audit_filter){ .end = PLACE_NOW.value, .limit = 9 };
    assert_ok(store_audit_list(place->conn, WORKSPACE_DEFAULT, &filter, place->arena, &list, &err));
    assert_int_equal(list.count, 0);
    place_commit(place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_BOTH(test_the_chain_holds),
        PLACE_BOTH(test_long_reasons_are_cut),
        PLACE_BOTH(test_more_than_are_placed_at_once),
        PLACE_BOTH(test_writers_at_once_make_one_chain),
        PLACE_BOTH(test_audit_is_filtered),
        PLACE_POSTGRES(test_records_arrive_beside_each_other),
        PLACE_POSTGRES(test_a_program_of_the_version_before_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
