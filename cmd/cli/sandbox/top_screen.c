/* The screen of belay sandbox top: one event loop of answers, keys, signals and time. */
#include "cmd/cli/connection.h"
#include "cmd/cli/interrupt.h"
#include "cmd/cli/sandbox/top.h"
#include "cmd/cli/session/terminal.h"
#include "common/sys/fd.h"
#include "common/sys/loop.h"
#include "common/wire/wire.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    ROWS_BYTES = 64 * 1024 * 1024, /* of one answer, all its pages */
    FRAME_BYTES = 16 * 1024 * 1024,
    LINES_AROUND = 3, /* the head, the word about it, the keys */
    PAGE_SIZE = 1000,
    CTRL_C = 3
};

typedef Agentgateway__V1__ListSandboxFiguresRequest request_type;
typedef Agentgateway__V1__ListSandboxFiguresResponse reply_type;

struct screen {
    struct cli *cli;
    request_type request;
    struct loop *loop;
    struct rpc_executor executor;
    struct terminal *terminal;
    struct loop_watch *keys;
    struct loop_timer *timer;
    struct arena *coming; /* rows of the answer that is under way */
    struct arena *shown;
    top_row **coming_rows;
    size_t coming_count;
    top_row **rows;
    size_t count;
    enum top_order order;
    struct err_info trouble; /* of the last question; code ERR_OK: none */
    bool is_interrupted;
    atomic_int signal; /* that ends us */
    enum err_code code;
};

/* ---- the end ---- */

static void stop(struct screen *screen, enum err_code code)
{
    screen->code = code;
    loop_stop(screen->loop);
}

static void end_by_signal(void *context)
{
    stop(context, ERR_OK);
}

/* ---- drawing ---- */

static void put_head(const struct screen *screen, struct buf *out)
{
    size_t figures = 0;
    uint64_t oldest_ms = 0;
    for (size_t i = 0; i < screen->count; i++) {
        const top_row *row = screen->rows[i];
        figures += row->taken_at != NULL;
        oldest_ms = row->taken_at != NULL && row->age_ms > oldest_ms ? row->age_ms : oldest_ms;
    }
    const char *noun = screen->count == 1 ? "sandbox" : "sandboxes";
    buf_printf(out, "%zu %s, %zu with figures", screen->count, noun, figures);
    if (figures > 0) {
        buf_printf(out, ", the oldest of %.1f s ago", (double)oldest_ms / 1000);
    }
    buf_printf(out, "; by %s", TOP_ORDERS[screen->order]);
}

/* A line of the screen: cut to its width, the rest of the old one taken away. */
static void put_line(const struct screen *screen, struct str_view line, struct buf *out)
{
    size_t width = 0;
    buf_append_str(out, text_fit(line, screen->cli->output.width, &width));
    buf_append_str(out, STR("\033[K\r\n"));
}

/* The table's lines are as wide as the screen already, and may have colors in them. */
static void put_table(const struct screen *screen, unsigned room, struct buf *out)
{
    AUTO_BUF struct buf table = BUF_INIT(FRAME_BYTES);
    output_table(screen->cli, top_view(screen->cli), screen->rows, screen->count, &table);
    struct str_view rest = buf_view(&table);
    struct str_view line = STR_NONE;
    for (unsigned i = 0; i < room && str_cut(rest, '\n', &line, &rest); i++) {
        buf_append_str(out, line);
        buf_append_str(out, STR("\033[K\r\n"));
    }
}

static void draw(struct screen *screen)
{
    struct cli *cli = screen->cli;
    AUTO_BUF struct buf head = BUF_INIT(FRAME_BYTES);
    AUTO_BUF struct buf said = BUF_INIT(FRAME_BYTES);
    AUTO_BUF struct buf out = BUF_INIT(FRAME_BYTES);
    (void)terminal_size(fileno(cli->io->out), &cli->output.width, &cli->output.height);
    unsigned height = cli->output.height;
    put_head(screen, &head);
    if (screen->trouble.code != ERR_OK) {
        text_escape(str_of(screen->trouble.text), &said);
    }
    buf_append_str(&out, STR("\033[H"));
    put_line(screen, buf_view(&head), &out);
    put_line(screen, buf_view(&said), &out);
    put_table(screen, height > LINES_AROUND ? height - LINES_AROUND : 0, &out);
    buf_append_str(&out, STR("\033[J"));
    size_t width = 0;
    static const char KEYS[] =
        "q ends; sort: c cpu, m memory, p processes, n network, d disk, a name";
    buf_printf(&out, "\033[%u;1H", height);
    buf_append_str(&out, text_fit(STR(KEYS), cli->output.width, &width));
    buf_append_str(&out, STR("\033[K"));
    enum err_code code = output_text(cli, buf_view(&out));
    if (code != ERR_OK) {
        stop(screen, code);
    }
}

static void draw_again(void *context)
{
    draw(context);
}

/* ---- asking ---- */

static void ask(struct screen *screen);

static void on_timer(void *context)
{
    struct screen *screen = context;
    arena_reset(screen->coming);
    screen->coming_rows = NULL;
    screen->coming_count = 0;
    screen->request.page_token = CONST_CAST(char *, protobuf_c_empty_string);
    ask(screen);
}

/* A copy of the page's rows; they are the transport's until the answer's end. */
static enum err_code keep_page(struct screen *screen, const reply_type *reply, struct err_info *err)
{
    AUTO_BUF struct buf packed = BUF_INIT(ROWS_BYTES / 4);
    ProtobufCMessage *copy = NULL;
    wire_pack(&reply->base, &packed);
    TRY(wire_unpack_lenient(
        screen->cli->schema,
        reply->base.descriptor,
        packed.data,
        packed.len,
        screen->coming,
        &copy,
        err));
    const reply_type *page = (const reply_type *)(const void *)copy;
    size_t count = screen->coming_count + page->n_figures;
    top_row **rows = arena_alloc(screen->coming, (count + 1) * sizeof(void *));
    if (rows == NULL) {
        return ERR_SET(err, ERR_LIMIT, "more sandboxes than fit into memory; name some");
    }
    if (screen->coming_count > 0) {
        memcpy(rows, screen->coming_rows, screen->coming_count * sizeof(void *));
    }
    if (page->n_figures > 0) {
        memcpy(rows + screen->coming_count, page->figures, page->n_figures * sizeof(void *));
    }
    screen->coming_rows = rows;
    screen->coming_count = count;
    screen->request.page_token = page->next_page_token;
    return ERR_OK;
}

/* The answer is whole: it is what is shown from here on. */
static void show(struct screen *screen)
{
    struct arena *old = screen->shown;
    screen->shown = screen->coming;
    screen->coming = old;
    screen->rows = screen->coming_rows;
    screen->count = screen->coming_count;
    top_sort(screen->rows, screen->count, screen->order);
}

/* What asking again would not change. */
static bool is_final(enum err_code code)
{
    return code == ERR_DENIED || code == ERR_UNAUTHENTICATED || code == ERR_INVALID
        || code == ERR_NOT_FOUND || code == ERR_UNSUPPORTED;
}

static void on_answer(
    void *context, enum err_code code, const ProtobufCMessage *message, const struct err_info *err)
{
    struct screen *screen = context;
    struct err_info own = ERR_INFO_INIT;
    if (code == ERR_OK) {
        code = keep_page(screen, (const reply_type *)(const void *)message, &own);
        err = &own;
    }
    if (is_final(code)) {
        screen->cli->err = *err;
        stop(screen, code);
        return;
    }
    if (code == ERR_OK && screen->request.page_token[0] != '\0') {
        ask(screen);
        return;
    }
    if (code == ERR_OK) {
        show(screen);
        screen->trouble = (struct err_info)ERR_INFO_INIT;
    } else {
        screen->trouble = *err;
        screen->trouble.code = code;
    }
    draw(screen);
    loop_timer_arm_after(screen->timer, args_number(screen->cli->args, "interval"));
}

static void ask(struct screen *screen)
{
    const struct connection_answer answer = { &screen->executor, on_answer, screen };
    connection_call_async(
        screen->cli,
        "ListSandboxFigures",
        &screen->request.base,
        &agentgateway__v1__list_sandbox_figures_response__descriptor,
        &answer);
}

/* ---- keys and signals ---- */

static const char KEY_OF_ORDER[TOP_COUNT] = {
    [TOP_CPU] = 'c',     [TOP_MEMORY] = 'm', [TOP_PROCESSES] = 'p',
    [TOP_NETWORK] = 'n', [TOP_DISK] = 'd',   [TOP_NAME] = 'a'
};

static void on_key(struct screen *screen, char key)
{
    if (key == 'q' || key == 'Q' || key == CTRL_C) {
        screen->is_interrupted = key == CTRL_C;
        stop(screen, ERR_OK);
        return;
    }
    for (int i = 0; i < TOP_COUNT; i++) {
        if (KEY_OF_ORDER[i] == key) {
            screen->order = (enum top_order)i;
            top_sort(screen->rows, screen->count, screen->order);
            draw(screen);
        }
    }
}

static void on_keys(void *context, uint32_t events)
{
    struct screen *screen = context;
    char keys[64];
    (void)events;
    ssize_t count = read(fileno(screen->cli->io->in), keys, sizeof(keys));
    if (count <= 0) {
        stop(screen, ERR_OK); /* the terminal is gone */
        return;
    }
    for (ssize_t i = 0; i < count; i++) {
        on_key(screen, keys[i]);
    }
}

static void on_signal(void *context, int signal)
{
    struct screen *screen = context;
    if (signal != SIGWINCH) {
        atomic_store(&screen->signal, signal);
    }
    (void)!loop_post(screen->loop, signal == SIGWINCH ? draw_again : end_by_signal, screen);
}

/* ---- the run ---- */

static bool post(void *context, void (*fn)(void *argument), void *argument)
{
    return loop_post(context, fn, argument);
}

static enum err_code open_screen(struct screen *screen)
{
    struct cli *cli = screen->cli;
    int in_fd = fileno(cli->io->in);
    TRY(terminal_open(in_fd, &screen->terminal, &cli->err));
    TRY(terminal_take_screen(screen->terminal, &cli->err));
    return loop_watch_add(screen->loop, in_fd, EPOLLIN, on_keys, screen, &screen->keys, &cli->err);
}

static void run_loop(struct screen *screen)
{
    struct cli *cli = screen->cli;
    interrupt_claim(cli->io->interrupt, on_signal, screen);
    on_timer(screen);
    loop_run(screen->loop);
    interrupt_release(cli->io->interrupt);
}

static void close_screen(struct screen *screen)
{
    terminal_close(screen->terminal);
    connection_close(screen->cli); /* an answer that is under way must not find the loop gone */
    while (loop_turn(screen->loop)) {
    }
    loop_watch_remove(screen->keys);
    loop_timer_destroy(screen->timer);
    loop_destroy(screen->loop);
    arena_destroy(screen->coming);
    arena_destroy(screen->shown);
}

enum err_code top_screen_run(struct cli *cli, const request_type *request)
{
    struct screen screen = { .cli = cli, .request = *request };
    const char *sort = args_text(cli->args, "sort");
    while (strcmp(TOP_ORDERS[screen.order], sort) != 0) {
        screen.order++;
    }
    screen.request.page_size = PAGE_SIZE;
    atomic_init(&screen.signal, 0);
    TRY(loop_create(cli->io->clock, &screen.loop, &cli->err));
    screen.executor = (struct rpc_executor){ post, screen.loop };
    screen.timer = loop_timer_create(screen.loop, on_timer, &screen);
    screen.coming = arena_create(ROWS_BYTES);
    screen.shown = arena_create(ROWS_BYTES);
    enum err_code code = open_screen(&screen);
    if (code == ERR_OK) {
        run_loop(&screen);
        code = screen.code;
    }
    close_screen(&screen);
    int signal = atomic_load(&screen.signal);
    if (signal != 0) {
        cli->exit_status = (enum cli_exit)(128 + signal);
    } else if (screen.is_interrupted) {
        cli->exit_status = CLI_EXIT_INTERRUPTED;
    }
    return code;
}
