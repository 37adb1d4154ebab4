#include "cmd/cli/term/table.h"

enum {
    GAP = 2,
    CELL_BYTES_MAX = 65536,
    KEEP_DEFAULT = 8
};

#define LEFT_OUT SIZE_MAX /* instead of a width */
#define ELLIPSIS "\xe2\x80\xa6"

struct cell {
    char *text; /* escaped */
    size_t bytes;
    size_t width;
    enum text_style style;
};

struct table {
    const struct table_column *columns;
    size_t column_count;
    struct cell *cells; /* row by row */
    size_t cell_count;
    size_t capacity;
    size_t widths[TABLE_COLUMNS_MAX];
    bool header_done;
};

struct table *table_create(const struct table_column *columns, size_t count)
{
    struct table *table = mem_alloc(sizeof(*table));
    table->columns = columns;
    table->column_count = count > TABLE_COLUMNS_MAX ? TABLE_COLUMNS_MAX : count;
    for (size_t i = 0; i < table->column_count; i++) {
        size_t title = text_width(str_of(columns[i].title));
        table->widths[i] = title;
    }
    return table;
}

static void forget_rows(struct table *table)
{
    for (size_t i = 0; i < table->cell_count; i++) {
        mem_free(table->cells[i].text);
    }
    table->cell_count = 0;
}

void table_destroy(struct table *table)
{
    if (table == NULL) {
        return;
    }
    forget_rows(table);
    mem_free(table->cells);
    mem_free(table);
}

void table_add(struct table *table, struct str_view text, enum text_style style)
{
    if (table->cell_count == table->capacity) {
        table->capacity = table->capacity == 0 ? 64 : table->capacity * 2;
        table->cells = mem_realloc(table->cells, table->capacity * sizeof(*table->cells));
    }
    struct buf escaped = BUF_INIT(CELL_BYTES_MAX);
    text_escape(text, &escaped);
    struct cell *cell = &table->cells[table->cell_count];
    size_t column = table->cell_count % table->column_count;
    cell->bytes = escaped.len;
    cell->width = text_width(buf_view(&escaped));
    cell->style = style;
    cell->text = escaped.len > 0 ? mem_dup(escaped.data, escaped.len) : NULL;
    buf_deinit(&escaped);
    table->cell_count++;
    if (cell->width > table->widths[column]) {
        table->widths[column] = cell->width;
    }
}

size_t table_row_count(const struct table *table)
{
    return table->cell_count / table->column_count;
}

/* Of those that are shown. */
static size_t sum(const struct table *table, const size_t *widths)
{
    size_t total = 0;
    for (size_t i = 0; i < table->column_count; i++) {
        if (widths[i] != LEFT_OUT) {
            total += widths[i] + (total > 0 ? GAP : 0);
        }
    }
    return total;
}

static bool gives(const struct table_column *column, size_t width)
{
    size_t keep = column->keep == 0 ? KEEP_DEFAULT : column->keep;
    return width != LEFT_OUT && !column->whole && width > keep;
}

/* Takes columns from the widest one, again and again, until the row fits (true) or nothing can
 * give. */
static bool cut(const struct table *table, size_t width, size_t *widths)
{
    while (sum(table, widths) > width) {
        size_t widest = SIZE_MAX;
        for (size_t i = 0; i < table->column_count; i++) {
            if (gives(&table->columns[i], widths[i])
                && (widest == SIZE_MAX || widths[i] > widths[widest])) {
                widest = i;
            }
        }
        if (widest == SIZE_MAX) {
            return false;
        }
        widths[widest]--;
    }
    return true;
}

/* false: all that are left have to stay. */
static bool leave_one_out(const struct table *table, bool *is_out)
{
    size_t first = SIZE_MAX;
    for (size_t i = 0; i < table->column_count; i++) {
        unsigned goes = is_out[i] ? 0 : table->columns[i].goes;
        if (goes > 0 && (first == SIZE_MAX || goes < table->columns[first].goes)) {
            first = i;
        }
    }
    if (first != SIZE_MAX) {
        is_out[first] = true;
    }
    return first != SIZE_MAX;
}

static void fit(const struct table *table, size_t width, size_t widths[TABLE_COLUMNS_MAX])
{
    bool is_out[TABLE_COLUMNS_MAX] = { false };
    bool fits = false;
    bool is_left = true;
    while (!fits && is_left) {
        for (size_t i = 0; i < table->column_count; i++) {
            widths[i] = is_out[i] ? LEFT_OUT : table->widths[i];
        }
        fits = width == 0 || cut(table, width, widths);
        is_left = fits || leave_one_out(table, is_out);
    }
}

static void put_spaces(size_t count, struct buf *buf)
{
    buf_printf(buf, "%*s", (int)count, "");
}

/* One cell in its width; the last one of a row gets no trailing spaces. */
static void put_cell(
    const struct cell *cell, bool right, bool last, size_t width, bool color, struct buf *buf)
{
    struct str_view text = str_from(cell->text, cell->bytes);
    size_t used = cell->width;
    bool is_cut = used > width;
    if (is_cut) {
        text = text_fit(text, width > 0 ? width - 1 : 0, &used);
        used++;
    }
    if (right && used < width) {
        put_spaces(width - used, buf);
    }
    text_put(text, cell->style, color && text.len > 0, buf);
    if (is_cut) {
        buf_append_str(buf, STR(ELLIPSIS));
    }
    if (!right && !last && used < width) {
        put_spaces(width - used, buf);
    }
}

static void put_row(
    const struct table *table,
    const struct cell *cells,
    const size_t *widths,
    bool color,
    struct buf *buf)
{
    size_t filled = table->column_count;
    bool is_first = true;
    while (filled > 1 && (cells[filled - 1].width == 0 || widths[filled - 1] == LEFT_OUT)) {
        filled--;
    }
    for (size_t i = 0; i < filled; i++) {
        if (widths[i] == LEFT_OUT) {
            continue;
        }
        if (!is_first) {
            put_spaces(GAP, buf);
        }
        is_first = false;
        put_cell(&cells[i], table->columns[i].right, i + 1 == filled, widths[i], color, buf);
    }
    buf_append_char(buf, '\n');
}

static void put_headers(
    const struct table *table, const size_t *widths, bool color, struct buf *buf)
{
    struct cell cells[TABLE_COLUMNS_MAX] = { 0 };
    for (size_t i = 0; i < table->column_count; i++) {
        struct str_view title = str_of(table->columns[i].title);
        cells[i].text = mem_dup(title.ptr, title.len + 1);
        cells[i].bytes = title.len;
        cells[i].width = text_width(title);
        cells[i].style = TEXT_BOLD;
    }
    put_row(table, cells, widths, color, buf);
    for (size_t i = 0; i < table->column_count; i++) {
        mem_free(cells[i].text);
    }
}

void table_write(struct table *table, const struct table_options *options, struct buf *buf)
{
    size_t widths[TABLE_COLUMNS_MAX];
    fit(table, options->width, widths);
    if (options->headers) {
        put_headers(table, widths, options->color, buf);
    }
    for (size_t i = 0; i + table->column_count <= table->cell_count; i += table->column_count) {
        put_row(table, &table->cells[i], widths, options->color, buf);
    }
}

void table_flush(struct table *table, const struct table_options *options, struct buf *buf)
{
    for (size_t i = 0; i < table->column_count; i++) {
        if (table->widths[i] < table->columns[i].min_width) {
            table->widths[i] = table->columns[i].min_width;
        }
    }
    struct table_options rest = *options;
    rest.headers = options->headers && !table->header_done;
    table_write(table, &rest, buf);
    table->header_done = true;
    forget_rows(table);
}

void table_write_details(struct table *table, const struct table_options *options, struct buf *buf)
{
    size_t rows = table_row_count(table);
    if (rows == 0) {
        return;
    }
    const struct cell *cells = &table->cells[(rows - 1) * table->column_count];
    size_t left = 0;
    for (size_t i = 0; i < table->column_count; i++) {
        size_t width = text_width(str_of(table->columns[i].title)) + 1;
        left = cells[i].width > 0 && width > left ? width : left;
    }
    for (size_t i = 0; i < table->column_count; i++) {
        if (cells[i].width == 0) {
            continue;
        }
        struct str_view title = str_of(table->columns[i].title);
        text_put(title, TEXT_BOLD, options->color, buf);
        buf_append_char(buf, ':');
        put_spaces(left + GAP - 1 - text_width(title), buf);
        text_put(str_from(cells[i].text, cells[i].bytes), cells[i].style, options->color, buf);
        buf_append_char(buf, '\n');
    }
}
