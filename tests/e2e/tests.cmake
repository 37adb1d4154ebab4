# End to end: the built programs, spoken to by clients that share no code with them. A suite is a
# file, or with "file.Class" one class of it, and becomes a test per store.
function(belay_script_tests kind)
  foreach(suite IN LISTS ARGN)
    string(REPLACE "." ";" parts "${suite}")
    list(POP_FRONT parts file)
    string(TOLOWER "${suite}" name)
    string(REPLACE "." "_" name "${name}")
    foreach(engine sqlite postgresql)
      set(test "${kind}_${name}_${engine}")
      add_test(NAME ${test}
        COMMAND /usr/bin/python3 -B "${CMAKE_CURRENT_SOURCE_DIR}/${kind}/test_${file}.py" ${parts})
      set_tests_properties(${test} PROPERTIES
        LABELS ${kind} TIMEOUT 300 SKIP_RETURN_CODE 77
        ENVIRONMENT "BELAY_BIN=${CMAKE_BINARY_DIR}/bin;BELAY_TEST_ENGINE=${engine}")
    endforeach()
  endforeach()
endfunction()

belay_script_tests(e2e sim sandboxes sandboxes_real relays_real base enrollment sessions uploads commands real_agent admin loans loans_real usage surface node startup database
  backlog clock.OfTheAgent clock.OfTheServer crash.Uploads crash.Commands crash.Enrollment faults)
# They make sandboxes on this host, as the component tests of them do.
set_tests_properties(e2e_sandboxes_real_sqlite e2e_sandboxes_real_postgresql e2e_loans_real_sqlite e2e_loans_real_postgresql
  PROPERTIES RUN_SERIAL TRUE)

# In a network of its own, where no PostgreSQL is.
add_test(NAME e2e_policies COMMAND /usr/bin/python3 -B "${CMAKE_CURRENT_SOURCE_DIR}/e2e/test_policies.py")
set_tests_properties(e2e_policies PROPERTIES
  LABELS e2e TIMEOUT 300 SKIP_RETURN_CODE 77 ENVIRONMENT "BELAY_BIN=${CMAKE_BINARY_DIR}/bin;BELAY_TEST_ENGINE=sqlite")

# Several servers on one PostgreSQL; SQLite has one server.
foreach(theme replicas relays fencing drain balancer)
  add_test(NAME e2e_${theme}
    COMMAND /usr/bin/python3 -B "${CMAKE_CURRENT_SOURCE_DIR}/e2e/test_${theme}.py")
  set_tests_properties(e2e_${theme} PROPERTIES
    LABELS e2e TIMEOUT 300 SKIP_RETURN_CODE 77
    ENVIRONMENT "BELAY_BIN=${CMAKE_BINARY_DIR}/bin;BELAY_TEST_ENGINE=postgresql")
endforeach()

# Servers that reach PostgreSQL through PgBouncer in transaction mode, and past it where they must.
foreach(suite replicas:Commands:Watches:Periodic fencing:Newest:Stopped sessions:Sessions uploads commands
    drain:UnderWay relays:Killed:Joined.test_wherever_control_stream_relay_and_operator_are
    usage:Usage sandboxes:Life:Placement:Quotas:Policies)
  string(REPLACE ":" ";" parts "${suite}")
  list(POP_FRONT parts file)
  add_test(NAME e2e_pooled_${file}
    COMMAND /usr/bin/python3 -B "${CMAKE_CURRENT_SOURCE_DIR}/e2e/test_${file}.py" ${parts})
  set_tests_properties(e2e_pooled_${file} PROPERTIES
    LABELS e2e TIMEOUT 300 SKIP_RETURN_CODE 77
    ENVIRONMENT "BELAY_BIN=${CMAKE_BINARY_DIR}/bin;BELAY_TEST_ENGINE=postgresql;BELAY_TEST_POOLER=1")
endforeach()

# A cycle on each engine, so every fault and every named step; tools/bench/chaos runs as many as one likes.
foreach(engine sqlite postgres)
  add_test(NAME e2e_chaos_${engine}
    COMMAND /usr/bin/python3 -B "${CMAKE_CURRENT_SOURCE_DIR}/e2e/chaos/chaos.py"
            --engine ${engine} --cycles 1 --lanes 4 --recovery 3)
  set_tests_properties(e2e_chaos_${engine} PROPERTIES
    LABELS e2e TIMEOUT 600 SKIP_RETURN_CODE 77 ENVIRONMENT "BELAY_BIN=${CMAKE_BINARY_DIR}/bin")
endforeach()
