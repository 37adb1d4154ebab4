#include "common/sandbox/record.h"

#include "common/base/cleanup.h"

#include <inttypes.h>

static void skip_space(struct str_view *rest)
{
    while (rest->len > 0
           && (rest->ptr[0] == ' ' || rest->ptr[0] == '\t' || rest->ptr[0] == '\r'
               || rest->ptr[0] == '\n')) {
        *rest = str_from(rest->ptr + 1, rest->len - 1);
    }
}

static bool take_char(struct str_view *rest, char c)
{
    skip_space(rest);
    if (rest->len == 0 || rest->ptr[0] != c) {
        return false;
    }
    *rest = str_from(rest->ptr + 1, rest->len - 1);
    return true;
}

/* What stands between quotes. Texts of these files are ids and paths of our own: none needs an
 * escape, and one that has it is not ours. */
static bool take_text(struct str_view *rest, struct str_view *ret_text)
{
    if (!take_char(rest, '"')) {
        return false;
    }
    for (size_t i = 0; i < rest->len; i++) {
        if (rest->ptr[i] == '"') {
            *ret_text = str_from(rest->ptr, i);
            *rest = str_from(rest->ptr + i + 1, rest->len - i - 1);
            return true;
        }
        if (rest->ptr[i] == '\\' || (uint8_t)rest->ptr[i] < 0x20) {
            return false;
        }
    }
    return false;
}

static bool take_number(struct str_view *rest, struct str_view *ret_digits)
{
    size_t count = 0;
    uint64_t value = 0;
    while (count < rest->len && rest->ptr[count] >= '0' && rest->ptr[count] <= '9') {
        count++;
    }
    *ret_digits = str_from(rest->ptr, count);
    *rest = str_from(rest->ptr + count, rest->len - count);
    return str_parse_uint64(*ret_digits, UINT64_MAX, &value) == ERR_OK;
}

static bool take_field(struct str_view *rest, struct record *record)
{
    struct record_field field = { .is_number = false };
    if (record->count == RECORD_FIELDS_MAX || !take_text(rest, &field.name)
        || !take_char(rest, ':')) {
        return false;
    }
    skip_space(rest);
    field.is_number = rest->len > 0 && rest->ptr[0] != '"';
    bool taken = field.is_number ? take_number(rest, &field.text) : take_text(rest, &field.text);
    record->fields[record->count++] = field;
    return taken;
}

enum err_code record_parse(struct str_view json, struct record *ret_record, struct err_info *err)
{
    struct str_view rest = json;
    ret_record->count = 0;
    bool good = json.len <= RECORD_BYTES_MAX && take_char(&rest, '{');
    if (good && !take_char(&rest, '}')) {
        do {
            good = take_field(&rest, ret_record);
        } while (good && take_char(&rest, ','));
        good = good && take_char(&rest, '}');
    }
    skip_space(&rest);
    if (!good || rest.len != 0) {
        ret_record->count = 0;
        return ERR_SET(err, ERR_CORRUPT, "not a flat object of texts and numbers");
    }
    return ERR_OK;
}

static const struct record_field *find(const struct record *record, const char *name)
{
    for (size_t i = 0; i < record->count; i++) {
        if (str_equal(record->fields[i].name, str_of(name))) {
            return &record->fields[i];
        }
    }
    return NULL;
}

struct str_view record_text(const struct record *record, const char *name)
{
    const struct record_field *field = find(record, name);
    return field == NULL || field->is_number ? STR_NONE : field->text;
}

uint64_t record_number(const struct record *record, const char *name)
{
    const struct record_field *field = find(record, name);
    uint64_t value = 0;
    if (field == NULL || !field->is_number
        || str_parse_uint64(field->text, UINT64_MAX, &value) != ERR_OK) {
        return 0;
    }
    return value;
}

bool record_has(const struct record *record, const char *name)
{
    return find(record, name) != NULL;
}

void record_open(struct buf *buf)
{
    buf_append_char(buf, '{');
}

static void put_name(struct buf *buf, const char *name)
{
    if (buf->len > 1) {
        buf_append_char(buf, ',');
    }
    buf_printf(buf, "\n  \"%s\": ", name);
}

void record_put_text(struct buf *buf, const char *name, struct str_view text)
{
    put_name(buf, name);
    buf_append_json(buf, text);
}

void record_put_number(struct buf *buf, const char *name, uint64_t value)
{
    put_name(buf, name);
    buf_printf(buf, "%" PRIu64, value);
}

void record_close(struct buf *buf)
{
    buf_append_str(buf, STR("\n}\n"));
}

void record_tame(char *text)
{
    str_make_utf8(text);
    for (char *at = text; *at != '\0'; at++) {
        bool is_escaped = *at == '"' || *at == '\\' || (unsigned char)*at < ' ' || *at == 0x7f;
        *at = is_escaped ? '\'' : *at;
    }
}

/* ---- Samples ---- */

static const struct {
    const char *name;
    size_t offset;
} sample_fields[] = {
    { "sequence", offsetof(struct message_sample, sequence) },
    { "time_us", offsetof(struct message_sample, time_us) },
    { "run_us", offsetof(struct message_sample, run_us) },
    { "cpu_us", offsetof(struct message_sample, cpu_us) },
    { "memory_bytes", offsetof(struct message_sample, memory_bytes) },
    { "memory_peak_bytes", offsetof(struct message_sample, memory_peak_bytes) },
    { "memory_byte_ms", offsetof(struct message_sample, memory_byte_ms) },
    { "read_bytes", offsetof(struct message_sample, read_bytes) },
    { "write_bytes", offsetof(struct message_sample, write_bytes) },
    { "pids", offsetof(struct message_sample, pids) },
    { "pids_peak", offsetof(struct message_sample, pids_peak) },
    { "disk_bytes", offsetof(struct message_sample, disk_bytes) },
    { "oom_kills", offsetof(struct message_sample, oom_kills) },
};

void record_put_sample(struct buf *buf, const struct message_sample *sample)
{
    for (size_t i = 0; i < ARRAY_LENGTH(sample_fields); i++) {
        uint64_t value = 0;
        memcpy(&value, (const char *)sample + sample_fields[i].offset, sizeof(value));
        record_put_number(buf, sample_fields[i].name, value);
    }
}

void record_sample(const struct record *record, struct message_sample *ret_sample)
{
    for (size_t i = 0; i < ARRAY_LENGTH(sample_fields); i++) {
        uint64_t value = record_number(record, sample_fields[i].name);
        memcpy((char *)ret_sample + sample_fields[i].offset, &value, sizeof(value));
    }
}
