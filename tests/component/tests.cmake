foreach(test unary streams client builtin tls attacks strangers)
  if(TARGET component_common_rpc_${test})
    target_sources(component_common_rpc_${test} PRIVATE component/common_rpc/fixture.c)
  endif()
endforeach()

# The same with gRPC linked as into the programs of a release.
add_executable(component_common_rpc_abseil_archives component/common_rpc/test_abseil.c)
target_link_libraries(component_common_rpc_abseil_archives PRIVATE test_support common_rpc belay_warnings)
set_target_properties(component_common_rpc_abseil_archives PROPERTIES BELAY_GRPC_ARCHIVES ON)
add_test(NAME component_common_rpc_abseil_archives COMMAND component_common_rpc_abseil_archives)
set_tests_properties(component_common_rpc_abseil_archives PROPERTIES LABELS component TIMEOUT 300)

# The same server, spoken to by grpcio.
add_executable(common_rpc_serve component/common_rpc/serve_main.c component/common_rpc/fixture.c)
target_link_libraries(common_rpc_serve PRIVATE test_support common_rpc belay_warnings)
add_test(
  NAME component_common_rpc_foreign_client
  COMMAND /usr/bin/python3 "${CMAKE_CURRENT_SOURCE_DIR}/component/common_rpc/foreign_client.py"
          $<TARGET_FILE:common_rpc_serve>)
set_tests_properties(component_common_rpc_foreign_client PROPERTIES LABELS component TIMEOUT 120)

# What the store's tests, and those above it, share.
get_property(component_tests DIRECTORY PROPERTY BUILDSYSTEM_TARGETS)
foreach(test IN LISTS component_tests)
  if(test MATCHES "^component_server_(store|core|ingest|auth|gateway|sandbox)_")
    target_sources(${test} PRIVATE component/server_store/fixture.c)
  endif()
endforeach()

# The server with each thing that can be wrong at its start.
if(TARGET belay-server)
  add_test(
    NAME component_server_start
    COMMAND /usr/bin/python3 "${CMAKE_CURRENT_SOURCE_DIR}/component/server_start.py"
            $<TARGET_FILE:belay-server>)
  set_tests_properties(component_server_start PROPERTIES LABELS component TIMEOUT 300)
endif()

# The egress proxy, in a network namespace of the test's own.
foreach(test IN LISTS component_tests)
  if(test MATCHES "^component_agent_proxy_")
    target_sources(${test} PRIVATE component/agent_proxy/fixture.c)
  endif()
endforeach()

# The shim with an init from the other side: all of its sources, the init under another name.
get_property(shim_sources GLOBAL PROPERTY BELAY_SHIM_SOURCES)
list(FILTER shim_sources EXCLUDE REGEX "/cmd/shim/init\\.c$")
add_library(honest_init OBJECT "${CMAKE_SOURCE_DIR}/cmd/shim/init.c")
target_link_libraries(honest_init PRIVATE belay_static_flags belay_warnings)
target_compile_definitions(honest_init PRIVATE init_main=honest_main)
add_executable(hostile_shim ${shim_sources} component/agent_sandbox/hostile_init.c $<TARGET_OBJECTS:honest_init>)
target_link_libraries(hostile_shim PRIVATE belay_static_flags belay_warnings)

# Real sandboxes, by the shim of this build, on each driver.
foreach(test IN LISTS component_tests)
  if(test MATCHES "^component_(agent_sandbox|agent_relay)_")
    target_sources(${test} PRIVATE component/${CMAKE_MATCH_1}/fixture.c)
    target_compile_definitions(${test} PRIVATE "BELAY_SHIM_PATH=\"$<TARGET_FILE:belay-shim>\""
      "BELAY_HOSTILE_SHIM_PATH=\"$<TARGET_FILE:hostile_shim>\"")
    add_dependencies(${test} belay-shim hostile_shim)
    # One at a time: they count mounts, descriptors and groups of the whole machine, and set bombs off.
    set_tests_properties(${test} PROPERTIES ENVIRONMENT "BELAY_TEST_DRIVER=native" RUN_SERIAL TRUE)
    # bubblewrap is for who is not root: root steps down for it.
    set(reachable "${CMAKE_CURRENT_SOURCE_DIR}/support/reachable")
    set(step_down "if [ $(id -u) = 0 ]; then exec ${reachable} setpriv --reuid=65534 --regid=65534 --clear-groups $0; else exec $0; fi")
    if(test STREQUAL "component_agent_sandbox_egress")
      target_link_libraries(${test} PRIVATE agent_proxy)
      set(step_down "exec ${reachable} $0") # by itself, once it has made its network
    endif()
    add_test(NAME ${test}_bwrap COMMAND sh -c
      "${step_down}"
      $<TARGET_FILE:${test}>)
    set_tests_properties(${test}_bwrap PROPERTIES
      LABELS component TIMEOUT 300 ENVIRONMENT "BELAY_TEST_DRIVER=bwrap" RUN_SERIAL TRUE)
  endif()
endforeach()

# Reports of real sandboxes, with rules as the egress proxy takes them.
if(TARGET component_agent_workload_reports)
  target_compile_definitions(component_agent_workload_reports PRIVATE
    "BELAY_SHIM_PATH=\"$<TARGET_FILE:belay-shim>\"")
  target_link_libraries(component_agent_workload_reports PRIVATE agent_proxy)
  add_dependencies(component_agent_workload_reports belay-shim)
  set_tests_properties(component_agent_workload_reports PROPERTIES RUN_SERIAL TRUE)
  target_compile_definitions(component_agent_workload_restart PRIVATE
    "BELAY_SHIM_PATH=\"$<TARGET_FILE:belay-shim>\"")
  add_dependencies(component_agent_workload_restart belay-shim)
  set_tests_properties(component_agent_workload_restart PROPERTIES RUN_SERIAL TRUE)
endif()

# Orders of an agent that really offers sandboxes.
if(TARGET component_agent_app_lend)
  target_compile_definitions(component_agent_app_lend PRIVATE "BELAY_SHIM_PATH=\"$<TARGET_FILE:belay-shim>\"")
  add_dependencies(component_agent_app_lend belay-shim)
  set_tests_properties(component_agent_app_lend PROPERTIES RUN_SERIAL TRUE)
endif()

# SQLite's memory is the program's own.
if(TARGET component_common_sql_memory)
  target_sources(component_common_sql_memory PRIVATE support/memory.c)
endif()

# The spool on a machine that fails by number: its calls and SQLite's memory are the program's own.
if(TARGET component_agent_spool_sweeps)
  target_sources(component_agent_spool_sweeps PRIVATE support/sys_fault.c support/memory.c)
  set_tests_properties(component_agent_spool_sweeps PROPERTIES TIMEOUT 600)
endif()
