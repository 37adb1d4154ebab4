#include "cmd/agent/state/state.h"
#include "common/base/cleanup.h"
#include "common/sys/file.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static struct state_enrollment sample(void)
{
    return (struct state_enrollment){ .target = "edge.example:8443",
                                      .server_id = "srv_1",
                                      .name = "pump 7",
                                      .agent_id = 42,
                                      .command_pubkey = { 1, 2, 3 },
                                      .has_ca = true };
}

static struct state *open_in(const char *dir)
{
    struct err_info err = ERR_INFO_INIT;
    struct state *state = NULL;
    AUTO_FREE char *path = mem_printf("%s/state", dir);
    assert_ok_err(err, state_open(path, &state, &err));
    return state;
}

static void test_keys_are_made_once(void **unused)
{
    (void)unused;
    char *dir = test_dir_create();
    uint8_t identity[KEY_PUBLIC_BYTES];
    uint8_t encryption[KEY_PUBLIC_BYTES];
    struct state *state = open_in(dir);
    assert_ok(state_load_keys(state, NULL));
    memcpy(identity, key_sign_public(state_identity(state)), sizeof(identity));
    memcpy(encryption, key_box_public(state_encryption(state)), sizeof(encryption));
    state_close(state);
    state = open_in(dir);
    assert_ok(state_load_keys(state, NULL));
    assert_memory_equal(identity, key_sign_public(state_identity(state)), sizeof(identity));
    assert_memory_equal(encryption, key_box_public(state_encryption(state)), sizeof(encryption));
    state_close(state);
    test_dir_remove(dir);
}

static void test_enrollment_round_trip(void **unused)
{
    (void)unused;
    char *dir = test_dir_create();
    struct state *state = open_in(dir);
    struct state_enrollment out;
    struct state_enrollment in = sample();
    assert_code(ERR_NOT_FOUND, state_load_enrollment(state, &out, NULL));
    assert_ok(state_save_enrollment(state, &in, NULL));
    assert_ok(state_load_enrollment(state, &out, NULL));
    assert_string_equal(out.name, "pump 7");
    assert_int_equal(out.agent_id, 42);
    assert_true(out.has_ca);
    memcpy(in.name, "x\nca none", 10);
    assert_code(ERR_INVALID, state_save_enrollment(state, &in, NULL));
    assert_ok(state_load_enrollment(state, &out, NULL));
    assert_string_equal(out.name, "pump 7");
    assert_code(ERR_CORRUPT, state_parse_enrollment(STR("target a:1\n"), &out, NULL));
    assert_code(ERR_CORRUPT, state_parse_enrollment(STR("what ever\n"), &out, NULL));
    state_close(state);
    test_dir_remove(dir);
}

static void test_one_process_at_a_time(void **unused)
{
    (void)unused;
    char *dir = test_dir_create();
    struct state *first = open_in(dir);
    struct state *second = NULL;
    AUTO_FREE char *path = mem_printf("%s/state", dir);
    assert_code(ERR_BUSY, state_open(path, &second, NULL));
    assert_ok(state_open_shared(path, &second, NULL));
    struct state_enrollment in = sample();
    assert_code(ERR_DENIED, state_save_enrollment(second, &in, NULL));
    state_close(second);
    state_close(first);
    assert_ok(state_open(path, &second, NULL));
    state_close(second);
    test_dir_remove(dir);
}

static void test_loose_modes_and_links_are_refused(void **unused)
{
    (void)unused;
    char *dir = test_dir_create();
    struct state *state = open_in(dir);
    struct err_info err = ERR_INFO_INIT;
    AUTO_FREE char *path = mem_printf("%s/state", dir);
    AUTO_FREE char *key = mem_printf("%s/state/identity.key", dir);
    AUTO_FREE char *elsewhere = mem_printf("%s/elsewhere.key", dir);
    assert_ok(state_load_keys(state, NULL));
    state_close(state);
    assert_int_equal(chmod(key, 0640), 0);
    state = open_in(dir);
    assert_code(ERR_DENIED, state_load_keys(state, &err));
    assert_non_null(strstr(err.text, "chmod 600"));
    state_close(state);
    assert_int_equal(chmod(key, 0600), 0);
    assert_int_equal(rename(key, elsewhere), 0);
    assert_int_equal(symlink(elsewhere, key), 0);
    state = open_in(dir);
    assert_code(ERR_DENIED, state_load_keys(state, &err));
    assert_non_null(strstr(err.text, "symbolic link"));
    state_close(state);
    assert_int_equal(unlink(key), 0);
    assert_int_equal(mkfifo(key, 0600), 0);
    state = open_in(dir);
    assert_code(ERR_INVALID, state_load_keys(state, &err));
    assert_non_null(strstr(err.text, "not a regular file"));
    state_close(state);
    assert_int_equal(rename(elsewhere, key), 0);
    if (geteuid() == 0) { /* nobody else can give files away */
        assert_int_equal(chown(key, 1, 1), 0);
        state = open_in(dir);
        assert_code(ERR_DENIED, state_load_keys(state, &err));
        assert_non_null(strstr(err.text, "belongs to uid 1"));
        state_close(state);
    }
    assert_int_equal(chmod(path, 0755), 0);
    assert_code(ERR_DENIED, state_open(path, &state, &err));
    assert_non_null(strstr(err.text, "chmod 700"));
    assert_code(ERR_DENIED, state_open_shared(path, &state, &err));
    assert_non_null(strstr(err.text, "chmod 700"));
    test_dir_remove(dir);
}

static void test_damaged_keys_are_not_replaced(void **unused)
{
    (void)unused;
    char *dir = test_dir_create();
    struct state *state = open_in(dir);
    AUTO_FREE char *key = mem_printf("%s/state/identity.key", dir);
    assert_ok(file_write_atomic(key, "short", 5, 0600, NULL));
    assert_code(ERR_CORRUPT, state_load_keys(state, NULL));
    state_close(state);
    test_dir_remove(dir);
}

static void test_a_new_api_key_takes_the_old_ones_place(void **unused)
{
    (void)unused;
    char *dir = test_dir_create();
    struct state *state = open_in(dir);
    AUTO_SECRET struct secret *old = secret_create("bla_old", 7);
    AUTO_SECRET struct secret *new = secret_create("bla_new", 7);
    AUTO_SECRET struct secret *now = NULL;
    AUTO_SECRET struct secret *gone = NULL;
    assert_code(ERR_NOT_FOUND, state_load_api_key(state, false, &now, NULL));
    assert_ok(state_save_api_key(state, false, old, NULL));
    assert_ok(state_save_api_key(state, true, new, NULL));
    assert_ok(state_promote_api_key(state, NULL));
    assert_ok(state_load_api_key(state, false, &now, NULL));
    assert_true(secret_equal(secret_peek(now), STR("bla_new")));
    assert_code(ERR_NOT_FOUND, state_load_api_key(state, true, &gone, NULL));
    state_close(state);
    test_dir_remove(dir);
}

static void test_command_sequence_and_erase(void **unused)
{
    (void)unused;
    char *dir = test_dir_create();
    struct state *state = open_in(dir);
    AUTO_FREE char *sequence_file = mem_printf("%s/state/command-sequence", dir);
    AUTO_FREE char *foreign = mem_printf("%s/state/notes.txt", dir);
    uint64_t sequence = 9;
    assert_ok(state_load_command_sequence(state, &sequence, NULL));
    assert_int_equal(sequence, 0);
    assert_ok(state_save_command_sequence(state, 77, NULL));
    assert_ok(state_load_command_sequence(state, &sequence, NULL));
    assert_int_equal(sequence, 77);
    assert_ok(file_write_atomic(sequence_file, "78\n", 3, 0600, NULL)); /* as it was written once */
    assert_ok(state_load_command_sequence(state, &sequence, NULL));
    assert_int_equal(sequence, 78);
    for (uint64_t next = 79; next < 82; next++) {
        assert_ok(state_save_command_sequence(state, next, NULL));
        assert_ok(state_load_command_sequence(state, &sequence, NULL));
        assert_int_equal(sequence, next);
    }
    assert_ok(state_save_command_sequence(state, UINT64_MAX, NULL));
    assert_ok(state_load_command_sequence(state, &sequence, NULL));
    assert_true(sequence == UINT64_MAX);
    assert_ok(file_write_atomic(sequence_file, "7x", 2, 0600, NULL));
    assert_code(ERR_CORRUPT, state_load_command_sequence(state, &sequence, NULL));
    assert_ok(state_load_keys(state, NULL));
    assert_ok(file_write_atomic(foreign, "mine", 4, 0600, NULL));
    assert_ok(state_erase(state, NULL));
    assert_false(file_exists(sequence_file));
    assert_true(file_exists(foreign));
    state_close(state);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_are_made_once),
        cmocka_unit_test(test_enrollment_round_trip),
        cmocka_unit_test(test_one_process_at_a_time),
        cmocka_unit_test(test_loose_modes_and_links_are_refused),
        cmocka_unit_test(test_damaged_keys_are_not_replaced),
        cmocka_unit_test(test_a_new_api_key_takes_the_old_ones_place),
        cmocka_unit_test(test_command_sequence_and_erase),
    };
    int failed = crypto_start(NULL) == ERR_OK ? 0 : 1;
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
