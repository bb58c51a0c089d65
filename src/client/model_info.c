#include "client/model_info.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "proto/oip.h"

enum { TIMEOUT_MS = 10000, ELEMENTS_MAX = 1 << 28 };

static gpulet_status_t read_tensor(gpulet_tensor_spec_t *out, const json_t *value)
{
    const char *name = json_string_value(json_object_get(value, "name"));
    const char *type = json_string_value(json_object_get(value, "datatype"));
    const json_t *shape = json_object_get(value, "shape");
    if (name == NULL || type == NULL || !json_is_array(shape) ||
        json_array_size(shape) > GPULET_RANK_MAX)
        return GPULET_E_INVALID;
    (void)snprintf(out->name, sizeof(out->name), "%s", name);
    out->type = gpulet_datatype_parse(type, strlen(type));
    out->shape.rank = (uint32_t)json_array_size(shape);
    for (uint32_t i = 0; i < out->shape.rank; i++) {
        const json_t *dim = json_array_get(shape, i);
        /* Some servers print 64-bit numbers as strings. */
        out->shape.dims[i] = json_is_string(dim) ? strtoll(json_string_value(dim), NULL, 10)
                                                 : json_integer_value(dim);
    }
    return out->type != GPULET_DATATYPE_INVALID ? GPULET_OK : GPULET_E_INVALID;
}

static gpulet_status_t read_tensors(gpulet_tensor_spec_t **out, uint32_t *count, const json_t *list)
{
    size_t size = json_array_size(list);
    if (!json_is_array(list) || size > GPULET_MODEL_IO_MAX)
        return GPULET_E_INVALID;
    *out = calloc(size > 0 ? size : 1, sizeof(**out));
    if (*out == NULL)
        return GPULET_E_NOMEM;
    *count = (uint32_t)size;
    for (size_t i = 0; i < size; i++) {
        gpulet_status_t st = read_tensor(&(*out)[i], json_array_get(list, i));
        if (st != GPULET_OK)
            return st;
    }
    return GPULET_OK;
}

static gpulet_status_t read_info(gpulet_model_info_t *out, const gpulet_buf_t *body,
                                 const char *model, gpulet_error_t *err)
{
    json_t *root = json_loadb(body->data, body->size, 0, NULL);
    gpulet_status_t st = root != NULL ? read_tensors(&out->io.inputs, &out->io.inputs_count,
                                                     json_object_get(root, "inputs"))
                                      : GPULET_E_INVALID;
    if (st == GPULET_OK)
        st = read_tensors(&out->io.outputs, &out->io.outputs_count,
                          json_object_get(root, "outputs"));
    json_decref(root);
    if (st == GPULET_OK)
        return st;
    gpulet_model_info_deinit(out);
    return gpulet_fail(err, st, "model '%s': the server's metadata is not what the protocol says",
                       model);
}

gpulet_status_t gpulet_model_info_fetch(gpulet_model_info_t *out, const gpulet_url_t *url,
                                        const char *model, gpulet_error_t *err)
{
    gpulet_buf_t path = GPULET_BUF_INIT;
    gpulet_buf_t body = GPULET_BUF_INIT;
    int http = 0;
    memset(out, 0, sizeof(*out));
    (void)snprintf(out->name, sizeof(out->name), "%s", model);
    gpulet_buf_append_str(&path, "/v2/models/");
    gpulet_url_append_segment(&path, model);
    gpulet_status_t st = path.failed ? gpulet_fail(err, GPULET_E_NOMEM, "out of memory")
                                     : gpulet_client_fetch(&http, &body, url, "GET", path.data,
                                                           NULL, 0, TIMEOUT_MS, err);
    if (st == GPULET_OK && http != 200)
        st = gpulet_fail(err, GPULET_E_NOT_FOUND, "model '%s': the server answers %d: %.200s",
                         model, http, body.size > 0 ? body.data : "");
    if (st == GPULET_OK)
        st = read_info(out, &body, model, err);
    gpulet_buf_deinit(&path);
    gpulet_buf_deinit(&body);
    return st;
}

void gpulet_model_info_deinit(gpulet_model_info_t *info)
{
    gpulet_model_io_deinit(&info->io);
}

/* "NAME:1,3,48,320;OTHER:1": the dimensions for `name`. False when there are none. */
static bool given_shape(gpulet_shape_t *out, const char *shapes, const char *name)
{
    size_t name_size = strlen(name);
    for (const char *at = shapes; at != NULL && *at != '\0';) {
        size_t size = strcspn(at, ";");
        if (size > name_size && memcmp(at, name, name_size) == 0 && at[name_size] == ':') {
            const char *dim = at + name_size + 1;
            out->rank = 0;
            while (dim < at + size && out->rank < GPULET_RANK_MAX) {
                char *end = NULL;
                out->dims[out->rank++] = strtoll(dim, &end, 10);
                dim = *end == ',' ? end + 1 : at + size;
            }
            return true;
        }
        at += size;
        at += *at == ';';
    }
    return false;
}

static gpulet_status_t fill_shape(gpulet_shape_t *out, const gpulet_tensor_spec_t *spec,
                                  const gpulet_request_shape_t *shape)
{
    uint64_t elements = 0;
    if (given_shape(out, shape->shapes, spec->name))
        return gpulet_shape_matches(&spec->shape, out) ? GPULET_OK : GPULET_E_INVALID;
    *out = spec->shape;
    for (uint32_t i = 0; i < out->rank; i++) {
        if (out->dims[i] < 0)
            out->dims[i] = i == 0 ? (int64_t)shape->batch : shape->dim;
    }
    gpulet_status_t st = gpulet_shape_elements(&elements, out);
    return st == GPULET_OK && elements <= ELEMENTS_MAX ? GPULET_OK : GPULET_E_TOO_LARGE;
}

static void append_element(gpulet_buf_t *out, gpulet_datatype_t type, gpulet_rng_t *rng)
{
    uint64_t whole = gpulet_rng_below(rng, 2);
    float f = (float)gpulet_rng_f64(rng);
    double d = gpulet_rng_f64(rng);
    char text[12];
    uint32_t length =
        (uint32_t)snprintf(text, sizeof(text), "%u", (unsigned)gpulet_rng_below(rng, 100000));
    switch (type) {
    case GPULET_DATATYPE_FP32:
        gpulet_buf_append(out, &f, sizeof(f));
        break;
    case GPULET_DATATYPE_FP64:
        gpulet_buf_append(out, &d, sizeof(d));
        break;
    case GPULET_DATATYPE_BYTES:
        gpulet_buf_append(out, &length, sizeof(length));
        gpulet_buf_append(out, text, length);
        break;
    default: /* little-endian whole numbers; a half float of 0 or 1 bits is a tiny number */
        gpulet_buf_append(out, &whole, gpulet_datatype_size(type));
        break;
    }
}

static void append_json(gpulet_buf_t *out, gpulet_datatype_t type, uint64_t elements,
                        gpulet_rng_t *rng)
{
    gpulet_buf_append_str(out, ",\"data\":[");
    for (uint64_t i = 0; i < elements; i++) {
        const char *comma = i > 0 ? "," : "";
        if (type == GPULET_DATATYPE_FP32 || type == GPULET_DATATYPE_FP64)
            gpulet_buf_printf(out, "%s%.6f", comma, gpulet_rng_f64(rng));
        else if (type == GPULET_DATATYPE_BYTES)
            gpulet_buf_printf(out, "%s\"%u\"", comma, (unsigned)gpulet_rng_below(rng, 100000));
        else if (type == GPULET_DATATYPE_BOOL)
            gpulet_buf_printf(out, "%s%s", comma, gpulet_rng_below(rng, 2) == 1 ? "true" : "false");
        else
            gpulet_buf_printf(out, "%s%u", comma, (unsigned)gpulet_rng_below(rng, 2));
    }
    gpulet_buf_append_char(out, ']');
}

static gpulet_status_t append_input(gpulet_buf_t *json, gpulet_buf_t *tail,
                                    const gpulet_tensor_spec_t *spec,
                                    const gpulet_request_shape_t *shape, bool binary,
                                    gpulet_rng_t *rng)
{
    gpulet_shape_t full;
    uint64_t elements = 0;
    gpulet_status_t st = fill_shape(&full, spec, shape);
    if (st != GPULET_OK || (st = gpulet_shape_elements(&elements, &full)) != GPULET_OK)
        return st;
    gpulet_buf_append_str(json, "{\"name\":");
    gpulet_json_string(json, spec->name, strlen(spec->name));
    gpulet_buf_printf(json, ",\"datatype\":\"%s\",\"shape\":[", gpulet_datatype_name(spec->type));
    for (uint32_t i = 0; i < full.rank; i++)
        gpulet_buf_printf(json, "%s%lld", i > 0 ? "," : "", (long long)full.dims[i]);
    gpulet_buf_append_char(json, ']');
    if (binary) {
        size_t before = tail->size;
        for (uint64_t i = 0; i < elements; i++)
            append_element(tail, spec->type, rng);
        gpulet_buf_printf(json, ",\"parameters\":{\"binary_data_size\":%zu}", tail->size - before);
    } else {
        append_json(json, spec->type, elements, rng);
    }
    gpulet_buf_append_char(json, '}');
    return GPULET_OK;
}

gpulet_status_t gpulet_request_make(gpulet_buf_t *out, const gpulet_model_info_t *info,
                                    const gpulet_url_t *url, const gpulet_request_shape_t *shape,
                                    bool binary, gpulet_rng_t *rng, gpulet_error_t *err)
{
    const bool v6 = strchr(url->host, ':') != NULL;
    gpulet_buf_t json = GPULET_BUF_INIT;
    gpulet_buf_t tail = GPULET_BUF_INIT;
    gpulet_status_t st = GPULET_OK;
    gpulet_buf_append_str(&json, "{\"inputs\":[");
    for (uint32_t i = 0; i < info->io.inputs_count && st == GPULET_OK; i++) {
        if (i > 0)
            gpulet_buf_append_char(&json, ',');
        st = append_input(&json, &tail, &info->io.inputs[i], shape, binary, rng);
        if (st != GPULET_OK)
            (void)gpulet_fail(
                err, st, "model '%s': input '%s': the shape does not fit the model or is too large",
                info->name, info->io.inputs[i].name);
    }
    gpulet_buf_append_str(&json, binary ? "],\"parameters\":{\"binary_data_output\":true}}" : "]}");
    gpulet_buf_printf(out, "POST %s/v2/models/", url->base);
    gpulet_url_append_segment(out, info->name);
    gpulet_buf_printf(out, "/infer HTTP/1.1\r\nHost: %s%s%s:%s\r\nUser-Agent: gpulet\r\n",
                      v6 ? "[" : "", url->host, v6 ? "]" : "", url->port);
    if (binary)
        gpulet_buf_printf(
            out,
            "Content-Type: application/octet-stream\r\nInference-Header-Content-Length: %zu\r\n",
            json.size);
    else
        gpulet_buf_append_str(out, "Content-Type: application/json\r\n");
    gpulet_buf_printf(out, "Content-Length: %zu\r\n\r\n", json.size + tail.size);
    gpulet_buf_append(out, json.data, json.size);
    gpulet_buf_append(out, tail.data, tail.size);
    if (st == GPULET_OK && (json.failed || tail.failed || out->failed))
        st = gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    gpulet_buf_deinit(&json);
    gpulet_buf_deinit(&tail);
    return st;
}
