/* links: common_config */
/*
 * YAML into options of every type. Beyond not crashing: what was accepted must be shown, must not
 * show the secret, and must be accepted again with the same result.
 */
#include "common/base/cleanup.h"
#include "common/config/config.h"

#include <stdlib.h>

static const char *const words[] = { "all", "server", NULL };

static const struct config_option options[] = {
    { .name = "mode", .type = CONFIG_CHOICE, .fallback = "all", .choices = words, .help = "x" },
    { .name = "listen-agents", .type = CONFIG_TEXT, .max = 64, .help = "x" },
    { .name = "count", .type = CONFIG_INT, .max = 100, .help = "x" },
    { .name = "on", .type = CONFIG_BOOL, .help = "x" },
    { .name = "names", .type = CONFIG_LIST, .help = "x" },
    { .name = "http.listen", .type = CONFIG_TEXT, .help = "x" },
    { .name = "http.tls.key-file", .type = CONFIG_PATH, .help = "x" },
    { .name = "wait", .type = CONFIG_DURATION, .help = "x" },
    { .name = "size", .type = CONFIG_SIZE, .help = "x" },
    { .name = "password",
      .type = CONFIG_TEXT,
      .flags = CONFIG_SECRET,
      .min = 8,
      .max = 64,
      .help = "x" },
    { .name = "once", .type = CONFIG_BOOL, .flags = CONFIG_FLAG_ONLY, .help = "x" },
};

enum {
    SHOWN_MAX_BYTES = 64 << 20
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum err_code load(struct str_view text, bool json, struct buf *shown)
{
    struct err_info err = ERR_INFO_INIT;
    struct config *config = config_create(options, ARRAY_LENGTH(options));
    enum err_code code = config_load_yaml(config, "f", text, &err);
    if (code == ERR_OK) {
        config_show(config, json, shown);
    } else if (err.code == ERR_OK || err.text[0] == '\0') {
        abort();
    }
    config_destroy(config);
    return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str_view text = str_from((const char *)data, size);
    AUTO_BUF struct buf first = BUF_INIT(SHOWN_MAX_BYTES);
    AUTO_BUF struct buf second = BUF_INIT(SHOWN_MAX_BYTES);
    AUTO_BUF struct buf plain = BUF_INIT(SHOWN_MAX_BYTES);
    enum err_code code = load(text, true, &first);
    if (load(text, true, &second) != code || load(text, false, &plain) != code) {
        abort();
    }
    if (!buf_ok(&first) || !str_equal(buf_view(&first), buf_view(&second))) {
        abort();
    }
    if (!str_is_utf8(buf_view(&first), NULL)) {
        abort();
    }
    return 0;
}
