#include "proto/onnx_file.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "proto/utf8.h"

/* Wire types of protobuf. */
enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

/* Field numbers of onnx.proto. */
enum {
    MODEL_IR_VERSION = 1,
    MODEL_GRAPH = 7,
    MODEL_OPSET_IMPORT = 8,
    OPSET_DOMAIN = 1,
    OPSET_VERSION = 2,
    GRAPH_INITIALIZER = 5,
    GRAPH_INPUT = 11,
    GRAPH_OUTPUT = 12,
    GRAPH_SPARSE_INITIALIZER = 15,
    TENSOR_NAME = 8,
    SPARSE_VALUES = 1,
    VALUE_NAME = 1,
    VALUE_TYPE = 2,
    TYPE_TENSOR = 1,
    TYPE_SEQUENCE = 4,
    TYPE_OPTIONAL = 9,
    TENSOR_TYPE_ELEM = 1,
    TENSOR_TYPE_SHAPE = 2,
    SHAPE_DIM = 1,
    DIM_VALUE = 1,
    DIM_PARAM = 2
};

/* A message, or a string, inside the file. */
typedef struct span {
    const uint8_t *data;
    size_t size;
} span_t;

typedef struct field {
    uint64_t number;
    unsigned wire;
    uint64_t varint;
    span_t bytes; /* WIRE_BYTES */
} field_t;

typedef struct names {
    span_t *list; /* owned */
    size_t count;
} names_t;

typedef struct file_reader {
    const uint8_t *begin;
    names_t initializers;
    span_t graph;
    bool graph_seen;
    gpulet_error_t *err;
} file_reader_t;

static gpulet_status_t fail_at(const file_reader_t *f, const uint8_t *at, const char *why)
{
    return gpulet_fail(f->err, GPULET_E_INVALID, "not an ONNX model: %s at byte %zu", why,
                       (size_t)(at - f->begin));
}

static gpulet_status_t fail_memory(const file_reader_t *f)
{
    return gpulet_fail(f->err, GPULET_E_NOMEM, "out of memory");
}

/* Takes a varint off *in; false when it is cut off or longer than 64 bits. */
static bool take_varint(uint64_t *out, span_t *in)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && in->size > 0; shift += 7) {
        uint8_t byte = *in->data;
        in->data++;
        in->size--;
        if (shift == 63 && byte > 1)
            return false;
        value |= (uint64_t)(byte & 0x7fU) << shift;
        if (byte < 0x80) {
            *out = value;
            return true;
        }
    }
    return false;
}

/* Takes the next field off *in, which is not empty. */
static gpulet_status_t take_field(const file_reader_t *f, field_t *out, span_t *in)
{
    const uint8_t *at = in->data;
    uint64_t key = 0;
    uint64_t size = 0;
    memset(out, 0, sizeof(*out));
    if (!take_varint(&key, in) || key >> 3 == 0 || key >> 32 != 0)
        return fail_at(f, at, "no field begins");
    out->number = key >> 3;
    out->wire = (unsigned)(key & 7U);
    switch (out->wire) {
    case WIRE_VARINT:
        return take_varint(&out->varint, in) ? GPULET_OK : fail_at(f, at, "a number is cut off");
    case WIRE_FIXED64:
    case WIRE_FIXED32:
        size = out->wire == WIRE_FIXED64 ? 8 : 4;
        break;
    case WIRE_BYTES:
        if (!take_varint(&size, in))
            return fail_at(f, at, "a length is cut off");
        break;
    default:
        return fail_at(f, at, "unknown kind of field");
    }
    if (size > in->size)
        return fail_at(f, at, "a field is longer than what holds it");
    out->bytes = (span_t){in->data, (size_t)size};
    in->data += size;
    in->size -= (size_t)size;
    return GPULET_OK;
}

/* Whether the field is that one. A known number with another kind is an error that the caller sees
 * by *st. */
static bool is_field(const file_reader_t *f, const field_t *field, uint64_t number, unsigned wire,
                     gpulet_status_t *st)
{
    if (field->number != number || *st != GPULET_OK)
        return false;
    if (field->wire == wire)
        return true;
    *st = gpulet_fail(f->err, GPULET_E_INVALID, "not an ONNX model: field %u has the wrong kind",
                      (unsigned)number);
    return false;
}

static int compare_spans(const void *a, const void *b)
{
    const span_t *x = a;
    const span_t *y = b;
    size_t size = x->size < y->size ? x->size : y->size;
    int order = size > 0 ? memcmp(x->data, y->data, size) : 0;
    if (order != 0)
        return order;
    return (x->size > y->size) - (x->size < y->size);
}

static gpulet_status_t add_name(file_reader_t *f, span_t name)
{
    names_t *names = &f->initializers;
    if ((names->count & (names->count - 1)) == 0) {
        size_t capacity = names->count == 0 ? 1 : names->count * 2;
        span_t *list = realloc(names->list, capacity * sizeof(*list));
        if (list == NULL)
            return fail_memory(f);
        names->list = list;
    }
    names->list[names->count++] = name;
    return GPULET_OK;
}

/* A TensorProto: only its name. */
static gpulet_status_t read_initializer(file_reader_t *f, span_t in)
{
    span_t name = {NULL, 0};
    while (in.size > 0) {
        field_t field;
        gpulet_status_t st = take_field(f, &field, &in);
        if (st == GPULET_OK && is_field(f, &field, TENSOR_NAME, WIRE_BYTES, &st))
            name = field.bytes;
        if (st != GPULET_OK)
            return st;
    }
    return name.size > 0 ? add_name(f, name) : GPULET_OK;
}

static gpulet_status_t read_sparse_initializer(file_reader_t *f, span_t in)
{
    while (in.size > 0) {
        field_t field;
        gpulet_status_t st = take_field(f, &field, &in);
        if (st == GPULET_OK && is_field(f, &field, SPARSE_VALUES, WIRE_BYTES, &st))
            st = read_initializer(f, field.bytes);
        if (st != GPULET_OK)
            return st;
    }
    return GPULET_OK;
}

static gpulet_status_t read_initializers(file_reader_t *f)
{
    span_t in = f->graph;
    while (in.size > 0) {
        field_t field;
        gpulet_status_t st = take_field(f, &field, &in);
        if (st == GPULET_OK && is_field(f, &field, GRAPH_INITIALIZER, WIRE_BYTES, &st))
            st = read_initializer(f, field.bytes);
        if (st == GPULET_OK && is_field(f, &field, GRAPH_SPARSE_INITIALIZER, WIRE_BYTES, &st))
            st = read_sparse_initializer(f, field.bytes);
        if (st != GPULET_OK)
            return st;
    }
    if (f->initializers.count > 1)
        qsort(f->initializers.list, f->initializers.count, sizeof(span_t), compare_spans);
    return GPULET_OK;
}

static bool is_initializer(const file_reader_t *f, span_t name)
{
    return f->initializers.count > 0 && bsearch(&name, f->initializers.list, f->initializers.count,
                                                sizeof(span_t), compare_spans) != NULL;
}

/* What a ValueInfoProto says. */
typedef struct value_info {
    span_t name;
    bool type_seen; /* there is a type at all */
    bool tensor;    /* and it is that of a tensor */
    bool shape_seen;
    bool rank_excess; /* more dimensions than a shape holds */
    uint64_t elem_type;
    gpulet_shape_t shape;
} value_info_t;

static gpulet_status_t read_dim(file_reader_t *f, value_info_t *out, span_t in)
{
    int64_t dim = -1;
    while (in.size > 0) {
        field_t field;
        gpulet_status_t st = take_field(f, &field, &in);
        if (st == GPULET_OK && is_field(f, &field, DIM_VALUE, WIRE_VARINT, &st))
            dim = (int64_t)field.varint < 0 ? -1 : (int64_t)field.varint;
        if (st == GPULET_OK && is_field(f, &field, DIM_PARAM, WIRE_BYTES, &st))
            dim = -1;
        if (st != GPULET_OK)
            return st;
    }
    if (out->shape.rank == GPULET_RANK_MAX) {
        out->rank_excess = true;
        return GPULET_OK;
    }
    out->shape.dims[out->shape.rank++] = dim;
    return GPULET_OK;
}

static gpulet_status_t read_shape(file_reader_t *f, value_info_t *out, span_t in)
{
    out->shape_seen = true;
    while (in.size > 0) {
        field_t field;
        gpulet_status_t st = take_field(f, &field, &in);
        if (st == GPULET_OK && is_field(f, &field, SHAPE_DIM, WIRE_BYTES, &st))
            st = read_dim(f, out, field.bytes);
        if (st != GPULET_OK)
            return st;
    }
    return GPULET_OK;
}

static gpulet_status_t read_tensor_type(file_reader_t *f, value_info_t *out, span_t in)
{
    out->tensor = true;
    while (in.size > 0) {
        field_t field;
        gpulet_status_t st = take_field(f, &field, &in);
        if (st == GPULET_OK && is_field(f, &field, TENSOR_TYPE_ELEM, WIRE_VARINT, &st))
            out->elem_type = field.varint;
        if (st == GPULET_OK && is_field(f, &field, TENSOR_TYPE_SHAPE, WIRE_BYTES, &st))
            st = read_shape(f, out, field.bytes);
        if (st != GPULET_OK)
            return st;
    }
    return GPULET_OK;
}

static gpulet_status_t read_type(file_reader_t *f, value_info_t *out, span_t in)
{
    while (in.size > 0) {
        field_t field;
        gpulet_status_t st = take_field(f, &field, &in);
        bool value = field.number == TYPE_TENSOR ||
                     (field.number >= TYPE_SEQUENCE && field.number <= TYPE_OPTIONAL &&
                      field.wire == WIRE_BYTES);
        out->type_seen = out->type_seen || (st == GPULET_OK && value && field.number != 6);
        if (st == GPULET_OK && is_field(f, &field, TYPE_TENSOR, WIRE_BYTES, &st))
            st = read_tensor_type(f, out, field.bytes);
        if (st != GPULET_OK)
            return st;
    }
    return GPULET_OK;
}

static gpulet_status_t read_value_info(file_reader_t *f, value_info_t *out, span_t in)
{
    const uint8_t *at = in.data;
    memset(out, 0, sizeof(*out));
    while (in.size > 0) {
        field_t field;
        gpulet_status_t st = take_field(f, &field, &in);
        if (st == GPULET_OK && is_field(f, &field, VALUE_NAME, WIRE_BYTES, &st))
            out->name = field.bytes;
        if (st == GPULET_OK && is_field(f, &field, VALUE_TYPE, WIRE_BYTES, &st))
            st = read_type(f, out, field.bytes);
        if (st != GPULET_OK)
            return st;
    }
    if (out->name.size == 0 || memchr(out->name.data, '\0', out->name.size) != NULL ||
        !gpulet_utf8_valid((const char *)out->name.data, out->name.size))
        return fail_at(f, at, "an input or output without a proper name");
    return GPULET_OK;
}

/* Whether gpulet can hold the value; errors name it. */
static gpulet_status_t check_value_info(const file_reader_t *f, const value_info_t *info,
                                        bool input, gpulet_datatype_t type)
{
    const char *why = NULL;
    if (info->name.size > GPULET_TENSOR_NAME_MAX)
        why = "its name is too long";
    else if (info->type_seen && !info->tensor)
        why = "it is no tensor";
    else if (input && !info->tensor)
        why = "its type is not declared";
    else if (info->tensor && type == GPULET_DATATYPE_INVALID && (input || info->elem_type != 0))
        why = "its datatype is unknown";
    else if (info->rank_excess)
        why = "it has too many dimensions";
    else if (input && !info->shape_seen)
        why = "its number of dimensions is not declared";
    if (why == NULL)
        return GPULET_OK;
    int shown = info->name.size < 200 ? (int)info->name.size : 200;
    return gpulet_fail(f->err, GPULET_E_UNSUPPORTED, "%s '%.*s': %s (ONNX element type %llu)",
                       input ? "input" : "output", shown, (const char *)info->name.data, why,
                       (unsigned long long)info->elem_type);
}

static gpulet_status_t add_spec(file_reader_t *f, gpulet_model_io_t *io, const value_info_t *info,
                                bool input)
{
    gpulet_tensor_spec_t **list = input ? &io->inputs : &io->outputs;
    uint32_t *count = input ? &io->inputs_count : &io->outputs_count;
    gpulet_datatype_t type = info->elem_type <= 1000
                                 ? gpulet_datatype_from_onnx((int)info->elem_type)
                                 : GPULET_DATATYPE_INVALID;
    gpulet_status_t st = check_value_info(f, info, input, type);
    if (st != GPULET_OK)
        return st;
    if (*count == GPULET_MODEL_IO_MAX)
        return gpulet_fail(f->err, GPULET_E_UNSUPPORTED, "the model has more than %d %s",
                           GPULET_MODEL_IO_MAX, input ? "inputs" : "outputs");
    if (*list == NULL && (*list = calloc(GPULET_MODEL_IO_MAX, sizeof(**list))) == NULL)
        return fail_memory(f);
    gpulet_tensor_spec_t *spec = &(*list)[(*count)++];
    assert(info->name.data != NULL);
    memcpy(spec->name, info->name.data, info->name.size);
    spec->type = type;
    spec->shape = info->shape;
    return GPULET_OK;
}

static gpulet_status_t read_graph(file_reader_t *f, gpulet_model_io_t *io)
{
    span_t in = f->graph;
    gpulet_status_t st = read_initializers(f);
    while (st == GPULET_OK && in.size > 0) {
        field_t field;
        value_info_t info;
        st = take_field(f, &field, &in);
        bool input = st == GPULET_OK && is_field(f, &field, GRAPH_INPUT, WIRE_BYTES, &st);
        bool output = st == GPULET_OK && is_field(f, &field, GRAPH_OUTPUT, WIRE_BYTES, &st);
        if (st != GPULET_OK || (!input && !output))
            continue;
        st = read_value_info(f, &info, field.bytes);
        if (st == GPULET_OK && (output || !is_initializer(f, info.name)))
            st = add_spec(f, io, &info, input);
    }
    return st;
}

static gpulet_status_t read_opset(file_reader_t *f, int64_t *opset, span_t in)
{
    int64_t version = 0;
    span_t domain = {NULL, 0};
    while (in.size > 0) {
        field_t field;
        gpulet_status_t st = take_field(f, &field, &in);
        if (st == GPULET_OK && is_field(f, &field, OPSET_DOMAIN, WIRE_BYTES, &st))
            domain = field.bytes;
        if (st == GPULET_OK && is_field(f, &field, OPSET_VERSION, WIRE_VARINT, &st))
            version = (int64_t)field.varint;
        if (st != GPULET_OK)
            return st;
    }
    if (domain.size == 0 || (domain.size == 7 && memcmp(domain.data, "ai.onnx", 7) == 0))
        *opset = version;
    return GPULET_OK;
}

static gpulet_status_t read_model(file_reader_t *f, gpulet_onnx_info_t *info, span_t in)
{
    while (in.size > 0) {
        const uint8_t *at = in.data;
        field_t field;
        gpulet_status_t st = take_field(f, &field, &in);
        if (st == GPULET_OK && is_field(f, &field, MODEL_IR_VERSION, WIRE_VARINT, &st))
            info->ir_version = (int64_t)field.varint;
        if (st == GPULET_OK && is_field(f, &field, MODEL_OPSET_IMPORT, WIRE_BYTES, &st))
            st = read_opset(f, &info->opset, field.bytes);
        if (st == GPULET_OK && is_field(f, &field, MODEL_GRAPH, WIRE_BYTES, &st)) {
            if (f->graph_seen)
                st = fail_at(f, at, "a second graph");
            f->graph_seen = true;
            f->graph = field.bytes;
        }
        if (st != GPULET_OK)
            return st;
    }
    if (!f->graph_seen)
        return fail_at(f, in.data, "no graph");
    return read_graph(f, &info->io);
}

gpulet_status_t gpulet_onnx_read(gpulet_onnx_info_t *out, const void *data, size_t size,
                                 gpulet_error_t *err)
{
    gpulet_onnx_info_t info;
    assert(out != NULL && (data != NULL || size == 0));
    memset(&info, 0, sizeof(info));
    file_reader_t reader = {.begin = data, .err = err};
    gpulet_status_t st = read_model(&reader, &info, (span_t){data, size});
    free(reader.initializers.list);
    if (st != GPULET_OK) {
        gpulet_model_io_deinit(&info.io);
        return st;
    }
    *out = info;
    return GPULET_OK;
}
