/*
 * Columns of text: cells in, lines out. Cells are escaped as they come in, so a peer's text can
 * neither break a row nor reach the terminal's controls. Pure; one owner, one thread.
 */
#ifndef CMD_CLI_TERM_TABLE_H
#define CMD_CLI_TERM_TABLE_H

#include "cmd/cli/term/text.h"
#include "common/base/cleanup.h"

enum {
    TABLE_COLUMNS_MAX = 24
};

struct table_column {
    const char *title;
    bool right;         /* numbers stand at the right */
    unsigned min_width; /* of a live table, whose later rows are not known */
    unsigned keep;      /* columns never given up when the table is too wide; 0: 8 */
    bool whole;         /* never cut: half a number is none */
    unsigned goes;      /* left out where cutting is not enough: lower numbers first; 0: it stays */
};

struct table_options {
    bool headers;
    bool color;
    size_t width; /* columns of the terminal; 0: no bound, nothing is cut */
};

struct table;

/* columns are borrowed for the table's life; count at most TABLE_COLUMNS_MAX. */
struct table *table_create(const struct table_column *columns, size_t count);
void table_destroy(struct table *table);

/* The next cell of the current row; rows fill left to right. */
void table_add(struct table *table, struct str_view text, enum text_style style);
size_t table_row_count(const struct table *table);

/* All rows, widths fitted to them. */
void table_write(struct table *table, const struct table_options *options, struct buf *buf);

/*
 * Live use: writes the rows added since the last call, the header before the first, and forgets
 * them. Widths only grow.
 */
void table_flush(struct table *table, const struct table_options *options, struct buf *buf);

/* The last row as lines of "Title:  text", empty cells left out; for one object. */
void table_write_details(struct table *table, const struct table_options *options, struct buf *buf);

AUTO_DEFINE(table, destroy)
#define AUTO_TABLE AUTO(cleanup_table_destroy)

#endif
