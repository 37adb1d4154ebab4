/* Every event in every state, the ways through, the delays. */
#include "cmd/agent/link/link_core.h"
#include "common/base/cleanup.h"
#include "tests/support/test.h"

#define AT(seconds) ((struct mono_us){ (int64_t)(seconds)*US_PER_SECOND })

static unsigned step(struct link_core *core, enum link_event_type type, struct mono_us now)
{
    struct link_event event = { .type = type, .random = 0 };
    unsigned actions = 0;
    assert_ok(link_step(core, &event, now, &actions));
    return actions;
}

static struct link_core in_state(enum link_state state, struct mono_us now)
{
    struct link_core core;
    link_core_init(&core, state != LINK_ENROLLING, now);
    if (state == LINK_DISCONNECTED) {
        return core;
    }
    assert_int_not_equal(step(&core, LINK_EVENT_START, now), 0);
    if (state == LINK_ENROLLING || state == LINK_HANDSHAKING) {
        return core;
    }
    (void)step(&core, LINK_EVENT_CHALLENGE, now);
    (void)step(&core, LINK_EVENT_SESSION, now);
    (void)step(&core, LINK_EVENT_ACCEPTED, now);
    if (state == LINK_DRAINING) {
        (void)step(&core, LINK_EVENT_DRAIN, now);
    }
    return core;
}

#define NO LINK_STATE_COUNT /* refused */

/* Where each event leads from each state (the timer: before its time). */
/* clang-format off */
static const enum link_state leads[LINK_EVENT_TYPE_COUNT][LINK_STATE_COUNT] = {
    /* from:                  disconnected        enrolling           handshaking         streaming           draining */
    [LINK_EVENT_START] =     { LINK_HANDSHAKING,  NO,                 NO,                 NO,                 NO },
    [LINK_EVENT_TIMER] =     { LINK_DISCONNECTED, LINK_ENROLLING,     LINK_HANDSHAKING,   LINK_STREAMING,     LINK_DRAINING },
    [LINK_EVENT_PENDING] =   { NO,                LINK_DISCONNECTED,  NO,                 NO,                 NO },
    [LINK_EVENT_ENROLLED] =  { NO,                LINK_HANDSHAKING,   NO,                 NO,                 NO },
    [LINK_EVENT_CHALLENGE] = { NO,                NO,                 LINK_HANDSHAKING,   NO,                 NO },
    [LINK_EVENT_SESSION] =   { NO,                NO,                 LINK_STREAMING,     NO,                 NO },
    [LINK_EVENT_ACCEPTED] =  { NO,                NO,                 NO,                 LINK_STREAMING,     LINK_DRAINING },
    [LINK_EVENT_ALIVE] =     { NO,                NO,                 NO,                 LINK_STREAMING,     LINK_DRAINING },
    [LINK_EVENT_HEARTBEAT] = { NO,                NO,                 NO,                 LINK_STREAMING,     LINK_DRAINING },
    [LINK_EVENT_DRAIN] =     { NO,                NO,                 NO,                 LINK_DRAINING,      LINK_DRAINING },
    [LINK_EVENT_CLOSED] =    { NO,                LINK_DISCONNECTED,  LINK_DISCONNECTED,  LINK_DISCONNECTED,  LINK_HANDSHAKING },
    [LINK_EVENT_LOST] =      { NO,                LINK_DISCONNECTED,  LINK_DISCONNECTED,  LINK_DISCONNECTED,  LINK_HANDSHAKING },
    [LINK_EVENT_FAILED] =    { NO,                LINK_DISCONNECTED,  LINK_DISCONNECTED,  LINK_DISCONNECTED,  LINK_HANDSHAKING },
    [LINK_EVENT_REFUSED] =   { NO,                LINK_DISCONNECTED,  LINK_DISCONNECTED,  LINK_DISCONNECTED,  LINK_HANDSHAKING },
    [LINK_EVENT_STOP] =      { LINK_DISCONNECTED, LINK_DISCONNECTED,  LINK_DISCONNECTED,  LINK_DRAINING,      LINK_DRAINING },
};

/* clang-format on */

static void test_every_event_in_every_state(void **state)
{
    (void)state;
    for (unsigned type = 0; type < LINK_EVENT_TYPE_COUNT; type++) {
        for (unsigned from = 0; from < LINK_STATE_COUNT; from++) {
            struct link_core core = in_state((enum link_state)from, AT(100));
            struct link_core before = core;
            struct link_event event = { .type = (enum link_event_type)type };
            unsigned actions = 0;
            enum err_code code = link_step(&core, &event, AT(100), &actions);
            enum link_state expected = leads[type][from];
            if ((code == ERR_PRECONDITION) != (expected == NO)
                || (code == ERR_OK && link_core_state(&core) != expected)) {
                fail_msg(
                    "%s in state %u: %s, state %u",
                    link_event_name((enum link_event_type)type),
                    from,
                    err_name(code),
                    core.sm.state);
            }
            if (code != ERR_OK) {
                assert_memory_equal(&core, &before, sizeof(core));
                assert_int_equal(actions, 0);
            }
        }
    }
}

static void test_the_way_from_nothing_to_streaming(void **state)
{
    (void)state;
    struct link_core core;
    link_core_init(&core, false, AT(0));
    assert_int_equal(step(&core, LINK_EVENT_START, AT(0)), LINK_DO_REGISTER);
    struct link_event pending = { .type = LINK_EVENT_PENDING, .delay_us = 3 * US_PER_SECOND };
    unsigned actions = 0;
    assert_ok(link_step(&core, &pending, AT(1), &actions));
    assert_int_equal(actions, LINK_DO_DISCARD);
    assert_int_equal(link_core_deadline(&core).value, AT(4).value);
    assert_int_equal(step(&core, LINK_EVENT_TIMER, AT(4)), LINK_DO_REGISTER);
    assert_int_equal(step(&core, LINK_EVENT_ENROLLED, AT(5)), LINK_DO_BEGIN);
    assert_int_equal(step(&core, LINK_EVENT_CHALLENGE, AT(5)), LINK_DO_COMPLETE);
    assert_int_equal(step(&core, LINK_EVENT_SESSION, AT(6)), LINK_DO_OPEN);
    assert_int_equal(step(&core, LINK_EVENT_ACCEPTED, AT(7)), LINK_DO_UPLOAD | LINK_DO_HEARTBEAT);
    assert_int_equal(step(&core, LINK_EVENT_ACCEPTED, AT(8)), 0);
}

static void test_nothing_before_accepted(void **state)
{
    (void)state;
    struct link_core core;
    struct link_event alive = { .type = LINK_EVENT_ALIVE };
    unsigned actions = 0;
    link_core_init(&core, true, AT(0));
    (void)step(&core, LINK_EVENT_START, AT(0));
    (void)step(&core, LINK_EVENT_CHALLENGE, AT(0));
    (void)step(&core, LINK_EVENT_SESSION, AT(0));
    assert_code(ERR_PRECONDITION, link_step(&core, &alive, AT(1), &actions));
    assert_int_equal(step(&core, LINK_EVENT_TIMER, AT(20)), LINK_DO_DISCARD);
    assert_int_equal(link_core_state(&core), LINK_DISCONNECTED);
}

static void test_delays_grow_with_jitter_and_stay_bounded(void **state)
{
    (void)state;
    struct link_core core = in_state(LINK_HANDSHAKING, AT(0));
    int64_t now = 0;
    int64_t most = 0;
    for (unsigned round = 0; round < 12; round++) {
        struct link_event failed = { .type = LINK_EVENT_FAILED, .random = round * 7919 };
        unsigned actions = 0;
        assert_ok(link_step(&core, &failed, (struct mono_us){ now }, &actions));
        int64_t delay = link_core_deadline(&core).value - now;
        int64_t full = US_PER_SECOND << (round < 6 ? round : 6);
        full = full > LINK_BACKOFF_MAX_US ? LINK_BACKOFF_MAX_US : full;
        assert_true(delay >= full / 2 && delay <= full);
        most = delay > most ? delay : most;
        now += delay;
        assert_int_equal(step(&core, LINK_EVENT_TIMER, (struct mono_us){ now }), LINK_DO_BEGIN);
    }
    assert_true(most >= LINK_BACKOFF_MAX_US / 2);
    (void)step(&core, LINK_EVENT_CHALLENGE, (struct mono_us){ now });
    (void)step(&core, LINK_EVENT_SESSION, (struct mono_us){ now });
    (void)step(&core, LINK_EVENT_ACCEPTED, (struct mono_us){ now });
    assert_int_equal(core.failures, 0);
}

static void test_refusal_waits_long(void **state)
{
    (void)state;
    struct link_core core = in_state(LINK_HANDSHAKING, AT(0));
    (void)step(&core, LINK_EVENT_REFUSED, AT(0));
    assert_true(link_core_deadline(&core).value >= LINK_BACKOFF_MAX_US / 2);
}

static void test_heartbeats_follow_the_server(void **state)
{
    (void)state;
    struct link_core core = in_state(LINK_STREAMING, AT(0));
    assert_int_equal(link_core_deadline(&core).value, LINK_HEARTBEAT_US);
    struct link_event event = { .type = LINK_EVENT_HEARTBEAT, .heartbeat_us = 40 * US_PER_SECOND };
    unsigned actions = 0;
    assert_int_equal(step(&core, LINK_EVENT_TIMER, AT(15)), LINK_DO_HEARTBEAT);
    assert_ok(link_step(&core, &event, AT(15), &actions));
    assert_int_equal(step(&core, LINK_EVENT_TIMER, AT(30)), LINK_DO_HEARTBEAT);
    assert_int_equal(step(&core, LINK_EVENT_TIMER, AT(69)), 0);
    assert_int_equal(step(&core, LINK_EVENT_TIMER, AT(70)), LINK_DO_HEARTBEAT);
    event.heartbeat_us = 1;
    assert_ok(link_step(&core, &event, AT(70), &actions));
    assert_int_equal(core.heartbeat_us, LINK_HEARTBEAT_MIN_US);
}

static void test_a_silent_server_is_left(void **state)
{
    (void)state;
    struct link_core core = in_state(LINK_STREAMING, AT(0));
    (void)step(&core, LINK_EVENT_ALIVE, AT(50));
    assert_int_equal(step(&core, LINK_EVENT_TIMER, AT(139)), LINK_DO_HEARTBEAT);
    assert_int_equal(step(&core, LINK_EVENT_TIMER, AT(140)), LINK_DO_DISCARD);
    assert_int_equal(link_core_state(&core), LINK_DISCONNECTED);
}

static void test_sessions_are_renewed_at_four_fifths(void **state)
{
    (void)state;
    struct link_core core;
    unsigned actions = 0;
    link_core_init(&core, true, AT(0));
    (void)step(&core, LINK_EVENT_START, AT(0));
    (void)step(&core, LINK_EVENT_CHALLENGE, AT(0));
    (void)step(&core, LINK_EVENT_SESSION, AT(0));
    struct link_event accepted = { .type = LINK_EVENT_ACCEPTED,
                                   .lifetime_us = 100 * US_PER_SECOND };
    assert_ok(link_step(&core, &accepted, AT(0), &actions));
    (void)step(&core, LINK_EVENT_ALIVE, AT(60));
    (void)step(&core, LINK_EVENT_TIMER, AT(79));
    assert_int_equal(step(&core, LINK_EVENT_TIMER, AT(80)), LINK_DO_HALF_CLOSE);
    assert_int_equal(step(&core, LINK_EVENT_CLOSED, AT(81)), LINK_DO_RELEASE | LINK_DO_BEGIN);
    assert_int_equal(link_core_state(&core), LINK_HANDSHAKING);
}

/* Accepted at 0, renewed at 80 (s). */
static struct link_core with_session(void)
{
    struct link_core core;
    unsigned actions = 0;
    struct link_event accepted = { .type = LINK_EVENT_ACCEPTED,
                                   .lifetime_us = 100 * US_PER_SECOND };
    link_core_init(&core, true, AT(0));
    (void)step(&core, LINK_EVENT_START, AT(0));
    (void)step(&core, LINK_EVENT_CHALLENGE, AT(0));
    (void)step(&core, LINK_EVENT_SESSION, AT(0));
    assert_ok(link_step(&core, &accepted, AT(0), &actions));
    return core;
}

/* Lets the delay pass after what ended the streams. */
static unsigned come_back(struct link_core *core)
{
    assert_int_equal(link_core_state(core), LINK_DISCONNECTED);
    return step(core, LINK_EVENT_TIMER, link_core_deadline(core));
}

static void test_a_session_outlives_its_streams(void **state)
{
    (void)state;

    static const enum link_event_type ends[] = { LINK_EVENT_LOST, LINK_EVENT_CLOSED };

    for (unsigned i = 0; i < ARRAY_LENGTH(ends); i++) {
        struct link_core core = with_session();
        assert_int_equal(step(&core, ends[i], AT(1)), LINK_DO_DISCARD);
        assert_int_equal(come_back(&core), LINK_DO_OPEN);
        assert_int_equal(link_core_state(&core), LINK_STREAMING);
        struct link_event accepted = { .type = LINK_EVENT_ACCEPTED,
                                       .lifetime_us = 90 * US_PER_SECOND };
        unsigned actions = 0;
        assert_ok(link_step(&core, &accepted, AT(10), &actions));
        assert_int_equal(actions, LINK_DO_UPLOAD | LINK_DO_HEARTBEAT);
        (void)step(&core, LINK_EVENT_ALIVE, AT(60));
        /* its renewal is not put off by coming back */
        assert_int_equal(step(&core, LINK_EVENT_TIMER, AT(80)), LINK_DO_HALF_CLOSE);
        assert_int_equal(step(&core, LINK_EVENT_CLOSED, AT(81)), LINK_DO_RELEASE | LINK_DO_BEGIN);
    }
}

static void test_an_outage_of_any_length_costs_no_handshake_while_the_session_lasts(void **state)
{
    (void)state;
    struct link_core core = with_session();
    struct mono_us now = AT(1);
    unsigned resumed = 0;
    (void)step(&core, LINK_EVENT_LOST, now);
    for (now = link_core_deadline(&core); now.value < AT(80).value;
         now = link_core_deadline(&core)) {
        assert_int_equal(step(&core, LINK_EVENT_TIMER, now), LINK_DO_OPEN);
        assert_int_equal(step(&core, LINK_EVENT_LOST, now), LINK_DO_DISCARD);
        resumed++;
    }
    assert_in_range(resumed, 5, 20);
    assert_int_equal(step(&core, LINK_EVENT_TIMER, now), LINK_DO_BEGIN);
}

static void test_a_session_that_is_not_known_is_followed_by_a_handshake_at_once(void **state)
{
    (void)state;
    struct link_core core = with_session();
    (void)step(&core, LINK_EVENT_LOST, AT(1));
    assert_int_equal(come_back(&core), LINK_DO_OPEN);
    assert_int_equal(step(&core, LINK_EVENT_FAILED, AT(3)), LINK_DO_DISCARD | LINK_DO_BEGIN);
    assert_int_equal(step(&core, LINK_EVENT_REFUSED, AT(3)), LINK_DO_DISCARD); /* and the key */
    assert_in_range(link_core_deadline(&core).value, AT(33).value, AT(63).value);
    assert_int_equal(come_back(&core), LINK_DO_BEGIN);
}

/* A session that ends while it streams is not tried again, and the delay is kept. */
static void test_a_session_that_was_ended_is_forgotten(void **state)
{
    (void)state;
    struct link_core core = with_session();
    assert_int_equal(step(&core, LINK_EVENT_FAILED, AT(1)), LINK_DO_DISCARD);
    assert_int_equal(come_back(&core), LINK_DO_BEGIN);
}

static void test_what_is_reached_but_not_accepted_is_tried_three_times(void **state)
{
    (void)state;
    for (unsigned closes = 0; closes < 2; closes++) {
        struct link_core core = with_session();
        (void)step(&core, LINK_EVENT_LOST, AT(1));
        for (unsigned i = 0; i < LINK_UNACCEPTED_MAX; i++) {
            assert_int_equal(come_back(&core), LINK_DO_OPEN);
            struct mono_us until = link_core_deadline(&core);
            (void)step(&core, closes == 1 ? LINK_EVENT_CLOSED : LINK_EVENT_TIMER, until);
        }
        assert_int_equal(come_back(&core), LINK_DO_BEGIN);
    }
}

static void test_a_drain_that_renews_is_followed_by_a_handshake(void **state)
{
    (void)state;
    for (unsigned renews = 0; renews < 2; renews++) {
        struct link_core core = with_session();
        struct link_event drain = { .type = LINK_EVENT_DRAIN, .renews = renews == 1 };
        unsigned actions = 0;
        assert_ok(link_step(&core, &drain, AT(1), &actions));
        assert_int_equal(
            step(&core, LINK_EVENT_CLOSED, AT(2)),
            renews == 1 ? LINK_DO_RELEASE | LINK_DO_BEGIN : LINK_DO_DISCARD | LINK_DO_OPEN);
    }
}

/* The channel, and with it the relays, outlives a renewal alone. */
static void test_what_is_no_mere_renewal_ends_relays(void **state)
{
    (void)state;

    static const enum link_event_type ends[] = { LINK_EVENT_FAILED,
                                                 LINK_EVENT_REFUSED,
                                                 LINK_EVENT_LOST };

    for (size_t i = 0; i < ARRAY_LENGTH(ends); i++) {
        struct link_core core = with_session();
        assert_int_equal(step(&core, LINK_EVENT_TIMER, AT(80)), LINK_DO_HALF_CLOSE);
        assert_true((step(&core, ends[i], AT(81)) & LINK_DO_DISCARD) != 0);
        core = with_session();
        assert_int_equal(step(&core, LINK_EVENT_TIMER, AT(80)), LINK_DO_HALF_CLOSE);
        (void)step(&core, LINK_EVENT_CLOSED, AT(81));
        assert_int_equal(step(&core, ends[i], AT(82)), LINK_DO_DISCARD); /* of the handshake */
        assert_int_equal(link_core_state(&core), LINK_DISCONNECTED);
    }
    struct link_core core = with_session();
    (void)step(&core, LINK_EVENT_TIMER, AT(80));
    (void)step(&core, LINK_EVENT_DRAIN, AT(81)); /* a goaway meanwhile */
    assert_int_equal(step(&core, LINK_EVENT_CLOSED, AT(82)), LINK_DO_DISCARD | LINK_DO_BEGIN);
    core = with_session();
    (void)step(&core, LINK_EVENT_TIMER, AT(80));
    (void)step(&core, LINK_EVENT_STOP, AT(81));
    assert_int_equal(step(&core, LINK_EVENT_CLOSED, AT(82)), LINK_DO_DISCARD | LINK_DO_STOPPED);
}

static void test_only_the_word_of_the_server_ends_a_session(void **state)
{
    (void)state;
    for (unsigned code = 0; code < ERR_CODE_COUNT; code++) {
        bool is_over = code == ERR_UNAUTHENTICATED || code == ERR_DENIED;
        assert_int_equal(link_event_of_end((enum err_code)code) == LINK_EVENT_FAILED, is_over);
    }
    assert_int_equal(link_event_of_end(ERR_UNAVAILABLE), LINK_EVENT_LOST);
}

static void test_drain_comes_back_after_the_delay(void **state)
{
    (void)state;
    struct link_core core = in_state(LINK_STREAMING, AT(0));
    struct link_event goaway = { .type = LINK_EVENT_DRAIN, .delay_us = 7 * US_PER_SECOND };
    unsigned actions = 0;
    assert_ok(link_step(&core, &goaway, AT(1), &actions));
    assert_int_equal(actions, LINK_DO_HALF_CLOSE);
    assert_int_equal(step(&core, LINK_EVENT_TIMER, AT(6)), LINK_DO_DISCARD);
    assert_int_equal(link_core_deadline(&core).value, AT(13).value);
    assert_int_equal(step(&core, LINK_EVENT_TIMER, AT(13)), LINK_DO_BEGIN);
}

static void test_stop_ends_everything(void **state)
{
    (void)state;
    struct link_core core = in_state(LINK_STREAMING, AT(0));
    assert_int_equal(step(&core, LINK_EVENT_STOP, AT(1)), LINK_DO_HALF_CLOSE);
    assert_int_equal(step(&core, LINK_EVENT_CLOSED, AT(2)), LINK_DO_DISCARD | LINK_DO_STOPPED);
    assert_int_equal(link_core_deadline(&core).value, INT64_MAX);
    assert_int_equal(step(&core, LINK_EVENT_TIMER, AT(999)), 0);
    core = in_state(LINK_HANDSHAKING, AT(0));
    assert_int_equal(step(&core, LINK_EVENT_STOP, AT(1)), LINK_DO_DISCARD | LINK_DO_STOPPED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_event_in_every_state),
        cmocka_unit_test(test_a_session_outlives_its_streams),
        cmocka_unit_test(test_an_outage_of_any_length_costs_no_handshake_while_the_session_lasts),
        cmocka_unit_test(test_a_session_that_is_not_known_is_followed_by_a_handshake_at_once),
        cmocka_unit_test(test_a_session_that_was_ended_is_forgotten),
        cmocka_unit_test(test_what_is_reached_but_not_accepted_is_tried_three_times),
        cmocka_unit_test(test_a_drain_that_renews_is_followed_by_a_handshake),
        cmocka_unit_test(test_what_is_no_mere_renewal_ends_relays),
        cmocka_unit_test(test_only_the_word_of_the_server_ends_a_session),
        cmocka_unit_test(test_the_way_from_nothing_to_streaming),
        cmocka_unit_test(test_nothing_before_accepted),
        cmocka_unit_test(test_delays_grow_with_jitter_and_stay_bounded),
        cmocka_unit_test(test_refusal_waits_long),
        cmocka_unit_test(test_heartbeats_follow_the_server),
        cmocka_unit_test(test_a_silent_server_is_left),
        cmocka_unit_test(test_sessions_are_renewed_at_four_fifths),
        cmocka_unit_test(test_drain_comes_back_after_the_delay),
        cmocka_unit_test(test_stop_ends_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
