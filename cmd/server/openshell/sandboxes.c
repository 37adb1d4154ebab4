/* Sandboxes: create, get, list, delete, stop, start. */
#include "cmd/server/domain/selector.h"
#include "cmd/server/openshell/handlers.h"
#include "cmd/server/openshell/map.h"
#include "cmd/server/sandbox/labels.h"
#include "cmd/server/sandbox/spec.h"
#include "common/wire/wire.h"

enum {
    JSON_BYTES = 256 * 1024,
    ANNOTATIONS_MAX = 64,
    ANNOTATION_BYTES = 64 * 1024,
    LIST_DEFAULT = 100,
    LIST_MAX = 1000,
    NAME_BYTES = 256,
    PAGE_ROWS = 200,
    SET_SPEC_BYTES = 1024 * 1024,  /* so many are enough to be read at once */
    PAGE_BYTES = 64 * 1024 * 1024, /* of labels: 25 KiB each at the most, and as they are read */
    SELECTOR_PAIRS = 64,
    SELECTOR_SHOWN_BYTES = 128 /* of one that is refused */
};

#define FORCE_METADATA "belay-force"

static enum err_code reply_sandbox(
    struct api_call *api,
    const struct sandbox_record *record,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const struct map_context context = map_context_of(api);
    Openshell__V1__SandboxResponse *reply =
        wire_new(api->arena, &openshell__v1__sandbox_response__descriptor);
    if (reply == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    reply->sandbox = map_sandbox(&context, record);
    *ret_reply = &reply->base;
    return reply->sandbox == NULL ? API_OUT_OF_MEMORY(err) : ERR_OK;
}

/* An object of the entries' keys and values; a JSON object names each key once. */
#define WRITE_OBJECT(out, entries, count)                         \
    do {                                                          \
        buf_append_char((out), '{');                              \
        for (size_t i_ = 0; i_ < (count); i_++) {                 \
            if (i_ > 0) {                                         \
                buf_append_char((out), ',');                      \
            }                                                     \
            buf_append_json((out), str_of((entries)[i_]->key));   \
            buf_append_char((out), ':');                          \
            buf_append_json((out), str_of((entries)[i_]->value)); \
        }                                                         \
        buf_append_char((out), '}');                              \
    } while (0)

static const char *annotation(const Openshell__V1__CreateSandboxRequest *request, const char *key)
{
    for (size_t i = 0; i < request->n_annotations; i++) {
        if (str_equal(str_of(request->annotations[i]->key), str_of(key))) {
            return request->annotations[i]->value;
        }
    }
    return "";
}

static enum err_code check_annotations(
    const Openshell__V1__CreateSandboxRequest *request, struct err_info *err)
{
    size_t bytes = 0;
    for (size_t i = 0; i < request->n_annotations; i++) {
        bytes += strlen(request->annotations[i]->key) + strlen(request->annotations[i]->value);
    }
    if (request->n_annotations > ANNOTATIONS_MAX || bytes > ANNOTATION_BYTES) {
        return ERR_SET(
            err,
            ERR_INVALID,
            "annotations: at most %d entries of together %d bytes",
            ANNOTATIONS_MAX,
            ANNOTATION_BYTES);
    }
    return ERR_OK;
}

OPENSHELL_HANDLER(create_sandbox)
{
    const Openshell__V1__CreateSandboxRequest *request =
        (const Openshell__V1__CreateSandboxRequest *)message;
    const struct lifecycle self = openshell_lifecycle(api);
    struct sandbox_record record;
    AUTO_BUF struct buf labels = BUF_INIT(JSON_BYTES);
    AUTO_BUF struct buf annotations = BUF_INIT(JSON_BYTES);
    api->target = arena_printf(api->arena, "sandbox/%s", request->name);
    TRY(check_annotations(request, err));
    WRITE_OBJECT(&labels, request->labels, request->n_labels);
    WRITE_OBJECT(&annotations, request->annotations, request->n_annotations);
    if (!buf_ok(&labels) || !buf_ok(&annotations)) {
        return API_OUT_OF_MEMORY(err);
    }
    const struct lifecycle_wish wish = {
        .name = request->name,
        .labels = buf_text(&labels),
        .annotations = buf_text(&annotations),
        .agent = annotation(request, SPEC_AGENT_ANNOTATION),
        .selector = annotation(request, SPEC_SELECTOR_ANNOTATION),
        .restart = annotation(request, SPEC_RESTART_ANNOTATION),
        .spec = request->spec,
    };
    TRY(lifecycle_create(&self, &wish, &record, err));
    api->target = arena_printf(api->arena, "sandbox/%s", record.id);
    return reply_sandbox(api, &record, ret_reply, err);
}

static enum err_code find(
    struct api_call *api, const char *name, struct sandbox_record *ret_record, struct err_info *err)
{
    api->target = arena_printf(api->arena, "sandbox/%s", name);
    TRY(store_sandbox_by_name(
        api->work->conn, api->workspace_id, str_of(name), api->arena, ret_record, err));
    api->target = arena_printf(api->arena, "sandbox/%s", ret_record->id);
    return ERR_OK;
}

OPENSHELL_HANDLER(get_sandbox)
{
    const Openshell__V1__GetSandboxRequest *request =
        (const Openshell__V1__GetSandboxRequest *)message;
    struct sandbox_record record;
    TRY(find(api, request->name, &record, err));
    return reply_sandbox(api, &record, ret_reply, err);
}

/* "key=value,key=value": equality alone, empty pairs skipped. What is left is a selector. */
static enum err_code parse_selector(
    struct api_call *api, const char *text, struct selector **ret_selector, struct err_info *err)
{
    AUTO_BUF struct buf kept = BUF_INIT(JSON_BYTES);
    struct str_view rest = str_of(text);
    size_t pairs = 0;
    while (rest.len > 0) {
        struct str_view pair = rest;
        if (!str_cut(rest, ',', &pair, &rest)) {
            rest = STR_NONE;
        }
        pair = str_trim(pair);
        if (pair.len == 0) {
            continue;
        }
        struct str_view key = pair;
        struct str_view value = STR_NONE;
        bool is_pair =
            str_cut(pair, '=', &key, &value) && wire_is_label(str_trim(key), str_trim(value));
        if (!is_pair) {
            int shown = pair.len > SELECTOR_SHOWN_BYTES ? SELECTOR_SHOWN_BYTES : (int)pair.len;
            return ERR_SET(
                err,
                ERR_INVALID,
                "label_selector: \"%.*s\" is not key=value as labels have them",
                shown,
                pair.ptr);
        }
        if (++pairs > SELECTOR_PAIRS) {
            return ERR_SET(err, ERR_INVALID, "label_selector: more than %d pairs", SELECTOR_PAIRS);
        }
        buf_printf(&kept, "%s%.*s", pairs > 1 ? "," : "", (int)pair.len, pair.ptr);
    }
    const char *copy = arena_strdup(api->arena, buf_text(&kept));
    if (copy == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    return selector_parse(str_of(copy), api->arena, ret_selector, err);
}

/* One answer: so many of those that match, after so many that are passed over. */
struct listing {
    const struct selector *selector;
    bool is_selected; /* else every sandbox matches */
    size_t skip;
    size_t limit;
    size_t bytes; /* of the answer so far */
    Openshell__V1__ListSandboxesResponse *reply;
    const struct sandbox_head *chosen[PAGE_ROWS]; /* of the page, not yet read */
    size_t chosen_count;
    int64_t chosen_bytes; /* of their specs */
};

static enum err_code add_sandbox(
    const struct map_context *context,
    struct listing *listing,
    const struct sandbox_record *record,
    struct err_info *err)
{
    Openshell__V1__Sandbox *sandbox = map_sandbox(context, record);
    if (sandbox == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    size_t count = listing->reply->n_sandboxes;
    listing->bytes += protobuf_c_message_get_packed_size(&sandbox->base) + MAP_FIELD_BYTES;
    if (listing->bytes > MAP_ANSWER_BYTES && count > 0) {
        return ERR_SET(
            err,
            ERR_LIMIT,
            "limit: the answer would be larger than the 4 MiB that clients take; here a limit of "
            "%zu fits",
            count);
    }
    listing->reply->sandboxes[listing->reply->n_sandboxes++] = sandbox;
    return ERR_OK;
}

static enum err_code add_chosen(struct api_call *api, struct listing *listing, struct err_info *err)
{
    const struct map_context context = map_context_of(api);
    struct store_list list = { .count = 0 };
    if (listing->chosen_count > 0) {
        TRY(store_sandbox_set(
            api->work->conn, listing->chosen, listing->chosen_count, api->arena, &list, err));
    }
    listing->chosen_count = 0;
    listing->chosen_bytes = 0;
    const struct sandbox_record *records = list.records;
    for (size_t i = 0; i < list.count; i++) {
        TRY(add_sandbox(&context, listing, &records[i], err));
    }
    return ERR_OK;
}

static bool is_full(const struct listing *listing)
{
    return listing->reply->n_sandboxes + listing->chosen_count >= listing->limit;
}

static enum err_code list_page(
    struct api_call *api,
    struct listing *listing,
    const struct store_list *page,
    struct arena *arena,
    struct err_info *err)
{
    const struct sandbox_head *heads = page->records;
    for (size_t i = 0; i < page->count && !is_full(listing); i++) {
        bool matches = !listing->is_selected
            || selector_matches(
                listing->selector,
                labels_find,
                labels_read(api->work->service->schema, heads[i].labels, arena));
        if (matches && listing->skip > 0) {
            listing->skip--;
        } else if (matches) {
            listing->chosen[listing->chosen_count++] = &heads[i];
            listing->chosen_bytes += heads[i].spec_bytes;
        }
        if (listing->chosen_bytes >= SET_SPEC_BYTES) {
            TRY(add_chosen(api, listing, err));
        }
    }
    return add_chosen(api, listing, err);
}

/* Whole records are read of those alone that are answered, some at a time. */
static enum err_code list_all(struct api_call *api, struct listing *listing, struct err_info *err)
{
    AUTO_ARENA struct arena *arena = arena_create(PAGE_BYTES);
    char after_name[NAME_BYTES] = "";
    int64_t after_workspace = 0;
    struct store_list page;
    do {
        arena_reset(arena);
        const struct sandbox_head_filter filter = { .after_workspace = after_workspace,
                                                    .after_name = str_of(after_name),
                                                    .limit = PAGE_ROWS };
        TRY(store_sandbox_head_list(
            api->work->conn, api->workspace_id, &filter, arena, &page, err));
        TRY(list_page(api, listing, &page, arena, err));
        if (page.count > 0) {
            const struct sandbox_head *last = (struct sandbox_head *)page.records + page.count - 1;
            TRY(str_copy(str_of(last->name), after_name, sizeof(after_name)));
            after_workspace = last->workspace_id;
        }
    } while (page.count == PAGE_ROWS && !is_full(listing));
    return ERR_OK;
}

OPENSHELL_HANDLER(list_sandboxes)
{
    const Openshell__V1__ListSandboxesRequest *request =
        (const Openshell__V1__ListSandboxesRequest *)message;
    struct selector *selector = NULL;
    size_t limit = request->limit == 0 ? LIST_DEFAULT : request->limit;
    limit = limit > LIST_MAX ? LIST_MAX : limit;
    TRY(parse_selector(api, request->label_selector, &selector, err));
    Openshell__V1__ListSandboxesResponse *reply =
        wire_new(api->arena, &openshell__v1__list_sandboxes_response__descriptor);
    if (reply == NULL
        || (reply->sandboxes = arena_alloc(api->arena, limit * sizeof(void *))) == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    struct listing listing = {
        .selector = selector,
        .is_selected = request->label_selector[0] != '\0',
        .skip = request->offset,
        .limit = limit,
        .reply = reply,
    };
    TRY(list_all(api, &listing, err));
    *ret_reply = &reply->base;
    return ERR_OK;
}

static enum err_code order(
    struct api_call *api,
    const char *name,
    enum phase_order what,
    struct sandbox_record *ret_record,
    struct err_info *err)
{
    const struct lifecycle self = openshell_lifecycle(api);
    TRY(find(api, name, ret_record, err));
    return lifecycle_order(&self, ret_record, what, err);
}

/* With the metadata "belay-force: true" the record goes at once, whatever its agent still holds. */
OPENSHELL_HANDLER(delete_sandbox)
{
    const Openshell__V1__DeleteSandboxRequest *request =
        (const Openshell__V1__DeleteSandboxRequest *)message;
    const struct lifecycle self = openshell_lifecycle(api);
    struct sandbox_record record;
    unsigned count = 0;
    bool is_forced = str_equal(rpc_call_metadata(api->call, FORCE_METADATA, &count), STR("true"));
    TRY(find(api, request->name, &record, err));
    TRY(lifecycle_delete(&self, &record, is_forced, err));
    Openshell__V1__DeleteSandboxResponse *reply =
        wire_new(api->arena, &openshell__v1__delete_sandbox_response__descriptor);
    if (reply == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    reply->deleted = true;
    *ret_reply = &reply->base;
    return ERR_OK;
}

OPENSHELL_HANDLER(stop_sandbox)
{
    const Openshell__V1__StopSandboxRequest *request =
        (const Openshell__V1__StopSandboxRequest *)message;
    struct sandbox_record record;
    TRY(order(api, request->name, PHASE_ORDER_STOP, &record, err));
    return reply_sandbox(api, &record, ret_reply, err);
}

OPENSHELL_HANDLER(start_sandbox)
{
    const Openshell__V1__StartSandboxRequest *request =
        (const Openshell__V1__StartSandboxRequest *)message;
    struct sandbox_record record;
    TRY(order(api, request->name, PHASE_ORDER_START, &record, err));
    return reply_sandbox(api, &record, ret_reply, err);
}
