#include "proto/json_write.h"

#include <stdint.h>
#include <string.h>

#include <jansson.h>

#include "proto/number.h"
#include "proto/oip.h"

enum { FLAT = -1 };

static void put_value(gpulet_buf_t *out, const json_t *value, int depth);

/* Between elements, and between brackets and elements. */
static void put_line(gpulet_buf_t *out, int depth)
{
    if (depth == FLAT)
        return;
    gpulet_buf_append_char(out, '\n');
    for (int i = 0; i < depth; i++)
        gpulet_buf_append_char(out, ' ');
}

static void put_object(gpulet_buf_t *out, const json_t *object, int depth)
{
    const int inside = depth == FLAT ? FLAT : depth + 1;
    const char *key = NULL;
    json_t *value = NULL;
    bool first = true;
    gpulet_buf_append_char(out, '{');
    /* The library's iterator does not take a constant object. */
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (!first)
            gpulet_buf_append_char(out, ',');
        first = false;
        put_line(out, inside);
        gpulet_json_string(out, key, strlen(key));
        gpulet_buf_append_str(out, depth == FLAT ? ":" : ": ");
        put_value(out, value, inside);
    }
    if (!first)
        put_line(out, depth);
    gpulet_buf_append_char(out, '}');
}

static void put_array(gpulet_buf_t *out, const json_t *array, int depth)
{
    const int inside = depth == FLAT ? FLAT : depth + 1;
    size_t count = json_array_size(array);
    gpulet_buf_append_char(out, '[');
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            gpulet_buf_append_char(out, ',');
        put_line(out, inside);
        put_value(out, json_array_get(array, i), inside);
    }
    if (count > 0)
        put_line(out, depth);
    gpulet_buf_append_char(out, ']');
}

static void put_value(gpulet_buf_t *out, const json_t *value, int depth)
{
    char number[GPULET_NUMBER_TEXT_MAX];
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        put_object(out, value, depth);
        break;
    case JSON_ARRAY:
        put_array(out, value, depth);
        break;
    case JSON_STRING:
        gpulet_json_string(out, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
        gpulet_buf_append(out, number, gpulet_number_write_i64(number, json_integer_value(value)));
        break;
    case JSON_REAL:
        gpulet_buf_append(out, number, gpulet_number_write_f64(number, json_real_value(value)));
        break;
    case JSON_TRUE:
        gpulet_buf_append_str(out, "true");
        break;
    case JSON_FALSE:
        gpulet_buf_append_str(out, "false");
        break;
    case JSON_NULL:
        gpulet_buf_append_str(out, "null");
        break;
    }
}

gpulet_status_t gpulet_json_write(gpulet_buf_t *out, json_t *root, bool lines)
{
    if (root == NULL)
        return GPULET_E_NOMEM;
    put_value(out, root, lines ? 0 : FLAT);
    json_decref(root);
    return gpulet_buf_status(out);
}
