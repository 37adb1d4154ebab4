/*
 * Options from YAML: a strict reader over libyaml's events. What makes YAML surprising is refused
 * (aliases, anchors, tags, merge keys, several documents, null), and the option's type alone
 * decides what a scalar means, so `NO` and `012` stay what they are where text is asked for.
 */
#include "common/base/map.h"
#include "common/config/config_private.h"
#include "common/sys/file.h"

#include <yaml.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct yaml_reader {
    struct config *config;
    const char *name; /* of the file, in errors and origins */
    yaml_parser_t parser;
    struct map *seen;                /* full keys of this document */
    struct buf prefix;               /* "http." inside the mapping http */
    size_t starts[CONFIG_DEPTH_MAX]; /* length of prefix at each open mapping */
    size_t depth;
    bool has_secret;
    struct err_info *err;
};

enum {
    KEY_MAX_BYTES = 512
};

#define FAIL_AT(reader, mark, ...) \
    (ERR_SET((reader)->err, ERR_INVALID, __VA_ARGS__), blame((reader), (mark)))

static enum err_code blame(struct yaml_reader *reader, yaml_mark_t mark)
{
    err_prefix(reader->err, "%s:%zu:%zu", reader->name, mark.line + 1, mark.column + 1);
    return ERR_INVALID;
}

static enum err_code next_event(struct yaml_reader *reader, yaml_event_t *event)
{
    if (yaml_parser_parse(&reader->parser, event) != 0) {
        return ERR_OK;
    }
    const yaml_parser_t *parser = &reader->parser;
    if (parser->error == YAML_MEMORY_ERROR) {
        return ERR_SET(reader->err, ERR_NOMEM, "%s: out of memory", reader->name);
    }
    yaml_mark_t mark = parser->error == YAML_READER_ERROR ? parser->mark : parser->problem_mark;
    return FAIL_AT(
        reader, mark, "not YAML: %s", parser->problem == NULL ? "unknown" : parser->problem);
}

static enum err_code refuse_decoration(struct yaml_reader *reader, const yaml_event_t *event)
{
    const yaml_char_t *anchor = NULL;
    const yaml_char_t *tag = NULL;
    if (event->type == YAML_ALIAS_EVENT) {
        return FAIL_AT(reader, event->start_mark, "aliases (*name) are not allowed");
    }
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    }
    if (anchor != NULL) {
        return FAIL_AT(reader, event->start_mark, "anchors (&name) are not allowed");
    }
    if (tag != NULL) {
        return FAIL_AT(reader, event->start_mark, "tags (!name) are not allowed");
    }
    return ERR_OK;
}

/* The next event, free of anchors and tags; the caller deletes it also after an error. */
static enum err_code next_plain(struct yaml_reader *reader, yaml_event_t *event)
{
    TRY(next_event(reader, event));
    return refuse_decoration(reader, event);
}

#define AUTO_EVENT AUTO(yaml_event_delete)

static struct str_view scalar_of(const yaml_event_t *event)
{
    return str_from((const char *)event->data.scalar.value, event->data.scalar.length);
}

static bool is_null(const yaml_event_t *event)
{
    struct str_view text = scalar_of(event);
    return event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE
        && (text.len == 0 || str_equal(text, STR("~")) || str_equal_fold(text, STR("null")));
}

/* Whether some option lies below the mapping `path`. */
static bool is_group(const struct yaml_reader *reader, struct str_view path)
{
    char key[CONFIG_NAME_BYTES];
    for (size_t i = 0; i < reader->config->count; i++) {
        struct str_view name = str_of(config_key_name(&reader->config->options[i], key));
        if (name.len > path.len && name.ptr[path.len] == '.' && str_has_prefix(name, path)) {
            return true;
        }
    }
    return false;
}

static const struct config_option *find_key(const struct yaml_reader *reader, struct str_view path)
{
    char key[CONFIG_NAME_BYTES];
    for (size_t i = 0; i < reader->config->count; i++) {
        const struct config_option *option = &reader->config->options[i];
        if (str_equal(str_of(config_key_name(option, key)), path)) {
            return option;
        }
    }
    return NULL;
}

static enum err_code refuse_key(struct yaml_reader *reader, struct str_view key, yaml_mark_t mark)
{
    struct str_view prefix = buf_view(&reader->prefix);
    struct config_hint hint = { .text = key };
    char name[CONFIG_NAME_BYTES];
    for (size_t i = 0; i < reader->config->count; i++) {
        struct str_view full = str_of(config_key_name(&reader->config->options[i], name));
        struct str_view head = STR_NONE;
        struct str_view rest = STR_NONE;
        if (!str_has_prefix(full, prefix)) {
            continue;
        }
        full = str_from(full.ptr + prefix.len, full.len - prefix.len);
        config_hint_offer(&hint, str_cut(full, '.', &head, &rest) ? head : full);
    }
    char suffix[CONFIG_EXPECTATION_BYTES];
    AUTO_BUF struct buf shown = BUF_INIT(512);
    buf_append_json(&shown, key.len > 60 ? str_from(key.ptr, 60) : key);
    return FAIL_AT(
        reader, mark, "unknown key %s%s", buf_text(&shown), config_hint_text(&hint, "", suffix));
}

static enum err_code set_items(
    struct yaml_reader *reader,
    const struct config_option *option,
    const struct str_view *items,
    size_t count,
    yaml_mark_t mark)
{
    char key[CONFIG_NAME_BYTES];
    (void)config_key_name(option, key);
    AUTO_FREE char *label =
        mem_printf("%s:%zu:%zu: %s", reader->name, mark.line + 1, mark.column + 1, key);
    AUTO_FREE char *origin =
        mem_printf("file %s:%zu:%zu", reader->name, mark.line + 1, mark.column + 1);
    const struct config_place place = { CONFIG_FROM_FILE, label, origin, false };
    reader->has_secret = reader->has_secret || (option->flags & CONFIG_SECRET) != 0;
    return config_set(reader->config, option, items, count, &place, reader->err);
}

static enum err_code refuse_null(struct yaml_reader *reader, const char *key, yaml_mark_t mark)
{
    return FAIL_AT(
        reader,
        mark,
        "%s: has no value; leave the key out, or quote \"null\" to mean the word",
        key);
}

/* The items of a sequence, copied out of their events. */
struct item_list {
    struct str_view *views; /* into copies */
    char **copies;
    size_t count;
};

static void add_item(struct item_list *list, struct str_view text)
{
    size_t count = list->count + 1;
    list->copies = mem_realloc(list->copies, count * sizeof(*list->copies));
    list->views = mem_realloc(list->views, count * sizeof(*list->views));
    list->copies[list->count] = mem_dup(text.ptr, text.len + 1);
    list->views[list->count] = str_from(list->copies[list->count], text.len);
    list->count = count;
}

static void item_list_deinit(struct item_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        explicit_bzero(list->copies[i], list->views[i].len); /* it may be a secret */
        mem_free(list->copies[i]);
    }
    mem_free(list->copies);
    mem_free(list->views);
}

static enum err_code read_item(
    struct yaml_reader *reader, const char *key, struct item_list *list, bool *ret_done)
{
    AUTO_EVENT yaml_event_t event = { 0 };
    TRY(next_plain(reader, &event));
    *ret_done = event.type == YAML_SEQUENCE_END_EVENT;
    if (*ret_done) {
        return ERR_OK;
    }
    if (event.type != YAML_SCALAR_EVENT) {
        return FAIL_AT(
            reader, event.start_mark, "%s: a list holds texts, not lists or mappings", key);
    }
    if (is_null(&event)) {
        return refuse_null(reader, key, event.start_mark);
    }
    if (list->count == CONFIG_ITEM_MAX) {
        return FAIL_AT(reader, event.start_mark, "%s: more than %d items", key, CONFIG_ITEM_MAX);
    }
    add_item(list, scalar_of(&event));
    return ERR_OK;
}

static enum err_code read_list(
    struct yaml_reader *reader, const struct config_option *option, yaml_mark_t mark)
{
    AUTO(item_list_deinit) struct item_list list = { 0 };
    char key[CONFIG_NAME_BYTES];
    (void)config_key_name(option, key);
    for (bool done = false; !done;) {
        TRY(read_item(reader, key, &list, &done));
    }
    return set_items(reader, option, list.views, list.count, mark);
}

static enum err_code read_option(struct yaml_reader *reader, const struct config_option *option)
{
    AUTO_EVENT yaml_event_t event = { 0 };
    char key[CONFIG_NAME_BYTES];
    (void)config_key_name(option, key);
    TRY(next_plain(reader, &event));
    if (option->type == CONFIG_LIST && event.type == YAML_SEQUENCE_START_EVENT) {
        return read_list(reader, option, event.start_mark);
    }
    if (event.type == YAML_SCALAR_EVENT && is_null(&event)) {
        return refuse_null(reader, key, event.start_mark);
    }
    if (option->type == CONFIG_LIST) {
        return FAIL_AT(reader, event.start_mark, "%s: expects a list: [one, two]", key);
    }
    if (event.type != YAML_SCALAR_EVENT) {
        return FAIL_AT(
            reader, event.start_mark, "%s: expects one value, not a list or a mapping", key);
    }
    struct str_view text = scalar_of(&event);
    return set_items(reader, option, &text, 1, event.start_mark);
}

static enum err_code open_group(struct yaml_reader *reader, struct str_view key)
{
    AUTO_EVENT yaml_event_t event = { 0 };
    TRY(next_plain(reader, &event));
    if (event.type != YAML_MAPPING_START_EVENT) {
        return FAIL_AT(
            reader, event.start_mark, "%.*s: expects a mapping of options", STR_ARG(key));
    }
    if (reader->depth == CONFIG_DEPTH_MAX) {
        return FAIL_AT(reader, event.start_mark, "nested deeper than %d", CONFIG_DEPTH_MAX);
    }
    reader->starts[reader->depth++] = reader->prefix.len;
    buf_append_str(&reader->prefix, key);
    buf_append_char(&reader->prefix, '.');
    return ERR_OK;
}

static enum err_code read_key(struct yaml_reader *reader, const yaml_event_t *event)
{
    if (event->type != YAML_SCALAR_EVENT) {
        return FAIL_AT(reader, event->start_mark, "a key is one word");
    }
    struct str_view key = scalar_of(event);
    AUTO_BUF struct buf path = BUF_INIT(KEY_MAX_BYTES);
    buf_append_str(&path, buf_view(&reader->prefix));
    buf_append_str(&path, key);
    bool plain = buf_ok(&path) && key.len > 0 && memchr(key.ptr, '.', key.len) == NULL;
    const struct config_option *option = plain ? find_key(reader, buf_view(&path)) : NULL;
    if (option == NULL && (!plain || !is_group(reader, buf_view(&path)))) {
        return refuse_key(reader, key, event->start_mark);
    }
    if (map_put(reader->seen, buf_view(&path), reader) != NULL) {
        return FAIL_AT(reader, event->start_mark, "%s: given twice", buf_text(&path));
    }
    if (option == NULL) {
        return open_group(reader, key);
    }
    if ((option->flags & CONFIG_FLAG_ONLY) != 0) {
        return FAIL_AT(
            reader,
            event->start_mark,
            "%s: only the flag --%s is known",
            buf_text(&path),
            option->name);
    }
    return read_option(reader, option);
}

/* The entries of the outermost mapping and of every one below it, without recursion. */
static enum err_code read_entries(struct yaml_reader *reader)
{
    reader->starts[0] = 0;
    reader->depth = 1;
    while (reader->depth > 0) {
        AUTO_EVENT yaml_event_t event = { 0 };
        TRY(next_plain(reader, &event));
        if (event.type == YAML_MAPPING_END_EVENT) {
            reader->depth--;
            size_t keep = reader->starts[reader->depth];
            if (reader->prefix.data != NULL) {
                reader->prefix.len = keep;
                reader->prefix.data[keep] = '\0';
            }
        } else {
            TRY(read_key(reader, &event));
        }
    }
    return ERR_OK;
}

static enum err_code read_document(struct yaml_reader *reader)
{
    AUTO_EVENT yaml_event_t event = { 0 };
    TRY(next_plain(reader, &event));
    if (event.type == YAML_SCALAR_EVENT && is_null(&event)) {
        return ERR_OK; /* nothing but comments after "---" */
    }
    if (event.type != YAML_MAPPING_START_EVENT) {
        return FAIL_AT(reader, event.start_mark, "expects a mapping of options: \"name: value\"");
    }
    return read_entries(reader);
}

static enum err_code expect_event(
    struct yaml_reader *reader, yaml_event_type_t type, const char *otherwise)
{
    AUTO_EVENT yaml_event_t event = { 0 };
    TRY(next_event(reader, &event));
    return event.type == type ? ERR_OK : FAIL_AT(reader, event.start_mark, "%s", otherwise);
}

static enum err_code read_stream(struct yaml_reader *reader)
{
    AUTO_EVENT yaml_event_t event = { 0 };
    TRY(expect_event(reader, YAML_STREAM_START_EVENT, "not a YAML stream"));
    TRY(next_event(reader, &event));
    if (event.type == YAML_STREAM_END_EVENT) {
        return ERR_OK; /* an empty file sets nothing */
    }
    if (event.data.document_start.tag_directives.start
        != event.data.document_start.tag_directives.end) {
        return FAIL_AT(reader, event.start_mark, "%%TAG is not allowed");
    }
    TRY(read_document(reader));
    TRY(expect_event(reader, YAML_DOCUMENT_END_EVENT, "the document does not end here"));
    return expect_event(reader, YAML_STREAM_END_EVENT, "only one document is allowed");
}

static enum err_code load_yaml(
    struct config *config,
    const char *name,
    struct str_view text,
    bool *ret_secret,
    struct err_info *err)
{
    if (text.len > CONFIG_FILE_MAX_BYTES) {
        return ERR_SET(err, ERR_LIMIT, "%s: larger than %d bytes", name, CONFIG_FILE_MAX_BYTES);
    }
    struct yaml_reader reader = {
        .config = config, .name = name, .prefix = BUF_INIT(KEY_MAX_BYTES), .err = err
    };
    struct err_info scratch = ERR_INFO_INIT;
    if (reader.err == NULL) {
        reader.err = &scratch;
    }
    if (yaml_parser_initialize(&reader.parser) == 0) {
        return ERR_SET(err, ERR_NOMEM, "%s: out of memory", name);
    }
    const char *data = text.ptr == NULL ? "" : text.ptr;
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)data, text.len);
    yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
    reader.seen = map_create();
    enum err_code code = read_stream(&reader);
    map_destroy(reader.seen, NULL);
    buf_deinit(&reader.prefix);
    yaml_parser_delete(&reader.parser);
    *ret_secret = reader.has_secret;
    return code;
}

enum err_code config_load_yaml(
    struct config *config, const char *name, struct str_view text, struct err_info *err)
{
    bool has_secret = false;
    return load_yaml(config, name, text, &has_secret, err);
}

static enum err_code check_private(const char *path, struct err_info *err)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "%s", path);
    }
    if ((info.st_mode & 07) != 0) {
        return ERR_SET(
            err,
            ERR_DENIED,
            "%s: holds a secret and mode %04o lets everyone use it; run: chmod o= %s",
            path,
            (unsigned)info.st_mode & 07777U,
            path);
    }
    return ERR_OK;
}

enum err_code config_load_file(struct config *config, const char *path, struct err_info *err)
{
    /* Configuration mounted into a container is a symbolic link, which file_read refuses. */
    char resolved[PATH_MAX];
    const char *real = realpath(path, resolved) == NULL ? path : resolved;
    AUTO_BUF struct buf text = BUF_INIT(CONFIG_FILE_MAX_BYTES);
    bool has_secret = false;
    TRY(file_read(real, CONFIG_FILE_MAX_BYTES, &text, err));
    enum err_code code = load_yaml(config, path, buf_view(&text), &has_secret, err);
    if (text.data != NULL) {
        explicit_bzero(text.data, text.len);
    }
    TRY(code);
    return has_secret ? check_private(real, err) : ERR_OK;
}
