/* Requests that are made up for a model, whatever its names hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "client/model_info.h"

static const char odd_model[] = "odd \"name\"+%";
static const char odd_input[] = "in \"put\"\\ \xc3\xa9:0";

static void open_info(gpulet_model_info_t *info)
{
    memset(info, 0, sizeof(*info));
    memcpy(info->name, odd_model, sizeof(odd_model));
    info->io.inputs = calloc(1, sizeof(*info->io.inputs));
    assert_non_null(info->io.inputs);
    info->io.inputs_count = 1;
    memcpy(info->io.inputs[0].name, odd_input, sizeof(odd_input));
    info->io.inputs[0].type = GPULET_DATATYPE_FP32;
    info->io.inputs[0].shape = (gpulet_shape_t){.rank = 2, .dims = {-1, 3}};
}

static void check_request(bool binary)
{
    gpulet_model_info_t info;
    gpulet_url_t url;
    gpulet_rng_t rng;
    gpulet_buf_t out = GPULET_BUF_INIT;
    const gpulet_request_shape_t shape = {.batch = 2, .dim = 1};
    open_info(&info);
    gpulet_rng_init(&rng, 1);
    assert_int_equal(gpulet_url_parse(&url, "http://127.0.0.1:8000/base", NULL), GPULET_OK);
    assert_int_equal(gpulet_request_make(&out, &info, &url, &shape, binary, &rng, NULL), GPULET_OK);
    const char line[] = "POST /base/v2/models/odd%20%22name%22%2B%25/infer HTTP/1.1\r\n";
    assert_memory_equal(out.data, line, sizeof(line) - 1);
    const char *body = strstr(out.data, "\r\n\r\n");
    assert_non_null(body);
    body += 4;
    json_t *root =
        json_loadb(body, out.size - (size_t)(body - out.data), JSON_DISABLE_EOF_CHECK, NULL);
    assert_non_null(root);
    const json_t *input = json_array_get(json_object_get(root, "inputs"), 0);
    assert_string_equal(json_string_value(json_object_get(input, "name")), odd_input);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(input, "shape"), 0)), 2);
    json_decref(root);
    gpulet_buf_deinit(&out);
    gpulet_model_info_deinit(&info);
}

static void names_are_written_so_that_they_read_back(void **state)
{
    (void)state;
    check_request(true);
    check_request(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_written_so_that_they_read_back),
    };
    return cmocka_run_group_tests_name("client.request", tests, NULL, NULL);
}
