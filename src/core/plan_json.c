/* The plan's JSON. It is written by hand, since figures need at least four decimals and must read
 * back exactly, and read with jansson. */
#include <jansson.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "core/plan.h"
#include "core/profile.h"
#include "core/text.h"

enum { FILE_SIZE_MAX = 64 << 20, DECIMALS_MIN = 4, PATH_SIZE = 128 };

/* ---- what the document looks like: read and written by the same tables ---- */

typedef enum field_kind {
    FIELD_NAME,
    FIELD_REASON, /* a text, or null for "" */
    FIELD_U32,
    FIELD_SLOT, /* int32_t; negative is null */
    FIELD_BOOL,
    FIELD_F64,
    FIELD_F64_OR_ABSENT, /* NAN: the key is not there */
    FIELD_BOUND,         /* a count or a cost: whole numbers stay whole; NAN is null */
    FIELD_BOUND_OR_ABSENT,
    FIELD_RULE, /* bool; "prototype" */
    FIELD_OBJECT,
    FIELD_LIST
} field_kind_t;

typedef struct object object_t;

/* Where a parent keeps its list, and how an element is added to it. */
typedef struct list {
    size_t count; /* offsets in the parent */
    size_t elements;
    size_t element_size;
    const object_t *element;
    void *(*add)(void *parent); /* NULL: out of memory */
    int indent;
} list_t;

typedef struct field {
    const char *key;
    field_kind_t kind;
    size_t offset;
    uint32_t min; /* FIELD_U32 */
    uint32_t max; /* FIELD_U32; FIELD_NAME: bytes of the array */
    const list_t *list;
    bool new_line;
    const object_t *object;
    size_t only_if; /* 0, or the offset of a bool: written only where it holds, and not read */
} field_t;

struct object {
    const field_t *fields; /* in the order of the document */
    size_t count;
};

static void *add_share(void *gpulet)
{
    return gpulet_plan_add_share(gpulet);
}
static void *add_gpulet(void *device)
{
    return gpulet_plan_add_gpulet(device);
}
static void *add_device(void *plan)
{
    return gpulet_plan_add_device(plan);
}
static void *add_model(void *plan)
{
    return gpulet_plan_add_model(plan);
}

#define FIELD(type, kind, name)                                                                    \
    {                                                                                              \
#name, FIELD_##kind, offsetof(type, name), 0, UINT32_MAX, NULL, false, NULL, 0             \
    }
#define RANGE(type, name, min, max)                                                                \
    {                                                                                              \
#name, FIELD_U32, offsetof(type, name), min, max, NULL, false, NULL, 0                     \
    }
#define TEXT(type, name)                                                                           \
    {                                                                                              \
#name, FIELD_NAME, offsetof(type, name), 0, sizeof(((type *)NULL)->name), NULL, false,     \
            NULL, 0                                                                                \
    }
#define LIST(key, list, new_line)                                                                  \
    {                                                                                              \
        key, FIELD_LIST, 0, 0, 0, list, new_line, NULL, 0                                          \
    }
#define OBJECT(name)                                                                               \
    static const object_t name##_object = {name##_fields,                                          \
                                           sizeof(name##_fields) / sizeof(name##_fields[0])}

static const field_t share_fields[] = {
    TEXT(gpulet_plan_share_t, model),
    RANGE(gpulet_plan_share_t, batch, 1, GPULET_PROFILE_BATCH_MAX),
    RANGE(gpulet_plan_share_t, instances, 1, GPULET_PROFILE_INSTANCES_MAX),
    FIELD(gpulet_plan_share_t, F64, rate_rps),
    FIELD(gpulet_plan_share_t, F64, capacity_rps),
    FIELD(gpulet_plan_share_t, F64, latency_ms),
    FIELD(gpulet_plan_share_t, F64, interference),
    FIELD(gpulet_plan_share_t, F64, worst_ms),
};
OBJECT(share);
static const list_t shares = {offsetof(gpulet_plan_gpulet_t, shares_count),
                              offsetof(gpulet_plan_gpulet_t, shares),
                              sizeof(gpulet_plan_share_t),
                              &share_object,
                              add_share,
                              5};

static const field_t gpulet_fields[] = {
    RANGE(gpulet_plan_gpulet_t, units, 1, GPULET_PROFILE_UNITS_MAX),
    FIELD(gpulet_plan_gpulet_t, SLOT, slot),
    FIELD(gpulet_plan_gpulet_t, F64, duty_ms),
    LIST("models", &shares, false),
};
OBJECT(gpulet);
static const list_t gpulets = {offsetof(gpulet_plan_device_t, gpulets_count),
                               offsetof(gpulet_plan_device_t, gpulets),
                               sizeof(gpulet_plan_gpulet_t),
                               &gpulet_object,
                               add_gpulet,
                               3};

static const field_t device_fields[] = {
    TEXT(gpulet_plan_device_t, type),
    FIELD(gpulet_plan_device_t, U32, index),
    LIST("gpulets", &gpulets, false),
};
OBJECT(device);
static const list_t devices = {offsetof(gpulet_plan_t, devices_count),
                               offsetof(gpulet_plan_t, devices),
                               sizeof(gpulet_plan_device_t),
                               &device_object,
                               add_device,
                               2};

static const field_t model_fields[] = {
    TEXT(gpulet_plan_model_t, model),
    FIELD(gpulet_plan_model_t, F64, rate_rps),
    FIELD(gpulet_plan_model_t, F64, slo_ms),
    FIELD(gpulet_plan_model_t, F64, capacity_rps),
};
OBJECT(model);
static const list_t models = {offsetof(gpulet_plan_t, models_count),
                              offsetof(gpulet_plan_t, models),
                              sizeof(gpulet_plan_model_t),
                              &model_object,
                              add_model,
                              2};

static const field_t movement_fields[] = {
    FIELD(gpulet_plan_movement_t, U32, gpulets_started),
    FIELD(gpulet_plan_movement_t, U32, gpulets_stopped),
    FIELD(gpulet_plan_movement_t, U32, models_loaded),
    FIELD(gpulet_plan_movement_t, U32, devices_added),
    FIELD(gpulet_plan_movement_t, U32, devices_removed),
};
OBJECT(movement);

static const field_t plan_fields[] = {
    TEXT(gpulet_plan_t, planner),
    FIELD(gpulet_plan_t, BOOL, feasible),
    FIELD(gpulet_plan_t, U32, devices_used),
    FIELD(gpulet_plan_t, F64_OR_ABSENT, cost),
    FIELD(gpulet_plan_t, BOUND, lower_bound),
    FIELD(gpulet_plan_t, BOUND_OR_ABSENT, lower_bound_devices),
    FIELD(gpulet_plan_t, BOOL, proved_optimal),
    {.key = "rule",
     .kind = FIELD_RULE,
     .offset = offsetof(gpulet_plan_t, by_prototype_rule),
     .only_if = offsetof(gpulet_plan_t, by_prototype_rule)},
    {.key = "promises_kept",
     .kind = FIELD_BOOL,
     .offset = offsetof(gpulet_plan_t, promises_kept),
     .only_if = offsetof(gpulet_plan_t, by_prototype_rule)},
    FIELD(gpulet_plan_t, F64, elapsed_ms),
    LIST("models", &models, true),
    LIST("devices", &devices, true),
    {.key = "movement",
     .kind = FIELD_OBJECT,
     .offset = offsetof(gpulet_plan_t, movement),
     .new_line = true,
     .object = &movement_object,
     .only_if = offsetof(gpulet_plan_t, moves)},
    {.key = "reason",
     .kind = FIELD_REASON,
     .offset = offsetof(gpulet_plan_t, reason),
     .new_line = true},
};
OBJECT(plan);

static const void *field_at(const void *object, size_t offset)
{
    return (const char *)object + offset;
}

/* ---- writing ---- */

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

static void write_object(writer_t *w, const void *at, const object_t *object);

/* A list's objects stand on lines of their own. */
static void write_list(writer_t *w, const void *at, const list_t *list)
{
    size_t count = *(const size_t *)field_at(at, list->count);
    const char *elements = *(const char *const *)field_at(at, list->elements);
    gpulet_buf_append_char(w->out, '[');
    for (size_t i = 0; i < count; i++) {
        gpulet_buf_printf(w->out, "%s\n%*s", i == 0 ? "" : ",", list->indent, "");
        write_object(w, elements + i * list->element_size, list->element);
    }
    gpulet_buf_append_char(w->out, ']');
}

static void write_value(writer_t *w, const void *at, const field_t *field)
{
    const void *value = field_at(at, field->offset);
    switch (field->kind) {
    case FIELD_NAME:
        write_string(w, value);
        break;
    case FIELD_REASON:
        if (*(const char *)value == '\0')
            gpulet_buf_append_str(w->out, "null");
        else
            write_string(w, value);
        break;
    case FIELD_U32:
        gpulet_buf_printf(w->out, "%u", *(const uint32_t *)value);
        break;
    case FIELD_SLOT:
        if (*(const int32_t *)value < 0)
            gpulet_buf_append_str(w->out, "null");
        else
            gpulet_buf_printf(w->out, "%d", *(const int32_t *)value);
        break;
    case FIELD_BOOL:
        gpulet_buf_append_str(w->out, *(const bool *)value ? "true" : "false");
        break;
    case FIELD_F64:
    case FIELD_F64_OR_ABSENT:
        write_f64(w, *(const double *)value);
        break;
    case FIELD_BOUND:
    case FIELD_BOUND_OR_ABSENT:
        write_bound(w, *(const double *)value);
        break;
    case FIELD_RULE:
        write_string(w, "prototype");
        break;
    case FIELD_OBJECT:
        write_object(w, value, field->object);
        break;
    case FIELD_LIST:
        write_list(w, at, field->list);
        break;
    }
}

static bool is_absent(const void *at, const field_t *field)
{
    if (field->only_if != 0)
        return !*(const bool *)field_at(at, field->only_if);
    return (field->kind == FIELD_F64_OR_ABSENT || field->kind == FIELD_BOUND_OR_ABSENT) &&
           isnan(*(const double *)field_at(at, field->offset));
}

static void write_object(writer_t *w, const void *at, const object_t *object)
{
    gpulet_buf_append_char(w->out, '{');
    for (size_t i = 0; i < object->count; i++) {
        const field_t *field = &object->fields[i];
        if (is_absent(at, field))
            continue;
        gpulet_buf_append_str(w->out, i == 0 ? "" : field->new_line ? ",\n " : ", ");
        gpulet_buf_printf(w->out, "\"%s\": ", field->key);
        write_value(w, at, field);
    }
    gpulet_buf_append_char(w->out, '}');
}

gpulet_status_t gpulet_plan_format_json(gpulet_buf_t *out, const gpulet_plan_t *plan)
{
    size_t size_before = out->size;
    writer_t w = {out, false};
    write_object(&w, plan, &plan_object);
    gpulet_buf_append_char(out, '\n');
    if (w.not_finite && !out->failed) {
        out->size = size_before;
        out->data[size_before] = '\0';
        return GPULET_E_INVALID;
    }
    return gpulet_buf_status(out);
}

/* ---- reading ---- */

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

/* Absent, null and -1 all say that there is no placement rule. */
static gpulet_status_t read_slot(const reader_t *r, const json_t *object, const char *key,
                                 int32_t *out)
{
    const json_t *value = json_object_get(object, key);
    *out = -1;
    if (value == NULL || json_is_null(value))
        return GPULET_OK;
    if (!json_is_integer(value) || json_integer_value(value) < -1 ||
        json_integer_value(value) >= GPULET_DEVICE_SLOTS_MAX)
        return fail_field(r, key, "a slot of the device or null", value);
    *out = (int32_t)json_integer_value(value);
    return GPULET_OK;
}

static gpulet_status_t read_reason(const reader_t *r, const json_t *object, const char *key,
                                   char *out)
{
    const json_t *value = json_object_get(object, key);
    if (json_is_null(value))
        return GPULET_OK;
    if (!json_is_string(value) || json_string_length(value) > GPULET_PLAN_REASON_MAX)
        return fail_field(r, key, "null or a short text", value);
    memcpy(out, json_string_value(value), json_string_length(value) + 1);
    return GPULET_OK;
}

static gpulet_status_t read_object(reader_t *r, const json_t *value, void *at,
                                   const object_t *object);

static gpulet_status_t read_list(reader_t *r, const json_t *parent, const char *key, void *at,
                                 const list_t *list)
{
    const json_t *array = NULL;
    gpulet_status_t st = read_array(r, parent, key, &array);
    for (size_t i = 0; st == GPULET_OK && i < json_array_size(array); i++) {
        void *element = list->add(at);
        if (element == NULL)
            return fail_memory(r);
        size_t before = enter(r, key, i);
        st = read_object(r, json_array_get(array, i), element, list->element);
        leave(r, before);
    }
    return st;
}

static gpulet_status_t read_field(reader_t *r, const json_t *object, void *at, const field_t *field)
{
    const char *key = field->key;
    void *out = (char *)at + field->offset;
    if (field->only_if != 0)
        return GPULET_OK;
    switch (field->kind) {
    case FIELD_NAME:
        return read_name(r, object, key, out, field->max);
    case FIELD_REASON:
        return read_reason(r, object, key, out);
    case FIELD_U32:
        return read_u32(r, object, key, out, field->min, field->max);
    case FIELD_SLOT:
        return read_slot(r, object, key, out);
    case FIELD_BOOL:
        return read_bool(r, object, key, out);
    case FIELD_F64:
        return read_f64(r, object, key, out);
    case FIELD_BOUND:
        return read_bound(r, object, key, false, out);
    case FIELD_F64_OR_ABSENT:
    case FIELD_BOUND_OR_ABSENT:
        return read_bound(r, object, key, true, out);
    case FIELD_RULE:
    case FIELD_OBJECT:
    case FIELD_LIST:
        break;
    }
    return read_list(r, object, key, at, field->list);
}

static gpulet_status_t read_object(reader_t *r, const json_t *value, void *at,
                                   const object_t *object)
{
    gpulet_status_t st = expect_object(r, value);
    for (size_t i = 0; i < object->count && st == GPULET_OK; i++)
        st = read_field(r, value, at, &object->fields[i]);
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
        st = read_object(&r, root, plan, &plan_object);
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
