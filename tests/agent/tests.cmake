# belay-agent as a process, alone and against a real belay-server.
add_test(NAME agent_program
  COMMAND ${BELAY_PYTHON} -B "${CMAKE_SOURCE_DIR}/tests/agent/test_program.py"
          $<TARGET_FILE:belay-agent> $<TARGET_FILE:belay-server> $<TARGET_FILE:belay>)
set_tests_properties(agent_program PROPERTIES LABELS e2e TIMEOUT 300)

# What it lends, with sandboxes that run; as root.
add_test(NAME agent_lending
  COMMAND ${BELAY_PYTHON} -B "${CMAKE_SOURCE_DIR}/tests/agent/test_lending.py"
          $<TARGET_FILE:belay-agent> $<TARGET_FILE:belay-server> $<TARGET_FILE:belay>)
set_tests_properties(agent_lending PROPERTIES LABELS e2e TIMEOUT 300 RUN_SERIAL TRUE)

# Its image store; as root with the native driver, else with bubblewrap.
add_test(NAME agent_images
  COMMAND ${BELAY_PYTHON} -B "${CMAKE_SOURCE_DIR}/tests/agent/test_images.py"
          $<TARGET_FILE:belay-agent> $<TARGET_FILE:belay>)
set_tests_properties(agent_images PROPERTIES LABELS e2e TIMEOUT 300)
add_test(NAME agent_images_bwrap COMMAND sh -c
  "if [ $(id -u) = 0 ]; then exec \"${CMAKE_SOURCE_DIR}/tests/support/reachable\" setpriv --reuid=65534 --regid=65534 --clear-groups \"$0\" \"$@\"; else exec \"$0\" \"$@\"; fi"
  ${BELAY_PYTHON} -B "${CMAKE_SOURCE_DIR}/tests/agent/test_images.py" $<TARGET_FILE:belay-agent> $<TARGET_FILE:belay>
  Images.test_programs_run_in_an_image Images.test_an_image_in_use_stays Images.test_links_do_not_lead_out)
set_tests_properties(agent_images_bwrap PROPERTIES LABELS e2e TIMEOUT 300)
