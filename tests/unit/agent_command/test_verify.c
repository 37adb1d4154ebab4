#include "cmd/agent/command/verify.h"
#include "common/base/cleanup.h"
#include "common/crypto/command_signature.h"
#include "tests/support/test.h"

struct fixture {
    struct key_sign *key;
    struct verify_context context;
    Agentgateway__V1__ControlCommand command;
    Google__Protobuf__Timestamp issued_at;
    Google__Protobuf__Timestamp expires_at;
    uint8_t signature[KEY_SIGNATURE_BYTES];
    uint8_t payload[4];
};

static void sign(struct fixture *fixture, const struct key_sign *key)
{
    AUTO_BUF struct buf message = BUF_INIT(COMMAND_SIGNATURE_MESSAGE_BYTES);
    Agentgateway__V1__ControlCommand *command = &fixture->command;
    struct command_signature_fields fields = {
        .server_id = str_of("srv_1"),
        .agent_id = 7,
        .sequence = command->sequence,
        .command_id = str_of(command->command_id),
        .actor = str_of(command->actor),
        .issued_at = { fixture->issued_at.seconds * US_PER_SECOND },
        .expires_at = { fixture->expires_at.seconds * US_PER_SECOND },
        .payload = str_from((const char *)command->payload.data, command->payload.len),
    };
    command_signature_message(&fields, &message);
    key_sign_message(key, buf_view(&message), fixture->signature);
}

static int set_up(void **state)
{
    struct fixture *fixture = mem_alloc(sizeof(*fixture));
    fixture->key = key_sign_create();
    google__protobuf__timestamp__init(&fixture->issued_at);
    google__protobuf__timestamp__init(&fixture->expires_at);
    fixture->issued_at.seconds = 1000;
    fixture->expires_at.seconds = 2000;
    memcpy(fixture->payload, "abcd", 4);
    agentgateway__v1__control_command__init(&fixture->command);
    fixture->command.command_id = (char *)(uintptr_t) "cmd_1";
    fixture->command.actor = (char *)(uintptr_t) "alice";
    fixture->command.sequence = 5;
    fixture->command.issued_at = &fixture->issued_at;
    fixture->command.expires_at = &fixture->expires_at;
    fixture->command.payload = (ProtobufCBinaryData){ 4, fixture->payload };
    fixture->command.signature =
        (ProtobufCBinaryData){ sizeof(fixture->signature), fixture->signature };
    fixture->context = (struct verify_context){ .server_id = "srv_1",
                                                .agent_id = 7,
                                                .command_pubkey = key_sign_public(fixture->key),
                                                .last_sequence = 4,
                                                .now = { 1500 * US_PER_SECOND } };
    sign(fixture, fixture->key);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    key_sign_destroy(fixture->key);
    mem_free(fixture);
    return 0;
}

static void expect(const struct fixture *fixture, enum verify_verdict verdict)
{
    assert_int_equal(verify_signature(&fixture->context, &fixture->command), verdict);
}

static void test_a_good_command(void **state)
{
    struct fixture *fixture = *state;
    expect(fixture, VERIFY_OK);
    assert_int_equal(verify_order(&fixture->context, &fixture->command), VERIFY_OK);
}

static void test_every_field_is_covered(void **state)
{
    struct fixture *fixture = *state;
    fixture->payload[3] ^= 1;
    expect(fixture, VERIFY_SIGNATURE);
    fixture->payload[3] ^= 1;
    fixture->command.sequence = 6;
    expect(fixture, VERIFY_SIGNATURE);
    fixture->command.sequence = 5;
    fixture->command.actor = (char *)(uintptr_t) "mallory";
    expect(fixture, VERIFY_SIGNATURE);
    fixture->command.actor = (char *)(uintptr_t) "alice";
    fixture->command.command_id = (char *)(uintptr_t) "cmd_2";
    expect(fixture, VERIFY_SIGNATURE);
    fixture->command.command_id = (char *)(uintptr_t) "cmd_1";
    fixture->expires_at.seconds++;
    expect(fixture, VERIFY_SIGNATURE);
    fixture->expires_at.seconds--;
    fixture->issued_at.nanos = 5000;
    expect(fixture, VERIFY_SIGNATURE);
    fixture->issued_at.nanos = 0;
    fixture->context.agent_id = 8;
    expect(fixture, VERIFY_SIGNATURE);
    fixture->context.agent_id = 7;
    fixture->context.server_id = "srv_2";
    expect(fixture, VERIFY_SIGNATURE);
    fixture->context.server_id = "srv_1";
    expect(fixture, VERIFY_OK);
}

static void test_another_key(void **state)
{
    struct fixture *fixture = *state;
    struct key_sign *other = key_sign_create();
    sign(fixture, other);
    expect(fixture, VERIFY_SIGNATURE);
    key_sign_destroy(other);
}

static void test_malformed(void **state)
{
    struct fixture *fixture = *state;
    fixture->command.signature.len = 63;
    expect(fixture, VERIFY_MALFORMED);
    fixture->command.signature.len = 64;
    fixture->command.expires_at = NULL;
    expect(fixture, VERIFY_MALFORMED);
    fixture->command.expires_at = &fixture->expires_at;
    fixture->issued_at.seconds = INT64_MAX;
    expect(fixture, VERIFY_MALFORMED);
    fixture->issued_at.seconds = 1000;
    fixture->command.sequence = 0;
    expect(fixture, VERIFY_MALFORMED);
    fixture->command.sequence = 5;
    fixture->command.command_id = (char *)(uintptr_t) "";
    expect(fixture, VERIFY_MALFORMED);
}

static void test_order_and_time(void **state)
{
    struct fixture *fixture = *state;
    fixture->context.last_sequence = 5;
    assert_int_equal(verify_order(&fixture->context, &fixture->command), VERIFY_REPLAYED);
    fixture->context.last_sequence = 4;
    fixture->context.now.value = 2000 * US_PER_SECOND;
    assert_int_equal(verify_order(&fixture->context, &fixture->command), VERIFY_EXPIRED);
    fixture->context.now.value--;
    assert_int_equal(verify_order(&fixture->context, &fixture->command), VERIFY_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_good_command), TEST(test_every_field_is_covered), TEST(test_another_key),
        TEST(test_malformed),      TEST(test_order_and_time),
    };
    int failed = crypto_start(NULL) == ERR_OK ? 0 : 1;
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
