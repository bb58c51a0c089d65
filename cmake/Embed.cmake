# gpulet_embed(OUT page.c FILE page.html NAME server_page): C source of `const unsigned char NAME[]` with the file's
# bytes and `const size_t NAME_size`, made anew when the file changes.
function(gpulet_embed)
    cmake_parse_arguments(ARG "" "OUT;FILE;NAME" "" ${ARGN})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${ARG_FILE})
    file(READ ${ARG_FILE} bytes HEX)
    string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1, " bytes "${bytes}")
    file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/${ARG_OUT} @ONLY CONTENT
"#include <stddef.h>
extern const unsigned char @ARG_NAME@[];
extern const size_t @ARG_NAME@_size;
const unsigned char @ARG_NAME@[] = {
@bytes@};
const size_t @ARG_NAME@_size = sizeof(@ARG_NAME@);
")
endfunction()
