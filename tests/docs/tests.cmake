# Pages made from option tables, units, links.
add_test(NAME lint_docs
  COMMAND ${BELAY_PYTHON} -B "${CMAKE_CURRENT_SOURCE_DIR}/docs/test_docs.py" "${CMAKE_BINARY_DIR}/bin")
set_tests_properties(lint_docs PROPERTIES LABELS unit TIMEOUT 120)
