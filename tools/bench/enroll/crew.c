#include "tools/bench/enroll/crew.h"

#include "cmd/agent/link/challenge.h"
#include "common/base/cleanup.h"
#include "common/crypto/key.h"
#include "common/wire/wire.h"

#include "proto/agentgateway/v1/admin.pb-c.h"
#include "proto/agentgateway/v1/agentgateway.pb-c.h"

enum {
    ARENA_BYTES = 256 * 1024,
    TOKEN_TTL_S = 3600
};

#define GATEWAY "/agentgateway.v1.AgentGatewayService/"
#define ADMIN   "/agentgateway.v1.AgentAdminService/"

enum step {
    STEP_NEW,
    STEP_REGISTERING,
    STEP_BEGINNING,
    STEP_COMPLETING,
    STEP_OPENING,
    STEP_ONLINE
};

struct member {
    enum step step;
    struct key_sign *identity;
    struct key_box *encryption;
    char *name;
    char *token;
    char *session;
    int64_t id;
};

struct crew {
    const struct wire_schema *schema;
    struct str_view operator_key;
    struct arena *arena; /* of one answer */
    struct member *members;
    unsigned count;
    unsigned ordered; /* tokens asked for */
    unsigned *orders; /* by connection: whose token is under way, and one more; 0: none */
};

struct crew *crew_create(
    const struct wire_schema *schema, unsigned count, unsigned run, struct str_view operator_key)
{
    struct crew *crew = mem_alloc(sizeof(*crew));
    crew->schema = schema;
    crew->operator_key = operator_key;
    crew->arena = arena_create(ARENA_BYTES);
    crew->members = mem_alloc_array(count, sizeof(*crew->members));
    crew->orders = mem_alloc_array(count, sizeof(*crew->orders));
    crew->count = count;
    for (unsigned i = 0; i < count; i++) {
        crew->members[i].identity = key_sign_create();
        crew->members[i].encryption = key_box_create();
        crew->members[i].name = mem_printf("newcomer-%u-%u", run, i + 1);
    }
    return crew;
}

void crew_destroy(struct crew *crew)
{
    if (crew == NULL) {
        return;
    }
    for (unsigned i = 0; i < crew->count; i++) {
        key_sign_destroy(crew->members[i].identity);
        key_box_destroy(crew->members[i].encryption);
        mem_free(crew->members[i].name);
        mem_free(crew->members[i].token);
        mem_free(crew->members[i].session);
    }
    arena_destroy(crew->arena);
    mem_free(crew->members);
    mem_free(crew->orders);
    mem_free(crew);
}

/* The answer as a message of that type, until the next one; NULL: it is none. */
static const void *read_answer(
    struct crew *crew, struct str_view answer, const ProtobufCMessageDescriptor *type)
{
    ProtobufCMessage *message = NULL;
    struct err_info err = ERR_INFO_INIT;
    arena_reset(crew->arena);
    return wire_unpack_lenient(
               crew->schema, type, answer.ptr, answer.len, crew->arena, &message, &err)
            == ERR_OK
        ? message
        : NULL;
}

enum err_code crew_order(
    void *context, unsigned connection, struct str_view answer, struct raw_said *said)
{
    struct crew *crew = context;
    Agentgateway__V1__CreateEnrollmentTokenRequest request =
        AGENTGATEWAY__V1__CREATE_ENROLLMENT_TOKEN_REQUEST__INIT;
    unsigned *order = &crew->orders[connection];
    if (*order > 0) {
        const Agentgateway__V1__CreateEnrollmentTokenResponse *reply = read_answer(
            crew, answer, &agentgateway__v1__create_enrollment_token_response__descriptor);
        if (reply == NULL) {
            return ERR_CORRUPT;
        }
        crew->members[*order - 1].token = mem_strdup(reply->secret);
    }
    if (crew->ordered == crew->count) {
        return ERR_OK;
    }
    *order = ++crew->ordered;
    request.auto_confirm = true;
    request.ttl_seconds = TOKEN_TTL_S;
    said->path = ADMIN "CreateEnrollmentToken";
    said->token = crew->operator_key;
    said->ends = true;
    wire_pack(&request.base, said->message);
    return ERR_OK;
}

static void say_register(struct member *member, struct raw_said *said)
{
    Agentgateway__V1__RegisterRequest request = AGENTGATEWAY__V1__REGISTER_REQUEST__INIT;
    Agentgateway__V1__HostFacts host = AGENTGATEWAY__V1__HOST_FACTS__INIT;
    char os[] = "linux";
    char version[] = "0.1.0";
    host.os = os;
    request.enrollment_token = member->token;
    request.name = member->name;
    request.identity_pubkey.data = CONST_CAST(uint8_t *, key_sign_public(member->identity));
    request.identity_pubkey.len = KEY_PUBLIC_BYTES;
    request.encryption_pubkey.data = CONST_CAST(uint8_t *, key_box_public(member->encryption));
    request.encryption_pubkey.len = KEY_PUBLIC_BYTES;
    request.agent_version = version;
    request.host = &host;
    said->path = GATEWAY "Register";
    said->ends = true;
    wire_pack(&request.base, said->message);
    member->step = STEP_REGISTERING;
}

static enum err_code say_begin(
    struct crew *crew, struct member *member, struct str_view answer, struct raw_said *said)
{
    AUTO_SECRET struct secret *api_key = NULL;
    AUTO_FREE char *text = NULL;
    Agentgateway__V1__BeginAuthHandshakeRequest request =
        AGENTGATEWAY__V1__BEGIN_AUTH_HANDSHAKE_REQUEST__INIT;
    const Agentgateway__V1__RegisterResponse *reply =
        read_answer(crew, answer, &agentgateway__v1__register_response__descriptor);
    if (reply == NULL
        || reply->enrollment_status
            != AGENTGATEWAY__V1__ENROLLMENT_STATUS__ENROLLMENT_STATUS_CONFIRMED) {
        return ERR_PRECONDITION;
    }
    member->id = reply->agent_id;
    struct str_view sealed =
        str_from((const char *)reply->sealed_api_key.data, reply->sealed_api_key.len);
    TRY(key_open(member->encryption, sealed, &api_key));
    text = mem_printf("%.*s", STR_ARG(secret_peek(api_key)));
    request.api_key = text;
    request.identity_pubkey.data = CONST_CAST(uint8_t *, key_sign_public(member->identity));
    request.identity_pubkey.len = KEY_PUBLIC_BYTES;
    said->path = GATEWAY "BeginAuthHandshake";
    said->ends = true;
    wire_pack(&request.base, said->message);
    member->step = STEP_BEGINNING;
    return ERR_OK;
}

static enum err_code say_complete(
    struct crew *crew, struct member *member, struct str_view answer, struct raw_said *said)
{
    uint8_t signature[KEY_SIGNATURE_BYTES];
    Agentgateway__V1__CompleteAuthHandshakeRequest request =
        AGENTGATEWAY__V1__COMPLETE_AUTH_HANDSHAKE_REQUEST__INIT;
    const Agentgateway__V1__BeginAuthHandshakeResponse *reply =
        read_answer(crew, answer, &agentgateway__v1__begin_auth_handshake_response__descriptor);
    if (reply == NULL || reply->challenge.len != CHALLENGE_BYTES) {
        return ERR_CORRUPT;
    }
    struct str_view challenge = str_from((const char *)reply->challenge.data, CHALLENGE_BYTES);
    key_sign_message(member->identity, challenge, signature);
    request.challenge = reply->challenge;
    request.signature.data = signature;
    request.signature.len = sizeof(signature);
    said->path = GATEWAY "CompleteAuthHandshake";
    said->ends = true;
    wire_pack(&request.base, said->message);
    member->step = STEP_COMPLETING;
    return ERR_OK;
}

static enum err_code say_hello(
    struct crew *crew, struct member *member, struct str_view answer, struct raw_said *said)
{
    Agentgateway__V1__ControlStreamRequest request = AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__INIT;
    Agentgateway__V1__ControlHello hello = AGENTGATEWAY__V1__CONTROL_HELLO__INIT;
    char version[] = "0.1.0";
    const Agentgateway__V1__CompleteAuthHandshakeResponse *reply =
        read_answer(crew, answer, &agentgateway__v1__complete_auth_handshake_response__descriptor);
    if (reply == NULL) {
        return ERR_CORRUPT;
    }
    member->session = mem_strdup(reply->session_token);
    hello.agent_version = version;
    request.message_case = AGENTGATEWAY__V1__CONTROL_STREAM_REQUEST__MESSAGE_HELLO;
    request.hello = &hello;
    said->path = STAGE_STREAM;
    said->token = str_of(member->session);
    wire_pack(&request.base, said->message);
    member->step = STEP_OPENING;
    return ERR_OK;
}

static enum err_code check_accepted(struct crew *crew, struct str_view answer)
{
    const Agentgateway__V1__ControlStreamResponse *reply =
        read_answer(crew, answer, &agentgateway__v1__control_stream_response__descriptor);
    return reply != NULL
            && reply->message_case == AGENTGATEWAY__V1__CONTROL_STREAM_RESPONSE__MESSAGE_ACCEPTED
        ? ERR_OK
        : ERR_PRECONDITION;
}

enum err_code crew_come_online(
    void *context, unsigned connection, struct str_view answer, struct raw_said *said)
{
    struct crew *crew = context;
    struct member *member = &crew->members[connection];
    switch (member->step) {
    case STEP_NEW:
        say_register(member, said);
        return ERR_OK;
    case STEP_REGISTERING:
        return say_begin(crew, member, answer, said);
    case STEP_BEGINNING:
        return say_complete(crew, member, answer, said);
    case STEP_COMPLETING:
        return say_hello(crew, member, answer, said);
    case STEP_OPENING:
        member->step = STEP_ONLINE;
        return check_accepted(crew, answer);
    case STEP_ONLINE:
        break;
    }
    return ERR_INTERNAL;
}

/* What would begin the session shows that the answer is good, and stays unsaid. */
enum err_code crew_register(
    void *context, unsigned connection, struct str_view answer, struct raw_said *said)
{
    TRY(crew_come_online(context, connection, answer, said));
    const struct crew *crew = context;
    if (crew->members[connection].step != STEP_REGISTERING) {
        said->path = NULL;
    }
    return ERR_OK;
}
