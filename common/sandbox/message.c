#include "common/sandbox/message.h"

#include "common/base/cleanup.h"

enum field_kind {
    FIELD_NONE = 0,
    FIELD_NUMBER,
    FIELD_BYTES,
    FIELD_TEXT, /* bytes without a NUL */
    FIELD_LIST
};

struct field {
    enum field_kind kind;
    size_t offset;
    uint64_t max; /* of a number, or of the bytes */
};

enum {
    FIELDS_MAX = 29
};

#define PATH_BYTES  4095
#define ANY         UINT64_MAX
#define SECONDS_MAX (UINT64_C(10) * 366 * 86400 * 1000000)

#define NUMBER(member, top)                                                            \
    {                                                                                  \
        .kind = FIELD_NUMBER, .offset = offsetof(struct message, member), .max = (top) \
    }
#define BYTES(member, top)                                                            \
    {                                                                                 \
        .kind = FIELD_BYTES, .offset = offsetof(struct message, member), .max = (top) \
    }
#define TEXT(member, top)                                                            \
    {                                                                                \
        .kind = FIELD_TEXT, .offset = offsetof(struct message, member), .max = (top) \
    }
#define LIST(member, top)                                                            \
    {                                                                                \
        .kind = FIELD_LIST, .offset = offsetof(struct message, member), .max = (top) \
    }

#define EXEC_FIELDS                                                                           \
    {                                                                                         \
        NUMBER(exec.tty, 1), NUMBER(exec.rows, 65535), NUMBER(exec.columns, 65535),           \
            NUMBER(exec.uid, 65535), TEXT(exec.cwd, PATH_BYTES),                              \
            LIST(exec.argv, MESSAGE_WORDS_BYTES_MAX), LIST(exec.env, MESSAGE_WORDS_BYTES_MAX) \
    }
#define STARTED_FIELDS                                                                       \
    {                                                                                        \
        NUMBER(started.pid, INT32_MAX), NUMBER(started.number, 4095), NUMBER(started.tty, 1) \
    }
#define EXITED_FIELDS                                                                             \
    {                                                                                             \
        NUMBER(exited.status, 65535), NUMBER(exited.user_us, ANY), NUMBER(exited.system_us, ANY), \
            NUMBER(exited.peak_kib, ANY)                                                          \
    }
#define TAKEN_FIELDS                                       \
    {                                                      \
        NUMBER(taken.stream, 2), NUMBER(taken.offset, ANY) \
    }
#define SIGNAL_FIELDS             \
    {                             \
        NUMBER(signal.number, 64) \
    }
#define CONNECT_FIELDS                                                   \
    {                                                                    \
        NUMBER(connect.address, UINT32_MAX), NUMBER(connect.port, 65535) \
    }
#define CONNECTED_FIELDS               \
    {                                  \
        NUMBER(connected.number, 4095) \
    }
#define NO_FIELDS              \
    {                          \
        {                      \
            .kind = FIELD_NONE \
        }                      \
    }

static const struct type {
    const char *name;
    uint16_t type;
    struct field fields[FIELDS_MAX + 1];
} types[] = {
    { "attach", MESSAGE_ATTACH, { NUMBER(attach.last_sample, ANY) } },
    { "exec", MESSAGE_EXEC, EXEC_FIELDS },
    { "input", MESSAGE_INPUT, { BYTES(input.data, MESSAGE_DATA_BYTES_MAX) } },
    { "input_end", MESSAGE_INPUT_END, NO_FIELDS },
    { "taken", MESSAGE_TAKEN, TAKEN_FIELDS },
    { "resize", MESSAGE_RESIZE, { NUMBER(resize.rows, 65535), NUMBER(resize.columns, 65535) } },
    { "signal", MESSAGE_SIGNAL, SIGNAL_FIELDS },
    { "release", MESSAGE_RELEASE, NO_FIELDS },
    { "stop", MESSAGE_STOP, { NUMBER(stop.grace_us, SECONDS_MAX) } },
    { "measure", MESSAGE_MEASURE, NO_FIELDS },
    { "connect", MESSAGE_CONNECT, CONNECT_FIELDS },
    { "order", MESSAGE_ORDER, { TEXT(order.dir, PATH_BYTES) } },
    { "state",
      MESSAGE_STATE,
      { NUMBER(state.phase, 15),
        NUMBER(state.init_pid, INT32_MAX),
        NUMBER(state.init_start, ANY),
        NUMBER(state.started_us, ANY),
        NUMBER(state.has_main, 1) } },
    { "ready", MESSAGE_READY, NO_FIELDS },
    { "failed",
      MESSAGE_FAILED,
      { NUMBER(failed.number, 4095), TEXT(failed.text, MESSAGE_TEXT_BYTES_MAX) } },
    { "started", MESSAGE_STARTED, STARTED_FIELDS },
    { "output",
      MESSAGE_OUTPUT,
      { NUMBER(output.stream, 2),
        NUMBER(output.offset, ANY),
        BYTES(output.data, MESSAGE_DATA_BYTES_MAX) } },
    { "input_taken", MESSAGE_INPUT_TAKEN, TAKEN_FIELDS },
    { "exited", MESSAGE_EXITED, EXITED_FIELDS },
    { "sample",
      MESSAGE_SAMPLE,
      { NUMBER(sample.sequence, ANY),
        NUMBER(sample.time_us, ANY),
        NUMBER(sample.run_us, ANY),
        NUMBER(sample.cpu_us, ANY),
        NUMBER(sample.memory_bytes, ANY),
        NUMBER(sample.memory_peak_bytes, ANY),
        NUMBER(sample.memory_byte_ms, ANY),
        NUMBER(sample.read_bytes, ANY),
        NUMBER(sample.write_bytes, ANY),
        NUMBER(sample.pids, ANY),
        NUMBER(sample.pids_peak, ANY),
        NUMBER(sample.disk_bytes, ANY),
        NUMBER(sample.oom_kills, ANY) } },
    { "ended",
      MESSAGE_ENDED,
      { NUMBER(ended.has_status, 1), NUMBER(ended.status, 65535), NUMBER(ended.reason, 15) } },
    { "connected", MESSAGE_CONNECTED, CONNECTED_FIELDS },
    { "setup",
      MESSAGE_SETUP,
      { NUMBER(setup.open_files, 1 << 20),
        NUMBER(setup.want_landlock, 2),
        LIST(setup.read_only, 65536),
        LIST(setup.read_write, 65536) } },
    { "spawn", MESSAGE_SPAWN, EXEC_FIELDS },
    { "kill", MESSAGE_KILL, SIGNAL_FIELDS },
    { "dial", MESSAGE_DIAL, CONNECT_FIELDS },
    { "hello", MESSAGE_HELLO, { NUMBER(hello.landlock_abi, 255) } },
    { "spawned", MESSAGE_SPAWNED, STARTED_FIELDS },
    { "reaped", MESSAGE_REAPED, EXITED_FIELDS },
    { "dialed", MESSAGE_DIALED, CONNECTED_FIELDS },
    { "large", MESSAGE_LARGE, { NUMBER(large.bytes, MESSAGE_BYTES_MAX) } },
    { "spec",
      MESSAGE_SPEC,
      { NUMBER(spec.driver, 3),
        NUMBER(spec.generation, UINT32_MAX),
        NUMBER(spec.uid_base, UINT32_MAX - 65536),
        NUMBER(spec.uid, 65533),
        NUMBER(spec.flags, 255),
        NUMBER(spec.network, 2),
        NUMBER(spec.landlock, 2),
        NUMBER(spec.tmp_bytes, INT64_MAX),
        NUMBER(spec.disk_bytes, INT64_MAX),
        NUMBER(spec.log_bytes, INT64_C(1) << 40),
        NUMBER(spec.open_files, 1 << 20),
        NUMBER(spec.wall_us, SECONDS_MAX),
        NUMBER(spec.sample_us, SECONDS_MAX),
        NUMBER(spec.rows, 65535),
        NUMBER(spec.columns, 65535),
        NUMBER(spec.memory_bytes, INT64_MAX),
        NUMBER(spec.pids, INT32_MAX),
        NUMBER(spec.cpu_milli, 10000000),
        NUMBER(spec.io_bytes_per_second, INT64_MAX),
        TEXT(spec.id, 63),
        TEXT(spec.hostname, 63),
        TEXT(spec.image, PATH_BYTES),
        TEXT(spec.cwd, PATH_BYTES),
        LIST(spec.argv, MESSAGE_WORDS_BYTES_MAX),
        LIST(spec.env, MESSAGE_WORDS_BYTES_MAX),
        LIST(spec.cgroups, 65536),
        LIST(spec.binds, 65536),
        LIST(spec.read_only, 65536),
        LIST(spec.read_write, 65536) } },
};

static const struct type *find_type(unsigned number)
{
    for (size_t i = 0; i < ARRAY_LENGTH(types); i++) {
        if (types[i].type == number) {
            return &types[i];
        }
    }
    return NULL;
}

const char *message_name(enum message_type type)
{
    const struct type *found = find_type(type);
    return found == NULL ? NULL : found->name;
}

bool message_connect_is_local(const struct message_connect *connect)
{
    bool is_loopback = connect->address == MESSAGE_LOOPBACK_6 || connect->address >> 24 == 127;
    return is_loopback && connect->port > 0;
}

static void put_number(struct buf *buf, uint64_t value, size_t bytes)
{
    char out[8];
    for (size_t i = 0; i < bytes; i++) {
        out[i] = (char)(value >> (8 * i) & 0xff);
    }
    buf_append(buf, out, bytes);
}

static uint64_t get_number(const char *data, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) {
        value |= (uint64_t)(uint8_t)data[i] << (8 * i);
    }
    return value;
}

static bool is_list(struct str_view data)
{
    size_t count = 0;
    if (data.len == 0) {
        return true;
    }
    for (size_t i = 0; i < data.len; i++) {
        count += data.ptr[i] == '\0' ? 1 : 0;
    }
    return data.ptr[data.len - 1] == '\0' && count <= MESSAGE_WORDS_MAX;
}

static bool fits(const struct field *field, struct str_view data)
{
    if (data.len > field->max) {
        return false;
    }
    if (field->kind == FIELD_TEXT) {
        return data.len == 0 || memchr(data.ptr, '\0', data.len) == NULL;
    }
    return field->kind == FIELD_BYTES || is_list(data);
}

/* A view and a list have the same shape; which one a field is stands in the table. */
static struct str_view get_view(const struct message *message, const struct field *field)
{
    const char *at = (const char *)message + field->offset;
    if (field->kind == FIELD_LIST) {
        struct message_list list;
        memcpy(&list, at, sizeof(list));
        return str_from(list.ptr, list.len);
    }
    struct str_view view;
    memcpy(&view, at, sizeof(view));
    return view;
}

static void set_view(struct message *message, const struct field *field, struct str_view data)
{
    char *at = (char *)message + field->offset;
    if (field->kind == FIELD_LIST) {
        struct message_list list = { data.ptr, data.len };
        memcpy(at, &list, sizeof(list));
    } else {
        memcpy(at, &data, sizeof(data));
    }
}

static bool encode_field(const struct message *message, const struct field *field, struct buf *buf)
{
    if (field->kind == FIELD_NUMBER) {
        uint64_t value = 0;
        memcpy(&value, (const char *)message + field->offset, sizeof(value));
        put_number(buf, value, 8);
        return value <= field->max;
    }
    struct str_view data = get_view(message, field);
    if (!fits(field, data)) {
        return false;
    }
    put_number(buf, data.len, 4);
    buf_append_str(buf, data);
    return true;
}

enum err_code message_encode(const struct message *message, struct buf *buf, struct err_info *err)
{
    const struct type *type = find_type(message->type);
    size_t before = buf->len;
    if (type == NULL) {
        return ERR_SET(err, ERR_INVALID, "message: no type %d", (int)message->type);
    }
    put_number(buf, MESSAGE_VERSION, 2);
    put_number(buf, type->type, 2);
    put_number(buf, 0, 4);
    put_number(buf, message->id, 8);
    for (size_t i = 0; type->fields[i].kind != FIELD_NONE; i++) {
        if (!encode_field(message, &type->fields[i], buf)) {
            buf->len = before;
            return ERR_SET(
                err, ERR_INVALID, "message %s: field %zu exceeds its bound", type->name, i + 1);
        }
    }
    if (!buf_ok(buf)) {
        buf->len = before;
        return ERR_SET(err, ERR_LIMIT, "message %s: too large", type->name);
    }
    size_t body = buf->len - before - MESSAGE_HEADER_BYTES;
    for (size_t i = 0; i < 4; i++) {
        buf->data[before + 4 + i] = (char)(body >> (8 * i) & 0xff);
    }
    return ERR_OK;
}

/* Takes one field off the front of *rest; false: it is not there, or out of its bounds. */
static bool decode_field(struct message *message, const struct field *field, struct str_view *rest)
{
    size_t head = field->kind == FIELD_NUMBER ? 8 : 4;
    if (rest->len < head) {
        return false;
    }
    uint64_t value = get_number(rest->ptr, head);
    *rest = str_from(rest->ptr + head, rest->len - head);
    if (field->kind == FIELD_NUMBER) {
        memcpy((char *)message + field->offset, &value, sizeof(value));
        return value <= field->max;
    }
    if (value > rest->len) {
        return false;
    }
    struct str_view data = str_from(rest->ptr, (size_t)value);
    *rest = str_from(rest->ptr + value, rest->len - (size_t)value);
    set_view(message, field, data);
    return fits(field, data);
}

enum err_code message_decode(
    struct str_view data, struct message *ret_message, struct err_info *err)
{
    struct message message = { .type = 0 };
    if (data.len < MESSAGE_HEADER_BYTES) {
        return ERR_SET(err, ERR_INVALID, "message: %zu bytes are no header", data.len);
    }
    if (get_number(data.ptr, 2) != MESSAGE_VERSION) {
        return ERR_SET(
            err,
            ERR_UNSUPPORTED,
            "message: version %u, we speak %d",
            (unsigned)get_number(data.ptr, 2),
            MESSAGE_VERSION);
    }
    const struct type *type = find_type((unsigned)get_number(data.ptr + 2, 2));
    if (type == NULL || get_number(data.ptr + 4, 4) != data.len - MESSAGE_HEADER_BYTES) {
        return ERR_SET(
            err, ERR_INVALID, "message: %s", type == NULL ? "unknown type" : "wrong length");
    }
    message.type = (enum message_type)type->type;
    message.id = get_number(data.ptr + 8, 8);
    struct str_view rest =
        str_from(data.ptr + MESSAGE_HEADER_BYTES, data.len - MESSAGE_HEADER_BYTES);
    for (size_t i = 0; type->fields[i].kind != FIELD_NONE; i++) {
        if (!decode_field(&message, &type->fields[i], &rest)) {
            return ERR_SET(
                err,
                ERR_INVALID,
                "message %s: field %zu is cut off or exceeds its bound",
                type->name,
                i + 1);
        }
    }
    if (rest.len != 0) {
        return ERR_SET(err, ERR_INVALID, "message %s: bytes follow its end", type->name);
    }
    *ret_message = message;
    return ERR_OK;
}

bool message_list_next(const struct message_list *list, size_t *cursor, struct str_view *ret_item)
{
    if (*cursor >= list->len) {
        return false;
    }
    *ret_item = str_of(list->ptr + *cursor);
    *cursor += ret_item->len + 1;
    return true;
}

size_t message_list_count(const struct message_list *list)
{
    size_t count = 0;
    size_t cursor = 0;
    struct str_view item;
    while (message_list_next(list, &cursor, &item)) {
        count++;
    }
    return count;
}

void message_list_add(struct buf *buf, struct str_view item)
{
    buf_append_str(buf, item);
    buf_append_char(buf, '\0');
}

struct message_list message_list_of(const struct buf *buf)
{
    return (struct message_list){ buf->data, buf->len };
}

const char **message_list_array(const struct message_list *list)
{
    const char **array = mem_alloc_array(message_list_count(list) + 1, sizeof(*array));
    size_t count = 0;
    size_t cursor = 0;
    struct str_view item;
    while (message_list_next(list, &cursor, &item)) {
        array[count++] = item.ptr;
    }
    return array;
}
