#include "onnx_writer.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/parse.h"

/* Field numbers of onnx.proto, as far as needed. */
enum {
    MODEL_IR_VERSION = 1,
    MODEL_PRODUCER = 2,
    MODEL_GRAPH = 7,
    MODEL_OPSET = 8,
    OPSET_DOMAIN = 1,
    OPSET_VERSION = 2,
    GRAPH_NODE = 1,
    GRAPH_NAME = 2,
    GRAPH_INITIALIZER = 5,
    GRAPH_INPUT = 11,
    GRAPH_OUTPUT = 12,
    NODE_INPUT = 1,
    NODE_OUTPUT = 2,
    NODE_NAME = 3,
    NODE_OP = 4,
    NODE_ATTRIBUTE = 5,
    NODE_DOMAIN = 7,
    ATTRIBUTE_NAME = 1,
    ATTRIBUTE_INT = 3,
    ATTRIBUTE_TYPE = 20,
    ATTRIBUTE_TYPE_INT = 2,
    TENSOR_DIM = 1,
    TENSOR_TYPE = 2,
    TENSOR_NAME = 8,
    TENSOR_RAW = 9,
    TENSOR_EXTERNAL = 13,
    TENSOR_LOCATION = 14,
    TENSOR_LOCATION_EXTERNAL = 1,
    ENTRY_KEY = 1,
    ENTRY_VALUE = 2,
    VALUE_NAME = 1,
    VALUE_TYPE = 2,
    TYPE_TENSOR = 1,
    TYPE_SEQUENCE = 4,
    SEQUENCE_ELEMENT = 1,
    TENSOR_TYPE_ELEMENT = 1,
    TENSOR_TYPE_SHAPE = 2,
    SHAPE_DIM = 1,
    DIM_VALUE = 1,
    DIM_NAME = 2
};

/* ---- protobuf ---- */

static void put_varint(gpulet_buf_t *buf, uint64_t value)
{
    while (value >= 0x80) {
        gpulet_buf_append_char(buf, (char)(value | 0x80));
        value >>= 7;
    }
    gpulet_buf_append_char(buf, (char)value);
}

static void put_int(gpulet_buf_t *buf, unsigned field, int64_t value)
{
    put_varint(buf, (uint64_t)field << 3);
    put_varint(buf, (uint64_t)value);
}

static void put_bytes(gpulet_buf_t *buf, unsigned field, const void *data, size_t size)
{
    put_varint(buf, (uint64_t)field << 3 | 2);
    put_varint(buf, size);
    gpulet_buf_append(buf, data, size);
}

static void put_text(gpulet_buf_t *buf, unsigned field, const char *text)
{
    put_bytes(buf, field, text, strlen(text));
}

/* Takes message: it is empty after. */
static void put_message(gpulet_buf_t *buf, unsigned field, gpulet_buf_t *message)
{
    put_bytes(buf, field, message->data, message->size);
    assert(gpulet_buf_status(message) == GPULET_OK);
    gpulet_buf_deinit(message);
    *message = (gpulet_buf_t)GPULET_BUF_INIT;
}

/* The next of a list with commas; false at its end. */
static bool next_item(char item[static 256], const char **list)
{
    if (*list == NULL || **list == '\0')
        return false;
    size_t len = strcspn(*list, ",");
    assert(len < 256);
    memcpy(item, *list, len);
    item[len] = '\0';
    *list += len;
    if (**list == ',')
        (*list)++;
    return true;
}

/* ---- the parts of a model ---- */

gpulet_test_onnx_t *gpulet_test_onnx_create(void)
{
    gpulet_test_onnx_t *m = calloc(1, sizeof(*m));
    assert(m != NULL);
    m->ir_version = 8;
    m->opset = 13;
    put_text(&m->graph, GRAPH_NAME, "test");
    return m;
}

void gpulet_test_onnx_destroy(gpulet_test_onnx_t *m)
{
    gpulet_buf_deinit(&m->graph);
    gpulet_buf_deinit(&m->imports);
    free(m);
}

static void put_tensor_type(gpulet_buf_t *type, int element, const char *dims)
{
    gpulet_buf_t tensor = GPULET_BUF_INIT;
    gpulet_buf_t shape = GPULET_BUF_INIT;
    gpulet_buf_t dim = GPULET_BUF_INIT;
    char item[256];
    put_int(&tensor, TENSOR_TYPE_ELEMENT, element);
    for (const char *list = dims; next_item(item, &list);) {
        int64_t value;
        if (gpulet_parse_i64(&value, item, strlen(item)) == GPULET_OK)
            put_int(&dim, DIM_VALUE, value);
        else
            put_text(&dim, DIM_NAME, item);
        put_message(&shape, SHAPE_DIM, &dim);
    }
    if (dims != NULL)
        put_message(&tensor, TENSOR_TYPE_SHAPE, &shape);
    put_message(type, TYPE_TENSOR, &tensor);
}

/* Takes type. */
static void put_value(gpulet_test_onnx_t *m, unsigned field, const char *name, gpulet_buf_t *type)
{
    gpulet_buf_t value = GPULET_BUF_INIT;
    put_text(&value, VALUE_NAME, name);
    put_message(&value, VALUE_TYPE, type);
    put_message(&m->graph, field, &value);
}

void gpulet_test_onnx_input(gpulet_test_onnx_t *m, const char *name, int type, const char *dims)
{
    gpulet_buf_t message = GPULET_BUF_INIT;
    put_tensor_type(&message, type, dims);
    put_value(m, GRAPH_INPUT, name, &message);
}

void gpulet_test_onnx_output(gpulet_test_onnx_t *m, const char *name, int type, const char *dims)
{
    gpulet_buf_t message = GPULET_BUF_INIT;
    put_tensor_type(&message, type, dims);
    put_value(m, GRAPH_OUTPUT, name, &message);
}

void gpulet_test_onnx_input_sequence(gpulet_test_onnx_t *m, const char *name, int type)
{
    gpulet_buf_t element = GPULET_BUF_INIT;
    gpulet_buf_t sequence = GPULET_BUF_INIT;
    gpulet_buf_t message = GPULET_BUF_INIT;
    put_tensor_type(&element, type, NULL);
    put_message(&sequence, SEQUENCE_ELEMENT, &element);
    put_message(&message, TYPE_SEQUENCE, &sequence);
    put_value(m, GRAPH_INPUT, name, &message);
}

static void put_tensor_head(gpulet_buf_t *tensor, const char *name, int type, const char *dims)
{
    char item[256];
    for (const char *list = dims; next_item(item, &list);) {
        int64_t value;
        gpulet_status_t st = gpulet_parse_i64(&value, item, strlen(item));
        assert(st == GPULET_OK);
        put_int(tensor, TENSOR_DIM, value);
    }
    put_int(tensor, TENSOR_TYPE, type);
    put_text(tensor, TENSOR_NAME, name);
}

void gpulet_test_onnx_initializer(gpulet_test_onnx_t *m, const char *name, int type,
                                  const char *dims, const void *data, size_t size)
{
    gpulet_buf_t tensor = GPULET_BUF_INIT;
    put_tensor_head(&tensor, name, type, dims);
    put_bytes(&tensor, TENSOR_RAW, data, size);
    put_message(&m->graph, GRAPH_INITIALIZER, &tensor);
}

void gpulet_test_onnx_initializer_external(gpulet_test_onnx_t *m, const char *name, int type,
                                           const char *dims, const char *location)
{
    gpulet_buf_t tensor = GPULET_BUF_INIT;
    gpulet_buf_t entry = GPULET_BUF_INIT;
    put_tensor_head(&tensor, name, type, dims);
    put_text(&entry, ENTRY_KEY, "location");
    put_text(&entry, ENTRY_VALUE, location);
    put_message(&tensor, TENSOR_EXTERNAL, &entry);
    put_int(&tensor, TENSOR_LOCATION, TENSOR_LOCATION_EXTERNAL);
    put_message(&m->graph, GRAPH_INITIALIZER, &tensor);
}

static void put_opset(gpulet_buf_t *model, const char *domain, int64_t version)
{
    gpulet_buf_t opset = GPULET_BUF_INIT;
    put_text(&opset, OPSET_DOMAIN, domain);
    put_int(&opset, OPSET_VERSION, version);
    put_message(model, MODEL_OPSET, &opset);
}

static void put_node(gpulet_buf_t *node, const char *op, const char *inputs, const char *outputs)
{
    char item[256];
    for (const char *list = inputs; next_item(item, &list);)
        put_text(node, NODE_INPUT, item);
    for (const char *list = outputs; next_item(item, &list);)
        put_text(node, NODE_OUTPUT, item);
    put_text(node, NODE_NAME, outputs);
    put_text(node, NODE_OP, op);
}

void gpulet_test_onnx_node(gpulet_test_onnx_t *m, const char *op, const char *domain,
                           const char *inputs, const char *outputs)
{
    gpulet_buf_t node = GPULET_BUF_INIT;
    put_node(&node, op, inputs, outputs);
    put_text(&node, NODE_DOMAIN, domain);
    if (domain[0] != '\0')
        put_opset(&m->imports, domain, 1);
    put_message(&m->graph, GRAPH_NODE, &node);
}

void gpulet_test_onnx_node_int(gpulet_test_onnx_t *m, const char *op, const char *inputs,
                               const char *outputs, const char *attribute, int64_t value)
{
    gpulet_buf_t node = GPULET_BUF_INIT;
    gpulet_buf_t a = GPULET_BUF_INIT;
    put_node(&node, op, inputs, outputs);
    put_text(&a, ATTRIBUTE_NAME, attribute);
    put_int(&a, ATTRIBUTE_INT, value);
    put_int(&a, ATTRIBUTE_TYPE, ATTRIBUTE_TYPE_INT);
    put_message(&node, NODE_ATTRIBUTE, &a);
    put_message(&m->graph, GRAPH_NODE, &node);
}

void gpulet_test_onnx_bytes(gpulet_buf_t *out, const gpulet_test_onnx_t *m)
{
    put_int(out, MODEL_IR_VERSION, m->ir_version);
    put_text(out, MODEL_PRODUCER, "gpulet-test");
    put_bytes(out, MODEL_GRAPH, m->graph.data, m->graph.size);
    put_opset(out, "", m->opset);
    gpulet_buf_append(out, m->imports.data, m->imports.size);
    assert(gpulet_buf_status(&m->graph) == GPULET_OK && gpulet_buf_status(out) == GPULET_OK);
}

void gpulet_test_onnx_write(const gpulet_test_onnx_t *m, const char *path)
{
    gpulet_buf_t bytes = GPULET_BUF_INIT;
    gpulet_test_onnx_bytes(&bytes, m);
    gpulet_status_t st = gpulet_file_write(path, bytes.data, bytes.size, NULL);
    assert(st == GPULET_OK);
    gpulet_buf_deinit(&bytes);
}

/* ---- ready-made ---- */

static void finish(gpulet_test_onnx_t *m, const char *path)
{
    gpulet_test_onnx_write(m, path);
    gpulet_test_onnx_destroy(m);
}

void gpulet_test_onnx_identity(const char *path, int type, const char *dims)
{
    gpulet_test_onnx_t *m = gpulet_test_onnx_create();
    gpulet_test_onnx_input(m, "INPUT0", type, dims);
    gpulet_test_onnx_output(m, "OUTPUT0", type, dims);
    gpulet_test_onnx_node(m, "Identity", "", "INPUT0", "OUTPUT0");
    finish(m, path);
}

void gpulet_test_onnx_add_sub(const char *path, const char *dims)
{
    gpulet_test_onnx_t *m = gpulet_test_onnx_create();
    gpulet_test_onnx_input(m, "INPUT0", 1, dims);
    gpulet_test_onnx_input(m, "INPUT1", 1, dims);
    gpulet_test_onnx_output(m, "OUTPUT0", 1, dims);
    gpulet_test_onnx_output(m, "OUTPUT1", 1, dims);
    gpulet_test_onnx_node(m, "Add", "", "INPUT0,INPUT1", "OUTPUT0");
    gpulet_test_onnx_node(m, "Sub", "", "INPUT0,INPUT1", "OUTPUT1");
    finish(m, path);
}

void gpulet_test_onnx_matmul_chain(const char *path, uint32_t width, uint32_t count)
{
    char dims[64];
    char from[64] = "INPUT0,W";
    size_t size = (size_t)width * width * sizeof(float);
    float *matrix = calloc(1, size);
    assert(matrix != NULL && width % 2 == 0 && count >= 1);
    for (uint32_t i = 0; i < width; i++)
        matrix[(size_t)i * width + (i ^ 1U)] = 1.0F;
    gpulet_test_onnx_t *m = gpulet_test_onnx_create();
    (void)snprintf(dims, sizeof(dims), "N,%u", width);
    gpulet_test_onnx_input(m, "INPUT0", 1, dims);
    gpulet_test_onnx_output(m, "OUTPUT0", 1, dims);
    (void)snprintf(dims, sizeof(dims), "%u,%u", width, width);
    gpulet_test_onnx_initializer(m, "W", 1, dims, matrix, size);
    for (uint32_t i = 0; i < count; i++) {
        char to[32] = "OUTPUT0";
        if (i + 1 < count)
            (void)snprintf(to, sizeof(to), "t%u", i);
        gpulet_test_onnx_node(m, "MatMul", "", from, to);
        (void)snprintf(from, sizeof(from), "%s,W", to);
    }
    free(matrix);
    finish(m, path);
}

void gpulet_test_onnx_non_zero(const char *path)
{
    gpulet_test_onnx_t *m = gpulet_test_onnx_create();
    gpulet_test_onnx_input(m, "INPUT0", 1, "N");
    gpulet_test_onnx_output(m, "OUTPUT0", 7, "1,M");
    gpulet_test_onnx_node(m, "NonZero", "", "INPUT0", "OUTPUT0");
    finish(m, path);
}

void gpulet_test_onnx_unknown_op(const char *path, const char *domain)
{
    gpulet_test_onnx_t *m = gpulet_test_onnx_create();
    gpulet_test_onnx_input(m, "INPUT0", 1, "N,16");
    gpulet_test_onnx_output(m, "OUTPUT0", 1, "N,16");
    gpulet_test_onnx_node(m, "Frobnicate", domain, "INPUT0", "OUTPUT0");
    finish(m, path);
}
