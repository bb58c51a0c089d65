#include "proto/config_json.h"

#include <assert.h>
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "proto/pbtxt_schema.h"

enum { FIELD_NAME_MAX = 64, NUMBER_TEXT_MAX = 40 };

static gpulet_status_t write_message(gpulet_buf_t *out, const json_t *object,
                                     const gpulet_pbtxt_message_t *message, gpulet_error_t *err);

static gpulet_status_t fail_kind(gpulet_error_t *err, const gpulet_pbtxt_field_t *field,
                                 const char *expected)
{
    return gpulet_fail(err, GPULET_E_INVALID, "config: %s: expected %s", field->name, expected);
}

static void write_string(gpulet_buf_t *out, const char *text, size_t size)
{
    gpulet_buf_append_char(out, '"');
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\')
            gpulet_buf_append_char(out, '\\');
        if (c < ' ')
            gpulet_buf_printf(out, "\\%03o", c);
        else
            gpulet_buf_append_char(out, text[i]);
    }
    gpulet_buf_append_char(out, '"');
}

/* A number or name that stands in a string: the text as it is, if nothing else can hide in it. */
static bool write_word(gpulet_buf_t *out, const json_t *value, const char *also)
{
    const char *text = json_string_value(value);
    size_t size = json_string_length(value);
    if (size == 0 || size > NUMBER_TEXT_MAX)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (!isalnum((unsigned char)text[i]) && (text[i] == '\0' || strchr(also, text[i]) == NULL))
            return false;
    }
    gpulet_buf_append(out, text, size);
    return true;
}

static gpulet_status_t write_number(gpulet_buf_t *out, const json_t *value,
                                    const gpulet_pbtxt_field_t *field, gpulet_error_t *err)
{
    if (json_is_integer(value))
        gpulet_buf_printf(out, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value) && field->kind == GPULET_PBTXT_KIND_FLOAT)
        gpulet_buf_printf(out, "%.9g", json_real_value(value));
    else if (!json_is_string(value) || !write_word(out, value, "-+."))
        return fail_kind(err, field, "a number");
    return GPULET_OK;
}

static gpulet_status_t write_scalar(gpulet_buf_t *out, const json_t *value,
                                    const gpulet_pbtxt_field_t *field, gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    gpulet_buf_printf(out, "%s: ", field->name);
    switch (field->kind) {
    case GPULET_PBTXT_KIND_STRING:
        if (!json_is_string(value))
            return fail_kind(err, field, "a string");
        write_string(out, json_string_value(value), json_string_length(value));
        break;
    case GPULET_PBTXT_KIND_BOOL:
        if (!json_is_boolean(value))
            return fail_kind(err, field, "true or false");
        gpulet_buf_append_str(out, json_is_true(value) ? "true" : "false");
        break;
    case GPULET_PBTXT_KIND_ENUM:
        if (json_is_string(value) ? !write_word(out, value, "_") : !json_is_integer(value))
            return fail_kind(err, field, "a name");
        if (json_is_integer(value))
            st = write_number(out, value, field, err);
        break;
    default:
        st = write_number(out, value, field, err);
    }
    gpulet_buf_append_char(out, '\n');
    return st;
}

static gpulet_status_t write_value(gpulet_buf_t *out, const json_t *value,
                                   const gpulet_pbtxt_field_t *field, gpulet_error_t *err)
{
    if (field->kind != GPULET_PBTXT_KIND_MESSAGE)
        return write_scalar(out, value, field, err);
    if (!json_is_object(value))
        return fail_kind(err, field, "an object");
    gpulet_buf_printf(out, "%s {\n", field->name);
    gpulet_status_t st = write_message(out, value, field->message, err);
    gpulet_buf_append_str(out, "}\n");
    return st;
}

/* A map is an object in JSON and a list of entries of key and value in the text. */
static gpulet_status_t write_map(gpulet_buf_t *out, const json_t *object,
                                 const gpulet_pbtxt_field_t *field,
                                 const gpulet_pbtxt_field_t *value_field, gpulet_error_t *err)
{
    const char *key = NULL;
    json_t *value = NULL;
    gpulet_status_t st = GPULET_OK;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (st != GPULET_OK)
            break;
        gpulet_buf_printf(out, "%s {\nkey: ", field->name);
        write_string(out, key, strlen(key));
        gpulet_buf_append_char(out, '\n');
        st = write_value(out, value, value_field, err);
        gpulet_buf_append_str(out, "}\n");
    }
    return st;
}

static gpulet_status_t write_field(gpulet_buf_t *out, const json_t *value,
                                   const gpulet_pbtxt_field_t *field, gpulet_error_t *err)
{
    const gpulet_pbtxt_field_t *map_value =
        field->message != NULL && field->repeated
            ? gpulet_pbtxt_field_find(field->message, "value", strlen("value"))
            : NULL;
    gpulet_status_t st = GPULET_OK;
    if (map_value != NULL && json_is_object(value))
        return write_map(out, value, field, map_value, err);
    if (!field->repeated)
        return write_value(out, value, field, err);
    if (!json_is_array(value))
        return fail_kind(err, field, "an array");
    for (size_t i = 0; i < json_array_size(value) && st == GPULET_OK; i++)
        st = write_value(out, json_array_get(value, i), field, err);
    return st;
}

/* maxBatchSize is max_batch_size. */
static const gpulet_pbtxt_field_t *find_field(const gpulet_pbtxt_message_t *message,
                                              const char *name)
{
    char snake[FIELD_NAME_MAX];
    size_t used = 0;
    for (const char *c = name; *c != '\0'; c++) {
        if (used + 2 >= sizeof(snake))
            return NULL;
        if (isupper((unsigned char)*c))
            snake[used++] = '_';
        snake[used++] = (char)tolower((unsigned char)*c);
    }
    return gpulet_pbtxt_field_find(message, snake, used);
}

static gpulet_status_t write_message(gpulet_buf_t *out, const json_t *object,
                                     const gpulet_pbtxt_message_t *message, gpulet_error_t *err)
{
    const char *key = NULL;
    json_t *value = NULL;
    gpulet_status_t st = GPULET_OK;
    assert(message != NULL);
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        const gpulet_pbtxt_field_t *field = find_field(message, key);
        if (field == NULL)
            st = gpulet_fail(err, GPULET_E_INVALID, "config: %s has no field '%.64s'",
                             message->name, key);
        else if (!json_is_null(value))
            st = write_field(out, value, field, err);
        if (st != GPULET_OK)
            break;
    }
    return st;
}

gpulet_status_t gpulet_config_json_to_pbtxt(gpulet_buf_t *out, const char *json, size_t size,
                                            gpulet_error_t *err)
{
    json_error_t error;
    json_t *root = json_loadb(json, size, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL && json_error_code(&error) == json_error_out_of_memory)
        return gpulet_fail(err, GPULET_E_NOMEM, "config: out of memory");
    if (!json_is_object(root)) {
        gpulet_status_t st =
            gpulet_fail(err, GPULET_E_INVALID, "config: expected a JSON object%s%s",
                        root == NULL ? ", found: " : "", root == NULL ? error.text : "");
        json_decref(root);
        return st;
    }
    gpulet_status_t st = write_message(out, root, &gpulet_pbtxt_model_config, err);
    json_decref(root);
    if (st == GPULET_OK && gpulet_buf_status(out) != GPULET_OK)
        st = gpulet_fail(err, GPULET_E_NOMEM, "config: out of memory");
    return st;
}
