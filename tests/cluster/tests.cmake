# The tests of this kind: the fixture, and the world it lives in. Its objects come before the
# libraries, so that what they define (common/rpc, getrandom) is taken from them.
file(GLOB cluster_fixture CONFIGURE_DEPENDS
  "${CMAKE_CURRENT_SOURCE_DIR}/cluster/*.c" "${CMAKE_CURRENT_SOURCE_DIR}/support/sim/*.c"
  "${CMAKE_CURRENT_SOURCE_DIR}/support/memory.c")
get_property(tests DIRECTORY PROPERTY BUILDSYSTEM_TARGETS)
foreach(test IN LISTS tests)
  if(test MATCHES "^cluster_server_api_")
    target_sources(${test} PRIVATE ${cluster_fixture})
    target_link_libraries(${test} PRIVATE agent_link agent_command PkgConfig::SODIUM)
    set_tests_properties(${test} PROPERTIES TIMEOUT 300)
    if(test MATCHES "_sweeps$")
      target_sources(${test} PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}/support/sys_fault.c")
      set_tests_properties(${test} PROPERTIES TIMEOUT 900)
    endif()
  endif()
endforeach()
