/* The plan's JSON. It is written by hand, since figures need at least four decimals and must read
 * back exactly, and read with jansson. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "core/plan.h"
#include "core/profile.h"
#include "core/text.h"

enum { FILE_SIZE_MAX = 64 << 20, DECIMALS_MIN = 4, PATH_SIZE = 128 };

/* A writer that remembers whether a figure was no number, which JSON cannot say. */
typedef struct writer {
    gpulet_buf_t *out;
    bool not_finite;
} writer_t;

static void write_string(writer_t *w, const char *text)
{
    size_t len = strlen(text);
    gpulet_buf_append_char(w->out, '"');
    for (size_t i = 0; i < len;) {
        unsigned char c = (unsigned char)text[i];
        size_t step = gpulet_text_utf8(text + i, len - i);
        if (step == 0) /* such as the rest of a character where a fixed buffer ended */
            gpulet_buf_append_str(w->out, "\\ufffd");
        else if (c < 0x20)
            gpulet_buf_printf(w->out, "\\u%04x", c);
        else if (c == '"' || c == '\\')
            gpulet_buf_printf(w->out, "\\%c", c);
        else
            gpulet_buf_append(w->out, text + i, step);
        i += step == 0 ? 1 : step;
    }
    gpulet_buf_append_char(w->out, '"');
}

/* 829 is written as 829.0, 74.315 as 74.3150; what needs more digits has them all. */
static void write_f64(writer_t *w, double value)
{
    char text[GPULET_TEXT_NUMBER_SIZE];
    if (!isfinite(value)) {
        w->not_finite = true;
        return;
    }
    gpulet_buf_append_str(w->out, gpulet_text_number(text, value));
    if (strchr(text, 'e') != NULL)
        return;
    const char *point = strchr(text, '.');
    if (point == NULL) {
        gpulet_buf_append_str(w->out, ".0");
        return;
    }
    for (size_t decimals = strlen(point + 1); decimals < DECIMALS_MIN; decimals++)
        gpulet_buf_append_char(w->out, '0');
}

/* A count of devices or a cost: whole numbers stay whole, NAN is null. */
static void write_bound(writer_t *w, double value)
{
    if (isnan(value))
        gpulet_buf_append_str(w->out, "null");
    else if (value == floor(value) && fabs(value) < 1e15)
        gpulet_buf_printf(w->out, "%.0f", value);
    else
        write_f64(w, value);
}

static void write_key_f64(writer_t *w, const char *key, double value)
{
    gpulet_buf_printf(w->out, ", \"%s\": ", key);
    write_f64(w, value);
}

static void write_share(writer_t *w, const gpulet_plan_share_t *share)
{
    gpulet_buf_append_str(w->out, "\n     {\"model\": ");
    write_string(w, share->model);
    gpulet_buf_printf(w->out, ", \"batch\": %u, \"instances\": %u", share->batch, share->instances);
    write_key_f64(w, "rate_rps", share->rate_rps);
    write_key_f64(w, "capacity_rps", share->capacity_rps);
    write_key_f64(w, "latency_ms", share->latency_ms);
    write_key_f64(w, "interference", share->interference);
    write_key_f64(w, "worst_ms", share->worst_ms);
    gpulet_buf_append_char(w->out, '}');
}

static void write_gpulet(writer_t *w, const gpulet_plan_gpulet_t *gpulet)
{
    gpulet_buf_printf(w->out, "\n   {\"units\": %u, \"slot\": ", gpulet->units);
    if (gpulet->slot < 0)
        gpulet_buf_append_str(w->out, "null");
    else
        gpulet_buf_printf(w->out, "%d", gpulet->slot);
    write_key_f64(w, "duty_ms", gpulet->duty_ms);
    gpulet_buf_append_str(w->out, ", \"models\": [");
    for (size_t i = 0; i < gpulet->shares_count; i++) {
        gpulet_buf_append_str(w->out, i == 0 ? "" : ",");
        write_share(w, &gpulet->shares[i]);
    }
    gpulet_buf_append_str(w->out, "]}");
}

static void write_device(writer_t *w, const gpulet_plan_device_t *device)
{
    gpulet_buf_append_str(w->out, "\n  {\"type\": ");
    write_string(w, device->type);
    gpulet_buf_printf(w->out, ", \"index\": %u, \"gpulets\": [", device->index);
    for (size_t i = 0; i < device->gpulets_count; i++) {
        gpulet_buf_append_str(w->out, i == 0 ? "" : ",");
        write_gpulet(w, &device->gpulets[i]);
    }
    gpulet_buf_append_str(w->out, "]}");
}

static void write_model(writer_t *w, const gpulet_plan_model_t *model)
{
    gpulet_buf_append_str(w->out, "\n  {\"model\": ");
    write_string(w, model->model);
    write_key_f64(w, "rate_rps", model->rate_rps);
    write_key_f64(w, "slo_ms", model->slo_ms);
    write_key_f64(w, "capacity_rps", model->capacity_rps);
    gpulet_buf_append_char(w->out, '}');
}

static void write_head(writer_t *w, const gpulet_plan_t *plan)
{
    gpulet_buf_append_str(w->out, "{\"planner\": ");
    write_string(w, plan->planner);
    gpulet_buf_printf(w->out, ", \"feasible\": %s, \"devices_used\": %u",
                      plan->feasible ? "true" : "false", plan->devices_used);
    if (!isnan(plan->cost))
        write_key_f64(w, "cost", plan->cost);
    gpulet_buf_append_str(w->out, ", \"lower_bound\": ");
    write_bound(w, plan->lower_bound);
    if (!isnan(plan->lower_bound_devices)) {
        gpulet_buf_append_str(w->out, ", \"lower_bound_devices\": ");
        write_bound(w, plan->lower_bound_devices);
    }
    gpulet_buf_printf(w->out, ", \"proved_optimal\": %s", plan->proved_optimal ? "true" : "false");
    write_key_f64(w, "elapsed_ms", plan->elapsed_ms);
}

gpulet_status_t gpulet_plan_format_json(gpulet_buf_t *out, const gpulet_plan_t *plan)
{
    size_t size_before = out->size;
    writer_t w = {out, false};
    write_head(&w, plan);
    gpulet_buf_append_str(out, ",\n \"models\": [");
    for (size_t i = 0; i < plan->models_count; i++) {
        gpulet_buf_append_str(out, i == 0 ? "" : ",");
        write_model(&w, &plan->models[i]);
    }
    gpulet_buf_append_str(out, "],\n \"devices\": [");
    for (size_t i = 0; i < plan->devices_count; i++) {
        gpulet_buf_append_str(out, i == 0 ? "" : ",");
        write_device(&w, &plan->devices[i]);
    }
    gpulet_buf_append_str(out, "],\n \"reason\": ");
    if (plan->reason[0] == '\0')
        gpulet_buf_append_str(out, "null");
    else
        write_string(&w, plan->reason);
    gpulet_buf_append_str(out, "}\n");
    if (w.not_finite && !out->failed) {
        out->size = size_before;
        out->data[size_before] = '\0';
        return GPULET_E_INVALID;
    }
    return gpulet_buf_status(out);
}

/* Where the reader stands, for errors: "devices[0].gpulets[1]." */
typedef struct reader {
    const char *file;
    char path[PATH_SIZE];
    gpulet_error_t *err;
} reader_t;

static const char *found_text(char text[GPULET_TEXT_EXCERPT_SIZE], const json_t *value)
{
    if (value == NULL)
        return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return gpulet_text_excerpt(text, json_string_value(value), json_string_length(value));
    case JSON_INTEGER:
        (void)snprintf(text, GPULET_TEXT_EXCERPT_SIZE, "%lld",
                       (long long)json_integer_value(value));
        return text;
    case JSON_REAL:
        return gpulet_text_number(text, json_real_value(value));
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        break;
    }
    return "null";
}

static gpulet_status_t fail_field(const reader_t *r, const char *key, const char *expected,
                                  const json_t *value)
{
    char found[GPULET_TEXT_EXCERPT_SIZE];
    return gpulet_fail(r->err, GPULET_E_INVALID, "%s: %s%s: expected %s, found %s", r->file,
                       r->path, key, expected, found_text(found, value));
}

static gpulet_status_t read_f64(const reader_t *r, const json_t *object, const char *key,
                                double *out)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value) ||
        !gpulet_text_in_range(&gpulet_text_natural, json_number_value(value)))
        return fail_field(r, key, gpulet_text_natural.expected, value);
    *out = json_number_value(value);
    return GPULET_OK;
}

/* NAN where the key is absent (only when optional) or null. */
static gpulet_status_t read_bound(const reader_t *r, const json_t *object, const char *key,
                                  bool optional, double *out)
{
    const json_t *value = json_object_get(object, key);
    *out = NAN;
    if (json_is_null(value) || (optional && value == NULL))
        return GPULET_OK;
    return read_f64(r, object, key, out);
}

static gpulet_status_t read_u32(const reader_t *r, const json_t *object, const char *key,
                                uint32_t *out, uint32_t min, uint32_t max)
{
    char expected[64];
    const json_t *value = json_object_get(object, key);
    if (json_is_integer(value) && json_integer_value(value) >= (json_int_t)min &&
        json_integer_value(value) <= (json_int_t)max) {
        *out = (uint32_t)json_integer_value(value);
        return GPULET_OK;
    }
    (void)snprintf(expected, sizeof(expected), "a whole number from %u to %u", min, max);
    return fail_field(r, key, expected, value);
}

static gpulet_status_t read_bool(const reader_t *r, const json_t *object, const char *key,
                                 bool *out)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_boolean(value))
        return fail_field(r, key, "true or false", value);
    *out = json_is_true(value);
    return GPULET_OK;
}

/* Copies a name into out[0..size). */
static gpulet_status_t read_name(const reader_t *r, const json_t *object, const char *key,
                                 char *out, size_t size)
{
    gpulet_error_t why;
    const json_t *value = json_object_get(object, key);
    if (!json_is_string(value))
        return fail_field(r, key, "a name", value);
    size_t len = json_string_length(value);
    gpulet_status_t st = gpulet_text_check_name(json_string_value(value), len, size - 1, &why);
    if (st != GPULET_OK)
        return gpulet_fail(r->err, st, "%s: %s%s: %s", r->file, r->path, key, why.text);
    memcpy(out, json_string_value(value), len + 1);
    return GPULET_OK;
}

static gpulet_status_t read_array(const reader_t *r, const json_t *object, const char *key,
                                  const json_t **out)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_array(value))
        return fail_field(r, key, "an array", value);
    *out = value;
    return GPULET_OK;
}

static gpulet_status_t fail_memory(const reader_t *r)
{
    return gpulet_fail(r->err, GPULET_E_NOMEM, "%s: out of memory", r->file);
}

/* Appends "key[index]." to the path and gives what leave() needs. */
static size_t enter(reader_t *r, const char *key, size_t index)
{
    size_t before = strlen(r->path);
    (void)snprintf(r->path + before, sizeof(r->path) - before, "%s[%zu].", key, index);
    return before;
}

static void leave(reader_t *r, size_t before)
{
    r->path[before] = '\0';
}

static gpulet_status_t expect_object(reader_t *r, const json_t *value)
{
    if (json_is_object(value))
        return GPULET_OK;
    size_t len = strlen(r->path);
    if (len == 0)
        return fail_field(r, "file", "an object", value);
    r->path[len - 1] = '\0'; /* the dot */
    return fail_field(r, "", "an object", value);
}

static gpulet_status_t read_share(reader_t *r, const json_t *object, gpulet_plan_share_t *share)
{
    gpulet_status_t st = expect_object(r, object);
    if (st == GPULET_OK)
        st = read_name(r, object, "model", share->model, sizeof(share->model));
    if (st == GPULET_OK)
        st = read_u32(r, object, "batch", &share->batch, 1, GPULET_PROFILE_BATCH_MAX);
    if (st == GPULET_OK)
        st = read_u32(r, object, "instances", &share->instances, 1, GPULET_PROFILE_INSTANCES_MAX);
    if (st == GPULET_OK)
        st = read_f64(r, object, "rate_rps", &share->rate_rps);
    if (st == GPULET_OK)
        st = read_f64(r, object, "capacity_rps", &share->capacity_rps);
    if (st == GPULET_OK)
        st = read_f64(r, object, "latency_ms", &share->latency_ms);
    if (st == GPULET_OK)
        st = read_f64(r, object, "interference", &share->interference);
    if (st == GPULET_OK)
        st = read_f64(r, object, "worst_ms", &share->worst_ms);
    return st;
}

/* Absent, null and -1 all say that there is no placement rule. */
static gpulet_status_t read_slot(const reader_t *r, const json_t *object, int32_t *out)
{
    const json_t *value = json_object_get(object, "slot");
    *out = -1;
    if (value == NULL || json_is_null(value))
        return GPULET_OK;
    if (!json_is_integer(value) || json_integer_value(value) < -1 ||
        json_integer_value(value) >= GPULET_DEVICE_SLOTS_MAX)
        return fail_field(r, "slot", "a slot of the device or null", value);
    *out = (int32_t)json_integer_value(value);
    return GPULET_OK;
}

static gpulet_status_t read_gpulet(reader_t *r, const json_t *object, gpulet_plan_gpulet_t *gpulet)
{
    const json_t *shares = NULL;
    gpulet_status_t st = expect_object(r, object);
    if (st == GPULET_OK)
        st = read_u32(r, object, "units", &gpulet->units, 1, GPULET_PROFILE_UNITS_MAX);
    if (st == GPULET_OK)
        st = read_slot(r, object, &gpulet->slot);
    if (st == GPULET_OK)
        st = read_f64(r, object, "duty_ms", &gpulet->duty_ms);
    if (st == GPULET_OK)
        st = read_array(r, object, "models", &shares);
    for (size_t i = 0; st == GPULET_OK && i < json_array_size(shares); i++) {
        gpulet_plan_share_t *share = gpulet_plan_add_share(gpulet);
        if (share == NULL)
            return fail_memory(r);
        size_t before = enter(r, "models", i);
        st = read_share(r, json_array_get(shares, i), share);
        leave(r, before);
    }
    return st;
}

static gpulet_status_t read_device(reader_t *r, const json_t *object, gpulet_plan_device_t *device)
{
    const json_t *gpulets = NULL;
    gpulet_status_t st = expect_object(r, object);
    if (st == GPULET_OK)
        st = read_name(r, object, "type", device->type, sizeof(device->type));
    if (st == GPULET_OK)
        st = read_u32(r, object, "index", &device->index, 0, UINT32_MAX);
    if (st == GPULET_OK)
        st = read_array(r, object, "gpulets", &gpulets);
    for (size_t i = 0; st == GPULET_OK && i < json_array_size(gpulets); i++) {
        gpulet_plan_gpulet_t *gpulet = gpulet_plan_add_gpulet(device);
        if (gpulet == NULL)
            return fail_memory(r);
        size_t before = enter(r, "gpulets", i);
        st = read_gpulet(r, json_array_get(gpulets, i), gpulet);
        leave(r, before);
    }
    return st;
}

static gpulet_status_t read_devices(reader_t *r, const json_t *root, gpulet_plan_t *plan)
{
    const json_t *devices = NULL;
    gpulet_status_t st = read_array(r, root, "devices", &devices);
    for (size_t i = 0; st == GPULET_OK && i < json_array_size(devices); i++) {
        gpulet_plan_device_t *device = gpulet_plan_add_device(plan);
        if (device == NULL)
            return fail_memory(r);
        size_t before = enter(r, "devices", i);
        st = read_device(r, json_array_get(devices, i), device);
        leave(r, before);
    }
    return st;
}

static gpulet_status_t read_model(reader_t *r, const json_t *object, gpulet_plan_model_t *model)
{
    gpulet_status_t st = expect_object(r, object);
    if (st == GPULET_OK)
        st = read_name(r, object, "model", model->model, sizeof(model->model));
    if (st == GPULET_OK)
        st = read_f64(r, object, "rate_rps", &model->rate_rps);
    if (st == GPULET_OK)
        st = read_f64(r, object, "slo_ms", &model->slo_ms);
    if (st == GPULET_OK)
        st = read_f64(r, object, "capacity_rps", &model->capacity_rps);
    return st;
}

static gpulet_status_t read_models(reader_t *r, const json_t *root, gpulet_plan_t *plan)
{
    const json_t *models = NULL;
    gpulet_status_t st = read_array(r, root, "models", &models);
    for (size_t i = 0; st == GPULET_OK && i < json_array_size(models); i++) {
        gpulet_plan_model_t *model = gpulet_plan_add_model(plan);
        if (model == NULL)
            return fail_memory(r);
        size_t before = enter(r, "models", i);
        st = read_model(r, json_array_get(models, i), model);
        leave(r, before);
    }
    return st;
}

static gpulet_status_t read_reason(const reader_t *r, const json_t *root, gpulet_plan_t *plan)
{
    const json_t *value = json_object_get(root, "reason");
    if (json_is_null(value))
        return GPULET_OK;
    if (!json_is_string(value) || json_string_length(value) > GPULET_PLAN_REASON_MAX)
        return fail_field(r, "reason", "null or a short text", value);
    memcpy(plan->reason, json_string_value(value), json_string_length(value) + 1);
    return GPULET_OK;
}

static gpulet_status_t read_plan(reader_t *r, const json_t *root, gpulet_plan_t *plan)
{
    gpulet_status_t st = expect_object(r, root);
    if (st == GPULET_OK)
        st = read_name(r, root, "planner", plan->planner, sizeof(plan->planner));
    if (st == GPULET_OK)
        st = read_bool(r, root, "feasible", &plan->feasible);
    if (st == GPULET_OK)
        st = read_u32(r, root, "devices_used", &plan->devices_used, 0, UINT32_MAX);
    if (st == GPULET_OK)
        st = read_bound(r, root, "cost", true, &plan->cost);
    if (st == GPULET_OK)
        st = read_bound(r, root, "lower_bound", false, &plan->lower_bound);
    if (st == GPULET_OK)
        st = read_bound(r, root, "lower_bound_devices", true, &plan->lower_bound_devices);
    if (st == GPULET_OK)
        st = read_bool(r, root, "proved_optimal", &plan->proved_optimal);
    if (st == GPULET_OK)
        st = read_f64(r, root, "elapsed_ms", &plan->elapsed_ms);
    if (st == GPULET_OK)
        st = read_models(r, root, plan);
    if (st == GPULET_OK)
        st = read_devices(r, root, plan);
    if (st == GPULET_OK)
        st = read_reason(r, root, plan);
    return st;
}

gpulet_status_t gpulet_plan_parse_json(gpulet_plan_t **out, const char *text, size_t size,
                                       const char *file, gpulet_error_t *err)
{
    json_error_t error;
    reader_t r = {file, "", err};
    gpulet_plan_t *plan = NULL;
    if (size > FILE_SIZE_MAX)
        return gpulet_fail(err, GPULET_E_TOO_LARGE, "%s: larger than %d bytes", file,
                           FILE_SIZE_MAX);
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL && json_error_code(&error) == json_error_out_of_memory)
        return fail_memory(&r);
    if (root == NULL)
        return gpulet_fail(err, GPULET_E_INVALID, "%s:%d: expected a JSON object, found: %s", file,
                           error.line, error.text);
    gpulet_status_t st = gpulet_plan_create(&plan);
    if (st == GPULET_OK)
        st = read_plan(&r, root, plan);
    else
        (void)fail_memory(&r);
    json_decref(root);
    if (st == GPULET_OK)
        *out = plan;
    else
        gpulet_plan_destroy(plan);
    return st;
}

gpulet_status_t gpulet_plan_load(gpulet_plan_t **out, const char *path, gpulet_error_t *err)
{
    char *text = NULL;
    size_t size = 0;
    gpulet_status_t st = gpulet_file_read(&text, &size, path, FILE_SIZE_MAX, err);
    if (st != GPULET_OK)
        return st;
    st = gpulet_plan_parse_json(out, text, size, path, err);
    free(text);
    return st;
}
