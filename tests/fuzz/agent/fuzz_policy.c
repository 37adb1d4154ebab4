/* links: agent_proxy common_wire */
/*
 * A policy's bytes, as an agent gets them: unpacked, compiled, asked. Whatever a policy says, no
 * sandbox may go to loopback, link-local or a metadata service; and a policy without a rule allows
 * nothing.
 */
#include "belay_descriptors.h"
#include "cmd/agent/proxy/policy.h"
#include "common/base/arena.h"
#include "common/wire/wire.h"

#include <stdlib.h>

enum {
    ARENA_BYTES = 1 << 22
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

static enum rules_verdict ask(
    const struct rules *rules, const char *name, const char *at, const char *method)
{
    struct host host;
    struct ip_address address;
    struct rules_decision decision;
    check(host_parse(str_of(name), &host) == NULL);
    check(ip_parse(str_of(at), &address));
    const struct rules_request request = { .host = &host,
                                           .port = 80,
                                           .is_tunnel = method == NULL,
                                           .method = str_of(method),
                                           .path = STR("/a/b%20c"),
                                           .addresses = &address,
                                           .address_count = 1 };
    rules_decide(rules, &request, &decision);
    check(decision.verdict == RULES_ALLOW || decision.reason[0] != '\0');
    return decision.verdict;
}

static void check_rules(const struct rules *rules)
{
    static const char *const never[] = { "127.0.0.1",       "::1",     "169.254.169.254",
                                         "64:ff9b::7f00:1", "fe80::1", "0.0.0.0" };
    static const char *const methods[] = { NULL, "GET" };
    for (size_t m = 0; m < 2; m++) {
        for (size_t i = 0; i < ARRAY_LENGTH(never); i++) {
            check(ask(rules, "a.example", never[i], methods[m]) == RULES_DENY);
            check(ask(rules, "127.0.0.1", never[i], methods[m]) == RULES_DENY);
        }
        enum rules_verdict verdict = ask(rules, "a.example", "93.184.216.34", methods[m]);
        check(rules_count(rules) > 0 || verdict == RULES_DENY);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ProtobufCMessage *message = NULL;
    struct rules *rules = NULL;
    struct err_info err = ERR_INFO_INIT;
    AUTO_ARENA struct arena *arena = arena_create(ARENA_BYTES);
    if (wire_unpack(
            schema_of(),
            &openshell__sandbox__v1__sandbox_policy__descriptor,
            data,
            size,
            arena,
            &message,
            NULL)
        != ERR_OK) {
        return 0;
    }
    if (policy_compile((const Openshell__Sandbox__V1__SandboxPolicy *)message, &rules, &err)
        != ERR_OK) {
        check(err.text[0] != '\0');
        return 0;
    }
    check_rules(rules);
    rules_destroy(rules);
    return 0;
}
