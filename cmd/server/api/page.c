#include "cmd/server/api/page.h"

#include "common/crypto/hash.h"
#include "common/wire/wire.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    MAC_BYTES = 16,
    CURSOR_MAX = 352, /* a token of it has at most the 512 characters a request may bring */
    REQUEST_BYTES = 64 * 1024
};

/* The request without its page fields, packed: what the token is bound to. */
static void pack_question(struct arena *arena, const ProtobufCMessage *request, struct buf *out)
{
    const ProtobufCMessageDescriptor *type = request->descriptor;
    char *copy = arena_dup(arena, request, type->sizeof_message);
    const ProtobufCFieldDescriptor *size =
        protobuf_c_message_descriptor_get_field_by_name(type, "page_size");
    const ProtobufCFieldDescriptor *token =
        protobuf_c_message_descriptor_get_field_by_name(type, "page_token");
    if (copy == NULL || size == NULL || token == NULL) {
        out->failed = true;
        return;
    }
    *(uint32_t *)(void *)(copy + size->offset) = 0;
    *(const char **)(void *)(copy + token->offset) = "";
    wire_pack((const ProtobufCMessage *)(void *)copy, out);
}

static bool make_mac(
    struct api_call *api, const ProtobufCMessage *request, struct str_view cursor, uint8_t out[32])
{
    AUTO_BUF struct buf question = BUF_INIT(REQUEST_BYTES);
    pack_question(api->arena, request, &question);
    const struct str_view parts[] = {
        STR("belay.page.v1"),
        key_sign_peek_seed(api->service->command_key),
        str_of(rpc_call_method(api->call)->path),
        str_of(api->principal->subject),
        str_of(api->workspace),
        str_from(buf_text(&question), question.len),
        cursor,
    };
    hash_blake2b_parts(parts, ARRAY_LENGTH(parts), out);
    return buf_ok(&question);
}

static enum err_code open_token(
    struct api_call *api, const ProtobufCMessage *request, struct str_view token, struct page *page)
{
    AUTO_BUF struct buf raw = BUF_INIT(CURSOR_MAX + MAC_BYTES);
    uint8_t mac[32];
    TRY(base64url_decode(token, &raw));
    if (raw.len <= MAC_BYTES) {
        return ERR_INVALID;
    }
    struct str_view cursor = str_from(raw.data + MAC_BYTES, raw.len - MAC_BYTES);
    if (!make_mac(api, request, cursor, mac)
        || !secret_equal(str_from((const char *)mac, MAC_BYTES), str_from(raw.data, MAC_BYTES))) {
        return ERR_INVALID;
    }
    page->cursor = str_from(arena_str_dup(api->arena, cursor), cursor.len);
    if (page->cursor.ptr == NULL) {
        return ERR_NOMEM;
    }
    if (str_parse_int64(cursor, 0, INT64_MAX, &page->cursor_number) != ERR_OK) {
        page->cursor_number = 0;
    }
    return ERR_OK;
}

enum err_code page_open(
    struct api_call *api,
    const ProtobufCMessage *request,
    struct page *ret_page,
    struct err_info *err)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(request->descriptor, "page_size");
    uint32_t size = *(const uint32_t *)(const void *)((const char *)request + field->offset);
    struct page page = { .cursor = STR(""), .size = size == 0 ? PAGE_DEFAULT : size };
    page.size = page.size > PAGE_MAX ? PAGE_MAX : page.size;
    struct str_view token = api_text_field(request, "page_token");
    if (token.len > 0 && open_token(api, request, token, &page) != ERR_OK) {
        return ERR_SET(
            err,
            ERR_INVALID,
            "page_token: not of this list; start again without it and keep the filter the same");
    }
    *ret_page = page;
    return ERR_OK;
}

static char *page_next(
    struct api_call *api, const ProtobufCMessage *request, struct str_view cursor)
{
    AUTO_BUF struct buf raw = BUF_INIT(CURSOR_MAX + MAC_BYTES);
    AUTO_BUF struct buf text = BUF_INIT(512);
    uint8_t mac[32];
    if (!make_mac(api, request, cursor, mac)) {
        return NULL;
    }
    buf_append(&raw, mac, MAC_BYTES);
    buf_append_str(&raw, cursor);
    base64url_encode(buf_view(&raw), &text);
    return buf_ok(&raw) && buf_ok(&text) ? arena_strdup(api->arena, buf_text(&text)) : NULL;
}

char *page_next_number(struct api_call *api, const ProtobufCMessage *request, int64_t cursor)
{
    char text[24];
    int length = snprintf(text, sizeof(text), "%" PRId64, cursor);
    return page_next(api, request, str_from(text, (size_t)length));
}

static char *next_token(
    struct api_call *api,
    const ProtobufCMessage *request,
    const struct page_rows *rows,
    const char *last)
{
    const void *cursor = last + rows->cursor_offset;
    if (rows->cursor_is_number) {
        return page_next_number(api, request, *(const int64_t *)cursor);
    }
    return page_next(api, request, str_of(*(const char *const *)cursor));
}

enum err_code page_fill(
    struct api_call *api,
    const ProtobufCMessage *request,
    const struct page *page,
    const struct page_rows *rows,
    const struct page_reply *reply,
    struct err_info *err)
{
    const struct map_context context = map_context_of(api);
    bool more = rows->count > (size_t)page->size;
    size_t count = more ? (size_t)page->size : rows->count;
    void **items = arena_alloc(api->arena, count * sizeof(*items));
    if (items == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    for (size_t i = 0; i < count; i++) {
        items[i] = rows->map(&context, (const char *)rows->records + i * rows->record_bytes);
        if (items[i] == NULL) {
            return API_OUT_OF_MEMORY(err);
        }
    }
    if (more) {
        *reply->next_page_token = next_token(
            api, request, rows, (const char *)rows->records + (count - 1) * rows->record_bytes);
        if (*reply->next_page_token == NULL) {
            return API_OUT_OF_MEMORY(err);
        }
    }
    *reply->items = items;
    *reply->count = count;
    return ERR_OK;
}
