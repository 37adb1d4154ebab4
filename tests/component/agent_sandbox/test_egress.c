/*
 * The egress proxy with real sandboxes, on each driver: what a policy allows is reached (the
 * control), what a hostile program tries beside it (tests/security/egress_probe.py) is not, and a
 * server outside says what it saw. In a network of the test's own.
 */
#include "cmd/agent/proxy/proxy.h"
#include "common/base/cleanup.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"
#include "tests/component/agent_sandbox/fixture.h"
#include "tests/support/netns.h"
#include "tests/support/test.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SCRIPT_BYTES_MAX = 65536,
    LINE_BYTES_MAX = 65536,
    NOBODY = 65534
};

struct outside {
    pid_t pid;
    int in;
    FILE *out;
    char *line; /* that was read last */
    size_t line_bytes;
    uint32_t port;
    uint32_t tls_port;
    uint32_t echo_port;
    uint32_t resolver_port;
    uint32_t victim_port;
};

struct egress {
    struct proxy *proxy;
    struct outside outside;
    char resolvers[64];
    unsigned denials;
    unsigned listeners;
};

/* ---- The server ---- */

static void make_certificate(const char *key, const char *certificate)
{
    pid_t pid = fork();
    if (pid == 0) {
        (void)freopen("/dev/null", "w", stderr);
        (void)execlp(
            "openssl",
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            key,
            "-out",
            certificate,
            "-subj",
            "/CN=good.test",
            NULL);
        _exit(127);
    }
    int status = 0;
    (void)waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
}

static const char *ask_outside(struct outside *outside)
{
    if (outside->in >= 0) {
        assert_ok(fd_write_all(outside->in, "\n", 1, NULL));
    }
    assert_true(getline(&outside->line, &outside->line_bytes, outside->out) > 0);
    return outside->line;
}

static uint32_t number_in(const char *json, const char *name)
{
    AUTO_FREE char *key = mem_printf("\"%s\": ", name);
    const char *at = strstr(json, key);
    assert_non_null(at);
    return (uint32_t)strtoul(at + strlen(key), NULL, 10);
}

static void outside_open(struct outside *outside, const char *dir)
{
    AUTO_FREE char *key = mem_printf("%s/key.pem", dir);
    AUTO_FREE char *certificate = mem_printf("%s/certificate.pem", dir);
    AUTO_FREE char *script = mem_printf("%s/tests/support/egress_server.py", test_source_dir());
    int in[2];
    int out[2];
    make_certificate(key, certificate);
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    outside->pid = fork();
    if (outside->pid == 0) {
        (void)dup2(in[0], 0);
        (void)dup2(out[1], 1);
        (void)execlp(
            "/usr/bin/python3", "python3", "-B", script, "10.77.0.1", certificate, key, NULL);
        _exit(127);
    }
    (void)close(in[0]);
    (void)close(out[1]);
    outside->in = -1;
    outside->out = fdopen(out[0], "r");
    const char *ports = ask_outside(outside);
    outside->in = in[1];
    outside->port = number_in(ports, "port");
    outside->tls_port = number_in(ports, "tls_port");
    outside->echo_port = number_in(ports, "echo_port");
    outside->resolver_port = number_in(ports, "resolver_port");
    outside->victim_port = number_in(ports, "victim_port");
}

static void outside_close(struct outside *outside)
{
    (void)kill(outside->pid, SIGKILL);
    (void)waitpid(outside->pid, NULL, 0);
    fd_close(&outside->in);
    (void)fclose(outside->out);
    free(outside->line); /* NOLINT: getline's */
}

/* ---- The proxy beside the sandboxes ---- */

static void on_denied(void *context, const char *id, const struct proxy_denial *denial)
{
    struct egress *egress = context;
    (void)id;
    (void)denial;
    egress->denials++;
}

static const struct proxy_ops proxy_ops = { .denied = on_denied };

static void on_listening(struct fixture *fixture, const char *id, int take_fd)
{
    struct egress *egress = fixture->egress;
    struct err_info err = ERR_INFO_INIT;
    egress->listeners++;
    assert_ok_err(err, proxy_open(egress->proxy, id, take_fd, &err));
}

static void open_proxy(struct fixture *fixture)
{
    struct egress *egress = fixture->egress;
    struct err_info err = ERR_INFO_INIT;
    const struct proxy_options options = { .loop = fixture->loop,
                                           .resolvers = egress->resolvers,
                                           .head_us = 2 * US_PER_SECOND,
                                           .ops = &proxy_ops,
                                           .context = egress };
    assert_ok_err(err, proxy_create(&options, &egress->proxy, &err));
}

static void allow(struct fixture *fixture, const char *id, const char *host)
{
    static const struct str_view outside[] = { { "10.77.0.1", 9 } };
    struct egress *egress = fixture->egress;
    const uint32_t ports[] = { egress->outside.port,
                               egress->outside.tls_port,
                               egress->outside.echo_port };
    struct rules *rules = rules_create();
    const struct rules_endpoint place = { .rule = STR("test"),
                                          .host = str_of(host),
                                          .ports = ports,
                                          .port_count = 3,
                                          .addresses = outside,
                                          .address_count = 1 };
    assert_ok(rules_add(rules, &place, NULL));
    proxy_set_rules(egress->proxy, id, rules);
}

/* In its own network; on the bwrap driver as nobody, who could not make one that bwrap can use. */
static struct fixture *start(struct egress *egress)
{
    const char *driver = getenv("BELAY_TEST_DRIVER");
    test_netns_enter();
    if (geteuid() == 0 && driver != NULL && strcmp(driver, "bwrap") == 0) {
        assert_int_equal(setgroups(0, NULL), 0);
        assert_int_equal(setresgid(NOBODY, NOBODY, NOBODY), 0);
        assert_int_equal(setresuid(NOBODY, NOBODY, NOBODY), 0);
    }
    struct fixture *fixture = fixture_create();
    memset(egress, 0, sizeof(*egress));
    outside_open(&egress->outside, fixture->dir);
    (void)snprintf(
        egress->resolvers,
        sizeof(egress->resolvers),
        "10.77.0.1:%u",
        egress->outside.resolver_port);
    fixture->egress = egress;
    fixture->listening = on_listening;
    open_proxy(fixture);
    return fixture;
}

static void finish(struct fixture *fixture)
{
    struct egress *egress = fixture->egress;
    outside_close(&egress->outside);
    fixture->listening = NULL;
    proxy_destroy(egress->proxy);
    fixture_destroy(fixture);
}

static void make_sandbox(struct fixture *fixture, const char *id)
{
    fixture_create_sandbox(
        fixture,
        &(struct sandbox_spec){ .id = id, .open_files = 256, .network = SANDBOX_NETWORK_PROXY });
}

/* ---- What a program tries ---- */

static char *read_script(const char *name)
{
    AUTO_BUF struct buf text = BUF_INIT(SCRIPT_BYTES_MAX);
    AUTO_FREE char *path = mem_printf("%s/tests/security/%s", test_source_dir(), name);
    assert_ok(file_read(path, SCRIPT_BYTES_MAX, &text, NULL));
    return buf_steal(&text);
}

/* Counts "done" and prints what should not be. */
static size_t judge(const char *answer, bool *ret_good)
{
    size_t allowed = 0;
    struct str_view rest = str_of(answer);
    struct str_view item = STR_NONE;
    *ret_good = true;
    bool more = true;
    while (more) {
        struct str_view tail = STR_NONE;
        more = str_cut(rest, ',', &item, &tail);
        item = str_trim(more ? item : rest);
        rest = tail;
        AUTO_FREE char *text = mem_printf("%.*s", STR_ARG(item));
        bool is_allowed = strstr(text, "\"allowed_") != NULL;
        bool is_done = strstr(text, ": \"done\"") != NULL;
        allowed += is_allowed && is_done ? 1 : 0;
        if (is_allowed != is_done || strstr(text, "broken") != NULL) {
            print_error("inside: %s\n", text);
            *ret_good = false;
        }
    }
    return allowed;
}

static void test_a_program_reaches_what_is_allowed_and_nothing_beside_it(void **unused)
{
    struct egress egress;
    bool good = false;
    (void)unused;
    struct fixture *fixture = start(&egress);
    AUTO_FREE char *script = read_script("egress_probe.py");
    const struct outside *outside = &egress.outside;
    AUTO_FREE char *goals = mem_printf(
        "{\"host\": \"good.test\", \"port\": %u, \"tls_port\": %u, \"victim_port\": %u,"
        " \"resolver\": [\"10.77.0.1\", %u], \"direct\": [[\"10.77.0.1\", %u], [\"127.0.0.1\", %u],"
        " [\"169.254.169.254\", 80], [\"::1\", %u], [\"fd77::1\", %u]]}",
        outside->port,
        outside->tls_port,
        outside->victim_port,
        outside->resolver_port,
        outside->port,
        outside->port,
        outside->port,
        outside->port);
    make_sandbox(fixture, "cage");
    allow(fixture, "cage", "good.test");
    const char *const argv[] = { "python3", "-c", script, goals, NULL };
    struct recorded_program *program = fixture_run(fixture, "cage", argv);
    if (program->err.len > 0) {
        print_error("%s\n", buf_text(&program->err));
    }
    assert_int_equal(judge(buf_text(&program->out), &good), 2);
    assert_true(good);
    const char *seen = ask_outside(&egress.outside);
    assert_int_equal(number_in(seen, "victims"), 0);
    assert_null(strstr(seen, "smuggled"));
    assert_non_null(strstr(seen, "[\"GET\", \"/\", \"good.test"));
    assert_null(strstr(seen, "example")); /* no name but those of rules was asked for */
    assert_true(egress.denials > 20);
    struct proxy_usage usage;
    assert_true(proxy_get_usage(egress.proxy, "cage", &usage));
    assert_true(usage.in_bytes > 0 && usage.out_bytes > 0 && usage.denials > 20);
    finish(fixture);
}

/* The proxy's listener gives nothing else away: the suite of a sandbox without network holds. */
static void test_the_escape_suite_with_a_proxy(void **unused)
{
    struct egress egress;
    (void)unused;
    struct fixture *fixture = start(&egress);
    AUTO_FREE char *script = read_script("sandbox_probe.py");
    AUTO_FREE char *goals = mem_printf(
        "{\"token\": \"belay-token-none\", \"pid\": %d, \"init\": 1, \"port\": %u,"
        " \"address\": \"10.77.0.1\", \"abstract\": \"@belay-none\", \"unix\": \"%s/none\","
        " \"secret\": \"%s/key.pem\", \"scratch\": \"/tmp\", \"shm\": 1, \"disk\": \"/dev/vda\","
        " \"queue\": \"belay-none\", \"planted\": []}",
        (int)getpid(),
        egress.outside.port,
        fixture->dir,
        fixture->dir);
    make_sandbox(fixture, "cage");
    allow(fixture, "cage", "good.test");
    const char *const argv[] = { "python3", "-c", script, goals, NULL };
    struct recorded_program *program = fixture_run(fixture, "cage", argv);
    static const char *const names[] = { "connect_host_port", "connect_host_address",
                                         "connect_metadata",  "send_dns",
                                         "unshare_net",       "setns",
                                         "socket_raw",        "socket_packet",
                                         "descriptors",       "host_tasks" };
    const char *answer = buf_text(&program->out);
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        AUTO_FREE char *done = mem_printf("\"%s\": \"done\"", names[i]);
        AUTO_FREE char *there = mem_printf("\"%s\": ", names[i]);
        if (strstr(answer, there) == NULL || strstr(answer, done) != NULL) {
            print_error("%s\n%s\n", names[i], buf_text(&program->err));
            fail();
        }
    }
    assert_null(strstr(answer, "\"done\""));
    assert_int_equal(number_in(ask_outside(&egress.outside), "victims"), 0);
    finish(fixture);
}

/* ---- Life ---- */

static void wait_for(
    struct fixture *fixture, const struct recorded_program *program, const char *text)
{
    int64_t deadline = loop_now(fixture->loop).value + 20 * US_PER_SECOND;
    while (strstr(buf_text(&program->out), text) == NULL
           && loop_now(fixture->loop).value < deadline) {
        loop_step(fixture->loop, 20);
    }
    if (strstr(buf_text(&program->out), text) == NULL) {
        print_error("never: %s\n%s\n", text, buf_text(&program->err));
        fail();
    }
}

#define TUNNEL_SCRIPT                                                                           \
    "import socket, sys, time\n"                                                                \
    "host, port = sys.argv[1], sys.argv[2]\n"                                                   \
    "def dial():\n"                                                                             \
    "    s = socket.create_connection(('127.0.0.1', 3128))\n"                                   \
    "    s.sendall(f'CONNECT {host}:{port} HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n'.encode())\n" \
    "    return s, s.recv(4096).decode()[9:12]\n"                                               \
    "def say(*words): print(*words, flush=True)\n"                                              \
    "s, code = dial()\n"                                                                        \
    "say('first', code)\n"                                                                      \
    "s.sendall(b'ping')\n"                                                                      \
    "say('echo', s.recv(9).decode())\n"                                                         \
    "try:\n"                                                                                    \
    "    gone = not s.recv(9)\n"                                                                \
    "except ConnectionResetError:\n"                                                            \
    "    gone = True\n"                                                                         \
    "say('gone', gone)\n"                                                                       \
    "s, code = dial()\n"                                                                        \
    "say('second', code)\n"                                                                     \
    "s.sendall(b'pong') if code == '200' else None\n"                                           \
    "say('echo again', s.recv(9).decode() if code == '200' else '')\n"

static struct recorded_program *start_tunnel(struct fixture *fixture, const char *id)
{
    struct egress *egress = fixture->egress;
    struct err_info err = ERR_INFO_INIT;
    uint64_t exec = 0;
    AUTO_FREE char *port = mem_printf("%u", egress->outside.echo_port);
    const char *const argv[] = { "python3", "-c", TUNNEL_SCRIPT, "good.test", port, NULL };
    const struct sandbox_exec wanted = { .argv = argv };
    assert_ok_err(err, sandbox_exec(fixture->all, id, &wanted, &exec, &err));
    struct recorded_program *program = fixture_program(fixture, id, exec);
    wait_for(fixture, program, "echo ping");
    return program;
}

static void test_a_rule_that_is_taken_away_closes_the_tunnel(void **unused)
{
    struct egress egress;
    (void)unused;
    struct fixture *fixture = start(&egress);
    make_sandbox(fixture, "box");
    allow(fixture, "box", "good.test");
    struct recorded_program *program = start_tunnel(fixture, "box");
    int64_t before = loop_now(fixture->loop).value;
    proxy_set_rules(egress.proxy, "box", rules_create());
    wait_for(fixture, program, "gone True");
    int64_t took = loop_now(fixture->loop).value - before;
    print_message("the program saw it after %lld us\n", (long long)took);
    wait_for(fixture, program, "second 403");
    finish(fixture);
}

/* The agent goes with a tunnel open; the sandbox lives, and connects again when it is back. */
static void test_an_agent_that_comes_back_has_the_listener_again(void **unused)
{
    struct egress egress;
    (void)unused;
    struct fixture *fixture = start(&egress);
    make_sandbox(fixture, "box");
    allow(fixture, "box", "good.test");
    struct recorded_program *program = start_tunnel(fixture, "box");
    assert_int_equal(egress.listeners, 1);
    fixture_close(fixture);
    proxy_destroy(egress.proxy);
    open_proxy(fixture);
    fixture_open(fixture); /* while it was away the program's connection waited in the backlog */
    wait_for(fixture, program, "gone True");
    wait_for(fixture, program, "second ");
    assert_int_equal(egress.listeners, 2);
    assert_non_null(strstr(buf_text(&program->out), "second 403")); /* rules are given anew */
    allow(fixture, "box", "good.test");
    AUTO_FREE char *port = mem_printf("%u", egress.outside.port);
    AUTO_FREE char *ask = mem_printf("curl -sS http://good.test:%s/ -d hello", port);
    struct recorded_program *again = fixture_shell(fixture, "box", ask);
    if (again->out.len == 0) {
        print_error("%s\n", buf_text(&again->err));
    }
    assert_string_equal(buf_text(&again->out), "from outside: hello");
    finish(fixture);
}

static void test_two_sandboxes_have_a_gate_each_and_bytes_pass_fast(void **unused)
{
    struct egress egress;
    (void)unused;
    struct fixture *fixture = start(&egress);
    make_sandbox(fixture, "one");
    make_sandbox(fixture, "two");
    allow(fixture, "one", "good.test");
    AUTO_FREE char *ask = mem_printf(
        "curl -sS -o /dev/null -w '%%{http_code} %%{size_download}' http://good.test:%u/bytes/67108864",
        egress.outside.port);
    int64_t before = loop_now(fixture->loop).value;
    struct recorded_program *one = fixture_shell(fixture, "one", ask);
    int64_t took = loop_now(fixture->loop).value - before;
    assert_string_equal(buf_text(&one->out), "200 67108864");
    print_message("64 MiB in %lld ms\n", (long long)(took / US_PER_MS));
    struct recorded_program *two = fixture_shell(fixture, "two", ask);
    assert_non_null(strstr(buf_text(&two->out), "403"));
    struct proxy_usage usage;
    assert_true(proxy_get_usage(egress.proxy, "one", &usage));
    assert_true(usage.in_bytes > 67108864);
    assert_true(proxy_get_usage(egress.proxy, "two", &usage));
    assert_int_equal(usage.in_bytes, 0);
    assert_int_equal(usage.denials, 1);
    finish(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_program_reaches_what_is_allowed_and_nothing_beside_it),
        cmocka_unit_test(test_the_escape_suite_with_a_proxy),
        cmocka_unit_test(test_a_rule_that_is_taken_away_closes_the_tunnel),
        cmocka_unit_test(test_an_agent_that_comes_back_has_the_listener_again),
        cmocka_unit_test(test_two_sandboxes_have_a_gate_each_and_bytes_pass_fast),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
