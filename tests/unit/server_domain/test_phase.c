#include "cmd/server/domain/phase.h"
#include "common/base/cleanup.h"
#include "tests/support/test.h"

#include <string.h>

static void reports_move_the_phase(void **state)
{
    (void)state;

    static const struct {
        enum phase from;
        enum phase_report report;
        enum phase to;
    } rows[] = {
        { PHASE_PROVISIONING, PHASE_REPORT_READY, PHASE_READY },
        { PHASE_PROVISIONING, PHASE_REPORT_FAILED, PHASE_ERROR },
        { PHASE_READY, PHASE_REPORT_EXITED, PHASE_ERROR },
        { PHASE_READY, PHASE_REPORT_LOST, PHASE_ERROR },
        { PHASE_ERROR, PHASE_REPORT_READY, PHASE_ERROR },
        { PHASE_UNKNOWN, PHASE_REPORT_READY, PHASE_READY },
        { PHASE_STOPPING, PHASE_REPORT_READY, PHASE_STOPPING },
        { PHASE_STOPPING, PHASE_REPORT_EXITED, PHASE_STOPPED },
        { PHASE_STARTING, PHASE_REPORT_STOPPED, PHASE_STARTING },
        { PHASE_DELETING, PHASE_REPORT_READY, PHASE_DELETING },
        { PHASE_DELETING, PHASE_REPORT_DELETED, PHASE_GONE },
    };

    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        assert_int_equal(phase_after_report(rows[i].from, rows[i].report), rows[i].to);
    }
}

static void only_deletion_ends_a_record(void **state)
{
    (void)state;
    for (int phase = PHASE_PROVISIONING; phase < PHASE_COUNT; phase++) {
        for (int report = PHASE_REPORT_STARTING; report < PHASE_REPORT_COUNT; report++) {
            enum phase next = phase_after_report((enum phase)phase, (enum phase_report)report);
            bool may_go = phase == PHASE_DELETING && report == PHASE_REPORT_DELETED;
            assert_int_equal(next == PHASE_GONE, may_go);
        }
        assert_int_equal(phase_after_report((enum phase)phase, 99), phase);
        assert_int_equal(phase_after_report((enum phase)phase, 0), phase);
    }
    assert_int_equal(phase_after_report(77, PHASE_REPORT_READY), 77);
}

static void orders_name_the_phase_they_are_refused_in(void **state)
{
    (void)state;
    struct err_info err = ERR_INFO_INIT;
    enum phase next = PHASE_GONE;
    assert_int_equal(phase_after_order(PHASE_READY, PHASE_ORDER_STOP, &next, &err), ERR_OK);
    assert_int_equal(next, PHASE_STOPPING);
    assert_int_equal(phase_after_order(PHASE_STARTING, PHASE_ORDER_STOP, &next, &err), ERR_OK);
    assert_int_equal(next, PHASE_STOPPING); /* in the pause before a restart, for one */
    assert_int_equal(phase_after_order(PHASE_READY, PHASE_ORDER_EXEC, &next, &err), ERR_OK);
    assert_int_equal(next, PHASE_READY);
    for (int phase = PHASE_PROVISIONING; phase < PHASE_COUNT; phase++) {
        assert_int_equal(phase_after_order(phase, PHASE_ORDER_DELETE, &next, &err), ERR_OK);
        assert_int_equal(next, PHASE_DELETING);
    }
    assert_int_equal(
        phase_after_order(PHASE_STOPPED, PHASE_ORDER_EXEC, &next, &err), ERR_PRECONDITION);
    assert_non_null(strstr(err.text, "stopped"));
}

static void absence_and_return(void **state)
{
    (void)state;
    assert_int_equal(phase_after_absence(PHASE_READY), PHASE_UNKNOWN);
    assert_int_equal(phase_after_absence(PHASE_STOPPED), PHASE_STOPPED);
    assert_int_equal(phase_after_absence(PHASE_DELETING), PHASE_DELETING);
    assert_int_equal(phase_after_absence(PHASE_STOPPING), PHASE_STOPPING);
    assert_int_equal(phase_after_absence(PHASE_STARTING), PHASE_STARTING);
    assert_int_equal(phase_after_missing(PHASE_DELETING), PHASE_GONE);
    assert_int_equal(phase_after_missing(PHASE_READY), PHASE_ERROR);
    assert_string_equal(phase_name(PHASE_READY), "ready");
    assert_string_equal(phase_name(99), "unspecified");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reports_move_the_phase),
        cmocka_unit_test(only_deletion_ends_a_record),
        cmocka_unit_test(orders_name_the_phase_they_are_refused_in),
        cmocka_unit_test(absence_and_return),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
