/*
 * What a command prints: one view (a table of columns) per kind of object, and the same object as
 * ProtoJSON or YAML. Tables are for people and may change; JSON is the server's reply and stable.
 */
#ifndef CMD_CLI_OUTPUT_H
#define CMD_CLI_OUTPUT_H

#include "cmd/cli/term/table.h"
#include "common/base/time.h"

#include <protobuf-c/protobuf-c.h>

struct cli;

enum output_format {
    OUTPUT_TABLE,
    OUTPUT_WIDE,
    OUTPUT_JSON,
    OUTPUT_YAML,
    OUTPUT_NAME
};

struct output {
    enum output_format format;
    bool headers;
    bool color;     /* on standard output */
    bool is_tty;    /* standard output is a terminal */
    unsigned width; /* of the terminal; 0: not one */
    unsigned height;
};

enum output_flags {
    OUTPUT_SECRETS = 1 /* JSON and YAML carry the secret fields: for answers that show one once */
};

enum view_flags {
    VIEW_WIDE = 1,   /* with -o wide and for a single object */
    VIEW_DETAIL = 2, /* for a single object only */
};

struct view_cell {
    struct cli *cli;
    const void *item;
    struct wall_us now;
    bool detail; /* room for the long form */
};

struct view_column {
    struct table_column column;
    unsigned flags;
    enum text_style (*write)(const struct view_cell *cell, struct buf *out);
};

struct view {
    const struct view_column *columns;
    size_t count;
    void (*name)(const void *item, struct buf *out); /* what -o name prints */
};

#define VIEW(array, name_fn)                                                \
    {                                                                       \
        .columns = (array), .count = ARRAY_LENGTH(array), .name = (name_fn) \
    }

/* Reads -o, --no-headers, --color and the terminal. */
void output_init(struct cli *cli);

/* A list: the reply in JSON and YAML, its items in the other formats. items: array of pointers. */
enum err_code output_list(
    struct cli *cli,
    const struct view *view,
    const ProtobufCMessage *reply,
    const void *items,
    size_t count) MUST_CHECK;

/* The table of a list alone, as wide as output.width says. */
void output_table(
    struct cli *cli, const struct view *view, const void *items, size_t count, struct buf *out);

/* One object, in detail. */
enum err_code output_one(
    struct cli *cli, const struct view *view, const ProtobufCMessage *item, unsigned flags)
    MUST_CHECK;

/* One object as a row, after a change: the long form would hide what changed. */
enum err_code output_row(struct cli *cli, const struct view *view, const ProtobufCMessage *item)
    MUST_CHECK;

/* The message as JSON or YAML, whatever -o says otherwise. */
enum err_code output_message(struct cli *cli, const ProtobufCMessage *message, unsigned flags)
    MUST_CHECK;

/* True when -o asks for JSON or YAML. */
bool output_is_structured(const struct cli *cli);

/* A row at a time: tables grow, JSON is one object per line, YAML a document each. */
struct output_live;
struct output_live *output_live_create(struct cli *cli, const struct view *view);
void output_live_destroy(struct output_live *live);
enum err_code output_live_row(struct output_live *live, const ProtobufCMessage *item) MUST_CHECK;

AUTO_DEFINE(output_live, destroy)
#define AUTO_OUTPUT_LIVE AUTO(cleanup_output_live_destroy)

/* Text as it is; flushed. ERR_CANCELED: nobody reads any more. */
enum err_code output_text(struct cli *cli, struct str_view text) MUST_CHECK;

/* A line of text that others wrote, escaped. */
enum err_code output_line(struct cli *cli, struct str_view text) MUST_CHECK;

/* JSON of ours as JSON or YAML, with what a terminal might act on escaped in its strings. */
enum err_code output_json(struct cli *cli, struct str_view json, bool as_yaml) MUST_CHECK;

/* A line for people on standard error: "belay: ..." is not put in front. */
void output_note(struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
