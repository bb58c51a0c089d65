/* Requests, tensor data and string tensors. The first byte chooses: below 0x40 a request, which is
 * then held against a model and decoded, alone and with as many bytes behind it as the second byte
 * says; below 0xc0 a "data" array of the datatype in the low bits,
 * with the number of elements in the second byte; else the check of a BYTES tensor of that many
 * elements. What is decoded must be written and read back to the same bytes. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/oip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BYTES_MAX = 1 << 20 };

static void name_io(gpulet_config_io_t *io, const char *name, gpulet_datatype_t type,
                    gpulet_shape_t dims)
{
    memset(io, 0, sizeof(*io));
    strcpy(io->name, name);
    io->type = type;
    io->dims = dims;
}

static void check_and_decode(const gpulet_oip_request_t *request)
{
    gpulet_config_io_t inputs[3];
    gpulet_config_io_t outputs[2];
    gpulet_model_config_t config;
    gpulet_oip_layout_t layout;
    memset(&config, 0, sizeof(config));
    name_io(&inputs[0], "x", GPULET_DATATYPE_FP32, (gpulet_shape_t){1, {-1}});
    name_io(&inputs[1], "s", GPULET_DATATYPE_BYTES, (gpulet_shape_t){1, {-1}});
    name_io(&inputs[2], "i", GPULET_DATATYPE_INT32, (gpulet_shape_t){1, {2}});
    inputs[1].optional = true;
    inputs[2].optional = true;
    inputs[2].reshape_given = true;
    inputs[2].reshape = (gpulet_shape_t){2, {2, 1}};
    name_io(&outputs[0], "y", GPULET_DATATYPE_FP32, (gpulet_shape_t){1, {2}});
    name_io(&outputs[1], "z", GPULET_DATATYPE_INT8, (gpulet_shape_t){1, {2}});
    strcpy(config.name, "m");
    config.max_batch_size = request->id[0] == 'n' ? 0 : 4;
    config.inputs = inputs;
    config.inputs_count = 3;
    config.outputs = outputs;
    config.outputs_count = 2;
    if (gpulet_oip_request_check(&layout, request, &config, NULL) != GPULET_OK)
        return;
    assert(layout.items >= 1 && layout.outputs_count >= 1 && layout.outputs_count <= 2);
    uint64_t binary_total = 0;
    for (uint32_t i = 0; i < request->inputs_count; i++)
        binary_total += request->inputs[i].binary ? request->inputs[i].binary_size : 0;
    assert(layout.binary_total == binary_total);
    for (uint32_t i = 0; i < 3; i++) {
        uint64_t elements = 0;
        if (layout.request_input[i] == UINT32_MAX)
            continue;
        const gpulet_oip_input_t *input = &request->inputs[layout.request_input[i]];
        assert(gpulet_shape_elements(&elements, &layout.engine_shape[i]) == GPULET_OK);
        if (input->binary || layout.bytes[i] > BYTES_MAX)
            continue;
        void *dst = malloc(layout.bytes[i] > 0 ? layout.bytes[i] : 1);
        if (dst != NULL &&
            gpulet_oip_data_decode(dst, layout.bytes[i], input, elements, "m", NULL) == GPULET_OK &&
            input->type == GPULET_DATATYPE_BYTES)
            assert(gpulet_oip_bytes_check(dst, layout.bytes[i], elements, "s", "m", NULL) ==
                   GPULET_OK);
        free(dst);
    }
}

/* With bytes behind it: they are an input's if nobody else says so, and only one can be meant. */
static void run_tail(gpulet_oip_request_t *request, uint64_t tail_size)
{
    bool taken = request->inputs_count == 1 && !request->inputs[0].binary &&
                 request->inputs[0].json_data == NULL && tail_size > 0;
    gpulet_oip_request_take_tail(request, tail_size);
    if (taken)
        assert(request->inputs[0].binary && request->inputs[0].binary_size == tail_size);
    check_and_decode(request);
}

static void run_request(const char *text, size_t size, uint64_t tail_size)
{
    gpulet_oip_limits_t limits = GPULET_OIP_LIMITS_DEFAULT;
    gpulet_oip_request_t request;
    gpulet_error_t err = {""};
    if (gpulet_oip_request_parse(&request, text, size, &limits, &err) != GPULET_OK) {
        assert(err.text[0] != '\0' && request.inputs == NULL && request.outputs == NULL);
        return;
    }
    for (uint32_t i = 0; i < request.inputs_count; i++) {
        const gpulet_oip_input_t *input = &request.inputs[i];
        assert(input->json_data == NULL ||
               (input->json_data >= text && input->json_data_size <= size &&
                input->json_data + input->json_data_size <= text + size));
    }
    check_and_decode(&request);
    run_tail(&request, tail_size);
    gpulet_oip_request_deinit(&request);
}

/* Written as JSON and decoded again, the tensor is the same. */
static void run_round_trip(gpulet_datatype_t type, uint64_t elements, void *bytes, size_t size)
{
    static const char before[] = "\"data\":";
    gpulet_buf_t out = GPULET_BUF_INIT;
    bool binary = false;
    gpulet_oip_answer_t answer = {"x", {type, {1, {(int64_t)elements}}, bytes, size}, false};
    assert(gpulet_oip_response_write(&out, &binary, "m", "1", "", &answer, 1, NULL) == GPULET_OK);
    const char *data = strstr(out.data, before);
    assert(data != NULL);
    data += strlen(before);
    gpulet_oip_input_t input = {.name = "x", .type = type, .json_data = data};
    input.json_data_size = out.size - (size_t)(data - out.data) - strlen("}]}");
    void *again = malloc(size > 0 ? size : 1);
    if (again != NULL) {
        assert(gpulet_oip_data_decode(again, size, &input, elements, "m", NULL) == GPULET_OK);
        assert(memcmp(again, bytes, size) == 0);
    }
    free(again);
    gpulet_buf_deinit(&out);
}

static void run_decode(gpulet_datatype_t type, uint64_t elements, const char *text, size_t size)
{
    gpulet_oip_input_t input = {
        .name = "x", .type = type, .json_data = text, .json_data_size = size};
    uint64_t needed = elements * gpulet_datatype_size(type);
    if (type == GPULET_DATATYPE_BYTES &&
        gpulet_oip_data_bytes_size(&needed, text, size, NULL) != GPULET_OK)
        return;
    char *dst = malloc(needed > 0 ? needed : 1);
    if (dst == NULL)
        return;
    if (gpulet_oip_data_decode(dst, needed, &input, elements, "m", NULL) == GPULET_OK)
        run_round_trip(type, elements, dst, needed);
    free(dst);
}

/* What is accepted can be answered as JSON. */
static void run_bytes_check(const char *text, size_t size, uint64_t elements)
{
    gpulet_error_t err = {""};
    gpulet_buf_t out = GPULET_BUF_INIT;
    gpulet_tensor_view_t view = {GPULET_DATATYPE_BYTES, {1, {(int64_t)elements}}, NULL, size};
    bool binary = false;
    if (gpulet_oip_bytes_check(text, size, elements, "s", "m", &err) != GPULET_OK) {
        assert(err.text[0] != '\0');
        return;
    }
    char *copy = malloc(size > 0 ? size : 1);
    if (copy != NULL) {
        memcpy(copy, text, size);
        view.data = copy;
        gpulet_oip_answer_t answer = {"s", view, false};
        assert(gpulet_oip_response_write(&out, &binary, "m", "1", "", &answer, 1, NULL) ==
               GPULET_OK);
    }
    free(copy);
    gpulet_buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const char *text = (const char *)data + 2;
    gpulet_datatype_t type = (gpulet_datatype_t)(data[0] % GPULET_DATATYPE_COUNT);
    if (data[0] < 0x40)
        run_request(text, size - 2, data[1]);
    else if (data[0] < 0xc0)
        run_decode(type, data[1], text, size - 2);
    else
        run_bytes_check(text, size - 2, data[1]);
    return 0;
}
