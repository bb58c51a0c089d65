#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "engine/fake/script.h"

static gpulet_fake_script_t parse(const char *text)
{
    gpulet_fake_script_t script;
    gpulet_error_t err = {""};
    if (gpulet_fake_script_parse(&script, text, strlen(text), &err) != GPULET_OK)
        fail_msg("%s", err.text);
    return script;
}

static void anything_but_a_script_is_the_default_model(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "\n\n", "\x08\x07 = onnx", "just words\nkey=value",
                                        "# only a comment\n"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        gpulet_fake_script_t script = parse(texts[i]);
        assert_int_equal(script.io.inputs_count, 1);
        assert_int_equal(script.io.outputs_count, 1);
        assert_string_equal(script.io.inputs[0].name, "INPUT0");
        assert_string_equal(script.io.outputs[0].name, "OUTPUT0");
        assert_int_equal(script.io.outputs[0].type, GPULET_DATATYPE_FP32);
        assert_int_equal(script.io.outputs[0].shape.rank, 2);
        assert_int_equal(script.io.outputs[0].shape.dims[0], -1);
        assert_int_equal(script.io.outputs[0].shape.dims[1], 16);
        gpulet_fake_script_deinit(&script);
    }
}

static void files_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        gpulet_fake_file_t file;
        bool names_tensors;
    } cases[] = {{"", GPULET_FAKE_FILE_BLANK, false},
                 {"\n# only a comment\n", GPULET_FAKE_FILE_BLANK, false},
                 {"latency_ms=1\n", GPULET_FAKE_FILE_SCRIPT, false},
                 {"latency_ms=1\ninput=A:FP32:1\n", GPULET_FAKE_FILE_SCRIPT, true},
                 {"output=A:FP32:1\n", GPULET_FAKE_FILE_SCRIPT, true},
                 {"just words\nlatency_ms=1\n", GPULET_FAKE_FILE_OTHER, false},
                 {"\x08\x07 = onnx", GPULET_FAKE_FILE_OTHER, false}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_fake_script_t script = parse(cases[i].text);
        assert_int_equal(script.file, cases[i].file);
        assert_int_equal(script.names_tensors, cases[i].names_tensors);
        gpulet_fake_script_deinit(&script);
    }
}

static void reads_every_key(void **state)
{
    (void)state;
    gpulet_fake_script_t script = parse("# a model\r\n"
                                        "input=A:INT64:-1x3x4\n"
                                        "  input = B:BYTES:\n"
                                        "output=C:FP16:2\n"
                                        "latency_ms=1.5\nlatency_ms_per_item=0.25\njitter=0.1\n"
                                        "seed=18446744073709551615\nload_ms=3\nmemory_mb=4\n"
                                        "fail_load=it = broken\nfail_run_every=5\n"
                                        "hang_run_every=6\ncrash_run_every=7");
    assert_int_equal(script.io.inputs_count, 2);
    assert_int_equal(script.io.outputs_count, 1);
    assert_string_equal(script.io.inputs[0].name, "A");
    assert_int_equal(script.io.inputs[0].type, GPULET_DATATYPE_INT64);
    assert_int_equal(script.io.inputs[0].shape.rank, 3);
    assert_int_equal(script.io.inputs[0].shape.dims[2], 4);
    assert_int_equal(script.io.inputs[1].shape.rank, 0);
    assert_int_equal(script.io.outputs[0].shape.dims[0], 2);
    assert_true(script.latency_ms == 1.5 && script.latency_ms_per_item == 0.25);
    assert_true(script.jitter == 0.1 && script.load_ms == 3.0);
    assert_true(script.seed == UINT64_MAX && script.memory_mb == 4);
    assert_string_equal(script.fail_load, "it = broken");
    assert_int_equal(script.fail_run_every, 5);
    assert_int_equal(script.hang_run_every, 6);
    assert_int_equal(script.crash_run_every, 7);
    gpulet_fake_script_deinit(&script);
}

static void says_which_line_is_wrong(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "seed=1\nbogus=1",
        "seed=1\nno equals sign",
        "seed=1\nseed=-1",
        "seed=1\nseed=",
        "seed=1\nlatency_ms=-1",
        "seed=1\nlatency_ms=nan",
        "seed=1\nlatency_ms=1e300",
        "seed=1\njitter=1.5",
        "seed=1\nmemory_mb=99999999999",
        "seed=1\nfail_load=",
        "seed=1\ninput=A",
        "seed=1\ninput=A:FP32",
        "seed=1\ninput=:FP32:1",
        "seed=1\ninput=A:FP31:1",
        "seed=1\ninput=A:FP32:1x",
        "seed=1\ninput=A:FP32:x1",
        "seed=1\ninput=A:FP32:1,2",
        "seed=1\ninput=A:FP32:-2",
        "seed=1\n=1",
        "seed=1\noutput=A:FP32:1x1x1x1x1x1x1x1x1",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        gpulet_fake_script_t script;
        gpulet_error_t err = {""};
        assert_int_equal(gpulet_fake_script_parse(&script, bad[i], strlen(bad[i]), &err),
                         GPULET_E_INVALID);
        if (strncmp(err.text, "line 2: ", 8) != 0)
            fail_msg("\"%s\" gave \"%s\"", bad[i], err.text);
    }
}

static void refuses_more_tensors_than_a_model_may_have(void **state)
{
    (void)state;
    char text[70 * 16] = "";
    gpulet_fake_script_t script;
    for (int i = 0; i <= GPULET_MODEL_IO_MAX; i++)
        strcat(text, "input=A:FP32:1\n");
    assert_int_equal(gpulet_fake_script_parse(&script, text, strlen(text), NULL), GPULET_E_INVALID);
}

static void a_missing_file_is_not_found(void **state)
{
    (void)state;
    gpulet_fake_script_t script;
    gpulet_error_t err = {""};
    assert_int_equal(gpulet_fake_script_load(&script, "/no/such/file", &err), GPULET_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "/no/such/file"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(anything_but_a_script_is_the_default_model),
        cmocka_unit_test(files_are_told_apart),
        cmocka_unit_test(reads_every_key),
        cmocka_unit_test(says_which_line_is_wrong),
        cmocka_unit_test(refuses_more_tensors_than_a_model_may_have),
        cmocka_unit_test(a_missing_file_is_not_found),
    };
    return cmocka_run_group_tests_name("engine.script", tests, NULL, NULL);
}
