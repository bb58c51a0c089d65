#include "core/tensor.h"

#include <stdlib.h>

#include "check.h"

static void every_datatype_has_its_name_and_number(void **state)
{
    (void)state;
    for (int i = 1; i < GPULET_DATATYPE_COUNT; i++) {
        gpulet_datatype_t type = (gpulet_datatype_t)i;
        const char *name = gpulet_datatype_name(type);
        assert_int_equal(gpulet_datatype_parse(name, strlen(name)), type);
        assert_int_equal(gpulet_datatype_from_onnx(gpulet_datatype_to_onnx(type)), type);
    }
    assert_int_equal(gpulet_datatype_size(GPULET_DATATYPE_FP64), 8);
    assert_int_equal(gpulet_datatype_size(GPULET_DATATYPE_BYTES), 0);
    assert_int_equal(gpulet_datatype_parse("FP3", 3), GPULET_DATATYPE_INVALID);
    assert_int_equal(gpulet_datatype_parse("INVALID", 7), GPULET_DATATYPE_INVALID);
    assert_int_equal(gpulet_datatype_from_onnx(99), GPULET_DATATYPE_INVALID);
    assert_string_equal(gpulet_datatype_name(GPULET_DATATYPE_INVALID), "INVALID");
}

static void elements_are_counted_without_overflow(void **state)
{
    (void)state;
    uint64_t elements = 0;
    gpulet_shape_t scalar = {0, {0}};
    gpulet_shape_t plain = {3, {2, 3, 4}};
    gpulet_shape_t huge = {2, {INT64_MAX, 2}};
    gpulet_shape_t unknown = {2, {-1, 2}};
    assert_int_equal(gpulet_shape_elements(&elements, &scalar), GPULET_OK);
    assert_int_equal(elements, 1);
    assert_int_equal(gpulet_shape_elements(&elements, &plain), GPULET_OK);
    assert_int_equal(elements, 24);
    assert_int_equal(gpulet_shape_elements(&elements, &huge), GPULET_E_TOO_LARGE);
    assert_int_equal(gpulet_shape_elements(&elements, &unknown), GPULET_E_INVALID);
}

static void minus_one_matches_any_size(void **state)
{
    (void)state;
    gpulet_shape_t spec = {2, {-1, 4}};
    gpulet_shape_t good = {2, {7, 4}};
    gpulet_shape_t wrong = {2, {7, 5}};
    gpulet_shape_t longer = {3, {7, 4, 1}};
    assert_true(gpulet_shape_matches(&spec, &good));
    assert_false(gpulet_shape_matches(&spec, &wrong));
    assert_false(gpulet_shape_matches(&spec, &longer));
    assert_false(gpulet_shape_equal(&spec, &good));
    assert_true(gpulet_shape_equal(&good, &good));
}

static void shapes_are_written_into_any_room(void **state)
{
    (void)state;
    gpulet_shape_t shape = {3, {1, -1, 16}};
    gpulet_shape_t scalar = {0, {0}};
    char text[32];
    assert_string_equal(gpulet_shape_format(text, sizeof(text), &shape), "[1,-1,16]");
    assert_string_equal(gpulet_shape_format(text, sizeof(text), &scalar), "[]");
    for (size_t size = 1; size < 12; size++) {
        memset(text, 1, sizeof(text));
        (void)gpulet_shape_format(text, size, &shape);
        assert_true(strlen(text) < size);
        assert_int_equal(text[size], 1);
    }
}

static void what_a_model_declares_is_freed_once(void **state)
{
    (void)state;
    gpulet_model_io_t io = {1, 1, calloc(1, sizeof(gpulet_tensor_spec_t)),
                            calloc(1, sizeof(gpulet_tensor_spec_t))};
    gpulet_model_io_deinit(&io);
    assert_null(io.inputs);
    gpulet_model_io_deinit(&io);
}

static void what_a_model_declares_is_copied(void **state)
{
    (void)state;
    gpulet_tensor_spec_t specs[2] = {{.name = "a", .type = GPULET_DATATYPE_FP32},
                                     {.name = "b", .shape = {.rank = 1, .dims = {-1}}}};
    const gpulet_model_io_t io = {.inputs_count = 2, .inputs = specs};
    gpulet_model_io_t copy;
    assert_int_equal(gpulet_model_io_copy(&copy, &io), GPULET_OK);
    memset(specs, 0, sizeof(specs));
    assert_int_equal(copy.inputs_count, 2);
    assert_int_equal(copy.outputs_count, 0);
    assert_string_equal(copy.inputs[0].name, "a");
    assert_int_equal(copy.inputs[1].shape.dims[0], -1);
    gpulet_model_io_deinit(&copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_datatype_has_its_name_and_number),
        cmocka_unit_test(elements_are_counted_without_overflow),
        cmocka_unit_test(minus_one_matches_any_size),
        cmocka_unit_test(shapes_are_written_into_any_room),
        cmocka_unit_test(what_a_model_declares_is_freed_once),
        cmocka_unit_test(what_a_model_declares_is_copied),
    };
    return cmocka_run_group_tests_name("core.tensor", tests, NULL, NULL);
}
