# What is made from the command table: the reference page, man pages, completion.
foreach(check reference man bash zsh fish exit)
  add_test(NAME cli_docs_${check}
    COMMAND ${BELAY_PYTHON} "${CMAKE_SOURCE_DIR}/tests/cli/check_docs.py" ${check} $<TARGET_FILE:belay>)
  set_tests_properties(cli_docs_${check} PROPERTIES LABELS cli TIMEOUT 120 SKIP_RETURN_CODE 77)
endforeach()

# Completion of names that others chose, in each shell, from a real server.
add_test(NAME cli_completion COMMAND ${BELAY_PYTHON} -B "${CMAKE_SOURCE_DIR}/tests/cli/test_completion.py")
set_tests_properties(cli_completion PROPERTIES
  LABELS e2e TIMEOUT 240 SKIP_RETURN_CODE 77 ENVIRONMENT "BELAY_BIN=${CMAKE_BINARY_DIR}/bin")

# Every command against a real server and its agent, on both stores.
foreach(engine sqlite postgresql)
  add_test(NAME cli_live_${engine} COMMAND ${BELAY_PYTHON} -B "${CMAKE_SOURCE_DIR}/tests/cli/test_live.py")
  set_tests_properties(cli_live_${engine} PROPERTIES
    LABELS e2e TIMEOUT 240 SKIP_RETURN_CODE 77
    ENVIRONMENT "BELAY_BIN=${CMAKE_BINARY_DIR}/bin;BELAY_TEST_ENGINE=${engine}")
endforeach()

# Sandboxes at the terminal: a real server, programs of this machine.
add_test(NAME cli_sandbox COMMAND ${BELAY_PYTHON} -B "${CMAKE_SOURCE_DIR}/tests/cli/test_sandbox.py")
set_tests_properties(cli_sandbox PROPERTIES
  LABELS e2e TIMEOUT 240 SKIP_RETURN_CODE 77 ENVIRONMENT "BELAY_BIN=${CMAKE_BINARY_DIR}/bin")

# A server and sandboxes that answer what no honest one would.
add_test(NAME cli_hostile_server COMMAND ${BELAY_PYTHON} -B "${CMAKE_SOURCE_DIR}/tests/cli/test_hostile_server.py")
set_tests_properties(cli_hostile_server PROPERTIES
  LABELS e2e TIMEOUT 240 SKIP_RETURN_CODE 77 ENVIRONMENT "BELAY_BIN=${CMAKE_BINARY_DIR}/bin")

# Sandboxes of this machine at the terminal; one at a time with the other tests that make some.
add_test(NAME cli_sandbox_real COMMAND ${BELAY_PYTHON} -B "${CMAKE_SOURCE_DIR}/tests/cli/test_sandbox_real.py")
set_tests_properties(cli_sandbox_real PROPERTIES RUN_SERIAL TRUE
  LABELS e2e TIMEOUT 240 SKIP_RETURN_CODE 77 ENVIRONMENT "BELAY_BIN=${CMAKE_BINARY_DIR}/bin")
