#include "view/live_read.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "view/live.h"

static bool fits(const json_t *value, live_kind_t kind)
{
    return kind == LIVE_TEXT   ? json_is_string(value)
           : kind == LIVE_BOOL ? json_is_boolean(value)
                               : json_is_number(value);
}

static void set_field(void *at, live_kind_t kind, const json_t *value)
{
    switch (kind) {
    case LIVE_TEXT: {
        const char *text = value != NULL ? json_string_value(value) : "";
        memcpy(at, (const void *)&text, sizeof(text));
        break;
    }
    case LIVE_BOOL:
        *(bool *)at = json_is_true(value);
        break;
    case LIVE_NUMBER:
        *(double *)at = value != NULL ? json_number_value(value) : NAN;
        break;
    case LIVE_COUNT:
        *(double *)at = value != NULL ? fmax(json_number_value(value), 0) : 0;
        break;
    }
}

gpulet_status_t live_read_object(void *out, const json_t *object, const live_field_t *fields,
                                 const char *where, gpulet_error_t *err)
{
    static const char *const names[] = {"a text", "a number", "a number", "true or false"};
    if (!json_is_object(object))
        return gpulet_fail(err, GPULET_E_INVALID, "%s: expected an object", where);
    for (const live_field_t *f = fields; f->key != NULL; f++) {
        const json_t *value = json_object_get(object, f->key);
        if (!fits(value, f->kind)) {
            if (f->required)
                return gpulet_fail(err, GPULET_E_INVALID, "%s.%s: expected %s%s", where, f->key,
                                   names[f->kind], value == NULL ? ", found nothing" : "");
            value = NULL;
        }
        set_field((char *)out + f->offset, f->kind, value);
    }
    return GPULET_OK;
}

gpulet_status_t live_read_list(const json_t **out, size_t *count, const json_t *object,
                               const char *key, const char *where, gpulet_error_t *err)
{
    const json_t *list = json_object_get(object, key);
    if (!json_is_array(list))
        return gpulet_fail(err, GPULET_E_INVALID, "%s.%s: expected a list", where, key);
    if (json_array_size(list) > GPULET_LIVE_LIST_MAX)
        return gpulet_fail(err, GPULET_E_TOO_LARGE, "%s.%s: more than %d elements", where, key,
                           GPULET_LIVE_LIST_MAX);
    *out = list;
    *count = json_array_size(list);
    return GPULET_OK;
}

gpulet_status_t live_read_document(json_t **out, const char *text, size_t size, const char *what,
                                   gpulet_error_t *err)
{
    json_error_t why = {.text = "out of memory"};
    json_t *document = json_loadb(text, size, 0, &why);
    if (document == NULL)
        return gpulet_fail(err, GPULET_E_INVALID, "%s: no JSON: %s", what, why.text);
    if (!json_is_object(document)) {
        json_decref(document);
        return gpulet_fail(err, GPULET_E_INVALID, "%s: expected an object", what);
    }
    *out = document;
    return GPULET_OK;
}
