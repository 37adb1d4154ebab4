# Files that become part of a program.
set(BELAY_PYTHON /usr/bin/python3)

# belay_embed_bytes(TARGET SYMBOL FILE): `extern const unsigned char SYMBOL[]; extern const size_t
# SYMBOL_size;` over FILE's bytes, declared in <SYMBOL.h> of the target's binary folder.
function(belay_embed_bytes target symbol file)
  set(stem "${CMAKE_CURRENT_BINARY_DIR}/${symbol}")
  add_custom_command(
    OUTPUT "${stem}.S" "${stem}.h"
    COMMAND ${BELAY_PYTHON} "${CMAKE_SOURCE_DIR}/tools/embed/embed_bytes.py" "${symbol}" "${file}" "${stem}"
    DEPENDS "${file}" "${CMAKE_SOURCE_DIR}/tools/embed/embed_bytes.py"
    VERBATIM)
  set_source_files_properties("${stem}.S" PROPERTIES OBJECT_DEPENDS "${file}")
  target_sources(${target} PRIVATE "${stem}.S" "${stem}.h")
  target_include_directories(${target} PUBLIC "${CMAKE_CURRENT_BINARY_DIR}")
endfunction()

# belay_embed_sql(TARGET FILES...): named statements of the .sql files as `static const struct
# sql_statement`s, declared by <noun>.sql.h; each `-- name: noun_verb` becomes SQL_NOUN_VERB.
function(belay_embed_sql target)
  foreach(file IN LISTS ARGN)
    get_filename_component(noun "${file}" NAME_WE)
    set(header "${CMAKE_CURRENT_BINARY_DIR}/${noun}.sql.h")
    add_custom_command(
      OUTPUT "${header}"
      COMMAND ${BELAY_PYTHON} "${CMAKE_SOURCE_DIR}/tools/embed/embed_sql.py" "${CMAKE_CURRENT_SOURCE_DIR}/${file}" "${header}"
      DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${file}" "${CMAKE_SOURCE_DIR}/tools/embed/embed_sql.py"
      VERBATIM)
    target_sources(${target} PRIVATE "${header}")
  endforeach()
  target_include_directories(${target} PUBLIC "${CMAKE_CURRENT_BINARY_DIR}")
endfunction()

# belay_embed_migrations(TARGET SYMBOL DIR): the NNNN_name.sql files of DIR, in order, as
# `extern const struct sql_migration SYMBOL[]; extern const size_t SYMBOL_count;` (<SYMBOL.h>).
function(belay_embed_migrations target symbol dir)
  file(GLOB files CONFIGURE_DEPENDS "${dir}/*.sql")
  set(stem "${CMAKE_CURRENT_BINARY_DIR}/${symbol}")
  add_custom_command(
    OUTPUT "${stem}.c" "${stem}.h"
    COMMAND ${BELAY_PYTHON} "${CMAKE_SOURCE_DIR}/tools/embed/embed_migrations.py" "${symbol}" "${stem}" ${files}
    DEPENDS ${files} "${CMAKE_SOURCE_DIR}/tools/embed/embed_migrations.py"
    VERBATIM)
  target_sources(${target} PRIVATE "${stem}.c" "${stem}.h")
  target_include_directories(${target} PUBLIC "${CMAKE_CURRENT_BINARY_DIR}")
endfunction()
