# Everything a compilation needs, carried by one target that every module links.
set(GPULET_PRESET "none" CACHE STRING "the preset's name, for --version")
set(GPULET_SANITIZE "" CACHE STRING "value for -fsanitize=, empty for none")
option(GPULET_WERROR "treat warnings as errors" OFF)
option(GPULET_FUZZ "instrument for libFuzzer and build the fuzz targets (clang)" OFF)
option(GPULET_COVERAGE "instrument for gcov" OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)

add_library(gpulet_flags INTERFACE)
target_include_directories(gpulet_flags INTERFACE ${PROJECT_SOURCE_DIR}/src)
target_compile_features(gpulet_flags INTERFACE c_std_17)
target_compile_definitions(gpulet_flags INTERFACE _GNU_SOURCE)
target_compile_options(gpulet_flags INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2
    $<$<C_COMPILER_ID:GNU>:-Wno-format-truncation>  # texts for people are cut at their buffer's end on purpose
    -UNDEBUG                      # asserts stay on in every build type
    -fPIE -fstack-protector-strong
    $<$<BOOL:${GPULET_WERROR}>:-Werror>
    $<$<BOOL:${GPULET_COVERAGE}>:--coverage>
    $<$<BOOL:${GPULET_FUZZ}>:-fsanitize=fuzzer-no-link>)
target_link_options(gpulet_flags INTERFACE -pie -Wl,-z,relro,-z,now $<$<BOOL:${GPULET_COVERAGE}>:--coverage>)
if(GPULET_SANITIZE)
    target_compile_options(gpulet_flags INTERFACE
        -fsanitize=${GPULET_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_link_options(gpulet_flags INTERFACE -fsanitize=${GPULET_SANITIZE})
else()
    target_compile_options(gpulet_flags INTERFACE $<$<CONFIG:Release>:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2>)
endif()
