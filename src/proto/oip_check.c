#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "proto/oip.h"

enum { SHAPE_TEXT = 256, NAMES_TEXT = 384 };

typedef struct checker {
    gpulet_oip_layout_t *layout;
    const gpulet_oip_request_t *request;
    const gpulet_model_config_t *config;
    gpulet_error_t *err;
} checker_t;

static bool batched(const gpulet_model_config_t *config)
{
    return config->max_batch_size >= 1;
}

static uint32_t find_io(const gpulet_config_io_t *list, size_t count, const char *name)
{
    for (size_t i = 0; list != NULL && i < count; i++) {
        if (strcmp(list[i].name, name) == 0)
            return (uint32_t)i;
    }
    return UINT32_MAX;
}

/* Appends 'name' to a list in text, and says so when there is no room for more. */
static void list_name(char *text, size_t text_size, const char *name)
{
    size_t used = strlen(text);
    size_t needed = strlen(name) + 4;
    if (used + needed < text_size)
        (void)snprintf(text + used, text_size - used, "%s'%s'", used > 0 ? "," : "", name);
    else if (used + 5 < text_size && (used == 0 || text[used - 1] != '.'))
        (void)snprintf(text + used, text_size - used, ",...");
}

static gpulet_status_t fail_missing(const checker_t *c)
{
    char got[NAMES_TEXT] = "";
    char missing[NAMES_TEXT] = "";
    char expected[64];
    size_t required = 0;
    for (uint32_t i = 0; i < c->request->inputs_count; i++)
        list_name(got, sizeof(got), c->request->inputs[i].name);
    for (size_t i = 0; i < c->config->inputs_count; i++) {
        required += !c->config->inputs[i].optional;
        if (!c->config->inputs[i].optional && c->layout->request_input[i] == UINT32_MAX)
            list_name(missing, sizeof(missing), c->config->inputs[i].name);
    }
    if (required == c->config->inputs_count)
        (void)snprintf(expected, sizeof(expected), "%zu", required);
    else
        (void)snprintf(expected, sizeof(expected), "between %zu and %zu", required,
                       c->config->inputs_count);
    return gpulet_fail(
        c->err, GPULET_E_INVALID,
        "expected %s inputs but got %u inputs for model '%s'. Got input(s) [%s], but "
        "missing required input(s) [%s]. Please provide all required input(s).",
        expected, c->request->inputs_count, c->config->name, got, missing);
}

/* Fills layout->request_input. */
static gpulet_status_t match_inputs(const checker_t *c)
{
    const char *unknown = NULL;
    bool missing = false;
    for (size_t i = 0; i < c->config->inputs_count; i++)
        c->layout->request_input[i] = UINT32_MAX;
    for (uint32_t i = 0; i < c->request->inputs_count; i++) {
        const char *name = c->request->inputs[i].name;
        uint32_t index = find_io(c->config->inputs, c->config->inputs_count, name);
        if (index == UINT32_MAX) {
            unknown = unknown != NULL ? unknown : name;
        } else if (c->layout->request_input[index] != UINT32_MAX) {
            return gpulet_fail(c->err, GPULET_E_INVALID,
                               "input '%s' already exists in request for model '%s'", name,
                               c->config->name);
        } else {
            c->layout->request_input[index] = i;
        }
    }
    for (size_t i = 0; i < c->config->inputs_count; i++)
        missing = missing ||
                  (!c->config->inputs[i].optional && c->layout->request_input[i] == UINT32_MAX);
    if (missing && (unknown == NULL || c->request->inputs_count != c->config->inputs_count))
        return fail_missing(c);
    if (unknown != NULL)
        return gpulet_fail(c->err, GPULET_E_INVALID,
                           "unexpected inference input '%s' for model '%s'", unknown,
                           c->config->name);
    return GPULET_OK;
}

static gpulet_status_t fail_shape(const checker_t *c, const gpulet_config_io_t *spec,
                                  const gpulet_shape_t *got)
{
    char expected_text[SHAPE_TEXT];
    char got_text[SHAPE_TEXT];
    gpulet_shape_t expected = spec->dims;
    bool batch = batched(c->config) && expected.rank < GPULET_RANK_MAX;
    if (batch) {
        expected.rank = spec->dims.rank + 1;
        expected.dims[0] = -1;
        memcpy(expected.dims + 1, spec->dims.dims, spec->dims.rank * sizeof(expected.dims[0]));
    }
    return gpulet_fail(c->err, GPULET_E_INVALID,
                       "unexpected shape for input '%s' for model '%s'. Expected %s, got %s.%s",
                       spec->name, c->config->name,
                       gpulet_shape_format(expected_text, sizeof(expected_text), &expected),
                       gpulet_shape_format(got_text, sizeof(got_text), got),
                       batch ? " NOTE: Setting a non-zero max_batch_size in the model config "
                               "requires a batch dimension to "
                               "be prepended to each input shape. If you want to specify the full "
                               "shape including the batch "
                               "dim in your input dims config, try setting max_batch_size to zero."
                             : "");
}

/* The batch dimension of the input, which must be that of those before it. */
static gpulet_status_t check_batch(const checker_t *c, const gpulet_oip_input_t *input, bool first)
{
    int64_t items = input->shape.dims[0];
    if (items < 1)
        return gpulet_fail(c->err, GPULET_E_INVALID,
                           "inference request batch-size must be >= 1 for '%s'", c->config->name);
    if (items > c->config->max_batch_size)
        return gpulet_fail(c->err, GPULET_E_INVALID,
                           "inference request batch-size must be <= %d for '%s'",
                           c->config->max_batch_size, c->config->name);
    if (!first && (uint32_t)items != c->layout->items)
        return gpulet_fail(c->err, GPULET_E_INVALID,
                           "input '%s' batch size does not match other inputs for '%s'",
                           input->name, c->config->name);
    c->layout->items = (uint32_t)items;
    return GPULET_OK;
}

static gpulet_status_t engine_shape(const checker_t *c, gpulet_shape_t *out,
                                    const gpulet_config_io_t *spec, const gpulet_shape_t *shape)
{
    uint64_t before = 0;
    uint64_t after = 0;
    if (gpulet_config_io_engine_shape(out, spec, shape, batched(c->config) ? 1 : 0) != GPULET_OK)
        return gpulet_fail(c->err, GPULET_E_INVALID,
                           "input '%s' of model '%s' has too many dimensions", spec->name,
                           c->config->name);
    if (!spec->reshape_given)
        return GPULET_OK;
    if (gpulet_shape_elements(&before, shape) != GPULET_OK ||
        gpulet_shape_elements(&after, out) != GPULET_OK || before != after)
        return gpulet_fail(
            c->err, GPULET_E_INVALID,
            "input '%s' of model '%s' cannot be reshaped: the configuration's reshape "
            "has another number of elements",
            spec->name, c->config->name);
    return GPULET_OK;
}

static gpulet_status_t check_shape(const checker_t *c, uint32_t index,
                                   const gpulet_oip_input_t *input, bool first)
{
    const gpulet_config_io_t *spec = &c->config->inputs[index];
    const uint32_t lead = batched(c->config) ? 1 : 0;
    if (input->shape.rank != spec->dims.rank + lead)
        return fail_shape(c, spec, &input->shape);
    if (lead > 0) {
        gpulet_status_t st = check_batch(c, input, first);
        if (st != GPULET_OK)
            return st;
    }
    for (uint32_t i = 0; i < spec->dims.rank; i++) {
        int64_t got = input->shape.dims[lead + i];
        if (got < 0 || (spec->dims.dims[i] != -1 && got != spec->dims.dims[i]))
            return fail_shape(c, spec, &input->shape);
    }
    return engine_shape(c, &c->layout->engine_shape[index], spec, &input->shape);
}

static gpulet_status_t fail_size(const checker_t *c, const gpulet_oip_input_t *input,
                                 uint64_t expected)
{
    return gpulet_fail(
        c->err, GPULET_E_INVALID,
        "input byte size mismatch for input '%s' for model '%s'. Expected %llu, got %llu",
        input->name, c->config->name, (unsigned long long)expected,
        (unsigned long long)input->binary_size);
}

static gpulet_status_t check_binary(const checker_t *c, uint32_t index,
                                    const gpulet_oip_input_t *input, uint64_t expected)
{
    gpulet_oip_layout_t *layout = c->layout;
    bool strings = input->type == GPULET_DATATYPE_BYTES;
    /* For strings `expected` is the least: their lengths alone. */
    if (strings ? input->binary_size < expected : input->binary_size != expected)
        return fail_size(c, input, expected);
    layout->bytes[index] = input->binary_size;
    if (__builtin_add_overflow(layout->binary_total, input->binary_size, &layout->binary_total))
        return gpulet_fail(c->err, GPULET_E_TOO_LARGE, "the inputs for model '%s' are too large",
                           c->config->name);
    return GPULET_OK;
}

static gpulet_status_t check_json(const checker_t *c, uint32_t index,
                                  const gpulet_oip_input_t *input, uint64_t elements)
{
    if (input->type == GPULET_DATATYPE_FP16 || input->type == GPULET_DATATYPE_BF16)
        return gpulet_fail(
            c->err, GPULET_E_INVALID,
            "receiving %s data via JSON is not supported. Please use the binary data "
            "format for input %s",
            gpulet_datatype_name(input->type), input->name);
    /* n elements take at least 2n - 1 bytes: a shape that promises more must not reserve memory for
     * it. */
    if (elements > input->json_data_size / 2)
        return gpulet_fail(
            c->err, GPULET_E_INVALID,
            "unable to parse 'data' of input '%s' for model '%s': the shape has %llu "
            "elements, the data fewer",
            input->name, c->config->name, (unsigned long long)elements);
    if (input->type != GPULET_DATATYPE_BYTES)
        return GPULET_OK;
    gpulet_status_t st = gpulet_oip_data_bytes_size(&c->layout->bytes[index], input->json_data,
                                                    input->json_data_size, c->err);
    if (st != GPULET_OK)
        gpulet_error_prefix(c->err, "input '%s' for model '%s'", input->name, c->config->name);
    return st;
}

static gpulet_status_t check_data(const checker_t *c, uint32_t index,
                                  const gpulet_oip_input_t *input)
{
    uint64_t elements = 0;
    size_t element_size = gpulet_datatype_size(input->type);
    if (input->binary == (input->json_data != NULL))
        return gpulet_fail(c->err, GPULET_E_INVALID,
                           input->binary
                               ? "input '%s' for model '%s' has both 'data' and binary data"
                               : "input '%s' for model '%s' has neither 'data' nor binary data",
                           input->name, c->config->name);
    if (input->type == GPULET_DATATYPE_BYTES)
        element_size = sizeof(uint32_t);
    if (gpulet_shape_elements(&elements, &input->shape) != GPULET_OK ||
        __builtin_mul_overflow(elements, element_size, &c->layout->bytes[index]))
        return gpulet_fail(c->err, GPULET_E_TOO_LARGE, "input '%s' for model '%s' is too large",
                           input->name, c->config->name);
    return input->binary ? check_binary(c, index, input, c->layout->bytes[index])
                         : check_json(c, index, input, elements);
}

static gpulet_status_t check_inputs(const checker_t *c)
{
    bool first = true;
    for (uint32_t i = 0; i < c->layout->inputs_count; i++) {
        const gpulet_config_io_t *spec = &c->config->inputs[i];
        if (c->layout->request_input[i] == UINT32_MAX)
            continue;
        const gpulet_oip_input_t *input = &c->request->inputs[c->layout->request_input[i]];
        if (input->type != spec->type)
            return gpulet_fail(
                c->err, GPULET_E_INVALID,
                "inference input '%s' data-type is '%s', but model '%s' expects '%s'", spec->name,
                gpulet_datatype_name(input->type), c->config->name,
                gpulet_datatype_name(spec->type));
        gpulet_status_t st = check_shape(c, i, input, first);
        if (st == GPULET_OK)
            st = check_data(c, i, input);
        if (st != GPULET_OK)
            return st;
        first = false;
    }
    return GPULET_OK;
}

static gpulet_status_t want_output(const checker_t *c, uint32_t index,
                                   const gpulet_oip_output_t *wanted)
{
    gpulet_oip_layout_t *layout = c->layout;
    const gpulet_config_io_t *spec = &c->config->outputs[index];
    uint32_t at = layout->outputs_count;
    for (uint32_t i = 0; i < at; i++) {
        if (layout->output[i] == index)
            return gpulet_fail(c->err, GPULET_E_INVALID,
                               "output '%s' already requested for model '%s'", spec->name,
                               c->config->name);
    }
    layout->output[at] = index;
    layout->output_binary[at] =
        wanted != NULL && wanted->binary_given ? wanted->binary : c->request->binary_data_output;
    layout->output_classification[at] = wanted != NULL ? wanted->classification : 0;
    layout->outputs_count++;
    if ((spec->type == GPULET_DATATYPE_FP16 || spec->type == GPULET_DATATYPE_BF16) &&
        !layout->output_binary[at] && layout->output_classification[at] == 0)
        return gpulet_fail(c->err, GPULET_E_INVALID,
                           "sending %s data via JSON is not supported. Please use the binary data "
                           "format for output %s",
                           gpulet_datatype_name(spec->type), spec->name);
    return GPULET_OK;
}

static gpulet_status_t check_outputs(const checker_t *c)
{
    gpulet_status_t st = GPULET_OK;
    c->layout->outputs_count = 0;
    if (c->request->outputs_count == 0) {
        for (uint32_t i = 0; i < c->config->outputs_count && st == GPULET_OK; i++)
            st = want_output(c, i, NULL);
        return st;
    }
    for (uint32_t i = 0; i < c->request->outputs_count && st == GPULET_OK; i++) {
        const gpulet_oip_output_t *wanted = &c->request->outputs[i];
        uint32_t index = find_io(c->config->outputs, c->config->outputs_count, wanted->name);
        if (index == UINT32_MAX)
            return gpulet_fail(c->err, GPULET_E_INVALID,
                               "unexpected inference output '%s' for model '%s'", wanted->name,
                               c->config->name);
        st = want_output(c, index, wanted);
    }
    return st;
}

void gpulet_oip_request_take_tail(gpulet_oip_request_t *request, uint64_t tail_size)
{
    gpulet_oip_input_t *input = request->inputs;
    if (tail_size == 0 || request->inputs_count != 1 || input->binary || input->json_data != NULL)
        return;
    input->binary = true;
    input->binary_size = tail_size;
}

gpulet_status_t gpulet_oip_request_check(gpulet_oip_layout_t *out,
                                         const gpulet_oip_request_t *request,
                                         const gpulet_model_config_t *config, gpulet_error_t *err)
{
    assert(config->inputs_count <= GPULET_MODEL_IO_MAX &&
           config->outputs_count <= GPULET_MODEL_IO_MAX);
    assert(config->inputs != NULL || config->inputs_count == 0);
    assert(config->outputs != NULL || config->outputs_count == 0);
    assert(request->inputs != NULL || request->inputs_count == 0);
    const checker_t checker = {out, request, config, err};
    memset(out, 0, sizeof(*out));
    out->items = 1;
    out->inputs_count = (uint32_t)config->inputs_count;
    gpulet_status_t st = match_inputs(&checker);
    if (st == GPULET_OK)
        st = check_inputs(&checker);
    if (st == GPULET_OK)
        st = check_outputs(&checker);
    return st;
}
