#include "cmd/agent/proxy/parse/glob.h"
#include "cmd/agent/proxy/policy.h"
#include "common/base/cleanup.h"
#include "tests/support/test.h"

static const uint32_t http[] = { 80 };
static const uint32_t both[] = { 80, 443 };

static void add(struct rules *rules, const struct rules_endpoint *endpoint)
{
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, rules_add(rules, endpoint, &err));
}

struct ask {
    const char *host;
    unsigned port;
    const char *method; /* NULL: a tunnel */
    const char *path;
    const char *address; /* NULL: not resolved yet */
    bool own;
    bool last; /* named in the macro, so that the others may be left out */
};

static struct rules_decision decide(const struct rules *rules, const struct ask *ask)
{
    struct host host;
    struct ip_address address;
    struct rules_decision decision;
    assert_null(host_parse(str_of(ask->host), &host));
    if (ask->address != NULL) {
        assert_true(ip_parse(str_of(ask->address), &address));
    }
    const struct rules_request request = { .host = &host,
                                           .port = ask->port,
                                           .is_tunnel = ask->method == NULL,
                                           .method = str_of(ask->method),
                                           .path = str_of(ask->path),
                                           .addresses = &address,
                                           .address_count = ask->address == NULL ? 0 : 1,
                                           .own = &ask->own };
    rules_decide(rules, &request, &decision);
    return decision;
}

#define DECIDE(rules, ...)  decide((rules), &(struct ask){ __VA_ARGS__, .last = true })
#define VERDICT(rules, ...) DECIDE(rules, __VA_ARGS__).verdict

static void test_nothing_is_allowed_without_a_rule(void **unused)
{
    struct rules *rules = rules_create();
    (void)unused;
    assert_int_equal(VERDICT(rules, "example.com", 443), RULES_DENY);
    add(rules,
        &(struct rules_endpoint){
            .rule = STR("web"), .host = STR("example.com"), .ports = both, .port_count = 2 });
    assert_int_equal(VERDICT(rules, "example.com", 443), RULES_ALLOW);
    assert_int_equal(VERDICT(rules, "example.com", 80, "DELETE", "/x"), RULES_ALLOW);
    assert_int_equal(VERDICT(rules, "example.com", 22), RULES_DENY);
    assert_int_equal(VERDICT(rules, "other.com", 443), RULES_DENY);
    assert_string_equal(DECIDE(rules, "example.com", 443).rule, "web");
    rules_destroy(rules);
}

static void test_addresses_behind_a_name(void **unused)
{
    static const struct str_view ranges[] = { { "10.1.0.0/16", 11 }, { "fd00::/8", 8 } };
    struct rules *rules = rules_create();
    (void)unused;
    add(rules,
        &(struct rules_endpoint){
            .rule = STR("open"), .host = STR("open.example"), .ports = both, .port_count = 2 });
    add(rules,
        &(struct rules_endpoint){ .rule = STR("inner"),
                                  .host = STR("inner.example"),
                                  .ports = both,
                                  .port_count = 2,
                                  .addresses = ranges,
                                  .address_count = 2 });
    add(rules,
        &(struct rules_endpoint){
            .rule = STR("literal"), .host = STR("10.9.9.9"), .ports = both, .port_count = 2 });
    assert_int_equal(VERDICT(rules, "open.example", 80, .address = "93.184.216.34"), RULES_ALLOW);
    assert_int_equal(VERDICT(rules, "open.example", 80, .address = "10.1.0.1"), RULES_DENY);
    assert_int_equal(VERDICT(rules, "open.example", 80, .address = "127.0.0.1"), RULES_DENY);
    assert_int_equal(
        VERDICT(rules, "open.example", 80, .address = "93.184.216.34", .own = true), RULES_DENY);
    assert_int_equal(VERDICT(rules, "inner.example", 80, .address = "10.1.2.3"), RULES_ALLOW);
    assert_int_equal(
        VERDICT(rules, "inner.example", 80, .address = "10.1.2.3", .own = true), RULES_ALLOW);
    assert_int_equal(VERDICT(rules, "inner.example", 80, .address = "10.2.0.1"), RULES_DENY);
    assert_int_equal(VERDICT(rules, "inner.example", 80, .address = "93.184.216.34"), RULES_DENY);
    assert_int_equal(VERDICT(rules, "inner.example", 80, .address = "fd00:ec2::254"), RULES_DENY);
    assert_int_equal(VERDICT(rules, "10.9.9.9", 80, .address = "10.9.9.9"), RULES_ALLOW);
    rules_destroy(rules);

    /* Not even a range that names it opens the way to loopback. */
    static const struct str_view everything[] = { { "0.0.0.0/0", 9 }, { "::/0", 4 } };
    rules = rules_create();
    add(rules,
        &(struct rules_endpoint){ .rule = STR("all"),
                                  .host = STR("x.example"),
                                  .ports = both,
                                  .port_count = 2,
                                  .addresses = everything,
                                  .address_count = 2 });
    add(rules,
        &(struct rules_endpoint){
            .rule = STR("lo"), .host = STR("127.0.0.1"), .ports = both, .port_count = 2 });
    assert_int_equal(VERDICT(rules, "x.example", 80, .address = "10.0.0.1"), RULES_ALLOW);
    assert_int_equal(VERDICT(rules, "x.example", 80, .address = "127.0.0.1"), RULES_DENY);
    assert_int_equal(VERDICT(rules, "x.example", 80, .address = "169.254.169.254"), RULES_DENY);
    assert_int_equal(VERDICT(rules, "x.example", 80, .address = "64:ff9b::7f00:1"), RULES_DENY);
    assert_int_equal(VERDICT(rules, "127.0.0.1", 80, .address = "127.0.0.1"), RULES_DENY);
    rules_destroy(rules);
}

static void test_methods_and_paths(void **unused)
{
    static const struct rules_match allows[] = { { { "GET", 3 }, { "/v1/*/items", 11 } },
                                                 { { "*", 1 }, { "/open/**", 8 } } };
    static const struct rules_match denies[] = { { { "", 0 }, { "/open/secret/**", 15 } } };
    struct rules *rules = rules_create();
    (void)unused;
    add(rules,
        &(struct rules_endpoint){ .rule = STR("api"),
                                  .host = STR("api.example"),
                                  .ports = http,
                                  .port_count = 1,
                                  .inspected = true,
                                  .allows = allows,
                                  .allow_count = 2,
                                  .denies = denies,
                                  .deny_count = 1 });

    static const struct {
        const char *method;
        const char *path;
        enum rules_verdict verdict;
    } rows[] = {
        { "GET", "/v1/a/items", RULES_ALLOW },
        { "POST", "/v1/a/items", RULES_DENY },
        { "GET", "/v1/a/b/items", RULES_DENY },
        { "GET", "/v1/%61/items", RULES_ALLOW },
        { "DELETE", "/open/x/y", RULES_ALLOW },
        { "GET", "/open/secret/x", RULES_DENY },
        { "GET", "/open/%73ecret/x", RULES_DENY },
        { "GET", "/open/x/../secret/y", RULES_DENY },
        { "GET", "/open/x/%2e%2e/secret/y", RULES_DENY },
        { "GET", "/open//secret/y", RULES_DENY },
        { "GET", "/open/secret%2Fx", RULES_DENY },
        { "GET", "/open/secret;a/x", RULES_DENY },
        { "GET", "/open/%5c/x", RULES_DENY },
        { "GET", "/open/%00", RULES_DENY },
        { "GET", "/open/%zz", RULES_DENY },
        { "GET", "/open/%4", RULES_DENY },
        { NULL, NULL, RULES_DENY },
    };

    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        enum rules_verdict verdict =
            VERDICT(rules, "api.example", 80, rows[i].method, rows[i].path);
        if (verdict != rows[i].verdict) {
            print_error("%s %s\n", rows[i].method, rows[i].path);
        }
        assert_int_equal(verdict, rows[i].verdict);
    }
    /* Another rule that allows all of the host does not undo the deny. */
    add(rules,
        &(struct rules_endpoint){
            .rule = STR("all"), .host = STR("**.example"), .ports = http, .port_count = 1 });
    assert_int_equal(VERDICT(rules, "api.example", 80, "GET", "/open/secret/x"), RULES_DENY);
    assert_int_equal(VERDICT(rules, "api.example", 80, "GET", "/elsewhere"), RULES_ALLOW);
    assert_int_equal(VERDICT(rules, "api.example", 80), RULES_DENY);
    rules_destroy(rules);
}

/* Whichever way the server reads %2F: as part of a name, or as a slash. */
static void test_encoded_slashes_where_they_may_pass(void **unused)
{
    static const struct rules_match allows[] = { { { "GET", 3 }, { "/public/**", 10 } },
                                                 { { "GET", 3 }, { "/one/*", 6 } } };
    static const struct rules_match denies[] = { { { "", 0 }, { "/admin/**", 9 } },
                                                 { { "", 0 }, { "/public/secret/*", 16 } } };

    static const struct {
        const char *path;
        enum rules_verdict verdict;
    } rows[] = {
        { "/public/a%2Fb", RULES_ALLOW },       { "/public/a%2fb%2f", RULES_ALLOW },
        { "/one/a%2Fb", RULES_ALLOW },          { "/one/a/b", RULES_DENY },
        { "/public/..%2Fadmin/x", RULES_DENY }, { "/public/..%2fadmin/x", RULES_DENY },
        { "/public%2F..%2Fadmin", RULES_DENY }, { "/public/a%2F..", RULES_DENY },
        { "/public/a%2F.%2Fb", RULES_DENY },    { "/public/%2e%2e%2Fadmin/x", RULES_DENY },
        { "/public/a%2F%2Fb", RULES_DENY },     { "/public/a/%2Fb", RULES_DENY },
        { "/public/secret/x", RULES_DENY },     { "/public/secret%2Fx", RULES_DENY },
        { "/public%2Fsecret/x", RULES_DENY },   { "/public/a..%2F..b", RULES_ALLOW },
    };
    struct rules *rules = rules_create();
    (void)unused;
    add(rules,
        &(struct rules_endpoint){ .host = STR("api.example"),
                                  .ports = http,
                                  .port_count = 1,
                                  .inspected = true,
                                  .encoded_slash = true,
                                  .allows = allows,
                                  .allow_count = 2,
                                  .denies = denies,
                                  .deny_count = 2 });
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        enum rules_verdict verdict = VERDICT(rules, "api.example", 80, "GET", rows[i].path);
        if (verdict != rows[i].verdict) {
            print_error("%s\n", rows[i].path);
        }
        assert_int_equal(verdict, rows[i].verdict);
    }
    rules_destroy(rules);
}

static void test_levels_of_access_and_audit(void **unused)
{
    struct rules *rules = rules_create();
    (void)unused;
    add(rules,
        &(struct rules_endpoint){ .host = STR("r.example"),
                                  .ports = http,
                                  .port_count = 1,
                                  .inspected = true,
                                  .access = RULES_ACCESS_READ });
    add(rules,
        &(struct rules_endpoint){ .host = STR("w.example"),
                                  .ports = http,
                                  .port_count = 1,
                                  .inspected = true,
                                  .access = RULES_ACCESS_WRITE });
    add(rules,
        &(struct rules_endpoint){ .host = STR("a.example"),
                                  .ports = http,
                                  .port_count = 1,
                                  .inspected = true,
                                  .audit = true,
                                  .access = RULES_ACCESS_READ });
    add(rules,
        &(struct rules_endpoint){
            .host = STR("n.example"), .ports = http, .port_count = 1, .inspected = true });
    add(rules,
        &(struct rules_endpoint){
            .host = STR("p.example"), .ports = http, .port_count = 1, .no_programs = true });
    assert_int_equal(VERDICT(rules, "r.example", 80, "GET", "/"), RULES_ALLOW);
    assert_int_equal(VERDICT(rules, "r.example", 80, "POST", "/"), RULES_DENY);
    assert_int_equal(VERDICT(rules, "r.example", 80), RULES_DENY);
    assert_int_equal(VERDICT(rules, "w.example", 80, "PATCH", "/"), RULES_ALLOW);
    assert_int_equal(VERDICT(rules, "w.example", 80, "DELETE", "/"), RULES_DENY);
    assert_int_equal(VERDICT(rules, "a.example", 80, "GET", "/"), RULES_ALLOW);
    assert_int_equal(VERDICT(rules, "a.example", 80, "POST", "/"), RULES_ALLOW_AUDITED);
    assert_int_equal(
        VERDICT(rules, "a.example", 80, "POST", "/", .address = "10.0.0.1"), RULES_DENY);
    assert_int_equal(VERDICT(rules, "n.example", 80, "GET", "/"), RULES_DENY);
    assert_int_equal(VERDICT(rules, "p.example", 80, "GET", "/"), RULES_DENY);
    rules_destroy(rules);
}

static void test_globs(void **unused)
{
    static const struct {
        const char *pattern;
        const char *path;
        bool matches;
    } rows[] = {
        { "", "/x", true },
        { "/x", "/x", true },
        { "/x", "/xy", false },
        { "/x", "/", false },
        { "/*", "/a", true },
        { "/*", "/a/b", false },
        { "/*/c", "/a/c", true },
        { "/*/c", "/a/b/c", false },
        { "/**/c", "/a/b/c", true },
        { "/**", "/", true },
        { "**", "/a/b", true },
        { "/a*b*c", "/aXbYc", true },
        { "/a*b*c", "/aXbY", false },
        { "/**/b/*", "/a/b/b/c", true },
        { "/**/b/*", "/b/c/d", false },
        { "/a/**/z/*.js", "/a/z/z/q/z/x.js", true },
        { "/a/**", "/a", false },
        { "/*a**z", "/xa/yz", true },
        { "/**b*", "/a/b/c", false },
        { "**/v*/x", "/v/v1/v2/y/x", false },
        { "**/v*/x", "/v/v1/v2/x", true },
        { "/a*/b*/c", "/a/x/ab/bc/c", false },
        { "/**a*b/c*d", "/ab/aab/cd/ab/cxd", true },
        { "*", "/", false },
        { "/a*a", "/a", false },
        { "/aba**aba", "/abaaba", true },
        { "/aba**aba", "/ababa", false },
    };

    (void)unused;
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        if (glob_matches(str_of(rows[i].pattern), str_of(rows[i].path)) != rows[i].matches) {
            print_error("%s %s\n", rows[i].pattern, rows[i].path);
            fail();
        }
    }
    assert_non_null(glob_check(STR("x")));
    assert_null(glob_check(STR("/*/**/x")));
    /* As slow as it gets: stars against a path that almost fits. */
    char pattern[GLOB_BYTES_MAX + 1];
    char path[8192];
    for (size_t i = 0; i < sizeof(pattern); i++) {
        pattern[i] = i % 4 == 3 ? 'a' : '*';
    }
    pattern[GLOB_BYTES_MAX - 1] = 'b';
    memset(path, 'a', sizeof(path));
    path[0] = '/';
    assert_non_null(glob_check(str_from(pattern, sizeof(pattern))));
    assert_null(glob_check(str_from(pattern, GLOB_BYTES_MAX)));
    assert_false(glob_matches(str_from(pattern, GLOB_BYTES_MAX), str_from(path, sizeof(path))));
    path[sizeof(path) - 1] = 'b';
    assert_true(glob_matches(str_from(pattern, GLOB_BYTES_MAX), str_from(path, sizeof(path))));
}

/* The definition, one table cell after the other. */
static bool defined(const char *pattern, const char *path)
{
    static bool fits[64][64]; /* the rest of the pattern, the rest of the path */
    size_t ends = strlen(pattern);
    size_t end = strlen(path);
    for (size_t i = ends + 1; i-- > 0;) {
        for (size_t k = end + 1; k-- > 0;) {
            size_t stars = strspn(pattern + i, "*");
            size_t width = stars > 2 ? 2 : stars;
            bool takes = k < end
                && (width == 0 ? i < ends && pattern[i] == path[k] : width == 2 || path[k] != '/');
            fits[i][k] = width == 0 ? (i == ends ? k == end : takes && fits[i + 1][k + 1])
                                    : fits[i + width][k] || (takes && fits[i][k + 1]);
        }
    }
    return fits[0][0];
}

static void test_globs_are_what_their_definition_says(void **unused)
{
    uint32_t random = 4711;
    size_t matches = 0;
    (void)unused;
    for (int round = 0; round < 100000; round++) {
        char texts[2][24];
        static const char *const letters[] = { "**/a", "/ab" };
        for (size_t which = 0; which < 2; which++) {
            random = random * 1664525U + 1013904223U;
            size_t bytes = 1 + (random >> 16) % (which == 0 ? 9 : 16);
            size_t choices = strlen(letters[which]);
            for (size_t i = 0; i < bytes; i++) {
                random = random * 1664525U + 1013904223U;
                texts[which][i] = letters[which][(random >> 16) % choices];
            }
            texts[which][bytes] = '\0';
        }
        bool expected = defined(texts[0], texts[1]);
        matches += expected ? 1 : 0;
        if (glob_matches(str_of(texts[0]), str_of(texts[1])) != expected) {
            print_error("%s %s\n", texts[0], texts[1]);
            fail();
        }
    }
    assert_in_range(matches, 10000, 90000);
    /* Over the border of a word of places, too. */
    char pattern[GLOB_BYTES_MAX];
    char path[GLOB_BYTES_MAX];
    for (size_t plain = 0; plain + 3 < GLOB_BYTES_MAX; plain++) {
        memset(pattern, 'a', sizeof(pattern));
        memset(path, 'a', sizeof(path));
        pattern[0] = '*';
        pattern[plain + 1] = '*';
        pattern[plain + 2] = 'b';
        path[plain + 2] = 'b';
        struct str_view whole = str_from(pattern, plain + 3);
        assert_true(glob_matches(whole, str_from(path, plain + 3)));
        assert_true(glob_matches(whole, str_from(path + 2, plain + 1)));
        assert_false(glob_matches(whole, str_from(path, plain + 4)));
        assert_false(glob_matches(whole, str_from(path + 3, plain)) && plain > 0);
    }
}

static struct str_view repeat(const char *text, char *room, size_t bytes)
{
    size_t length = strlen(text);
    size_t len = 0;
    for (; len + length <= bytes; len += length) {
        memcpy(room + len, text, length);
    }
    return str_from(room, len);
}

/* Paths that were made to be slow are decided another way, and in the same way. */
static void test_a_path_of_many_almosts_is_decided(void **unused)
{
    char room[8192];
    (void)unused;
    struct str_view path = repeat("/va/xb", room, sizeof(room));
    assert_false(glob_matches(STR("**/v*b*/xb"), path));
    assert_true(glob_matches(STR("**/v*/x*"), path));
    assert_true(glob_matches(STR("**/v*/xb"), path));
    assert_false(glob_matches(STR("**v*x**"), path));
    assert_true(glob_matches(STR("**v*x**"), str_from("/a/vax", 6)));
    room[path.len - 3] = '+';
    assert_true(glob_matches(STR("**v*x**"), str_from(room, path.len)));
    path = repeat("ab", room, sizeof(room));
    assert_true(glob_matches(
        STR("*a*b*a*b*a*b*a*b*a*b*a*b*a*b*a*b*a*b*a*b*a*b*a*b*a*b*a*b*a*b*a*b*a*b*a*b"), path));
    assert_false(glob_matches(
        STR("a*b*a*b*a*b*a*b*a*b*a*b*a*b*a*b*a*b*a*b*a*b*a*b*a*b*a*b*a*b*a*b*a*b*a*c"), path));
}

/* ---- Policies as they come ---- */

typedef Openshell__Sandbox__V1__NetworkEndpoint endpoint_type;

static enum err_code compile(
    endpoint_type *endpoint, struct rules **ret_rules, struct err_info *err)
{
    char all[] = "/**";
    char name[] = "web";
    Openshell__Sandbox__V1__NetworkBinary binary = OPENSHELL__SANDBOX__V1__NETWORK_BINARY__INIT;
    Openshell__Sandbox__V1__NetworkBinary *binaries[] = { &binary };
    Openshell__Sandbox__V1__NetworkPolicyRule rule =
        OPENSHELL__SANDBOX__V1__NETWORK_POLICY_RULE__INIT;
    Openshell__Sandbox__V1__SandboxPolicy__NetworkPoliciesEntry entry =
        OPENSHELL__SANDBOX__V1__SANDBOX_POLICY__NETWORK_POLICIES_ENTRY__INIT;
    Openshell__Sandbox__V1__SandboxPolicy__NetworkPoliciesEntry *entries[] = { &entry };
    Openshell__Sandbox__V1__SandboxPolicy policy = OPENSHELL__SANDBOX__V1__SANDBOX_POLICY__INIT;
    binary.path = all;
    rule.n_binaries = 1;
    rule.binaries = binaries;
    rule.n_endpoints = 1;
    rule.endpoints = &endpoint;
    entry.key = name;
    entry.value = &rule;
    policy.n_network_policies = 1;
    policy.network_policies = entries;
    return policy_compile(&policy, ret_rules, err);
}

static void test_a_policy_becomes_rules(void **unused)
{
    char host[] = "*.example.com";
    char range[] = "10.0.0.0/8";
    char *ranges[] = { range };
    uint32_t ports[] = { 8443 };
    struct rules *rules = NULL;
    struct err_info err = ERR_INFO_INIT;
    endpoint_type endpoint = OPENSHELL__SANDBOX__V1__NETWORK_ENDPOINT__INIT;
    (void)unused;
    endpoint.host = host;
    endpoint.port = 443;
    endpoint.n_ports = 1;
    endpoint.ports = ports;
    endpoint.n_allowed_ips = 1;
    endpoint.allowed_ips = ranges;
    assert_ok_err(err, compile(&endpoint, &rules, &err));
    assert_int_equal(VERDICT(rules, "a.example.com", 443, .address = "10.0.0.1"), RULES_ALLOW);
    assert_int_equal(VERDICT(rules, "a.example.com", 8443, .address = "10.0.0.1"), RULES_ALLOW);
    assert_int_equal(VERDICT(rules, "a.example.com", 444, .address = "10.0.0.1"), RULES_DENY);
    assert_true(DECIDE(rules, "a.example.com", 443).compare_tls_name);
    rules_destroy(rules);
    assert_ok_err(err, policy_compile(NULL, &rules, &err));
    assert_int_equal(rules_count(rules), 0);
    rules_destroy(rules);
}

static void test_what_cannot_be_enforced_is_refused_by_name(void **unused)
{
    char host[] = "example.com";
    char odd[] = "odd";
    char *odds[] = { odd };

    struct {
        const char *field;
        endpoint_type endpoint;
    } rows[10];
    struct err_info err = ERR_INFO_INIT;
    (void)unused;
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        openshell__sandbox__v1__network_endpoint__init(&rows[i].endpoint);
        rows[i].endpoint.host = host;
        rows[i].endpoint.port = 443;
    }
    rows[0].field = "protocol";
    rows[0].endpoint.protocol = odd;
    rows[1].field = "tls";
    rows[1].endpoint.tls = odd;
    rows[2].field = "enforcement";
    rows[2].endpoint.enforcement = odd;
    rows[3].field = "access";
    rows[3].endpoint.access = odd;
    rows[4].field = "allowed_ips";
    rows[4].endpoint.n_allowed_ips = 1;
    rows[4].endpoint.allowed_ips = odds;
    rows[5].field = "path";
    rows[5].endpoint.path = odd;
    rows[5].endpoint.protocol = (char[]){ "rest" };
    rows[6].field = "ports";
    rows[6].endpoint.port = 70000;
    rows[7].field = "credentials";
    rows[7].endpoint.provider_credentialed = true;
    rows[8].field = "host";
    rows[8].endpoint.host = (char[]){ "0x7f.1" };
    rows[9].field = "protocol";
    rows[9].endpoint.access = (char[]){ "read-only" };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct rules *rules = NULL;
        assert_int_not_equal(compile(&rows[i].endpoint, &rules, &err), ERR_OK);
        if (strstr(err.text, rows[i].field) == NULL
            || strstr(err.text, "network_policies[web]: endpoints[0]: ") == NULL) {
            print_error("%s\n", err.text);
            fail();
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_allowed_without_a_rule),
        cmocka_unit_test(test_addresses_behind_a_name),
        cmocka_unit_test(test_methods_and_paths),
        cmocka_unit_test(test_levels_of_access_and_audit),
        cmocka_unit_test(test_encoded_slashes_where_they_may_pass),
        cmocka_unit_test(test_globs),
        cmocka_unit_test(test_globs_are_what_their_definition_says),
        cmocka_unit_test(test_a_path_of_many_almosts_is_decided),
        cmocka_unit_test(test_a_policy_becomes_rules),
        cmocka_unit_test(test_what_cannot_be_enforced_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
