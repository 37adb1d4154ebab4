/* The local view, of more sandboxes than its answer has room for. */
#include "cmd/agent/app.h"
#include "cmd/agent/status/status_socket.h"
#include "common/base/cleanup.h"
#include "common/sandbox/record.h"
#include "common/sys/file.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <sys/stat.h>

enum {
    MANY = 1000,
    FEW = 3
};

static void write_file(const char *dir, const char *name, struct str_view bytes)
{
    AUTO_FREE char *path = mem_printf("%s/%s", dir, name);
    assert_ok(file_write_atomic(path, bytes.ptr, bytes.len, 0600, NULL));
}

/* A sandbox that has ended, as its shim leaves it. */
static void make_ended(const char *root, unsigned number)
{
    AUTO_FREE char *id = mem_printf("sbx-%040u", number);
    AUTO_FREE char *dir = mem_printf("%s/" SANDBOXES_RUNS "/%s", root, id);
    AUTO_BUF struct buf spec = BUF_INIT(MESSAGE_BYTES_MAX);
    AUTO_BUF struct buf exit = BUF_INIT(RECORD_BYTES_MAX);
    struct message message = { .type = MESSAGE_SPEC };
    message.spec.driver = SANDBOX_DRIVER_NATIVE;
    message.spec.generation = 1;
    message.spec.uid_base = SANDBOX_UID_BASE + (uint64_t)number * SANDBOX_UID_COUNT;
    message.spec.id = str_of(id);
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_ok(message_encode(&message, &spec, NULL));
    write_file(dir, SANDBOX_FILE_SPEC, buf_view(&spec));
    record_open(&exit);
    record_put_number(&exit, "generation", 1);
    record_close(&exit);
    write_file(dir, SANDBOX_FILE_EXIT, buf_view(&exit));
}

static unsigned count_of(const struct buf *buf, const char *word)
{
    unsigned count = 0;
    for (const char *at = buf_text(buf); (at = strstr(at, word)) != NULL; at++) {
        count++;
    }
    return count;
}

static void assert_shown(const char *root, unsigned all, unsigned shown)
{
    struct err_info err = ERR_INFO_INIT;
    struct loop *loop = NULL;
    struct sandboxes *sandboxes = NULL;
    AUTO_BUF struct buf json = BUF_INIT(STATUS_BYTES_MAX / 2);
    AUTO_BUF struct buf text = BUF_INIT(STATUS_BYTES_MAX / 2);
    AUTO_FREE char *count = mem_printf("\"count\":%u}", all);
    assert_ok(loop_create(clock_system(), &loop, NULL));
    const struct sandboxes_options options = {
        .loop = loop, .clock = clock_system(), .dir = root, .shim_path = "/nonexistent"
    };
    assert_ok_err(err, sandboxes_open(&options, &sandboxes, &err));
    app_write_sandboxes(sandboxes, &json, &text);
    assert_true(buf_ok(&json));
    assert_true(buf_ok(&text));
    assert_int_equal(count_of(&json, "\"id\":\"sbx-"), shown);
    assert_int_equal(count_of(&text, "Sandbox    sbx-"), shown);
    assert_int_equal(count_of(&json, count), 1);
    assert_int_equal(count_of(&text, "of them above"), all > shown ? 1 : 0);
    sandboxes_close(sandboxes);
    loop_destroy(loop);
}

static void test_the_view_of_many_sandboxes_fits_and_counts_them_all(void **unused)
{
    (void)unused;
    char *dir = test_dir_create();
    AUTO_FREE char *root = mem_printf("%s/sandboxes", dir);
    AUTO_FREE char *runs = mem_printf("%s/" SANDBOXES_RUNS, root);
    assert_int_equal(mkdir(root, 0700), 0);
    assert_int_equal(mkdir(runs, 0700), 0);
    for (unsigned i = 0; i < FEW; i++) {
        make_ended(root, i);
    }
    assert_shown(root, FEW, FEW);
    for (unsigned i = FEW; i < MANY; i++) {
        make_ended(root, i);
    }
    assert_shown(root, MANY, 200);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_view_of_many_sandboxes_fits_and_counts_them_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
