#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/json_reader.h"
#include "proto/oip.h"

static const char not_json[] = "failed to parse the request JSON buffer";

typedef struct request_parser {
    gpulet_json_reader_t reader;
    gpulet_oip_request_t *request;
    uint32_t tensors_max;
    gpulet_error_t *err;
} request_parser_t;

/* What an object's parameters belong to: exactly one of the pointers is set. */
typedef struct parameter_owner {
    gpulet_oip_request_t *request;
    gpulet_oip_input_t *input;
    gpulet_oip_output_t *output;
    const char *name; /* of the tensor, "" while it is not known */
} parameter_owner_t;

static gpulet_json_token_t next(request_parser_t *p)
{
    return gpulet_json_next(&p->reader);
}

static gpulet_status_t fail_json(request_parser_t *p)
{
    return gpulet_json_fail(&p->reader, not_json, p->err);
}

/* The last token is not what `what` must be: a syntax error if it is one. */
static gpulet_status_t fail_kind(request_parser_t *p, const char *what, const char *expected)
{
    if (p->reader.token == GPULET_JSON_ERROR)
        return fail_json(p);
    return gpulet_fail(p->err, GPULET_E_INVALID, "unable to parse '%s': expected %s", what,
                       expected);
}

static gpulet_status_t skip(request_parser_t *p)
{
    return gpulet_json_skip(&p->reader) ? GPULET_OK : fail_json(p);
}

static gpulet_status_t read_u64(request_parser_t *p, uint64_t *out, const char *what)
{
    if (next(p) != GPULET_JSON_NUMBER || !gpulet_decimal_u64(out, &p->reader.number))
        return fail_kind(p, what, "an unsigned integer");
    return GPULET_OK;
}

static gpulet_status_t read_bool(request_parser_t *p, bool *out, const char *what)
{
    gpulet_json_token_t token = next(p);
    if (token != GPULET_JSON_TRUE && token != GPULET_JSON_FALSE)
        return fail_kind(p, what, "true or false");
    *out = token == GPULET_JSON_TRUE;
    return GPULET_OK;
}

static gpulet_status_t read_text(request_parser_t *p, char *out, size_t out_size, const char *what)
{
    if (next(p) != GPULET_JSON_STRING)
        return fail_kind(p, what, "a string");
    if (p->reader.unescaped_size >= out_size)
        return gpulet_fail(p->err, GPULET_E_INVALID, "unable to parse '%s': longer than %zu bytes",
                           what, out_size - 1);
    if (!gpulet_json_copy(out, out_size, &p->reader))
        return gpulet_fail(p->err, GPULET_E_INVALID,
                           "unable to parse '%s': there is a zero byte in it", what);
    return GPULET_OK;
}

static bool key_begins_with(const request_parser_t *p, const char *prefix)
{
    char key[GPULET_JSON_KEY_SIZE_MAX + 1];
    return gpulet_json_copy(key, sizeof(key), &p->reader) &&
           strncmp(key, prefix, strlen(prefix)) == 0;
}

static gpulet_status_t read_request_parameter(request_parser_t *p, bool *known,
                                              gpulet_oip_request_t *request)
{
    const gpulet_json_reader_t *r = &p->reader;
    *known = true;
    if (gpulet_json_equals(r, "priority")) {
        request->priority_given = true;
        return read_u64(p, &request->priority, "priority");
    }
    if (gpulet_json_equals(r, "timeout"))
        return read_u64(p, &request->timeout_us, "timeout");
    if (gpulet_json_equals(r, "binary_data_output"))
        return read_bool(p, &request->binary_data_output, "binary_data_output");
    if (gpulet_json_equals(r, "sequence_id") || gpulet_json_equals(r, "sequence_start") ||
        gpulet_json_equals(r, "sequence_end"))
        return gpulet_fail(p->err, GPULET_E_UNSUPPORTED, "sequence parameters are not supported");
    *known = false;
    return GPULET_OK;
}

static gpulet_status_t read_output_parameter(request_parser_t *p, bool *known,
                                             gpulet_oip_output_t *output)
{
    uint64_t classes = 0;
    *known = true;
    if (gpulet_json_equals(&p->reader, "binary_data")) {
        output->binary_given = true;
        return read_bool(p, &output->binary, "binary_data");
    }
    if (gpulet_json_equals(&p->reader, "classification")) {
        gpulet_status_t st = read_u64(p, &classes, "classification");
        if (st == GPULET_OK)
            output->classification = classes > UINT32_MAX ? UINT32_MAX : (uint32_t)classes;
        return st;
    }
    *known = false;
    return GPULET_OK;
}

/* The last token is a key of owner's parameters. */
static gpulet_status_t read_parameter(request_parser_t *p, const parameter_owner_t *owner)
{
    bool known = false;
    gpulet_status_t st = GPULET_OK;
    assert(owner->request != NULL || owner->input != NULL || owner->output != NULL);
    if (key_begins_with(p, "triton_"))
        return gpulet_fail(p->err, GPULET_E_INVALID,
                           "parameter keys starting with 'triton_' are reserved for Triton usage "
                           "and should not be specified.");
    if (owner->request == NULL && key_begins_with(p, "shared_memory_"))
        return gpulet_fail(p->err, GPULET_E_INVALID, "shared memory is not supported for %s '%s'",
                           owner->input != NULL ? "input" : "output", owner->name);
    if (owner->request != NULL) {
        st = read_request_parameter(p, &known, owner->request);
    } else if (owner->output != NULL) {
        st = read_output_parameter(p, &known, owner->output);
    } else if (gpulet_json_equals(&p->reader, "binary_data_size")) {
        known = true;
        owner->input->binary = true;
        st = read_u64(p, &owner->input->binary_size, "binary_data_size");
    }
    if (st != GPULET_OK || known)
        return st;
    gpulet_json_token_t token = next(p);
    if (token == GPULET_JSON_OBJECT_BEGIN || token == GPULET_JSON_ARRAY_BEGIN ||
        token == GPULET_JSON_ERROR)
        return fail_kind(p, "parameters", "values that are strings, numbers or booleans");
    return GPULET_OK;
}

static gpulet_status_t read_parameters(request_parser_t *p, const parameter_owner_t *owner)
{
    gpulet_json_token_t token = next(p);
    if (token == GPULET_JSON_NULL)
        return GPULET_OK;
    if (token != GPULET_JSON_OBJECT_BEGIN)
        return fail_kind(p, "parameters", "an object");
    while ((token = next(p)) == GPULET_JSON_KEY) {
        gpulet_status_t st = read_parameter(p, owner);
        if (st != GPULET_OK)
            return st;
    }
    return token == GPULET_JSON_OBJECT_END ? GPULET_OK : fail_json(p);
}

static gpulet_status_t read_shape(request_parser_t *p, gpulet_shape_t *shape)
{
    gpulet_json_token_t token = next(p);
    shape->rank = 0;
    if (token != GPULET_JSON_ARRAY_BEGIN)
        return fail_kind(p, "shape", "an array of integers");
    while ((token = next(p)) == GPULET_JSON_NUMBER) {
        int64_t dim = 0;
        if (!gpulet_decimal_i64(&dim, &p->reader.number))
            return fail_kind(p, "shape", "an array of integers");
        if (dim < 0)
            return gpulet_fail(p->err, GPULET_E_INVALID,
                               "unable to parse 'shape': dimension %lld is negative",
                               (long long)dim);
        if (shape->rank == GPULET_RANK_MAX)
            return gpulet_fail(p->err, GPULET_E_INVALID,
                               "unable to parse 'shape': more than %d dimensions", GPULET_RANK_MAX);
        shape->dims[shape->rank++] = dim;
    }
    return token == GPULET_JSON_ARRAY_END ? GPULET_OK
                                          : fail_kind(p, "shape", "an array of integers");
}

static gpulet_status_t read_datatype(request_parser_t *p, gpulet_datatype_t *out)
{
    char name[16];
    if (next(p) != GPULET_JSON_STRING)
        return fail_kind(p, "datatype", "a string");
    *out = GPULET_DATATYPE_INVALID;
    if (gpulet_json_copy(name, sizeof(name), &p->reader))
        *out = gpulet_datatype_parse(name, strlen(name));
    if (*out != GPULET_DATATYPE_INVALID)
        return GPULET_OK;
    int shown = p->reader.size < 32 ? (int)p->reader.size : 32;
    return gpulet_fail(p->err, GPULET_E_INVALID, "unable to parse 'datatype': '%.*s' is none",
                       shown, p->reader.text);
}

static gpulet_status_t read_data(request_parser_t *p, gpulet_oip_input_t *input)
{
    gpulet_json_token_t token = next(p);
    if (token == GPULET_JSON_NULL)
        return GPULET_OK;
    if (token != GPULET_JSON_ARRAY_BEGIN)
        return fail_kind(p, "data", "an array");
    input->json_data = p->reader.at - 1;
    gpulet_status_t st = skip(p);
    if (st == GPULET_OK)
        input->json_data_size = (size_t)(p->reader.at - input->json_data);
    return st;
}

static gpulet_status_t read_input_member(request_parser_t *p, gpulet_oip_input_t *input,
                                         unsigned *seen)
{
    const gpulet_json_reader_t *r = &p->reader;
    if (gpulet_json_equals(r, "name")) {
        *seen |= 1U;
        return read_text(p, input->name, sizeof(input->name), "name");
    }
    if (gpulet_json_equals(r, "shape")) {
        *seen |= 2U;
        return read_shape(p, &input->shape);
    }
    if (gpulet_json_equals(r, "datatype")) {
        *seen |= 4U;
        return read_datatype(p, &input->type);
    }
    if (gpulet_json_equals(r, "parameters")) {
        parameter_owner_t owner = {.input = input, .name = input->name};
        return read_parameters(p, &owner);
    }
    if (gpulet_json_equals(r, "data"))
        return read_data(p, input);
    (void)next(p);
    return skip(p);
}

/* After '{'. */
static gpulet_status_t read_input(request_parser_t *p, gpulet_oip_input_t *input)
{
    static const char *const required[] = {"name", "shape", "datatype"};
    gpulet_json_token_t token;
    unsigned seen = 0;
    while ((token = next(p)) == GPULET_JSON_KEY) {
        gpulet_status_t st = read_input_member(p, input, &seen);
        if (st != GPULET_OK)
            return st;
    }
    if (token != GPULET_JSON_OBJECT_END)
        return fail_json(p);
    for (unsigned i = 0; i < 3; i++) {
        if ((seen >> i & 1U) == 0)
            return gpulet_fail(p->err, GPULET_E_INVALID,
                               "unable to parse 'inputs': input %s%s%s has no '%s'",
                               seen & 1U ? "'" : "", seen & 1U ? input->name : "without a name",
                               seen & 1U ? "'" : "", required[i]);
    }
    return GPULET_OK;
}

/* After '{'. */
static gpulet_status_t read_output(request_parser_t *p, gpulet_oip_output_t *output)
{
    gpulet_json_token_t token;
    bool named = false;
    while ((token = next(p)) == GPULET_JSON_KEY) {
        gpulet_status_t st;
        if (gpulet_json_equals(&p->reader, "name")) {
            named = true;
            st = read_text(p, output->name, sizeof(output->name), "name");
        } else if (gpulet_json_equals(&p->reader, "parameters")) {
            parameter_owner_t owner = {.output = output, .name = output->name};
            st = read_parameters(p, &owner);
        } else {
            (void)next(p);
            st = skip(p);
        }
        if (st != GPULET_OK)
            return st;
    }
    if (token != GPULET_JSON_OBJECT_END)
        return fail_json(p);
    if (!named)
        return gpulet_fail(p->err, GPULET_E_INVALID,
                           "unable to parse 'outputs': an output has no 'name'");
    return GPULET_OK;
}

/* Room for one more of count elements, zeroed; NULL when there is no memory. Capacities are powers
 * of two. */
static void *grow(void *array, uint32_t count, size_t element_size)
{
    char *grown = array;
    if ((count & (count - 1)) == 0) {
        size_t capacity = count == 0 ? 1 : (size_t)count * 2;
        grown = realloc(array, capacity * element_size);
        if (grown == NULL)
            return NULL;
    }
    memset(grown + count * element_size, 0, element_size);
    return grown;
}

static gpulet_status_t read_tensor(request_parser_t *p, bool inputs)
{
    gpulet_oip_request_t *request = p->request;
    uint32_t *count = inputs ? &request->inputs_count : &request->outputs_count;
    if (*count == p->tensors_max)
        return gpulet_fail(p->err, GPULET_E_INVALID, "unable to parse '%s': more than %u",
                           inputs ? "inputs" : "outputs", p->tensors_max);
    void *array = inputs ? (void *)request->inputs : (void *)request->outputs;
    array = grow(array, *count, inputs ? sizeof(*request->inputs) : sizeof(*request->outputs));
    if (array == NULL)
        return gpulet_fail(p->err, GPULET_E_NOMEM, "out of memory");
    uint32_t index = (*count)++;
    if (inputs) {
        request->inputs = array;
        return read_input(p, &request->inputs[index]);
    }
    request->outputs = array;
    return read_output(p, &request->outputs[index]);
}

static gpulet_status_t read_tensors(request_parser_t *p, bool inputs)
{
    const char *what = inputs ? "inputs" : "outputs";
    gpulet_json_token_t token = next(p);
    if (token == GPULET_JSON_NULL && !inputs)
        return GPULET_OK;
    if (token != GPULET_JSON_ARRAY_BEGIN)
        return fail_kind(p, what, "an array of objects");
    while ((token = next(p)) == GPULET_JSON_OBJECT_BEGIN) {
        gpulet_status_t st = read_tensor(p, inputs);
        if (st != GPULET_OK)
            return st;
    }
    return token == GPULET_JSON_ARRAY_END ? GPULET_OK : fail_kind(p, what, "an array of objects");
}

static gpulet_status_t read_id(request_parser_t *p)
{
    gpulet_json_reader_t *r = &p->reader;
    gpulet_json_token_t token = next(p);
    if (token == GPULET_JSON_NULL)
        return GPULET_OK;
    if (token != GPULET_JSON_STRING)
        return fail_kind(p, "id", "a string");
    if (!gpulet_json_copy(p->request->id, sizeof(p->request->id), r)) {
        p->request->id[0] = '\0';
        return gpulet_fail(p->err, GPULET_E_INVALID,
                           "unable to parse 'id': longer than %d bytes, or a zero byte in it",
                           GPULET_OIP_ID_MAX);
    }
    return GPULET_OK;
}

static gpulet_status_t read_document(request_parser_t *p)
{
    gpulet_json_token_t token = next(p);
    bool inputs = false;
    if (token != GPULET_JSON_OBJECT_BEGIN)
        return fail_kind(p, "request", "an object");
    while ((token = next(p)) == GPULET_JSON_KEY) {
        gpulet_status_t st;
        if (gpulet_json_equals(&p->reader, "id")) {
            st = read_id(p);
        } else if (gpulet_json_equals(&p->reader, "parameters")) {
            parameter_owner_t owner = {.request = p->request, .name = ""};
            st = read_parameters(p, &owner);
        } else if (gpulet_json_equals(&p->reader, "inputs")) {
            inputs = true;
            st = read_tensors(p, true);
        } else if (gpulet_json_equals(&p->reader, "outputs")) {
            st = read_tensors(p, false);
        } else {
            (void)next(p);
            st = skip(p);
        }
        if (st != GPULET_OK)
            return st;
    }
    if (token != GPULET_JSON_OBJECT_END || next(p) != GPULET_JSON_END)
        return fail_json(p);
    if (!inputs)
        return gpulet_fail(p->err, GPULET_E_INVALID,
                           "unable to parse 'inputs': the request has none");
    return GPULET_OK;
}

gpulet_status_t gpulet_oip_request_parse(gpulet_oip_request_t *out, const char *json,
                                         size_t json_size, const gpulet_oip_limits_t *limits,
                                         gpulet_error_t *err)
{
    request_parser_t parser;
    assert(out != NULL && limits != NULL && (json != NULL || json_size == 0));
    memset(out, 0, sizeof(*out));
    parser.request = out;
    parser.tensors_max = limits->tensors_max;
    parser.err = err;
    gpulet_json_init(&parser.reader, json != NULL ? json : "", json_size, limits->depth_max);
    gpulet_status_t st = read_document(&parser);
    if (st != GPULET_OK) {
        char id[GPULET_OIP_ID_MAX + 1];
        memcpy(id, out->id, sizeof(id));
        gpulet_oip_request_deinit(out);
        memcpy(out->id, id, sizeof(id)); /* lets the caller name the request in its answer */
    }
    return st;
}

void gpulet_oip_request_deinit(gpulet_oip_request_t *request)
{
    free(request->inputs);
    free(request->outputs);
    memset(request, 0, sizeof(*request));
}
