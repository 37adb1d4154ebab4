#include "cmd/server/sandbox/policy.h"
#include "tests/support/test.h"

typedef Openshell__Sandbox__V1__SandboxPolicy__NetworkPoliciesEntry entry_type;

/* Rules with so many endpoints in all, each of them good. */
static enum err_code check_endpoints(size_t first, size_t second, struct err_info *err)
{
    static Openshell__Sandbox__V1__NetworkEndpoint *all[POLICY_ENDPOINTS_MAX + 1];
    const size_t counts[] = { first, second };
    policy_type policy = OPENSHELL__SANDBOX__V1__SANDBOX_POLICY__INIT;
    Openshell__Sandbox__V1__NetworkEndpoint endpoint =
        OPENSHELL__SANDBOX__V1__NETWORK_ENDPOINT__INIT;
    Openshell__Sandbox__V1__NetworkPolicyRule rules[2];
    entry_type entries[2];
    entry_type *pointers[] = { &entries[0], &entries[1] };
    char name[] = "r";
    char host[] = "a.example";
    endpoint.host = host;
    endpoint.port = 80;
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++) {
        all[i] = &endpoint;
    }
    for (size_t i = 0; i < 2; i++) {
        openshell__sandbox__v1__network_policy_rule__init(&rules[i]);
        rules[i].endpoints = all;
        rules[i].n_endpoints = counts[i];
        openshell__sandbox__v1__sandbox_policy__network_policies_entry__init(&entries[i]);
        entries[i].key = name;
        entries[i].value = &rules[i];
    }
    policy.network_policies = pointers;
    policy.n_network_policies = 2;
    return policy_check(&policy, err);
}

static void test_so_many_endpoints_as_an_agent_takes_and_no_more(void **unused)
{
    struct err_info err = ERR_INFO_INIT;
    (void)unused;
    assert_ok_err(err, check_endpoints(POLICY_ENDPOINTS_MAX, 0, &err));
    assert_ok_err(err, check_endpoints(POLICY_ENDPOINTS_MAX - 1, 1, &err));
    assert_code(ERR_INVALID, check_endpoints(POLICY_ENDPOINTS_MAX - 1, 2, &err));
    assert_string_equal(err.text, "policy.network_policies: 4097 endpoints, at most 4096");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_so_many_endpoints_as_an_agent_takes_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
