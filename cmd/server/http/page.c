#include "cmd/server/http/page.h"

#include "common/base/cleanup.h"

#define TEXT_TYPE    "text/plain; charset=utf-8"
#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum {
    REASON_BYTES = 256
};

typedef void make_fn(const struct http_listener_options *options, struct http_page *page);

static void make_metrics(const struct http_listener_options *options, struct http_page *page)
{
    page->content_type = METRICS_TYPE;
    metrics_write(options->metrics, &page->body);
    if (!buf_ok(&page->body)) {
        buf_deinit(&page->body);
        http_page_error(500, "the page is too large", page);
    }
}

static void make_health(const struct http_listener_options *options, struct http_page *page)
{
    (void)options;
    buf_append_str(&page->body, STR("ok\n"));
}

static void make_ready(const struct http_listener_options *options, struct http_page *page)
{
    char reason[REASON_BYTES] = "";
    if (options->is_ready == NULL || options->is_ready(options->context, reason, sizeof(reason))) {
        buf_append_str(&page->body, STR("ready\n"));
        return;
    }
    page->status = 503;
    buf_printf(&page->body, "not ready%s%s\n", reason[0] == '\0' ? "" : ": ", reason);
}

static const struct {
    const char *path;
    make_fn *make;
} pages[] = {
    { "/metrics", make_metrics },
    { "/healthz", make_health },
    { "/readyz", make_ready },
};

void http_page_error(unsigned status, const char *text, struct http_page *page)
{
    const char *label = page->label == NULL ? "other" : page->label;
    *page = (struct http_page){ status, TEXT_TYPE, label, BUF_INIT(HTTP_PAGE_MAX_BYTES) };
    buf_printf(&page->body, "%s\n", text);
}

void http_page_make(
    const struct http_listener_options *options,
    const char *method,
    const char *path,
    struct http_page *page)
{
    for (size_t i = 0; i < ARRAY_LENGTH(pages); i++) {
        if (strcmp(path, pages[i].path) != 0) {
            continue;
        }
        *page = (struct http_page){ 200, TEXT_TYPE, pages[i].path, BUF_INIT(HTTP_PAGE_MAX_BYTES) };
        if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0) {
            pages[i].make(options, page);
        } else {
            http_page_error(405, "only GET and HEAD", page);
        }
        return;
    }
    http_page_error(404, "not found", page);
}
