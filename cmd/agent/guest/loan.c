#include "cmd/agent/guest/loan.h"

#include "common/base/cleanup.h"
#include "common/crypto/hash.h"
#include "common/sys/file.h"

#include <inttypes.h>

enum {
    MODE_PRIVATE = 0600,
    SUM_BYTES = 8 /* of the digest: against damage, not against a person */
};

#define HEAD     "belay-loan 1\n"
#define SUM_NAME "sum "

enum field_kind {
    FIELD_TEXT,
    FIELD_NUMBER,
    FIELD_PHASE
};

/* In the order of the text. */
static const struct {
    const char *name;
    enum field_kind kind;
    size_t offset;
    uint64_t max; /* of a text, the size of its array */
} fields[] = {
    { "loan", FIELD_TEXT, offsetof(struct loan, id), LOAN_ID_BYTES },
    { "workspace", FIELD_TEXT, offsetof(struct loan, workspace), LOAN_WORKSPACE_BYTES },
    { "name", FIELD_TEXT, offsetof(struct loan, name), LOAN_NAME_BYTES },
    { "sandboxes", FIELD_NUMBER, offsetof(struct loan, room.sandboxes), 4096 },
    { "cpu_millis", FIELD_NUMBER, offsetof(struct loan, room.cpu_millis), 10000000 },
    { "memory_bytes",
      FIELD_NUMBER,
      offsetof(struct loan, room.memory_bytes),
      UINT64_C(1125899906842624) },
    { "disk_bytes",
      FIELD_NUMBER,
      offsetof(struct loan, room.disk_bytes),
      UINT64_C(1125899906842624) },
    { "phase", FIELD_PHASE, 0, 0 },
};

static const char *const phases[] = { [LOAN_RUNNING] = "running", [LOAN_ENDING] = "ending" };

static void add_sum(struct buf *text)
{
    uint8_t digest[HASH_SHA256_BYTES];
    char digits[2 * SUM_BYTES + 1];
    hash_sha256(buf_view(text), digest);
    str_hex_encode(digest, SUM_BYTES, digits);
    buf_printf(text, SUM_NAME "%s\n", digits);
}

static void write_text(const struct loan *loan, struct buf *text)
{
    buf_append_str(text, STR(HEAD));
    for (size_t i = 0; i < ARRAY_LENGTH(fields); i++) {
        const char *at = (const char *)loan + fields[i].offset;
        uint64_t number = 0;
        switch (fields[i].kind) {
        case FIELD_TEXT:
            buf_printf(text, "%s %s\n", fields[i].name, at);
            break;
        case FIELD_NUMBER:
            memcpy(&number, at, sizeof(number));
            buf_printf(text, "%s %" PRIu64 "\n", fields[i].name, number);
            break;
        case FIELD_PHASE:
            buf_printf(text, "%s %s\n", fields[i].name, phases[loan->phase]);
            break;
        }
    }
    add_sum(text);
}

static bool is_plain(struct str_view text)
{
    bool plain = text.len > 0 && str_is_utf8(text, NULL);
    for (size_t i = 0; i < text.len; i++) {
        plain = plain && (unsigned char)text.ptr[i] >= 0x20 && text.ptr[i] != 0x7f;
    }
    return plain;
}

static bool read_phase(struct str_view value, struct loan *loan)
{
    for (size_t i = 0; i < ARRAY_LENGTH(phases); i++) {
        if (str_equal(value, str_of(phases[i]))) {
            loan->phase = (enum loan_phase)i;
            return true;
        }
    }
    return false;
}

static bool read_field(size_t field, struct str_view value, struct loan *loan)
{
    char *at = (char *)loan + fields[field].offset;
    uint64_t number = 0;
    switch (fields[field].kind) {
    case FIELD_TEXT:
        return is_plain(value) && str_copy(value, at, fields[field].max) == ERR_OK;
    case FIELD_NUMBER:
        if (str_parse_uint64(value, fields[field].max, &number) != ERR_OK || number == 0) {
            return false;
        }
        memcpy(at, &number, sizeof(number));
        return true;
    case FIELD_PHASE:
        return read_phase(value, loan);
    }
    return false;
}

/* The line of a field, wherever it stands. */
static bool find_field(struct str_view text, size_t field, struct loan *loan)
{
    struct str_view line = STR_NONE;
    struct str_view name = STR_NONE;
    struct str_view value = STR_NONE;
    while (str_cut(text, '\n', &line, &text)) {
        if (str_cut(line, ' ', &name, &value) && str_equal(name, str_of(fields[field].name))) {
            return read_field(field, value, loan);
        }
    }
    return false;
}

void loan_salvage(struct str_view text, struct loan *ret_loan)
{
    bool has_room = true;
    memset(ret_loan, 0, sizeof(*ret_loan));
    for (size_t i = 0; i < ARRAY_LENGTH(fields); i++) {
        bool is_there = find_field(text, i, ret_loan);
        has_room = has_room && (is_there || fields[i].kind != FIELD_NUMBER);
    }
    if (!has_room) {
        ret_loan->room = (struct room){ .sandboxes = 0 };
    }
}

/* There is one text of a loan: what is another than the one that its fields give is damaged. */
enum err_code loan_parse(struct str_view text, struct loan *ret_loan, struct err_info *err)
{
    struct loan loan;
    AUTO_BUF struct buf again = BUF_INIT(LOAN_TEXT_MAX);
    loan_salvage(text, &loan);
    write_text(&loan, &again);
    bool is_whole = loan.id[0] != '\0' && loan.workspace[0] != '\0' && loan.name[0] != '\0'
        && loan.room.sandboxes != 0;
    if (!is_whole || !buf_ok(&again) || !str_equal(text, buf_view(&again))) {
        return ERR_SET(err, ERR_CORRUPT, "not as it was written");
    }
    *ret_loan = loan;
    return ERR_OK;
}

enum err_code loan_format(const struct loan *loan, struct buf *text, struct err_info *err)
{
    AUTO_BUF struct buf own = BUF_INIT(LOAN_TEXT_MAX);
    struct loan again;
    write_text(loan, &own);
    if (loan_parse(buf_view(&own), &again, NULL) != ERR_OK) {
        return ERR_SET(err, ERR_INVALID, "loan: an empty field, a line break or an amount of 0");
    }
    buf_append_str(text, buf_view(&own));
    return ERR_OK;
}

/* ---- Files ---- */

char *loan_path(const char *folder, unsigned number, const char *suffix)
{
    return mem_printf("%s/%u%s", folder, number, suffix);
}

enum err_code loan_load(
    const char *folder, unsigned number, struct loan *ret_loan, struct err_info *err)
{
    AUTO_FREE char *path = loan_path(folder, number, ".loan");
    AUTO_BUF struct buf text = BUF_INIT(LOAN_TEXT_MAX);
    memset(ret_loan, 0, sizeof(*ret_loan));
    TRY(file_read_private(path, LOAN_TEXT_MAX - 1, &text, err));
    enum err_code code = loan_parse(buf_view(&text), ret_loan, err);
    if (code != ERR_OK) {
        loan_salvage(buf_view(&text), ret_loan);
        err_prefix(err, "%s", path);
    }
    return code;
}

enum err_code loan_save(
    const char *folder, unsigned number, const struct loan *loan, struct err_info *err)
{
    AUTO_FREE char *path = loan_path(folder, number, ".loan");
    AUTO_BUF struct buf text = BUF_INIT(LOAN_TEXT_MAX);
    TRY(loan_format(loan, &text, err));
    return file_write_atomic(path, text.data, text.len, MODE_PRIVATE, err);
}
