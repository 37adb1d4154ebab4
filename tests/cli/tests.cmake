# What is made from the command table: the reference page, man pages, completion.
foreach(check reference man bash zsh fish exit)
  add_test(NAME cli_docs_${check}
    COMMAND ${BELAY_PYTHON} "${CMAKE_SOURCE_DIR}/tests/cli/check_docs.py" ${check} $<TARGET_FILE:belay>)
  set_tests_properties(cli_docs_${check} PROPERTIES LABELS cli TIMEOUT 120 SKIP_RETURN_CODE 77)
endforeach()
