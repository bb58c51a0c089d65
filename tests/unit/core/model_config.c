#include "core/model_config.h"

#include <stdlib.h>

#include "check.h"

enum { BATCH_DEFAULT = 32 };

static gpulet_shape_t shape_of(uint32_t rank, int64_t a, int64_t b, int64_t c)
{
    return (gpulet_shape_t){rank, {a, b, c}};
}

static gpulet_tensor_spec_t spec_of(const char *name, gpulet_shape_t shape)
{
    gpulet_tensor_spec_t spec = {.type = GPULET_DATATYPE_FP32, .shape = shape};
    (void)snprintf(spec.name, sizeof(spec.name), "%s", name);
    return spec;
}

/* A model with the inputs "x" and "y" and the outputs "p" and "q", of the shapes given. */
typedef struct fixture {
    gpulet_tensor_spec_t inputs[2];
    gpulet_tensor_spec_t outputs[2];
    gpulet_model_io_t io;
    gpulet_model_config_t config;
    gpulet_error_t err;
} fixture_t;

static void init(fixture_t *f, gpulet_shape_t input, gpulet_shape_t output)
{
    memset(f, 0, sizeof(*f));
    f->inputs[0] = spec_of("x", input);
    f->inputs[1] = spec_of("y", input);
    f->outputs[0] = spec_of("p", output);
    f->outputs[1] = spec_of("q", output);
    f->io = (gpulet_model_io_t){2, 2, f->inputs, f->outputs};
}

/* Adds an input ("x", "y") or an output with these dims; rank 0: none said. */
static gpulet_config_io_t *give(fixture_t *f, const char *name, gpulet_shape_t dims)
{
    bool input = name[0] == 'x' || name[0] == 'y';
    gpulet_config_io_t **items = input ? &f->config.inputs : &f->config.outputs;
    size_t *count = input ? &f->config.inputs_count : &f->config.outputs_count;
    gpulet_config_io_t *grown = realloc(*items, (*count + 1) * sizeof(**items));
    assert_non_null(grown);
    *items = grown;
    gpulet_config_io_t *item = &grown[(*count)++];
    memset(item, 0, sizeof(*item));
    (void)snprintf(item->name, sizeof(item->name), "%s", name);
    item->dims = dims;
    return item;
}

static gpulet_status_t complete(fixture_t *f)
{
    return gpulet_model_config_complete(&f->config, &f->io, BATCH_DEFAULT, &f->err);
}

static void expect(fixture_t *f, int32_t batch)
{
    if (complete(f) != GPULET_OK)
        fail_msg("%s", f->err.text);
    assert_int_equal(f->config.max_batch_size, batch);
}

static void expect_error(fixture_t *f, const char *error)
{
    assert_int_equal(complete(f), GPULET_E_INVALID);
    if (strstr(f->err.text, error) == NULL)
        fail_msg("\"%s\" lacks \"%s\"", f->err.text, error);
    gpulet_model_config_deinit(&f->config);
}

static void a_dynamic_first_dimension_is_the_batch(void **state)
{
    (void)state;
    fixture_t f;
    init(&f, shape_of(3, -1, 3, 8), shape_of(2, -1, 10, 0));
    expect(&f, BATCH_DEFAULT);
    assert_int_equal(f.config.inputs_count, 2);
    assert_int_equal(f.config.outputs_count, 2);
    assert_string_equal(f.config.inputs[1].name, "y");
    assert_int_equal(f.config.inputs[0].type, GPULET_DATATYPE_FP32);
    gpulet_shape_t dims = shape_of(2, 3, 8, 0);
    assert_true(gpulet_shape_equal(&f.config.inputs[0].dims, &dims));
    gpulet_model_config_deinit(&f.config);
    assert_null(f.config.inputs);
    gpulet_model_config_deinit(&f.config);
}

static void a_scalar_for_each_item_has_no_dims(void **state)
{
    (void)state;
    fixture_t f;
    init(&f, shape_of(2, -1, 4, 0), shape_of(1, -1, 0, 0));
    expect(&f, BATCH_DEFAULT);
    assert_int_equal(f.config.outputs[0].dims.rank, 0);
    gpulet_model_config_deinit(&f.config);
}

static void a_common_fixed_first_dimension_is_the_batch(void **state)
{
    (void)state;
    fixture_t f;
    init(&f, shape_of(2, 16, 4, 0), shape_of(2, 16, 5, 0));
    expect(&f, 16);
    assert_int_equal(f.config.inputs[0].dims.rank, 1);
    gpulet_model_config_deinit(&f.config);
}

static void models_without_a_batch_dimension_have_none(void **state)
{
    (void)state;
    const gpulet_shape_t shapes[][2] = {
        {shape_of(2, 1, 4, 0), shape_of(2, 1, 5, 0)},
        {shape_of(2, 16, 4, 0), shape_of(2, 8, 5, 0)},
        {shape_of(2, -1, 4, 0), shape_of(2, 1, 5, 0)},
        {shape_of(2, -1, 4, 0), shape_of(0, 0, 0, 0)},
        {shape_of(1, 16, 0, 0), shape_of(1, 16, 0, 0)},
        {shape_of(2, 2000, 4, 0), shape_of(2, 2000, 5, 0)},
    };
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        fixture_t f;
        init(&f, shapes[i][0], shapes[i][1]);
        expect(&f, 0);
        assert_true(gpulet_shape_equal(&f.config.inputs[0].dims, &shapes[i][0]));
        gpulet_model_config_deinit(&f.config);
    }
}

static void the_default_stays_within_the_limit(void **state)
{
    (void)state;
    fixture_t f;
    init(&f, shape_of(2, -1, 4, 0), shape_of(2, -1, 4, 0));
    assert_int_equal(gpulet_model_config_complete(&f.config, &f.io, 100000, &f.err), GPULET_OK);
    assert_int_equal(f.config.max_batch_size, GPULET_MODEL_BATCH_LIMIT);
    gpulet_model_config_deinit(&f.config);
}

static void full_shapes_in_the_configuration_mean_no_batch(void **state)
{
    (void)state;
    fixture_t f;
    init(&f, shape_of(2, -1, 4, 0), shape_of(2, -1, 5, 0));
    (void)give(&f, "x", shape_of(2, -1, 4, 0));
    expect(&f, 0);
    assert_int_equal(f.config.outputs[0].dims.rank, 2);
    gpulet_model_config_deinit(&f.config);
}

static void a_given_batch_is_checked(void **state)
{
    (void)state;
    fixture_t f;
    static const int32_t good_dynamic[] = {0, 1, 8, GPULET_MODEL_BATCH_LIMIT};
    for (size_t i = 0; i < 4; i++) {
        init(&f, shape_of(2, -1, 4, 0), shape_of(2, -1, 5, 0));
        f.config.max_batch_size_given = true;
        f.config.max_batch_size = good_dynamic[i];
        expect(&f, good_dynamic[i]);
        assert_int_equal(f.config.inputs[0].dims.rank, good_dynamic[i] == 0 ? 2 : 1);
        gpulet_model_config_deinit(&f.config);
    }
    static const struct {
        int32_t batch;
        int64_t first;
        const char *error;
    } wrongs[] = {
        {-1, -1, "max_batch_size: expected 0 to 1024, found -1"},
        {1025, -1, "max_batch_size: expected 0 to 1024, found 1025"},
        {9, 8, "max_batch_size: expected at most 8, the model's fixed batch dimension, found 9"}};
    for (size_t i = 0; i < 3; i++) {
        init(&f, shape_of(2, wrongs[i].first, 4, 0), shape_of(2, wrongs[i].first, 5, 0));
        f.config.max_batch_size_given = true;
        f.config.max_batch_size = wrongs[i].batch;
        expect_error(&f, wrongs[i].error);
    }
    init(&f, shape_of(2, -1, 4, 0), shape_of(2, 1, 5, 0));
    f.config.max_batch_size_given = true;
    f.config.max_batch_size = 4;
    expect_error(&f, "max_batch_size: expected 0, since");
}

static void given_tensors_must_be_the_models(void **state)
{
    (void)state;
    fixture_t f;
    gpulet_shape_t batched = shape_of(2, -1, 4, 0);
    init(&f, batched, batched);
    (void)give(&f, "xx", shape_of(1, 4, 0, 0));
    expect_error(&f, "input: expected one of the model's (x, y), found 'xx'");
    init(&f, batched, batched);
    (void)give(&f, "x", shape_of(1, 4, 0, 0));
    (void)give(&f, "x", shape_of(1, 4, 0, 0));
    expect_error(&f, "input x: expected each name once, found two");
    init(&f, batched, batched);
    give(&f, "p", shape_of(1, 4, 0, 0))->type = GPULET_DATATYPE_INT64;
    expect_error(&f, "output p: data_type: expected FP32, found INT64");
    init(&f, batched, batched);
    (void)give(&f, "x", shape_of(1, 5, 0, 0));
    expect_error(&f, "input x: dims: expected [4], found [5]");
    init(&f, batched, batched);
    (void)give(&f, "x", shape_of(1, 0, 0, 0));
    expect_error(&f, "input x: dims: expected -1 or sizes of at least 1, found [0]");
    init(&f, batched, batched);
    (void)give(&f, "x", shape_of(3, 1, 4, 1));
    expect_error(&f, "input x: dims: expected [4], found [1,4,1]");
}

static void a_dynamic_dimension_may_be_narrowed(void **state)
{
    (void)state;
    fixture_t f;
    init(&f, shape_of(3, -1, 3, -1), shape_of(2, -1, 5, 0));
    (void)give(&f, "x", shape_of(2, 3, 224, 0));
    (void)give(&f, "y", shape_of(2, 3, -1, 0));
    expect(&f, BATCH_DEFAULT);
    assert_true(f.config.inputs[0].dims.dims[1] == 224);
    assert_true(f.config.inputs[1].dims.dims[1] == -1);
    gpulet_model_config_deinit(&f.config);
    init(&f, shape_of(2, -1, 3, 0), shape_of(2, -1, 5, 0));
    (void)give(&f, "x", shape_of(1, -1, 0, 0));
    expect_error(&f, "input x: dims: expected [3], found [-1]");
}

static void absent_inputs_are_added_but_outputs_may_be_chosen(void **state)
{
    (void)state;
    fixture_t f;
    init(&f, shape_of(2, -1, 4, 0), shape_of(2, -1, 5, 0));
    give(&f, "y", shape_of(1, 4, 0, 0))->optional = true;
    (void)give(&f, "q", shape_of(0, 0, 0, 0));
    expect(&f, BATCH_DEFAULT);
    assert_int_equal(f.config.inputs_count, 2);
    assert_string_equal(f.config.inputs[0].name, "y");
    assert_true(f.config.inputs[0].optional);
    assert_string_equal(f.config.inputs[1].name, "x");
    assert_int_equal(f.config.outputs_count, 1);
    assert_string_equal(f.config.outputs[0].name, "q");
    assert_true(f.config.outputs[0].dims.dims[0] == 5);
    gpulet_model_config_deinit(&f.config);
}

static void the_engine_sees_the_reshape(void **state)
{
    (void)state;
    fixture_t f;
    gpulet_shape_t batched = shape_of(3, -1, 2, 3);
    init(&f, batched, batched);
    gpulet_config_io_t *item = give(&f, "x", shape_of(1, 6, 0, 0));
    item->reshape_given = true;
    item->reshape = shape_of(2, 2, 3, 0);
    expect(&f, BATCH_DEFAULT);
    assert_int_equal(f.config.inputs[0].dims.rank, 1);
    gpulet_model_config_deinit(&f.config);
    init(&f, batched, batched);
    item = give(&f, "x", shape_of(1, 7, 0, 0));
    item->reshape_given = true;
    item->reshape = shape_of(2, 2, 3, 0);
    expect_error(&f, "input x: reshape: expected as many elements as dims [7], found [2,3]");
    init(&f, batched, batched);
    item = give(&f, "x", shape_of(1, 6, 0, 0));
    item->reshape_given = true;
    item->reshape = shape_of(2, 3, 2, 0);
    expect_error(&f, "input x: reshape: expected [2,3], found [3,2]");
    /* One number an item, written as [1] since a configuration has no empty dims. */
    init(&f, shape_of(1, -1, 0, 0), shape_of(1, -1, 0, 0));
    item = give(&f, "x", shape_of(1, 1, 0, 0));
    item->reshape_given = true;
    expect(&f, BATCH_DEFAULT);
    gpulet_model_config_deinit(&f.config);
}

static void warm(fixture_t *f, const char *name, gpulet_shape_t dims)
{
    gpulet_config_io_t *grown =
        realloc(f->config.warmup, (f->config.warmup_count + 1) * sizeof(*grown));
    assert_non_null(grown);
    f->config.warmup = grown;
    gpulet_config_io_t *item = &grown[f->config.warmup_count++];
    memset(item, 0, sizeof(*item));
    (void)snprintf(item->name, sizeof(item->name), "%s", name);
    item->dims = dims;
}

static void the_engine_sees_the_warm_up_in_its_own_shapes(void **state)
{
    (void)state;
    fixture_t f;
    gpulet_model_io_t io;
    gpulet_shape_t any = shape_of(3, -1, -1, -1);
    init(&f, any, any);
    gpulet_config_io_t *item = give(&f, "x", shape_of(3, 1, -1, -1));
    item->reshape_given = true;
    item->reshape = shape_of(2, -1, -1, 0);
    warm(&f, "y", shape_of(2, 5, 6, 0));
    warm(&f, "x", shape_of(3, 1, 48, 320));
    expect(&f, BATCH_DEFAULT);
    assert_int_equal(gpulet_model_config_warmup(&io, &f.config, &f.io), GPULET_OK);
    assert_int_equal(io.inputs_count, 2);
    assert_int_equal(io.outputs_count, 0);
    gpulet_shape_t x = shape_of(3, -1, 48, 320);
    gpulet_shape_t y = shape_of(3, -1, 5, 6);
    assert_string_equal(io.inputs[0].name, "x");
    assert_true(gpulet_shape_equal(&io.inputs[0].shape, &x));
    assert_true(gpulet_shape_equal(&io.inputs[1].shape, &y));
    assert_int_equal(io.inputs[1].type, GPULET_DATATYPE_FP32);
    gpulet_model_io_deinit(&io);
    gpulet_model_config_deinit(&f.config);
    init(&f, any, any);
    expect(&f, BATCH_DEFAULT);
    assert_int_equal(gpulet_model_config_warmup(&io, &f.config, &f.io), GPULET_OK);
    assert_int_equal(io.inputs_count, 0);
    gpulet_model_io_deinit(&io);
    gpulet_model_config_deinit(&f.config);
}

static void inputs_of_one_size_need_no_warm_up(void **state)
{
    (void)state;
    fixture_t f;
    gpulet_model_io_t io;
    init(&f, shape_of(3, -1, 3, 4), shape_of(2, -1, 10, 0));
    f.inputs[1].shape.dims[2] = -1;
    warm(&f, "x", shape_of(2, 3, 4, 0));
    warm(&f, "y", shape_of(2, 3, 9, 0));
    expect(&f, BATCH_DEFAULT);
    assert_int_equal(gpulet_model_config_warmup(&io, &f.config, &f.io), GPULET_OK);
    assert_int_equal(io.inputs_count, 1);
    assert_string_equal(io.inputs[0].name, "y");
    gpulet_model_io_deinit(&io);
    gpulet_model_config_deinit(&f.config);
}

static void the_warm_up_must_fit_the_inputs(void **state)
{
    (void)state;
    fixture_t f;
    gpulet_shape_t shape = shape_of(3, -1, 3, -1);
    init(&f, shape, shape);
    warm(&f, "p", shape_of(2, 3, 4, 0));
    expect_error(&f, "model_warmup: inputs: expected one of the model's (x, y), found 'p'");
    init(&f, shape, shape);
    warm(&f, "y", shape_of(2, 4, 4, 0));
    expect_error(&f, "model_warmup: input y: dims: expected [3,-1], found [4,4]");
    init(&f, shape, shape);
    warm(&f, "y", shape_of(3, 1, 3, 4));
    expect_error(&f, "model_warmup: input y: dims: expected [3,-1], found [1,3,4]");
    init(&f, shape, shape);
    warm(&f, "x", shape_of(2, 3, 4, 0));
    f.config.warmup[0].type = GPULET_DATATYPE_INT64;
    expect_error(&f, "model_warmup: input x: data_type: expected FP32, found INT64");
}

static void parameters_are_found_by_key(void **state)
{
    (void)state;
    gpulet_model_config_t config = {0};
    config.parameters = calloc(2, sizeof(config.parameters[0]));
    assert_non_null(config.parameters);
    config.parameters_count = 2;
    config.parameters[0] = (gpulet_config_parameter_t){strdup("slo_ms"), strdup("50")};
    config.parameters[1] = (gpulet_config_parameter_t){strdup("note"), strdup("")};
    assert_string_equal(gpulet_model_config_parameter(&config, "slo_ms"), "50");
    assert_string_equal(gpulet_model_config_parameter(&config, "note"), "");
    assert_null(gpulet_model_config_parameter(&config, "slo"));
    config.versions = calloc(1, sizeof(config.versions[0]));
    gpulet_model_config_deinit(&config);
    assert_int_equal(config.parameters_count, 0);
}

/* ---- without a model file ---- */

static void expect_no_description(fixture_t *f, const char *error)
{
    gpulet_model_io_t io = {.inputs_count = 77};
    assert_int_equal(gpulet_model_config_describe(&io, &f->config, &f->err), GPULET_E_INVALID);
    assert_int_equal(io.inputs_count, 77);
    if (strstr(f->err.text, error) == NULL)
        fail_msg("\"%s\" lacks \"%s\"", f->err.text, error);
    gpulet_model_config_deinit(&f->config);
}

static void the_configuration_alone_describes_a_model(void **state)
{
    (void)state;
    fixture_t f;
    gpulet_model_io_t io;
    memset(&f, 0, sizeof(f));
    assert_false(gpulet_model_config_lists_tensors(&f.config));
    f.config.max_batch_size_given = true;
    give(&f, "x", shape_of(2, 3, -1, 0))->type = GPULET_DATATYPE_INT64;
    gpulet_config_io_t *p = give(&f, "p", shape_of(1, 6, 0, 0));
    p->type = GPULET_DATATYPE_BYTES;
    p->reshape_given = true;
    p->reshape = shape_of(2, 2, 3, 0);
    assert_true(gpulet_model_config_lists_tensors(&f.config));
    for (int32_t batch = 8; batch >= 0; batch -= 8) {
        const gpulet_shape_t wanted[2][2] = {{shape_of(2, 3, -1, 0), shape_of(2, 2, 3, 0)},
                                             {shape_of(3, -1, 3, -1), shape_of(3, -1, 2, 3)}};
        f.config.max_batch_size = batch;
        assert_int_equal(gpulet_model_config_describe(&io, &f.config, &f.err), GPULET_OK);
        assert_int_equal(io.inputs_count, 1);
        assert_int_equal(io.outputs_count, 1);
        assert_string_equal(io.inputs[0].name, "x");
        assert_int_equal(io.inputs[0].type, GPULET_DATATYPE_INT64);
        assert_int_equal(io.outputs[0].type, GPULET_DATATYPE_BYTES);
        assert_true(gpulet_shape_equal(&io.inputs[0].shape, &wanted[batch > 0][0]));
        assert_true(gpulet_shape_equal(&io.outputs[0].shape, &wanted[batch > 0][1]));
        assert_int_equal(gpulet_model_config_complete(&f.config, &io, BATCH_DEFAULT, &f.err), 0);
        assert_int_equal(f.config.max_batch_size, batch);
        gpulet_model_io_deinit(&io);
    }
    gpulet_model_config_deinit(&f.config);
}

static void what_a_description_lacks_is_named(void **state)
{
    (void)state;
    fixture_t f;
    memset(&f, 0, sizeof(f));
    expect_no_description(&f, "input: expected at least one");
    give(&f, "x", shape_of(1, 2, 0, 0))->type = GPULET_DATATYPE_FP32;
    expect_no_description(&f, "output: expected at least one");
    give(&f, "x", shape_of(1, 2, 0, 0))->type = GPULET_DATATYPE_FP32;
    (void)give(&f, "p", shape_of(1, 2, 0, 0));
    expect_no_description(&f, "output p: data_type: expected one");
    give(&f, "x", shape_of(0, 0, 0, 0))->type = GPULET_DATATYPE_FP32;
    give(&f, "p", shape_of(1, 2, 0, 0))->type = GPULET_DATATYPE_FP32;
    expect_no_description(&f, "input x: dims: expected some");
    f.config.max_batch_size = 2;
    give(&f, "x", (gpulet_shape_t){8, {1, 1, 1, 1, 1, 1, 1, 1}})->type = GPULET_DATATYPE_FP32;
    give(&f, "p", shape_of(1, 2, 0, 0))->type = GPULET_DATATYPE_FP32;
    expect_no_description(&f, "input x: dims: expected at most 7 beside the batch, found 8");
}

static void outputs_get_the_sizes_that_the_configuration_fixes(void **state)
{
    (void)state;
    fixture_t f;
    init(&f, shape_of(3, -1, -1, 8), shape_of(3, -1, -1, -1));
    (void)give(&f, "x", shape_of(2, 3, 8, 0));
    (void)give(&f, "p", shape_of(2, 5, -1, 0));
    expect(&f, BATCH_DEFAULT);
    gpulet_model_config_narrow(&f.io, &f.config);
    const gpulet_shape_t input = shape_of(3, -1, -1, 8);
    const gpulet_shape_t chosen = shape_of(3, -1, 5, -1);
    const gpulet_shape_t other = shape_of(3, -1, -1, -1);
    assert_true(gpulet_shape_equal(&f.inputs[0].shape, &input));
    assert_true(gpulet_shape_equal(&f.outputs[0].shape, &chosen));
    assert_true(gpulet_shape_equal(&f.outputs[1].shape, &other));
    gpulet_model_config_deinit(&f.config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dynamic_first_dimension_is_the_batch),
        cmocka_unit_test(a_scalar_for_each_item_has_no_dims),
        cmocka_unit_test(a_common_fixed_first_dimension_is_the_batch),
        cmocka_unit_test(models_without_a_batch_dimension_have_none),
        cmocka_unit_test(the_default_stays_within_the_limit),
        cmocka_unit_test(full_shapes_in_the_configuration_mean_no_batch),
        cmocka_unit_test(a_given_batch_is_checked),
        cmocka_unit_test(given_tensors_must_be_the_models),
        cmocka_unit_test(a_dynamic_dimension_may_be_narrowed),
        cmocka_unit_test(absent_inputs_are_added_but_outputs_may_be_chosen),
        cmocka_unit_test(the_engine_sees_the_reshape),
        cmocka_unit_test(the_engine_sees_the_warm_up_in_its_own_shapes),
        cmocka_unit_test(inputs_of_one_size_need_no_warm_up),
        cmocka_unit_test(the_warm_up_must_fit_the_inputs),
        cmocka_unit_test(parameters_are_found_by_key),
        cmocka_unit_test(the_configuration_alone_describes_a_model),
        cmocka_unit_test(what_a_description_lacks_is_named),
        cmocka_unit_test(outputs_get_the_sizes_that_the_configuration_fixes),
    };
    return cmocka_run_group_tests_name("core.model_config", tests, NULL, NULL);
}
