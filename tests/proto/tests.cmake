# The message types of the tests' own, their descriptors beside them (never in a program's schema).
set(root "${CMAKE_CURRENT_SOURCE_DIR}/proto")
set(out "${CMAKE_CURRENT_BINARY_DIR}/test_proto")
set(file "belay/test/v1/sink.proto")
set(stem "${out}/belay/test/v1/sink.pb-c")
pkg_get_variable(PROTO_PREFIX protobuf prefix)
file(MAKE_DIRECTORY "${out}")
add_custom_command(
  OUTPUT "${stem}.c" "${stem}.h" "${out}/test.descriptors"
  COMMAND ${PROTOC} "--c_out=${out}" --include_imports "--descriptor_set_out=${out}/test.descriptors"
          "-I${root}" "-I${CMAKE_SOURCE_DIR}/proto" "-I${PROTO_PREFIX}/include" "${file}"
  DEPENDS "${root}/${file}" "${CMAKE_SOURCE_DIR}/proto/belay/v1/options.proto"
  VERBATIM)
add_library(test_proto STATIC "${stem}.c")
target_include_directories(test_proto SYSTEM PUBLIC "${out}")
target_link_libraries(test_proto PUBLIC proto)
belay_embed_bytes(test_proto test_descriptors "${out}/test.descriptors")
foreach(target IN ITEMS unit_common_wire_scan unit_common_wire_json unit_common_wire_round)
  if(TARGET ${target})
    target_link_libraries(${target} PRIVATE test_proto)
  endif()
endforeach()

# Our ProtoJSON against the one of Google's own library, in Debian's Python.
add_executable(wire_convert "${CMAKE_CURRENT_SOURCE_DIR}/proto/wire_convert.c")
target_link_libraries(wire_convert PRIVATE common_wire test_proto belay_warnings)
add_test(NAME component_common_wire_json
  COMMAND /usr/bin/python3 "${CMAKE_CURRENT_SOURCE_DIR}/proto/check_json.py"
          "$<TARGET_FILE:wire_convert>" "${out}/test.descriptors")
set_tests_properties(component_common_wire_json PROPERTIES LABELS component TIMEOUT 120)

# The contracts of OpenShell, field by field, against the table of their wire.
add_test(NAME unit_proto_openshell
  COMMAND /usr/bin/python3 "${CMAKE_CURRENT_SOURCE_DIR}/proto/check_openshell.py"
          "${CMAKE_BINARY_DIR}/proto/belay.descriptors" "${CMAKE_CURRENT_SOURCE_DIR}/proto/openshell_wire.tsv")
set_tests_properties(unit_proto_openshell PROPERTIES LABELS unit TIMEOUT 60)
