#include "cmd/agent/workload/note.h"

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/sandbox/record.h"
#include "common/sys/file.h"
#include "common/wire/wire.h"

#include <stdio.h>

enum {
    POLICY_BYTES_MAX = 1024 * 1024
};

#define NOTE_FILE   "own.note.json"
#define POLICY_FILE "own.policy"

static const struct {
    const char *name;
    size_t offset;
} numbers[] = {
    { "stopped", offsetof(struct note, stopped) },
    { "policy_version", offsetof(struct note, policy_version) },
    { "failed_version", offsetof(struct note, failed_version) },
    { "restart", offsetof(struct note, restart.policy) },
    { "restart_count", offsetof(struct note, restart.count) },
    { "restart_quick", offsetof(struct note, restart.quick) },
    { "restart_generation", offsetof(struct note, restart.generation) },
    { "restart_exit_code", offsetof(struct note, restart.exit_code) },
    { "restart_due_us", offsetof(struct note, restart.due_us) },
};

enum err_code note_load(const char *dir, struct note *ret_note, struct err_info *err)
{
    struct record record;
    struct note note = { .stopped = 0 };
    AUTO_FREE char *path = mem_printf("%s/" NOTE_FILE, dir);
    AUTO_BUF struct buf text = BUF_INIT(RECORD_BYTES_MAX);
    enum err_code code = file_read(path, RECORD_BYTES_MAX, &text, err);
    if (code == ERR_NOT_FOUND) {
        *ret_note = note;
        return ERR_OK;
    }
    TRY(code);
    struct err_info damage = ERR_INFO_INIT;
    if (record_parse(buf_view(&text), &record, &damage) != ERR_OK) {
        /* No later try finds more in it, and an agent that cannot report cannot be reached. */
        log_error("sandbox_note_damaged", LOG_STR("path", path), LOG_ERR(&damage));
        *ret_note = note;
        return ERR_OK;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(numbers); i++) {
        uint64_t value = record_number(&record, numbers[i].name);
        memcpy((char *)&note + numbers[i].offset, &value, sizeof(value));
    }
    struct str_view error = record_text(&record, "policy_error");
    struct str_view missing = record_text(&record, "missing");
    (void)snprintf(note.policy_error, sizeof(note.policy_error), "%.*s", STR_ARG(error));
    (void)snprintf(note.missing, sizeof(note.missing), "%.*s", STR_ARG(missing));
    *ret_note = note;
    return ERR_OK;
}

static enum err_code save(
    const char *path, const struct buf *text, enum note_keeping keeping, struct err_info *err)
{
    return keeping == NOTE_SYNCED ? file_write_atomic(path, text->data, text->len, 0600, err)
                                  : file_replace(path, text->data, text->len, 0600, err);
}

enum err_code note_save(
    const char *dir, const struct note *note, enum note_keeping keeping, struct err_info *err)
{
    AUTO_FREE char *path = mem_printf("%s/" NOTE_FILE, dir);
    AUTO_BUF struct buf json = BUF_INIT(RECORD_BYTES_MAX);
    char error[sizeof(note->policy_error)];
    memcpy(error, note->policy_error, sizeof(error));
    record_tame(error);
    record_open(&json);
    for (size_t i = 0; i < ARRAY_LENGTH(numbers); i++) {
        uint64_t value = 0;
        memcpy(&value, (const char *)note + numbers[i].offset, sizeof(value));
        record_put_number(&json, numbers[i].name, value);
    }
    record_put_text(&json, "policy_error", str_of(error));
    record_put_text(&json, "missing", str_of(note->missing));
    record_close(&json);
    return save(path, &json, keeping, err);
}

enum err_code note_load_policy(
    const char *dir,
    const struct wire_schema *schema,
    struct arena *arena,
    Openshell__Sandbox__V1__SandboxPolicy **ret_policy,
    struct err_info *err)
{
    AUTO_FREE char *path = mem_printf("%s/" POLICY_FILE, dir);
    AUTO_BUF struct buf bytes = BUF_INIT(POLICY_BYTES_MAX);
    ProtobufCMessage *message = NULL;
    enum err_code code = file_read(path, POLICY_BYTES_MAX, &bytes, err);
    if (code == ERR_OK) {
        code = wire_unpack_lenient(
            schema,
            &openshell__sandbox__v1__sandbox_policy__descriptor,
            bytes.data,
            bytes.len,
            arena,
            &message,
            err);
    }
    if (code == ERR_OK || code == ERR_NOT_FOUND) {
        *ret_policy = (Openshell__Sandbox__V1__SandboxPolicy *)(void *)message;
        return ERR_OK;
    }
    return code;
}

enum err_code note_save_policy(
    const char *dir,
    const Openshell__Sandbox__V1__SandboxPolicy *policy,
    enum note_keeping keeping,
    struct err_info *err)
{
    AUTO_FREE char *path = mem_printf("%s/" POLICY_FILE, dir);
    AUTO_BUF struct buf bytes = BUF_INIT(POLICY_BYTES_MAX);
    TRY(wire_pack_within(&policy->base, "policy", &bytes, err));
    return save(path, &bytes, keeping, err);
}
