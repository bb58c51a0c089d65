#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "engine/check.h"

static void sizes_of_dense_tensors(void **state)
{
    (void)state;
    size_t size = 7;
    gpulet_shape_t shape = {.rank = 2, .dims = {3, 4}};
    assert_true(gpulet_engine_dense_size(&size, GPULET_DATATYPE_FP32, &shape));
    assert_int_equal(size, 48);
    assert_false(gpulet_engine_dense_size(&size, GPULET_DATATYPE_BYTES, &shape));
    shape.dims[0] = -1;
    assert_false(gpulet_engine_dense_size(&size, GPULET_DATATYPE_FP32, &shape));
    shape.dims[0] = INT64_MAX / 4;
    assert_false(gpulet_engine_dense_size(&size, GPULET_DATATYPE_FP64, &shape));
    shape.rank = GPULET_RANK_MAX + 1;
    assert_false(gpulet_engine_dense_size(&size, GPULET_DATATYPE_FP32, &shape));
    shape.rank = 0;
    assert_true(gpulet_engine_dense_size(&size, GPULET_DATATYPE_UINT8, &shape));
    assert_int_equal(size, 1);
}

static void walks_serialised_strings(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {2, 0, 0, 0, 'a', 'b', 0, 0, 0, 0, 255, 255, 255, 255, 'x'};
    const uint8_t *cursor = bytes;
    const uint8_t *data;
    uint32_t len;
    assert_true(gpulet_engine_bytes_next(&data, &len, &cursor, bytes + sizeof(bytes)));
    assert_int_equal(len, 2);
    assert_memory_equal(data, "ab", 2);
    assert_true(gpulet_engine_bytes_next(&data, &len, &cursor, bytes + sizeof(bytes)));
    assert_int_equal(len, 0);
    assert_false(gpulet_engine_bytes_next(&data, &len, &cursor, bytes + sizeof(bytes)));
    assert_false(gpulet_engine_bytes_next(&data, &len, &cursor, cursor + 3));
    assert_false(gpulet_engine_bytes_next(&data, &len, &cursor, cursor));
}

static void names_the_input_that_is_wrong(void **state)
{
    (void)state;
    gpulet_tensor_spec_t specs[] = {
        {.name = "A", .type = GPULET_DATATYPE_UINT8, .shape = {.rank = 1, .dims = {-1}}},
        {.name = "B", .type = GPULET_DATATYPE_BYTES, .shape = {.rank = 1, .dims = {2}}}};
    const gpulet_model_io_t io = {.inputs_count = 2, .inputs = specs};
    uint8_t bytes[8] = {0};
    gpulet_tensor_view_t inputs[] = {{.type = GPULET_DATATYPE_UINT8,
                                      .shape = {.rank = 1, .dims = {8}},
                                      .data = bytes,
                                      .size = 8},
                                     {.type = GPULET_DATATYPE_BYTES,
                                      .shape = {.rank = 1, .dims = {2}},
                                      .data = bytes,
                                      .size = 8}};
    gpulet_error_t err = {""};
    assert_int_equal(gpulet_engine_check_inputs(&io, inputs, &err), GPULET_OK);
    inputs[1].size = 7;
    assert_int_equal(gpulet_engine_check_inputs(&io, inputs, &err), GPULET_E_INVALID);
    assert_non_null(strstr(err.text, "input \"B\""));
    inputs[1].size = 0;
    inputs[1].data = NULL;
    assert_int_equal(gpulet_engine_check_inputs(&io, inputs, NULL), GPULET_E_INVALID);
    inputs[0].size = 9;
    assert_int_equal(gpulet_engine_check_inputs(&io, inputs, &err), GPULET_E_INVALID);
    assert_non_null(strstr(err.text, "input \"A\""));
}

static void a_tensor_without_bytes_needs_no_data(void **state)
{
    (void)state;
    gpulet_tensor_spec_t spec = {
        .name = "A", .type = GPULET_DATATYPE_BYTES, .shape = {.rank = 1, .dims = {-1}}};
    const gpulet_model_io_t io = {.inputs_count = 1, .inputs = &spec};
    gpulet_tensor_view_t input = {.type = GPULET_DATATYPE_BYTES, .shape = {.rank = 1}};
    assert_int_equal(gpulet_engine_check_inputs(&io, &input, NULL), GPULET_OK);
    spec.type = input.type = GPULET_DATATYPE_FP16;
    assert_int_equal(gpulet_engine_check_inputs(&io, &input, NULL), GPULET_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_of_dense_tensors),
        cmocka_unit_test(walks_serialised_strings),
        cmocka_unit_test(names_the_input_that_is_wrong),
        cmocka_unit_test(a_tensor_without_bytes_needs_no_data),
    };
    return cmocka_run_group_tests_name("engine.check", tests, NULL, NULL);
}
