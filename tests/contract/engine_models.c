#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "engine_models.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "onnx_writer.h"

test_engine_t test_engine;

static void write_text(const char *text)
{
    assert_int_equal(gpulet_file_write(test_engine.path, text, strlen(text), NULL), GPULET_OK);
}

const char *make_path(const char *name)
{
    (void)snprintf(test_engine.path, sizeof(test_engine.path), "%s/%s", test_engine.folder, name);
    return test_engine.path;
}

/* "N,16" as the fake engine writes it: "-1x16". */
static void append_dims(gpulet_buf_t *buf, const char *dims)
{
    for (; *dims != '\0'; dims++) {
        if (*dims == ',')
            gpulet_buf_append_char(buf, 'x');
        else if (*dims == 'N')
            gpulet_buf_append_str(buf, "-1");
        else
            gpulet_buf_append_char(buf, *dims);
    }
}

void make_identity(const char *datatype, const char *dims)
{
    gpulet_buf_t text = GPULET_BUF_INIT;
    (void)make_path("identity.onnx");
    if (test_engine.is_ort) {
        int type = gpulet_datatype_to_onnx(gpulet_datatype_parse(datatype, strlen(datatype)));
        gpulet_test_onnx_identity(test_engine.path, type, dims);
        return;
    }
    gpulet_buf_printf(&text, "input=INPUT0:%s:", datatype);
    append_dims(&text, dims);
    gpulet_buf_append_str(&text, "\n");
    write_text(text.data);
    gpulet_buf_deinit(&text);
}

void make_two_by_two(void)
{
    (void)make_path("two.onnx");
    if (test_engine.is_ort)
        gpulet_test_onnx_add_sub(test_engine.path, "N,16");
    else
        write_text("input=INPUT0:FP32:-1x16\ninput=INPUT1:FP32:-1x16\n"
                   "output=OUTPUT0:FP32:-1x16\noutput=OUTPUT1:FP32:-1x16\n");
}

void make_long(void)
{
    (void)make_path("long.onnx");
    if (test_engine.is_ort)
        gpulet_test_onnx_matmul_chain(test_engine.path, 512, 100);
    else
        write_text("input=INPUT0:FP32:-1x512\nhang_run_every=2\n");
}

void make_corrupt(void)
{
    static const char bytes[] = "\x08\x07\x12\xff\xff\xff\xff\x0f not a model";
    (void)make_path("corrupt.onnx");
    if (test_engine.is_ort)
        assert_int_equal(gpulet_file_write(test_engine.path, bytes, sizeof(bytes), NULL), 0);
    else
        write_text("# a script\ninput=INPUT0:FP32:-1xbananas\n");
}

gpulet_status_t try_load(gpulet_engine_model_t **out, uint32_t threads, uint64_t limit_ns,
                         gpulet_error_t *err)
{
    const gpulet_engine_load_options_t options = {.name = "model",
                                                  .path = test_engine.path,
                                                  .threads = threads,
                                                  .units = threads,
                                                  .load_limit_ns = limit_ns,
                                                  .provider = getenv("GPULET_TEST_PROVIDER")};
    return test_engine.ops->load(out, test_engine.engine, &options, err);
}

gpulet_engine_model_t *load_model(void)
{
    gpulet_engine_model_t *model = NULL;
    gpulet_error_t err = {""};
    gpulet_status_t st = try_load(&model, 1, UINT64_C(60000000000), &err);
    if (st != GPULET_OK)
        fail_msg("%s: %s", gpulet_status_name(st), err.text);
    return model;
}

gpulet_tensor_view_t view_of(gpulet_datatype_t type, void *data, size_t size, uint32_t rank,
                             int64_t dim0, int64_t dim1)
{
    gpulet_tensor_view_t view = {
        .type = type, .shape = {.rank = rank, .dims = {dim0, dim1}}, .data = data, .size = size};
    return view;
}

float *ramp(size_t count)
{
    float *values = malloc((count + 1) * sizeof(*values));
    assert_non_null(values);
    for (size_t i = 0; i < count; i++)
        values[i] = (float)i;
    return values;
}

int count_tasks(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/task");
    assert_non_null(dir);
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
        count += e->d_name[0] != '.';
    (void)closedir(dir);
    return count;
}

long rss_kib(const char *field)
{
    char line[256];
    long value = -1;
    size_t len = strlen(field);
    FILE *file = fopen("/proc/self/status", "re");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, field, len) == 0 && line[len] == ':')
            value = strtol(line + len + 1, NULL, 10);
    }
    (void)fclose(file);
    assert_true(value >= 0);
    return value;
}

bool is_sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true; /* gcc */
#elif defined(__has_feature)
    return __has_feature(address_sanitizer) || __has_feature(thread_sanitizer); /* clang */
#else
    return false;
#endif
}
