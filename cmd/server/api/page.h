/*
 * Pages: page_size and an opaque page_token that carries where the next page starts, bound by a
 * keyed hash to the caller, the workspace, the method and every other field of the request.
 */
#ifndef SERVER_API_PAGE_H
#define SERVER_API_PAGE_H

#include "cmd/server/api/map.h"

enum {
    PAGE_DEFAULT = 100,
    PAGE_MAX = 1000
};

struct page {
    struct str_view cursor; /* "" on the first page */
    int64_t cursor_number;  /* the same as a number; 0 */
    int64_t size;
};

/* Reads page_size and page_token of the request. ERR_INVALID: the token is not of this question. */
enum err_code page_open(
    struct api_call *api,
    const ProtobufCMessage *request,
    struct page *ret_page,
    struct err_info *err) MUST_CHECK;

/* Token of the page that starts after a number; NULL: the arena is full. */
char *page_next_number(struct api_call *api, const ProtobufCMessage *request, int64_t cursor);

/* Rows of a list, one more than the page when there are more, and how they become messages. */
struct page_rows {
    const void *records;
    size_t count;
    size_t record_bytes;
    void *(*map)(const struct map_context *context, const void *record);
    size_t cursor_offset;  /* of the member that orders the list */
    bool cursor_is_number; /* int64_t, else const char * */
};

/* Where the page goes: the three fields of a list's reply. */
struct page_reply {
    void ***items;
    size_t *count;
    char **next_page_token;
};

/* Maps the page and makes the token of the next ("": there is none). ERR_LIMIT: too large. */
enum err_code page_fill(
    struct api_call *api,
    const ProtobufCMessage *request,
    const struct page *page,
    const struct page_rows *rows,
    const struct page_reply *reply,
    struct err_info *err) MUST_CHECK;

/* Defines map_any_<noun>, the map of struct page_rows over map_<noun>. */
#define PAGE_MAP(noun)                                                                 \
    static void *map_any_##noun(const struct map_context *context, const void *record) \
    {                                                                                  \
        return map_##noun(context, record);                                            \
    }

#endif
