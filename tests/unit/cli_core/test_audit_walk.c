/* A chain of audit records walked from its newest: whole, of both kinds of hash, and broken. */
#include "cmd/cli/audit_walk.h"
#include "common/base/cleanup.h"
#include "common/base/mem.h"
#include "common/crypto/hash.h"
#include "tests/support/test.h"

#include <stdio.h>

enum {
    RECORDS = 5,
    OLD_RECORDS = 2, /* the first, with the hash of before */
    TEXT_BYTES = 512
};

struct chain {
    Agentgateway__V1__AuditRecord records[RECORDS]; /* newest first, as the server lists them */
    Google__Protobuf__Timestamp time;
    char texts[RECORDS][TEXT_BYTES];
    char hashes[RECORDS][2 * AUDIT_HASH_BYTES + 1];
};

static void hash_old(
    struct str_view previous, int64_t sequence, struct str_view text, uint8_t out[AUDIT_HASH_BYTES])
{
    const uint8_t number[8] = { [7] = (uint8_t)sequence };
    const struct str_view parts[] = {
        STR("belay.audit.v1"), previous, str_from((const char *)number, sizeof(number)), text
    };
    hash_blake2b_parts(parts, ARRAY_LENGTH(parts), out);
}

static char *word(const char *text)
{
    return CONST_CAST(char *, text);
}

static void make_record(struct chain *chain, size_t i, int64_t sequence)
{
    Agentgateway__V1__AuditRecord *record = &chain->records[i];
    agentgateway__v1__audit_record__init(record);
    (void)snprintf(
        chain->texts[i],
        TEXT_BYTES,
        "{\"time\":1500,\"actor\":{\"user\":{\"uid\":\"key:%d\"}},\"api\":{\"operation\":\"x.y\","
        "\"request\":{\"uid\":\"req_1\"}},\"resources\":[{\"uid\":\"agent/1\"}],\"src_endpoint\":{"
        "\"name\":\"unix\"},\"status\":\"allowed\",\"status_detail\":\"\"}",
        (int)sequence);
    record->sequence = sequence;
    record->time = &chain->time;
    record->actor = chain->texts[i] + TEXT_BYTES - 16;
    (void)snprintf(record->actor, 16, "key:%d", (int)sequence);
    record->action = word("x.y");
    record->request_id = word("req_1");
    record->target = word("agent/1");
    record->source = word("unix");
    record->decision = word("allowed");
    record->reason = word("");
    record->record_json = chain->texts[i];
    record->hash = chain->hashes[i];
}

static void make_chain(struct chain *chain)
{
    uint8_t hash[AUDIT_HASH_BYTES];
    uint8_t previous[AUDIT_HASH_BYTES];
    google__protobuf__timestamp__init(&chain->time);
    chain->time.seconds = 1;
    chain->time.nanos = 500999000;
    for (size_t k = 0; k < RECORDS; k++) {
        size_t i = RECORDS - 1 - k;
        struct str_view before =
            k == 0 ? STR_NONE : str_from((const char *)previous, sizeof(previous));
        make_record(chain, i, (int64_t)k + 1);
        (k < OLD_RECORDS ? hash_old
                         : audit_chain_hash)(before, (int64_t)k + 1, str_of(chain->texts[i]), hash);
        str_hex_encode(hash, sizeof(hash), chain->hashes[i]);
        memcpy(previous, hash, sizeof(hash));
    }
}

static enum err_code walk_chain(
    struct audit_walk *walk, const struct chain *chain, struct err_info *err)
{
    for (size_t i = 0; i < RECORDS; i++) {
        if (chain->records[i].sequence != 0) {
            TRY(audit_walk_next(walk, &chain->records[i], err));
        }
    }
    return audit_walk_end(walk, err);
}

/* The walk over the chain, with a head that was kept or without (""). */
static void assert_broken(const struct chain *chain, const char *kept, const char *words)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_AUDIT_WALK struct audit_walk walk = AUDIT_WALK_INIT;
    if (kept[0] != '\0') {
        assert_ok(audit_head_parse(kept, &walk.kept));
    }
    assert_code(ERR_CORRUPT, walk_chain(&walk, chain, &err));
    if (strstr(err.text, words) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", words, err.text);
    }
}

static void write_head(const struct chain *chain, size_t i, char out[128])
{
    (void)snprintf(out, 128, "%lld:%s", (long long)chain->records[i].sequence, chain->hashes[i]);
}

static void test_a_whole_chain(void **unused)
{
    (void)unused;
    struct chain chain;
    struct err_info err = ERR_INFO_INIT;
    char head[128];
    make_chain(&chain);
    for (size_t i = 0; i < RECORDS; i++) {
        AUTO_AUDIT_WALK struct audit_walk walk = AUDIT_WALK_INIT;
        AUTO_BUF struct buf newest = BUF_INIT(128);
        write_head(&chain, i, head);
        assert_ok(audit_head_parse(head, &walk.kept));
        assert_ok_err(err, walk_chain(&walk, &chain, &err));
        write_head(&chain, 0, head);
        audit_head_write(&walk.newest, &newest);
        assert_string_equal(buf_text(&newest), head);
    }
    AUTO_AUDIT_WALK struct audit_walk empty = AUDIT_WALK_INIT;
    assert_ok_err(err, audit_walk_end(&empty, &err));
    assert_int_equal(empty.newest.sequence, 0);
}

static void test_what_is_missing(void **unused)
{
    (void)unused;
    struct chain chain;
    char head[128];
    make_chain(&chain);
    write_head(&chain, 0, head);
    chain.records[0].sequence = 0; /* the newest: seen only by who kept it */
    assert_broken(&chain, head, "record 5, whose hash was kept, is missing: the newest is 4");
    make_chain(&chain);
    chain.records[2].sequence = 0;
    assert_broken(&chain, "", "record 3 is missing");
    make_chain(&chain);
    chain.records[RECORDS - 1].sequence = 0;
    assert_broken(&chain, "", "record 1 is missing");
    for (size_t i = 0; i < RECORDS; i++) {
        chain.records[i].sequence = 0;
    }
    assert_broken(&chain, head, "record 5, whose hash was kept, is missing: the newest is 0");
}

static void test_what_was_changed(void **unused)
{
    (void)unused;
    struct chain chain;
    char head[128];
    make_chain(&chain);
    chain.texts[1][8] = '9'; /* of the time */
    assert_broken(&chain, "", "record 4: its field time");
    make_chain(&chain);
    chain.records[1].decision = word("denied");
    assert_broken(&chain, "", "record 4: its field decision is not what its text says");
    make_chain(&chain);
    chain.records[1].record_json = word("{}");
    assert_broken(&chain, "", "record 4: its field actor");
    make_chain(&chain);
    chain.records[1].record_json = word("nothing");
    assert_broken(&chain, "", "record 4: its field actor");
    make_chain(&chain);
    chain.hashes[2][0] = chain.hashes[2][0] == '0' ? '1' : '0';
    assert_broken(&chain, "", "record 4: its hash is not that of its text");
    make_chain(&chain);
    chain.hashes[2][0] = 'x';
    assert_broken(&chain, "", "record 3: it has no hash");
    make_chain(&chain);
    write_head(&chain, 3, head);
    head[2] = head[2] == '0' ? '1' : '0';
    assert_broken(&chain, head, "record 2 has another hash than the one that was kept");
}

/* A text and its fields changed alike: the hash tells. */
static void test_what_was_changed_with_care(void **unused)
{
    (void)unused;
    struct chain chain;
    make_chain(&chain);
    (void)snprintf(chain.texts[3] + strlen(chain.texts[3]) - 2, 8, "%s", "x\"}");
    chain.records[3].reason = word("x");
    assert_broken(&chain, "", "record 2: its hash is not that of its text");
    make_chain(&chain);
    (void)snprintf(chain.texts[4] + strlen(chain.texts[4]) - 2, 8, "%s", "x\"}");
    chain.records[4].reason = word("x");
    assert_broken(&chain, "", "record 1: its hash is not that of its text");
}

static void test_heads(void **unused)
{
    static const char *const bad[] = { "", ":", "5", "5:", "5:abc", "x:00", "0:", "-1:", "5:zz" };
    struct audit_head head;
    char text[128];
    (void)unused;
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        assert_code(ERR_INVALID, audit_head_parse(bad[i], &head));
    }
    (void)snprintf(text, sizeof(text), "0:%064d", 0);
    assert_code(ERR_INVALID, audit_head_parse(text, &head));
    (void)snprintf(text, sizeof(text), "9223372036854775808:%064d", 0);
    assert_code(ERR_INVALID, audit_head_parse(text, &head));
    (void)snprintf(text, sizeof(text), "7:%065d", 0);
    assert_code(ERR_INVALID, audit_head_parse(text, &head));
    (void)snprintf(text, sizeof(text), "7:%064d", 0);
    assert_ok(audit_head_parse(text, &head));
    assert_int_equal(head.sequence, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_whole_chain),
        cmocka_unit_test(test_what_is_missing),
        cmocka_unit_test(test_what_was_changed),
        cmocka_unit_test(test_what_was_changed_with_care),
        cmocka_unit_test(test_heads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
