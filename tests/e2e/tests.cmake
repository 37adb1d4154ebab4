# End to end: the built programs, spoken to by clients that share no code with them. Each suite is
# a file, and a test per store.
function(belay_script_tests kind)
  foreach(file IN LISTS ARGN)
    foreach(engine sqlite postgresql)
      set(name "${kind}_${file}_${engine}")
      add_test(NAME ${name} COMMAND /usr/bin/python3 -B "${CMAKE_CURRENT_SOURCE_DIR}/${kind}/test_${file}.py")
      set_tests_properties(${name} PROPERTIES
        LABELS ${kind} TIMEOUT 240 SKIP_RETURN_CODE 77
        ENVIRONMENT "BELAY_BIN=${CMAKE_BINARY_DIR}/bin;BELAY_TEST_ENGINE=${engine}")
    endforeach()
  endforeach()
endfunction()

belay_script_tests(e2e base enrollment sessions uploads commands)
