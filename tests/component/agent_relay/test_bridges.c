/* Commands and connections of operators in real sandboxes, over real streams. */
#include "common/base/cleanup.h"
#include "common/base/id.h"
#include "common/crypto/hash.h"
#include "common/sandbox/record.h"
#include "common/sys/file.h"
#include "tests/component/agent_relay/fixture.h"
#include "tests/support/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define ACK(name) AGENTGATEWAY__V1__ACK_CODE__ACK_CODE_##name

enum {
    MUCH = 10 * 1024 * 1024
};

typedef Agentgateway__V1__RelayExec exec_type;
typedef Agentgateway__V1__RelayFrame frame_type;
typedef Agentgateway__V1__RelayExec__EnvironmentEntry entry_type;

/* Ten letters, of three bytes each. */
#define FOREIGN "\u898f\u898f\u898f\u898f\u898f\u898f\u898f\u898f\u898f\u898f"

static void assert_exit(struct side *side, int code)
{
    fixture_wait(side, side_has_exit);
    fixture_wait(side, side_is_closed);
    if (side->exit_code != code) {
        print_error("exit %d, errors \"%s\"\n", side->exit_code, buf_text(&side->err));
    }
    assert_int_equal(side->exit_code, code);
}

static void assert_failure(struct side *side, int ack_code, const char *text)
{
    fixture_wait(side, side_has_failed);
    fixture_wait(side, side_is_closed);
    if (side->failure != ack_code || strstr(side->text, text) == NULL) {
        print_error("failure %d \"%s\"\n", side->failure, side->text);
    }
    assert_int_equal(side->failure, ack_code);
    assert_non_null(strstr(side->text, text));
    assert_false(side->has_exit);
}

static void test_a_command_with_all_it_has(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    entry_type entry = AGENTGATEWAY__V1__RELAY_EXEC__ENVIRONMENT_ENTRY__INIT;
    entry_type *entries[] = { &entry };
    exec_type like = AGENTGATEWAY__V1__RELAY_EXEC__INIT;
    const char *const argv[] = { "sh", "-c", "cat; echo \"$A\" >&2; pwd >&2; exit 7", NULL };
    entry.key = CONST_CAST(char *, "A");
    entry.value = CONST_CAST(char *, "b=c");
    like.environment = entries;
    like.n_environment = 1;
    like.workdir = CONST_CAST(char *, "/tmp");
    fixture_start(fixture, "one");
    struct side *side = fixture_exec(fixture, "one", argv, &like);
    fixture_say(side, STR("given"));
    fixture_end(side);
    assert_exit(side, 7);
    assert_string_equal(buf_text(&side->out), "given");
    assert_string_equal(buf_text(&side->err), "b=c\n/tmp\n");
    assert_int_equal(side->taken, 5);
    fixture_wait_idle(fixture);
    assert_int_equal(fixture->idle_count, 1);
    fixture_destroy(fixture);
}

static void test_exit_codes(void **unused)
{
    static const struct {
        const char *script;
        int code;
    } rows[] = {
        { "exit 0", 0 }, { "exit 255", 255 }, { "kill -9 $$", 137 }, { "kill -TERM $$", 143 }
    };

    static const struct {
        const char *program;
        const char *workdir;
        int code;
        const char *text;
    } bad[] = { { "/no/such", "", 127, "no such program" },
                { "no-such", "", 127, "no such program" },
                { "true", "/no/such", 127, "working directory" },
                { "/etc/passwd", "", 126, "ermission denied" },
                { "/tmp", "", 126, "/tmp" } };

    (void)unused;
    struct fixture *fixture = fixture_create();
    fixture_start(fixture, "codes");
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        assert_int_equal(fixture_run(fixture, "codes", rows[i].script, NULL, 0), rows[i].code);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        exec_type like = AGENTGATEWAY__V1__RELAY_EXEC__INIT;
        const char *const argv[] = { bad[i].program, NULL };
        like.workdir = CONST_CAST(char *, bad[i].workdir);
        struct side *side = fixture_exec(fixture, "codes", argv, &like);
        assert_exit(side, bad[i].code);
        assert_non_null(strstr(buf_text(&side->err), bad[i].text));
    }
    fixture_wait_idle(fixture);
    fixture_destroy(fixture);
}

static void test_arguments_and_environment_as_large_as_the_contract_lets_them_be(void **unused)
{
    enum {
        ARGUMENTS = 30,
        ARGUMENT_BYTES = 32000,
        VARIABLES = 30,
        VARIABLE_BYTES = 8000
    };

    (void)unused;
    struct fixture *fixture = fixture_create();
    const char *argv[ARGUMENTS + 5] = { "sh", "-c", "echo $# ${#1} ${#30}; env | wc -c", "sh" };
    char names[VARIABLES][8];
    entry_type entries[VARIABLES];
    entry_type *pointers[VARIABLES];
    exec_type like = AGENTGATEWAY__V1__RELAY_EXEC__INIT;
    AUTO_FREE char *text = mem_alloc(ARGUMENT_BYTES + 1);
    AUTO_FREE char *value = mem_alloc(VARIABLE_BYTES + 1);
    memset(text, 'a', ARGUMENT_BYTES);
    memset(value, 'v', VARIABLE_BYTES);
    for (size_t i = 0; i < ARGUMENTS; i++) {
        argv[4 + i] = text;
    }
    for (size_t i = 0; i < VARIABLES; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "V%zu", i);
        agentgateway__v1__relay_exec__environment_entry__init(&entries[i]);
        entries[i].key = names[i];
        entries[i].value = value;
        pointers[i] = &entries[i];
    }
    like.environment = pointers;
    like.n_environment = VARIABLES / 3; /* the order itself is at most 1 MiB */
    fixture_start(fixture, "large");
    struct side *side = fixture_exec(fixture, "large", argv, &like);
    assert_exit(side, 0);
    assert_non_null(strstr(buf_text(&side->out), "30 32000 32000\n"));
    assert_true(strtol(strchr(buf_text(&side->out), '\n'), NULL, 10) > 10 * VARIABLE_BYTES);
    like.n_environment = VARIABLES;
    argv[4] = NULL;
    side = fixture_exec(fixture, "large", argv, &like);
    assert_exit(side, 0);
    assert_true(strtol(strchr(buf_text(&side->out), '\n'), NULL, 10) > VARIABLES * VARIABLE_BYTES);
    fixture_destroy(fixture);
}

static void test_a_timeout_is_124_after_what_was_said(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    exec_type like = AGENTGATEWAY__V1__RELAY_EXEC__INIT;
    const char *const argv[] = { "sh", "-c", "trap '' TERM HUP; echo before; sleep 60", NULL };
    like.timeout_seconds = 1;
    fixture_start(fixture, "late");
    struct side *side = fixture_exec(fixture, "late", argv, &like);
    assert_exit(side, 124);
    assert_string_equal(buf_text(&side->out), "before\n");
    fixture_destroy(fixture);
}

static char *make_noise(uint8_t digest[HASH_SHA256_BYTES])
{
    char *data = mem_alloc(MUCH);
    id_random(data, MUCH);
    hash_sha256(str_from(data, MUCH), digest);
    return data;
}

static void test_much_both_ways(void **unused)
{
    (void)unused;
    uint8_t given[HASH_SHA256_BYTES];
    uint8_t got[HASH_SHA256_BYTES];
    struct fixture *fixture = fixture_create();
    AUTO_FREE char *data = make_noise(given);
    fixture_start(fixture, "much");
    struct side *side = fixture_shell(fixture, "much", "tee /dev/stderr");
    fixture_say(side, str_from(data, MUCH));
    fixture_end(side);
    assert_exit(side, 0);
    hash_sha256(buf_view(&side->out), got);
    assert_memory_equal(got, given, sizeof(got));
    hash_sha256(buf_view(&side->err), got);
    assert_memory_equal(got, given, sizeof(got));
    assert_int_equal(side->taken, MUCH);
    fixture_destroy(fixture);
}

/* Turns until the number stands still for half a second. */
static uint64_t standstill(struct fixture *fixture, const uint64_t *number)
{
    uint64_t seen = UINT64_MAX;
    while (seen != *number) {
        seen = *number;
        fixture_turn(fixture, US_PER_SECOND / 2);
    }
    return seen;
}

static void test_a_reader_that_stops_stops_the_program(void **unused)
{
    (void)unused;
    char text[64];
    struct fixture *fixture = fixture_create();
    fixture_start(fixture, "slow");
    struct side *side = fixture_shell(
        fixture,
        "slow",
        "i=0; while [ $i -lt 1024 ]; do head -c 65536 /dev/zero; i=$((i+1)); "
        "echo $i > /sandbox/at; done");
    side->keeps_nothing = true;
    fixture_wait(side, side_has_output);
    fixture_hold(side, true);
    (void)standstill(fixture, &side->received);
    assert_int_equal(fixture_run(fixture, "slow", "cat /sandbox/at", text, sizeof(text)), 0);
    int before = (int)strtol(text, NULL, 10);
    assert_true(before < 256); /* of 1024: it waits, with what is between it and the reader */
    fixture_turn(fixture, US_PER_SECOND);
    assert_int_equal(fixture_run(fixture, "slow", "cat /sandbox/at", text, sizeof(text)), 0);
    assert_int_equal(strtol(text, NULL, 10), before);
    fixture_hold(side, false);
    assert_exit(side, 0);
    assert_int_equal(side->received, UINT64_C(1024) * 65536);
    fixture_destroy(fixture);
}

static bool has_full_window(const struct side *side)
{
    return side->taken > 0;
}

static unsigned processes(struct fixture *fixture, const char *id, const char *name)
{
    char text[64];
    AUTO_FREE char *script = mem_printf(
        "n=0; for f in /proc/[0-9]*/comm; do read c < $f; "
        "[ \"$c\" = %s ] && n=$((n+1)); done; echo $n",
        name);
    assert_int_equal(fixture_run(fixture, id, script, text, sizeof(text)), 0);
    return (unsigned)strtoul(text, NULL, 10);
}

static void wait_processes(
    struct fixture *fixture, const char *id, const char *name, unsigned count)
{
    for (int i = 0; i < 100 && processes(fixture, id, name) != count; i++) {
        fixture_turn(fixture, 20 * US_PER_MS);
    }
    assert_int_equal(processes(fixture, id, name), count);
}

static void wait_gone(struct fixture *fixture, const char *id, const char *name)
{
    wait_processes(fixture, id, name, 0);
}

static void test_an_operator_who_goes_ends_the_program(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    AUTO_FREE char *data = mem_alloc(RELAY_INPUT_WINDOW_BYTES);
    fixture_start(fixture, "gone");
    /* It takes no input, and the window is full: the end is heard all the same. */
    struct side *side = fixture_shell(fixture, "gone", "trap '' HUP TERM INT; echo up; sleep 61");
    fixture_wait(side, side_has_output);
    fixture_say(side, str_from(data, RELAY_INPUT_WINDOW_BYTES));
    fixture_wait(side, has_full_window);
    wait_processes(fixture, "gone", "sleep", 1);
    fixture_cancel(side);
    fixture_wait_idle(fixture);
    wait_gone(fixture, "gone", "sleep");
    /* One that is stopped in write, too. */
    side = fixture_shell(fixture, "gone", "exec yes");
    side->keeps_nothing = true;
    fixture_wait(side, side_has_output);
    fixture_hold(side, true);
    (void)standstill(fixture, &side->received);
    fixture_cancel(side);
    fixture_wait_idle(fixture);
    wait_gone(fixture, "gone", "yes");
    fixture_destroy(fixture);
}

static void wait_ended(struct fixture *fixture, const char *id)
{
    struct sandbox_info info = { .status = SANDBOX_STATUS_READY };
    for (int i = 0; i < 3000 && info.status == SANDBOX_STATUS_READY; i++) {
        fixture_turn(fixture, 10 * US_PER_MS);
        assert_true(sandbox_find(fixture->sandboxes, id, &info));
    }
    assert_int_equal(info.status, SANDBOX_STATUS_ENDED);
}

/* With all of its output on the way: nobody takes it any more, and its end is heard none the less.
 */
static void test_a_program_that_is_left_with_its_output_full_is_let_go(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    fixture_start(fixture, "full");
    struct side *side = fixture_shell(fixture, "full", "exec yes");
    side->keeps_nothing = true;
    fixture_wait(side, side_has_output);
    fixture_hold(side, true);
    (void)standstill(fixture, &side->received);
    fixture_cancel(side);
    fixture_wait_idle(fixture);
    assert_ok(sandbox_stop(fixture->sandboxes, "full", 0, NULL));
    wait_ended(fixture, "full"); /* a shim that keeps a program for its agent ends minutes later */
    fixture_destroy(fixture);
}

static void test_the_link_that_is_lost_ends_the_program(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    fixture_start(fixture, "lost");
    struct side *side = fixture_shell(fixture, "lost", "echo up; sleep 61");
    fixture_wait(side, side_has_output);
    rpc_channel_destroy(STEAL(fixture->channel)); /* as the link does */
    fixture_wait_idle(fixture);
    struct err_info err = ERR_INFO_INIT;
    AUTO_FREE char *target = mem_printf("unix:%s/gateway.sock", fixture->dir);
    struct rpc_channel_options dial = { .target = target };
    assert_ok_err(err, rpc_channel_create(fixture->client, &dial, &fixture->channel, &err));
    wait_gone(fixture, "lost", "sleep");
    fixture_destroy(fixture);
}

static void resize(struct side *side, unsigned columns, unsigned rows)
{
    frame_type frame = AGENTGATEWAY__V1__RELAY_FRAME__INIT;
    Agentgateway__V1__RelayResize size = AGENTGATEWAY__V1__RELAY_RESIZE__INIT;
    size.columns = columns;
    size.rows = rows;
    frame.frame_case = AGENTGATEWAY__V1__RELAY_FRAME__FRAME_RESIZE;
    frame.resize = &size;
    fixture_frame(side, &frame);
}

static void test_a_terminal(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    exec_type like = AGENTGATEWAY__V1__RELAY_EXEC__INIT;
    const char *const argv[] = {
        "sh", "-c", "stty size; read line; stty size; echo ready; read line", NULL
    };
    like.tty = true;
    like.columns = 100;
    like.rows = 30;
    fixture_start(fixture, "tty");
    struct side *side = fixture_exec(fixture, "tty", argv, &like);
    fixture_wait_text(side, "30 100");
    resize(side, 132, 50);
    fixture_say(side, STR("go\n"));
    fixture_wait_text(side, "50 132");
    fixture_wait_text(side, "ready");
    fixture_say(side, STR("\003")); /* Ctrl-C */
    fixture_wait(side, side_has_exit);
    assert_int_equal(side->exit_code, 130);
    fixture_destroy(fixture);
}

static void test_signals(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    frame_type frame = AGENTGATEWAY__V1__RELAY_FRAME__INIT;
    frame.frame_case = AGENTGATEWAY__V1__RELAY_FRAME__FRAME_SIGNAL;
    frame.signal = SIGUSR1;
    fixture_start(fixture, "signal");
    struct side *side = fixture_shell(
        fixture,
        "signal",
        "trap 'echo caught; exit 3' USR1; echo up; while :; do sleep 0.05; done");
    fixture_wait_text(side, "up");
    fixture_frame(side, &frame);
    assert_exit(side, 3);
    assert_non_null(strstr(buf_text(&side->out), "caught"));
    fixture_destroy(fixture);
}

static void test_the_end_of_the_sandbox_ends_the_command(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    fixture_start(fixture, "stop");
    struct side *side = fixture_shell(fixture, "stop", "echo up; sleep 61");
    struct side *dead = fixture_connect(fixture, "stop", "localhost", 1);
    assert_failure(dead, ACK(AGENT_INCAPABLE), "port 1");
    fixture_wait(side, side_has_output);
    assert_ok(sandbox_stop(fixture->sandboxes, "stop", 0, NULL));
    assert_exit(side, 137);
    fixture_wait_idle(fixture);
    wait_ended(fixture, "stop");
    assert_failure(fixture_shell(fixture, "stop", "true"), ACK(AGENT_INCAPABLE), "not running");
    fixture_destroy(fixture);
}

static pid_t shim_of(const struct fixture *fixture, const char *id)
{
    AUTO_FREE char *path = mem_printf("%s/sandboxes/run/%s/state.json", fixture->dir, id);
    AUTO_BUF struct buf text = BUF_INIT(RECORD_BYTES_MAX);
    struct record record;
    assert_ok(file_read(path, RECORD_BYTES_MAX, &text, NULL));
    assert_ok(record_parse(buf_view(&text), &record, NULL));
    pid_t shim = (pid_t)record_number(&record, "shim_pid");
    assert_true(shim > 1);
    return shim;
}

/* What is said to a shim that does not read is not kept without bound. */
static void test_a_shim_that_does_not_read_ends_a_relay_that_talks_on(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    fixture_start(fixture, "stuck");
    struct side *side = fixture_shell(fixture, "stuck", "echo up; sleep 61");
    fixture_wait(side, side_has_output);
    pid_t shim = shim_of(fixture, "stuck");
    assert_int_equal(kill(shim, SIGSTOP), 0);
    for (unsigned i = 0; i < 1000 && !side_has_failed(side); i++) {
        for (unsigned j = 0; j < 100; j++) {
            resize(side, 80, 1 + j);
        }
        fixture_turn(fixture, 5 * US_PER_MS);
    }
    assert_failure(side, ACK(BUSY), "does not take");
    assert_failure(fixture_shell(fixture, "stuck", "true"), ACK(BUSY), "does not take");
    assert_int_equal(kill(shim, SIGCONT), 0);
    for (int i = 0; i < 3000 && sandbox_is_behind(fixture->sandboxes, "stuck"); i++) {
        fixture_turn(fixture, 10 * US_PER_MS);
    }
    wait_gone(fixture, "stuck", "sleep");
    fixture_destroy(fixture);
}

static void test_a_shim_that_dies_is_told(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    fixture_start(fixture, "dies");
    struct side *side = fixture_shell(fixture, "dies", "echo up; sleep 61");
    fixture_wait(side, side_has_output);
    assert_int_equal(kill(shim_of(fixture, "dies"), SIGKILL), 0);
    assert_failure(side, ACK(INTERNAL), "ended before the command");
    fixture_destroy(fixture);
}

/* ---- Orders ---- */

static struct side *order_true(struct fixture *fixture, order_type *order, exec_type *exec)
{
    static char program[] = "true";
    static char *argv[] = { program };
    exec->command = argv;
    exec->n_command = 1;
    order->target_case = AGENTGATEWAY__V1__CONTROL_RELAY_OPEN__TARGET_EXEC;
    order->exec = exec;
    return fixture_order(fixture, "order", order);
}

static void test_what_is_not_signed_for_us_does_not_act(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    exec_type exec = AGENTGATEWAY__V1__RELAY_EXEC__INIT;
    char program[] = "false";
    char *other[] = { program };
    fixture_start(fixture, "order");

    order_type order = AGENTGATEWAY__V1__CONTROL_RELAY_OPEN__INIT;
    struct side *side = order_true(fixture, &order, &exec);
    fixture_sign(fixture, &order, 10 * US_PER_SECOND);
    exec.command = other; /* signed was another program */
    fixture_hand_over(fixture, &order);
    assert_failure(side, ACK(FORBIDDEN), "signature");

    side = order_true(fixture, &order, &exec);
    fixture_sign(fixture, &order, 10 * US_PER_SECOND);
    order.actor = CONST_CAST(char *, "user:mallory");
    fixture_hand_over(fixture, &order);
    assert_failure(side, ACK(FORBIDDEN), "signature");

    side = order_true(fixture, &order, &exec);
    fixture_sign(fixture, &order, 10 * US_PER_SECOND);
    order.sandbox_id = CONST_CAST(char *, "other");
    fixture_hand_over(fixture, &order);
    assert_failure(side, ACK(FORBIDDEN), "signature");

    side = order_true(fixture, &order, &exec);
    fixture_sign(fixture, &order, -1);
    fixture_hand_over(fixture, &order);
    assert_failure(side, ACK(FORBIDDEN), "it has expired");

    side = order_true(fixture, &order, &exec);
    order.sandbox_id = CONST_CAST(char *, "none");
    fixture_sign(fixture, &order, 10 * US_PER_SECOND);
    fixture_hand_over(fixture, &order);
    assert_failure(side, ACK(AGENT_INCAPABLE), "no such sandbox");

    side = order_true(fixture, &order, &exec);
    order.target_case = AGENTGATEWAY__V1__CONTROL_RELAY_OPEN__TARGET__NOT_SET;
    fixture_sign(fixture, &order, 10 * US_PER_SECOND);
    fixture_hand_over(fixture, &order);
    assert_failure(side, ACK(UNIMPLEMENTED), "does not know");

    /* Bounds: nothing of it is worth an answer. */
    order_true(fixture, &order, &exec);
    order.relay_id = CONST_CAST(char *, "short");
    fixture_sign(fixture, &order, 10 * US_PER_SECOND);
    fixture_hand_over(fixture, &order);
    order_true(fixture, &order, &exec);
    order.signature.len = 0;
    fixture_hand_over(fixture, &order);
    fixture_wait_idle(fixture);
    fixture_destroy(fixture);
}

static void test_an_order_acts_once(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    exec_type exec = AGENTGATEWAY__V1__RELAY_EXEC__INIT;
    order_type order = AGENTGATEWAY__V1__CONTROL_RELAY_OPEN__INIT;
    fixture_start(fixture, "order");
    struct side *side = order_true(fixture, &order, &exec);
    fixture_sign(fixture, &order, 10 * US_PER_SECOND);
    fixture_hand_over(fixture, &order);
    fixture_hand_over(fixture, &order);
    assert_int_equal(bridges_count(fixture->bridges), 1);
    assert_exit(side, 0);
    fixture_wait_idle(fixture);
    fixture_hand_over(fixture, &order);
    assert_int_equal(bridges_count(fixture->bridges), 0);
    assert_int_equal(side->joins, 1);
    fixture->is_cut = true; /* no session: nothing is started that nobody hears of */
    side = fixture_shell(fixture, "order", "touch /sandbox/started");
    assert_int_equal(bridges_count(fixture->bridges), 0);
    fixture->is_cut = false;
    assert_int_equal(fixture_run(fixture, "order", "test -e /sandbox/started", NULL, 0), 1);
    assert_int_equal(side->joins, 0);
    fixture_destroy(fixture);
}

static void test_many_short_ones_leave_room_for_the_next(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    exec_type exec = AGENTGATEWAY__V1__RELAY_EXEC__INIT;
    order_type order = AGENTGATEWAY__V1__CONTROL_RELAY_OPEN__INIT;
    fixture_start(fixture, "order");
    fixture->is_cut = true; /* each is over at once, and its time is not */
    (void)order_true(fixture, &order, &exec);
    for (unsigned i = 0; i < 2000; i++) {
        AUTO_FREE char *id = mem_printf("rly_%040u", i);
        order.relay_id = id;
        fixture_sign(fixture, &order, 10 * US_PER_SECOND);
        fixture_hand_over(fixture, &order);
    }
    fixture->is_cut = false;
    assert_int_equal(fixture_run(fixture, "order", "exit 7", NULL, 0), 7);
    fixture_wait_idle(fixture);
    fixture_destroy(fixture);
}

static void test_there_are_at_most_so_many(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    struct side *sides[RELAYS_MAX];
    fixture_start(fixture, "many");
    for (size_t i = 0; i < RELAYS_MAX; i++) {
        sides[i] = fixture_shell(fixture, "many", "read line; echo $line");
    }
    assert_failure(fixture_shell(fixture, "many", "true"), ACK(BUSY), "64");
    for (size_t i = 0; i < RELAYS_MAX; i++) {
        fixture_say(sides[i], STR("me\n"));
        assert_exit(sides[i], 0);
        assert_string_equal(buf_text(&sides[i]->out), "me\n");
    }
    assert_int_equal(fixture_run(fixture, "many", "true", NULL, 0), 0);
    fixture_wait_idle(fixture);
    fixture_destroy(fixture);
}

static void test_a_server_that_breaks_the_contract_ends_its_relay(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    AUTO_FREE char *data = mem_alloc(RELAY_INPUT_WINDOW_BYTES);
    frame_type frame = AGENTGATEWAY__V1__RELAY_FRAME__INIT;
    Agentgateway__V1__RelayExit ended = AGENTGATEWAY__V1__RELAY_EXIT__INIT;
    fixture_start(fixture, "breaks");
    struct side *side = fixture_shell(fixture, "breaks", "sleep 61");
    frame.frame_case = AGENTGATEWAY__V1__RELAY_FRAME__FRAME_EXIT;
    frame.exit = &ended;
    fixture_frame(side, &frame);
    fixture_wait_idle(fixture);
    side = fixture_shell(fixture, "breaks", "sleep 61");
    frame.frame_case = AGENTGATEWAY__V1__RELAY_FRAME__FRAME_DATA;
    frame.data = (ProtobufCBinaryData){ RELAY_INPUT_WINDOW_BYTES, (uint8_t *)data };
    for (int i = 0; i < 3; i++) { /* more than the window, and what the sandbox holds */
        fixture_frame(side, &frame);
    }
    fixture_wait_idle(fixture);
    side = fixture_shell(fixture, "breaks", "sleep 61");
    fixture_end(side);
    frame.data.len = 1;
    fixture_frame(side, &frame);
    fixture_wait_idle(fixture);
    wait_gone(fixture, "breaks", "sleep");
    fixture_destroy(fixture);
}

/* ---- Connections ---- */

#define ECHO_SERVER                                                 \
    "import socket, threading\n"                                    \
    "def serve(one):\n"                                             \
    "    while True:\n"                                             \
    "        data = one.recv(65536)\n"                              \
    "        if not data: break\n"                                  \
    "        one.sendall(data)\n"                                   \
    "    one.sendall(b'END')\n"                                     \
    "    one.close()\n"                                             \
    "family = socket.AF_INET6 if ':' in '%s' else socket.AF_INET\n" \
    "s = socket.socket(family)\n"                                   \
    "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"     \
    "s.bind(('%s', %d))\n"                                          \
    "s.listen()\n"                                                  \
    "print('up', flush=True)\n"                                     \
    "while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()\n"

static struct side *serve(struct fixture *fixture, const char *id, const char *host, int port)
{
    AUTO_FREE char *program = mem_printf(ECHO_SERVER, host, host, port);
    const char *const argv[] = { "python3", "-c", program, NULL };
    struct side *side = fixture_exec(fixture, id, argv, NULL);
    fixture_wait_text(side, "up");
    return side;
}

static void test_connections(void **unused)
{
    (void)unused;
    uint8_t given[HASH_SHA256_BYTES];
    uint8_t got[HASH_SHA256_BYTES];
    struct fixture *fixture = fixture_create();
    AUTO_FREE char *data = make_noise(given);
    struct side *sides[5];
    fixture_start(fixture, "tcp");
    struct side *server = serve(fixture, "tcp", "127.0.0.1", 8080);
    static const char *const hosts[] = { "localhost", "", "127.0.0.1", "LOCALHOST", "127.0.0.1" };
    for (size_t i = 0; i < ARRAY_LENGTH(sides); i++) {
        sides[i] = fixture_connect(fixture, "tcp", hosts[i], 8080);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(sides); i++) {
        fixture_say(sides[i], STR("hello"));
        fixture_end(sides[i]); /* half a close: the answer still comes */
        fixture_wait(sides[i], side_has_end);
        fixture_wait(sides[i], side_is_closed);
        assert_string_equal(buf_text(&sides[i]->out), "helloEND");
    }
    struct side *much = fixture_connect(fixture, "tcp", "127.0.0.1", 8080);
    fixture_say(much, str_from(data, MUCH));
    fixture_end(much);
    fixture_wait(much, side_has_end);
    assert_int_equal(much->out.len, MUCH + 3);
    hash_sha256(str_from(much->out.data, MUCH), got);
    assert_memory_equal(got, given, sizeof(got));
    fixture_cancel(server);
    fixture_wait_idle(fixture);
    fixture_destroy(fixture);
}

static void test_localhost_is_either_loopback(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    static const char *const hosts[] = { "localhost", "::1", "[::1]" };
    fixture_start(fixture, "six");
    struct side *server = serve(fixture, "six", "::1", 8081);
    for (size_t i = 0; i < ARRAY_LENGTH(hosts); i++) {
        struct side *side = fixture_connect(fixture, "six", hosts[i], 8081);
        fixture_say(side, STR("six"));
        fixture_end(side);
        fixture_wait(side, side_has_end);
        assert_string_equal(buf_text(&side->out), "sixEND");
    }
    assert_failure(
        fixture_connect(fixture, "six", "127.0.0.1", 8081),
        ACK(AGENT_INCAPABLE),
        "nothing listens");
    fixture_cancel(server);
    fixture_destroy(fixture);
}

static void test_a_connection_that_does_not_read_holds_its_operator(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    const char *const argv[] = { "python3",
                                 "-c",
                                 "import signal, socket\n"
                                 "s = socket.create_server(('127.0.0.1', 9000))\n"
                                 "print('up', flush=True)\n"
                                 "one = s.accept()[0]\n"
                                 "sent = 0\n"
                                 "one.settimeout(1)\n"
                                 "try:\n"
                                 "    while True: sent += one.send(bytes(65536))\n"
                                 "except TimeoutError: print('stopped', sent, flush=True)\n"
                                 "signal.pause()\n",
                                 NULL };
    fixture_start(fixture, "deaf");
    struct side *server = fixture_exec(fixture, "deaf", argv, NULL);
    fixture_wait_text(server, "up");
    struct side *side = fixture_connect(fixture, "deaf", "localhost", 9000);
    side->keeps_nothing = true;
    fixture_wait(side, side_has_output);
    fixture_hold(side, true);
    fixture_wait_text(server, "stopped"); /* nobody took, so nothing more could be sent */
    assert_true(strtoull(strstr(buf_text(&server->out), "stopped") + 8, NULL, 10) < 64 << 20);
    AUTO_FREE char *data = mem_alloc(RELAY_INPUT_WINDOW_BYTES);
    for (int i = 0; i < 64 && side->sent - side->taken < RELAY_INPUT_WINDOW_BYTES; i++) {
        frame_type frame = AGENTGATEWAY__V1__RELAY_FRAME__INIT;
        frame.frame_case = AGENTGATEWAY__V1__RELAY_FRAME__FRAME_DATA;
        frame.data = (ProtobufCBinaryData){ 32768, (uint8_t *)data };
        side->sent += 32768;
        fixture_frame(side, &frame);
        fixture_turn(fixture, 20 * US_PER_MS);
    }
    fixture_cancel(side);
    fixture_cancel(server);
    fixture_wait_idle(fixture);
    fixture_destroy(fixture);
}

static void test_only_the_loopback_of_the_sandbox(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    static const char *const hosts[] = { "10.0.0.1",   "0.0.0.0",    "example.com", "::",
                                         "127.0.0.1.", "2130706433", "128.0.0.1",   "fe80::1" };
    fixture_start(fixture, "walls");
    /* A long one is told cut: not inside a character, or the stream would be hung up on. */
    for (int i = 0; i < 3; i++) {
        AUTO_FREE char *host = mem_printf("%.*s" FOREIGN FOREIGN FOREIGN, i, "xx");
        assert_failure(fixture_connect(fixture, "walls", host, 80), ACK(FORBIDDEN), "loopback");
    }
    for (size_t i = 0; i < ARRAY_LENGTH(hosts); i++) {
        assert_failure(fixture_connect(fixture, "walls", hosts[i], 80), ACK(FORBIDDEN), "loopback");
    }
    assert_failure(
        fixture_connect(fixture, "walls", "127.8.8.8", 80),
        ACK(AGENT_INCAPABLE),
        "nothing listens");
    assert_failure(fixture_connect(fixture, "walls", "", 0), ACK(BAD_REQUEST), "port");
    fixture_wait_idle(fixture);
    fixture_destroy(fixture);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_command_with_all_it_has),
        cmocka_unit_test(test_exit_codes),
        cmocka_unit_test(test_arguments_and_environment_as_large_as_the_contract_lets_them_be),
        cmocka_unit_test(test_a_timeout_is_124_after_what_was_said),
        cmocka_unit_test(test_much_both_ways),
        cmocka_unit_test(test_a_reader_that_stops_stops_the_program),
        cmocka_unit_test(test_an_operator_who_goes_ends_the_program),
        cmocka_unit_test(test_a_program_that_is_left_with_its_output_full_is_let_go),
        cmocka_unit_test(test_the_link_that_is_lost_ends_the_program),
        cmocka_unit_test(test_a_terminal),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_the_end_of_the_sandbox_ends_the_command),
        cmocka_unit_test(test_a_shim_that_does_not_read_ends_a_relay_that_talks_on),
        cmocka_unit_test(test_a_shim_that_dies_is_told),
        cmocka_unit_test(test_what_is_not_signed_for_us_does_not_act),
        cmocka_unit_test(test_an_order_acts_once),
        cmocka_unit_test(test_many_short_ones_leave_room_for_the_next),
        cmocka_unit_test(test_there_are_at_most_so_many),
        cmocka_unit_test(test_a_server_that_breaks_the_contract_ends_its_relay),
        cmocka_unit_test(test_connections),
        cmocka_unit_test(test_localhost_is_either_loopback),
        cmocka_unit_test(test_a_connection_that_does_not_read_holds_its_operator),
        cmocka_unit_test(test_only_the_loopback_of_the_sandbox),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
