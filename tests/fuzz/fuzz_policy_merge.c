/* links: server_sandbox common_wire */
/*
 * UpdateConfig's bytes, as a client sends them: a policy and operations on it. What is accepted
 * before and after has a hash, equal for equal policies, and operations never change what is fixed.
 */
#include "belay_descriptors.h"
#include "cmd/server/sandbox/policy.h"
#include "common/base/arena.h"
#include "common/wire/wire.h"

#include <stdlib.h>
#include <string.h>

enum {
    ARENA_BYTES = 1 << 24
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds) {
        abort();
    }
}

static const struct wire_schema *schema_of(void)
{
    static struct wire_schema *schema;
    if (schema == NULL) {
        check(wire_schema_load(belay_descriptors, belay_descriptors_size, &schema, NULL) == ERR_OK);
    }
    return schema;
}

static Openshell__V1__UpdateConfigRequest *unpack(
    const uint8_t *data, size_t size, struct arena *arena)
{
    ProtobufCMessage *message = NULL;
    enum err_code code = wire_unpack(
        schema_of(),
        &openshell__v1__update_config_request__descriptor,
        data,
        size,
        arena,
        &message,
        NULL);
    return code == ERR_OK ? (Openshell__V1__UpdateConfigRequest *)message : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char first[POLICY_HASH_TEXT_BYTES];
    char second[POLICY_HASH_TEXT_BYTES];
    struct err_info err = ERR_INFO_INIT;
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    Openshell__V1__UpdateConfigRequest *request = unpack(data, size, arena);
    Openshell__V1__UpdateConfigRequest *again = unpack(data, size, arena);
    if (request == NULL || again == NULL || request->policy == NULL
        || policy_check(request->policy, &err) != ERR_OK) {
        return 0;
    }
    check(policy_hash(request->policy, first, &err) == ERR_OK);
    check(policy_hash(again->policy, second, &err) == ERR_OK);
    check(strcmp(first, second) == 0);
    enum err_code code = policy_merge(
        arena, request->policy, request->merge_operations, request->n_merge_operations, &err);
    check(code == ERR_OK || err.text[0] != '\0');
    if (code == ERR_OK && policy_check(request->policy, &err) == ERR_OK) {
        check(policy_hash(request->policy, second, &err) == ERR_OK);
        check(policy_check_fixed(again->policy, request->policy, &err) == ERR_OK);
        check(request->n_merge_operations > 0 || strcmp(first, second) == 0);
    }
    return 0;
}
