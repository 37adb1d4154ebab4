/* The answers of the listener: what a method and a path lead to. Used on the listener's thread. */
#ifndef CMD_SERVER_HTTP_PAGE_H
#define CMD_SERVER_HTTP_PAGE_H

#include "cmd/server/http/listener.h"

enum {
    HTTP_PAGE_MAX_BYTES = 16 * 1024 * 1024
};

struct http_page {
    unsigned status;
    const char *content_type;
    const char *label; /* the path if it is one of ours, else "other": a bounded label */
    struct buf body;   /* the caller deinits */
};

void http_page_make(
    const struct http_listener_options *options,
    const char *method,
    const char *path,
    struct http_page *page);

/* A page that only says its status in one line. */
void http_page_error(unsigned status, const char *text, struct http_page *page);

#endif
