#include "server/repository.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../support/onnx_writer.h"
#include "folder.h"

#define VALID "input=IN:FP32:-1x4\noutput=OUT:FP32:-1x4\n"

static void read_all(gpulet_repository_t *out, folder_t *folder, const char *engine)
{
    gpulet_error_t err = {""};
    if (gpulet_repository_read(out, folder->root, engine, 32, &err) != GPULET_OK)
        fail_msg("%s", err.text);
}

/* NULL when the key is not listed. */
static const gpulet_repository_model_t *find(const gpulet_repository_t *r, const char *key)
{
    for (size_t i = 0; i < r->count; i++) {
        if (strcmp(r->models[i].key, key) == 0)
            return &r->models[i];
    }
    return NULL;
}

static void has_problem(const gpulet_repository_t *r, const char *key, const char *text)
{
    const gpulet_repository_model_t *model = find(r, key);
    assert_non_null(model);
    if (model->problem == NULL || strstr(model->problem, text) == NULL)
        fail_msg("%s: \"%s\" lacks \"%s\"", key,
                 model->problem != NULL ? model->problem : "(no problem)", text);
}

static void three_versions(folder_t *folder)
{
    (void)folder_write_text(folder, "m/1/model.onnx", VALID);
    (void)folder_write_text(folder, "m/3/model.onnx", VALID);
    (void)folder_write_text(folder, "m/10/model.onnx", VALID);
    (void)folder_write_text(folder, "m/02/model.onnx", VALID);
    (void)folder_write_text(folder, "m/0/model.onnx", VALID);
    (void)folder_write_text(folder, "m/-1/model.onnx", VALID);
    (void)folder_write_text(folder, "m/99999999999999999999/model.onnx", VALID);
    (void)folder_write_text(folder, "m/notes/readme", "not a version");
}

static void without_a_policy_the_newest_version_is_served(void **state)
{
    gpulet_repository_t r;
    three_versions(*state);
    read_all(&r, *state, "fake");
    assert_int_equal(r.count, 1);
    assert_int_equal(r.models[0].version, 10);
    assert_true(r.models[0].newest);
    assert_null(r.models[0].problem);
    assert_string_equal(r.models[0].key, "m");
    assert_string_equal(r.models[0].config.name, "m");
    assert_int_equal(r.models[0].config.max_batch_size, 32);
    gpulet_repository_deinit(&r);
}

static void versions_of_a_policy_are_listed_newest_first(void **state)
{
    static const struct {
        const char *policy;
        size_t count;
        int64_t versions[3];
    } cases[] = {
        {"version_policy { all { } }", 3, {10, 3, 1}},
        {"version_policy { latest { num_versions: 2 } }", 2, {10, 3}},
        {"version_policy { latest { num_versions: 9 } }", 3, {10, 3, 1}},
        {"version_policy { specific { versions: [1, 3] } }", 2, {3, 1}},
        {"version_policy { specific { versions: [3] } }", 1, {3}},
    };
    three_versions(*state);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_repository_t r;
        (void)folder_write_text(*state, "m/config.pbtxt", cases[i].policy);
        read_all(&r, *state, "fake");
        assert_int_equal(r.count, cases[i].count);
        for (size_t v = 0; v < r.count; v++) {
            char key[32];
            (void)snprintf(key, sizeof(key), v == 0 ? "m" : "m:%lld",
                           (long long)cases[i].versions[v]);
            assert_int_equal(r.models[v].version, cases[i].versions[v]);
            assert_int_equal(r.models[v].newest, v == 0);
            assert_string_equal(r.models[v].key, key);
            assert_null(r.models[v].problem);
        }
        gpulet_repository_deinit(&r);
    }
}

static void a_policy_that_names_no_version_there_is_a_problem(void **state)
{
    gpulet_repository_t r;
    three_versions(*state);
    (void)folder_write_text(*state, "m/config.pbtxt",
                            "version_policy { specific { versions: [7] } }");
    read_all(&r, *state, "fake");
    assert_int_equal(r.count, 1);
    has_problem(&r, "m", "version_policy names no version");
    gpulet_repository_deinit(&r);
}

static void what_is_wrong_with_one_model_leaves_the_others(void **state)
{
    folder_t *folder = *state;
    gpulet_repository_t r;
    (void)folder_write_text(folder, "good/1/model.onnx", VALID);
    (void)folder_write_text(folder, "empty/readme", "no version");
    (void)folder_write_text(folder, "nofile/1/other.onnx", VALID);
    (void)folder_write_text(folder, "corrupt/1/model.onnx", "input=broken\n");
    (void)folder_write_text(folder, "named/1/model.onnx", VALID);
    (void)folder_write_text(folder, "named/config.pbtxt", "name: \"another\"");
    (void)folder_write_text(folder, "syntax/1/model.onnx", VALID);
    (void)folder_write_text(folder, "syntax/config.pbtxt", "name: \"syntax\"\ninput [ {");
    (void)folder_write_text(folder, "backend/1/model.onnx", VALID);
    (void)folder_write_text(folder, "backend/config.pbtxt", "backend: \"python\"");
    (void)folder_write_text(folder, "platform/1/model.onnx", VALID);
    (void)folder_write_text(folder, "platform/config.pbtxt", "platform: \"tensorrt_plan\"");
    (void)folder_write_text(folder, "pipe/1/readme", "");
    assert_int_equal(mkfifo(folder_at(folder, "pipe/1/model.onnx"), 0600), 0);
    (void)folder_write_text(folder, ".hidden/1/model.onnx", VALID);
    (void)folder_write_text(folder, "file-beside-models", "ignored");
    read_all(&r, folder, "fake");
    assert_int_equal(r.count, 9);
    assert_null(find(&r, "good")->problem);
    has_problem(&r, "empty", "no version folder");
    has_problem(&r, "nofile", "No such file");
    has_problem(&r, "corrupt", "line 1");
    has_problem(&r, "named", "name: expected 'named' as the folder, found 'another'");
    has_problem(&r, "syntax", "config.pbtxt:2");
    has_problem(&r, "backend", "backend 'python' is not supported");
    has_problem(&r, "platform", "platform 'tensorrt_plan' is not supported");
    has_problem(&r, "pipe", "not a file");
    for (size_t i = 1; i < r.count; i++)
        assert_true(strcmp(r.models[i - 1].name, r.models[i].name) < 0);
    gpulet_repository_deinit(&r);
}

static void a_file_that_is_no_onnx_model_is_a_problem(void **state)
{
    folder_t *folder = *state;
    gpulet_repository_t r;
    (void)folder_write_text(folder, "empty/1/model.onnx", "");
    (void)folder_write(folder, "noise/1/model.onnx", "\xff\xff\xff\xff\xff\xff", 6);
    (void)folder_write_text(folder, "good/1/readme", "");
    gpulet_test_onnx_add_sub(folder_at(folder, "good/1/model.onnx"), "N,4");
    (void)folder_write_text(folder, "outside/1/model.onnx/readme", "");
    gpulet_test_onnx_identity(folder_at(folder, "outside/1/model.onnx/model.onnx"), 1, "4");
    read_all(&r, folder, "ort");
    assert_int_equal(r.count, 4);
    has_problem(&r, "empty", "the file is empty");
    has_problem(&r, "noise", "noise/1/model.onnx");
    const gpulet_repository_model_t *good = find(&r, "good");
    assert_null(good->problem);
    assert_int_equal(good->io.inputs_count, 2);
    assert_int_equal(good->config.max_batch_size, 32);
    assert_null(find(&r, "outside")->problem);
    assert_int_equal(find(&r, "outside")->config.max_batch_size, 0);
    gpulet_repository_deinit(&r);
}

#define TENSORS                                                                                    \
    "max_batch_size: 4 input { name: \"I\" data_type: TYPE_INT64 dims: 3 } "                       \
    "output { name: \"O\" data_type: TYPE_FP16 dims: [ -1, 2 ] }"

static void the_fake_engine_takes_the_tensors_of_an_onnx_file(void **state)
{
    folder_t *folder = *state;
    gpulet_repository_t r;
    (void)folder_write_text(folder, "plain/1/readme", "");
    gpulet_test_onnx_add_sub(folder_at(folder, "plain/1/model.onnx"), "N,M");
    (void)folder_write_text(folder, "plain/config.pbtxt", "output { name: \"OUTPUT0\" dims: 4 }");
    (void)folder_write_text(folder, "typeless/1/readme", "");
    gpulet_test_onnx_t *m = gpulet_test_onnx_create();
    gpulet_test_onnx_input(m, "I", 1, "2");
    gpulet_test_onnx_output(m, "O", 0, "2");
    gpulet_test_onnx_write(m, folder_at(folder, "typeless/1/model.onnx"));
    gpulet_test_onnx_destroy(m);
    (void)folder_write(folder, "noise/1/model.onnx", "\xff\xff\xff\xff\xff\xff", 6);
    (void)folder_write(folder, "known/1/model.onnx", "\xff\xff\xff\xff\xff\xff", 6);
    (void)folder_write_text(folder, "known/config.pbtxt", TENSORS);
    read_all(&r, folder, "fake");
    const gpulet_repository_model_t *plain = find(&r, "plain");
    assert_null(plain->problem);
    assert_ptr_equal(gpulet_repository_told(plain), &plain->io);
    assert_string_equal(plain->io.inputs[1].name, "INPUT1");
    assert_int_equal(plain->io.inputs[1].shape.dims[1], -1);
    assert_int_equal(plain->io.outputs[0].shape.dims[1], 4);
    assert_int_equal(plain->io.outputs[1].shape.dims[1], -1);
    has_problem(&r, "typeless", "output 'O': no datatype is declared");
    has_problem(&r, "noise", "config.pbtxt lists no input and the file is no script");
    assert_null(find(&r, "known")->problem);
    assert_string_equal(find(&r, "known")->io.inputs[0].name, "I");
    gpulet_repository_deinit(&r);
    read_all(&r, folder, "ort");
    assert_null(gpulet_repository_told(find(&r, "plain")));
    assert_int_equal(find(&r, "plain")->io.outputs[0].shape.dims[1], -1);
    has_problem(&r, "known", "model.onnx");
    gpulet_repository_deinit(&r);
}

static void the_fake_engine_needs_no_file_where_the_configuration_lists_tensors(void **state)
{
    folder_t *folder = *state;
    gpulet_repository_t r;
    (void)folder_write_text(folder, "bare/config.pbtxt", TENSORS);
    (void)folder_write_text(folder, "blank/2/model.onnx", "");
    (void)folder_write_text(folder, "blank/config.pbtxt", TENSORS);
    (void)folder_write_text(folder, "absent/2/readme", "");
    (void)folder_write_text(folder, "absent/config.pbtxt", TENSORS);
    (void)folder_write_text(folder, "script/1/model.onnx", "latency_ms=1\n");
    (void)folder_write_text(folder, "script/config.pbtxt", TENSORS);
    (void)folder_write_text(folder, "silent/1/model.onnx", "");
    (void)folder_write_text(folder, "half/1/model.onnx", "");
    (void)folder_write_text(folder, "half/config.pbtxt",
                            "input { name: \"I\" data_type: TYPE_INT64 dims: 3 }");
    read_all(&r, folder, "fake");
    static const char *const told[] = {"bare", "blank", "absent", "script"};
    for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++) {
        const gpulet_repository_model_t *model = find(&r, told[i]);
        assert_null(model->problem);
        assert_ptr_equal(gpulet_repository_told(model), &model->io);
        assert_string_equal(model->io.inputs[0].name, "I");
        assert_int_equal(model->io.outputs[0].type, GPULET_DATATYPE_FP16);
        assert_int_equal(model->io.outputs[0].shape.rank, 3);
        assert_int_equal(model->config.max_batch_size, 4);
        assert_true(model->file_key[0] != '\0');
    }
    assert_string_equal(find(&r, "bare")->path, "");
    assert_string_equal(find(&r, "absent")->path, "");
    assert_string_not_equal(find(&r, "bare")->file_key, find(&r, "absent")->file_key);
    assert_null(find(&r, "silent")->problem);
    assert_null(gpulet_repository_told(find(&r, "silent")));
    assert_string_equal(find(&r, "silent")->io.inputs[0].name, "INPUT0");
    has_problem(&r, "half", "output: expected at least one");
    gpulet_repository_deinit(&r);
    read_all(&r, folder, "ort");
    has_problem(&r, "bare", "no version folder");
    has_problem(&r, "absent", "No such file");
    gpulet_repository_deinit(&r);
}

static void labels_are_remembered_by_output(void **state)
{
    gpulet_repository_t r;
    (void)folder_write_text(*state, "m/1/model.onnx", VALID);
    (void)folder_write_text(*state, "m/config.pbtxt",
                            "output [ { name: \"OUT\" data_type: TYPE_FP32 dims: [ 4 ] "
                            "label_filename: \"classes.txt\" } ]");
    read_all(&r, *state, "fake");
    assert_null(r.models[0].problem);
    assert_int_equal(r.models[0].config.outputs_count, 1);
    assert_string_equal(r.models[0].config.outputs[0].label_filename, "classes.txt");
    gpulet_repository_deinit(&r);
}

static void the_key_of_a_file_changes_when_the_file_does(void **state)
{
    gpulet_repository_t r;
    char *first = NULL;
    (void)folder_write_text(*state, "m/1/model.onnx", VALID);
    read_all(&r, *state, "fake");
    first = strdup(r.models[0].file_key);
    gpulet_repository_deinit(&r);
    read_all(&r, *state, "fake");
    assert_string_equal(r.models[0].file_key, first);
    gpulet_repository_deinit(&r);
    (void)folder_write_text(*state, "m/1/model.onnx", VALID "latency_ms=1\n");
    read_all(&r, *state, "fake");
    assert_string_not_equal(r.models[0].file_key, first);
    gpulet_repository_deinit(&r);
    free(first);
}

static void a_root_that_cannot_be_read_is_an_error(void **state)
{
    gpulet_repository_t r;
    gpulet_error_t err = {""};
    const char *missing = folder_at(*state, "missing");
    assert_int_equal(gpulet_repository_read(&r, missing, "fake", 32, &err), GPULET_E_IO);
    assert_non_null(strstr(err.text, missing));
    gpulet_repository_deinit(&r);
}

static void an_empty_root_has_no_models(void **state)
{
    gpulet_repository_t r;
    read_all(&r, *state, "fake");
    assert_int_equal(r.count, 0);
    gpulet_repository_deinit(&r);
}

#define ENSEMBLE                                                                                   \
    "platform: \"ensemble\" max_batch_size: 4 input { name: \"I\" data_type: TYPE_FP32 dims: 5 } " \
    "output { name: \"O\" data_type: TYPE_INT64 dims: [ -1, 2 ] } ensemble_scheduling { step { "   \
    "model_name: \"m\" input_map { key: \"x\" value: \"I\" } output_map { key: \"y\" value: "      \
    "\"O\" } } }"

static void an_ensemble_has_no_file_and_needs_no_version_folder(void **state)
{
    gpulet_repository_t r;
    folder_t *folder = *state;
    (void)folder_write_text(folder, "bare/config.pbtxt", ENSEMBLE);
    (void)folder_write_text(folder, "versions/3/.keep", "");
    (void)folder_write_text(folder, "versions/config.pbtxt", ENSEMBLE);
    (void)folder_write_text(folder, "wrong/config.pbtxt", "platform: \"ensemble\"");
    (void)folder_write_text(folder, "large/config.pbtxt",
                            ENSEMBLE " name: \"large\" version_policy { all {} }");
    (void)folder_write_text(folder, "other/config.pbtxt", ENSEMBLE " name: \"else\"");
    read_all(&r, folder, "ort");
    const gpulet_repository_model_t *bare = find(&r, "bare");
    assert_non_null(bare);
    assert_null(bare->problem);
    assert_int_equal(bare->version, 1);
    assert_string_equal(bare->config.app->name, "bare");
    assert_string_equal(bare->path, "");
    assert_int_equal(bare->io.inputs_count, 1);
    assert_int_equal(bare->io.outputs[0].type, GPULET_DATATYPE_INT64);
    assert_int_equal(bare->io.outputs[0].shape.rank, 3);
    assert_int_equal(bare->io.outputs[0].shape.dims[0], -1);
    assert_int_equal(bare->io.outputs[0].shape.dims[2], 2);
    assert_int_equal(find(&r, "versions")->version, 3);
    assert_null(find(&r, "large")->problem);
    has_problem(&r, "wrong", "platform ensemble: expected ensemble_scheduling with it");
    has_problem(&r, "other", "name: expected 'other' as the folder, found 'else'");
    gpulet_repository_deinit(&r);
}

#define in_folder(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_folder(without_a_policy_the_newest_version_is_served),
        in_folder(an_ensemble_has_no_file_and_needs_no_version_folder),
        in_folder(versions_of_a_policy_are_listed_newest_first),
        in_folder(a_policy_that_names_no_version_there_is_a_problem),
        in_folder(what_is_wrong_with_one_model_leaves_the_others),
        in_folder(a_file_that_is_no_onnx_model_is_a_problem),
        in_folder(the_fake_engine_takes_the_tensors_of_an_onnx_file),
        in_folder(the_fake_engine_needs_no_file_where_the_configuration_lists_tensors),
        in_folder(labels_are_remembered_by_output),
        in_folder(the_key_of_a_file_changes_when_the_file_does),
        in_folder(a_root_that_cannot_be_read_is_an_error),
        in_folder(an_empty_root_has_no_models),
    };
    return cmocka_run_group_tests_name("server.repository", tests, NULL, NULL);
}
