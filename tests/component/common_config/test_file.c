#include "common/base/cleanup.h"
#include "common/config/config.h"
#include "common/sys/file.h"
#include "tests/support/test.h"

#include <sys/stat.h>
#include <unistd.h>

static const struct config_option options[] = {
    { .name = "count", .type = CONFIG_INT, .help = "x" },
    { .name = "password", .type = CONFIG_TEXT, .flags = CONFIG_SECRET, .help = "x" },
};

static void free_config(struct config **config)
{
    config_destroy(*config);
}

static enum err_code load(const char *path, int64_t *ret_count, struct err_info *err)
{
    AUTO(free_config) struct config *config = config_create(options, 2);
    TRY(config_load_file(config, path, err));
    *ret_count = config_int(config, "count");
    AUTO_FREE char *origin = mem_printf("file %s:1:8", path);
    assert_string_equal(config_origin(config, "count"), origin);
    return ERR_OK;
}

static void test_file_is_read_and_named(void **state)
{
    (void)state;
    struct err_info err = ERR_INFO_INIT;
    int64_t count = 0;
    char *dir = test_dir_create();
    AUTO_FREE char *path = mem_printf("%s/belay.yaml", dir);
    AUTO_FREE char *link = mem_printf("%s/link.yaml", dir);
    assert_code(ERR_NOT_FOUND, load(path, &count, &err));
    assert_non_null(strstr(err.text, "belay.yaml"));
    assert_ok(file_write_atomic(path, "count: 5\n", 9, 0644, NULL));
    assert_ok_err(err, load(path, &count, &err));
    assert_int_equal(count, 5);
    assert_int_equal(symlink("belay.yaml", link), 0); /* as a container platform mounts it */
    assert_ok_err(err, load(link, &count, &err));
    assert_code(ERR_INVALID, load(dir, &count, &err));
    test_dir_remove(dir);
}

static void test_file_with_a_secret_must_not_be_open_to_all(void **state)
{
    (void)state;
    struct err_info err = ERR_INFO_INIT;
    int64_t count = 0;
    char *dir = test_dir_create();
    AUTO_FREE char *path = mem_printf("%s/belay.yaml", dir);
    static const char text[] = "count: 5\npassword: hunter2\n";
    assert_ok(file_write_atomic(path, text, sizeof(text) - 1, 0644, NULL));
    assert_code(ERR_DENIED, load(path, &count, &err));
    assert_non_null(strstr(err.text, "chmod o="));
    assert_null(strstr(err.text, "hunter2"));
    assert_int_equal(chmod(path, 0640), 0);
    assert_ok_err(err, load(path, &count, &err));
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file_is_read_and_named),
        cmocka_unit_test(test_file_with_a_secret_must_not_be_open_to_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
