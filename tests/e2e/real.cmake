# Foreign clients and real models. A test that does not find what it needs names it and is skipped, or fails where
# GPULET_REQUIRE=1 says that it must be there. Most measure time and memory, so each of these has the machine to itself.
foreach(entry clients_triton:120 clients_perf_analyzer:180 real_answers:180 real_ensemble:180 real_follow:180 real_ocr:180 long_death:240 long_swing:240 long_flat:1800 long_telemetry:240)
    string(REGEX MATCH "^([a-z]+)_([a-z_]+):([0-9]+)$" matched ${entry})
    set(name e2e.${CMAKE_MATCH_1}.${CMAKE_MATCH_2})
    add_test(NAME ${name} COMMAND Python3::Interpreter -B ${CMAKE_CURRENT_SOURCE_DIR}/${CMAKE_MATCH_1}_${CMAKE_MATCH_2}.py)
    set_tests_properties(${name} PROPERTIES LABELS e2e TIMEOUT ${CMAKE_MATCH_3} SKIP_RETURN_CODE 77
                         ENVIRONMENT "GPULET_BIN_DIR=${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
endforeach()
set_tests_properties(e2e.clients.perf_analyzer e2e.real.answers e2e.real.ensemble e2e.real.follow e2e.long.death e2e.long.swing e2e.long.flat
                     PROPERTIES RUN_SERIAL TRUE)
