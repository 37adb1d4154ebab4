# belay-agent as a process, alone and against a real belay-server.
add_test(NAME agent_program
  COMMAND ${BELAY_PYTHON} -B "${CMAKE_SOURCE_DIR}/tests/agent/test_program.py"
          $<TARGET_FILE:belay-agent> $<TARGET_FILE:belay-server> $<TARGET_FILE:belay>)
set_tests_properties(agent_program PROPERTIES LABELS e2e TIMEOUT 300)
