# gRPC C core as the target belay_grpc: Debian's shared libraries, or, with BELAY_STATIC_GRPC in the
# programs that ask for it (belay_grpc_archives), their archives.
#
# gRPC brings 50 shared objects, of which a program maps and relocates every one at each start. The
# agent and the command line do without: less memory on small machines, and half the time to start.
# The server keeps the shared ones: it gains little, and they are what security updates replace. For
# the same reason OpenSSL, SQLite, zlib and libc stay shared everywhere.
option(BELAY_STATIC_GRPC "Link gRPC, abseil, re2, upb and c-ares into belay-agent and belay" OFF)

set(archives "")
foreach(name IN LISTS GRPC_STATIC_LIBRARIES)
  if(name MATCHES "^(grpc|gpr|address_sorting|re2|upb|cares|absl_.*)$")
    list(APPEND archives "-l:lib${name}.a")
  endif()
endforeach()
list(REMOVE_DUPLICATES archives)
list(JOIN archives "," archives)

# One item, so that nothing sorts or thins out the group; C++ is inside, and its runtime with it.
add_library(belay_grpc_static INTERFACE)
target_link_libraries(belay_grpc_static INTERFACE
  "-Wl,--start-group,${archives},-l:libstdc++.a,--end-group" PkgConfig::OPENSSL z m)
target_link_directories(belay_grpc_static INTERFACE ${GRPC_STATIC_LIBRARY_DIRS})
target_link_options(belay_grpc_static INTERFACE LINKER:--gc-sections)

set(wanted "$<BOOL:$<TARGET_PROPERTY:BELAY_GRPC_ARCHIVES>>")
add_library(belay_grpc INTERFACE)
target_link_libraries(belay_grpc INTERFACE
  "$<${wanted}:belay_grpc_static>" "$<$<NOT:${wanted}>:PkgConfig::GRPC>")

# belay_grpc_archives(PROGRAM): the archives where the build has them.
function(belay_grpc_archives program)
  set_target_properties(${program} PROPERTIES BELAY_GRPC_ARCHIVES ${BELAY_STATIC_GRPC})
endfunction()
