# The new user's way, in a clone of its own; it builds the release preset there.
add_test(NAME e2e_quickstart
  COMMAND ${BELAY_PYTHON} -B "${CMAKE_CURRENT_SOURCE_DIR}/quickstart/test_quickstart.py")
set_tests_properties(e2e_quickstart PROPERTIES LABELS e2e TIMEOUT 900 SKIP_RETURN_CODE 77)
