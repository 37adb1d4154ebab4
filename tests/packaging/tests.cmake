add_test(NAME packaging_units
  COMMAND /usr/bin/python3 -B "${CMAKE_SOURCE_DIR}/tests/packaging/test_units.py" "${CMAKE_BINARY_DIR}/bin")
set_tests_properties(packaging_units PROPERTIES LABELS e2e TIMEOUT 120 SKIP_RETURN_CODE 77)
