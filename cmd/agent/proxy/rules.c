#include "cmd/agent/proxy/rules.h"

#include "cmd/agent/proxy/parse/glob.h"
#include "cmd/agent/proxy/parse/head.h"
#include "common/base/arena.h"
#include "common/base/list.h"

#include <stdio.h>

enum {
    ARENA_BYTES_MAX = 8 * 1024 * 1024,
    ENDPOINTS_MAX = 4096 /* as the server takes: cmd/server/sandbox/policy.h */
};

struct endpoint {
    struct list link;
    struct rules_endpoint as; /* views and arrays of the arena */
    struct host_pattern pattern;
    struct ip_range *ranges;
};

struct rules {
    struct arena *arena;
    struct list endpoints;
    size_t count;
};

struct rules *rules_create(void)
{
    struct rules *rules = mem_alloc(sizeof(*rules));
    rules->arena = arena_create(ARENA_BYTES_MAX);
    list_init(&rules->endpoints);
    return rules;
}

void rules_destroy(struct rules *rules)
{
    if (rules != NULL) {
        arena_destroy(rules->arena);
        mem_free(rules);
    }
}

size_t rules_count(const struct rules *rules)
{
    return rules->count;
}

/* ---- Filling ---- */

static bool keep(struct arena *arena, struct str_view *text)
{
    text->ptr = arena_str_dup(arena, *text);
    return text->ptr != NULL;
}

static enum err_code check_matches(
    struct arena *arena, const struct rules_match **matches, size_t count, struct err_info *err)
{
    struct rules_match *copy = arena_alloc(arena, (count + 1) * sizeof(*copy));
    if (copy == NULL) {
        return ERR_SET(err, ERR_LIMIT, "too many rules");
    }
    for (size_t i = 0; i < count; i++) {
        copy[i] = (*matches)[i];
        bool any = copy[i].method.len == 0 || str_equal(copy[i].method, STR("*"));
        const char *wrong = glob_check(copy[i].path);
        if (!any && (!str_is_token(copy[i].method) || copy[i].method.len > HEAD_METHOD_BYTES_MAX)) {
            wrong = "a method is a word such as GET, or \"*\"";
        }
        if (wrong != NULL) {
            return ERR_SET(err, ERR_INVALID, "rules: %s", wrong);
        }
        if (!keep(arena, &copy[i].method) || !keep(arena, &copy[i].path)) {
            return ERR_SET(err, ERR_LIMIT, "too many rules");
        }
    }
    *matches = copy;
    return ERR_OK;
}

static enum err_code parse_ranges(
    struct arena *arena, struct endpoint *endpoint, struct err_info *err)
{
    size_t count = endpoint->as.address_count;
    endpoint->ranges = arena_alloc(arena, (count + 1) * sizeof(*endpoint->ranges));
    if (endpoint->ranges == NULL) {
        return ERR_SET(err, ERR_LIMIT, "allowed_ips: too many");
    }
    for (size_t i = 0; i < count; i++) {
        struct str_view text = endpoint->as.addresses[i];
        if (ip_range_parse(text, &endpoint->ranges[i]) != ERR_OK) {
            return ERR_SET(
                err,
                ERR_INVALID,
                "allowed_ips: \"%.*s\" is no address and no range such as 10.1.0.0/16",
                text.len > 64 ? 64 : (int)text.len,
                text.ptr);
        }
    }
    endpoint->as.addresses = NULL;
    return ERR_OK;
}

static enum err_code fill(struct arena *arena, struct endpoint *endpoint, struct err_info *err)
{
    struct rules_endpoint *as = &endpoint->as;
    const char *wrong = host_pattern_parse(as->host, &endpoint->pattern);
    if (wrong != NULL) {
        return ERR_SET(err, ERR_INVALID, "host: %s", wrong);
    }
    if (as->port_count == 0) {
        return ERR_SET(err, ERR_INVALID, "ports: at least one");
    }
    for (size_t i = 0; i < as->port_count; i++) {
        if (as->ports[i] == 0 || as->ports[i] > HOST_PORT_MAX) {
            return ERR_SET(err, ERR_INVALID, "ports: each from 1 to %d", HOST_PORT_MAX);
        }
    }
    wrong = glob_check(as->path);
    if (wrong != NULL) {
        return ERR_SET(err, ERR_INVALID, "path: %s", wrong);
    }
    if (as->rule.len > RULES_NAME_BYTES_MAX) {
        as->rule.len = RULES_NAME_BYTES_MAX;
    }
    as->ports = arena_dup(arena, as->ports, as->port_count * sizeof(*as->ports));
    if (as->ports == NULL || !keep(arena, &as->rule) || !keep(arena, &as->path)) {
        return ERR_SET(err, ERR_LIMIT, "too many endpoints");
    }
    TRY(check_matches(arena, &as->allows, as->allow_count, err));
    TRY(check_matches(arena, &as->denies, as->deny_count, err));
    return parse_ranges(arena, endpoint, err);
}

enum err_code rules_add(
    struct rules *rules, const struct rules_endpoint *endpoint, struct err_info *err)
{
    struct endpoint *added = arena_alloc(rules->arena, sizeof(*added));
    if (added == NULL || rules->count == ENDPOINTS_MAX) {
        return ERR_SET(err, ERR_LIMIT, "at most %d endpoints", ENDPOINTS_MAX);
    }
    added->as = *endpoint;
    TRY(fill(rules->arena, added, err));
    added->as.host = STR_NONE;
    list_append(&rules->endpoints, &added->link);
    rules->count++;
    return ERR_OK;
}

/* ---- Deciding ---- */

static bool is_about(const struct endpoint *endpoint, const struct rules_request *request)
{
    bool port = false;
    for (size_t i = 0; i < endpoint->as.port_count && !port; i++) {
        port = endpoint->as.ports[i] == request->port;
    }
    return port && host_matches(request->host, &endpoint->pattern);
}

static bool is_unlimited(const struct rules_endpoint *as)
{
    return as->deny_count == 0 && as->path.len == 0
        && (!as->inspected || as->access == RULES_ACCESS_FULL);
}

static bool access_has(enum rules_access access, struct str_view method)
{
    static const char *const methods[] = { "GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH" };
    size_t count = access == RULES_ACCESS_READ ? 3 : access == RULES_ACCESS_WRITE ? 6 : 0;
    for (size_t i = 0; i < count; i++) {
        if (str_equal(method, str_of(methods[i]))) {
            return true;
        }
    }
    return access == RULES_ACCESS_FULL;
}

static bool any_matches(
    const struct rules_match *matches, size_t count, struct str_view method, struct str_view path)
{
    for (size_t i = 0; i < count; i++) {
        const struct rules_match *match = &matches[i];
        bool is_method = match->method.len == 0 || str_equal(match->method, STR("*"))
            || str_equal_fold(match->method, method);
        if (is_method && glob_matches(match->path, path)) {
            return true;
        }
    }
    return false;
}

/* As one server reads an encoded slash, or as another does: a deny holds for both. */
static bool is_denied(const struct rules_endpoint *as, struct str_view method, struct str_view path)
{
    if (!as->encoded_slash || as->deny_count == 0) {
        return any_matches(as->denies, as->deny_count, method, path);
    }
    AUTO_FREE char *room = mem_alloc(path.len + 1);
    return any_matches(as->denies, as->deny_count, method, path)
        || any_matches(as->denies, as->deny_count, method, glob_open_slashes(path, room));
}

/* What method and path come to at one endpoint. */
enum content {
    CONTENT_ALLOWED,
    CONTENT_NOT_ALLOWED, /* another endpoint may still */
    CONTENT_DENIED       /* and no other endpoint can help */
};

static enum content judge_tunnel(const struct rules_endpoint *as, const char **ret_why)
{
    if (is_unlimited(as)) {
        return CONTENT_ALLOWED;
    }
    *ret_why = "the rule looks at method and path, which a tunnel (CONNECT, TLS) hides";
    return as->deny_count > 0 ? CONTENT_DENIED : CONTENT_NOT_ALLOWED;
}

static enum content judge_request(
    const struct rules_endpoint *as, const struct rules_request *request, const char **ret_why)
{
    char room[HEAD_BYTES_MAX];
    struct str_view path;
    if (is_unlimited(as)) {
        return CONTENT_ALLOWED;
    }
    if (request->path.len > sizeof(room)
        || !glob_plain_path(request->path, as->encoded_slash, room, &path)) {
        *ret_why = "the path has a form that servers read in different ways (dot or empty "
                   "segments, encoded slashes, ';', '\\')";
        return as->deny_count > 0 ? CONTENT_DENIED : CONTENT_NOT_ALLOWED;
    }
    if (is_denied(as, request->method, path)) {
        *ret_why = "a deny rule names this method and path";
        return CONTENT_DENIED;
    }
    bool allowed = !as->inspected || access_has(as->access, request->method)
        || any_matches(as->allows, as->allow_count, request->method, path);
    if (!allowed || !glob_matches(as->path, path)) {
        *ret_why = "the rule does not allow this method and path";
        return CONTENT_NOT_ALLOWED;
    }
    return CONTENT_ALLOWED;
}

static enum content judge(
    const struct endpoint *endpoint, const struct rules_request *request, const char **ret_why)
{
    return request->is_tunnel ? judge_tunnel(&endpoint->as, ret_why)
                              : judge_request(&endpoint->as, request, ret_why);
}

static bool is_named(const struct endpoint *endpoint, const struct ip_address *address)
{
    for (size_t i = 0; i < endpoint->as.address_count; i++) {
        if (ip_is_in(address, &endpoint->ranges[i])) {
            return true;
        }
    }
    const struct host *host = &endpoint->pattern.host;
    return endpoint->pattern.match == HOST_EXACT && host->is_address
        && ip_equal(&host->address, address);
}

/* Every address must be good: a name that leads to two places leads to the worse one. */
static bool addresses_pass(
    const struct endpoint *endpoint, const struct rules_request *request, char *ret_reason)
{
    for (size_t i = 0; i < request->address_count; i++) {
        char text[IP_TEXT_BYTES];
        const char *what = NULL;
        const struct ip_address *address = &request->addresses[i];
        enum ip_kind kind = ip_kind(address, &what);
        bool named = is_named(endpoint, address);
        bool own = request->own != NULL && request->own[i];
        if (kind == IP_NEVER) {
            (void)snprintf(
                ret_reason,
                RULES_REASON_BYTES,
                "the host is at %s (%s), where no sandbox may go",
                ip_format(address, text),
                what);
            return false;
        }
        if (!named && (kind == IP_PRIVATE || own || endpoint->as.address_count > 0)) {
            (void)snprintf(
                ret_reason,
                RULES_REASON_BYTES,
                "the host is at %s (%s), which the rule's allowed_ips do not name",
                ip_format(address, text),
                own ? "this machine" : what);
            return false;
        }
    }
    return true;
}

static void conclude(
    struct rules_decision *decision,
    enum rules_verdict verdict,
    const struct endpoint *endpoint,
    const char *reason)
{
    decision->verdict = verdict;
    decision->compare_tls_name = !endpoint->as.unseen_tls;
    (void)snprintf(decision->rule, sizeof(decision->rule), "%s", endpoint->as.rule.ptr);
    str_make_utf8(decision->rule); /* as it may be cut */
    if (reason != NULL) {
        (void)snprintf(decision->reason, sizeof(decision->reason), "%s", reason);
    }
}

/* Deny rules of all endpoints first. true: it is decided. */
static bool find_denial(
    const struct rules *rules, const struct rules_request *request, struct rules_decision *decision)
{
    LIST_FOR_EACH(node, &rules->endpoints)
    {
        const struct endpoint *endpoint = LIST_ENTRY(node, struct endpoint, link);
        const char *why = NULL;
        if (is_about(endpoint, request) && !endpoint->as.audit
            && judge(endpoint, request, &why) == CONTENT_DENIED) {
            conclude(decision, RULES_DENY, endpoint, why);
            return true;
        }
    }
    return false;
}

/* true: it allows; what it says is in the decision either way. */
static bool try_endpoint(
    const struct endpoint *endpoint,
    const struct rules_request *request,
    struct rules_decision *decision)
{
    char reason[RULES_REASON_BYTES];
    const char *why = NULL;
    if (endpoint->as.no_programs) {
        conclude(
            decision,
            RULES_DENY,
            endpoint,
            "the rule's list of binaries is empty, so it allows no program; \"/**\" is all");
        return false;
    }
    enum content content = judge(endpoint, request, &why);
    if (content != CONTENT_ALLOWED && !endpoint->as.audit) {
        conclude(decision, RULES_DENY, endpoint, why);
        return false;
    }
    if (!addresses_pass(endpoint, request, reason)) {
        conclude(decision, RULES_DENY, endpoint, reason);
        return false;
    }
    conclude(
        decision,
        content == CONTENT_ALLOWED ? RULES_ALLOW : RULES_ALLOW_AUDITED,
        endpoint,
        content == CONTENT_ALLOWED ? NULL : why);
    return true;
}

void rules_decide(
    const struct rules *rules,
    const struct rules_request *request,
    struct rules_decision *ret_decision)
{
    struct rules_decision audited = { .verdict = RULES_DENY };
    *ret_decision =
        (struct rules_decision){ .verdict = RULES_DENY,
                                 .reason = "no rule of the policy names this host and port" };
    if (find_denial(rules, request, ret_decision)) {
        return;
    }
    LIST_FOR_EACH(node, &rules->endpoints)
    {
        const struct endpoint *endpoint = LIST_ENTRY(node, struct endpoint, link);
        if (!is_about(endpoint, request) || !try_endpoint(endpoint, request, ret_decision)) {
            continue;
        }
        if (ret_decision->verdict == RULES_ALLOW) {
            return;
        }
        audited = *ret_decision;
    }
    if (audited.verdict == RULES_ALLOW_AUDITED) {
        *ret_decision = audited;
    }
}
