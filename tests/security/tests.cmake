# The checklist and the method matrix against the built server, by the harness of tests/e2e.
belay_script_tests(security matrix transport tampering peers clients)
