# The checklist and the method matrix against the built server, by the harness of tests/e2e.
belay_script_tests(security matrix openshell transport tampering peers clients)

# The table of the checklist itself: every test that it names exists, every defence stands where it
# is to be taken away. tests/security/without_defence does so, on demand.
add_test(NAME security_checklist
  COMMAND /usr/bin/python3 -B "${CMAKE_CURRENT_SOURCE_DIR}/security/test_checklist.py")
set_tests_properties(security_checklist PROPERTIES LABELS security TIMEOUT 60)
