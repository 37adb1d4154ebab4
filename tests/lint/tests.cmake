# The lints that need no build are tests, and have tests of their own.
foreach(check check_layers check_style size_report)
  add_test(NAME lint_${check} COMMAND "${CMAKE_SOURCE_DIR}/tools/${check}")
  set_tests_properties(lint_${check} PROPERTIES LABELS unit TIMEOUT 60)
endforeach()
add_test(NAME lint_selftest
  COMMAND /usr/bin/python3 -B "${CMAKE_CURRENT_SOURCE_DIR}/lint/test_lints.py")
set_tests_properties(lint_selftest PROPERTIES LABELS unit TIMEOUT 60)
