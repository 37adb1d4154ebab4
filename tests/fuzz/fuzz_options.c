/* links: common_config */
/*
 * Flags and environment: the input is cut at NUL bytes; words that hold '=' also stand in the
 * environment. A secret given as a flag must never be taken, nor be repeated in the error.
 */
#include "common/base/cleanup.h"
#include "common/config/config.h"

#include <stdlib.h>

static const char *const words[] = { "all", "server", NULL };

static const struct config_option options[] = {
    { .name = "mode", .letter = 'm', .type = CONFIG_CHOICE, .choices = words, .help = "x" },
    { .name = "listen-agents", .type = CONFIG_TEXT, .max = 64, .help = "x" },
    { .name = "count", .letter = 'n', .type = CONFIG_INT, .max = 100, .help = "x" },
    { .name = "on", .letter = 'o', .type = CONFIG_BOOL, .fallback = "true", .help = "x" },
    { .name = "names", .type = CONFIG_LIST, .help = "x" },
    { .name = "wait", .type = CONFIG_DURATION, .help = "x" },
    { .name = "size", .type = CONFIG_SIZE, .help = "x" },
    { .name = "password", .letter = 'p', .type = CONFIG_TEXT, .flags = CONFIG_SECRET, .help = "x" },
};

enum {
    WORD_MAX = 64
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct config *config, int argc, char **argv)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_BUF struct buf shown = BUF_INIT(16 << 20);
    if (config_load_args(config, argc, argv, &err) != ERR_OK && err.text[0] == '\0') {
        abort();
    }
    if (config_is_set(config, "password") || config_word_count(config) >= (size_t)argc) {
        abort();
    }
    argv[argc] = NULL;
    if (config_load_env(config, argv, &err) != ERR_OK && err.text[0] == '\0') {
        abort();
    }
    config_show(config, true, &shown);
    if (!buf_ok(&shown) || !str_is_utf8(buf_view(&shown), NULL)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char program[] = "fuzz";
    char *argv[WORD_MAX + 1] = { program };
    int argc = 1;
    AUTO_FREE char *text = mem_alloc(size + 1);
    if (size > 0) {
        memcpy(text, data, size);
    }
    for (size_t at = 0; at < size && argc < WORD_MAX; at += strlen(text + at) + 1) {
        argv[argc++] = text + at;
    }
    struct config *config = config_create(options, ARRAY_LENGTH(options));
    check(config, argc, argv);
    config_destroy(config);
    return 0;
}
