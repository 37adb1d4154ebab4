/* Changes of labels by UpdateAgent, and look-ups for selectors. */
#include "cmd/server/api/labels.h"
#include "common/base/cleanup.h"
#include "tests/support/test.h"

#include <stdio.h>

typedef Agentgateway__V1__Agent__LabelsEntry label_type;
typedef Agentgateway__V1__UpdateAgentRequest__SetLabelsEntry set_type;

enum {
    LABELS_MAX = 65
};

struct bench {
    Agentgateway__V1__Agent agent;
    Agentgateway__V1__UpdateAgentRequest request;
    label_type labels[LABELS_MAX];
    label_type *label_list[LABELS_MAX];
    set_type sets[LABELS_MAX];
    set_type *set_list[LABELS_MAX];
    char names[LABELS_MAX][8];
};

static char *text(const char *literal)
{
    return (char *)(uintptr_t)literal;
}

static void bench_init(struct bench *bench)
{
    memset(bench, 0, sizeof(*bench));
    agentgateway__v1__agent__init(&bench->agent);
    agentgateway__v1__update_agent_request__init(&bench->request);
    bench->agent.labels = bench->label_list;
    bench->request.set_labels = bench->set_list;
}

static void add_label(struct bench *bench, const char *key, const char *value)
{
    label_type *label = &bench->labels[bench->agent.n_labels];
    agentgateway__v1__agent__labels_entry__init(label);
    label->key = text(key);
    label->value = text(value);
    bench->label_list[bench->agent.n_labels++] = label;
}

static void add_set(struct bench *bench, const char *key, const char *value)
{
    set_type *set = &bench->sets[bench->request.n_set_labels];
    agentgateway__v1__update_agent_request__set_labels_entry__init(set);
    set->key = text(key);
    set->value = text(value);
    bench->set_list[bench->request.n_set_labels++] = set;
}

static void check(struct bench *bench, const char *expected)
{
    AUTO_BUF struct buf out = BUF_INIT(65536);
    struct err_info err = ERR_INFO_INIT;
    assert_ok_err(err, labels_update(&bench->agent, &bench->request, &out, &err));
    assert_string_equal(buf_text(&out), expected);
}

static void test_labels_are_set_changed_and_removed(void **state)
{
    (void)state;
    struct bench bench;
    char *removed[] = { text("gone"), text("never") };
    bench_init(&bench);
    check(&bench, "{}");
    add_label(&bench, "zone", "eu");
    add_label(&bench, "gone", "x");
    add_label(&bench, "kept", "y");
    check(&bench, "{\"zone\":\"eu\",\"gone\":\"x\",\"kept\":\"y\"}");
    add_set(&bench, "zone", "us");
    add_set(&bench, "new", "");
    bench.request.remove_labels = removed;
    bench.request.n_remove_labels = ARRAY_LENGTH(removed);
    check(&bench, "{\"kept\":\"y\",\"zone\":\"us\",\"new\":\"\"}");
}

static void test_an_agent_has_64_at_most(void **state)
{
    (void)state;
    struct bench bench;
    AUTO_BUF struct buf out = BUF_INIT(65536);
    struct err_info err = ERR_INFO_INIT;
    bench_init(&bench);
    for (int i = 0; i < 64; i++) {
        (void)snprintf(bench.names[i], sizeof(bench.names[i]), "k%d", i);
        add_label(&bench, bench.names[i], "v");
    }
    assert_ok(labels_update(&bench.agent, &bench.request, &out, &err));
    add_set(&bench, "one", "more");
    buf_clear(&out);
    assert_code(ERR_LIMIT, labels_update(&bench.agent, &bench.request, &out, &err));
    assert_non_null(strstr(err.text, "set_labels"));
    char *removed[] = { text("k0") };
    bench.request.remove_labels = removed;
    bench.request.n_remove_labels = 1;
    buf_clear(&out);
    assert_ok(labels_update(&bench.agent, &bench.request, &out, &err));
}

static void test_look_ups(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench);
    add_label(&bench, "zone", "");
    assert_non_null(labels_of_agent(&bench.agent, STR("zone")).ptr);
    assert_int_equal(labels_of_agent(&bench.agent, STR("zone")).len, 0);
    assert_null(labels_of_agent(&bench.agent, STR("zon")).ptr);
    assert_null(labels_of_agent(&bench.agent, STR("zones")).ptr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_labels_are_set_changed_and_removed),
        cmocka_unit_test(test_an_agent_has_64_at_most),
        cmocka_unit_test(test_look_ups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
