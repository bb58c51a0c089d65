#include "harness.h"

#include <stdio.h>

#include "base/buf.h"
#include "proto/onnx_file.h"

/* ---- protobuf, written by hand ---- */

static void put_varint(gpulet_buf_t *out, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        gpulet_buf_append_char(out, (char)(0x80U | (value & 0x7fU)));
    gpulet_buf_append_char(out, (char)value);
}

static void put_number(gpulet_buf_t *out, unsigned field, uint64_t value)
{
    put_varint(out, (uint64_t)field << 3);
    put_varint(out, value);
}

static void put_bytes(gpulet_buf_t *out, unsigned field, const void *data, size_t size)
{
    put_varint(out, (uint64_t)field << 3 | 2U);
    put_varint(out, size);
    gpulet_buf_append(out, data, size);
}

static void put_text(gpulet_buf_t *out, unsigned field, const char *text)
{
    put_bytes(out, field, text, strlen(text));
}

/* Empties part after putting it into out. */
static void put_part(gpulet_buf_t *out, unsigned field, gpulet_buf_t *part)
{
    put_bytes(out, field, part->data, part->size);
    gpulet_buf_deinit(part);
}

enum { NO_SHAPE = -1, SYMBOL = INT32_MIN };

/* A ValueInfoProto with the dimensions; SYMBOL is a named one. */
static void put_value(gpulet_buf_t *graph, unsigned field, const char *name, uint64_t elem_type,
                      int rank, const int64_t *dims)
{
    gpulet_buf_t value = GPULET_BUF_INIT;
    gpulet_buf_t type = GPULET_BUF_INIT;
    gpulet_buf_t tensor = GPULET_BUF_INIT;
    gpulet_buf_t shape = GPULET_BUF_INIT;
    put_number(&tensor, 1, elem_type);
    for (int i = 0; i < rank; i++) {
        gpulet_buf_t dim = GPULET_BUF_INIT;
        if (dims[i] == SYMBOL)
            put_text(&dim, 2, "batch");
        else
            put_number(&dim, 1, (uint64_t)dims[i]);
        put_text(&dim, 3, "denotation");
        put_part(&shape, 1, &dim);
    }
    if (rank != NO_SHAPE)
        put_part(&tensor, 2, &shape);
    put_part(&type, 1, &tensor);
    put_text(&type, 6, "denotation");
    put_text(&value, 1, name);
    put_part(&value, 2, &type);
    put_text(&value, 3, "doc");
    put_part(graph, field, &value);
}

static void put_initializer(gpulet_buf_t *graph, const char *name)
{
    gpulet_buf_t tensor = GPULET_BUF_INIT;
    put_number(&tensor, 1, 4);
    put_number(&tensor, 2, 1);
    put_text(&tensor, 8, name);
    put_text(&tensor, 9, "raw bytes of the tensor");
    put_part(graph, 5, &tensor);
}

static void put_model(gpulet_buf_t *out, gpulet_buf_t *graph)
{
    gpulet_buf_t opset = GPULET_BUF_INIT;
    put_number(out, 1, 8);
    put_text(out, 2, "a producer");
    put_part(out, 7, graph);
    put_text(&opset, 1, "com.example");
    put_number(&opset, 2, 99);
    put_part(out, 8, &opset);
    put_text(&opset, 1, "");
    put_number(&opset, 2, 17);
    put_part(out, 8, &opset);
}

static gpulet_status_t read_exact(gpulet_onnx_info_t *info, const void *data, size_t size,
                                  gpulet_error_t *err)
{
    char *copy = exact_copy(data, size);
    gpulet_status_t st = gpulet_onnx_read(info, copy, size, err);
    free(copy);
    return st;
}

/* Puts the graph into a model, reads it and empties both. */
static gpulet_status_t read_graph(gpulet_onnx_info_t *info, gpulet_buf_t *graph,
                                  gpulet_error_t *err)
{
    gpulet_buf_t model = GPULET_BUF_INIT;
    put_model(&model, graph);
    gpulet_status_t st = read_exact(info, model.data, model.size, err);
    gpulet_buf_deinit(&model);
    return st;
}

static void reads_what_a_model_declares(void **state)
{
    const int64_t image[] = {SYMBOL, 3, 224, 224};
    const int64_t weights[] = {5};
    gpulet_buf_t graph = GPULET_BUF_INIT;
    gpulet_buf_t sparse = GPULET_BUF_INIT;
    gpulet_buf_t values = GPULET_BUF_INIT;
    gpulet_onnx_info_t info;
    (void)state;
    put_value(&graph, 11, "image", 1, 4, image);
    put_text(&graph, 1, "a node that is not looked at");
    put_value(&graph, 11, "w", 1, 1, weights);
    put_value(&graph, 11, "sparse_w", 1, 1, weights);
    put_value(&graph, 11, "flag", 9, 0, NULL);
    put_value(&graph, 12, "scores", 1, 2, (int64_t[]){-1, 1000});
    put_value(&graph, 12, "unknown_rank", 7, NO_SHAPE, NULL);
    put_initializer(&graph, "w");
    put_initializer(&graph, "w2");
    put_text(&values, 8, "sparse_w");
    put_part(&sparse, 1, &values);
    put_part(&graph, 15, &sparse);
    assert_int_equal(read_graph(&info, &graph, NULL), GPULET_OK);
    assert_int_equal(info.ir_version, 8);
    assert_int_equal(info.opset, 17);
    assert_int_equal(info.io.inputs_count, 2);
    assert_string_equal(info.io.inputs[0].name, "image");
    assert_int_equal(info.io.inputs[0].type, GPULET_DATATYPE_FP32);
    assert_int_equal(info.io.inputs[0].shape.rank, 4);
    assert_int_equal(info.io.inputs[0].shape.dims[0], -1);
    assert_int_equal(info.io.inputs[0].shape.dims[3], 224);
    assert_string_equal(info.io.inputs[1].name, "flag");
    assert_int_equal(info.io.inputs[1].type, GPULET_DATATYPE_BOOL);
    assert_int_equal(info.io.inputs[1].shape.rank, 0);
    assert_int_equal(info.io.outputs_count, 2);
    assert_int_equal(info.io.outputs[0].shape.dims[0], -1);
    assert_int_equal(info.io.outputs[1].type, GPULET_DATATYPE_INT64);
    assert_int_equal(info.io.outputs[1].shape.rank, 0);
    gpulet_model_io_deinit(&info.io);
}

static void leaves_thousands_of_initializers_out(void **state)
{
    gpulet_buf_t graph = GPULET_BUF_INIT;
    gpulet_onnx_info_t info;
    char name[32];
    (void)state;
    for (int i = 0; i < 20000; i++) {
        (void)snprintf(name, sizeof(name), "w%d", i);
        put_value(&graph, 11, name, 1, 0, NULL);
        (void)snprintf(name, sizeof(name), "w%d", 19999 - i);
        put_initializer(&graph, name);
    }
    put_value(&graph, 11, "x", 8, 0, NULL);
    assert_int_equal(read_graph(&info, &graph, NULL), GPULET_OK);
    assert_int_equal(info.io.inputs_count, 1);
    assert_int_equal(info.io.inputs[0].type, GPULET_DATATYPE_BYTES);
    gpulet_model_io_deinit(&info.io);
}

static void refuses_what_gpulet_cannot_hold(void **state)
{
    const int64_t dims[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    char long_name[257];
    gpulet_onnx_info_t info;
    (void)state;
    memset(long_name, 'n', 256);
    long_name[256] = '\0';
    const struct {
        unsigned field;
        const char *name;
        uint64_t elem_type;
        int rank;
        const char *text;
    } cases[] = {
        {11, "x", 14, 1, "input 'x': its datatype is unknown (ONNX element type 14)"},
        {12, "y", 15, 1, "output 'y': its datatype is unknown"},
        {11, "x", UINT64_MAX, 1, "its datatype is unknown"},
        {11, "x", 0, 1, "its datatype is unknown"},
        {11, "x", 1, 9, "it has too many dimensions"},
        {11, "x", 1, NO_SHAPE, "its number of dimensions is not declared"},
        {11, long_name, 1, 1, "its name is too long"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_buf_t graph = GPULET_BUF_INIT;
        gpulet_error_t err = {""};
        put_value(&graph, cases[i].field, cases[i].name, cases[i].elem_type, cases[i].rank, dims);
        assert_int_equal(read_graph(&info, &graph, &err), GPULET_E_UNSUPPORTED);
        ASSERT_CONTAINS(err.text, cases[i].text);
    }
}

static void refuses_sequences_and_too_many_inputs(void **state)
{
    gpulet_buf_t graph = GPULET_BUF_INIT;
    gpulet_buf_t value = GPULET_BUF_INIT;
    gpulet_buf_t type = GPULET_BUF_INIT;
    gpulet_onnx_info_t info;
    gpulet_error_t err;
    char name[16];
    (void)state;
    put_bytes(&type, 4, "", 0);
    put_text(&value, 1, "seq");
    put_part(&value, 2, &type);
    put_part(&graph, 11, &value);
    assert_int_equal(read_graph(&info, &graph, &err), GPULET_E_UNSUPPORTED);
    ASSERT_CONTAINS(err.text, "input 'seq': it is no tensor");
    put_text(&value, 1, "untyped");
    put_part(&graph, 11, &value);
    assert_int_equal(read_graph(&info, &graph, &err), GPULET_E_UNSUPPORTED);
    ASSERT_CONTAINS(err.text, "its type is not declared");
    put_text(&value, 1, "untyped");
    put_part(&graph, 12, &value);
    assert_int_equal(read_graph(&info, &graph, &err), GPULET_OK);
    assert_int_equal(info.io.outputs[0].type, GPULET_DATATYPE_INVALID);
    gpulet_model_io_deinit(&info.io);
    for (int i = 0; i < 65; i++) {
        (void)snprintf(name, sizeof(name), "x%d", i);
        put_value(&graph, 11, name, 1, 0, NULL);
    }
    assert_int_equal(read_graph(&info, &graph, &err), GPULET_E_UNSUPPORTED);
    ASSERT_CONTAINS(err.text, "the model has more than 64 inputs");
}

static void refuses_bytes_that_are_no_model(void **state)
{
    static const struct {
        const char *data;
        size_t size;
        const char *text;
    } cases[] = {
        {"", 0, "not an ONNX model: no graph at byte 0"},
        {"\x08\x08", 2, "no graph"},
        {"\x08", 1, "a number is cut off at byte 0"},
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 11, "a number is cut off"},
        {"\x3a\x05xx", 4, "a field is longer than what holds it"},
        {"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, "a field is longer"},
        {"\x3a\x80", 2, "a length is cut off"},
        {"\x00", 1, "no field begins"},
        {"\x3b", 1, "unknown kind of field"},
        {"\x38\x01", 2, "field 7 has the wrong kind"},
        {"\x3a\0\x3a\0", 4, "a second graph at byte 2"},
        {"\x3a\x02\x5a\0", 4, "an input or output without a proper name"},
        {"\x39\x01\x02", 3, "a field is longer"},
        {"hello, world", 12, "not an ONNX model"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_onnx_info_t info;
        gpulet_error_t err = {""};
        assert_int_equal(read_exact(&info, cases[i].data, cases[i].size, &err), GPULET_E_INVALID);
        ASSERT_CONTAINS(err.text, cases[i].text);
    }
}

static void survives_every_prefix_and_every_changed_byte(void **state)
{
    gpulet_buf_t graph = GPULET_BUF_INIT;
    gpulet_buf_t model = GPULET_BUF_INIT;
    (void)state;
    put_value(&graph, 11, "x", 1, 2, (int64_t[]){SYMBOL, 3});
    put_initializer(&graph, "w");
    put_value(&graph, 12, "y", 1, 1, (int64_t[]){5});
    put_model(&model, &graph);
    for (size_t size = 0; size < model.size; size++) {
        gpulet_onnx_info_t info;
        if (read_exact(&info, model.data, size, NULL) == GPULET_OK)
            gpulet_model_io_deinit(&info.io);
    }
    for (size_t at = 0; at < model.size; at++) {
        for (int bit = 0; bit < 8; bit++) {
            gpulet_onnx_info_t info;
            model.data[at] = (char)(model.data[at] ^ (1 << bit));
            if (read_exact(&info, model.data, model.size, NULL) == GPULET_OK)
                gpulet_model_io_deinit(&info.io);
            model.data[at] = (char)(model.data[at] ^ (1 << bit));
        }
    }
    gpulet_buf_deinit(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_a_model_declares),
        cmocka_unit_test(leaves_thousands_of_initializers_out),
        cmocka_unit_test(refuses_what_gpulet_cannot_hold),
        cmocka_unit_test(refuses_sequences_and_too_many_inputs),
        cmocka_unit_test(refuses_bytes_that_are_no_model),
        cmocka_unit_test(survives_every_prefix_and_every_changed_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
