# Compiler and linker flags: one place, probed on gcc 12 and clang 14.
option(BELAY_TESTS "Build the tests" ON)
option(BELAY_FUZZ "Build the fuzzers (clang)" OFF)
option(BELAY_COVERAGE "Instrument for gcov" OFF)
option(BELAY_ARENA_EMULATE "Every arena allocation is a malloc of its own, so that sanitizers see it" OFF)
option(BELAY_FAULTS "Named steps at which a fault test ends or holds the program (never in what is installed)" OFF)
option(BELAY_WERROR "Warnings are errors" ON)
set(BELAY_SANITIZE "" CACHE STRING "Value for -fsanitize=")

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

add_library(belay_flags INTERFACE)
target_compile_definitions(belay_flags INTERFACE _GNU_SOURCE)
target_include_directories(belay_flags INTERFACE "${CMAKE_SOURCE_DIR}")
# Generated headers: their macros are not held to our warnings.
target_include_directories(belay_flags SYSTEM INTERFACE "${CMAKE_BINARY_DIR}")
target_compile_options(belay_flags INTERFACE
  -fno-common -fno-strict-aliasing -fno-delete-null-pointer-checks -fwrapv -fvisibility=hidden
  "-ffile-prefix-map=${CMAKE_SOURCE_DIR}/=" "-ffile-prefix-map=${CMAKE_BINARY_DIR}/=")
target_link_options(belay_flags INTERFACE
  -pie LINKER:--as-needed LINKER:-z,relro,-z,now LINKER:-z,noexecstack)

if(NOT BELAY_SANITIZE)
  target_compile_options(belay_flags INTERFACE
    -fstack-protector-strong -fstack-clash-protection -fcf-protection=full)
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_options(belay_flags INTERFACE -O2 -g1 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
  if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    target_compile_options(belay_flags INTERFACE
      -fzero-call-used-regs=used-gpr -ftrivial-auto-var-init=zero)
  endif()
else()
  target_compile_options(belay_flags INTERFACE -O1 -g -fno-omit-frame-pointer)
endif()
if(BELAY_SANITIZE)
  target_compile_options(belay_flags INTERFACE
    "-fsanitize=${BELAY_SANITIZE}" -fno-sanitize-recover=all)
  target_link_options(belay_flags INTERFACE "-fsanitize=${BELAY_SANITIZE}")
endif()
if(BELAY_ARENA_EMULATE)
  target_compile_definitions(belay_flags INTERFACE ARENA_EMULATE)
endif()
if(BELAY_FAULTS)
  target_compile_definitions(belay_flags INTERFACE BELAY_FAULTS)
endif()
if(BELAY_COVERAGE)
  target_compile_options(belay_flags INTERFACE --coverage)
  target_link_options(belay_flags INTERFACE --coverage)
endif()

# A static program of our own sources alone, never instrumented: what runs inside sandboxes.
add_library(belay_static_flags INTERFACE)
target_compile_definitions(belay_static_flags INTERFACE _GNU_SOURCE)
target_include_directories(belay_static_flags INTERFACE "${CMAKE_SOURCE_DIR}")
target_compile_options(belay_static_flags INTERFACE
  -O2 -g1 -fno-common -fno-strict-aliasing -fno-delete-null-pointer-checks -fwrapv
  -fvisibility=hidden -ffunction-sections -fdata-sections -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
  -fstack-protector-strong -fstack-clash-protection -fcf-protection=full
  "-ffile-prefix-map=${CMAKE_SOURCE_DIR}/=" "-ffile-prefix-map=${CMAKE_BINARY_DIR}/=")
target_link_options(belay_static_flags INTERFACE
  -static-pie LINKER:--gc-sections LINKER:-z,relro,-z,now LINKER:-z,noexecstack)

# Warnings apply to our own code; generated protobuf-c code uses belay_flags alone.
add_library(belay_warnings INTERFACE)
target_compile_options(belay_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wformat=2 -Wundef -Wstrict-prototypes -Wmissing-prototypes
  -Wold-style-definition -Wpointer-arith -Wwrite-strings -Wcast-qual -Wvla -Walloca -Wconversion
  -Wsign-conversion -Wimplicit-fallthrough -Wnull-dereference -Wdouble-promotion
  -Wredundant-decls -Wdate-time -Wframe-larger-than=16384)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  target_compile_options(belay_warnings INTERFACE
    -Wformat-signedness -Wcast-align=strict -Wduplicated-cond -Wduplicated-branches -Wlogical-op
    -Wbidi-chars=any)
else()
  # protobuf-c's initialisers cast const away in their expansion; gcc still checks our own casts.
  target_compile_options(belay_warnings INTERFACE
    -Wno-gnu-zero-variadic-macro-arguments -Wno-cast-qual)
endif()
if(BELAY_WERROR)
  target_compile_options(belay_warnings INTERFACE -Werror)
endif()
if(BELAY_SANITIZE)
  # The sanitizers' instrumentation provokes false -Wnull-dereference and frame-size reports.
  target_compile_options(belay_warnings INTERFACE
    -Wno-null-dereference -Wno-frame-larger-than)
endif()
