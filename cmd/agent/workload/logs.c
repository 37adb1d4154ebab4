#include "cmd/agent/workload/logs.h"

#include "common/base/cleanup.h"
#include "common/base/list.h"
#include "common/base/log.h"
#include "common/base/map.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    STREAMS = 2,
    LINES_MAX = 256,     /* of one batch: what the server stores at once */
    LINE_OVERHEAD = 128, /* of a line's share, beside its bytes */
    ID_BYTES = 64,
    NUMBER_BYTES = 24
};

#define FLUSH_US       (200 * US_PER_MS)
#define PARTIAL_US     US_PER_SECOND
#define MARKER_US      US_PER_SECOND
#define SEVERITY(name) AGENTGATEWAY__V1__SEVERITY__SEVERITY_##name

struct stream {
    struct buf partial; /* of a line that has not ended */
    struct mono_us partial_since;
    uint64_t next;  /* offset of the first byte not seen */
    uint64_t taken; /* told; of a main program alone */
    bool is_known;
    bool is_mute; /* it was found to be no text */
};

/* A program beside the main one. */
struct voice {
    struct list link;
    uint64_t exec;
    char program[LOGS_PROGRAM_BYTES];
    char number[NUMBER_BYTES];
    struct stream streams[STREAMS];
};

/* What may be said now; it grows with time. */
struct share {
    int64_t bytes;
    struct mono_us at;
};

struct source {
    char id[ID_BYTES];
    struct stream streams[STREAMS];
    struct list voices;
    struct share share;
    uint64_t lost_lines; /* not told yet */
    uint64_t lost_bytes;
    struct mono_us told_at;
};

struct line {
    const struct source *source;
    unsigned stream;
    bool is_exec; /* then two texts stand before it: who said it, and its number */
    int64_t time_us;
    size_t offset; /* in logs.text */
    size_t text;   /* of the line itself, there */
};

struct logs {
    struct loop *loop;
    const struct clock *clock;
    const struct logs_ops *ops;
    void *context;
    struct loop_timer *timer;
    bool is_armed;
    struct map *sources;
    struct share share; /* of all together */
    struct line *lines;
    size_t line_count;
    struct buf text; /* of the lines, each text with its NUL */
    int64_t last_us;
};

static void arm(struct logs *logs)
{
    if (!logs->is_armed) {
        logs->is_armed = true;
        loop_timer_arm_after(logs->timer, FLUSH_US);
    }
}

static struct source *source_of(struct logs *logs, const char *id)
{
    struct source *source = map_find(logs->sources, str_of(id));
    if (source != NULL) {
        return source;
    }
    source = mem_alloc(sizeof(*source));
    (void)snprintf(source->id, sizeof(source->id), "%s", id);
    list_init(&source->voices);
    for (unsigned i = 0; i < STREAMS; i++) {
        source->streams[i].partial = (struct buf)BUF_INIT(LOGS_LINE_BYTES);
    }
    source->share = (struct share){ LOGS_BURST_BYTES, loop_now(logs->loop) };
    source->told_at.value = source->share.at.value - MARKER_US;
    (void)map_put(logs->sources, str_of(source->id), source);
    return source;
}

static void free_streams(struct stream *streams)
{
    for (unsigned i = 0; i < STREAMS; i++) {
        buf_deinit(&streams[i].partial);
    }
}

static void free_voice(struct voice *voice)
{
    list_remove(&voice->link);
    free_streams(voice->streams);
    mem_free(voice);
}

static void free_source(void *value)
{
    struct source *source = value;
    LIST_FOR_EACH(node, &source->voices)
    {
        free_voice(LIST_ENTRY(node, struct voice, link));
    }
    free_streams(source->streams);
    mem_free(source);
}

static struct voice *find_voice(const struct source *source, uint64_t exec)
{
    LIST_FOR_EACH(node, &source->voices)
    {
        struct voice *voice = LIST_ENTRY(node, struct voice, link);
        if (voice->exec == exec) {
            return voice;
        }
    }
    return NULL;
}

static struct voice *voice_of(struct source *source, uint64_t exec, const char *program)
{
    struct voice *voice = find_voice(source, exec);
    if (voice != NULL) {
        return voice;
    }
    voice = mem_alloc(sizeof(*voice));
    voice->exec = exec;
    (void)snprintf(voice->program, sizeof(voice->program), "%s", program);
    (void)snprintf(voice->number, sizeof(voice->number), "%" PRIu64, exec);
    for (unsigned i = 0; i < STREAMS; i++) {
        voice->streams[i].partial = (struct buf)BUF_INIT(LOGS_LINE_BYTES);
    }
    list_append(&source->voices, &voice->link);
    return voice;
}

/* ---- Lines ---- */

static void earn(struct share *share, struct mono_us now, int64_t factor)
{
    int64_t most = LOGS_BURST_BYTES * factor;
    int64_t passed_us = now.value - share->at.value;
    int64_t earned =
        passed_us > US_PER_MINUTE ? most : passed_us * LOGS_RATE_BYTES / US_PER_SECOND * factor;
    if (earned > 0) {
        share->at = now;
        share->bytes = share->bytes + earned > most ? most : share->bytes + earned;
    }
}

/* Its own share, and that of all: a few that talk without end leave the others room, and programs
 * that operators run leave half of either to the main ones. */
static bool has_share(struct logs *logs, struct source *source, size_t bytes, bool is_exec)
{
    struct mono_us now = loop_now(logs->loop);
    int64_t cost = (int64_t)bytes + LINE_OVERHEAD;
    int64_t kept = is_exec ? LOGS_BURST_BYTES / 2 : 0;
    earn(&source->share, now, 1);
    earn(&logs->share, now, LOGS_FACTOR_ALL);
    if (source->share.bytes - kept < cost || logs->share.bytes - kept * LOGS_FACTOR_ALL < cost) {
        return false;
    }
    source->share.bytes -= cost;
    logs->share.bytes -= cost;
    return true;
}

static void lose(struct source *source, uint64_t lines, uint64_t bytes)
{
    source->lost_lines += lines;
    source->lost_bytes += bytes;
}

/* How many bytes of valid UTF-8 without a NUL stand at the front. */
static size_t clean_bytes(struct str_view text)
{
    size_t bytes = 0;
    while (bytes < text.len && text.ptr[bytes] > 0) {
        bytes++; /* plain ASCII, the most of it */
    }
    for (size_t length = 1; bytes < text.len && length <= 4 && bytes + length <= text.len;
         length++) {
        struct str_view part = str_from(text.ptr + bytes, length);
        if (part.ptr[0] != '\0' && str_is_utf8(part, NULL)) {
            return bytes + length;
        }
    }
    return bytes;
}

/* What is not UTF-8 is shown as such and loses nothing around it. */
static void append_clean(struct buf *text, struct str_view line)
{
    while (line.len > 0) {
        size_t bytes = clean_bytes(line);
        buf_append_str(text, str_from(line.ptr, bytes));
        line = str_from(line.ptr + bytes, line.len - bytes);
        if (line.len > 0 && (bytes == 0 || line.ptr[0] == '\0')) {
            buf_append_char(text, '?');
            line = str_from(line.ptr + 1, line.len - 1);
        }
    }
}

/* A text that is complete; voice: NULL is the main program. */
static void put_line(
    struct logs *logs,
    struct source *source,
    const struct voice *voice,
    unsigned stream,
    struct str_view line)
{
    bool is_exec = voice != NULL;
    if (!has_share(logs, source, line.len, is_exec)) {
        lose(source, 1, line.len);
        return;
    }
    if (logs->line_count == LINES_MAX
        || logs->text.len + line.len + LINE_OVERHEAD > LOGS_BATCH_BYTES) {
        logs_flush(logs);
    }
    struct line *entry = &logs->lines[logs->line_count++];
    int64_t now_us = clock_wall(logs->clock).value;
    logs->last_us = now_us > logs->last_us ? now_us : logs->last_us + 1; /* keeps the order */
    *entry = (struct line){ .source = source,
                            .stream = stream,
                            .is_exec = is_exec,
                            .time_us = logs->last_us,
                            .offset = logs->text.len };
    if (is_exec) {
        append_clean(&logs->text, str_of(voice->program));
        buf_append_char(&logs->text, '\0');
        buf_append(&logs->text, voice->number, strlen(voice->number) + 1);
    }
    entry->text = logs->text.len;
    append_clean(&logs->text, line);
    buf_append_char(&logs->text, '\0');
}

static void add_line(struct logs *logs, struct source *source, struct voice *voice, unsigned number)
{
    struct buf *partial = &(voice == NULL ? source->streams : voice->streams)[number].partial;
    struct str_view line = buf_view(partial);
    if (line.len > 0 && line.ptr[line.len - 1] == '\r') {
        line.len--;
    }
    put_line(logs, source, voice, number, line);
    buf_clear(partial);
}

static void add_bytes(
    struct logs *logs,
    struct source *source,
    struct voice *voice,
    unsigned number,
    struct str_view data)
{
    struct stream *stream = &(voice == NULL ? source->streams : voice->streams)[number];
    while (data.len > 0) {
        const char *end = memchr(data.ptr, '\n', data.len);
        size_t bytes = end == NULL ? data.len : (size_t)(end - data.ptr);
        size_t room = LOGS_LINE_BYTES - stream->partial.len;
        bool is_whole = end != NULL && bytes <= room;
        bytes = bytes > room ? room : bytes;
        if (stream->partial.len == 0) {
            stream->partial_since = loop_now(logs->loop);
        }
        buf_append_str(&stream->partial, str_from(data.ptr, bytes));
        stream->next += bytes;
        data =
            str_from(data.ptr + bytes + (is_whole ? 1 : 0), data.len - bytes - (is_whole ? 1 : 0));
        if (is_whole || stream->partial.len == LOGS_LINE_BYTES) {
            add_line(logs, source, voice, number);
        }
        stream->next += is_whole ? 1 : 0; /* not before: a batch may go while the line is added */
    }
}

/* What of it was not seen before. */
static struct str_view take_new(
    struct source *source, struct stream *stream, const struct message_output *output)
{
    struct str_view data = output->data;
    if (!stream->is_known) {
        stream->is_known = true; /* what came before was taken by an earlier life of the agent */
        stream->next = output->offset;
        stream->taken = output->offset;
    }
    if (output->offset + data.len <= stream->next) {
        return STR_NONE; /* told again after a restart of the link to the shim */
    }
    if (output->offset > stream->next) {
        lose(source, 0, output->offset - stream->next); /* the shim could not keep it */
        stream->next = output->offset;
        return data;
    }
    size_t known = (size_t)(stream->next - output->offset);
    return str_from(data.ptr + known, data.len - known);
}

void logs_add(struct logs *logs, const char *sandbox_id, const struct message_output *output)
{
    struct source *source = source_of(logs, sandbox_id);
    unsigned number = output->stream == 1 ? 0 : 1;
    struct str_view data = take_new(source, &source->streams[number], output);
    if (data.len > 0) {
        add_bytes(logs, source, NULL, number, data);
        arm(logs);
    }
}

void logs_add_exec(
    struct logs *logs,
    const char *sandbox_id,
    uint64_t exec,
    const char *program,
    const struct message_output *output)
{
    struct source *source = source_of(logs, sandbox_id);
    struct voice *voice = voice_of(source, exec, program);
    unsigned number = output->stream == 1 ? 0 : 1;
    struct stream *stream = &voice->streams[number];
    struct str_view data = stream->is_mute ? STR_NONE : take_new(source, stream, output);
    if (data.len == 0) {
        return;
    }
    if (memchr(data.ptr, '\0', data.len) != NULL) {
        stream->is_mute = true;
        buf_clear(&stream->partial);
        put_line(logs, source, voice, number, STR("(no text: the rest of it is not logged)"));
    } else {
        add_bytes(logs, source, voice, number, data);
    }
    arm(logs);
}

/* ---- Batches ---- */

static void tell_taken(struct logs *logs)
{
    size_t cursor = 0;
    struct str_view key;
    void *value = NULL;
    while (map_next(logs->sources, &cursor, &key, &value)) {
        struct source *source = value;
        for (unsigned i = 0; i < STREAMS; i++) {
            struct stream *stream = &source->streams[i];
            uint64_t done = stream->next - stream->partial.len;
            if (done > stream->taken) {
                stream->taken = done;
                logs->ops->taken(logs->context, source->id, i + 1, done);
            }
        }
    }
}

typedef Agentgateway__V1__AgentEvent__AttributesEntry attribute_type;

enum {
    ATTRIBUTES = 3 /* of a line at most */
};

static void set_attribute(attribute_type *entry, const char *key, const char *value)
{
    agentgateway__v1__agent_event__attributes_entry__init(entry);
    entry->key = CONST_CAST(char *, key);
    entry->value = CONST_CAST(char *, value);
}

/* Which of the two outputs it was; of a program beside the main one also which program. */
static size_t describe(const struct logs *logs, const struct line *line, attribute_type *entries)
{
    static const char *const targets[2][STREAMS] = { { "stdout", "stderr" },
                                                     { "exec.stdout", "exec.stderr" } };
    const char *program = logs->text.data + line->offset;
    set_attribute(&entries[0], "target", targets[line->is_exec ? 1 : 0][line->stream]);
    if (!line->is_exec) {
        return 1;
    }
    set_attribute(&entries[1], "program", program);
    set_attribute(&entries[2], "exec", program + strlen(program) + 1);
    return ATTRIBUTES;
}

static enum err_code emit(struct logs *logs, struct err_info *err)
{
    static const int severities[STREAMS] = { SEVERITY(INFO), SEVERITY(WARNING) };
    size_t count = logs->line_count;
    AUTO_FREE attribute_type *entries = mem_alloc_array(count * ATTRIBUTES, sizeof(*entries));
    AUTO_FREE attribute_type **attributes = mem_alloc_array(count * ATTRIBUTES, sizeof(void *));
    AUTO_FREE Agentgateway__V1__AgentEvent *events = mem_alloc_array(count, sizeof(*events));
    AUTO_FREE Agentgateway__V1__AgentEvent **pointers = mem_alloc_array(count, sizeof(void *));
    Agentgateway__V1__EventBatch batch = AGENTGATEWAY__V1__EVENT_BATCH__INIT;
    for (size_t i = 0; i < count * ATTRIBUTES; i++) {
        attributes[i] = &entries[i];
    }
    for (size_t i = 0; i < count; i++) {
        const struct line *line = &logs->lines[i];
        agentgateway__v1__agent_event__init(&events[i]);
        events[i].time_us = line->time_us;
        events[i].severity = (Agentgateway__V1__Severity)severities[line->stream];
        events[i].kind = CONST_CAST(char *, "sandbox.log");
        events[i].device = CONST_CAST(char *, line->source->id);
        events[i].text = logs->text.data + line->text;
        events[i].attributes = &attributes[i * ATTRIBUTES];
        events[i].n_attributes = describe(logs, line, &entries[i * ATTRIBUTES]);
        pointers[i] = &events[i];
    }
    batch.events = pointers;
    batch.n_events = count;
    return logs->ops->emit(logs->context, &batch, err);
}

static void lose_lines(struct logs *logs)
{
    for (size_t i = 0; i < logs->line_count; i++) {
        const struct line *line = &logs->lines[i];
        struct source *source = map_find(logs->sources, str_of(line->source->id));
        lose(source, 1, strlen(logs->text.data + line->text));
    }
}

static void tell_lost(struct logs *logs, struct source *source)
{
    char text[192];
    struct err_info err = ERR_INFO_INIT;
    Agentgateway__V1__AgentEvent event;
    Agentgateway__V1__AgentEvent *events[] = { &event };
    Agentgateway__V1__EventBatch batch = AGENTGATEWAY__V1__EVENT_BATCH__INIT;
    agentgateway__v1__agent_event__init(&event);
    (void)snprintf(
        text,
        sizeof(text),
        "%" PRIu64 " lines (%" PRIu64
        " bytes) are not here: more than the agent may send; the newest are in its log files",
        source->lost_lines,
        source->lost_bytes);
    event.time_us = clock_wall(logs->clock).value;
    event.severity = (Agentgateway__V1__Severity)SEVERITY(WARNING);
    event.kind = CONST_CAST(char *, "sandbox.log");
    event.device = source->id;
    event.text = text;
    batch.events = events;
    batch.n_events = 1;
    if (logs->ops->emit(logs->context, &batch, &err) != ERR_OK) {
        return; /* another time */
    }
    source->lost_lines = 0;
    source->lost_bytes = 0;
    source->told_at = loop_now(logs->loop);
}

void logs_flush(struct logs *logs)
{
    struct err_info err = ERR_INFO_INIT;
    bool has_room = logs->ops->has_room(logs->context);
    enum err_code code = ERR_OK;
    if (logs->line_count > 0 && has_room) {
        code = emit(logs, &err);
    }
    if (!has_room || code != ERR_OK) {
        lose_lines(logs);
    }
    if (code != ERR_OK) {
        log_warn("sandbox_log_not_stored", LOG_ERR(&err));
    }
    logs->line_count = 0;
    buf_clear(&logs->text);
    tell_taken(logs);
}

/* true: something of it waits for its time. voice: NULL is the main program. */
static bool tend_voice(struct logs *logs, struct source *source, struct voice *voice, bool is_over)
{
    const struct stream *streams = voice == NULL ? source->streams : voice->streams;
    int64_t now_us = loop_now(logs->loop).value;
    bool waits = false;
    for (unsigned i = 0; i < STREAMS; i++) {
        if (streams[i].partial.len == 0) {
            continue;
        }
        if (is_over || now_us - streams[i].partial_since.value >= PARTIAL_US) {
            add_line(logs, source, voice, i);
        } else {
            waits = true;
        }
    }
    return waits;
}

static bool tend(struct logs *logs, struct source *source, bool is_over)
{
    bool waits = tend_voice(logs, source, NULL, is_over);
    LIST_FOR_EACH(node, &source->voices)
    {
        waits = tend_voice(logs, source, LIST_ENTRY(node, struct voice, link), is_over) || waits;
    }
    return waits;
}

/* As tend, of what was lost. */
static bool own_up(struct logs *logs, struct source *source, bool is_over)
{
    bool is_time = is_over || loop_now(logs->loop).value - source->told_at.value >= MARKER_US;
    if (source->lost_lines + source->lost_bytes > 0 && is_time
        && logs->ops->has_room(logs->context)) {
        tell_lost(logs, source);
    }
    return source->lost_lines + source->lost_bytes > 0;
}

static void on_timer(void *context)
{
    struct logs *logs = context;
    size_t cursor = 0;
    struct str_view key;
    void *value = NULL;
    bool waits = false;
    logs->is_armed = false;
    while (map_next(logs->sources, &cursor, &key, &value)) {
        waits = tend(logs, value, false) || waits;
    }
    logs_flush(logs);
    cursor = 0;
    while (map_next(logs->sources, &cursor, &key, &value)) {
        waits = own_up(logs, value, false) || waits;
    }
    if (waits) {
        arm(logs);
    }
}

void logs_end_exec(struct logs *logs, const char *sandbox_id, uint64_t exec)
{
    struct source *source = map_find(logs->sources, str_of(sandbox_id));
    struct voice *voice = source == NULL ? NULL : find_voice(source, exec);
    if (voice != NULL) {
        (void)tend_voice(logs, source, voice, true);
        free_voice(voice);
    }
}

void logs_end(struct logs *logs, const char *sandbox_id)
{
    struct source *source = map_find(logs->sources, str_of(sandbox_id));
    if (source == NULL) {
        return;
    }
    (void)tend(logs, source, true);
    logs_flush(logs);
    (void)own_up(logs, source, true);
    free_source(map_remove(logs->sources, str_of(sandbox_id)));
}

struct logs *logs_create(
    struct loop *loop, const struct clock *clock, const struct logs_ops *ops, void *context)
{
    struct logs *logs = mem_alloc(sizeof(*logs));
    logs->loop = loop;
    logs->clock = clock;
    logs->ops = ops;
    logs->context = context;
    logs->timer = loop_timer_create(loop, on_timer, logs);
    logs->sources = map_create();
    logs->share = (struct share){ (int64_t)LOGS_BURST_BYTES * LOGS_FACTOR_ALL, loop_now(loop) };
    logs->lines = mem_alloc_array(LINES_MAX, sizeof(*logs->lines));
    logs->text = (struct buf)BUF_INIT((size_t)LOGS_BATCH_BYTES * 2);
    return logs;
}

void logs_destroy(struct logs *logs)
{
    if (logs == NULL) {
        return;
    }
    loop_timer_destroy(logs->timer);
    map_destroy(logs->sources, free_source);
    mem_free(logs->lines);
    buf_deinit(&logs->text);
    mem_free(logs);
}
