/*
 * image import, list, remove: the store of root file systems on this machine. Works beside a
 * running agent, which sees what is there at each sandbox it makes and when it tells what it can
 * do.
 */
#include "cmd/agent/agent.h"
#include "cmd/agent/guest/loan.h"
#include "cmd/agent/image/images.h"
#include "cmd/agent/outcome.h"
#include "cmd/agent/sandbox/sandbox.h"
#include "cmd/agent/verbs.h"
#include "common/base/cleanup.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

enum {
    TEXT_BYTES = 262144
};

static bool wants_json(const struct config *config)
{
    return strcmp(config_text(config, "output"), "json") == 0;
}

static void add_json(struct buf *text, const struct image *image)
{
    char time[TIME_TEXT_BYTES];
    bool known = image->digest[0] != '\0';
    buf_append_str(text, STR("{\"name\":"));
    buf_append_json(text, str_of(image->name));
    buf_printf(text, ",\"kind\":\"%s\"", image->is_folder ? "folder" : "squashfs");
    if (known) {
        buf_append_str(text, STR(",\"digest\":"));
        buf_append_json(text, str_of(image->digest));
        buf_printf(
            text,
            ",\"bytes\":%" PRIu64 ",\"entries\":%" PRIu64 ",\"skipped\":%" PRIu64
            ",\"imported\":\"%s\"",
            image->bytes,
            image->entries,
            image->skipped,
            time_format(image->imported, time));
    }
    buf_append_char(text, '}');
}

static void add_line(struct buf *text, const struct image *image)
{
    char time[TIME_TEXT_BYTES];
    const char *kind = image->is_folder ? "folder" : "squashfs";
    if (image->digest[0] == '\0') {
        buf_printf(text, "%-24s %-9s put there by hand\n", image->name, kind);
        return;
    }
    buf_printf(
        text,
        "%-24s %-9s %12" PRIu64 " bytes  %s  %s\n",
        image->name,
        kind,
        image->bytes,
        time_format(image->imported, time),
        image->digest);
}

static int list(const struct config *config, const char *store)
{
    size_t count = 0;
    struct err_info err = ERR_INFO_INIT;
    bool json = wants_json(config);
    AUTO_BUF struct buf text = BUF_INIT(TEXT_BYTES);
    AUTO_FREE struct image *images = mem_alloc_array(IMAGE_COUNT_MAX, sizeof(*images));
    enum err_code code = images_list(store, images, IMAGE_COUNT_MAX, &count, &err);
    if (code != ERR_OK) {
        return outcome_fail(code, &err);
    }
    for (size_t i = 0; i < count; i++) {
        if (json) {
            buf_append_char(&text, i == 0 ? '[' : ',');
            add_json(&text, &images[i]);
        } else {
            add_line(&text, &images[i]);
        }
    }
    if (json) {
        buf_append_str(&text, count == 0 ? STR("[]\n") : STR("]\n"));
    } else if (count == 0) {
        (void)fprintf(stderr, "belay-agent: no images; image import NAME FILE adds one\n");
    }
    (void)fputs(buf_text(&text), stdout);
    return AGENT_EXIT_OK;
}

static enum err_code make_folders(const struct config *config, struct err_info *err)
{
    const char *state = config_text(config, "state-dir");
    AUTO_FREE char *sandboxes = outcome_sandbox_dir(config);
    TRY(file_make_dir(state, 0700, err));
    return file_make_dir(sandboxes, 0700, err);
}

static int import(
    const struct config *config, const char *store, const char *name, const char *path)
{
    struct image image;
    struct err_info err = ERR_INFO_INIT;
    AUTO_BUF struct buf text = BUF_INIT(TEXT_BYTES);
    AUTO_FD int file = strcmp(path, "-") == 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 && strcmp(path, "-") != 0) {
        ERR_SET_ERRNO(&err, ERR_NOT_FOUND, errno, "%s", path);
        return outcome_fail(ERR_NOT_FOUND, &err);
    }
    struct image_import wanted = { .store = store,
                                   .name = name,
                                   .fd = file < 0 ? 0 : file,
                                   .bytes_max = (uint64_t)config_int(config, "image-max-bytes"),
                                   .clock = clock_system() };
    enum err_code code = make_folders(config, &err);
    if (code == ERR_OK) {
        code = images_import(&wanted, &image, &err);
    }
    if (code != ERR_OK) {
        return outcome_fail(code, &err);
    }
    if (wants_json(config)) {
        add_json(&text, &image);
        buf_append_char(&text, '\n');
    } else {
        add_line(&text, &image);
    }
    (void)fputs(buf_text(&text), stdout);
    if (image.skipped > 0) {
        (void)fprintf(
            stderr, "belay-agent: %" PRIu64 " devices and the like were left out\n", image.skipped);
    }
    return AGENT_EXIT_OK;
}

/* What has been lent uses the same store. */
static int drop(const struct config *config, const char *store, const char *name)
{
    struct err_info err = ERR_INFO_INIT;
    const char *runs[LOAN_COUNT_MAX + 2] = { NULL };
    char *made[LOAN_COUNT_MAX + 1];
    AUTO_FREE char *sandboxes = outcome_sandbox_dir(config);
    AUTO_FREE char *guests = mem_printf("%s/" STATE_GUESTS, config_text(config, "state-dir"));
    made[0] = mem_printf("%s/" SANDBOXES_RUNS, sandboxes);
    for (unsigned i = 1; i <= LOAN_COUNT_MAX; i++) {
        made[i] = loan_path(guests, i, "/" SANDBOXES_DIR "/" SANDBOXES_RUNS);
    }
    memcpy(runs, made, sizeof(made));
    enum err_code code = images_remove(store, runs, name, &err);
    for (size_t i = 0; i < ARRAY_LENGTH(made); i++) {
        mem_free(made[i]);
    }
    return code == ERR_OK ? AGENT_EXIT_OK : outcome_fail(code, &err);
}

int verb_image(const struct config *config)
{
    size_t words = config_word_count(config);
    const char *what = words < 2 ? "" : config_word(config, 1);
    AUTO_FREE char *store = outcome_image_dir(config);
    if (strcmp(what, "list") == 0 && words == 2) {
        return list(config, store);
    }
    if (strcmp(what, "import") == 0 && words == 4) {
        return import(config, store, config_word(config, 2), config_word(config, 3));
    }
    if (strcmp(what, "remove") == 0 && words == 3) {
        return drop(config, store, config_word(config, 2));
    }
    (void)fprintf(
        stderr, "belay-agent: image import NAME FILE|-, image list, or image remove NAME\n");
    return AGENT_EXIT_USAGE;
}
