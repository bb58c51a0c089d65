# gpulet_module(core LINKS base SOURCES a.c b.c [DEPS PkgConfig::X]): one static library a folder.
# LINKS is the folder's row in tools/layers.txt, DEPS are libraries from outside.
function(gpulet_module name)
    cmake_parse_arguments(ARG "" "" "LINKS;SOURCES;DEPS" ${ARGN})
    add_library(gpulet_${name} STATIC ${ARG_SOURCES})
    list(TRANSFORM ARG_LINKS PREPEND gpulet_)
    target_link_libraries(gpulet_${name} PUBLIC gpulet_flags ${ARG_LINKS} PRIVATE ${ARG_DEPS})
endfunction()

# gpulet_program(gpulet LINKS client SOURCES main.c): a program in bin/.
function(gpulet_program name)
    cmake_parse_arguments(ARG "" "" "LINKS;SOURCES;DEPS" ${ARGN})
    add_executable(${name} ${ARG_SOURCES})
    list(TRANSFORM ARG_LINKS PREPEND gpulet_)
    target_link_libraries(${name} PRIVATE gpulet_flags ${ARG_LINKS} ${ARG_DEPS})
    install(TARGETS ${name} RUNTIME DESTINATION bin)
endfunction()

# gpulet_test(unit.sched.batcher SOURCES t.c LINKS sched [TIMEOUT 60] [ARGS …]): one executable, one ctest
# entry; the label is the first word of the name. Of the four that ctest runs at once each counts as two: they
# compute, where end-to-end tests mostly wait.
function(gpulet_test name)
    cmake_parse_arguments(ARG "" "TIMEOUT" "LINKS;SOURCES;DEPS;ARGS" ${ARGN})
    if(NOT ARG_TIMEOUT)
        set(ARG_TIMEOUT 60)
    endif()
    add_executable(${name} ${ARG_SOURCES})
    list(TRANSFORM ARG_LINKS PREPEND gpulet_)
    target_link_libraries(${name} PRIVATE gpulet_flags ${ARG_LINKS} PkgConfig::CMOCKA ${ARG_DEPS})
    target_compile_definitions(${name} PRIVATE
        GPULET_SOURCE_DIR="${PROJECT_SOURCE_DIR}" GPULET_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
    string(REGEX MATCH "^[a-z0-9]+" label ${name})
    add_test(NAME ${name} COMMAND ${name} ${ARG_ARGS} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES LABELS ${label} TIMEOUT ${ARG_TIMEOUT} SKIP_RETURN_CODE 77
                         PROCESSORS 2)
endfunction()

# gpulet_fuzz(profile SOURCES target.c LINKS core): in the fuzz preset a libFuzzer program, everywhere a test
# that replays corpus/ and crashes/ beside the target with plain gcc.
function(gpulet_fuzz name)
    cmake_parse_arguments(ARG "" "" "LINKS;SOURCES;DEPS" ${ARGN})
    list(TRANSFORM ARG_LINKS PREPEND gpulet_)
    if(GPULET_FUZZ)
        add_executable(fuzz_${name} ${ARG_SOURCES})
        target_link_libraries(fuzz_${name} PRIVATE gpulet_flags ${ARG_LINKS} ${ARG_DEPS})
        target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
    else()
        add_executable(fuzz_replay_${name} ${ARG_SOURCES} ${PROJECT_SOURCE_DIR}/tests/fuzz/replay.c)
        target_link_libraries(fuzz_replay_${name} PRIVATE gpulet_flags ${ARG_LINKS} ${ARG_DEPS})
        set_target_properties(fuzz_replay_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
        add_test(NAME fuzz.replay.${name}
                 COMMAND fuzz_replay_${name} ${CMAKE_CURRENT_SOURCE_DIR}/corpus ${CMAKE_CURRENT_SOURCE_DIR}/crashes)
        set_tests_properties(fuzz.replay.${name} PROPERTIES LABELS fuzz TIMEOUT 60)
    endif()
endfunction()

# Adds each named subfolder that has a CMakeLists.txt.
function(gpulet_add_folders)
    foreach(folder ${ARGN})
        if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/CMakeLists.txt)
            add_subdirectory(${folder})
        endif()
    endforeach()
endfunction()
